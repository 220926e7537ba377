"""The files with the metrics of a model that a training leaves in S3."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from airflow_provider_neptune_ml.exceptions import NeptuneMLError, NeptuneMLServiceError
from airflow_provider_neptune_ml.hooks.errors import is_call_error, translate_s3
from airflow_provider_neptune_ml.kinds import MODEL_TRAINING
from airflow_provider_neptune_ml.retries import Log
from airflow_provider_neptune_ml.text import one_line

# aws/graph-notebook and awslabs/neptuneml-toolkit read them; that of the test may be missing.
_FILES = {"eval": "eval_metrics_info.json", "test": "test_metrics_info.json"}
# They have some kilobytes; the XCom that they become should not have many more.
_LONGEST_FILE_BYTES = 1_000_000
_PART_BYTES = 65_536


def read_metrics(
    client: Any,
    job_id: str,
    description: Mapping[str, Any],
    *,
    aws_conn_id: str | None,
    log: Log,
) -> dict[str, Any]:
    """
    Read the metrics of a trained model.

    :param client: boto3's client for S3.
    :param job_id: the id of the training job.
    :param description: the Get reply for it.
    :param aws_conn_id: where the credentials come from, for messages.
    :param log: where a file is reported that may or may not be there.
    :raises NeptuneMLError: names the job, the file and the reason.
    """
    subject = MODEL_TRAINING.name_of(job_id)
    part = description.get(MODEL_TRAINING.stages[0].member)
    location = part.get("outputLocation") if isinstance(part, Mapping) else None
    if not isinstance(location, str) or not location.startswith("s3://"):
        raise NeptuneMLError(
            f"{subject} has no metrics: its description names no output location in S3"
            f" (processingJob.outputLocation); its status is {one_line(description.get('status'))}."
        )

    def read(name: str) -> dict[str, Any] | None:
        url = f"{location.rstrip('/')}/{_FILES[name]}"
        try:
            return _read(client, url, subject)
        except Exception as error:
            if not is_call_error(error):
                raise
            raise translate_s3(error, subject, one_line(url), aws_conn_id=aws_conn_id) from None

    evaluated = read("eval")
    if evaluated is None:
        raise NeptuneMLError(
            f"{subject} has no metrics: there is no {_FILES['eval']} at {one_line(location)}; its status is"
            f" {one_line(description.get('status'))}. A training writes it before it completes; clean=True of"
            " a cancellation deletes it."
        )
    try:
        return {"eval": evaluated, "test": read("test")}
    except NeptuneMLServiceError as error:
        if error.http_status != 403:
            raise
        # The file beside it could be read.
        log.info(
            "%s: no test metrics. S3 answers 403 for a missing file, too, where s3:ListBucket isn't allowed",
            subject,
        )
        return {"eval": evaluated, "test": None}


def _read(client: Any, url: str, subject: str) -> dict[str, Any] | None:
    """Return what a JSON file has, or None if there is none."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    message = f"{subject}: {one_line(url)}"
    try:
        reply = client.get_object(Bucket=bucket, Key=key)
    except client.exceptions.NoSuchKey:
        return None
    with closing(reply["Body"]) as body:
        content, size = b"", reply.get("ContentLength") or 0
        if size <= _LONGEST_FILE_BYTES:
            for part in body.iter_chunks(_PART_BYTES):
                content += part
                if len(content) > _LONGEST_FILE_BYTES:
                    break
        size = max(size, len(content))
    if size > _LONGEST_FILE_BYTES:
        raise NeptuneMLError(
            f"{message} has {size} bytes or more, and metrics have {_LONGEST_FILE_BYTES} at most."
        )
    try:
        found = json.loads(content, parse_float=_number, parse_int=_number, parse_constant=str)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else one_line(error)
        raise NeptuneMLError(f"{message} isn't JSON: {reason}.") from None
    if not isinstance(found, dict):
        raise NeptuneMLError(f"{message} must be a JSON object with metrics, not {type(found).__name__}.")
    return found


def _number(text: str) -> float | str:
    """Return a number that Airflow can store as XCom; another one stays text."""
    value = float(text)
    if not math.isfinite(value):
        return text
    return int(text) if text.lstrip("-").isdigit() and abs(value) < 2**53 else value
