"""The pipeline: what it lays, what it fills in, and what it leaves running."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_neptune_ml.pipeline import NeptuneMLPipeline, previous_job_id
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.conftest import connect, use_dags_folder
from tests.pipeline_dags import pipelines
from tests.sdk import DAG, task

PROCESS = {
    "input_data_s3_location": "s3://bucket/export",
    "processed_data_s3_location": "s3://bucket/processed",
}
TRAIN = {"train_model_s3_location": "s3://bucket/models"}
TRANSFORM = {"model_transform_output_s3_location": "s3://bucket/transformed"}
DEPLOY = {"endpoint_id": "fraud"}


def lay(**arguments: Any) -> NeptuneMLPipeline:
    """Return a pipeline in a Dag of its own."""
    with DAG("dag", schedule=None):
        return NeptuneMLPipeline(**arguments)


def upstream(pipeline: NeptuneMLPipeline) -> dict[str, set[str]]:
    """Return the tasks of a pipeline, each with those before it."""
    return {
        each.task_id: {before.removeprefix("neptune_ml.") for before in each.upstream_task_ids}
        for each in pipeline
    }


def test_whole_lifecycle() -> None:
    """The steps come one after the other, each job with its teardown, the endpoint without one."""
    pipeline = lay(process=PROCESS, train=TRAIN, transform=TRANSFORM, deploy=DEPLOY)

    assert upstream(pipeline) == {
        "neptune_ml.process": set(),
        "neptune_ml.cancel_process": {"process"},
        "neptune_ml.train": {"process"},
        "neptune_ml.cancel_train": {"train"},
        "neptune_ml.transform": {"process", "train"},
        "neptune_ml.cancel_transform": {"transform"},
        "neptune_ml.deploy": {"transform"},
    }
    assert pipeline.deploy.ml_model_training_job_id is None
    assert pipeline.deploy.update is True
    # Setups would be run again whenever a task behind them is cleared.
    assert not any(each.is_setup for each in pipeline)
    # What hangs behind the group waits for the endpoint alone.
    assert [leaf.task_id for leaf in pipeline.get_leaves()] == ["neptune_ml.deploy"]


def test_endpoint_name() -> None:
    """The endpoint's name is an argument that connects tasks, and in a text a template; without one, None."""
    with DAG("dag", schedule=None):
        pipeline = NeptuneMLPipeline(train="model-1", deploy=DEPLOY)

        @task
        def use(name: str) -> None:
            """Use it."""

        use(pipeline.endpoint_name)

    assert pipeline.deploy.downstream_task_ids == {"use"}
    assert "key='endpoint_name'" in f"{pipeline.endpoint_name}"
    assert lay(train=TRAIN, process="data-1").endpoint_name is None


def test_export() -> None:
    """An export is the first step, with its teardown; its location is what is processed."""
    export = {"output_s3_path": "s3://bucket/export", "export_api_url": "https://api/v1"}
    process = {"processed_data_s3_location": "s3://bucket/processed"}
    pipeline = lay(export=export, process=process, incremental=True)
    given = lay(export="s3://bucket/exported", process=process)

    assert upstream(pipeline) == {
        "neptune_ml.export": set(),
        "neptune_ml.cancel_export": {"export"},
        "neptune_ml.process": {"export"},
        "neptune_ml.cancel_process": {"process"},
    }
    assert pipeline.process.input_data_s3_location.operator is pipeline.export
    teardown: Any = pipeline.get_child_by_label("cancel_export")
    assert teardown.export_api_url == "https://api/v1"
    assert given.process.input_data_s3_location == "s3://bucket/exported"


def test_steps_can_be_left_out() -> None:
    """What is not given is not there; the teardowns can be left out too."""
    pipeline = lay(process=PROCESS, train=TRAIN, teardowns=False)

    assert upstream(pipeline) == {"neptune_ml.process": set(), "neptune_ml.train": {"process"}}
    assert pipeline.transform is None
    assert pipeline.deploy is None


def test_ids_in_place_of_steps() -> None:
    """The ids of jobs that there are already take the place of steps."""
    pipeline = lay(process="data-1", train="{{ var.value.model }}", transform=TRANSFORM)

    assert pipeline.transform.data_processing_job_id == "data-1"
    assert pipeline.transform.ml_model_training_job_id == "{{ var.value.model }}"
    assert pipeline.train == "{{ var.value.model }}"


@pytest.mark.parametrize("form", ["output", "operator"])
def test_tasks_in_place_of_steps(form: str) -> None:
    """A task that returns an id takes the place of a step."""
    with DAG("dag", schedule=None):

        @task
        def mine() -> str:
            return "model-1"

        output: Any = mine()
        pipeline = NeptuneMLPipeline(train=output if form == "output" else output.operator, deploy=DEPLOY)

    assert pipeline.deploy.upstream_task_ids == {"mine"}


def test_own_ids_are_kept() -> None:
    """An id in the arguments of a step is not replaced; the steps keep their order."""
    pipeline = lay(
        process=PROCESS,
        train={**TRAIN, "data_processing_job_id": "mine"},
        transform={**TRANSFORM, "training_job_name": "sagemaker-job"},
        deploy={"endpoint_id": "fraud", "ml_model_training_job_id": "mine"},
        incremental=False,
    )

    assert pipeline.train.data_processing_job_id == "mine"
    assert pipeline.transform.data_processing_job_id is None
    assert pipeline.deploy.ml_model_transform_job_id is None
    assert upstream(pipeline)["neptune_ml.deploy"] == {"transform"}
    assert upstream(pipeline)["neptune_ml.train"] == {"process"}


def test_incremental() -> None:
    """An incremental pipeline builds on its own earlier jobs, unless a step says otherwise."""
    pipeline = lay(process=PROCESS, train=TRAIN, incremental=True, group_id="fraud")
    fresh = lay(process={**PROCESS, "previous_data_processing_job_id": None}, incremental=True)

    assert "fraud.process" in pipeline.process.previous_data_processing_job_id
    assert "fraud.train" in pipeline.train.previous_model_training_job_id
    assert fresh.process.previous_data_processing_job_id is None


def test_shared_arguments() -> None:
    """default_args reach all tasks; the way to the service of a step reaches its teardown."""
    pipeline = lay(
        process=PROCESS,
        train={**TRAIN, "neptune_ml_conn_id": "gpu", "pool": "gpu"},
        deploy=DEPLOY,
        default_args={"neptune_ml_conn_id": "cluster", "poll_interval": 7, "retries": 3},
    )

    assert {each.retries for each in pipeline} == {3}
    assert {each.poll_interval for each in pipeline} == {7}
    assert {each.task_id: each.neptune_ml_conn_id for each in pipeline} == {
        "neptune_ml.process": "cluster",
        "neptune_ml.cancel_process": "cluster",
        "neptune_ml.train": "gpu",
        "neptune_ml.cancel_train": "gpu",
        "neptune_ml.deploy": "cluster",
    }
    teardown: Any = pipeline.get_child_by_label("cancel_train")
    assert teardown.pool == "gpu"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one of them must be a dict"),
        ({"train": "model-1"}, "one of them must be a dict"),
        ({"process": {}}, "process: .*missing keyword argument.*input_data_s3_location"),
        ({"process": {**PROCESS, "instance": 1}}, "process: (?s:.*)instance"),
        (
            {"process": {**PROCESS, "processing_instance_type": "r5"}},
            "process: processing_instance_type='r5'",
        ),
        ({"process": 5}, "process=5 must be a dict"),
        ({"process": " ", "train": TRAIN}, "process=' ' must be a dict"),
        ({"train": TRAIN}, "train: .*data_processing_job_id"),
        ({"process": "data-1", "transform": TRANSFORM}, "transform: .*ml_model_training_job_id"),
        ({"deploy": DEPLOY}, "deploy: ml_model_training_job_id or ml_model_transform_job_id must be given"),
        ({"deploy": "fraud"}, "deploy='fraud' must be a dict"),
        ({"train": "model-1", "deploy": {}}, "deploy: endpoint_id=None must be the id"),
        (
            {"process": {**PROCESS, "wait_for_completion": False}},
            "process: wait_for_completion=False must be True",
        ),
    ],
)
def test_mistakes_are_told(arguments: dict[str, Any], message: str) -> None:
    """A mistake is told when the Dag is parsed, with the step, the argument and the rule."""
    with pytest.raises(ValueError, match=message):
        lay(**arguments)


def test_dag_is_valid() -> None:
    """Airflow finds nothing wrong with the teardowns, and can cut the Dag down to a part of it."""
    pipeline = lay(process=PROCESS, train=TRAIN, deploy=DEPLOY)
    dag: Any = pipeline.dag

    dag.validate_setup_teardown()
    part = dag.partial_subset("neptune_ml.deploy", include_upstream=False)
    assert set(part.task_ids) == {"neptune_ml.deploy"}


@pytest.fixture
def dags_folder(airflow_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Dags folder with the pipelines of this module."""
    use_dags_folder(monkeypatch, Path(__file__).parent / "pipeline_dags")


@pytest.mark.usefixtures("dags_folder")
def test_teardown_cancels_what_was_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that its task lost sight of is cancelled by the teardown, and the run has failed."""
    with Simulator(speed=60) as simulator:
        connect(monkeypatch, simulator.connection)
        simulator.seed("dataprocessing", "data-1", status="Completed")
        # However slow this machine is, the training runs when the cancellation comes.
        simulator.script("modeltraining", seconds={"hpoJob": 24 * 3600.0})
        # The look for a job that has the id passes.
        simulator.add_fault(Fault("internal_failure", "GetMLModelTrainingJob", skip=1, times=5))

        dag_run = pipelines.lost_sight.test()

        assert {ti.task_id: str(ti.state) for ti in dag_run.get_task_instances()} == {
            "neptune_ml.train": "failed",
            "neptune_ml.cancel_train": "success",
            "neptune_ml.deploy": "upstream_failed",
        }
        assert str(dag_run.state) == "failed"
        [job] = simulator.overview()["kinds"]["modeltraining"]
        assert job["status"] == "Stopped"


@pytest.mark.usefixtures("dags_folder")
def test_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a mapped task group, each pipeline has jobs of its own, in this run and in the next."""
    with Simulator(speed=20_000) as simulator:
        connect(monkeypatch, simulator.connection)
        for _ in range(2):
            assert str(pipelines.mapped_pipelines.test().state) == "success"

    data = {call.id: call.body for call in simulator.calls("StartMLDataProcessingJob")}
    models = {call.id: call.body for call in simulator.calls("StartMLModelTrainingJob")}
    assert {model["dataProcessingJobId"] for model in models.values()} == set(data)
    second = [model for model in models.values() if "previousModelTrainingJobId" in model]
    assert len(second) == 2
    for model in second:
        now = data[model["dataProcessingJobId"]]
        before = models[model["previousModelTrainingJobId"]]["dataProcessingJobId"]
        assert now["previousDataProcessingJobId"] == before
        assert now["processedDataS3Location"] == data[before]["processedDataS3Location"]


def test_templates_of_earlier_ids() -> None:
    """The template of an earlier id asks for a key, and is empty where there is nothing."""
    template = previous_job_id("retrain.train", key="data_processing_job_id")

    assert "task_ids='retrain.train'" in template
    assert "key='data_processing_job_id'" in template
    assert template.endswith("or '' }}")
