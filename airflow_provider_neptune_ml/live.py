"""
Ask a real cluster what the simulator guesses: ``python -m airflow_provider_neptune_ml.live HOST``.

AWS documents neither the status words nor the bodies of cancellations, and contradicts itself about unknown
ids and lists. This sends requests whose answers tell, and writes a report without ids, accounts and hosts. It
lists and describes, nothing else; with ``--start`` it also starts one data processing job, and cancels it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from airflow_provider_neptune_ml import __version__
from airflow_provider_neptune_ml.compat import AIRFLOW_VERSION
from airflow_provider_neptune_ml.exceptions import NeptuneMLError
from airflow_provider_neptune_ml.hooks.connection import DEFAULT_PORT
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.kinds import DATA_PROCESSING, KINDS, Phase, ResourceKind, stage_phase
from airflow_provider_neptune_ml.simulator import errors
from airflow_provider_neptune_ml.text import one_line

_CONN_ID = "neptune_ml_live"
_MAX_ITEMS = 1024
_DEFAULT_ITEMS = 10
# How many resources of a kind are described.
_SAMPLE = 50
# Clocks differ, and that of a simulator may be fast.
_DAY_SECONDS = 86400
_SHOWN = ("status", "code", "detailedMessage")
_PRIVATE = (
    (re.compile(r"\barn:[^\s\"',;)]+"), "<arn>"),
    (re.compile(r"\bs3://[^\s\"',;)]+"), "<S3 location>"),
    (re.compile(r"\bhttps?://[^\s\"',;)]+"), "<URL>"),
    (re.compile(r"\b[\w.-]+\.amazonaws\.\w+(\.\w+)?"), "<host>"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE), "<uuid>"),
    (re.compile(r"\b\d{12}\b"), "<account>"),
    (re.compile(r"\b\d{1,3}(\.\d{1,3}){3}\b"), "<address>"),
)
_UNKNOWN_ID = f"404 MLResourceNotFoundException: {errors.UNKNOWN_ID}"
_ACKNOWLEDGED = '200 {"status": "200 OK"}'


@dataclass(frozen=True)
class Reply:
    """
    One answer of the cluster.

    :param request: what was asked, in words.
    :param http_status: the HTTP status.
    :param body: the parsed body; what is no JSON object as a text that says so.
    """

    request: str
    http_status: int
    body: Any

    def __getitem__(self, member: str) -> Any:
        """Return a member of the body; None where there is none."""
        return self.body.get(member) if isinstance(self.body, dict) else None

    @property
    def is_good(self) -> bool:
        """Whether the request was accepted."""
        return self.http_status < 300

    @property
    def refusal(self) -> str:
        """An error in one line."""
        return f"{self.http_status} {self['code']}: {self['detailedMessage']}"


@dataclass(frozen=True)
class Finding:
    """
    What the cluster did where AWS's pages leave it open.

    :param question: what is open.
    :param guess: what the simulator does.
    :param found: what the cluster did.
    :param is_right: whether that is the same; None where it can't be told from what there is.
    """

    question: str
    guess: str
    found: str
    is_right: bool | None

    @property
    def verdict(self) -> str:
        """The last cell of its row in the report."""
        return {True: "as guessed", False: "**wrong guess**", None: "not seen"}[self.is_right]


@dataclass
class Cluster:
    """
    The cluster, called by boto3's names, with what it answers kept as it came.

    :param hook: makes the client.
    :param private: texts that the report must not have: the host, and every id that was seen.
    :param replies: each answer, in the order in which they came.
    """

    hook: NeptuneMLHook
    private: set[str]
    replies: list[Reply] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Look at each answer before boto3 drops what its model lacks."""
        self._raw: dict[str, Any] = {}
        self.hook.conn.meta.events.register_first("before-parse.neptunedata", self._keep)

    def _keep(self, response_dict: dict[str, Any], **_: Any) -> None:
        self._raw = response_dict.copy()

    def call(self, request: str, operation: str, **members: Any) -> Reply:
        """
        Send a request and return the answer, an error as well.

        :param request: what it is, for the report.
        :param operation: the operation, as botocore spells it.
        :param members: the members of the request, by boto3's names.
        """
        role = self.hook.cluster.neptune_iam_role_arn
        roles = {"neptuneIamRoleArn": role} if role else {}
        # An answer that they are raised for is kept as well.
        with contextlib.suppress(ClientError, ResponseParserError):
            getattr(self.hook.conn, xform_name(operation))(**members, **roles)
        body = self._raw["body"]
        try:
            parsed = json.loads(body)
        except ValueError:
            parsed = f"<{len(body)} bytes that are not JSON>"
        self.replies.append(Reply(f"{operation}: {request}", self._raw["status_code"], parsed))
        return self.replies[-1]

    def told(self, reply: Reply) -> str:
        """Return an answer in one line, without what is private."""
        if reply.is_good:
            return f"{reply.http_status} {json.dumps(self.anonymous(reply.body))}"
        return self.scrubbed(reply.refusal)

    def scrubbed(self, text: str) -> str:
        """Return a text without ids, accounts, hosts and locations."""
        for private in sorted(self.private, key=len, reverse=True):
            text = re.sub(rf"(?<![\w-]){re.escape(private)}(?![\w-])", "<id>", text)
        for pattern, replacement in _PRIVATE:
            text = pattern.sub(replacement, text)
        return one_line(text)

    def anonymous(self, value: Any, member: str = "") -> Any:
        """Return a body whose texts are replaced by their member's name, but for statuses and errors."""
        if isinstance(value, dict):
            return {one_line(name): self.anonymous(part, name) for name, part in value.items()}
        if isinstance(value, list):
            return [self.anonymous(part, member) for part in value[:3]]
        if isinstance(value, str) and member:
            return self.scrubbed(value) if member in _SHOWN else f"<{one_line(member)}>"
        return value


# What can be read


def look(cluster: Cluster) -> Iterator[Finding]:
    """Yield what lists, descriptions and refused reads tell."""
    for kind in KINDS.values():
        yield from _look_at_kind(cluster, kind)
    unknown = f"unknown-{uuid.uuid4().hex[:8]}"
    cluster.private.add(unknown)
    for kind in KINDS.values():
        reply = cluster.call("unknown id", kind.get_operation, id=unknown)
        yield _compared(cluster, f"Get of an unknown {kind.title}", _UNKNOWN_ID, reply)
    for name, bad in (("of 49 characters", "a" * 49), ("with an underscore", "not_an_id")):
        reply = cluster.call(f"id {name}", DATA_PROCESSING.get_operation, id=bad)
        yield _compared(cluster, f"Get of an id {name}", _UNKNOWN_ID, reply)
    reply = cluster.call("maxItems=5000", DATA_PROCESSING.list_operation, maxItems=5000)
    yield _compared(cluster, "List with maxItems=5000", _invalid(errors.BAD_MAX_ITEMS), reply)


def _look_at_kind(cluster: Cluster, kind: ResourceKind) -> Iterator[Finding]:
    default = _ids(cluster.call("default length", kind.list_operation))
    ids = _ids(cluster.call(f"maxItems={_MAX_ITEMS}", kind.list_operation, maxItems=_MAX_ITEMS))
    cluster.private.update(ids)
    replies = [cluster.call("an id of the list", kind.get_operation, id=each) for each in ids[:_SAMPLE]]
    found = [reply.body for reply in replies if reply.is_good and isinstance(reply.body, dict)]
    known = ", ".join(sorted({*kind.statuses.terminal, *kind.statuses.non_terminal}))
    yield _words(
        cluster, f"Status words of {kind.title}s", known, [each.get("status") for each in found], kind.knows
    )
    parts = [part.get("status") for each in found for _, part in kind.stages_in(each)]
    stage_words = "the same words as SageMaker's"
    yield _words(
        cluster, f"Status words of the stages of {kind.title}s", stage_words, parts, _is_known_anywhere
    )
    members = {
        "id",
        "status",
        "mlModels",
        "models",
        "endpointConfig",
        *(stage.member for stage in kind.stages),
    }
    others = sorted({one_line(name) for each in found for name in each} - members)
    yield Finding(
        f"Members of the descriptions of {kind.title}s",
        "those of boto3's model",
        ", ".join(others) or ("those of boto3's model" if found else "no description"),
        not others if found else None,
    )
    completed = [each for each in found if kind.phase_of(each.get("status")) is Phase.SUCCEEDED]
    unfinished = sorted({title for each in completed for title in _unfinished_stages(kind, each)})
    yield Finding(
        f"Stages of {kind.title}s that have succeeded",
        "each has succeeded",
        f"not {', '.join(unfinished)}" if unfinished else f"of {len(completed)}, each has succeeded",
        not unfinished if completed else None,
    )
    ended = any(kind.phase_of(each.get("status")) is not Phase.RUNNING for each in found)
    yield Finding(
        f"List of {kind.title}s",
        "all, also those that have ended",
        "ended ones as well" if ended else f"{len(found)}, none of which has ended",
        True if ended else None,
    )
    yield Finding(
        f"Default length of the list of {kind.title}s",
        f"{_DEFAULT_ITEMS}",
        f"{len(default)} of {len(ids)}",
        len(default) == _DEFAULT_ITEMS if len(ids) > _DEFAULT_ITEMS else None,
    )


def _unfinished_stages(kind: ResourceKind, description: Mapping[str, Any]) -> Iterator[str]:
    for stage in kind.stages:
        part = description.get(stage.member)
        status = part.get("status") if isinstance(part, dict) else None
        if stage_phase(status) is not Phase.SUCCEEDED:
            yield stage.title


def _words(
    cluster: Cluster, question: str, guess: str, words: Sequence[Any], knows: Callable[[str], bool]
) -> Finding:
    seen = sorted({str(word) for word in words if word})
    found = cluster.scrubbed(", ".join(seen)) or "no description"
    return Finding(question, guess, found, all(map(knows, seen)) if seen else None)


def _is_known_anywhere(word: str) -> bool:
    return any(kind.knows(word) for kind in KINDS.values())


def _compared(cluster: Cluster, question: str, guess: str, reply: Reply) -> Finding:
    told = cluster.told(reply)
    return Finding(question, guess, told, (told if reply.is_good else reply.refusal) == guess)


def _invalid(text: str) -> str:
    return f"400 InvalidParameterException: {text}"


def _ids(reply: Reply) -> list[str]:
    ids = reply["ids"]
    return [each for each in ids if isinstance(each, str)] if isinstance(ids, list) else []


# What a job of our own tells


def start(
    cluster: Cluster, locations: Mapping[str, str], *, poll_interval: float, timeout: float
) -> Iterator[Finding]:
    """
    Start one data processing job, cancel it at once, and yield what the cluster says to that.

    :param cluster: the cluster.
    :param locations: the members of the request.
    :param poll_interval: time in seconds between two polls.
    :param timeout: time in seconds to wait for the end of the job.
    """
    kind, job_id = DATA_PROCESSING, f"live-{uuid.uuid4().hex[:12]}"
    cluster.private.add(job_id)
    reply = cluster.call("a job of this run", kind.start_operation, id=job_id, **locations)
    if not reply.is_good:
        yield Finding("Start of a data processing job", "200", cluster.told(reply), False)
        return
    try:
        yield from _look_at_start(cluster, kind, job_id, locations, reply)
    finally:
        cancelled = _cancel(cluster, kind, job_id)  # whatever happened: a job costs money
    yield _compared(cluster, "Body of a cancellation", _ACKNOWLEDGED, cancelled)
    again = cluster.call("again, at once", kind.stop_operation, id=job_id)
    yield _compared(cluster, "Cancellation of a job that is being cancelled", _ACKNOWLEDGED, again)
    words = list(_watched(cluster, kind, job_id, poll_interval, time.monotonic() + timeout))
    yield Finding(
        "Status after a cancellation",
        "Stopping, Stopped",
        cluster.scrubbed(", ".join(words)),
        words[-1] == kind.statuses.stopped and all(map(kind.knows, words)),
    )
    late = cluster.call("ended", kind.stop_operation, id=job_id)
    yield _compared(cluster, "Cancellation of a job that has ended", _invalid(errors.ALREADY_ENDED), late)
    ids = _ids(cluster.call("after the end", kind.list_operation, maxItems=_MAX_ITEMS))
    yield Finding(
        "List after the end of a job",
        "it is still there",
        "it is still there" if job_id in ids else "it is not there",
        job_id in ids,
    )
    unknown = cluster.call("unknown id", kind.stop_operation, id=f"{job_id}-none")
    yield _compared(cluster, "Cancellation of an unknown job", _UNKNOWN_ID, unknown)


def _cancel(cluster: Cluster, kind: ResourceKind, job_id: str) -> Reply:
    reply = None
    try:
        reply = cluster.call("running", kind.stop_operation, id=job_id)
        return reply
    finally:
        if not (reply and reply.is_good):
            print(f"live: {kind.title} {job_id} may still run: cancel it", file=sys.stderr)


def _look_at_start(
    cluster: Cluster, kind: ResourceKind, job_id: str, locations: Mapping[str, str], started: Reply
) -> Iterator[Finding]:
    at_once = cluster.call("just started", kind.get_operation, id=job_id)
    yield Finding("Get right after a start", "found", cluster.told(at_once), at_once.is_good)
    millis = started["creationTimeInMillis"]
    is_time = type(millis) is int and abs(millis / 1000 - time.time()) < _DAY_SECONDS
    yield Finding(
        "creationTimeInMillis",
        "the moment, in milliseconds since 1970",
        "that moment" if is_time else one_line(millis),
        is_time,
    )
    twin = cluster.call("id of a job that runs", kind.start_operation, id=job_id, **locations)
    yield _compared(cluster, "Start with an id that is taken", _invalid(errors.DUPLICATE_ID), twin)
    ids = _ids(cluster.call("just started", kind.list_operation))
    place = f"number {ids.index(job_id) + 1} of {len(ids)}" if job_id in ids else f"not among {len(ids)}"
    yield Finding("Place of a new job in the list", "first", place, ids[:1] == [job_id])


def _watched(
    cluster: Cluster, kind: ResourceKind, job_id: str, poll_interval: float, deadline: float
) -> Iterator[str]:
    last = None
    while True:
        reply = cluster.call("after its cancellation", kind.get_operation, id=job_id)
        word = str(reply["status"]) if reply.is_good else cluster.told(reply)
        if word != last:
            yield word
        last = word
        if (reply.is_good and kind.is_over(reply.body)) or time.monotonic() > deadline:
            return
        time.sleep(poll_interval)


# The report


def report(cluster: Cluster, findings: Sequence[Finding], *, started: bool) -> str:
    """Return the report as Markdown."""
    wrong = [
        f"- {each.question}: {each.found} (guessed: {each.guess})"
        for each in findings
        if each.is_right is False
    ]
    rows = [[each.question, each.guess, each.found, each.verdict] for each in findings]
    lines = [
        "# What a Neptune cluster answers",
        "",
        f"- airflow-provider-neptune-ml {__version__}, Airflow {AIRFLOW_VERSION}, boto3 {boto3.__version__}",
        f"- {datetime.now(timezone.utc):%Y-%m-%d}, {'with a job of its own' if started else 'read-only'}",
        "- engine version of the cluster: (please add)",
        "",
        "## Wrong guesses of the simulator",
        "",
        *(wrong or ["None."]),
        "",
        "## All questions",
        "",
        *_table(["question", "the simulator", "this cluster", ""], rows),
        "",
        "## Replies",
        "",
        "Texts are replaced by the names of their members, but for statuses and errors.",
        "",
        *_table(
            ["request", "HTTP", "body"],
            [
                [each.request, str(each.http_status), f"`{json.dumps(cluster.anonymous(each.body))}`"]
                for each in cluster.replies
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _table(title: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(title)} |"
    yield f"|{'---|' * len(title)}"
    # A reply that came again and again is one row.
    for row in dict.fromkeys(tuple(cell.replace("|", "\\|") for cell in row) for row in rows):
        yield f"| {' | '.join(row)} |"


# The command line


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask the cluster, write the report; return the exit code."""
    parser = _build_parser()
    given = parser.parse_args(arguments)
    if given.start and not (given.input_data_s3_location and given.processed_data_s3_location):
        parser.error("--start: needs --input-data-s3-location and --processed-data-s3-location")
    connection = _connection(given)
    os.environ[f"AIRFLOW_CONN_{_CONN_ID.upper()}"] = json.dumps(connection)
    hook = NeptuneMLHook(_CONN_ID, aws_conn_id=None)
    try:
        answers, said = hook.test_connection()
        if not answers:
            print(f"live: {said}", file=sys.stderr)
            return 1
        cluster = Cluster(hook, {connection["host"]})
        findings = [*look(cluster), *(_start(cluster, given) if given.start else ())]
    except (NeptuneMLError, BotoCoreError) as error:
        print(f"live: {one_line(error)}", file=sys.stderr)
        return 1
    text = report(cluster, findings, started=given.start)
    Path(given.report).write_text(text)
    wrong = sum(finding.is_right is False for finding in findings)
    print(f"{wrong} of {len(findings)} guesses are wrong. Read {given.report} before you share it.")
    return 0


def _start(cluster: Cluster, given: argparse.Namespace) -> Iterator[Finding]:
    members = {
        "inputDataS3Location": given.input_data_s3_location,
        "processedDataS3Location": given.processed_data_s3_location,
        "processingInstanceType": given.processing_instance_type,
        "sagemakerIamRoleArn": given.sagemaker_iam_role_arn,
    }
    locations = {name: value for name, value in members.items() if value}
    return start(cluster, locations, poll_interval=given.poll_interval, timeout=given.timeout)


def _connection(given: argparse.Namespace) -> dict[str, Any]:
    address = urlsplit(given.host if "://" in given.host else f"https://{given.host}")
    extra = {
        "iam_auth": given.iam_auth,
        "region_name": given.region,
        "neptune_iam_role_arn": given.neptune_iam_role_arn,
    }
    return {
        "conn_type": "neptune_ml",
        "schema": address.scheme,
        "host": address.hostname,
        "port": address.port or DEFAULT_PORT,
        "extra": {name: value for name, value in extra.items() if value is not None},
    }


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_neptune_ml.live",
        description="Ask a Neptune cluster what the simulator guesses. Lists and describes; starts nothing"
        " without --start. AWS credentials come from boto3's own chain.",
    )
    add = parser.add_argument
    add("host", metavar="HOST", help="cluster endpoint, or its URL")
    add("--region", help="AWS region (default: the one in the endpoint)")
    add("--no-iam-auth", dest="iam_auth", action="store_false", help="send unsigned requests")
    add("--neptune-iam-role-arn", metavar="ARN", help="for a cluster without a default role")
    add("--sagemaker-iam-role-arn", metavar="ARN", help="for the job of --start")
    add("--report", metavar="FILE", default="neptune-ml-live.md", help="default: %(default)s")
    add("--start", action="store_true", help="start one data processing job, and cancel it at once")
    add("--input-data-s3-location", metavar="S3", help="of --start: a small export")
    add("--processed-data-s3-location", metavar="S3", help="of --start: where it may write")
    add("--processing-instance-type", metavar="TYPE", help="of --start (default: the service's choice)")
    add("--poll-interval", type=float, default=5.0, metavar="SECONDS", help="default: %(default)s")
    add("--timeout", type=float, default=1800.0, metavar="SECONDS", help="for its end; default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
