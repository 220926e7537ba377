"""Any value for any argument: a task, or an error that names the argument, before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_neptune_ml.operators import neptune_ml as operators
from airflow_provider_neptune_ml.sensors import neptune_ml as sensors
from airflow_provider_neptune_ml.simulator import Simulator
from tests.signatures import arguments

VALID: dict[str, Any] = {
    "job_id": "mine",
    "endpoint_id": "mine",
    "input_data_s3_location": "s3://bucket/in",
    "processed_data_s3_location": "s3://bucket/out",
    "data_processing_job_id": "data-1",
    "train_model_s3_location": "s3://bucket/model",
    "ml_model_training_job_id": "training-1",
    "model_transform_output_s3_location": "s3://bucket/transform",
}
CLASSES: list[Any] = [
    leaf
    for module in (operators, sensors)
    for leaf in vars(module).values()
    if isinstance(leaf, type) and leaf.__module__ == module.__name__ and "kind" in vars(leaf)
]
TEMPLATES = st.sampled_from(
    ["{{ x }}", "{% if x %}y{% endif %}", "{{", "None", "", " ", "true", "1e3", "[1]"]
)
PLAIN = (
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=60), TEMPLATES, st.binary()),
    *(st.decimals(), st.timedeltas(), st.just(Path("x")), st.just(10**400), st.just("9" * 5000)),
)
ANY = st.recursive(
    st.one_of(*PLAIN), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=4
)
# Words of the rules, for an error about several arguments.
_OF_SEVERAL = ("job_id", "endpoint_id", "ml_model")


def valid_arguments(leaf: Any) -> dict[str, Any]:
    """Return what a class needs."""
    taken = arguments(leaf)
    found = {name: value for name, value in VALID.items() if name in taken}
    if leaf.__name__.startswith("NeptuneMLStartModelTransform"):
        assert "data_processing_job_id" in found
    return found


@given(data=st.data(), leaf=st.sampled_from(CLASSES), value=ANY)
def check(simulator: Simulator, data: st.DataObject, leaf: Any, value: Any) -> None:
    """Give a class any value for one of its arguments, when the Dag is parsed or after templating."""
    name = data.draw(st.sampled_from(sorted(arguments(leaf))))
    is_rendered = data.draw(st.booleans())
    given = {"task_id": "task", **valid_arguments(leaf)}
    if "wait_for_completion" in arguments(leaf):
        given["wait_for_completion"] = False
    error = None
    try:
        if is_rendered:
            task = leaf(**given)
            assume(name in task.template_fields)
            setattr(task, name, value)
            task.validate_arguments(rendered=True)
        else:
            leaf(**{**given, name: value})
    except ValueError as raised:
        error = str(raised)

    assert error is None or name in error or any(words in error for words in _OF_SEVERAL)
    assert error is None or len(error) < 3000
    assert not simulator.journal


def test_arguments(simulator: Simulator) -> None:
    """No value raises anything but a ValueError that names the argument; nothing is sent."""
    assert len(CLASSES) == 13
    check(simulator)
