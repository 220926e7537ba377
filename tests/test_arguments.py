"""Arguments: restored after templating, checked before anything is sent, and without secrets."""

from __future__ import annotations

import json
import logging
from collections import UserList
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER
from airflow_provider_neptune_ml.exceptions import NeptuneMLConfigurationError
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.operators.base import NeptuneMLStartOperator
from airflow_provider_neptune_ml.operators.neptune_ml import NeptuneMLStartModelTransformJobOperator
from airflow_provider_neptune_ml.pipeline import NeptuneMLPipeline
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from airflow_provider_neptune_ml.simulator import Simulator
from tests.conftest import CONNECTION_VARIABLE
from tests.contexts import context
from tests.operators.tasks import cancel, deploy, start
from tests.sdk import DAG

# Airflow 3.3 has another name for it.
_SERIALIZED = import_module("airflow.serialization.serialized_objects")
to_dict = getattr(_SERIALIZED, "DagSerialization", _SERIALIZED.SerializedDAG).to_dict

NATIVE = pytest.mark.parametrize("native", [False, True], ids=["text", "native"])
PASSWORD = "pa55word"
PROXIES = {"https": f"http://user:{PASSWORD}@proxy:3128"}


def rendered(native: bool, make: Any = start, known: Any = (), **arguments: Any) -> Any:
    """Return a task as Airflow renders it."""
    with DAG("nightly", schedule=None, render_template_as_native_obj=native):
        task = make(**arguments)
    task.render_template_fields({"ti": None, **dict(known)})
    return task


def body(simulator: Simulator) -> dict[str, Any]:
    """Return the body of the only start that was sent."""
    (request,) = [
        entry for entry in simulator.journal if (entry.operation or "").startswith(("Start", "Create"))
    ]
    found: dict[str, Any] = request.body
    return found


def options(hook: NeptuneMLHook) -> dict[str, Any]:
    """Return the options of a hook's clients."""
    return vars(hook.config)


# Native rendering


@NATIVE
def test_text_stays_text(simulator: Simulator, connection: dict[str, Any], native: bool) -> None:
    """Whatever looks like a number, in a constant or in a value, is sent as the text it is."""
    task = rendered(
        native,
        job_id="20231023",
        data_processing_job_id="{{ day }}",
        volume_encryption_kms_key="007",
        s3_output_encryption_kms_key="1_000",
        subnets=["1e5", "{{ day }}"],
        additional_parameters={"modelName": "7"},
        known={"day": "20231024"},
    )
    simulator.seed("dataprocessing", "20231024", status="Completed")

    task.execute(context())

    sent = body(simulator)
    assert (sent["id"], sent["dataProcessingJobId"]) == ("20231023", "20231024")
    assert (sent["volumeEncryptionKMSKey"], sent["s3OutputEncryptionKMSKey"]) == ("007", "1_000")
    assert sent["subnets"] == ["1e5", "20231024"]
    assert sent["modelName"] == "7"


@NATIVE
def test_names_of_training_jobs_stay_text(native: bool) -> None:
    """A name is no number either."""
    task = rendered(
        native,
        lambda **more: NeptuneMLStartModelTransformJobOperator(
            task_id="transform", model_transform_output_s3_location="s3://bucket/x", **more
        ),
        training_job_name="20231023",
    )

    assert task.training_job_name == "20231023"


@NATIVE
def test_a_number_is_a_text_where_one_is_asked_for(native: bool) -> None:
    """An upstream task that returns 7 has said "7"; of 1e5 nobody knows what was meant."""
    task = rendered(native, job_id="{{ day }}", known={"day": 20231023})
    assert task.job_id == "20231023"

    with pytest.raises(ValueError, match=r"job_id=100000.0 must be .*the text is not known: give it as text"):
        start(job_id=1e5)


@NATIVE
@pytest.mark.parametrize("value", [UUID(int=7), date(2026, 11, 21)], ids=["uuid", "date"])
def test_a_value_with_one_text_is_that_text(native: bool, value: object) -> None:
    """``{{ macros.uuid.uuid4() }}`` and a date are ids, natively rendered or not."""
    task = rendered(native, job_id="{{ value }}", known={"value": value})

    task.validate_arguments(rendered=True)
    assert task.job_id == str(value)


def test_results_of_a_mapped_task_are_a_list() -> None:
    """They come as a sequence of Airflow's own, not as a list."""
    task = rendered(True, subnets="{{ found }}", known={"found": UserList(["subnet-1", "subnet-2"])})

    task.validate_arguments(rendered=True)
    assert task.subnets == ["subnet-1", "subnet-2"]


@NATIVE
def test_numbers_flags_lists_and_dicts_are_what_they_were(native: bool) -> None:
    """A template for a whole list or dict, a number or a flag gives one, also as text."""
    known = {
        "subnets": ["subnet-1"],
        "groups": '["sg-1"]',
        "many": 3,
        "gb": "20",
        "spot": False,
        "more": {"maxWaitTime": 60},
        "seconds": "5",
    }
    task = rendered(
        native,
        subnets="{{ subnets }}",
        security_group_ids="{{ groups }}",
        max_hpo_number_of_training_jobs="{{ many }}",
        training_instance_volume_size_in_gb="{{ gb }}",
        enable_managed_spot_training="{{ spot }}",
        additional_parameters="{{ more }}",
        botocore_config={"read_timeout": "{{ seconds }}", "retries": {"max_attempts": "{{ many }}"}},
        verify="{{ spot }}",
        known=known,
    )

    task.validate_arguments(rendered=True)

    assert (task.subnets, task.security_group_ids) == (["subnet-1"], ["sg-1"])
    assert (task.max_hpo_number_of_training_jobs, task.training_instance_volume_size_in_gb) == (3, 20)
    assert (task.enable_managed_spot_training, task.verify) == (False, False)
    assert task.additional_parameters == {"maxWaitTime": 60}
    assert task.botocore_config == {"read_timeout": 5, "retries": {"max_attempts": 3}}


def test_a_number_in_a_dict_stays_one_under_native_rendering() -> None:
    """That is what native rendering is for; the text of a text stays."""
    task = rendered(
        True,
        additional_parameters={"maxWaitTime": "{{ n }}", "modelName": "{{ name }}"},
        known={"n": 60, "name": "7"},
    )

    assert task.additional_parameters == {"maxWaitTime": 60, "modelName": "7"}


@NATIVE
def test_a_member_with_one_text_is_that_text(native: bool) -> None:
    """Members of a request are the same text, natively rendered or not, at any depth."""
    known: dict[str, Any] = {
        "id": UUID(int=7),
        "day": date(2026, 11, 21),
        "time": datetime(2026, 11, 21, 5, tzinfo=timezone.utc),
    }
    additional = {"ids": ["{{ id }}"], "times": {"day": "{{ day }}", "time": "{{ time }}"}}
    task = rendered(native, additional_parameters=additional, known=known)

    task.validate_arguments(rendered=True)

    times = {"day": "2026-11-21", "time": "2026-11-21 05:00:00+00:00"}
    assert task.additional_parameters == {"ids": [str(UUID(int=7))], "times": times}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Decimal("0.5"), r"\['limits'\]\[1\] is Decimal\('0.5'\), which JSON does not have"),
        (float("inf"), r"\['limits'\]\[1\] is inf, which JSON does not have"),
        (timedelta(1), r"\['limits'\]\[1\] is a timedelta, which JSON does not have"),
        (PASSWORD.encode(), r"\['limits'\]\[1\] is a bytes, which JSON does not have"),
    ],
)
def test_a_member_without_a_text_of_its_own(value: object, named: str) -> None:
    """What JSON has no form for, or more than one, is refused with its path; a secret is not repeated."""
    task = rendered(True, additional_parameters={"limits": [1, "{{ value }}"]}, known={"value": value})

    with pytest.raises(ValueError, match=rf"additional_parameters=.* must be .*: {named}") as caught:
        task.validate_arguments(rendered=True)

    assert PASSWORD not in str(caught.value)


def test_fields_of_a_users_class_are_airflows() -> None:
    """A template field that a user's class adds is rendered as Airflow renders it."""

    class Mine(type(start())):  # type: ignore[misc]
        template_fields = (*type(start()).template_fields, "limits")

        def __init__(self, *, limits: Any, **more: Any) -> None:
            self.limits = limits
            super().__init__(**more)

    def make(**more: Any) -> Any:
        return Mine(
            task_id="mine", limits="7", data_processing_job_id="7", train_model_s3_location="s3://b/m"
        )

    task = rendered(True, make)

    assert (task.limits, task.data_processing_job_id) == (7, "7")


def test_values_of_mapped_tasks_are_no_templates() -> None:
    """Airflow knows what a mapped task got by its identity: it must stay the same until after rendering."""
    subnets = ["{{ 6 * 7 }}"]
    task = start(subnets=subnets)

    nothing: Any = {"ti": None}
    task._do_render_template_fields(
        task, task.template_fields, nothing, task.get_template_env(), {id(subnets)}
    )

    assert task.subnets == ["{{ 6 * 7 }}"]


# Nothing


@NATIVE
@pytest.mark.parametrize("nothing", [None, "", "None", " "])
def test_nothing_is_not_given(
    simulator: Simulator, connection: dict[str, Any], native: bool, nothing: Any
) -> None:
    """What a template does not find is not sent, and does not fail the task."""
    simulator.seed("dataprocessing", "data-1", status="Completed")
    optional = (
        *("job_id", "previous_model_training_job_id", "neptune_iam_role_arn", "training_instance_type"),
        *("training_time_out_in_seconds", "subnets", "volume_encryption_kms_key", "region_name", "verify"),
        *("enable_managed_spot_training", "botocore_config"),
    )
    task = rendered(
        native,
        **dict.fromkeys(optional, "{{ nothing }}"),
        additional_parameters={"modelName": "{{ nothing }}"},
        known={"nothing": nothing},
    )

    job_id = task.execute(context())

    assert body(simulator).keys() == {"id", "dataProcessingJobId", "trainModelS3Location"}
    assert job_id.startswith("nightly")


@pytest.mark.parametrize("value", [None, "", "None"])
def test_a_connection_is_not_left_to_chance(value: Any) -> None:
    """A template that finds no cluster does not stand for the default one."""
    with pytest.raises(ValueError, match=r"neptune_ml_conn_id=.* must be the id of a connection"):
        start(neptune_ml_conn_id=value)
    with pytest.raises(NeptuneMLConfigurationError, match=r"neptune_ml_conn_id=.* must be the id of"):
        NeptuneMLHook(value)


def test_hook_takes_nothing_for_not_given(connection: dict[str, Any]) -> None:
    """A trigger that starts a wait has the text of a template."""
    hook = NeptuneMLHook(
        region_name="None", verify="None", aws_conn_id="None", config={"read_timeout": "None"}
    )

    assert (hook._region_name, hook._verify, hook.aws_conn_id) == (None, None, None)
    assert options(hook)["read_timeout"] == 60


def test_what_is_still_a_template_is_refused(simulator: Simulator) -> None:
    """A value with a template in it is not rendered twice, and not sent either."""
    for argument in (
        {"volume_encryption_kms_key": "{{ params.key }}"},
        {"additional_parameters": {"modelName": "{% if x %}"}},
        {"subnets": ["{{ params.key }}"]},
    ):
        with pytest.raises(ValueError, match=rf"{next(iter(argument))}=.* must be free of {{{{"):
            start(**argument).execute(context())

    assert not simulator.journal


@NATIVE
@pytest.mark.parametrize("chosen", ["ml_model_training_job_id", "ml_model_transform_job_id"])
def test_alternatives_by_templates(native: bool, chosen: str) -> None:
    """Which of two is given may be a template's to say; it is checked when that is known."""
    names = ("ml_model_training_job_id", "ml_model_transform_job_id")
    templates = {name: f"{{{{ {name} }}}}" for name in names}
    known = {name: "job-1" if name == chosen else None for name in names}

    rendered(native, deploy, known=known, **templates).validate_arguments(rendered=True)

    both = rendered(native, deploy, known=dict.fromkeys(names, "job-1"), **templates)
    with pytest.raises(ValueError, match="not both"):
        both.validate_arguments(rendered=True)
    none = rendered(native, deploy, known=dict.fromkeys(names), **templates)
    with pytest.raises(ValueError, match="must be given"):
        none.validate_arguments(rendered=True)


# Flags


def sensor(**arguments: Any) -> NeptuneMLModelTrainingJobSensor:
    """Return a sensor of the job ``mine``."""
    return NeptuneMLModelTrainingJobSensor(task_id="wait", **{"job_id": "mine", **arguments})


_FLAGS = [
    *((start, name) for name in ("durable", "cancel_on_kill", "cancel_on_timeout")),
    *((start, name) for name in ("wait_for_completion", "deferrable", "enable_managed_spot_training")),
    *((cancel, name) for name in ("clean", "ignore_missing", "wait_for_completion", "deferrable")),
    *((sensor, name) for name in ("deferrable", "end_from_trigger", "soft_fail")),
    (deploy, "update"),
]


@pytest.mark.parametrize(("make", "name"), _FLAGS)
def test_flags_as_text(make: Any, name: str) -> None:
    """A flag is true or false in any spelling, and nothing else."""
    for text, flag in {"false": False, "False": False, "TRUE": True, " true\n": True}.items():
        task = make(**{name: text})
        task.validate_arguments(rendered=True)
        assert getattr(task, name) is flag, text
    wrongs: list[Any] = ["no", "1", 1, "yes", [], "folse"]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=f"{name}=.* must be True or False"):
            make(**{name: wrong})


def test_start_from_trigger_as_text() -> None:
    """False as text does not begin a wait in the triggerer."""
    assert not sensor(start_from_trigger="false").start_from_trigger
    assert sensor(start_from_trigger="true").start_from_trigger is CAN_RUN_WITHOUT_WORKER


# Mistakes


@pytest.mark.parametrize(
    ("make", "arguments", "words"),
    [
        (
            start,
            {"train_model_s3_location": Path("s3://bucket/x")},
            "train_model_s3_location=.* must be an S3",
        ),
        (start, {"timeout": 10**400}, "timeout=1000.*must be a number of seconds"),
        (start, {"timeout": 10**5000}, "timeout=<int> must be a number of seconds"),
        (start, {"timeout": float("nan")}, "timeout=nan must be"),
        (start, {"timeout": timedelta(days=999999)}, "timeout=.* must be a number of seconds"),
        (sensor, {"timeout": 1e15, "start_from_trigger": True}, r"timeout=1000000000000000.0 must be"),
        (sensor, {"timeout": 10**400}, "timeout=1000.*must be a number of seconds"),
        (sensor, {"poke_interval": 1e15}, "poke_interval=.*must be a number of seconds"),
        (deploy, {"instance_count": "9" * 5000}, "instance_count='999.*must be a whole number"),
        (deploy, {"instance_count": 10**5000}, "instance_count=<int> must be a whole number"),
        (deploy, {"instance_count": 2**31}, "instance_count=2147483648 must be a whole number"),
        (sensor, {"target_statuses": Decimal(1)}, "target_statuses=.* must be a list"),
        (sensor, {"target_statuses": [Decimal(1)]}, "target_statuses=.* must be a list"),
        (start, {"additional_parameters": {"x": float("nan")}}, "additional_parameters={'x': ...} must be"),
        (start, {"volume_encryption_kms_key": "k\nx"}, "volume_encryption_kms_key=.* must be"),
        (start, {"region_name": "us east 1"}, "region_name='us east 1' must be an AWS region"),
        (start, {"data_processing_job_id": "x" * 50_000}, "data_processing_job_id='xxx"),
        (sensor, {"target_statuses": ["x" * 50_000]}, "target_statuses has"),
    ],
)
def test_mistakes(make: Any, arguments: dict[str, Any], words: str) -> None:
    """Every mistake is a ValueError of bounded length that names the argument."""
    with pytest.raises(ValueError, match=words) as caught:
        make(**arguments)

    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"retries": {"mode": "bogus"}}, "retries.mode as one of legacy, standard, adaptive"),
        ({"retries": {"max_attempts": -1}}, "retries.max_attempts as a whole number"),
        ({"retries": {"total_max_attempts": 0}}, "retries.total_max_attempts as a whole number"),
        ({"retries": 5}, "retries as a dict"),
        ({"connect_timeout": "abc"}, "connect_timeout as a number of seconds"),
        ({"read_timeout": 0}, "read_timeout as a number of seconds"),
        ({"read_timeout": True}, "read_timeout as a number of seconds"),
        ({"max_pool_connections": "x"}, "max_pool_connections as a whole number"),
        ({"user_agent_extra": "a\r\nX-Evil: 1"}, "user_agent_extra as a text of one line"),
        ({"tcp_keepalive": "yes"}, "tcp_keepalive as True or False"),
        ({"s3": "x"}, "s3 as a dict"),
    ],
)
def test_options_of_botocore(config: dict[str, Any], words: str) -> None:
    """An option is checked at once, and the message names its key, in a task as in the hook."""
    with pytest.raises(ValueError, match=f"botocore_config=.* must be .*with {words}"):
        start(botocore_config=config)
    with pytest.raises(NeptuneMLConfigurationError, match=f"botocore_config must be .*with {words}"):
        NeptuneMLHook(config=config)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"nope": 1}, "nope"),
        ({"retries": {"nope": 1}}, "nope"),
        ({"s3": {"addressing_style": "nope"}}, "nope"),
        ({"proxies": "x"}, "proxies as a dict"),
    ],
)
def test_what_botocore_refuses(config: dict[str, Any], words: str) -> None:
    """What only botocore knows to be wrong is an error of ours, too."""
    with pytest.raises(NeptuneMLConfigurationError, match=f"botocore_config .*{words}"):
        NeptuneMLHook(config=config)


def test_numbers_of_botocore_as_text(connection: dict[str, Any]) -> None:
    """A template's number is one when the client is built."""
    found = options(NeptuneMLHook(config={"read_timeout": "7.5", "retries": {"max_attempts": "2"}}))

    assert (found["read_timeout"], found["retries"]) == (7.5, {"max_attempts": 2})


# Secrets


def places(task: Any) -> str:
    """Return what Airflow stores of a task: the serialized Dag, its rendered fields and the trigger."""
    stored = [json.dumps(to_dict(task.dag))]
    stored += [f"{name}={getattr(task, name)!r}" for name in task.template_fields]
    return "\n".join(stored)


def trigger_of(task: NeptuneMLStartOperator) -> str:
    """Return the row of the trigger of a task."""
    task.validate_arguments(rendered=True)
    return json.dumps(task._trigger(context(), "mine", 0.0).serialize())


@pytest.mark.parametrize(
    "config",
    [
        {"proxies": PROXIES},
        {"user_agent_extra": f"see http://user:{PASSWORD}@proxy"},
        {"user_agent_extra": f"see http://user:{PASSWORD}/x@proxy"},
        f"{{{{ {{'proxies': {{'https': 'http://user:{PASSWORD}@proxy'}}}} }}}}",
    ],
)
def test_secrets_are_refused_when_the_dag_is_parsed(config: Any) -> None:
    """What would stand in the serialized Dag does not get there, nor into the message."""
    with pytest.raises(ValueError, match=r"botocore_config=.*config_kwargs") as caught:
        start(botocore_config=config)

    assert PASSWORD not in str(caught.value)


@NATIVE
@pytest.mark.parametrize("config", ["{{ config }}", {"proxies": {"https": "{{ config.proxies.https }}"}}])
def test_secrets_of_templates_are_stored_nowhere(native: bool, config: Any) -> None:
    """A template may find a password: it stands in no rendered field, and the task says where it belongs."""
    if isinstance(config, dict):
        with pytest.raises(ValueError, match="without proxies"):
            start(botocore_config=config)
        return
    task = rendered(native, botocore_config=config, known={"config": {"proxies": PROXIES}})

    assert PASSWORD not in places(task)
    with pytest.raises(ValueError, match="without proxies") as caught:
        task.execute(context())
    assert PASSWORD not in str(caught.value)


@NATIVE
def test_secret_text_is_stored_nowhere(native: bool) -> None:
    """Also where the template finds no dict at all."""
    task = rendered(native, botocore_config="{{ config }}", known={"config": PROXIES["https"]})

    assert PASSWORD not in places(task)
    with pytest.raises(ValueError, match="botocore_config=<str> must be a dict") as caught:
        task.execute(context())
    assert PASSWORD not in str(caught.value)


@NATIVE
def test_templates_of_botocore_work(native: bool) -> None:
    """What holds no secret may be a template, and reaches the trigger."""
    task = rendered(native, botocore_config="{{ config }}", known={"config": {"read_timeout": "7"}})

    assert '"config": {"read_timeout": 7}' in trigger_of(task)


def test_wrong_types_tell_no_secret() -> None:
    """What may hold a secret is not repeated, of whatever type it is."""
    for name in ("botocore_config", "additional_parameters"):
        for value in (PASSWORD, [PASSWORD], (PASSWORD,)):
            with pytest.raises(ValueError, match=f"{name}=<{type(value).__name__}> must be") as caught:
                start(**{name: value})
            assert PASSWORD not in str(caught.value)


# Proxies from connections


def test_proxies_of_the_clusters_connection(
    simulator: Simulator, connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies come from the cluster's connection; the task's options are added to them."""
    _connect(monkeypatch, connection, {"config_kwargs": {"proxies": PROXIES, "read_timeout": "9"}})
    with DAG("nightly", schedule=None):
        task = start(botocore_config={"connect_timeout": 3})

    found = options(task.hook)

    assert (found["proxies"], found["read_timeout"], found["connect_timeout"]) == (PROXIES, 9, 3)
    assert PASSWORD not in places(task) + trigger_of(task) + repr(task.hook.cluster)


def test_proxies_of_the_aws_connection(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Amazon's config_kwargs work as in its own hooks, also where a task has options of its own."""
    aws = {"conn_type": "aws", "login": "a", "password": "b"}
    extra = {"region_name": "us-east-1", "config_kwargs": {"proxies": PROXIES, "read_timeout": 9}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_PROXIED", json.dumps({**aws, "extra": extra}))
    _connect(monkeypatch, connection, {"iam_auth": True})
    hook = NeptuneMLHook(aws_conn_id="aws_proxied", config={"read_timeout": 3})

    assert (options(hook)["proxies"], options(hook)["read_timeout"]) == (PROXIES, 3)
    assert vars(hook.conn.meta.config)["proxies"] == PROXIES


def test_wrong_options_in_a_connection(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are checked as a task's are, and the message names the connection."""
    _connect(monkeypatch, connection, {"config_kwargs": {"proxies": PASSWORD}})

    with pytest.raises(
        NeptuneMLConfigurationError, match=r"'neptune_ml_default'.*proxies as a dict"
    ) as caught:
        _ = NeptuneMLHook().cluster
    assert PASSWORD not in str(caught.value)


# Connections


def _connect(monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], extra: dict[str, Any]) -> None:
    changed = {**connection, "extra": {**(connection.get("extra") or {}), **extra}}
    monkeypatch.setenv(CONNECTION_VARIABLE, json.dumps(changed))


def test_unknown_keys_in_the_extra(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that is not known is told once, with the name that was likely meant."""
    changed = {**connection, "extra": {"iam-auth": False, "region": "x", "zzz": 1}}
    monkeypatch.setenv("AIRFLOW_CONN_MISSPELT", json.dumps(changed))

    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            _ = NeptuneMLHook("misspelt").cluster

    (line,) = [record.getMessage() for record in caplog.records if "misspelt" in record.getMessage()]
    assert line == (
        "Connection 'misspelt' (neptune_ml_conn_id): not known in its extra, and ignored:"
        " 'iam-auth' (iam_auth?), 'region' (region_name?), 'zzz'"
    )


def test_connection_of_another_type(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may work, and a warning says that it is not meant for this."""
    monkeypatch.setenv("AIRFLOW_CONN_WEB", json.dumps({**connection, "conn_type": "http"}))

    with caplog.at_level(logging.WARNING):
        _ = NeptuneMLHook("web").cluster

    assert [record.getMessage() for record in caplog.records if "'web'" in record.getMessage()] == [
        "Connection 'web' (neptune_ml_conn_id) has type 'http', not 'neptune_ml'"
    ]


@pytest.mark.parametrize("rest", ["cluster:8182/https", "user:pa55word@cluster?iam_auth=false"])
def test_scheme_with_an_underscore(monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    """Airflow reads no host from such a URI: the message names the scheme that works."""
    monkeypatch.setenv("AIRFLOW_CONN_BY_URI", f"neptune_ml://{rest}")

    with pytest.raises(
        NeptuneMLConfigurationError, match=r"neptune_ml://, which must be neptune-ml://"
    ) as caught:
        _ = NeptuneMLHook("by_uri").cluster
    assert PASSWORD not in str(caught.value)


def test_pipeline_flags_as_text() -> None:
    """The flags of a pipeline are flags, too."""
    process = {"input_data_s3_location": "s3://b/in", "processed_data_s3_location": "s3://b/out"}
    with DAG("nightly", schedule=None) as dag:
        NeptuneMLPipeline(process=process, teardowns="false", incremental="False")  # type: ignore[arg-type]

    assert dag.task_ids == ["neptune_ml.process"]
