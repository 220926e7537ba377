"""The decision of every wait, and the loop around it: no service, no clock but a variable."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_neptune_ml import polling
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLFailedError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
    NeptuneMLTimeoutError,
    NeptuneMLUnreachableError,
)
from airflow_provider_neptune_ml.kinds import (
    DATA_PROCESSING,
    ENDPOINTS,
    KINDS,
    MODEL_TRAINING,
    MODEL_TRANSFORM,
    ResourceKind,
)
from airflow_provider_neptune_ml.polling import Wait, Watch
from airflow_provider_neptune_ml.progress import Listeners, Progress
from airflow_provider_neptune_ml.retries import (
    _JITTER,
    RetryBudget,
    format_duration,
    jittered,
    retry_transient,
    retry_transient_async,
)

STARTED_AT = 1_000_000.0


class Clock:
    """A clock that moves when it is slept on."""

    def __init__(self) -> None:
        self.time = STARTED_AT

    def now(self) -> float:
        """Tell the time."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Move the time."""
        assert seconds >= 0
        self.time += seconds

    async def sleep_async(self, seconds: float) -> None:
        """Move the time."""
        self.sleep(seconds)


class Service:
    """A service that plays back replies and errors, the last one for ever."""

    def __init__(self, *outcomes: dict[str, Any] | NeptuneMLError) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0

    def describe(self) -> dict[str, Any]:
        """Answer as the script says."""
        outcome = self.outcomes[min(self.calls, len(self.outcomes) - 1)]
        self.calls += 1
        if isinstance(outcome, NeptuneMLError):
            raise outcome
        return outcome

    async def describe_async(self) -> dict[str, Any]:
        """Answer as the script says."""
        return self.describe()


@pytest.fixture
def clock() -> Clock:
    """A stopped clock."""
    return Clock()


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest, clock: Clock) -> Any:
    """Each of the two loops, as a function of a watch and a service."""

    def sync(watch: Watch, service: Service) -> Any:
        return watch.wait(lambda _: service.describe(), sleep=clock.sleep, now=clock.now)

    def run_async(watch: Watch, service: Service) -> Any:
        return asyncio.run(watch.wait_async(service.describe_async, sleep=clock.sleep_async, now=clock.now))

    return sync if request.param == "sync" else run_async


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What the watch has logged."""
    with caplog.at_level(logging.INFO, logger="watch"):
        yield Messages(caplog)


class Messages(list[str]):
    """The log's messages, always the newest."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog

    def __iter__(self) -> Iterator[str]:
        return iter([record.getMessage() for record in self.caplog.records if record.name == "watch"])

    def count(self, word: Any) -> int:
        """Count the messages with a word."""
        return sum(word in message for message in self)


def watch(kind: ResourceKind = MODEL_TRAINING, **settings: Any) -> Watch:
    """Return a watch on a resource that is called ``mine``."""
    options = {name: settings.pop(name) for name in ("taken_over", "on_progress") if name in settings}
    wait = Wait(kind, "mine", STARTED_AT, **settings)
    return Watch(wait, log=logging.getLogger("watch"), **options)


def reply(status: str | None, **parts: Any) -> dict[str, Any]:
    """Return a description."""
    return {"id": "mine", **({"status": status} if status else {}), **parts}


def refusal(
    error_class: type[NeptuneMLServiceError] = NeptuneMLServiceError, **changes: Any
) -> NeptuneMLServiceError:
    """Return an error of the service."""
    settings: dict[str, Any] = {
        "code": "InternalFailureException",
        "detail": "x",
        "http_status": 500,
        "request_id": "1",
        "transient": True,
    }
    return error_class("refused.", **{**settings, **changes})


NOT_FOUND = refusal(NeptuneMLNotFoundError, http_status=404, transient=False)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_status_of_the_table(driver: Any, kind: ResourceKind) -> None:
    """Success and failure are by membership in the table, in every kind."""
    for status in kind.statuses.terminal:
        wait = watch(kind)
        if status == kind.statuses.succeeded:
            assert driver(wait, Service(reply(status.upper())))["status"] == status.upper()
        else:
            with pytest.raises(NeptuneMLFailedError, match=f"^{kind.name_of('mine')} ") as caught:
                driver(wait, Service(reply(status)))
            assert caught.value.status == status
    for status in kind.statuses.non_terminal:
        with pytest.raises(NeptuneMLTimeoutError):
            driver(watch(kind, deadline=STARTED_AT), Service(reply(status)))


def test_unknown_words_are_told_once(driver: Any, lines: list[str]) -> None:
    """An unknown status means "still going" and is logged once; a missing one is not unknown."""
    service = Service({}, reply("Odd"), reply("Strange"), reply("Odd"), reply("Odd"), reply("Completed"))

    driver(watch(), service)

    assert service.calls == 6
    assert lines.count("'mine' is without a status (") == 1
    assert [line for line in lines if "unknown" in line] == [
        f"Model training job 'mine' has the unknown status {status!r}, which counts as non-terminal"
        for status in ("Odd", "Strange")
    ]


def test_what_a_reply_says_forges_no_line(driver: Any, lines: list[str]) -> None:
    """Status words, known or not, of a job or a stage, are one printable line, and are cut."""
    forged = "a\nERROR b\x1b[31m\u202e" + "x" * 5000
    part = {"status": forged, "name": forged, "cloudwatchLogUrl": forged}

    driver(watch(), Service(reply(forged, hpoJob=part), reply("Completed")))

    assert all(line.isprintable() and len(line) < 2500 for line in lines)
    assert lines.count("is a ERROR bxxx") == 1
    assert lines.count("CloudWatch") == 0


@pytest.mark.parametrize(
    ("url", "shown"),
    [("https://console/x#a", 1), ("http://console/x", 0), ("javascript:alert(1)", 0), (["https://x"], 0)],
)
def test_link_to_the_log(driver: Any, lines: list[str], url: object, shown: int) -> None:
    """A link is https, or not shown."""
    driver(watch(), Service(reply("InProgress", hpoJob={"cloudwatchLogUrl": url}), reply("Completed")))

    assert lines.count("CloudWatch log: ") == shown


def test_one_line_per_change_and_a_heartbeat(driver: Any, lines: list[str]) -> None:
    """The log has a line per change of status or stage, with the time that passed, and a heartbeat."""
    processing = reply("InProgress", processingJob={"status": "InProgress"})
    tuning = reply("InProgress", processingJob={"status": "Completed"}, hpoJob={"status": "InProgress"})
    service = Service(*[processing] * 3, *[tuning] * 14, reply("Completed"))

    driver(watch(poll_interval=60), service)

    said = [line.partition(" (")[0] for line in lines]
    assert said == [
        "Model training job 'mine' is InProgress, stage 'processing' InProgress",
        "Model training job 'mine' is InProgress, stage 'hyperparameter tuning' InProgress",
        "Model training job 'mine' is still InProgress, stage 'hyperparameter tuning' InProgress",
        "Model training job 'mine' is Completed",
    ]
    times = [line.partition(" (")[2] for line in lines]
    assert times[0] == "0 s)"
    assert re.match("1[2-5] min", times[2])


def test_log_of_a_stage(driver: Any, lines: list[str]) -> None:
    """Where a stage logs to CloudWatch, the link follows the line in which it begins."""
    processing = reply("InProgress", processingJob={"cloudwatchLogUrl": "https://logs"})

    driver(watch(), Service(processing, processing, reply("Completed")))

    assert list(lines)[:2] == [
        "Model training job 'mine' is InProgress, stage 'processing' without a status (0 s)",
        "CloudWatch log: https://logs",
    ]
    assert lines.count("CloudWatch") == 1


def test_stage_of_a_job_that_has_two(driver: Any, lines: list[str]) -> None:
    """A kind of job with one stage has nothing to tell of it, one with two has."""
    first = reply("InProgress", baseProcessingJob={"status": "InProgress"})
    only = reply("InProgress", processingJob={"status": "InProgress"})

    driver(watch(MODEL_TRANSFORM), Service(first, reply("Completed")))
    driver(watch(DATA_PROCESSING), Service(only, reply("Completed")))

    assert [lines.count(word) for word in ("stage 'processing' InProgress", "stage")] == [1, 1]


def test_listeners(driver: Any, lines: list[str]) -> None:
    """Each reply is told before it ends the wait; a listener that raises is no matter."""
    heard: list[str] = []

    def listen(progress: Progress) -> None:
        heard.append(progress.description["status"])

    def fail(progress: Progress) -> None:
        raise RuntimeError("API server: 503")

    service = Service(*[reply("InProgress")] * 2, reply("Failed"))
    listeners = Listeners(logging.getLogger("watch"), fail, listen)

    with pytest.raises(NeptuneMLFailedError):
        driver(watch(on_progress=listeners), service)

    assert heard == ["InProgress", "InProgress", "Failed"]
    assert lines.count("Progress not shown: RuntimeError: API server: 503") == 1


def test_a_wait_that_was_taken_over(driver: Any, lines: list[str]) -> None:
    """Where a taken-over wait is, is said once within a heartbeat, or at once when it changes or ends."""
    processing = reply("InProgress", processingJob={"status": "InProgress"})
    tuning = reply("InProgress", processingJob={"status": "Completed"}, hpoJob={"status": "InProgress"})

    driver(watch(poll_interval=60, taken_over=True), Service(*[processing] * 15, tuning, reply("Completed")))
    driver(watch(taken_over=True), Service(reply("Completed")))

    said = [line.partition(" (")[0].removeprefix("Model training job 'mine' is ") for line in lines]
    assert said[0] == "InProgress, stage 'processing' InProgress"
    # 15 polls take a heartbeat and a half.
    assert [line for line in said[1:] if line != "still InProgress, stage 'processing' InProgress"] == [
        "InProgress, stage 'hyperparameter tuning' InProgress",
        "Completed",
        "Completed",
    ]


def test_first_line_of_a_wait_that_was_taken_over(driver: Any, lines: list[str]) -> None:
    """However the moment falls, it is within the first heartbeat: 14 pauses are longer than that."""
    for number in range(1, 9):
        driver(watch(taken_over=True), Service(*[reply("InProgress")] * 15, reply("Completed")))

        assert lines.count("is InProgress") == number


def test_transient_errors_of_a_wait_that_was_taken_over(driver: Any, lines: list[str]) -> None:
    """Before the first reply of a taken-over wait, transient errors of a minute are not logged."""
    for _ in range(10):
        driver(watch(taken_over=True), Service(refusal(), reply("Completed")))
    assert lines.count("Retrying for up to") < 10

    driver(watch(taken_over=True), Service(*[refusal()] * 10, reply("InProgress"), reply("Completed")))
    told = lines.count("Retrying for up to")
    driver(watch(taken_over=True), Service(reply("InProgress"), refusal(), reply("Completed")))

    assert told >= 1
    assert lines.count("Retrying for up to") == told + 1
    assert lines.count("answered again after") == told + 1


def test_deadline_is_met_to_the_second(driver: Any, clock: Clock) -> None:
    """The last pause is cut, so that the wait ends when it should, whatever the poll interval."""
    with pytest.raises(NeptuneMLTimeoutError, match="'mine' timed out after 1 min 40 s: still InProgress"):
        driver(watch(deadline=STARTED_AT + 100, poll_interval=60), Service(reply("InProgress")))

    assert clock.time == pytest.approx(STARTED_AT + 100)


def test_transient_errors_count_against_the_deadline(driver: Any, clock: Clock) -> None:
    """Endless throttling can't outlast the deadline."""
    with pytest.raises(NeptuneMLTimeoutError, match=r"'mine' timed out after .*: no reply so far"):
        driver(watch(deadline=STARTED_AT + 100), Service(refusal()))

    assert clock.time == pytest.approx(STARTED_AT + 100)


def test_transient_errors_are_logged_once_per_series(driver: Any, lines: list[str]) -> None:
    """A series of transient errors is one warning, and one line at its end."""
    service = Service(
        reply("InProgress"), refusal(), refusal(), reply("InProgress"), refusal(), reply("Completed")
    )

    driver(watch(), service)

    assert list(lines).count("refused. Retrying for up to 10 min (unreachable_timeout).") == 2
    ended = re.compile(r"Model training job 'mine': answered again after \d s")
    assert len([line for line in lines if ended.fullmatch(line)]) == 2


def test_transient_errors_back_off(driver: Any, clock: Clock) -> None:
    """After transient errors the pauses grow from a second to the poll interval."""
    service = Service(*[refusal()] * 5, reply("Completed"))

    driver(watch(poll_interval=4), service)

    assert clock.time - STARTED_AT == pytest.approx(1 + 2 + 4 + 4 + 4, rel=_JITTER)


def test_pauses_of_a_long_series() -> None:
    """The pauses of a series double, up to a minute."""
    series = RetryBudget("x", math.inf, logging.getLogger("watch"))
    pauses = []
    for _ in range(8):
        series.record(refusal(), STARTED_AT)
        pauses.append(series.pause())

    assert pauses == [pytest.approx(seconds, rel=_JITTER) for seconds in (1, 2, 4, 8, 16, 32, 60, 60)]


@pytest.fixture(params=["sync", "async"])
def retried(request: pytest.FixtureRequest, clock: Clock) -> Any:
    """Each of the two loops around a call, as a function of a service."""

    def sync(service: Service) -> Any:
        return retry_transient(service.describe, series(), sleep=clock.sleep, now=clock.now)

    def run_async(service: Service) -> Any:
        call = service.describe_async
        return asyncio.run(retry_transient_async(call, series(), sleep=clock.sleep_async, now=clock.now))

    def series() -> RetryBudget:
        return RetryBudget("x", 600, logging.getLogger("watch"))

    return sync if request.param == "sync" else run_async


def test_call_that_is_retried(retried: Any, clock: Clock, lines: list[str]) -> None:
    """A call is repeated after transient errors, and its reply is returned."""
    assert retried(Service(refusal(), refusal(), reply("Completed"))) == reply("Completed")

    assert clock.time - STARTED_AT == pytest.approx(3, rel=_JITTER)
    assert lines.count("Retrying for up to") == lines.count("x: answered again after") == 1


def test_call_that_is_given_up(retried: Any) -> None:
    """It is not repeated for ever, nor after another error."""
    service = Service(NOT_FOUND)

    with pytest.raises(NeptuneMLUnreachableError, match=r"^x: only transient errors for 1\d min"):
        retried(Service(refusal()))
    with pytest.raises(NeptuneMLNotFoundError):
        retried(service)
    assert service.calls == 1


def test_jitter() -> None:
    """Pauses differ by a quarter at most, and on the average not at all."""
    pauses = [jittered(100) for _ in range(1000)]

    assert min(pauses) >= 75
    assert max(pauses) <= 125
    assert sum(pauses) / 1000 == pytest.approx(100, abs=4)


def test_series_without_a_limit(lines: list[str]) -> None:
    """Where there is no limit to a series, its line says so."""
    RetryBudget("x", math.inf, logging.getLogger("watch")).record(refusal(), STARTED_AT)

    assert lines.count("Retrying until there is a reply.") == 1


def test_series_that_may_not_last() -> None:
    """With no time to retry, the first transient error is the last."""
    with pytest.raises(NeptuneMLUnreachableError):
        RetryBudget("x", 0, logging.getLogger("watch")).record(refusal(), STARTED_AT)


@pytest.mark.parametrize("outcome", [reply("InProgress"), refusal()])
def test_waits_drift_apart(driver: Any, clock: Clock, outcome: dict[str, Any] | NeptuneMLError) -> None:
    """Waits that began together don't go on polling together, after errors neither."""
    ends = set()
    for _ in range(5):
        clock.time = STARTED_AT
        driver(watch(), Service(outcome, reply("Completed")))
        ends.add(clock.time)

    assert len(ends) == 5


def test_deadline_does_not_wait_for_an_answer(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """A service that takes a request and stays silent does not keep a wait past its deadline."""
    monkeypatch.setattr(polling, "_LAST_LOOK_SECONDS", 0.01)
    given_up: list[BaseException] = []

    async def silence() -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as cancelled:
            given_up.append(cancelled)
            raise
        return {}

    waiting = watch(deadline=STARTED_AT + 0.01).wait_async(silence, sleep=clock.sleep_async, now=clock.now)
    with pytest.raises(NeptuneMLTimeoutError, match=r"no reply so far.*: No answer before the deadline"):
        asyncio.run(asyncio.wait_for(waiting, 30))

    assert len(given_up) == 1


def test_cancelled_while_it_asks(clock: Clock) -> None:
    """A wait that is cancelled while it asks ends at once, and asks no more."""
    asked = []

    async def cancel_in_the_middle() -> None:
        async def silence() -> dict[str, Any]:
            asked.append(asyncio.current_task())
            task.cancel()
            await asyncio.Event().wait()
            return {}

        waiting = watch().wait_async(silence, sleep=clock.sleep_async, now=clock.now)
        task = asyncio.ensure_future(waiting)
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait({call for call in asked if call}, timeout=30)

    asyncio.run(asyncio.wait_for(cancel_in_the_middle(), 30))

    assert [call and call.cancelled() for call in asked] == [True]


def test_only_transient_errors(driver: Any, clock: Clock) -> None:
    """Ten minutes of transient errors alone fail the wait with the last cause."""
    service = Service(*[refusal()] * 9, NeptuneMLUnreachableError("no route.", transient=True))

    with pytest.raises(
        NeptuneMLUnreachableError,
        match=r"^Model training job 'mine': only transient errors for 1[01] min.*timeout=600\).*no route",
    ):
        driver(watch(), service)


def test_one_good_reply_ends_a_series(driver: Any) -> None:
    """Transient errors with replies in between do not add up."""
    comes_and_goes: list[dict[str, Any] | NeptuneMLError] = [refusal(), reply("InProgress")]
    service = Service(*comes_and_goes * 40, reply("Completed"))

    driver(watch(unreachable_timeout=30), service)

    assert service.calls == 81


@pytest.mark.parametrize(
    "error",
    [refusal(http_status=403, transient=False), NOT_FOUND, NeptuneMLUnreachableError("bad certificate.")],
)
def test_what_does_not_pass_fails_at_once(driver: Any, error: NeptuneMLError) -> None:
    """A permanent error is raised as it is, at the first poll."""
    service = Service(error)

    with pytest.raises(type(error)) as caught:
        driver(watch(), service)

    assert caught.value is error
    assert service.calls == 1


def test_not_found_is_forgiven_after_a_start(driver: Any) -> None:
    """Within the grace after its own start a job may not be found yet; after it, it is gone."""
    service = Service(NOT_FOUND, NOT_FOUND, reply("Completed"))

    assert driver(watch(not_found_grace=60), service)["status"] == "Completed"
    with pytest.raises(NeptuneMLNotFoundError):
        driver(watch(not_found_grace=60), Service(NOT_FOUND))


def test_no_grace_where_the_clocks_differ(driver: Any, clock: Clock) -> None:
    """A start that lies ahead, told by another machine's clock, is no grace for "not found"."""
    clock.time = STARTED_AT - 5
    service = Service(NOT_FOUND)

    with pytest.raises(NeptuneMLNotFoundError):
        driver(watch(), service)

    assert service.calls == 1


def test_wait_for_the_end_of_a_job(driver: Any) -> None:
    """After a stop, a job has ended in any terminal status, or when it is not there any more."""
    for last in (reply("Stopped"), reply("Completed"), reply("Failed"), NOT_FOUND):
        service = Service(reply("Stopping"), last)
        driver(watch(until_ended=True), service)
        assert service.calls == 2


def test_wait_for_the_end_of_an_endpoint(driver: Any) -> None:
    """A deleted endpoint has ended only when it is gone: it costs money until then."""
    service = Service(reply("InService"), reply("Deleting"), reply("Failed"), NOT_FOUND)

    assert driver(watch(ENDPOINTS, until_ended=True), service) == {}
    assert service.calls == 4


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3725, "1 h 2 min"), (90061, "1 d 1 h")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    """Durations read as a person would say them."""
    assert format_duration(seconds) == words
