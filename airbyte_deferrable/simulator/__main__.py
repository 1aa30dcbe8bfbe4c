"""``python -m airbyte_deferrable.simulator``: an Airbyte to play with."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
import uuid
from collections.abc import Sequence
from typing import get_args

from airbyte_deferrable.simulator.script import Script
from airbyte_deferrable.simulator.settings import AuthMode, Release
from airbyte_deferrable.simulator.simulator import Simulator

#: Connections have the same ids at each start, so that a DAG can name them.
_IDS = uuid.UUID("a1b7e000-0000-4000-8000-000000000000")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a simulator until SIGINT or SIGTERM.

    :param arguments: The command line; that of the process when left out.
    :return: The exit code.
    """
    given = _parser().parse_args(arguments)
    simulator = Simulator(
        port=given.port,
        address=given.host,
        auth=given.auth,
        client_id=given.client_id,
        client_secret=given.client_secret,
        token_lifetime=given.token_lifetime,
        release=given.release,
        handler_threads=given.handler_threads,
        handler_seconds=given.handler_ms / 1000,
        state_file=given.state_file,
        instance_admin=not given.no_instance_admin,
        config_api=not given.no_config_api,
    )
    stop = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stop.set())
    try:
        simulator.start()
    except OSError as error:
        print(f"cannot listen on {given.host}:{given.port}: {error.strerror or error}", file=sys.stderr)
        return 1
    try:
        script = Script(duration=given.duration, outcome=given.outcome, rows=given.rows)
        ids = [connection_id_of(number) for number in range(1, given.connections + 1)]
        for number, connection_id in enumerate(ids, 1):
            simulator.add_connection(f"Connection {number}", script, connection_id, tags=given.tag)
        _introduce(simulator, given.auth, ids)
        stop.wait()
    finally:
        simulator.stop()
    return 0


def connection_id_of(number: int) -> str:
    """Return the UUID of the so-manyth connection that the command line makes, from 1.

    :param number: Which of them.
    """
    return str(uuid.UUID(int=_IDS.int + number))


def _introduce(simulator: Simulator, auth: AuthMode, ids: list[str]) -> None:
    command = ["airflow", "connections", "add", "airbyte_default", "--conn-type", "airbyte"]
    command += ["--conn-host", simulator.url]
    print(f"Airbyte simulator: {simulator.url}")
    if auth in ("client_credentials", "basic"):
        print(f"client id:         {simulator.client_id}")
        print(f"client secret:     {simulator.client_secret}")
    if auth == "client_credentials":
        command += ["--conn-login", simulator.client_id, "--conn-password", simulator.client_secret]
    elif auth == "bearer":
        print(f"token:             {simulator.token}")
    print(f"workspace:         {simulator.workspace_id}")
    for connection_id in ids:
        print(f"connection:        {connection_id}")
    if auth in ("client_credentials", "none"):
        print(f"\n{shlex.join(command)}\n")
    print("Stop it with Ctrl-C.", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airbyte_deferrable.simulator",
        description="Run a simulated Airbyte until SIGINT or SIGTERM.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=8000, help="0 for any free port")
    add("--auth", choices=get_args(AuthMode), default="client_credentials", help="who is let in")
    add("--client-id", help="made up when left out")
    add("--client-secret", help="made up when left out")
    add("--token-lifetime", type=float, default=900.0, metavar="SECONDS", help="how long a token is good")
    add("--release", choices=get_args(Release), default="head", help="which Airbyte")
    add("--handler-threads", type=int, default=5, help="requests worked on at a time")
    add("--handler-ms", type=float, default=0.0, help="how long each takes at least")
    add("--state-file", metavar="FILE", help="where jobs survive")
    add("--no-instance-admin", action="store_true", help="tokens as those of Airbyte's ordinary users")
    add("--no-config-api", action="store_true", help="no /api/v1")
    add("--connections", type=int, default=1, metavar="N", help="how many connections there are")
    add("--tag", action="append", default=[], metavar="NAME", help="a tag of all of them; may be given again")
    add("--duration", type=float, default=20.0, metavar="SECONDS", help="of each sync")
    add("--outcome", choices=("succeeded", "failed", "cancelled"), default="succeeded", help="of each sync")
    add("--rows", type=int, default=1000, help="of each sync")
    return parser


if __name__ == "__main__":
    sys.exit(main())
