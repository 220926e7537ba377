"""
The CloudWatch log of a stage, in the task's log: for a worker as for the triggerer.

It is read in threads of its own, a page per poll: no poll, kill or event loop waits for it. Nothing in here
fails a task. What reads from AWS is in ``hooks/logs.py``: no boto3 here.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from airflow_provider_neptune_ml.kinds import ResourceKind, Stage
from airflow_provider_neptune_ml.progress import Progress
from airflow_provider_neptune_ml.retries import Log, jittered
from airflow_provider_neptune_ml.text import https_link, one_line

DEFAULT_FAILURE_LOG_LINES = 50
# For what is still to be read once a job has ended.
FINISH_SECONDS = 20.0
# How soon a task that waits for the rest notices that it was killed.
_CHECK_SECONDS = 0.2
# Events of one page while a job runs, each cut to a line of 1,000 characters.
_PAGE_LINES = 500
# How many such pages are printed once it has ended.
_LAST_PAGES = 4
# As many as the service gives, where only the last are printed.
_MOST_EVENTS = 10_000
# Events of several streams don't arrive in the order of their times.
OVERLAP_MS = 60_000
_MOST_REMEMBERED = 10_000
# The last lines are looked for in the last minute, the last 8 minutes, the last hour, ...
_FIRST_WINDOW_MS = 60_000
_WINDOW_GROWTH = 8
_WINDOWS = 6
# The service takes a few calls a second of all that an account does.
_EMPTY_PAGE_SECONDS = 0.2
_SHORTEST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 300.0

_CONSOLES = re.compile(
    r"(?:^|\.)(?:aws\.amazon\.com|amazonaws\.com(?:\.cn)?|amazonaws\.cn|amazonaws-us-gov\.com|amazonaws\.eu)$"
)
_GROUP = re.compile(r"[\w./#-]{1,512}", re.ASCII)
_STREAM = re.compile(r"[^:*]{1,512}")
# #logStream:group=/aws/sagemaker/ProcessingJobs;prefix=my-job;streamFilter=typeLogStreamPrefix
_IN_URL = re.compile(r"\bgroup=(?P<group>[^;&]+)(?:.*?[;&](?:prefix|stream)=(?P<prefix>[^;&]+))?")
# #logsV2:log-groups/log-group/$252Faws$252Fsagemaker$252FProcessingJobs$3FlogStreamNameFilter$3Dmy-job
_IN_NEW_URL = re.compile(
    r"log-groups?/log-group/(?P<group>.+?)"
    r"(?:/log-events(?:/(?P<stream>[^?]+))?)?(?:\?(?:.*?&)?logStreamNameFilter=(?P<prefix>[^&]+).*|\?.*)?$"
)
# What SageMaker appends to the name of a stream: the moment of its start.
_STREAM_SUFFIX = re.compile(r"-\d{9,}$")

Event = Mapping[str, Any]


class LogUnavailable(Exception):
    """
    A log can't be read.

    :param words: why, and what to do, in one line.
    :param later: whether the same call may well succeed a moment later.
    """

    def __init__(self, words: str, *, later: bool = False) -> None:
        super().__init__(words)
        self.later = later


class Streams(NamedTuple):
    """
    Where the log of a stage is.

    :param group: the CloudWatch log group.
    :param prefix: how the names of its streams begin; empty: all streams of the group.
    """

    group: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.group}, {self.prefix}" if self.prefix else self.group


class Position(NamedTuple):
    """
    How far a log is printed, in milliseconds since the epoch.

    :param start: from when on events may be new.
    :param after: when the newest that is printed arrived at the service, later than its own time.
    """

    start: int = 0
    after: int = 0


# How long before a take-over a triggerer begins: nothing tells it how far the other one has printed.
_TAKEN_OVER_SECONDS = 300.0


def taken_over_at(now: float) -> Position:
    """Return where a triggerer goes on that has taken a wait over (epoch seconds)."""
    return Position(int(1000 * (now - _TAKEN_OVER_SECONDS)))


FROM_THE_FIRST = Position()


class Source(Protocol):
    """What reads from CloudWatch Logs."""

    def page(self, streams: Streams, *, start: int, token: str | None, limit: int) -> Mapping[str, Any]:
        """
        Return one reply of FilterLogEvents: ``events``, and ``nextToken`` where there is more.

        :param streams: where the log is.
        :param start: from when on, in milliseconds since the epoch.
        :param token: the ``nextToken`` of the page before.
        :param limit: how many events at most.
        :raises LogUnavailable: it can't be read.
        """


class Reading(Protocol):
    """Work that was handed to a thread."""

    def done(self) -> bool:
        """Tell whether it has ended."""


def streams_of(stage: Stage, part: Mapping[str, Any]) -> Streams | None:
    """Return where the log of a stage is: by the link in the reply, else by the name; None: not known."""
    linked = streams_in(part.get("cloudwatchLogUrl"))
    if linked and (linked.group != stage.log_group or not stage.has_own_log_group):
        return linked
    name: Any = linked.prefix if linked else part.get("name")
    return Streams(*stage.log_streams(name)) if stage.has_log_by_name and _is(_STREAM, name) else None


def streams_in(url: object) -> Streams | None:
    """Return the log group and the prefix in a link to AWS's console; None: it is no such link."""
    try:
        parts = urlsplit(https_link(url))
        host = parts.hostname or ""
    except ValueError:
        return None
    if not _CONSOLES.search(host):
        return None
    # The newer console encodes twice, and writes $ for %.
    fragment = unquote(unquote(parts.fragment.replace("$", "%")))
    found = _IN_URL.search(fragment) or _IN_NEW_URL.search(fragment)
    if not found:
        return None
    named = found.groupdict()
    streams = Streams(named["group"], named.get("prefix") or named.get("stream") or "")
    # A group may hold the logs of all jobs of an account.
    return streams if _is(_GROUP, streams.group) and _is(_STREAM, streams.prefix) else None


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


@dataclass
class Cursor:
    """
    A position in the log of one stage: it reads each event once.

    :param streams: where the log is.
    :param start: from when on events may be new, in milliseconds since the epoch (default: the first).
    :param after: those that had arrived by then count as read, in milliseconds since the epoch (default:
        none).
    """

    streams: Streams
    start: int = 0
    after: int = 0
    # Of the page that comes next; None: the log was read to its end.
    token: str | None = None
    is_announced: bool = False
    # With which `start` the pages began that the token belongs to.
    _asked: int = 0
    _newest: int = 0
    _seen: dict[Any, int] = field(default_factory=dict)
    _arrived: int = 0

    def read(self, source: Source, limit: int) -> list[Event]:
        """
        Return the new events of one page.

        :raises LogUnavailable: it can't be read.
        """
        if self.token is None:
            self._asked = self.start
        token, self.token = self.token, None  # one that has expired must not be sent again
        try:
            reply = source.page(self.streams, start=self._asked, token=token, limit=limit)
        except LogUnavailable as error:
            self.token = token if error.later else None
            raise
        events = [event for event in events_in(reply) if self._is_new(event)]
        self._seen.update((_key(event), _time(event)) for event in events)
        self._newest = max((self._newest, *map(_time, events)))
        self._arrived = max((self._arrived, *map(_arrival, events)))
        self._forget()
        following = reply.get("nextToken")
        self.token = following if isinstance(following, str) and following != token else None
        return events

    @property
    def position(self) -> Position:
        """Where another process goes on."""
        if self.token is None:
            return Position(self.start, max(self.after, self._arrived))
        # It would read the last minute again, each time: that may be more than it prints.
        return Position(max(self.start, self._newest), max(self.after, 1))

    def _is_new(self, event: Event) -> bool:
        is_read = _key(event) in self._seen or 0 < _arrival(event) <= self.after
        # Not every service that stands in for AWS's goes by the prefix.
        is_meant = str(event.get("logStreamName") or "").startswith(self.streams.prefix)
        return is_meant and not is_read and _time(event) >= self.start

    def _forget(self) -> None:
        times = sorted(self._seen.values())
        if times:
            self.start = max(self.start, times[-1] - OVERLAP_MS)
        if len(times) > _MOST_REMEMBERED:
            self.start = max(self.start, times[-_MOST_REMEMBERED] + 1)
        self._seen = {key: at for key, at in self._seen.items() if at >= self.start}


def events_in(reply: Mapping[str, Any]) -> list[Event]:
    """Return the events of a page that are such."""
    events = reply.get("events")
    return [event for event in events or () if isinstance(event, Mapping)] if _is_list(events) else []


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _time(event: Event) -> int:
    at = event.get("timestamp")
    return at if isinstance(at, int) else 0


def _arrival(event: Event) -> int:
    at = event.get("ingestionTime")
    return at if isinstance(at, int) else 0


def _key(event: Event) -> Any:
    return event.get("eventId") or (_time(event), event.get("logStreamName"), hash(event.get("message")))


def last_events(source: Source, streams: Streams, count: int, until: float, now: float) -> list[Event]:
    """
    Return the last events of a log.

    The service reads forward alone: they are looked for in the last minute, then in longer and longer times.

    :param source: reads a page.
    :param streams: where the log is.
    :param count: how many.
    :param until: when it has to be done, by the monotonic clock.
    :param now: the time in seconds since the epoch.
    :raises LogUnavailable: it can't be read.
    """
    newest = int(now * 1000)
    found: list[Event] = []
    for number in range(_WINDOWS + 1):
        window = _FIRST_WINDOW_MS * _WINDOW_GROWTH**number
        cursor = Cursor(streams, start=0 if number == _WINDOWS else max(0, newest - window))
        latest: deque[Event] = deque(maxlen=count)
        try:
            for events in _pages(source, cursor, until, _MOST_EVENTS):
                latest.extend(events)
        except LogUnavailable:
            if not found:
                raise
            return found
        if cursor.token is not None:
            # Not read to its end: what was found before is later in the log.
            return found or list(latest)
        found = list(latest)
        if len(found) >= count:
            break
    return found


def _pages(source: Source, cursor: Cursor, until: float, limit: int) -> Iterator[list[Event]]:
    """Yield the pages of a log to its end, or until a moment of the monotonic clock."""
    pause = _SHORTEST_PAUSE_SECONDS / 2
    while True:
        try:
            events = cursor.read(source, limit)
        except LogUnavailable as error:
            if not error.later or time.monotonic() + pause >= until:
                raise
            time.sleep(pause)
            pause *= 2
            continue
        yield events
        if cursor.token is None or time.monotonic() >= until:
            return
        if not events:
            time.sleep(_EMPTY_PAGE_SECONDS)


class TaskLog:
    """
    What of a resource's CloudWatch logs goes into the log of its task.

    :param kind: the kind of resource.
    :param resource_id: its id.
    :param log: the log of the task.
    :param submit: hands work to a thread, which gets the source to read from.
    :param print_log: whether events are printed while the resource is worked at.
    :param failure_log_lines: how many lines of the failed stage's log are printed when it has failed.
    :param start: where to begin (default: with the first event).
    :param delay: time in seconds before the first page is read (default: none).
    :param has_room: tells whether another page may be read now; the next poll asks again (default: always).
    """

    def __init__(
        self,
        kind: ResourceKind,
        resource_id: str,
        *,
        log: Log,
        submit: Callable[[Callable[[Source], None]], Reading],
        print_log: bool,
        failure_log_lines: int,
        start: Position = FROM_THE_FIRST,
        delay: float = 0.0,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._kind = kind
        self._name = kind.name_of(resource_id)
        self._log = log
        self._submit = submit
        self._has_room = has_room
        self._prints = print_log
        self._failure_lines = failure_log_lines
        self._start = start
        self._lock = threading.Lock()
        self._reading: Reading | None = None
        # The stage at work, and those before it until their log is read to its end; by their member.
        self._cursors: dict[str, Cursor] = {}
        self._current = ""
        # The stages in the replies. Those that had ended before the first reply are left out, except where
        # another process has begun with them.
        self._known: set[str] = set()
        self._skips = not start.after
        self._reported: set[str] = set()
        self._errors = 0
        self._not_before = time.monotonic() + delay
        self._is_closed = False
        # Whether all of the last stage's log has been printed.
        self.is_complete = False

    def follow(self, progress: Progress) -> None:
        """Have a page of the stage at work be read, unless a thread is at it; return at once."""
        if not self._prints:
            return
        # Here, as threads may come late, and one after the other in any order.
        self._aim(progress.description)
        is_busy = self._reading is not None and not self._reading.done()
        if not is_busy and time.monotonic() >= self._not_before and self._has_room():
            self._reading = self._submit(self._read_page)

    def finish(self, description: Mapping[str, Any], *, failed: bool, seconds: float) -> Reading | None:
        """
        Have what is left be read, and the last lines of the stage that failed; the caller waits for it.

        :param description: the last reply.
        :param failed: whether the resource has failed.
        :param seconds: how long it may take.
        :return: the work; None: there is none.
        """
        if not (self._prints or (failed and self._failure_lines)):
            return None
        self._aim(description)
        until = time.monotonic() + seconds
        return self._submit(lambda source: self._read_rest(source, description, failed=failed, until=until))

    def settle(
        self,
        description: Mapping[str, Any],
        *,
        failed: bool,
        seconds: float,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        """
        Read what is left, as :meth:`finish` does, and wait for it: in a worker.

        :param check: what it raises ends the waiting.
        """
        reading = self.finish(description, failed=failed, seconds=seconds)
        if isinstance(reading, Future):
            until = time.monotonic() + seconds
            while not reading.done() and (left := until - time.monotonic()) > 0:
                wait((reading,), timeout=min(left, _CHECK_SECONDS))
                check()
        self.close(reading)

    def close(self, reading: Reading | None = None) -> None:
        """
        Print nothing any more.

        :param reading: what was waited for, if anything.
        """
        if reading is not None and not reading.done():
            self._report("no answer in time")
        self._is_closed = True

    @property
    def position(self) -> Position:
        """Where another process goes on."""
        positions = [cursor.position for cursor in self._cursors.values()] or [self._start]
        return Position(min(each.start for each in positions), max(each.after for each in positions))

    def _read_page(self, source: Source) -> None:
        with self._lock:
            # It may have stood in a queue for longer than the wait took.
            if self._is_closed:
                return
            errors = [*filter(None, (self._read_page_of(source, member) for member in tuple(self._cursors)))]
            if errors:
                self._back_off(errors[0])
            else:
                self._errors = 0

    def _read_page_of(self, source: Source, member: str) -> LogUnavailable | None:
        """Print a page of a stage's log; that of an earlier stage is left when it is read, or can't be."""
        cursor = self._cursors[member]
        try:
            self._print(cursor, cursor.read(source, _PAGE_LINES))
            error, is_over = None, cursor.token is None
        except LogUnavailable as unavailable:
            error, is_over = unavailable, not unavailable.later
        if is_over and member != self._current:
            del self._cursors[member]
        return error

    def _back_off(self, error: LogUnavailable) -> None:
        self._errors += 1
        pause = _SHORTEST_PAUSE_SECONDS * 4.0 ** min(self._errors, 8)
        self._not_before = time.monotonic() + jittered(min(pause, _LONGEST_PAUSE_SECONDS))
        # That it is throttled now and then is no news.
        if not error.later or self._errors > 1:
            self._report(str(error))

    def _read_rest(
        self, source: Source, description: Mapping[str, Any], *, failed: bool, until: float
    ) -> None:
        with self._lock:
            if self._is_closed:
                return
            for member, cursor in tuple(self._cursors.items()) if self._prints else ():
                is_drained = self._drain(source, cursor, until)
                if member == self._current:
                    self.is_complete = is_drained
                elif is_drained:
                    del self._cursors[member]
            if failed and self._failure_lines and not self.is_complete:
                self._print_last(source, description, until)

    def _drain(self, source: Source, cursor: Cursor, until: float) -> bool:
        """Print what is left of a log, and tell whether that was all."""
        printed = 0
        try:
            for events in _pages(source, cursor, until, _PAGE_LINES):
                self._print(cursor, events)
                printed += bool(events)
                if printed == _LAST_PAGES and cursor.token:
                    break
        except LogUnavailable as error:
            self._report(str(error))
            return False
        if cursor.token:
            self._report(f"more lines than are printed here ({cursor.streams})")
        return cursor.token is None

    def _print_last(self, source: Source, description: Mapping[str, Any], until: float) -> None:
        current = self._kind.current_stage(description)
        streams = self._streams_of(*current) if current else None
        if not current or not streams:
            return
        try:
            events = last_events(source, streams, self._failure_lines, until, time.time())
        except LogUnavailable as error:
            self._report(str(error))
            return
        lines = f"last {len(events)} lines" if events else "no lines"
        self._warn(
            "%s: %s of the CloudWatch log of stage %r (%s)", self._name, lines, current[0].title, streams
        )
        for event in events:
            self._warn("%s", line_of(event, streams))

    def _aim(self, description: Mapping[str, Any]) -> None:
        """Begin with the log of the stage at work, and of those that were since the last reply."""
        current = self._kind.current_stage(description)
        if not current:
            return
        self._current = current[0].member
        for stage, part in self._kind.stages_in(description):
            is_current = stage.member == self._current
            if stage.member not in self._known and (streams := self._streams_of(stage, part)):
                self._known.add(stage.member)
                if is_current or not self._skips:
                    self._cursors[stage.member] = Cursor(streams, *self._start)
            if is_current:
                break
        self._skips = False

    def _streams_of(self, stage: Stage, part: Mapping[str, Any]) -> Streams | None:
        streams, url = streams_of(stage, part), part.get("cloudwatchLogUrl")
        if url and not streams_in(url):
            self._report(f"the link in the reply is not one of AWS's to a log: {url}")
        return streams

    def _print(self, cursor: Cursor, events: Sequence[Event]) -> None:
        if events and not cursor.is_announced:
            cursor.is_announced = True
            since = f", from {_as_date(self._start.start)} on" if self._start.start else ""
            self._say("%s: CloudWatch log (%s)%s", self._name, cursor.streams, since)
        for event in events:
            self._say("%s", line_of(event, cursor.streams))

    def _report(self, words: str) -> None:
        """Log what is wrong, once."""
        if words not in self._reported:
            self._reported.add(words)
            self._warn("%s: CloudWatch log: %s", self._name, one_line(words))

    def _say(self, message: str, *arguments: Any) -> None:
        if not self._is_closed:
            self._log.info(message, *arguments)

    def _warn(self, message: str, *arguments: Any) -> None:
        if not self._is_closed:
            self._log.warning(message, *arguments)


def seconds_left(deadline: float | None, now: float) -> float:
    """Return how long what is left may take, given when the wait ends at the latest (epoch seconds)."""
    return FINISH_SECONDS if deadline is None else max(1.0, min(FINISH_SECONDS, deadline - now))


def _as_date(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds // 1000, tz=timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def line_of(event: Event, streams: Streams) -> str:
    """Return an event as one line: which container, or training job, wrote it, and what."""
    stream = str(event.get("logStreamName") or "")
    writer = _STREAM_SUFFIX.sub("", stream.removeprefix(streams.prefix)).strip("/-")
    return one_line(f"[{writer or stream}] {event.get('message', '')}")
