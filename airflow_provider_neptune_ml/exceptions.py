"""
What can go wrong, as a tree.

.. code-block:: text

    NeptuneMLError
    ├── NeptuneMLConfigurationError   the connection can't be used as it is (also a ValueError)
    ├── NeptuneMLServiceError         the service answered with an error
    │   └── NeptuneMLNotFoundError    there is no resource with that id
    ├── NeptuneMLUnreachableError     nothing that could be Neptune answered
    ├── NeptuneMLTimeoutError         the time to wait is over, the resource is not where it should be
    ├── NeptuneMLFailedError          the resource ended, and not well
    └── NeptuneMLKilledError          the task was killed while it waited

Each says in one line what happened, to which resource, why, and where to look next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_neptune_ml.compat import AirflowException
from airflow_provider_neptune_ml.kinds import Phase, ResourceKind, stage_phase


class NeptuneMLError(AirflowException):
    """
    Base of all errors of this provider; catch it to catch them all.

    :param transient: whether the same call may well succeed a moment later.
    """

    # Whether the request may have been carried out all the same.
    doubtful = False

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient

    def add(self, words: str) -> None:
        """Add to its one line what somebody on its way up knows."""
        self.args = (f"{self} {words}".rstrip(),)


class NeptuneMLConfigurationError(NeptuneMLError, ValueError):
    """The Airflow connection is missing, or a setting in it can't be used."""


class NeptuneMLServiceError(NeptuneMLError):
    """
    The service answered with an error.

    :param code: the name of the error, such as ``InvalidParameterException``.
    :param detail: the service's ``detailedMessage``, or what else it said.
    :param http_status: the HTTP status code.
    :param request_id: the id that AWS support asks for; empty where the reply had none.
    :param doubtful: whether the request may have been carried out all the same.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        detail: str,
        http_status: int,
        request_id: str,
        doubtful: bool = False,
        transient: bool = False,
    ) -> None:
        super().__init__(message, transient=transient)
        self.code = code
        self.detail = detail
        self.http_status = http_status
        self.request_id = request_id
        self.doubtful = doubtful


class NeptuneMLNotFoundError(NeptuneMLServiceError):
    """There is no resource with that id."""


class NeptuneMLUnreachableError(NeptuneMLError):
    """
    No usable answer: the host, the network, TLS or the credentials are at fault, or there was nothing but
    trouble (such as throttling) for too long.
    """

    doubtful = True


class NeptuneMLTimeoutError(NeptuneMLError):
    """The time to wait is over and the resource has not got where it should."""


class NeptuneMLKilledError(NeptuneMLError):
    """The task was killed while it waited; raised so that the dying task can't go on to succeed."""


class NeptuneMLFailedError(NeptuneMLError):
    """
    The resource ended in a status that is not the one wanted.

    :param kind: the kind of resource.
    :param resource_id: its id.
    :param description: the reply of the last Get.
    """

    def __init__(self, kind: ResourceKind, resource_id: str, description: Mapping[str, Any]) -> None:
        self.kind = kind
        self.resource_id = resource_id
        self.description = description
        self.status = description.get("status")
        self.stage = self.reason = self.log_url = ""
        log = ""
        if current := kind.current_stage(description):
            stage, part = current
            self.reason = part.get("failureReason") or ""
            self.log_url = part.get("cloudwatchLogUrl") or ""
            if self.reason or stage_phase(part.get("status")) is Phase.FAILED:
                self.stage = stage.title
            log = f" Log: {self.log_url or stage.log_of(part)}"
        where = f" in stage {self.stage!r}" if self.stage else ""
        # SageMaker's reasons have several lines.
        reason = full_stop(" ".join(self.reason.split()) or "the service gave no reason")
        super().__init__(
            f"{kind.title.capitalize()} {resource_id!r} ended as {self.status}{where}: {reason}{log}"
        )


def full_stop(text: str) -> str:
    """Return somebody else's words as a sentence that more can follow."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
