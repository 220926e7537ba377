"""The files with the metrics of a model that a training leaves in S3."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_provider_neptune_ml.exceptions import NeptuneMLError, NeptuneMLServiceError
from airflow_provider_neptune_ml.hooks.errors import is_call_error, translate_s3
from airflow_provider_neptune_ml.hooks.sibling import SiblingHook
from airflow_provider_neptune_ml.kinds import MODEL_TRAINING
from airflow_provider_neptune_ml.retries import Log
from airflow_provider_neptune_ml.text import one_line

# aws/graph-notebook and awslabs/neptuneml-toolkit read them; that of the test may be missing.
_FILES = {"eval": "eval_metrics_info.json", "test": "test_metrics_info.json"}
# They have some kilobytes; the XCom that they become should not have many more.
_LONGEST_FILE_BYTES = 1_000_000
_PART_BYTES = 65_536


class MetricsHook(SiblingHook, S3Hook):
    """Read from S3."""


@dataclass(frozen=True)
class MetricsFiles:
    """
    The files of one training.

    :param client: boto3's client for S3.
    :param subject: how a message begins.
    :param description: the Get reply for the training.
    :param aws_conn_id: where the credentials come from, for messages.
    :param log: where a file is reported that may or may not be there.
    """

    client: Any
    subject: str
    description: Mapping[str, Any]
    aws_conn_id: str | None
    log: Log

    def read(self) -> dict[str, Any]:
        """
        Return what is in them, by the names of the files.

        :raises NeptuneMLError: names the job, the file and the reason.
        """
        evaluated = self._read(_FILES["eval"])
        if evaluated is None:
            raise NeptuneMLError(
                f"{self.subject} has no metrics: there is no {_FILES['eval']} at {one_line(self._location)};"
                f" its status is {self._status}. A training writes it before it completes; clean=True of a"
                " cancellation deletes it."
            )
        return {"eval": evaluated, "test": self._read_test()}

    @property
    def _status(self) -> str:
        return one_line(self.description.get("status"))

    @property
    def _location(self) -> str:
        part = self.description.get(MODEL_TRAINING.stages[0].member)
        location = part.get("outputLocation") if isinstance(part, Mapping) else None
        if not isinstance(location, str) or not location.startswith("s3://"):
            raise NeptuneMLError(
                f"{self.subject} has no metrics: its description names no output location in S3"
                f" (processingJob.outputLocation); its status is {self._status}."
            )
        return location.rstrip("/")

    def _read_test(self) -> dict[str, Any] | None:
        try:
            return self._read(_FILES["test"])
        except NeptuneMLServiceError as error:
            if error.http_status != 403:
                raise
        # The file beside it could be read.
        self.log.info(
            "%s: no test metrics. S3 answers 403 for a missing file, too, where s3:ListBucket isn't allowed",
            self.subject,
        )
        return None

    def _read(self, name: str) -> dict[str, Any] | None:
        """Return what a file has, or None if there is none."""
        url = f"{self._location}/{name}"
        shown = one_line(url)
        try:
            content = _content_of(self.client, url, f"{self.subject}: {shown}")
        except Exception as error:
            if not is_call_error(error):
                raise
            raise translate_s3(error, self.subject, shown, aws_conn_id=self.aws_conn_id) from None
        return None if content is None else _parsed(content, f"{self.subject}: {shown}")


def _content_of(client: Any, url: str, subject: str) -> bytes | None:
    """Return the content of an object, or None if there is none; of a long one, no more than is needed."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    try:
        reply = client.get_object(Bucket=bucket, Key=key)
    except client.exceptions.NoSuchKey:
        return None
    with closing(reply["Body"]) as body:
        content, size = b"", reply.get("ContentLength") or 0
        parts = body.iter_chunks(_PART_BYTES)
        while size <= _LONGEST_FILE_BYTES and (part := next(parts, b"")):
            content += part
            size = max(size, len(content))
    if size > _LONGEST_FILE_BYTES:
        raise NeptuneMLError(
            f"{subject} has {size} bytes or more, and metrics have {_LONGEST_FILE_BYTES} at most."
        )
    return content


def _parsed(content: bytes, subject: str) -> dict[str, Any]:
    try:
        found = json.loads(content, parse_float=_number, parse_int=_number, parse_constant=str)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else one_line(error)
        raise NeptuneMLError(f"{subject} isn't JSON: {reason}.") from None
    if not isinstance(found, dict):
        raise NeptuneMLError(f"{subject} must be a JSON object with metrics, not {type(found).__name__}.")
    return found


def _number(text: str) -> float | str:
    """Return a number that Airflow can store as XCom; another one stays text."""
    value = float(text)
    if not math.isfinite(value):
        return text
    return int(text) if text.lstrip("-").isdigit() and abs(value) < 2**53 else value
