"""The CloudWatch log of a stage in the task's log: by moto's server, and by raw HTTP what moto can't do."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException

from airflow_provider_neptune_ml import logs
from airflow_provider_neptune_ml.background import in_daemon
from airflow_provider_neptune_ml.compat import (
    AIRFLOW_V_3_0_PLUS,
    CAN_RUN_WITHOUT_WORKER,
    AirflowFailException,
)
from airflow_provider_neptune_ml.exceptions import NeptuneMLKilledError
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.kinds import (
    DATA_PROCESSING,
    ENDPOINTS,
    EXPORT,
    KINDS,
    MODEL_TRAINING,
    ResourceKind,
)
from airflow_provider_neptune_ml.logs import Cursor, Streams, TaskLog, last_events, streams_in, streams_of
from airflow_provider_neptune_ml.operators.neptune_ml import NeptuneMLStartDataProcessingJobOperator
from airflow_provider_neptune_ml.progress import Progress
from airflow_provider_neptune_ml.sensors.log_position import earlier_position
from airflow_provider_neptune_ml.sensors.neptune_ml import (
    NeptuneMLDataProcessingJobSensor,
    NeptuneMLModelTrainingJobSensor,
)
from airflow_provider_neptune_ml.simulator import Simulator
from tests import modes
from tests.cloudwatch import PROCESSING, CloudWatch, connect_aws, moto_server
from tests.contexts import KEY, context
from tests.modes import Clock, Mode, World, first_event
from tests.raw_server import reply, serve
from tests.task_states import LeftAs
from tests.triggers.waits import trigger

pytestmark = pytest.mark.usefixtures("connection")

STREAMS = Streams(PROCESSING, "mine")
PART = {"name": "mine", "status": "InProgress"}
RUNNING = {"id": "mine", "status": "InProgress", "processingJob": PART}


@pytest.fixture(scope="session")
def _account() -> Iterator[CloudWatch]:
    with moto_server() as account:
        yield account


@pytest.fixture
def cloudwatch(_account: CloudWatch, monkeypatch: pytest.MonkeyPatch) -> CloudWatch:
    """An account without a log group, to which the default AWS connection leads."""
    _account.reset()
    connect_aws(monkeypatch, _account.url)
    return _account


class Printed:
    """A log of a task, and what stands in it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str, *arguments: Any) -> None:
        """Log a line."""
        self.lines.append(message % arguments)

    warning = info


def task_log(
    printed: Printed,
    *,
    kind: ResourceKind = DATA_PROCESSING,
    print_log: bool = True,
    lines: int = 50,
    **settings: Any,
) -> TaskLog:
    """Return what a worker prints the log of a job with."""
    return TaskLog(
        kind,
        "mine",
        log=printed,
        submit=in_daemon_of(NeptuneMLHook()),
        print_log=print_log,
        failure_log_lines=lines,
        **settings,
    )


def in_daemon_of(hook: NeptuneMLHook) -> Callable[[Callable[[Any], None]], Any]:
    """Return what hands the reading of a log to a thread."""

    def submit(run: Callable[[Any], None]) -> Any:
        source = hook.logs
        return in_daemon(lambda: run(source))

    return submit


def poll(log: TaskLog, description: Any = RUNNING, kind: ResourceKind = DATA_PROCESSING) -> None:
    """Poll once, and wait until what was read is printed."""
    log.follow(Progress(kind, description))
    reading: Any = log._reading
    if reading:
        reading.result()


@pytest.fixture
def printed(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[[], list[str]]]:
    """What tasks and triggers have logged since it was asked for last, wherever this Airflow logs to."""

    def lines() -> list[str]:
        said = capfd.readouterr().out.splitlines()
        if not lines_of(said):
            said = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return said

    with caplog.at_level(logging.INFO):
        yield lines


def lines_of(said: list[str]) -> list[str]:
    """Return what of it is a log's, without Airflow's decoration."""
    return [line[line.index("[algo-1]") :].split("  ")[0].rstrip() for line in said if "[algo-1]" in line]


# In every mode

MODES = (
    modes.poke,
    modes.deferrable,
    pytest.param(
        modes.from_trigger,
        marks=pytest.mark.skipif(not CAN_RUN_WITHOUT_WORKER, reason="only Airflow 3.3 can begin there"),
    ),
    modes.start,
    modes.start_deferrable,
)


@pytest.fixture
def world(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster without a resource, and its clock for everything."""
    clock = Clock(simulator)
    clock.install(monkeypatch)
    return World(clock, logged=str)


def wait(mode: Mode, world: World, *events: Any, **settings: Any) -> modes.Ending:
    """Wait for a training that is under way, and to which things happen from pause to pause."""
    if mode not in (modes.start, modes.start_deferrable):
        world.simulator.seed("modeltraining", "mine", status="InProgress")
    world.clock.then.extend(events)
    return mode(world, **settings)


@pytest.mark.parametrize("mode", MODES)
def test_printed_once_each_and_from_the_start(
    mode: Mode, world: World, cloudwatch: CloudWatch, printed: Callable[[], list[str]]
) -> None:
    """The events of the stage at work are printed, those from before the wait as well, in their order."""

    def write(*messages: str) -> None:
        description = world.simulator.describe("modeltraining", "mine")
        cloudwatch.write_stage(description, "processingJob", *messages)

    def end() -> None:
        write("last")
        world.simulator.finish("modeltraining", "mine")

    events = (lambda: write("first", "second"), lambda: write("third"), end)
    # The stage that is at work in the end is another one.
    wait(mode, world, *events, print_log=True, failure_log_lines=0)

    assert lines_of(printed()) == [f"[algo-1] {word}" for word in ("first", "second", "third", "last")]


@pytest.mark.usefixtures("airflow_database")
@pytest.mark.parametrize("mode", [*MODES, modes.reschedule])
def test_last_lines_of_the_stage_that_failed(
    mode: Mode, world: World, cloudwatch: CloudWatch, printed: Callable[[], list[str]]
) -> None:
    """When a job has failed, the last lines of the failed stage's log are printed, unasked."""

    def fail() -> None:
        description = world.simulator.describe("modeltraining", "mine")
        cloudwatch.write_stage(description, "processingJob", *(f"line {number}" for number in range(60)))
        world.simulator.fail("modeltraining", "mine", stage="processingJob")

    ending = wait(mode, world, fail, failure_log_lines=3)

    assert "ended as Failed" in ending.message
    assert lines_of(printed()) == [f"[algo-1] line {number}" for number in (57, 58, 59)]


@pytest.mark.parametrize("print_log", [False, True])
def test_a_task_that_fails_in_the_triggerer_ends_with_the_error(
    simulator: Simulator, cloudwatch: CloudWatch, printed: Callable[[], list[str]], *, print_log: bool
) -> None:
    """Where no worker fails the task, the triggerer prints the last lines, each once, then the error."""
    simulator.seed("dataprocessing", "mine", status="InProgress")
    cloudwatch.write_stage(simulator.describe("dataprocessing", "mine"), "processingJob", "one", "two")
    simulator.fail("dataprocessing", "mine")

    first_event(
        trigger(kind="dataprocessing", end_from_trigger=True, fail_from_trigger=True, print_log=print_log)
    )

    said = printed()
    assert lines_of(said) == ["[algo-1] one", "[algo-1] two"]
    [error] = [number for number, line in enumerate(said) if "ended as Failed" in line]
    assert error > max(number for number, line in enumerate(said) if "[algo-1]" in line)


def test_what_the_triggerer_has_printed_a_worker_prints_no_more(
    simulator: Simulator, cloudwatch: CloudWatch, printed: Callable[[], list[str]]
) -> None:
    """A deferred task that fails in a worker has its lines once, with print_log as without."""
    simulator.seed("dataprocessing", "mine", status="InProgress")
    cloudwatch.write_stage(simulator.describe("dataprocessing", "mine"), "processingJob", "only")
    simulator.fail("dataprocessing", "mine")
    event = json.loads(json.dumps(first_event(trigger(kind="dataprocessing", print_log=True)).payload))
    task = NeptuneMLDataProcessingJobSensor(task_id="wait", job_id="mine", print_log=True)

    with pytest.raises(AirflowFailException, match="ended as Failed"):
        task.execute_complete(context(), event)

    assert lines_of(printed()) == ["[algo-1] only"]


def test_of_what_the_triggerer_could_not_print_a_worker_prints_the_last_lines(
    simulator: Simulator,
    cloudwatch: CloudWatch,
    printed: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A deferred task that fails in a worker ends with the last lines, not with all of them again."""
    monkeypatch.setattr(logs, "_PAGE_LINES", 1)
    simulator.seed("dataprocessing", "mine", status="InProgress")
    description = simulator.describe("dataprocessing", "mine")
    cloudwatch.write_stage(description, "processingJob", *map(str, range(9)))
    simulator.fail("dataprocessing", "mine")
    waits = trigger(kind="dataprocessing", print_log=True, failure_log_lines=2)
    event = json.loads(json.dumps(first_event(waits).payload))
    task = NeptuneMLDataProcessingJobSensor(
        task_id="wait", job_id="mine", print_log=True, failure_log_lines=2
    )
    printed()

    with pytest.raises(AirflowFailException, match="ended as Failed"):
        task.execute_complete(context(), event)

    assert lines_of(printed()) == ["[algo-1] 7", "[algo-1] 8"]


def test_no_failure_lines_if_none_are_wanted(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """With failure_log_lines=0 and without print_log, AWS is not asked."""
    simulator.seed("dataprocessing", "mine", status="Failed")
    with serve(reply(200, {})) as (port, requests):
        connect_aws(monkeypatch, f"http://127.0.0.1:{port}")
        task = NeptuneMLDataProcessingJobSensor(task_id="wait", job_id="mine", failure_log_lines=0)
        with pytest.raises(AirflowFailException):
            task.execute(context())

    assert not requests


# Rescheduled


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2 does not tell the keys of the XComs it cleared")
def test_a_rescheduled_sensor_goes_on_where_its_last_poke_was(
    simulator: Simulator, cloudwatch: CloudWatch, printed: Callable[[], list[str]]
) -> None:
    """Each poke is a process of its own: it prints what came since the one before, of the same try."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    first = simulator.describe("modeltraining", "mine")
    keys: list[str] = []
    for number in range(3):
        cloudwatch.write_stage(first, "processingJob", f"before poke {number}")
        poke(keys)
        assert lines_of(printed()) == [f"[algo-1] before poke {number}"]
    # Another stage: what is left of the first is printed too.
    cloudwatch.write_stage(first, "processingJob", "left")
    simulator.advance(301)
    poke(keys)

    assert lines_of(printed()) == ["[algo-1] left"]
    # Another try begins with the first.
    poke(keys, try_number=2)
    assert not lines_of(printed())[:-1]


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2 does not tell the keys of the XComs it cleared")
def test_a_rescheduled_sensor_catches_up(
    simulator: Simulator,
    cloudwatch: CloudWatch,
    printed: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A poke that could not print all of a minute's lines leaves the rest, and no more, to the next."""
    monkeypatch.setattr(logs, "_PAGE_LINES", 2)
    simulator.seed("modeltraining", "mine", status="InProgress")
    cloudwatch.write_stage(simulator.describe("modeltraining", "mine"), "processingJob", *map(str, range(25)))
    keys: list[str] = []
    lines: list[str] = []
    for _ in range(3):
        poke(keys)
        lines += lines_of(printed())

    # Where one stops, the line may come again: another of the same millisecond may be missing.
    assert sorted({*lines}, key=lines.index) == [f"[algo-1] {number}" for number in range(25)]
    assert len(lines) <= 25 + 2


def test_an_earlier_stage_that_is_read_does_not_hold_up_the_position(answers: list[bytes | None]) -> None:
    """The next poke goes on with the stage at work, though the first page of one before it was empty."""
    new = 1_770_000_900_000
    answers += [events(token="a"), events(1, at=new), events(), events()]
    tuning = {"status": "InProgress", "processingJob": {**PART, "status": "Completed"}, "hpoJob": PART}
    log = task_log(Printed(), kind=MODEL_TRAINING, start=logs.Position(1_770_000_000_000, 1))
    poll(log, tuning, MODEL_TRAINING)

    log.settle(tuning, failed=False, seconds=30)

    assert log.position.start == new + 1 - logs.OVERLAP_MS


def poke(keys: list[str], *, try_number: int = 1) -> None:
    """Poke as Airflow 3 does, which clears the XComs first, and tells which."""
    where = context(try_number=try_number)
    where["ti"]._ti_context_from_server = SimpleNamespace(xcom_keys_to_clear=[*keys])
    task = NeptuneMLModelTrainingJobSensor(
        task_id="wait", job_id="mine", mode="reschedule", print_log=True, poke_interval=60
    )
    with pytest.raises(AirflowRescheduleException):
        task.execute(where)
    keys[:] = where["ti"].xcoms


@pytest.mark.skipif(AIRFLOW_V_3_0_PLUS, reason="only Airflow 2 has the pokes in reach")
def test_a_rescheduled_sensor_of_airflow_2_prints_what_came_since(left_as: LeftAs) -> None:
    """Airflow 2 knows when the last poke ended: from a second before, lines are printed."""
    from airflow.models import taskreschedule
    from airflow.utils.session import create_session

    row: Any = taskreschedule.TaskReschedule
    left_as("running")
    ended = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
    pokes = [{"start_date": ended, "end_date": ended - timedelta(hours=hours)} for hours in (1, 0)]
    with create_session() as session:
        for each in pokes:
            session.add(row(**KEY, try_number=1, **each, reschedule_date=ended))

    position = earlier_position(context(**KEY))

    assert position.after == ended.timestamp() * 1000 - 1000
    assert position.start == position.after - logs.OVERLAP_MS


# Which streams


def test_all_training_jobs_of_a_tuning_job_and_no_others(cloudwatch: CloudWatch) -> None:
    """A tuning job has one stream per training job, named after it; others share the group."""
    group = "/aws/sagemaker/TrainingJobs"
    cloudwatch.write(group, "mine-hpo-001-abcd1234/algo-1-1770000000", "of the first")
    cloudwatch.write(group, "mine-hpo-002-abcd1234/algo-1-1770000000", "of the second")
    cloudwatch.write(group, "other-001-abcd1234/algo-1-1770000000", "of another")
    said = Printed()
    log = TaskLog(
        MODEL_TRAINING,
        "mine",
        log=said,
        submit=in_daemon_of(NeptuneMLHook()),
        print_log=True,
        failure_log_lines=0,
    )

    poll(log, {"status": "InProgress", "hpoJob": {"name": "mine-hpo", "status": "InProgress"}})

    assert said.lines == [
        "Model training job 'mine': CloudWatch log (/aws/sagemaker/TrainingJobs, mine-hpo)",
        "[001-abcd1234/algo-1] of the first",
        "[002-abcd1234/algo-1] of the second",
    ]


CONSOLE = "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1"


@pytest.mark.parametrize(
    ("url", "streams"),
    [
        (f"{CONSOLE}#logStream:group=/aws/sagemaker/ProcessingJobs;prefix=mine", STREAMS),
        (
            f"{CONSOLE}#logStream:group=/aws/sagemaker/ProcessingJobs;prefix=mine;streamFilter=typeLogStreamPrefix",
            STREAMS,
        ),
        (f"{CONSOLE}#logStream:group=%2Faws%2Fsagemaker%2FProcessingJobs;prefix=mine", STREAMS),
        (f"{CONSOLE}#logEventViewer:group=/aws/sagemaker/ProcessingJobs;stream=mine", STREAMS),
        (
            f"{CONSOLE}#logsV2:log-groups/log-group/$252Faws$252Fsagemaker$252FProcessingJobs"
            "$3FlogStreamNameFilter$3Dmine",
            STREAMS,
        ),
        (
            f"{CONSOLE}#logsV2:log-groups/log-group/$252Faws$252Fsagemaker$252FProcessingJobs/log-events"
            "/mine$252Falgo-1",
            Streams(PROCESSING, "mine/algo-1"),
        ),
        ("https://console.amazonaws.cn/cloudwatch/home#logStream:group=g;prefix=mine", Streams("g", "mine")),
        ("https://evil.example/#logStream:group=/aws/sagemaker/ProcessingJobs;prefix=mine", None),
        ("https://aws.amazon.com.evil.example/#logStream:group=g;prefix=mine", None),
        # All jobs of the account.
        (f"{CONSOLE}#logStream:group=/aws/sagemaker/ProcessingJobs", None),
        (f"{CONSOLE}#logStream:group=g;prefix=a*", None),
        (f"{CONSOLE}#dashboards", None),
        ("javascript:alert(1)#logStream:group=g;prefix=mine", None),
        ("https://[", None),
        (None, None),
        (7, None),
    ],
)
def test_group_and_prefix_of_a_link(url: object, streams: Streams | None) -> None:
    """They are in the link to the console, in any of its spellings; of another link, nothing is taken."""
    assert streams_in(url) == streams


def test_without_a_link_the_table_knows() -> None:
    """Without a link, they follow from the stage and the name of the resource; an endpoint has a group."""
    [processing], [endpoint] = DATA_PROCESSING.stages, ENDPOINTS.stages

    assert streams_of(processing, {"name": "mine"}) == STREAMS
    assert streams_of(endpoint, {"name": "mine"}) == Streams("/aws/sagemaker/Endpoints/mine", "")
    assert streams_of(processing, {}) is None
    assert streams_of(processing, {"name": "a*"}) is None
    assert streams_of(processing, {"name": 7, "cloudwatchLogUrl": {}}) is None


def test_an_export_has_a_log_once_it_has_a_link(cloudwatch: CloudWatch) -> None:
    """The streams of AWS Batch don't have the job's name: nothing is read before the reply has their link."""
    cloudwatch.write("/aws/batch/job", "neptune-export/default/1", "of the export")
    link = f"{CONSOLE}#logEventViewer:group=/aws/batch/job;stream=neptune-export/default/1"
    said = Printed()
    log = task_log(said, kind=EXPORT)

    poll(log, {"status": "pending", "exportJob": {"name": "mine"}}, EXPORT)
    poll(log, {"status": "running", "exportJob": {"name": "mine", "cloudwatchLogUrl": link}}, EXPORT)

    assert said.lines == [
        "Export job 'mine': CloudWatch log (/aws/batch/job, neptune-export/default/1)",
        "[neptune-export/default/1] of the export",
    ]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_links_of_the_simulator_lead_to_the_same(simulator: Simulator, kind: ResourceKind) -> None:
    """What the simulator gives as links is where the table has the logs."""
    simulator.seed(kind.name, "mine", status=kind.statuses.succeeded)

    for stage, part in kind.stages_in(simulator.describe(kind.name, "mine")):
        assert streams_of(stage, part) == streams_of(stage, {"name": part["name"]})


# What the service may answer


def events(*numbers: int, token: str | None = None, at: int = 1_770_000_000_000) -> bytes:
    """Return a page with events."""
    found = [
        {"eventId": str(each), "timestamp": at + each, "message": f"line {each}", "logStreamName": "mine/a"}
        for each in numbers
    ]
    return reply(200, {"events": found, **({"nextToken": token} if token else {})})


def refusal(code: str, message: str = "said", status: int = 400) -> bytes:
    """Return an error as CloudWatch Logs answers it."""
    return reply(status, {"__type": code, "message": message})


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes | None]]:
    """What CloudWatch Logs answers, one after the other; the last for ever."""
    given: list[bytes | None] = []

    def answer(request: bytes, _: int, before: int) -> bytes | None:
        return given[min(before, len(given) - 1)]

    with serve(answer) as (port, _):
        connect_aws(monkeypatch, f"http://127.0.0.1:{port}")
        yield given


def test_pages_and_repetitions(answers: list[bytes | None]) -> None:
    """One page a poll; from its end on, the log is read again from a minute before, and nothing twice."""
    answers += [events(1, 2, token="a"), events(3, token="b"), events(), events(2, 3, 4), events(4)]
    said = Printed()
    log = task_log(said)

    for lines in (2, 3, 3, 4, 4):
        poll(log)
        assert said.lines[1:] == [f"[a] line {number}" for number in range(1, lines + 1)]


def test_an_empty_page_for_ever(answers: list[bytes | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without an end hold up no poll, and what is left is given up in time."""
    answers += [reply(200, {"events": [], "nextToken": str(number)}) for number in range(3_000)]
    said = Printed()
    log = task_log(said)
    poll(log)
    began = time.monotonic()

    log.settle(RUNNING, failed=True, seconds=0.5)

    assert time.monotonic() - began < 10
    assert len(said.lines) <= 2


@pytest.mark.parametrize(
    "answer", [refusal("ThrottlingException", "Rate exceeded"), None], ids=["throttled", "connection_lost"]
)
def test_transient_errors(
    answers: list[bytes | None], answer: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that is throttled, or cut off, backs off and says nothing; then it goes on where it was."""
    monkeypatch.setattr(logs, "_SHORTEST_PAUSE_SECONDS", 0.01)
    answers += [events(1, token="a"), answer, answer, events(2)]
    said = Printed()
    log = task_log(said)

    poll(log)
    poll(log)
    assert log._not_before > time.monotonic() - 1
    log.settle(RUNNING, failed=False, seconds=30)

    assert said.lines[1:] == ["[a] line 1", "[a] line 2"]


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            refusal("AccessDeniedException", "User x may not"),
            f"permission logs:FilterLogEvents is missing for {PROCESSING}, mine: User x may not",
        ),
        (
            refusal("ResourceNotFoundException", "The specified log group does not exist."),
            "there is no log group /aws/sagemaker/ProcessingJobs (yet)",
        ),
        (refusal("InvalidParameterException", "no"), "InvalidParameterException: no"),
        (reply(200, {"events": [], "message": "x" * 17_000_000}), "ReplyTooLongError: more than 16000000"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_one_line(answers: list[bytes | None], answer: bytes, line: str) -> None:
    """Whatever is wrong is said once in a wait, in one line; the wait neither fails nor is it late."""
    answers.append(answer)
    said = Printed()
    log = task_log(said)

    for _ in range(3):
        poll(log)
        log._not_before = 0.0
    log.settle(RUNNING, failed=True, seconds=30)

    [only] = said.lines
    assert only.startswith(f"Data processing job 'mine': CloudWatch log: {line}")


@pytest.mark.parametrize("polls", [0, 1])
def test_a_log_that_is_not_there_hides_no_other(cloudwatch: CloudWatch, polls: int) -> None:
    """What can't be read of a stage before says so, once; of the stage that failed, the lines are there."""
    cloudwatch.write("/aws/sagemaker/TrainingJobs", "mine/a", "line 1", "line 2")
    stage = {"name": "mine", "status": "InProgress"}
    tuning = {"processingJob": {"name": "mine", "status": "Completed"}, "hpoJob": stage}
    said = Printed()
    log = task_log(said, kind=MODEL_TRAINING)
    poll(log, {"status": "InProgress", "processingJob": stage}, MODEL_TRAINING)
    for _ in range(polls):
        log._not_before = 0.0
        poll(log, {"status": "InProgress", **tuning}, MODEL_TRAINING)

    log.settle({"status": "Failed", **tuning}, failed=True, seconds=30)

    missing, announced, *lines = said.lines
    assert missing.endswith("there is no log group /aws/sagemaker/ProcessingJobs (yet)")
    assert "CloudWatch log (/aws/sagemaker/TrainingJobs, mine" in announced
    assert lines == ["[a] line 1", "[a] line 2"]


def test_last_lines_that_were_found_before_it_is_throttled(answers: list[bytes | None]) -> None:
    """What the last minute has is printed, although a look further back is refused."""
    answers += [events(1, at=int(time.time() * 1000)), refusal("AccessDeniedException")]
    said = Printed()

    task_log(said, print_log=False).settle(RUNNING, failed=True, seconds=30)

    assert said.lines[1:] == ["[a] line 1"]


@pytest.mark.parametrize(
    "page",
    [{}, {"events": None}, {"events": "text"}, {"events": [None, 7, {}]}, {"nextToken": 7, "events": {}}],
)
def test_replies_that_are_none(page: Any) -> None:
    """A reply without what it should have is a page without events, or with empty ones."""

    class Service:
        def page(self, *_: Any, **__: Any) -> Any:
            return page

    found = Cursor(STREAMS).read(Service(), 10)

    assert [logs.line_of(event, STREAMS) for event in found] == ["[]"] * len(found)


def test_a_line_is_one_line(answers: list[bytes | None]) -> None:
    """Colours, control characters and line breaks are left out, and 10 MB are cut to 1,000 characters."""
    big = {"events": [{"eventId": "1", "timestamp": 5, "message": "x" * 10_000_000, "logStreamName": "mine"}]}
    coloured = {
        "events": [
            {
                "eventId": "2",
                "timestamp": 6,
                "message": "\x1b[31mred\x1b[0m\r50%\r100%\n2026 ERROR\x00\u202e",
                "logStreamName": "mine/algo-1-1770000000",
            }
        ]
    }
    answers += [reply(200, big), reply(200, coloured)]
    said = Printed()
    log = task_log(said)

    poll(log)
    poll(log)

    _, cut, plain = said.lines
    assert len(cut) == 1000
    assert plain == "[algo-1] red 50% 100% 2026 ERROR"


def test_silence_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that doesn't answer is waited for until the time is over, with one line, and then no more."""

    class Silent:
        def page(self, *_: Any, **__: Any) -> Any:
            let_go.wait()
            return {"events": [{"message": "late"}]}

    let_go = Event()
    said = Printed()
    log = TaskLog(
        DATA_PROCESSING,
        "mine",
        log=said,
        submit=lambda run: in_daemon(lambda: run(Silent())),
        print_log=True,
        failure_log_lines=5,
    )
    try:
        log.follow(Progress(DATA_PROCESSING, RUNNING))
        log.follow(Progress(DATA_PROCESSING, RUNNING))
        reading: Any = log.finish(RUNNING, failed=True, seconds=0.05)
        log.settle(RUNNING, failed=True, seconds=0.05)
        assert said.lines == ["Data processing job 'mine': CloudWatch log: no answer in time"]
    finally:
        let_go.set()
    reading.result()
    assert len(said.lines) == 1


def test_a_killed_task_does_not_wait_for_its_log() -> None:
    """What the check of a kill raises ends the waiting for what is left."""
    let_go = Event()

    class Silent:
        def page(self, *_: Any, **__: Any) -> Any:
            let_go.wait()
            return {}

    log = TaskLog(
        DATA_PROCESSING,
        "mine",
        log=Printed(),
        submit=lambda run: in_daemon(lambda: run(Silent())),
        print_log=True,
        failure_log_lines=5,
    )

    def check() -> None:
        raise NeptuneMLKilledError("Killed.")

    try:
        with pytest.raises(NeptuneMLKilledError):
            log.settle(RUNNING, failed=True, seconds=60, check=check)
    finally:
        let_go.set()


def test_unsigned_clusters_say_what_is_missing(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials, as on a cluster without IAM authentication, one line says so, and what for."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws"}))
    said = Printed()

    task_log(said).settle(RUNNING, failed=True, seconds=30)

    assert said.lines == [
        "Data processing job 'mine': CloudWatch log: no AWS credentials (aws_conn_id='aws_default');"
        " with them, logs:FilterLogEvents is needed"
    ]


# The last lines of a long log


@pytest.mark.parametrize("age", [0, 30, 3000, 300_000, 1_000_000])
def test_last_lines_of_an_old_log(cloudwatch: CloudWatch, age: float) -> None:
    """The last lines are found however long ago they were written."""
    cloudwatch.write(PROCESSING, "mine/a-1", *map(str, range(20)), at=time.time() - age)

    found = last_events(NeptuneMLHook().logs, STREAMS, 3, time.monotonic() + 60, time.time())

    assert [event["message"] for event in found] == ["17", "18", "19"]


def test_last_lines_that_are_too_far_apart(cloudwatch: CloudWatch) -> None:
    """Few recent lines are not all: those before them are looked for."""
    cloudwatch.write(PROCESSING, "mine/a-1", "old", "older", at=time.time() - 100_000)
    cloudwatch.write(PROCESSING, "mine/a-1", "new")

    found = last_events(NeptuneMLHook().logs, STREAMS, 2, time.monotonic() + 60, time.time())

    assert [event["message"] for event in found] == ["older", "new"]


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"print_log": "maybe"}, "print_log='maybe' must be True or False"),
        ({"print_log": None}, "print_log=None must be True or False"),
        ({"failure_log_lines": -1}, "failure_log_lines=-1 must be a whole number of lines, 0 or more"),
        ({"failure_log_lines": 1e3}, "failure_log_lines=1000.0 must be"),
        ({"failure_log_lines": True}, "failure_log_lines=True must be"),
        ({"failure_log_lines": 10_001}, "failure_log_lines=10001 must be"),
        ({"failure_log_lines": "{{ x }}"}, "failure_log_lines='{{ x }}' must be"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    """They are reported when the Dag is parsed."""
    with pytest.raises(ValueError, match=re.escape(message)):
        NeptuneMLDataProcessingJobSensor(task_id="wait", job_id="mine", **arguments)
    with pytest.raises(ValueError, match=re.escape(message)):
        NeptuneMLStartDataProcessingJobOperator(
            task_id="start",
            input_data_s3_location="s3://bucket/in",
            processed_data_s3_location="s3://bucket/out",
            **arguments,
        )


def test_arguments_as_text() -> None:
    """A flag and a number may be text, as in the default_args of many Dags."""
    task: Any = NeptuneMLDataProcessingJobSensor(
        task_id="wait", job_id="mine", print_log="true", failure_log_lines="7"
    )

    assert (task.print_log, task.failure_log_lines) == (True, 7)


# Late


def test_no_queue_of_logs(cloudwatch: CloudWatch) -> None:
    """Where all threads are at work, a poll has nothing read: the next one does, from where it was."""
    cloudwatch.write(PROCESSING, "mine/a", "line")
    said, room = Printed(), iter((False, True))
    log = task_log(said, has_room=lambda: next(room))

    poll(log)
    assert said.lines == []
    poll(log)
    assert said.lines[1:] == ["[a] line"]


def test_read_too_late() -> None:
    """What stood in the queue for the threads when its wait ended reads nothing any more."""
    handed: list[Callable[[Any], None]] = []

    def hand(run: Callable[[Any], None]) -> Any:
        handed.append(run)
        return SimpleNamespace(done=lambda: False)

    log = TaskLog(
        DATA_PROCESSING,
        "mine",
        log=Printed(),
        submit=hand,
        print_log=True,
        failure_log_lines=50,
    )
    log.follow(Progress(DATA_PROCESSING, RUNNING))
    log.close(log.finish(RUNNING, failed=True, seconds=1))
    asked: list[Any] = []

    def page(*_: Any, **given: Any) -> dict[str, Any]:
        asked.append(given)
        return {}

    for run in handed:
        source: Any = SimpleNamespace(page=page)
        run(source)

    assert handed
    assert not asked
