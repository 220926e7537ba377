"""The example Dags, run end to end with ``dag.test()`` against the simulator."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from airflow import __version__

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from dev.aws import aws_server
from dev.cluster_policy.airflow_local_settings import task_policy
from dev.demo import seed
from tests import dag_files
from tests.cloudwatch import connect_aws
from tests.conftest import connect
from tests.s3 import put_metrics, use_s3
from tests.sdk import DAG

ASKS_PEOPLE = not __version__.startswith(("2.", "3.0."))
FOLDER = Path(__file__).parent.parent / "example_dags"

pytestmark = pytest.mark.usefixtures("airflow_database")


def load(name: str) -> DAG:
    """Import an example and return its Dag."""
    dag = dag_files.load(FOLDER / f"{name}.py")
    for task in dag.tasks:
        task_policy(task)
    return dag


def run(name: str, **conf: Any) -> tuple[str, dict[str, str]]:
    """Run an example, and return the state of the run and of each task."""
    dag_run = load(name).test(run_conf=conf)
    return str(dag_run.state), {ti.task_id: str(ti.state) for ti in dag_run.get_task_instances()}


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulated cluster in which hours pass in a second, with what `make airflow` has on it."""
    with Simulator(speed=20_000) as simulator:
        connect(monkeypatch, simulator.connection)
        seed(simulator)
        yield simulator


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_explains_itself(name: str) -> None:
    """The UI says what a Dag does, what each of its params is, and has a default for it."""
    if name == "on_training_completed" and not AIRFLOW_V_3_0_PLUS:
        pytest.skip("the file has no Dag on Airflow 2")
    dag: Any = load(name)

    assert dag.dag_id == name
    assert dag.description
    assert re.match(r"\n?[A-Z].+[.]\n\n", dag.doc_md, re.DOTALL), "more than a title"
    for param in map(dag.params.get_param, dag.params):
        assert param.schema["title"]
        assert param.description.endswith(".")
        assert param.resolve() is not None


def test_gate_on_training(fast: Simulator) -> None:
    """Training is started, waited for, and what is behind the gate runs."""
    state, tasks = run("gate_on_training")

    assert state == "success"
    assert tasks == {"start": "success", "wait": "success", "use_model": "success"}
    assert len(fast.calls("StartMLModelTrainingJob")) == 1


def test_gate_stays_shut(fast: Simulator) -> None:
    """What is behind the gate does not run when the training failed."""
    fast.script("modeltraining", None, fail_stage="hpoJob", reason="AlgorithmError: no")

    state, tasks = run("gate_on_training")

    assert state == "failed"
    assert tasks == {"start": "success", "wait": "failed", "use_model": "upstream_failed"}


@pytest.mark.parametrize("name", ["gate_on_existing_job", "gate_without_worker"])
def test_gate_on_existing_job(fast: Simulator, name: str) -> None:
    """A job that somebody else started opens the gate too."""
    state, tasks = run(name)

    assert state == "success"
    assert tasks == {"wait": "success", "use_model": "success"}
    assert not fast.calls("StartMLModelTrainingJob")


def test_train_with_cleanup(fast: Simulator) -> None:
    """When all goes well, the emergency cancel is skipped and the teardown finds nothing to stop."""
    state, tasks = run("train_with_cleanup")

    assert state == "success"
    assert (tasks["cancel"], tasks["fail_run"]) == ("skipped", "skipped")
    assert tasks["clean_up"] == "success"
    assert tasks["use_model"] == "success"


def test_train_with_cleanup_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a check fails while the training runs, the training is cancelled."""
    with Simulator(speed=30) as simulator:
        connect(monkeypatch, simulator.connection)
        simulator.seed("dataprocessing", "nightly-data", status="Completed")
        # However slow this machine is, the training runs when the cancellation comes.
        simulator.script("modeltraining", seconds={"hpoJob": 24 * 3600.0})

        state, tasks = run("train_with_cleanup", data_is_good=False)

        assert state == "failed"
        assert tasks["cancel"] == "success"
        assert (tasks["wait"], tasks["fail_run"]) == ("failed", "failed")
        assert tasks["use_model"] == "upstream_failed"
        [job] = simulator.overview()["kinds"]["modeltraining"]
        assert job["status"] == "Stopped"


def test_check_connection(fast: Simulator) -> None:
    """The task succeeds if the cluster answers, and fails if the request is refused."""
    assert run("check_connection") == ("success", {"check": "success"})

    fast.add_fault(Fault("access_denied", operation="ListMLDataProcessingJobs"))

    assert run("check_connection") == ("failed", {"check": "failed"})


def test_train_with_log(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """What the training's stages have written to CloudWatch is in the log of the task, wherever that goes."""
    caplog.set_level(logging.INFO)
    with aws_server() as url, Simulator(speed=20_000, aws_endpoint_url=url) as simulator:
        connect(monkeypatch, simulator.connection)
        connect_aws(monkeypatch, url)
        seed(simulator)

        state, tasks = run("train_with_log")

    assert (state, tasks) == ("success", {"train": "success"})
    printed = "".join(capfd.readouterr()) + caplog.text
    assert re.search(r"\[.*algo-1.*\] .*: 10 of 10; reporting success", printed)


@pytest.fixture
def workflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Simulator, Any]]:
    """A cluster, and S3 with what SageMaker leaves there."""
    with aws_server() as url, Simulator(speed=20_000, aws_endpoint_url=url) as simulator:
        connect(monkeypatch, simulator.connection)
        yield simulator, use_s3(monkeypatch, url, "my-bucket")


@pytest.mark.skipif(__version__.startswith("3.0."), reason="dag.test() of Airflow 3.0 can't set a Variable")
def test_whole_workflow(workflow: tuple[Simulator, Any]) -> None:
    """Each run tries its model before the endpoint replaces the one of the run before, which is deleted."""
    simulator, s3 = workflow
    dag = load("whole_workflow")

    def run_once() -> dict[str, str]:
        return {ti.task_id: str(ti.state) for ti in dag.test().get_task_instances()}

    def endpoints() -> dict[str, str]:
        serving = simulator.overview()["kinds"]["endpoints"]
        return {each["id"]: each["stages"][0]["name"] for each in serving}

    tasks = run_once()
    [(first, name)] = endpoints().items()
    [query] = simulator.calls("ExecuteGremlinQuery")
    [data] = simulator.overview()["kinds"]["dataprocessing"]
    [start] = simulator.calls("StartMLDataProcessingJob")

    assert tasks["delete_new"] == "skipped"
    assert (tasks["ask"], tasks["publish"], tasks["delete_old"]) == ("success", "success", "success")
    assert start.body["inputDataS3Location"].startswith("s3://my-bucket/export/")
    _, _, output = data["stages"][0]["output"].partition("s3://my-bucket/")
    written = s3.get_object(Bucket="my-bucket", Key=f"{output}/model-hpo-configuration.json")
    tuned = json.loads(written["Body"].read())
    assert tuned["models"][0]["1-tier-param"][1]["range"] == [20, 100]
    assert f'"{name}"' in query.body["gremlin"]

    tasks = run_once()

    assert tasks["delete_old"] == "success"
    assert len(endpoints()) == 1
    assert first not in endpoints()


@pytest.mark.parametrize("failed", ["ask", "publish"])
def test_whole_workflow_that_fails(
    workflow: tuple[Simulator, Any], monkeypatch: pytest.MonkeyPatch, failed: str
) -> None:
    """A model that answers nothing, or can't be published, does not stay: its endpoint is deleted."""
    simulator, _ = workflow
    dag: Any = load("whole_workflow")
    if failed == "ask":
        simulator.script_query([])
    else:
        variable = dag.get_task("publish").python_callable.__globals__["Variable"]
        monkeypatch.setattr(variable, "set", None)

    dag_run = dag.test()

    tasks = {ti.task_id: str(ti.state) for ti in dag_run.get_task_instances()}
    assert str(dag_run.state) == "failed"
    assert (tasks[failed], tasks["delete_old"], tasks["delete_new"]) == (
        "failed",
        "upstream_failed",
        "success",
    )
    assert simulator.overview()["kinds"]["endpoints"] == []


GUIDE = """
with DAG("guide", schedule=None, default_args={"poll_interval": 1}) as dag:
    start = NeptuneMLStartModelTrainingJobOperator(
        task_id="start",
        data_processing_job_id="nightly-data",
        train_model_s3_location="s3://my-bucket/models",
        wait_for_completion=False,
    )

    @task
    def check_data():
        assert DATA_IS_GOOD

"""


@pytest.mark.parametrize("data_is_good", [True, False])
def test_guide_keeps_a_run_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data_is_good: bool
) -> None:
    """What the guide shows for a check is enough by itself: when the check fails, so does the run."""
    page = (FOLDER.parent / "docs" / "cancel.md").read_text()
    [quote] = re.findall(r"^ +checked = check_data\(\)\n.*?>> fail_run\(\)\n", page, re.DOTALL | re.MULTILINE)
    text = GUIDE.replace("DATA_IS_GOOD", str(data_is_good)) + quote
    with Simulator(speed=30) as simulator:
        connect(monkeypatch, simulator.connection)
        simulator.seed("dataprocessing", "nightly-data", status="Completed")
        simulator.script("modeltraining", seconds={"hpoJob": 24 * 3600.0})

        state, tasks = dag_files.run(dag_files.write_dag(monkeypatch, tmp_path, text))

        [job] = simulator.overview()["kinds"]["modeltraining"]
    last = {"cancel": tasks["cancel"], "fail_run": tasks["fail_run"]}
    if data_is_good:
        assert (state, job["status"]) == ("success", "InProgress")
        assert last == {"cancel": "skipped", "fail_run": "skipped"}
    else:
        assert (state, job["status"]) == ("failed", "Stopped")
        assert last == {"cancel": "success", "fail_run": "failed"}


def bodies(simulator: Simulator, operation: str) -> list[dict[str, Any]]:
    """Return what was sent with the good requests of an operation."""
    return [call.body for call in simulator.calls(operation) if call.status == 200]


def test_full_pipeline(fast: Simulator) -> None:
    """Each step takes the job of the one before it, and nothing is cancelled when all goes well."""
    state, tasks = run("full_pipeline")

    assert state == "success"
    assert set(tasks.values()) == {"success"}
    [processing], [training], [endpoint] = (
        bodies(fast, operation)
        for operation in ("StartMLDataProcessingJob", "StartMLModelTrainingJob", "CreateMLEndpoint")
    )
    assert training["dataProcessingJobId"] == processing["id"]
    assert endpoint["mlModelTrainingJobId"] == training["id"]
    assert not [call for call in fast.journal if call.method == "DELETE"]


def test_full_pipeline_serves_on(fast: Simulator) -> None:
    """The next run changes the endpoint that there is; one that fails leaves it alone."""
    run("full_pipeline")
    fast.script("modeltraining", fail_stage="hpoJob", reason="AlgorithmError: no")
    state, tasks = run("full_pipeline")

    assert state == "failed"
    assert (tasks["fraud.train"], tasks["fraud.deploy"]) == ("failed", "upstream_failed")
    assert fast.describe("endpoints", "fraud")["status"] == "InService"

    state, _ = run("full_pipeline")

    assert state == "success"
    first, second = bodies(fast, "CreateMLEndpoint")
    assert (first["id"], second["id"]) == ("fraud", "fraud")
    assert second["update"] is True


def test_export_and_train(fast: Simulator) -> None:
    """The graph is exported, and what is processed is what was exported."""
    state, tasks = run("export_and_train")

    assert (state, set(tasks.values())) == ("success", {"success"})
    [export], [processing] = (
        bodies(fast, operation) for operation in ("StartExportJob", "StartMLDataProcessingJob")
    )
    [job] = [call.id for call in fast.calls("StartExportJob")]
    assert processing["inputDataS3Location"] == fast.describe("export", str(job))["outputS3Uri"]
    assert export["params"] == {"endpoint": "127.0.0.1", "profile": "neptune_ml", "cloneCluster": True}
    assert not [call for call in fast.journal if call.method == "DELETE"]


def test_nightly_incremental(fast: Simulator) -> None:
    """A night builds on the model that was trained last, whatever has failed since; so does a training."""
    # The first run has nothing to build on, and trains.
    assert run("nightly_incremental")[0] == "success"
    [data], [model] = (
        bodies(fast, operation) for operation in ("StartMLDataProcessingJob", "StartMLModelTrainingJob")
    )
    assert "previousDataProcessingJobId" not in data
    assert "previousModelTrainingJobId" not in model

    # The second takes its model to new data.
    state, tasks = run("nightly_incremental")
    assert (state, tasks["retrain.process"]) == ("success", "skipped")
    [transform] = bodies(fast, "StartMLModelTransformJob")
    refreshed = bodies(fast, "StartMLDataProcessingJob")[-1]
    assert refreshed["previousDataProcessingJobId"] == data["id"]
    assert transform["mlModelTrainingJobId"] == model["id"]
    assert transform["dataProcessingJobId"] == refreshed["id"]
    assert bodies(fast, "CreateMLEndpoint")[-1]["mlModelTransformJobId"] == transform["id"]

    # A training that fails is built upon by nobody; nor are the data that were processed for it.
    fast.script("modeltraining", fail_stage="hpoJob", reason="AlgorithmError: no")
    assert run("nightly_incremental", retrain=True)[0] == "failed"
    unused = bodies(fast, "StartMLModelTrainingJob")[-1]
    assert unused["previousModelTrainingJobId"] == model["id"]

    assert run("nightly_incremental")[0] == "success"
    assert bodies(fast, "StartMLDataProcessingJob")[-1]["previousDataProcessingJobId"] == data["id"]
    assert bodies(fast, "StartMLModelTransformJob")[-1]["mlModelTrainingJobId"] == model["id"]

    # The next one that is asked for has a warm start from the first.
    assert run("nightly_incremental", retrain=True)[0] == "success"
    again = bodies(fast, "StartMLModelTrainingJob")[-1]
    assert again["previousModelTrainingJobId"] == model["id"]

    assert run("nightly_incremental")[0] == "success"
    assert bodies(fast, "StartMLModelTransformJob")[-1]["mlModelTrainingJobId"] == again["id"]
    assert (
        bodies(fast, "StartMLDataProcessingJob")[-1]["previousDataProcessingJobId"]
        == again["dataProcessingJobId"]
    )


def test_train_several_models(fast: Simulator) -> None:
    """Each model is trained on the same data; one that fails doesn't keep another from being served."""
    fast.script("modeltraining", fail_stage="hpoJob", reason="AlgorithmError: no")

    state, tasks = run("train_several_models")

    assert (state, tasks["serve.deploy"]) == ("success", "success")
    failed, *completed = bodies(fast, "StartMLModelTrainingJob")
    assert {training["modelName"] for training in (failed, *completed)} == {"transe", "distmult", "rotate"}
    assert len({training["dataProcessingJobId"] for training in (failed, *completed)}) == 1
    [processing] = bodies(fast, "StartMLDataProcessingJob")
    assert processing["modelType"] == "kge"
    [endpoint] = bodies(fast, "CreateMLEndpoint")
    assert endpoint["mlModelTrainingJobId"] in [training["id"] for training in completed]


def test_deploy_if_better(fast: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is deployed if it beats the bound, and the one that was deployed last."""
    with aws_server() as url:
        client = use_s3(monkeypatch, url, "my-bucket")
        first = trained_and_gated(fast, client, 0.9)
        again = trained_and_gated(fast, client, 0.9)
        better = trained_and_gated(fast, client, 0.95)

    assert first["deploy"] == first["serving"] == "success"
    assert (again["good_enough"], again["better"], again["deploy"]) == ("success", "skipped", "skipped")
    assert (better["better"], better["deploy"]) == ("success", "success")
    trainings = [training["id"] for training in bodies(fast, "StartMLModelTrainingJob")]
    created, updated = bodies(fast, "CreateMLEndpoint")
    assert [created["mlModelTrainingJobId"], updated["mlModelTrainingJobId"]] == [trainings[0], trainings[2]]


def trained_and_gated(simulator: Simulator, client: Any, accuracy: float) -> dict[str, str]:
    """Run the example with a training that leaves an accuracy in S3, and return the states of its tasks."""
    dag = load("deploy_if_better")
    for each in dag.tasks:
        if hasattr(each, "poll_interval"):
            each.poll_interval = 0.1
    simulator.script("modeltraining", seconds={"hpoJob": 24 * 3600.0})
    before, over = len(bodies(simulator, "StartMLModelTrainingJob")), Event()

    def train() -> None:
        while not over.wait(0.05):
            for training in bodies(simulator, "StartMLModelTrainingJob")[before:]:
                put_metrics(client, simulator, training["id"], eval={"accuracy": accuracy})
                simulator.finish("modeltraining", training["id"])
                return

    with ThreadPoolExecutor(1) as sagemaker:
        done = sagemaker.submit(train)
        try:
            _, tasks = dag_files.run(dag)
        finally:
            over.set()
        done.result()
    return tasks


@pytest.mark.skipif(
    __version__.startswith(("3.1.", "3.2.")), reason="Airflow 3.3 is the first whose dag.test() asks people"
)
@pytest.mark.parametrize(("answer", "deployed"), [("Approve", "success"), ("Reject", "skipped")])
def test_approve_deployment(fast: Simulator, answer: str, deployed: str) -> None:
    """The model is deployed when somebody has approved it, and not when somebody has rejected it."""
    # Two threads that import Airflow's models at once wait for each other: they are complete before.
    from sqlalchemy.orm import configure_mappers

    load("approve_deployment")
    configure_mappers()
    over = Event()
    with ThreadPoolExecutor(1) as person:
        answered = person.submit(decide, "approve_deployment", "approve", answer, over)
        try:
            state, tasks = run("approve_deployment")
        finally:
            over.set()
        answered.result()

    if not ASKS_PEOPLE and answer == "Reject":
        assert (state, tasks["fraud.deploy"]) == ("failed", "upstream_failed")
    else:
        assert (state, tasks["fraud.deploy"]) == ("success", deployed)
    assert len(bodies(fast, "CreateMLEndpoint")) == (deployed == "success")


def decide(dag_id: str, task_id: str, answer: str, over: Event) -> None:
    """Decide like a person in the UI, once the task waits for one: respond, or, before 3.1, mark it."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    while not over.wait(0.1):
        with create_session() as session:
            waiting = (
                session.query(TaskInstance)
                .filter_by(dag_id=dag_id, task_id=task_id)
                .filter(TaskInstance.state.in_(["awaiting_input", "up_for_reschedule"]))
                .first()
            )
            if waiting is None:
                continue
            if ASKS_PEOPLE:
                respond(waiting, answer, session)
                return
            # Once more if need be: dag.test() may be about to store "up_for_reschedule".
            waiting.state = "success" if answer == "Approve" else "failed"


def respond(waiting: Any, answer: str, session: Any) -> None:
    """Answer what a human is asked, by the function behind Airflow's REST API."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
    from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail

    update_hitl_detail(
        dag_id=waiting.dag_id,
        dag_run_id=waiting.run_id,
        task_id=waiting.task_id,
        update_hitl_detail_payload=UpdateHITLDetailPayload(chosen_options=[answer], params_input={}),
        user=SimpleAuthManagerUser(username="somebody", role="admin"),
        session=session,
    )


def test_on_training_completed() -> None:
    """A training that completes can schedule a Dag on Airflow 3; the file has no Dag on Airflow 2."""
    if not AIRFLOW_V_3_0_PLUS:
        with pytest.raises(AttributeError, match="dag"):
            load("on_training_completed")
        return

    # Events come from a triggerer alone: what the Dag does with them is in tests/system/test_events.py.
    timetable: Any = load("on_training_completed").timetable
    asset = timetable.asset_condition
    assert asset.uri == "neptune-ml://mycluster/modeltraining/nightly-*"
    assert [watcher.trigger.job_id for watcher in asset.watchers] == ["nightly-*"]
