"""``python -m benchmarks.page``: two thousand syncs in flight, their history, and ten users who have the page open.

On a PostgreSQL of its own, filled as Airflow would have: to run the tasks would take days. The app is asked as the API
server asks it, over ASGI, by ten users in as many threads.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median

from benchmarks.report import machine
from harness.database import make_database, statements
from harness.postgresql import PostgreSQL
from harness.processes import exit_on_termination

DAGS = 40
USERS = 10
ROUNDS = 5


@dataclass
class Result:
    """What it took. Seconds, unless said otherwise.

    :param syncs: Syncs in flight.
    :param history: Syncs that have ended, of which a day's are shown.
    :param first: The first refresh of the process.
    :param refresh: A later one, the median.
    :param queries: Of a later one.
    :param answer: One user's answer between two refreshes, ten asking at once, the median.
    :param answer_max: Likewise the longest, with the refresh in it.
    :param size: Bytes of an answer.
    :param compressed: Bytes of it on the wire, as Airflow's API server compresses it.
    :param record: Bytes that the triggerer writes each half a minute.
    :param writes: In so many Variables.
    """

    syncs: int
    history: int
    first: float
    refresh: float
    queries: int
    answer: float
    answer_max: float
    size: int
    compressed: int
    record: int
    writes: int


def main() -> int:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=main.__doc__)
    parser.add_argument("--syncs", type=int, default=2000, help="syncs in flight")
    parser.add_argument("--history", type=int, default=40_000, help="syncs that have ended in the last 20 days")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), metavar="FOLDER")
    given = parser.parse_args()
    with exit_on_termination(), tempfile.TemporaryDirectory() as home, PostgreSQL(Path(home) / "db.log") as server:
        os.environ.update(
            AIRFLOW_HOME=home,
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=server.url,
            # The pool of connections is the API server's: ten users are more than five.
            AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW="20",
        )
        os.environ["AIRFLOW__CORE__FERNET_KEY"] = _key()
        make_database()
        result = measure(given.syncs, given.history)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "page.json").write_text(json.dumps(asdict(result), indent=1) + "\n")
    (given.output / "page.md").write_text(table(result))
    print(table(result))
    return 0


def table(result: Result) -> str:
    """Return the table and how it was measured, as Markdown.

    :param result: The measurement.
    """
    lines = [
        ("First refresh of an API server's process", f"{result.first:.2f} s"),
        ("Each later refresh, for all who look", f"{result.refresh:.2f} s"),
        ("Queries of a refresh", f"{result.queries}"),
        (f"Answer to one of {USERS} users who ask at once, median", f"{1000 * result.answer:.0f} ms"),
        ("The slowest, with a refresh in it", f"{result.answer_max:.2f} s"),
        ("Size of an answer", f"{result.size / 1e6:.1f} MB, {result.compressed / 1e3:.0f} kB compressed"),
        ("What a triggerer writes each half a minute", f"{result.record / 1e3:.0f} kB in {result.writes} Variables"),
    ]
    rows = "\n".join(f"| {name} | {value} |" for name, value in lines)
    return (
        f"| {result.syncs:,} syncs in flight | |\n| --- | --- |\n{rows}\n\n"
        f"Measured on {machine()}, PostgreSQL on the same machine, with {result.history:,} syncs that had ended.\n"
    )


def measure(syncs: int, history: int) -> Result:
    """Fill the database, and measure.

    :param syncs: How many are in flight.
    :param history: How many have ended.
    """
    # Not before Airflow's settings are made.
    from airflow import settings
    from airflow.api_fastapi.app import get_auth_manager, init_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient
    from sqlalchemy import text

    from airbyte_deferrable.page.app import make_api, with_headers
    from airbyte_deferrable.page.overview import Overviews

    record = _fill(syncs, history)
    assert settings.engine is not None, "made with the database"
    with settings.engine.begin() as connection:
        # As the database does by itself, some time after so much was written.
        connection.execute(text("ANALYZE"))

    overviews = Overviews()
    began = time.perf_counter()
    overviews.overview()
    first = time.perf_counter() - began
    refreshes = []
    queries = 0
    for _ in range(ROUNDS):
        with statements() as sent:
            began = time.perf_counter()
            overviews._read()
            refreshes.append(time.perf_counter() - began)
        queries = len(sent)

    init_auth_manager()
    user = SimpleAuthManagerUser(username="viewer", role="viewer")
    token = get_auth_manager().generate_jwt(user)
    http = TestClient(with_headers(make_api()))

    def ask(_: int) -> tuple[float, int, bytes]:
        began = time.perf_counter()
        answer = http.get("/api/syncs", headers={"Authorization": f"Bearer {token}"})
        return time.perf_counter() - began, answer.status_code, answer.content

    with ThreadPoolExecutor(USERS) as users:
        begun = list(users.map(ask, range(USERS)))
        then = [each for _ in range(ROUNDS) for each in users.map(ask, range(USERS))]
    assert {status for _, status, _ in (*begun, *then)} == {200}
    content = then[-1][2]
    told = json.loads(content)
    assert (len(told["running"]), told["running_left_out"]) == (min(syncs, 3000), max(0, syncs - 3000))
    return Result(
        syncs=syncs,
        history=history,
        first=first,
        refresh=median(refreshes),
        queries=queries,
        answer=median(seconds for seconds, _, _ in then),
        answer_max=max(seconds for seconds, _, _ in (*begun, *then)),
        size=len(content),
        compressed=len(gzip.compress(content, 5)),
        record=sum(map(len, record)),
        writes=len(record),
    )


def _fill(syncs: int, history: int) -> list[str]:
    """Write all that the page reads; return what the triggerer has written of it each half a minute."""
    from airbyte_deferrable._airflow.page_record import (
        PREFIX,
        Health,
        JobFacts,
        Told,
        texts_of_names,
        texts_of_waits,
    )
    from harness.rows import Task, write

    now = datetime.now(timezone.utc)
    names = {_connection(number): (f"Orders {number}", f"Shop {number}", "Warehouse") for number in range(syncs)}
    running = []
    for number in range(syncs):
        where = {"conn_id": "airbyte_default", "connection_id": _connection(number), "job_id": 100_000 + number}
        more = {"end_time": None, "poll_interval": 5.0, "try_number": 1, "not_before": 0.0, "write_xcoms": True}
        marker = {**where, "try": 1, "started_here": True}
        url = f"https://airbyte.example.com/workspaces/w/connections/{_connection(number)}/timeline?jobId={number}"
        running.append(
            Task(
                dag_id=f"night_{number % DAGS}",
                run_id="tonight",
                map_index=number // DAGS,
                trigger=("airbyte_deferrable.triggers.AirbyteSyncTrigger", {**where, **more}),
                xcoms={"airbyte_wait_marker": marker, "airbyte_job_url": url},
                started_at=now - timedelta(minutes=number % 90),
            )
        )
    write(running)
    for start in range(0, history, 5000):
        ended = []
        for number in range(start, min(start + 5000, history)):
            at = now - timedelta(days=20) * (number / history)
            job = {
                "jobId": number,
                "status": "succeeded" if number % 20 else "failed",
                "jobType": "sync",
                "connectionId": _connection(number % max(1, syncs)),
                "startTime": (at - timedelta(minutes=10)).isoformat(),
                "lastUpdatedAt": at.isoformat(),
                "duration": "PT10M",
                "durationSeconds": 600.0,
                "rowsSynced": number,
                "bytesSynced": 100 * number,
            }
            ended.append(
                Task(
                    dag_id=f"night_{number % DAGS}",
                    run_id=f"night-{number // 2000}",
                    map_index=number % 2000 // DAGS,
                    state="success" if number % 20 else "failed",
                    xcoms={"airbyte_job": job, "final_status": job["status"], "rows_synced": number},
                    fields={"airbyte_conn_id": "airbyte_default", "connection_id": job["connectionId"]},
                    started_at=at - timedelta(minutes=10),
                    ended_at=at,
                    noted_at=at,
                )
            )
        write(ended)
    head = Told("triggerer-1", "one", ("airbyte_default",), time.time(), Health(waiting=syncs))
    jobs = [
        JobFacts(100_000 + number, _connection(number), "running", time.time() - number, number, 99 * number, 1.5, 99.5)
        for number in range(syncs)
    ]
    waits = texts_of_waits(head, jobs)
    write([], {f"{PREFIX}{number}": text for number, text in enumerate([*waits, *texts_of_names(head, names)])})
    return waits


def _connection(number: int) -> str:
    return f"a1b7e000-0000-4000-8000-{number:012}"


def _key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


if __name__ == "__main__":
    sys.exit(main())
