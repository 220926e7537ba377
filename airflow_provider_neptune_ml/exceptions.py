"""
What can go wrong, as a tree.

.. code-block:: text

    NeptuneMLError
    ├── NeptuneMLConfigurationError   the connection can't be used as it is (also a ValueError)
    ├── NeptuneMLServiceError         the service answered with an error
    │   └── NeptuneMLNotFoundError    there is no resource with that id
    ├── NeptuneMLUnreachableError     no usable answer: network, TLS, credentials, lasting transient errors
    ├── NeptuneMLTimeoutError         the wait timed out before the resource was in a target status
    ├── NeptuneMLFailedError          the resource is in a terminal status that is not the target
    └── NeptuneMLKilledError          the task was killed while it waited

Each begins with what is wrong with which resource; then why, and where to look next; the operation, the URL
and the request id come last. Links stand on lines of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from airflow_provider_neptune_ml.compat import AirflowException
from airflow_provider_neptune_ml.kinds import Phase, ResourceKind, stage_phase
from airflow_provider_neptune_ml.text import https_link, one_line


class NeptuneMLError(AirflowException):
    """
    Base of all errors of this provider; catch it to catch them all.

    :param transient: whether the same call may well succeed a moment later.
    :param reference: operation, URL, HTTP status and request id (default: none).
    """

    # Whether the request may have been carried out all the same.
    ambiguous = False

    def __init__(self, message: str, *, transient: bool = False, reference: str = "") -> None:
        self.transient = transient
        self._message = message
        # For AWS support, behind everything else.
        self._reference = reference
        super().__init__(self.with_note(""))

    def __reduce__(self) -> tuple[Callable[..., NeptuneMLError], tuple[Any, ...], dict[str, Any]]:
        """Copy and pickle it as what it is: Python would call ``__init__`` with the message alone."""
        return _bare, (type(self), *self.args), vars(self).copy()

    def with_note(self, note: str) -> str:
        """Return the message with a sentence added."""
        return f"{self._message} {note}".rstrip() + (f" [{self._reference}]" if self._reference else "")

    def lasting(self, subject: str, duration: str) -> NeptuneMLUnreachableError:
        """
        Return the error for transient errors of which this was the last.

        :param subject: how its message begins.
        :param duration: for how long there was nothing else.
        """
        message = f"{subject}: only transient errors for {duration}. Last error: {self._message}"
        return NeptuneMLUnreachableError(message, reference=self._reference)

    def add_sentence(self, sentence: str) -> None:
        """Add a sentence to the message."""
        self._message = f"{self._message} {sentence}".rstrip()
        self.args = (self.with_note(""),)

    def add_line(self, line: str) -> None:
        """Add a line to the message, as for a link."""
        self._message = f"{self._message}\n{line}"
        self.args = (self.with_note(""),)


class NeptuneMLConfigurationError(NeptuneMLError, ValueError):
    """The Airflow connection is missing, or a setting in it can't be used."""


class NeptuneMLServiceError(NeptuneMLError):
    """
    The service answered with an error.

    :param code: the name of the error, such as ``InvalidParameterException``.
    :param detail: the service's ``detailedMessage``, or what else it said.
    :param http_status: the HTTP status code.
    :param request_id: the id that AWS support asks for; empty where the reply had none.
    :param ambiguous: whether the request may have been carried out all the same.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        detail: str,
        http_status: int,
        request_id: str,
        ambiguous: bool = False,
        transient: bool = False,
        reference: str = "",
    ) -> None:
        super().__init__(message, transient=transient, reference=reference)
        self.code = code
        self.detail = detail
        self.http_status = http_status
        self.request_id = request_id
        self.ambiguous = ambiguous


class NeptuneMLNotFoundError(NeptuneMLServiceError):
    """There is no resource with that id."""


class NeptuneMLUnreachableError(NeptuneMLError):
    """
    No usable answer: the host, the network, TLS or the credentials are at fault, or there were only transient
    errors (such as throttling) for longer than ``unreachable_timeout``.
    """

    ambiguous = True


class NeptuneMLTimeoutError(NeptuneMLError):
    """The wait timed out before the resource was in a target status."""


class NeptuneMLKilledError(NeptuneMLError):
    """The task was killed while it waited; raised so that it can't go on to succeed."""


class NeptuneMLFailedError(NeptuneMLError):
    """
    The resource is in a terminal status that is not the target.

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
            self.log_url = https_link(part.get("cloudwatchLogUrl"))
            if self.reason or stage_phase(part.get("status")) is Phase.FAILED:
                self.stage = stage.title
            log = f"\nCloudWatch log: {self.log_url}" if self.log_url else f"\n{one_line(stage.log_of(part))}"
            if files := stage.failed_files_of(part):
                log = f"{log}\n{one_line(files)}"
        where = f" in stage {self.stage!r}" if self.stage else ""
        # SageMaker's reasons have several lines.
        reason = full_stop(one_line(self.reason) or "the service gave no reason")
        super().__init__(f"{kind.name_of(resource_id)} ended as {self.status}{where}: {reason}{log}")


class ErrorState(TypedDict):
    """An error as plain JSON, for the event of a trigger."""

    type: str
    attributes: dict[str, Any]


def error_state(error: NeptuneMLError) -> ErrorState:
    """Return what :func:`restored_error` makes the same error of."""
    attributes = {name: value for name, value in vars(error).items() if not name.startswith("__")}
    return {"type": type(error).__name__, "attributes": attributes}


def restored_error(message: str, state: ErrorState | None) -> NeptuneMLError:
    """
    Return an error as it was raised in the triggerer.

    :param message: its text.
    :param state: what :func:`error_state` returned; None: the trigger is one of an earlier release.
    """
    if state is None:
        return NeptuneMLError(message)
    known = {
        cls.__name__: cls
        for cls in (
            NeptuneMLConfigurationError,
            NeptuneMLNotFoundError,
            NeptuneMLServiceError,
            NeptuneMLUnreachableError,
        )
    }
    error = _bare(known.get(state["type"], NeptuneMLError), message)
    vars(error).update(state["attributes"])
    return error


def _bare(cls: type[NeptuneMLError], *args: Any) -> NeptuneMLError:
    """Return an error with its message, but none of its attributes."""
    return cls.__new__(cls, *args)


def full_stop(text: str) -> str:
    """Return a text as a sentence that another can follow."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
