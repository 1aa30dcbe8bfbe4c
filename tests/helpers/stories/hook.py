"""The hook's stories."""

from __future__ import annotations

from importlib.metadata import version

from helpers.stories.operator import a_job_that_has_ended_is_cancelled
from helpers.stories.stage import Seen, Stage, Story, differs, parameters


@differs(gone="H1", new="H1")
def what_a_hook_offers(stage: Stage) -> Seen:
    hook = stage.hook()
    # For Python 3.10 there is no 6.2, and 6.1 has none.
    unknown = {"timeout"} if version("apache-airflow-providers-airbyte").startswith("6.1.") else set()
    names = {"airbyte_api", "create_api_session", "get_conn_params", "conn"}
    kept = {"get_job_details", "get_job_status", "wait_for_job", "submit_sync_connection", "submit_reset_connection"}
    kept |= {"cancel_job", "test_connection", "airbyte_conn_id", "api_version", "timeout", "conn_name_attr"}
    return {
        "gone": {name for name in names if hasattr(hook, name)},
        "kept": {name for name in kept - unknown if hasattr(hook, name)},
        "new": hasattr(hook, "async_client"),
        "parameters": {name: each.default for name, each in parameters(type(hook)).items() if name not in unknown},
    }


@differs(kind="H4", dump="H5")
def a_hooks_jobs(stage: Stage) -> Seen:
    stage.job("succeeded")
    job = stage.hook().get_job_details(1)
    names = ("job_id", "status", "connection_id", "job_type", "rows_synced", "bytes_synced")
    values = {name: getattr(getattr(job, name), "value", getattr(job, name)) for name in names}
    types = {name: type(getattr(job, name)) for name in ("start_time", "last_updated_at", "duration")}
    return {**values, **types, "kind": type(job).__name__, "dump": set(job.model_dump())}


@differs(raises="H2", message="H3")
def a_hooks_refusal(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.hook().get_job_status(99))


@differs(looked_up="H6")
def a_hook_without_a_connection(stage: Stage) -> Seen:
    try:
        hook = stage.hook(airbyte_conn_id="nowhere")
    except Exception as error:
        return {"looked_up": "when made", "raises": type(error).__name__}
    return {"looked_up": "when used", "raises": stage.seen(lambda: hook.get_job_status(1))["raises"]}


@differs(jobs="H8", raises="H2", message="H3")
def a_hooks_wait_that_is_over(stage: Stage) -> Seen:
    stage.job()
    return stage.seen(lambda: stage.hook().wait_for_job(1, wait_seconds=0.05, timeout=0.2))


def hooks_wait(status: str) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job(status)
        return stage.seen(lambda: stage.hook().wait_for_job("1", wait_seconds=0.05))

    story.__name__ = f"a_hooks_wait_for_a_job_that_{status}"
    return story


differs()(hooks_wait("succeeded"))
for status in ("failed", "cancelled"):
    differs(raises="H2", message="H3")(hooks_wait(status))


@differs(jobs="H9")
def a_hook_cancels_a_job_that_has_ended(stage: Stage) -> Seen:
    return a_job_that_has_ended_is_cancelled(stage)


@differs()
def a_hook_cancels_a_live_job(stage: Stage) -> Seen:
    job_id = stage.job()
    return {"status": str(getattr(told := stage.hook().cancel_job(job_id).status, "value", told))}


@differs(words="H10")
def a_hooks_test(stage: Stage) -> Seen:
    ok, words = stage.hook().test_connection()
    return {"ok": ok, "words": words}


@differs(ok="H10")
def a_hooks_test_with_a_wrong_secret(stage: Stage) -> Seen:
    stage.connect(password="wrong")
    return {"ok": stage.hook().test_connection()[0]}


@differs(raises="H2", message="H3")
def a_hooks_timeout_that_is_none(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.hook(timeout=-1).get_job_status(1))


@differs(end="H11", raises="H11", message="H11")
def a_hooks_wait_of_unset_seconds(stage: Stage) -> Seen:
    stage.job("succeeded")
    return stage.seen(lambda: stage.hook().wait_for_job(1, wait_seconds=None))
