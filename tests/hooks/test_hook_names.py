"""A subclass of the hook names its own methods and attributes as it likes, as one of the official provider's does."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.airbyte.hooks.airbyte import AirbyteHook as OfficialHook

from airbyte_deferrable._compat import BaseHook
from airbyte_deferrable.exceptions import AirbyteJobFailed
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.simulator import Script, Simulator
from helpers.airbyte import connection_to
from helpers.subclass_names import assert_untouched, free_names, names_to_take, with_attributes, with_methods

#: What the official hook has not, ours has, and a subclass may have, too.
FURTHER = {name for name in vars(AirbyteHook) if not name.startswith("_") and not hasattr(OfficialHook, name)}
NAMES = sorted({*free_names(OfficialHook, BaseHook), *FURTHER, "client", "session", "watcher"})
SUBCLASSES = {"methods": with_methods(AirbyteHook, NAMES), "attributes": with_attributes(AirbyteHook, NAMES)}
QUICK = Script(duration=0.2, pending=0.0)


@pytest.fixture
def sim(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    return airbyte_simulator


@pytest.mark.parametrize("names", SUBCLASSES)
@pytest.mark.parametrize("kept", [False, True], ids=["a session for each call", "one session"])
def test_official_methods_do_what_they_do(sim: Simulator, names: str, kept: bool) -> None:
    def use(hook: Any) -> None:
        assert hook.test_connection()[0]
        job = hook.submit_sync_connection(sim.add_connection(script=QUICK))
        assert hook.wait_for_job(job.job_id, wait_seconds=0.1) is None
        assert hook.get_job_details(job.job_id).status == hook.get_job_status(job.job_id) == "succeeded"
        reset = hook.submit_reset_connection(sim.add_connection(script=Script(outcome=None)))
        assert hook.cancel_job(reset.job_id).status == "cancelled"
        failed = hook.submit_sync_connection(sim.add_connection(script=Script(duration=0.1, outcome="failed")))
        with pytest.raises(AirbyteJobFailed):
            hook.wait_for_job(failed.job_id, wait_seconds=0.1)

    hook = SUBCLASSES[names]()
    if kept:
        with hook:
            use(hook)
        assert sim.count("token") == 1
    else:
        use(hook)
    if names == "attributes":
        assert_untouched(hook, NAMES)


def test_private_names_of_ours_are_not_there_to_be_taken(sim: Simulator) -> None:
    hook = AirbyteHook()
    assert hook.test_connection()[0]
    assert names_to_take(AirbyteHook, hook, BaseHook()) == set()
