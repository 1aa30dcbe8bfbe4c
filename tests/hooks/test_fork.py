"""A process that is forked while a hook is in use: both go on, each with a session of its own."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys

import pytest

from harness.waiting import IN_VAIN
from helpers.wire import Wire, reply

ASK = 'print("child", hook.get_job_status(7), flush=True)'
#: What the forked process does. What it asks for, it is to get.
CHILDREN = {
    "asks": ASK,
    "asks and ends": f"{ASK}; sys.exit(0)",
    "only ends": "sys.exit(0)",
    "closes the hook": f"hook.close(); {ASK}; hook.close()",
    "lets the hook go": "del hook; gc.collect()",
    "makes another hook": f"hook = AirbyteHook('mine'); gc.collect(); {ASK}",
    "forks once more": f"os.fork() == 0 and ({ASK}, os._exit(0)); os.wait(); gc.collect()",
}
#: Runs in a process of its own, since the forked ones are to end as processes do.
PROGRAM = """
import gc, os, sys, threading
from airbyte_deferrable.hooks import AirbyteHook

children, lock_is_held = {children}, {lock_is_held}

def hold_the_lock(hook, held):
    with hook._AirbyteHook__session._portal._starting:
        held.set()
        threading.Event().wait()

for name, code in children.items():
    with AirbyteHook("mine") as hook:
        print(name, hook.get_job_status(7), flush=True)
        if lock_is_held:
            held = threading.Event()
            threading.Thread(target=hold_the_lock, args=(hook, held), daemon=True).start()
            held.wait()
        child = os.fork()
        if child == 0:
            exec(code)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        if lock_is_held:
            os._exit(0)
        print("again", hook.get_job_status(7), hook.get_job_status(7), flush=True)
"""


async def run(wire: Wire, children: dict[str, str], *, lock_is_held: bool = False) -> list[str]:
    """Run the program against a server, and return what it says."""
    fields = {"conn_type": "airbyte", "host": wire.base_url, "extra": {"timeout": 10, "verify": False}}
    environment = {**os.environ, "AIRFLOW_CONN_MINE": json.dumps(fields), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", PROGRAM.format(children=children, lock_is_held=lock_is_held)]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=IN_VAIN
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.endswith("running")]


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_forked_process_begins_anew_and_the_other_just_goes_on(secure: bool, server_tls: ssl.SSLContext) -> None:
    async with Wire(lambda _: reply(200, {"jobId": 7, "status": "running"}), server_tls if secure else None) as wire:
        said = await run(wire, CHILDREN)
    expected = []
    for name, code in CHILDREN.items():
        expected += [f"{name} running", *(["child running"] if ASK in code else []), "again running running"]
    assert said == expected


async def test_lock_that_a_thread_held_is_free_in_the_forked_process() -> None:
    async with Wire(lambda _: reply(200, {"jobId": 7, "status": "running"})) as wire:
        # The session is new there, so that its loop has to be started.
        assert await run(wire, {"asks": ASK}, lock_is_held=True) == ["asks running", "child running"]
