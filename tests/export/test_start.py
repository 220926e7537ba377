"""Starting an export: what is sent, once; what a retry finds; what a kill cancels, whenever it comes."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest

from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLConfigurationError,
    NeptuneMLError,
    NeptuneMLKilledError,
    NeptuneMLServiceError,
    NeptuneMLTimeoutError,
)
from airflow_provider_neptune_ml.hooks.export import NeptuneMLExportHook
from airflow_provider_neptune_ml.operators.export import NeptuneMLStartExportJobOperator
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from airflow_provider_neptune_ml.simulator.auth import EXAMPLE_CREDENTIAL
from tests.conftest import ONCE, connect
from tests.contexts import TaskStateStore, context
from tests.export.tasks import CANCEL, GET, OUTPUT, START, cancel, start, started, statuses
from tests.interruptions import (
    TIME_IS_OVER,
    Interrupted,
    during,
    end,
    execute,
    however_ended,
    interrupted,
)
from tests.modes import first_event, rebuild
from tests.sdk import DAG, TaskDeferred

pytestmark = pytest.mark.usefixtures("connection")

MODES = pytest.mark.parametrize("mode", ["worker", "triggerer", "no triggerer", "execution_timeout"])
CLUSTER = "mycluster.cluster-c1.eu-west-1.neptune.amazonaws.com"


def last_try(**arguments: Any) -> Any:
    """Return the context of a first try with a retry to come, on an Airflow with a task state store."""
    return context(**{"task_state_store": TaskStateStore(), "max_tries": 2, **arguments})


def retry(where: Any, number: int = 2) -> Any:
    """Return the context of the try after one."""
    return context(task_state_store=where["task_state_store"], max_tries=2, try_number=number)


def submit(where: Any, **arguments: Any) -> Any:
    """Start an export and don't wait for it, as a worker that is lost while it waits."""
    return start(retries=2, **arguments).execute(where)


# What is sent


def test_request(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request has what was given, as it was given, and what a user would expect."""
    targets = {"neptune_ml": {"version": "v2.0", "targets": [{"node": "movie", "property": None}]}}
    connection = connect(monkeypatch, simulator.connection)
    connection["extra"]["iam_auth"] = True
    connect(monkeypatch, connection, host=CLUSTER)

    start(
        command="export-rdf",
        job_size="large",
        export_params={"cloneCluster": True, "profile": "mine"},
        additional_params=targets,
        expected_bucket_owner="012345678901",
        additional_parameters={"jobPriority": 3},
        wait_for_completion=False,
        botocore_config=ONCE,
    ).execute(context())

    [request] = simulator.calls(START)
    assert request.body == {
        "command": "export-rdf",
        "outputS3Path": OUTPUT,
        "jobSize": "large",
        "params": {"endpoint": CLUSTER, "profile": "mine", "useIamAuth": True, "cloneCluster": True},
        "additionalParams": targets,
        "expectedBucketOwner": "012345678901",
        "jobPriority": 3,
    }


@pytest.mark.parametrize("native", [False, True])
def test_templates(simulator: Simulator, native: bool) -> None:
    """All arguments are templates, also within the dicts."""
    with DAG("nightly", schedule=None, render_template_as_native_obj=native):
        task = start(
            output_s3_path="s3://bucket/{{ name }}",
            export_params="{{ settings }}",
            additional_params={"neptune_ml": {"targets": ["{{ name }}"]}},
            export_api_url="{{ url }}",
            wait_for_completion=False,
        )
    url = simulator.export_api_url
    known: Any = {"ti": None, "name": "films", "settings": {"cloneCluster": True}, "url": url}
    task.render_template_fields(known)
    task.execute(context())

    [request] = simulator.calls(START)
    assert request.body["outputS3Path"] == "s3://bucket/films"
    assert request.body["params"]["cloneCluster"] is True
    assert request.body["additionalParams"] == {"neptune_ml": {"targets": ["films"]}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_s3_path": "bucket/x"}, "output_s3_path='bucket/x' must be an S3 location"),
        ({"job_size": "huge"}, "job_size='huge' must be one of small, medium, large, xlarge"),
        ({"export_params": {"a": {1}}}, "export_params={'a': ...} must be a dict of plain values"),
        ({"additional_params": {"a": float("nan")}}, "additional_params={'a': ...} must be a dict of plain"),
        ({"expected_bucket_owner": "me"}, "expected_bucket_owner='me' must be the id of an AWS account"),
        ({"export_api_url": "api.example.com/v1"}, "must be the full invoke URI of the export service"),
        ({"export_api_url": "https://me:pa55word@api/v1"}, r"export_api_url='https://\*\*\*@api/v1' must be"),
        ({"export_api_url": "https://me:pa55/word@api"}, r"export_api_url='https://\*\*\*@api' must be"),
        (
            {"params": {"cloneCluster": True}},
            "give the export.s as export_params",
        ),
        (
            {"params": {"endpoint": "reader", "profile": "neptune_ml"}},
            "params has endpoint, profile: params are Airflow.s own",
        ),
        ({"additional_parameters": {"jobSize": "large"}}, "has an argument of its own: job_size"),
        ({"additional_parameters": {"params": {}}}, "has an argument of its own: export_params"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    """Mistakes are reported when the Dag is parsed."""
    with pytest.raises(ValueError, match=message):
        start(**arguments)


def test_params_of_the_dag(simulator: Simulator) -> None:
    """Params of the Dag may be called as the export's are: those are asked for by them."""
    with DAG("nightly", schedule=None, params={"cloneCluster": True}, render_template_as_native_obj=True):
        task = start(export_params={"cloneCluster": "{{ params.cloneCluster }}"}, wait_for_completion=False)
    known: Any = {"ti": None, "params": dict(task.params)}
    task.render_template_fields(known)
    task.execute(context())

    [request] = simulator.calls(START)
    assert request.body["params"]["cloneCluster"] is True


@pytest.mark.parametrize("fault", ["reset", "cut", "internal_failure", "garbled", "client_timeout"])
def test_start_that_may_have_been_carried_out(simulator: Simulator, fault: str) -> None:
    """A request whose answer is lost is not repeated: a second job would be started."""
    simulator.add_fault(
        Fault(fault, operation=START, when="after" if fault != "client_timeout" else "before")
    )
    where = last_try()

    with pytest.raises(NeptuneMLError, match=r"may have been started all the same.* was not sent again"):
        submit(where)

    assert len(simulator.calls(START)) == 1


def test_retry_after_a_lost_answer(simulator: Simulator, capfd: pytest.CaptureFixture[str]) -> None:
    """The retry starts another export, and says that there may be two."""
    simulator.add_fault(Fault("reset", operation=START, when="after"))
    where = last_try()
    with pytest.raises(NeptuneMLError):
        submit(where)

    job = submit(retry(where), wait_for_completion=False)

    assert list(statuses(simulator))[1:] == [job]
    assert (
        "whose id is not known, may be running besides the one that is started now" in capfd.readouterr().out
    )
    assert where["task_state_store"] == {}


@pytest.mark.parametrize("fault", ["too_many_requests", "throttling", "expired_token"])
def test_start_that_was_certainly_not_carried_out(simulator: Simulator, fault: str) -> None:
    """A request that was turned away is repeated."""
    simulator.add_fault(Fault(fault, operation=START, times=1))

    job = start(wait_for_completion=False).execute(context())

    assert job == started(simulator)
    assert len(simulator.calls(START)) == 2


def test_start_that_is_turned_away_for_good(simulator: Simulator) -> None:
    """After nothing but throttling no job can have been started, and no retry says so."""
    simulator.add_fault(Fault("too_many_requests", operation=START, times=None))
    where = last_try()

    with pytest.raises(NeptuneMLError, match="only transient errors for"):
        submit(where, unreachable_timeout=0)

    assert where["task_state_store"] == {}


def test_refusal(simulator: Simulator) -> None:
    """A refusal fails at once, names the permission, and leaves nothing behind."""
    simulator.add_fault(Fault("access_denied", operation=START))
    where = last_try()

    with pytest.raises(NeptuneMLServiceError) as refused:
        submit(where)

    assert str(refused.value).startswith(
        "Export job not started: 403 AccessDeniedException: The caller is not authorized to perform this"
        " operation. The IAM principal of aws_conn_id ('aws_default') needs the permission execute-api:Invoke"
    )
    assert where["task_state_store"] == {}


def test_start_that_can_not_be_sent(simulator: Simulator) -> None:
    """After an error of the request's own, by which nothing was sent, no retry says that something was."""

    class WithName(NeptuneMLStartExportJobOperator):
        """It has a parameter that the service does not take."""

        request_parameters = (*NeptuneMLStartExportJobOperator.request_parameters, "job_name")
        job_name = "films"

    where = last_try()
    with pytest.raises(ValueError, match="StartExportJob takes no job_name"):
        WithName(task_id="export", output_s3_path=OUTPUT, deferrable=False).execute(where)

    assert not simulator.calls(START)
    assert where["task_state_store"] == {}


# What a retry finds


def lost(simulator: Simulator, where: Any) -> str:
    """Start an export in a worker that is lost while it waits, and return the id."""

    def stop() -> None:
        raise Interrupted

    task = start(retries=2)
    during(task.hook.conn, GET, stop)
    with pytest.raises(Interrupted):
        task.execute(where)
    return started(simulator)


def test_retry_adopts(simulator: Simulator) -> None:
    """A retry waits for the export of the try before."""
    where = last_try()
    job = lost(simulator, where)
    again = retry(where)
    simulator.finish("export", job)

    assert submit(again) == simulator.describe("export", job)["outputS3Uri"]
    assert again["ti"].xcoms["job_id"] == job
    assert list(statuses(simulator)) == [job]
    assert where["task_state_store"] == {}


@pytest.mark.parametrize("status", ["failed", "cancelled", "cancelling"])
def test_retry_starts_another_after_a_bad_end(simulator: Simulator, status: str) -> None:
    """An export that failed, or is being cancelled, is not adopted."""
    where = last_try()
    job = lost(simulator, where)
    simulator.set_status("export", job, status)

    assert submit(retry(where), wait_for_completion=False) != job


def test_clear_after_success(simulator: Simulator) -> None:
    """A task that is cleared after it succeeded starts a new export."""
    where = last_try()
    first = submit(where, wait_for_completion=False)

    assert submit(retry(where), wait_for_completion=False) != first


def test_without_a_store(simulator: Simulator) -> None:
    """Where nothing keeps the id, a try that fails cancels its own export, retries or not."""
    where = context(max_tries=2)
    simulator.add_fault(Fault("access_denied", operation=GET, times=None))

    with pytest.raises(NeptuneMLError, match="No retry follows: cancellation requested"):
        submit(where)

    assert list(statuses(simulator).values()) == ["cancelling"]


def test_failed_wait_is_released_to_the_retry(simulator: Simulator) -> None:
    """Where the id is kept, the export keeps running, and the retry adopts it."""
    where = last_try()
    simulator.add_fault(Fault("access_denied", operation=GET))

    with pytest.raises(NeptuneMLError, match="the retry adopts it"):
        submit(where)

    job = started(simulator)
    assert submit(retry(where), wait_for_completion=False) == job


def timed_out(where: Any, mode: str, **arguments: Any) -> None:
    """Have a try time out, in one of the places where it may."""
    task = start(retries=2, timeout=0, deferrable=mode.endswith("triggerer"), **arguments)
    if mode == "execution_timeout":
        during(task.hook.conn, GET, end(task, TIME_IS_OVER))
        execute(task, where, TIME_IS_OVER)
        return

    def run() -> None:
        try:
            task.execute(where)
        except TaskDeferred as deferred:
            if mode == "no triggerer":
                task.resume_execution("__fail__", {"error": "Trigger timeout"}, where)
            trigger = rebuild(*deferred.trigger.serialize())
            trigger.task_instance = where["ti"]
            task.resume_execution(deferred.method_name, {"event": first_event(trigger).payload}, where)

    with pytest.raises(NeptuneMLTimeoutError):
        run()


@MODES
@pytest.mark.parametrize("cancel_on_timeout", [True, False])
def test_retry_after_a_timeout(simulator: Simulator, mode: str, cancel_on_timeout: bool) -> None:
    """An export that timed out is being cancelled, whatever its status: it is not adopted."""
    where = last_try()
    timed_out(where, mode, cancel_on_timeout=cancel_on_timeout)
    job = started(simulator)
    simulator.set_status("export", job, "running")

    assert (submit(retry(where), wait_for_completion=False) == job) is not cancel_on_timeout


@MODES
def test_retry_after_a_timeout_that_could_not_cancel(simulator: Simulator, mode: str) -> None:
    """An export whose cancellation was refused keeps running: the retry adopts it, and starts no other."""
    simulator.add_fault(Fault("access_denied", operation=CANCEL, times=None))
    where = last_try()
    timed_out(where, mode)
    job = started(simulator)

    assert submit(retry(where), wait_for_completion=False) == job
    assert list(statuses(simulator)) == [job]


def test_timeout_between_two_attempts(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where nothing was started, no retry says that something may have been."""
    simulator.add_fault(Fault("too_many_requests", operation=START))
    task, where = start(retries=2), last_try()

    def ring(_: float) -> None:
        raise TIME_IS_OVER

    monkeypatch.setattr(task.kill, "sleep", ring)
    with pytest.raises(TIME_IS_OVER):
        task.execute(where)

    submit(retry(where), wait_for_completion=False)
    assert "may be running besides" not in capfd.readouterr().out


def test_id_that_can_not_be_kept(simulator: Simulator) -> None:
    """An export that no retry would find is cancelled."""

    class FullStore(TaskStateStore):
        """It takes no ids."""

        def set(self, key: str, value: Any) -> None:
            if value != "?":
                raise RuntimeError("API_SERVER_ERROR")
            super().set(key, value)

    where = last_try(task_state_store=FullStore())
    with pytest.raises(NeptuneMLError) as caught:
        submit(where)

    job = started(simulator)
    assert str(caught.value) == (
        f"Export job {job!r}: Airflow could not keep its id for a retry: RuntimeError: API_SERVER_ERROR."
        " Cancellation requested."
    )
    assert statuses(simulator) == {job: "cancelling"}
    assert where["ti"].xcoms["job_id"] == job


# Kills


@however_ended
def test_ended_while_the_start_is_under_way(
    simulator: Simulator, held: Event, ended: type[BaseException]
) -> None:
    """The end of a task waits for the reply of the start, and cancels what that names."""
    task, where = start(), last_try()
    simulator.add_fault(Fault("slow", operation=START, when="after"))

    def act() -> None:
        held.set()
        end(task, ended)()

    with interrupted(simulator, START, act):
        execute(task, where, ended)

    job = started(simulator)
    assert statuses(simulator) == {job: "cancelling"}
    assert where["ti"].xcoms["job_id"] == job
    kept = {} if ended is TIME_IS_OVER else {"neptune_ml_unused": job}
    assert where["task_state_store"] == kept


@however_ended
def test_ended_while_it_waits(simulator: Simulator, ended: type[BaseException]) -> None:
    """The end of a task that waits cancels its export."""
    task = start()
    during(task.hook.conn, GET, end(task, ended))

    execute(task, last_try(), ended)

    assert list(statuses(simulator).values()) == ["cancelling"]
    assert len(simulator.calls(CANCEL)) == 1


def test_ended_before_the_start(simulator: Simulator) -> None:
    """A task that was killed before it sent anything sends nothing."""
    task = start()
    task.on_kill()

    with pytest.raises(NeptuneMLKilledError):
        task.execute(last_try())

    assert not simulator.calls(START)


def test_kill_without_cancel_on_kill(simulator: Simulator) -> None:
    """An export that shall survive a kill does."""
    task = start(cancel_on_kill=False)

    with interrupted(simulator, GET, task.on_kill), pytest.raises(NeptuneMLKilledError):
        task.execute(last_try())

    assert not simulator.calls(CANCEL)


def test_killed_cancel(simulator: Simulator) -> None:
    """A cancel operator killed before the request was acknowledged sends it once more."""
    simulator.seed("export", "mine", status="running")
    simulator.add_fault(Fault("unavailable", operation=CANCEL))
    task = cancel(botocore_config=ONCE)

    with interrupted(simulator, CANCEL, task.on_kill), pytest.raises(NeptuneMLKilledError):
        task.execute(context())

    assert statuses(simulator) == {"mine": "cancelling"}


# The connection


def test_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are signed for execute-api, or not at all where export_iam_auth is false."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", EXAMPLE_CREDENTIAL.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", EXAMPLE_CREDENTIAL.secret_key)
    with Simulator(clock="manual", iam_auth=True, region="eu-west-1") as simulator:
        connection = connect(monkeypatch, simulator.connection)
        hook = NeptuneMLExportHook(aws_conn_id=None)
        job = hook.start(output_s3_path=OUTPUT)["id"]
        assert hook.stop("export", job) is True
        assert hook.test_connection() == (True, f"{simulator.export_api_url} answers")

        connection["extra"]["export_iam_auth"] = False
        connect(monkeypatch, connection)
        with pytest.raises(NeptuneMLServiceError, match="and export_iam_auth of connection"):
            NeptuneMLExportHook(aws_conn_id=None).describe("export", job)
        assert NeptuneMLExportHook(aws_conn_id=None).test_connection()[0] is False

        connection["extra"]["export_iam_auth"] = True
        connect(monkeypatch, connection)
        with pytest.raises(NeptuneMLServiceError, match="check region_name"):
            NeptuneMLExportHook(aws_conn_id=None, region_name="us-east-1").describe("export", job)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("a1.execute-api.ap-south-1.amazonaws.com", "ap-south-1"),
        ("a1-vpce-0a1.execute-api.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("vpce-0a1-b2.execute-api.ap-south-1.vpce.amazonaws.com", "ap-south-1"),
        # One of the user's own tells none: the cluster's does, as for the cluster.
        ("exports.example.com", "eu-west-1"),
    ],
)
def test_region_of_the_invoke_uri(monkeypatch: pytest.MonkeyPatch, host: str, region: str) -> None:
    """The region in the host name of the API comes before that of the cluster."""
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    connect(monkeypatch, {"conn_type": "neptune_ml", "host": CLUSTER})
    hook = NeptuneMLExportHook(export_api_url=f"https://{host}/v1/neptune-export/", aws_conn_id=None)

    assert hook.region_name == region
    assert hook.cluster.endpoint_url == f"https://{host}/v1/neptune-export"


def test_no_service(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address, the error says where to give it; a wrong one in the connection is named there."""
    connection = connect(monkeypatch, simulator.connection)
    for url, shown in {"nowhere": "nowhere", "https://me:pa55/word@api/v1": r"https://\*\*\*@api/v1"}.items():
        connection["extra"]["export_api_url"] = url
        connect(monkeypatch, connection)
        with pytest.raises(NeptuneMLConfigurationError, match=f"'{shown}', in the extra of connection"):
            NeptuneMLExportHook().describe("export", "mine")

    del connection["extra"]["export_api_url"]
    connect(monkeypatch, connection)
    with pytest.raises(NeptuneMLConfigurationError, match="No export service: give export_api_url"):
        NeptuneMLExportHook().describe("export", "mine")
