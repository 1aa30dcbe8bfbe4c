"""Stories of an Airflow connection."""

from __future__ import annotations

from airbyte_deferrable.simulator import Fault
from helpers.stories.stage import Seen, Stage, differs


@differs(end="C15", raises="C15", message="C15", value="C15")
def white_space_around_a_secret(stage: Stage) -> Seen:
    stage.job("succeeded")
    stage.connect(password=f"{stage.sim.client_secret}\n")
    return stage.seen(lambda: str(getattr(s := stage.hook().get_job_status(1), "value", s)))


@differs(airbyte={"auth": "bearer"}, end="C4", raises="C4", message="C4", value="C4")
def a_bearer_token(stage: Stage) -> Seen:
    stage.job("succeeded")
    stage.connect(login=None, password=stage.sim.token, extra={"auth": "bearer", "timeout": 5})
    return stage.seen(lambda: str(getattr(s := stage.hook().get_job_status(1), "value", s)))


@differs(end="C7", raises="C7", message="C7", value="C7")
def a_401(stage: Stage) -> Seen:
    stage.job("succeeded")
    stage.sim.add_fault(Fault("get", status=401, times=1))
    return stage.seen(lambda: str(getattr(s := stage.hook().get_job_status(1), "value", s)))


@differs(end="C8", raises="C8", message="C8", value="C8")
def a_host_without_a_path(stage: Stage) -> Seen:
    stage.job("succeeded")
    stage.connect(host=stage.sim.url.removesuffix("/api/public/v1"))
    return stage.seen(lambda: str(getattr(s := stage.hook().get_job_status(1), "value", s)))


@differs(asks="C10")
def a_connection_without_a_host(stage: Stage) -> Seen:
    stage.connect(host="")
    hook = stage.hook()
    if hasattr(hook, "airbyte_api"):
        return {"asks": hook.airbyte_api.sdk_configuration.get_server_details()[0]}
    return {"asks": stage.seen(lambda: hook.get_job_status(1))["raises"]}
