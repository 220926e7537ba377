"""
Every interface of Airflow, its Amazon provider and boto3 that this package relies on and that is not public.

Each test is an entry of that list: it names the module that relies on the interface, and fails when a release
changes it. What the interface is needed for, and on which versions it was read, stands where it is used.
"""

from __future__ import annotations

import importlib
import inspect
from collections import deque
from functools import cached_property
from http.client import HTTPResponse
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook, AwsGenericHook
from boto3.session import Session
from botocore.awsrequest import AWSHTTPConnectionPool, AWSHTTPSConnectionPool
from botocore.loaders import create_loader

from airflow_provider_neptune_ml.compat import (
    AIRFLOW_V_3_0_PLUS,
    CAN_RUN_WITHOUT_WORKER,
    BaseOperator,
    BaseSensorOperator,
)
from tests.sdk import DAG, task

needs_airflow_3 = pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="an interface of Airflow 3")
needs_airflow_2 = pytest.mark.skipif(AIRFLOW_V_3_0_PLUS, reason="an interface of Airflow 2")
needs_airflow_3_3 = pytest.mark.skipif(not CAN_RUN_WITHOUT_WORKER, reason="an interface of Airflow 3.3")


def parameters(function: Any) -> set[str]:
    """Return the names of what a function takes."""
    return set(inspect.signature(function).parameters)


# The Amazon provider


def test_connection_of_the_amazon_hook() -> None:
    """hooks/neptune_ml.py calls the function behind the property, which its own one replaces."""
    assert isinstance(vars(AwsGenericHook)["conn_config"], cached_property)


def test_session_of_the_amazon_hook() -> None:
    """hooks/neptune_ml.py puts the connections' options into what roles are assumed with, too."""
    assert "config=self.config" in inspect.getsource(AwsGenericHook.get_session)


def test_settings_of_the_amazon_hook() -> None:
    """hooks/neptune_ml.py reads the arguments of a hook to build it anew."""
    hook = AwsBaseHook(None, client_type="neptunedata", region_name="eu-west-1", verify=False, config={})

    assert (hook._region_name, hook._verify, hook._config.__class__.__name__) == (
        "eu-west-1",
        False,
        "Config",
    )


def test_caller_of_the_amazon_hook() -> None:
    """hooks/neptune_ml.py keeps the hook of a trigger from looking for an operator on the stack."""
    assert parameters(AwsGenericHook._get_caller) == {"self", "target_function_name"}
    assert "_get_caller" in inspect.getsource(AwsGenericHook._generate_user_agent_extra_field)


def test_client_of_the_amazon_waiters() -> None:
    """hooks/neptune_ml.py has the name by which the provider's own waiters get a client."""
    assert "self._client" in inspect.getsource(AwsGenericHook.get_waiter)


# boto3, botocore and urllib3


def test_session_of_a_client() -> None:
    """hooks/limits.py puts its own HTTP session around the one that a client sends by."""
    client = Session().client("neptunedata", region_name="eu-west-1")

    assert client._endpoint.http_session.send
    assert client._endpoint.http_session.close


def test_responses_of_botocore() -> None:
    """hooks/limits.py times what such a response reads; hooks/keep_alive.py has connections make them."""
    for pool in (AWSHTTPConnectionPool, AWSHTTPSConnectionPool):
        connection: Any = pool.ConnectionCls
        assert connection.response_class is HTTPResponse
    assert 'self.fp = sock.makefile("rb")' in inspect.getsource(HTTPResponse.__init__)


def test_core_of_a_session() -> None:
    """hooks/neptune_ml.py has sessions share a loader; clients read botocore's data with it."""
    core = Session()._session
    loader = create_loader(core.get_config_variable("data_path"))
    core.register_component("data_loader", loader)

    assert core.get_component("data_loader") is loader


def test_pools_of_botocore() -> None:
    """hooks/keep_alive.py replaces the pools of a client's session, and sees which connection one takes."""
    session: Any = Session().client("neptunedata", region_name="eu-west-1")._endpoint.http_session
    schemes = session._pool_classes_by_scheme

    assert session._manager.pool_classes_by_scheme is schemes
    assert set(schemes) == {"http", "https"}
    assert all("self._get_conn(timeout=" in inspect.getsource(pool.urlopen) for pool in schemes.values())


# Airflow


@needs_airflow_3
def test_states_of_a_task_instance() -> None:
    """task_state.py asks for the state of one task instance, without one of its own."""
    runtime = importlib.import_module("airflow.sdk.execution_time.task_runner").RuntimeTaskInstance

    assert isinstance(inspect.getattr_static(runtime, "get_task_states"), staticmethod)
    assert {"dag_id", "task_ids", "run_ids", "map_index"} <= parameters(runtime.get_task_states)


@needs_airflow_3
def test_requests_of_a_task() -> None:
    """task_state.py finds on the stack that a signal came in the middle of a request to the supervisor."""
    comms = importlib.import_module("airflow.sdk.execution_time.comms")

    assert comms.CommsDecoder.send.__globals__["__name__"] == "airflow.sdk.execution_time.comms"


@needs_airflow_2
def test_row_of_a_task_instance() -> None:
    """task_state.py reads Airflow 2's database."""
    row = importlib.import_module("airflow.models.taskinstance").TaskInstance

    assert {"state", "trigger_id", "try_number", "max_tries"} <= set(row.__table__.columns.keys())


@needs_airflow_3_3
def test_runner_of_triggers() -> None:
    """triggers/delivery.py reads which events are on their way, and which messages have been answered."""
    module = importlib.import_module("airflow.jobs.triggerer_job_runner")
    runner = module.TriggerRunner()
    comms = module.TriggerCommsDecoder(socket=None, async_reader=None, async_writer=None)

    assert isinstance(runner.events, deque)
    assert runner.stop is False
    assert comms._pending == {}
    assert type(comms).__annotations__["_pending"] == "dict[int, asyncio.Future]"
    assert "comms_decoder" in inspect.getsource(module.TriggerRunner.init_comms)
    assert "signal.signal(signal.SIGTERM, self._handle_signal)" in inspect.getsource(module.TriggerRunner.run)


@needs_airflow_3
def test_time_out_of_a_trigger() -> None:
    """triggers/neptune_ml.py reads when Airflow ends the wait, which the triggerer sets on the trigger."""
    job_runner = importlib.import_module("airflow.jobs.triggerer_job_runner")

    assert ".timeout_after" in inspect.getsource(job_runner)


def test_end_of_a_wait_by_airflow() -> None:
    """operators/base.py sees to a job whose wait Airflow has ended, by the name of the method it resumes."""
    sdk = "airflow.sdk.bases.operator" if AIRFLOW_V_3_0_PLUS else "airflow.models.baseoperator"

    assert '"__fail__"' in inspect.getsource(importlib.import_module(sdk)) or (
        importlib.import_module("airflow.models.trigger").TRIGGER_FAIL_REPR == "__fail__"
    )


def test_pause_of_a_sensor() -> None:
    """sensors/neptune_ml.py replaces how a sensor finds its next poke."""
    assert list(inspect.signature(BaseSensorOperator._get_next_poke_interval).parameters) == [
        *("self", "started_at", "run_duration", "poke_count")
    ]


def test_rendering_of_templates() -> None:
    """base.py renders its own arguments so that a text stays a text."""
    assert list(inspect.signature(BaseOperator._do_render_template_fields).parameters) == [
        *("self", "parent", "template_fields", "context", "jinja_env", "seen_oids")
    ]
    assert list(inspect.signature(BaseOperator._render).parameters) == ["self", "template", "context", "dag"]
    assert "._render(" in inspect.getsource(BaseOperator.render_template)


def test_output_of_a_task() -> None:
    """sensors/from_trigger.py makes a template of the output of a task."""
    with DAG("outputs", schedule=None):

        @task
        def upstream() -> str:
            return "mine"

        output: Any = upstream()

    assert (type(output).__name__, output.operator.task_id, output.key) == (
        *("PlainXComArg", "upstream", "return_value"),
    )


@needs_airflow_3_3
def test_stores_of_state() -> None:
    """operators/ownership.py and triggers/events.py use the state stores, whose types are not public."""
    context = importlib.import_module("airflow.sdk.execution_time.context")

    for store in (context.TaskStateStoreAccessor, context.AssetStateStoreAccessors):
        assert {"get", "set", "delete"} <= set(dir(store)), store


@needs_airflow_3
def test_xcoms_that_were_cleared() -> None:
    """compat.py reads which XComs Airflow has cleared before a poke."""
    from airflow.sdk.api.datamodels._generated import TIRunContext
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    assert "xcom_keys_to_clear" in TIRunContext.model_fields
    assert "_ti_context_from_server" in RuntimeTaskInstance.__private_attributes__


@needs_airflow_2
def test_pokes_of_a_sensor() -> None:
    """compat.py asks when the last one ended."""
    from airflow.models.taskreschedule import TaskReschedule

    assert {"ti", "descending"} <= parameters(TaskReschedule.stmt_for_task_instance)
