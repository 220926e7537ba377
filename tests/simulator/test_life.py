"""How resources live: started, going through their stages, ended, stopped, changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_neptune_ml.kinds import (
    ALL_KINDS,
    DATA_PROCESSING,
    ENDPOINTS,
    KINDS,
    MODEL_TRAINING,
    MODEL_TRANSFORM,
    ResourceKind,
)
from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.simulator.settings import DURATIONS, STOP_SECONDS
from tests.simulator.steps import A_LONG_TIME, call, get, refusal, start

if TYPE_CHECKING:
    from tests.simulator.conftest import ClientMaker

jobs_only = pytest.mark.parametrize(
    "kind", [row for row in KINDS.values() if row.statuses.stopped], ids=lambda row: row.name
)


def test_start_returns_what_was_made(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """A start returns the id, an ARN and the creation time."""
    reply = start(client, simulator, kind)

    assert reply == {
        "id": "job-1",
        "arn": get(client, kind)[kind.stages[0].member]["arn"],
        "creationTimeInMillis": int(simulator.now() * 1000),
    }


def test_start_without_id_names_it(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """A start without an id gets one that Gets and the journal know."""
    made = start(client, simulator, kind, None)["id"]

    assert get(client, kind, made)["id"] == made
    assert simulator.calls(kind.start_operation)[-1].id == made


def test_runs_through_its_stages_to_the_good_end(
    client: Any, simulator: Simulator, kind: ResourceKind
) -> None:
    """A resource shows one more stage after the other, and has ended when the last one has."""
    start(client, simulator, kind)
    for number, stage in enumerate(kind.stages, start=1):
        reply = get(client, kind)
        shown = [part["status"] for _, part in kind.stages_in(reply)]

        assert reply["status"] == kind.statuses.running
        assert shown == [kind.statuses.succeeded] * (number - 1) + [kind.statuses.running]
        simulator.advance(DURATIONS[kind.name][stage.member])
    reply = get(client, kind)

    assert reply["status"] == kind.statuses.succeeded
    assert [part["status"] for _, part in kind.stages_in(reply)] == [kind.statuses.succeeded] * len(
        kind.stages
    )


def test_stages_say_where_to_look(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """Each stage has a name that begins with the id, an ARN, a log and, but for endpoints, an output."""
    start(client, simulator, kind, "a-long-identifier")
    simulator.advance(A_LONG_TIME)
    reply = get(client, kind, "a-long-identifier")

    for stage, part in kind.stages_in(reply):
        assert part["name"].startswith("a-long-i-")
        assert part["arn"] == f"arn:aws:sagemaker:us-east-1:123456789012:{stage.resource}/{part['name']}"
        assert f"group={stage.log_group};prefix={part['name']}" in part["cloudwatchLogUrl"]
        assert "failureReason" not in part
        assert (kind is ENDPOINTS) != part.get("outputLocation", "").startswith("s3://bucket/")


@pytest.mark.parametrize(("second", "digits"), [(9, 6), (13, 7)])
def test_job_names_end_in_six_or_seven_digits(
    client: Any, simulator: Simulator, second: int, digits: int
) -> None:
    """The timestamp in a job's name ends in the second, without a leading zero, and five more digits."""
    simulator.advance((second - int(simulator.now()) - 1) % 60 + 1)
    start(client, simulator, DATA_PROCESSING)

    name = get(client, DATA_PROCESSING)["processingJob"]["name"]
    assert re.fullmatch(
        rf"job-1-preloading-\d{{4}}(-\d\d){{4}}-{second}\d{{{digits - len(str(second))}}}", name
    )


def test_models_show_when_it_succeeded(client: Any, simulator: Simulator) -> None:
    """A training shows one model for each tuning job, a transform its model, and both only in the end."""
    start(client, simulator, MODEL_TRAINING, maxHPONumberOfTrainingJobs=3)
    start(client, simulator, MODEL_TRANSFORM)

    assert "mlModels" not in get(client, MODEL_TRAINING)
    simulator.advance(A_LONG_TIME)
    assert len(get(client, MODEL_TRAINING)["mlModels"]) == 3
    assert len(get(client, MODEL_TRANSFORM)["models"]) == 1


def test_endpoint_shows_its_configuration(client: Any, simulator: Simulator) -> None:
    """An endpoint's SageMaker name differs from its id, and its configuration has a name and an ARN."""
    start(client, simulator, ENDPOINTS, "fraud")
    reply = get(client, ENDPOINTS, "fraud")

    assert reply["endpoint"]["name"].endswith("-endpoint")
    assert reply["endpointConfig"]["name"] == f"{reply['endpoint']['name']}-config"
    assert ":endpoint-config/" in reply["endpointConfig"]["arn"]


@jobs_only
def test_cancel_goes_through_stopping_to_stopped(
    client: Any, simulator: Simulator, kind: ResourceKind
) -> None:
    """A cancelled job is Stopping for a while, then Stopped, and no later stage ever begins."""
    start(client, simulator, kind)
    call(client, kind.stop_operation, id="job-1", clean=True)

    assert get(client, kind)["status"] == kind.statuses.stopping
    assert call(client, kind.stop_operation, id="job-1"), "a second request while it stops is taken"
    simulator.advance(STOP_SECONDS)
    reply = get(client, kind)
    assert reply["status"] == kind.statuses.stopped
    assert [part["status"] for _, part in kind.stages_in(reply)] == [kind.statuses.stopped]


@jobs_only
def test_cancel_of_an_ended_job_is_refused(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """A job that has completed, failed or stopped can't be cancelled."""
    for id_, status in (("a", None), ("b", kind.statuses.failed), ("c", kind.statuses.stopped)):
        simulator.seed(kind.name, id_, status)

        assert refusal(client, kind.stop_operation, id=id_) == (
            400,
            "InvalidParameterException",
            "Failed to stop the job because it has already completed or failed.",
        )


@pytest.mark.parametrize("seconds", [0.0, A_LONG_TIME], ids=["creating", "in service"])
def test_delete_of_an_endpoint_goes_through_deleting_to_nothing(
    client: Any, simulator: Simulator, seconds: float
) -> None:
    """An endpoint can be deleted at any time, is Deleting for a while, then unknown; its id is free."""
    start(client, simulator, ENDPOINTS)
    simulator.advance(seconds)
    call(client, ENDPOINTS.stop_operation, id="job-1")

    assert get(client, ENDPOINTS)["status"] == ENDPOINTS.statuses.stopping
    simulator.advance(STOP_SECONDS)
    assert refusal(client, ENDPOINTS.get_operation, id="job-1")[0] == 404
    assert call(client, ENDPOINTS.list_operation) == {"ids": []}
    start(client, simulator, ENDPOINTS)


def test_update_of_an_endpoint(client: Any, simulator: Simulator) -> None:
    """update=true changes an endpoint that exists, through Updating, with another model."""
    start(client, simulator, ENDPOINTS)
    simulator.advance(A_LONG_TIME)
    simulator.seed(MODEL_TRANSFORM.name, "newer")
    call(client, ENDPOINTS.start_operation, id="job-1", update=True, mlModelTransformJobId="newer")

    assert get(client, ENDPOINTS)["status"] == ENDPOINTS.statuses.updating
    simulator.advance(A_LONG_TIME)
    assert get(client, ENDPOINTS)["status"] == ENDPOINTS.statuses.succeeded


def test_update_needs_an_endpoint(client: Any, simulator: Simulator) -> None:
    """update=true without an id, or with an unknown one, is refused."""
    simulator.seed(MODEL_TRAINING.name, "base-training")
    members = {"update": True, "mlModelTrainingJobId": "base-training"}

    assert refusal(client, ENDPOINTS.start_operation, **members)[:2] == (400, "MissingParameterException")
    assert refusal(client, ENDPOINTS.start_operation, id="no", **members)[:2] == (
        404,
        "MLResourceNotFoundException",
    )


def test_warm_start_and_incremental_processing(client: Any, simulator: Simulator) -> None:
    """Data processing and training build on earlier ones that have completed."""
    simulator.seed(DATA_PROCESSING.name, "base-data")
    simulator.seed(MODEL_TRAINING.name, "earlier")

    assert start(client, simulator, DATA_PROCESSING, previousDataProcessingJobId="base-data")
    assert start(client, simulator, MODEL_TRAINING, previousModelTrainingJobId="earlier")


def test_transform_by_training_job_name(client: Any, simulator: Simulator) -> None:
    """A transform takes the name of a training job instead of the two ids; a model's name is none."""
    simulator.seed(MODEL_TRAINING.name, "training")
    model = simulator.describe(MODEL_TRAINING.name, "training")["mlModels"][0]["name"]
    (name, _) = simulator.overview()["kinds"][MODEL_TRAINING.name][0]["training_jobs"]
    members = {"modelTransformOutputS3Location": "s3://bucket/transformed"}

    assert re.fullmatch(
        rf"{simulator.describe(MODEL_TRAINING.name, 'training')['hpoJob']['name']}-001-\w{{8}}", name
    )
    assert refusal(client, MODEL_TRANSFORM.start_operation, trainingJobName=model, **members) == (
        400,
        "BadRequestException",
        "Unable to find SageMaker AI resource. Please check your input.",
    )

    assert call(client, MODEL_TRANSFORM.start_operation, trainingJobName=name, **members)["id"]


def test_list_is_newest_first_and_limited(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """A list has the newest ids first, ten unless maxItems says otherwise."""
    for number in range(12):
        simulator.seed(kind.name, f"job-{number}")

    assert call(client, kind.list_operation) == {"ids": [f"job-{number}" for number in range(11, 1, -1)]}
    assert call(client, kind.list_operation, maxItems=1) == {"ids": ["job-11"]}
    assert len(call(client, kind.list_operation, maxItems=1024)["ids"]) == 12
    assert refusal(client, kind.list_operation, maxItems=1025)[:2] == (400, "InvalidParameterException")


def test_ids_are_unique_per_kind(client: Any, simulator: Simulator) -> None:
    """The same id serves for one resource of each kind."""
    for kind in KINDS.values():
        start(client, simulator, kind, "the-same")
        simulator.finish(kind.name, "the-same")

    assert [get(client, kind, "the-same")["id"] for kind in KINDS.values()] == ["the-same"] * len(KINDS)


def test_failure_scripted_before_the_start(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """A scripted failure comes at the end of its stage, with its reason, to the resource it was meant for."""
    stage = kind.stages[-1]
    simulator.script(
        kind.name, "job-2", fail_stage=stage.member, reason="ran out of memory", seconds={stage.member: 5.0}
    )
    start(client, simulator, kind, "job-1")
    start(client, simulator, kind, "job-2")
    simulator.advance(A_LONG_TIME)
    reply = get(client, kind, "job-2")

    assert get(client, kind, "job-1")["status"] == kind.statuses.succeeded
    assert reply["status"] == kind.statuses.failed
    assert reply[stage.member]["failureReason"] == "ran out of memory"
    assert "mlModels" not in reply


def test_failure_now(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """A resource fails now in the named stage; those before it have completed, the others never begin."""
    start(client, simulator, kind)
    stage = kind.stages[min(1, len(kind.stages) - 1)]
    simulator.fail(kind.name, "job-1", reason="no capacity", stage=stage.member)
    reply = get(client, kind)
    parts = {known.member: part for known, part in kind.stages_in(reply)}

    assert reply["status"] == kind.statuses.failed
    assert parts.pop(stage.member)["failureReason"] == "no capacity"
    assert all(part["status"] == kind.statuses.succeeded for part in parts.values())
    assert list(parts) == [known.member for known in kind.stages[: kind.stages.index(stage)]]


def test_finish_and_stop_now(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """A resource finishes or stops at once when the test says so, and only once."""
    start(client, simulator, kind, "job-1")
    start(client, simulator, kind, "job-2")
    simulator.finish(kind.name, "job-1")
    simulator.stop_job(kind.name, "job-2")

    assert get(client, kind, "job-1")["status"] == kind.statuses.succeeded
    if kind.statuses.stopped:
        assert get(client, kind, "job-2")["status"] == kind.statuses.stopped
    else:
        assert refusal(client, kind.get_operation, id="job-2")[0] == 404
    with pytest.raises(ValueError, match="has ended"):
        simulator.finish(kind.name, "job-1")


def test_any_status_word_can_be_shown(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """A test can make the reply show a word that nobody knows, or no status at all."""
    start(client, simulator, kind)
    simulator.set_status(kind.name, "job-1", "Defrosting")
    assert get(client, kind)["status"] == "Defrosting"

    simulator.set_status(kind.name, "job-1", None)
    assert "status" not in get(client, kind)

    simulator.finish(kind.name, "job-1")
    assert get(client, kind)["status"] == kind.statuses.succeeded


def test_seed_takes_any_status(simulator: Simulator, kind: ResourceKind) -> None:
    """A resource can be put there with any word of its kind, or a made-up one."""
    words = [*kind.statuses.terminal, *kind.statuses.non_terminal, "Defrosting"]
    for number, word in enumerate(words):
        simulator.seed(kind.name, f"job-{number}", word)

    assert [simulator.describe(kind.name, f"job-{number}")["status"] for number in range(len(words))] == words


def test_fresh_id_may_be_unknown_for_a_while(make_client: ClientMaker, kind: ResourceKind) -> None:
    """With appears_after a Get right after the start finds nothing, and the id is taken all the same."""
    with Simulator(clock="manual", appears_after=30.0) as simulator:
        client = make_client(simulator)
        start(client, simulator, kind)

        assert refusal(client, kind.get_operation, id="job-1")[0] == 404
        assert call(client, kind.list_operation)["ids"] != ["job-1"]
        simulator.advance(30.0)
        assert get(client, kind)["id"] == "job-1"


def test_lists_of_active_resources_only(make_client: ClientMaker, kind: ResourceKind) -> None:
    """With lists="active" a job leaves the list when it ends, an endpoint when it is gone."""
    with Simulator(clock="manual", lists="active") as simulator:
        simulator.seed(kind.name, "going", kind.statuses.running)
        simulator.seed(kind.name, "ended")

        ids = call(make_client(simulator), kind.list_operation)["ids"]
        assert ids == (["ended", "going"] if kind is ENDPOINTS else ["going"])


def test_durations_are_settings(kind: ResourceKind) -> None:
    """Each stage's seconds, and those of stopping, can be set."""
    stages = dict.fromkeys(DURATIONS[kind.name], 1.0)
    simulator = Simulator(clock="manual", durations={kind.name: {**stages, "stop": 2.0}})
    simulator.seed(kind.name, "job-1", kind.statuses.running)
    simulator.advance(len(stages))

    assert simulator.describe(kind.name, "job-1")["status"] == kind.statuses.succeeded


def test_every_stage_has_a_default_duration() -> None:
    """The defaults cover the stages of the table, no more and no less."""
    expected = {kind.name: [stage.member for stage in kind.stages] for kind in ALL_KINDS.values()}
    expected["export"].insert(0, "pending")

    assert {kind: list(stages) for kind, stages in DURATIONS.items()} == expected


def test_speed_scales_time() -> None:
    """With speed the simulated time passes faster than the real one."""
    simulator = Simulator(speed=1_000_000.0)
    simulator.seed(MODEL_TRAINING.name, "job-1", MODEL_TRAINING.statuses.running)
    began = simulator.now()
    while simulator.now() < began + A_LONG_TIME:
        pass

    assert simulator.describe(MODEL_TRAINING.name, "job-1")["status"] == MODEL_TRAINING.statuses.succeeded


def test_clock_never_goes_back(simulator: Simulator) -> None:
    """A negative step is refused."""
    with pytest.raises(ValueError, match="go back"):
        simulator.advance(-1)
