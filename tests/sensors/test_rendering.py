"""Templates of a wait that begins in the triggerer: rendered there as in a worker, or left to one."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timezone
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER
from airflow_provider_neptune_ml.sensors.neptune_ml import (
    NeptuneMLModelTrainingJobSensor,
)

if not CAN_RUN_WITHOUT_WORKER:
    pytest.skip("Airflow 3.3 is the first whose triggerer renders templates", allow_module_level=True)

from airflow.executors.workloads import TaskInstanceDTO
from airflow.jobs.triggerer_job_runner import ToTriggerSupervisor, TriggerRunner
from airflow.models.trigger import Trigger
from airflow.sdk import DAG, Asset
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import GetXCom, XComResult
from airflow.serialization.serialized_objects import DagSerialization
from pydantic import TypeAdapter, ValidationError

from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger
from tests.conftest import CONNECTION_VARIABLE
from tests.contexts import context
from tests.modes import first_event, rebuild

pytestmark = pytest.mark.usefixtures("connection")

NOON = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
DATES = ("logical_date", "data_interval_start", "data_interval_end", "run_after", "start_date")
RUN: dict[str, Any] = {
    **dict.fromkeys(DATES, NOON),
    "dag_id": "gate",
    "run_id": "r-1",
    "run_type": "manual",
    "state": "running",
    "end_date": None,
    "conf": {"asked": "by-conf"},
    "consumed_asset_events": [],
    "partition_key": None,
}


class Supervisor:
    """Airflow's end of the triggerer's line: what it can't decode gets no answer, ever."""

    def __init__(self) -> None:
        self.unanswered: list[str] = []
        self.xcoms = {"other": "by-xcom"}
        self._decoder = TypeAdapter(ToTriggerSupervisor)

    def send(self, message: Any) -> XComResult:
        """Answer what the triggerer's supervisor can decode."""
        try:
            self._decoder.validate_python(message.model_dump())
        except ValidationError:
            self.unanswered.append(type(message).__name__)
            raise
        assert isinstance(message, GetXCom)
        return XComResult(key=message.key, value=self.xcoms.get(message.task_id))


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """The supervisor of this process, as if it were a triggerer."""
    stand_in = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", stand_in, raising=False)
    return stand_in


def in_triggerer(**arguments: Any) -> NeptuneMLJobTrigger:
    """Return the trigger of a sensor as a triggerer makes and renders it, by way of Airflow's database."""
    params = {"job": "by-params", "status": "Failed", "bad": "my_job", "cluster": "other"}
    macros = {"env": "prod", "own": lambda: "mine"}
    with DAG("gate", schedule=None, params=params, user_defined_macros=macros) as dag:
        NeptuneMLModelTrainingJobSensor(
            task_id="wait",
            start_from_trigger=True,
            inlets=[Asset("x-data://in")],
            **{"job_id": "mine", "poke_interval": 0.01, **arguments},
        )
    encoded = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    started = DagSerialization.from_dict(encoded).get_task("wait").start_trigger_args
    assert started
    row = Trigger(classpath=started.trigger_cls, kwargs=started.trigger_kwargs or {})
    trigger = rebuild(row.classpath, row.kwargs)
    ti = TaskInstanceDTO(
        id=uuid.uuid4(),
        dag_version_id=uuid.uuid4(),
        dag_id="gate",
        run_id="r-1",
        task_id="wait",
        try_number=1,
        map_index=-1,
        pool_slots=1,
        queue="default",
        priority_weight=1,
    )
    runtime_ti: Any = TriggerRunner.create_runtime_ti(ti, encoded, RUN)
    trigger.task_instance = runtime_ti
    trigger.render_template_fields(runtime_ti.get_template_context())
    return trigger


@pytest.mark.parametrize(
    ("job_id", "rendered"),
    [
        ("{{ params.job }}", "by-params"),
        ("{{ params['nothing'] | default('train') }}-1", "train-1"),
        ("{{ dag_run.conf.asked }}", "by-conf"),
        ("{{ dag_run.conf.nothing | default('train') }}-1", "train-1"),
        ("{{ ti.xcom_pull(task_ids='other') }}", "by-xcom"),
        ("{{ task_instance.xcom_pull(['other'])[0] }}-1", "by-xcom-1"),
        ("{{ dag.dag_id }}-{{ task.task_id }}-{{ ti.try_number }}-{{ run_id }}", "gate-wait-1-r-1"),
        ("{{ ti.dag_id }}-{{ dag_run.logical_date | ds_nodash }}", "gate-20261121"),
        ("{{ macros.ds_add(ds, 1) }}", "2026-11-22"),
        ("{{ data_interval_end.strftime('%H') }}", "12"),
        ("{{ var.value.job }}", "by-variable"),
        ("{{ var.json.jobs.first }}", "by-json"),
    ],
)
def test_known_here(
    simulator: Simulator,
    supervisor: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    job_id: str,
    rendered: str,
) -> None:
    """What the triggerer knows for sure is the id, and no worker is needed."""
    monkeypatch.setenv("AIRFLOW_VAR_JOB", "by-variable")
    monkeypatch.setenv("AIRFLOW_VAR_JOBS", '{"first": "by-json"}')
    simulator.seed("modeltraining", rendered, status="Completed")

    event = first_event(in_triggerer(job_id=job_id)).payload

    assert (event["status"], event["resource_id"]) == ("success", rendered), event
    assert not supervisor.unanswered


@pytest.mark.parametrize(
    "job_id",
    [
        # Macros of the Dag's own
        "{{ env }}-train",
        "{{ env | default('dev') }}-train",
        "{% if env is defined %}prod{% else %}dev{% endif %}",
        "{{ own() }}",
        # What the supervisor never answers
        "{{ 'again' if prev_start_date_success else 'first' }}",
        "{{ 'again' if prev_end_date_success else 'first' }}",
        "{{ 'again' if prev_data_interval_start_success else 'first' }}",
        "{{ 'again' if prev_data_interval_end_success else 'first' }}",
        "{{ task_state_store.get('job') }}",
        "train-{{ inlet_events[0] | length }}",
        "{{ 'again' if ti.get_previous_dagrun() else 'first' }}",
        "train-{{ ti.xcom_pull('other', map_indexes=None) }}",
        "train-{{ ti.xcom_pull('other', map_indexes=[0]) }}",
        # What is empty or made up here
        "train-{{ triggering_asset_events | length }}",
        "train-{{ dag_run.clear_number }}",
        "train-{{ ti.max_tries }}",
        "train-{{ task_reschedule_count }}",
        "train-{{ dag.nothing | default('0') }}",
        # Nothing
        "train-{{ ti.xcom_pull('nobody') }}",
        "train-{{ ti.xcom_pull('nobody', default='1') }}",
        "train-{{ ti.xcom_pull(['other', 'nobody'])[1] }}",
        "train-{{ params.nothing }}",
        "{{ dag_run.conf.get('nothing') }}",
        "{{ params.bad }}",
    ],
)
def test_left_to_a_worker(simulator: Simulator, supervisor: Supervisor, job_id: str) -> None:
    """What the triggerer does not know for sure is no id: a worker renders it, and nothing hangs."""
    event = first_event(in_triggerer(job_id=job_id)).payload

    assert event["status"] == "unresolved"
    assert not supervisor.unanswered
    assert not simulator.journal


def test_other_arguments_are_rendered(
    simulator: Simulator, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection and the targets may be templates too."""
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(simulator.connection))
    monkeypatch.delenv(CONNECTION_VARIABLE)
    simulator.seed("modeltraining", "mine", status="Failed")

    event = first_event(
        in_triggerer(neptune_ml_conn_id="{{ params.cluster }}", target_statuses=["{{ params.status }}"])
    ).payload

    assert event["status"] == "success", event
    assert not supervisor.unanswered


def test_no_other_cluster(simulator: Simulator) -> None:
    """A connection id of which a part is not known is not another connection."""
    event = first_event(in_triggerer(neptune_ml_conn_id="{{ env }}neptune_ml_default")).payload

    assert event["status"] == "unresolved"
    assert not simulator.journal


@pytest.mark.parametrize(
    ("target_statuses", "in_worker"),
    [("{{ params.status }}", "Done"), (["{{ params.bad }}"], ["my_job"])],
)
def test_targets_that_are_none(simulator: Simulator, target_statuses: Any, in_worker: Any) -> None:
    """Targets that are no list of statuses once they are rendered are told by a worker, and not twice."""
    event = first_event(in_triggerer(target_statuses=target_statuses)).payload
    task = NeptuneMLModelTrainingJobSensor(task_id="wait", job_id="mine", target_statuses=target_statuses)
    task.target_statuses = in_worker

    assert event["status"] == "unresolved"
    with pytest.raises(ValueError, match="target_statuses"):
        task.execute_complete(context(), event)
    assert not simulator.journal
