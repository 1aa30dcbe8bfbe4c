"""What goes wrong, how often, and at which call: the rows of every table in this folder."""

from __future__ import annotations

from typing import Any

import httpx

from airbyte_deferrable.simulator import Fault, Simulator
from helpers.airbyte import ENDLESS

#: What goes wrong, as parameters of a fault. All of it may be over a moment later.
FAULTS: dict[str, dict[str, Any]] = {
    "408": {"status": 408},
    "429": {"status": 429},
    "500": {"status": 500},
    "502": {"status": 502},
    "503": {"status": 503},
    "504": {"status": 504},
    "drop": {"kind": "drop"},
    "lost": {"kind": "lost_answer"},
    "lost behind a proxy": {"kind": "lost_answer", "status": 504},
    "lost to the client's timeout": {"kind": "lost_answer", "seconds": 3.0},
    "hang": {"kind": "hang"},
    "garbage": {"kind": "garbage"},
    "html": {"kind": "html"},
    "html that says 200": {"kind": "html", "status": 200},
    "expired token": {"kind": "reset_token"},
}
#: Faults after which Airbyte has done what it was asked for all the same.
CARRIED_OUT = {"lost", "lost behind a proxy", "lost to the client's timeout", "expired token"}
#: Those that only the client's own timeout ends.
HANGING = {"lost to the client's timeout", "hang"}
#: How often: the next request, every second one from the next on, all of them.
TIMES: dict[str, dict[str, Any]] = {"once": {"times": 1}, "flapping": {"every": 2}, "always": {}}


def add_fault(sim: Simulator, call: str, fault: str, times: str) -> None:
    """Switch a row of the table on."""
    sim.add_fault(Fault(call, **FAULTS[fault], **TIMES[times]))
    if times == "flapping":
        # The simulator's flapping begins with a request that passes: this one.
        _ask(sim, call)


def all_were_met(sim: Simulator) -> bool:
    """Whether every fault did hit: a row that nothing ran into proves nothing."""
    return all(fault["hits"] for fault in sim.faults())


def _ask(sim: Simulator, call: str) -> None:
    """Make a call of a kind, about a connection of its own."""
    with httpx.Client(base_url=sim.url, trust_env=False) as http:
        application = {"client_id": sim.client_id, "client_secret": sim.client_secret}
        token = http.post("/applications/token", json=application).raise_for_status().json()["access_token"]
        if call == "token":
            return
        http.headers["Authorization"] = f"Bearer {token}"
        connection_id = sim.add_connection(script=ENDLESS)
        if call == "create":
            answer = http.post("/jobs", json={"connectionId": connection_id, "jobType": "sync"})
        elif call == "list":
            answer = http.get("/jobs")
        elif call == "connection":
            answer = http.get(f"/connections/{connection_id}")
        else:
            job_id = sim.add_job(connection_id)["id"]
            answer = http.request("DELETE" if call == "cancel" else "GET", f"/jobs/{job_id}")
        answer.raise_for_status()
