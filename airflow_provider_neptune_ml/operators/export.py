"""Operators for the Neptune-Export service, which writes a graph to S3 in the form that Neptune ML reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_neptune_ml import cancellation
from airflow_provider_neptune_ml.background import in_daemon
from airflow_provider_neptune_ml.base import TemplatedDict, TemplatedText
from airflow_provider_neptune_ml.compat import AirflowTaskTimeout, get_current_context
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLTimeoutError,
    full_stop,
)
from airflow_provider_neptune_ml.export import NeptuneMLExportTask
from airflow_provider_neptune_ml.operators.base import NeptuneMLStartOperator, NeptuneMLStopOperator
from airflow_provider_neptune_ml.operators.ownership import UnconsumedMarker
from airflow_provider_neptune_ml.operators.submission import Submission, Submitted
from airflow_provider_neptune_ml.text import one_line
from airflow_provider_neptune_ml.validation import member_of

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.compat import Context

# What the marker has while a start is under way: no id, as the service gives it.
_NOT_KNOWN_YET = "?"
# Members of the request's `params` by which those that were given as Airflow's are told.
_OF_EXPORTS = {"endpoint", "profile", "useIamAuth", "cloneCluster"}


class ExportSubmission(Submission):
    """
    The submission of one try to a service that gives the ids itself.

    Until the unconsumed-job marker has the id of the reply, a job has started whose id is not known. The
    id is written there first of all, and whatever ends the try while the request is under way waits for it.

    :param task: the operator, whose templates are rendered.
    :param context: that of the try.
    """

    def __init__(self, task: NeptuneMLStartOperator, context: Context) -> None:
        super().__init__(task, context)
        self._is_lost = self._unconsumed_id == _NOT_KNOWN_YET
        if self._is_lost:
            self._unconsumed_id = None
        self._may_have_started = False

    @staticmethod
    def can_adopt(context: Context) -> bool:
        """Tell whether a retry can find what this try has started: Airflow keeps its id, from 3.3 on."""
        return UnconsumedMarker(context).is_kept

    def check(self) -> None:
        """Check nothing: no id has to be made."""

    def submit(self) -> Submitted:
        """
        Adopt the job of an earlier try, or start one.

        :raises NeptuneMLError: the service refused, did not answer, or the task was killed.
        """
        expected = self._expected_id()
        description = self._look_up(expected) if expected else None
        if description is not None and (adopted := self._adopt(expected, description, is_named_by_us=True)):
            return adopted
        if self._is_lost:
            self._task.log.warning(
                "An earlier try was ended while its start was under way: an export job of it, whose id is not"
                " known, may be running besides the one that is started now"
            )
        self._claim("")
        return self._start()

    def _expected_id(self) -> str:
        return super()._expected_id() if self._marker.is_kept else ""

    def _start(self) -> Submitted:
        """Send the start request, and again only where it was certainly not carried out."""
        task = self._task
        self._marker.write(_NOT_KNOWN_YET)
        try:
            reply = task.retry(self._send_once, task.kind.title.capitalize())
        except BaseException:
            if not self._may_have_started:
                with suppress(Exception):
                    self._marker.delete()
            raise
        task.cancel_if_killed()
        task.log.info("%s started", task.kind.name_of(reply["id"]))
        return Submitted(reply["id"], reply)

    def _send_once(self) -> Mapping[str, Any]:
        task = self._task
        self._kill.raise_if_received()
        request = {member_of(name): getattr(task, name) for name in task.request_parameters}
        sent: Future[Mapping[str, Any]] = Future()
        try:
            in_daemon(
                lambda: task.hook.start(
                    task.kind, additional_parameters=task.additional_parameters, **request
                ),
                sent,
            )
            return self._record(sent.result())
        except NeptuneMLError as error:
            if error.transient and error.ambiguous:
                # Sent again, it may start a second job.
                error.transient, self._may_have_started = False, True
                error.add_sentence(
                    "An export job may have been started all the same. The service gives the ids itself, so"
                    " the request was not sent again; a retry of the task sends another."
                )
            raise
        except BaseException as error:
            if sent.done() and error is sent.exception():
                # The call's own: once it has sent the request, it raises nothing but the above.
                raise
            # Airflow's signal handlers have raised: a kill on Airflow 2, and a time-out.
            if not sent.cancel():
                self._may_have_started = True
                with suppress(Exception):
                    self._record(sent.result(cancellation.BUDGETS.unhurried))
            task.cancel_if_killed()
            raise

    def _record(self, reply: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have a kill cancel the job, a retry adopt it, and a teardown find it: in this order."""
        self._may_have_started = True
        self._kill.aim(reply["id"])
        try:
            self._marker.write(reply["id"])
        except Exception as cause:  # whatever Airflow's API or a backend of the store raises
            raise self._cancelled(reply["id"], cause) from cause
        self._claim(reply["id"])
        return reply

    def _cancelled(self, job_id: str, cause: Exception) -> NeptuneMLError:
        """Cancel what no retry would find, and return the error of the task."""
        with suppress(Exception):
            self._claim(job_id)
        task = self._task
        outcome = cancellation.cancel_now(
            task.hook, task.kind, job_id, seconds=cancellation.BUDGETS.unhurried
        )
        self._kill.aim(None)
        return NeptuneMLError(
            f"{task.kind.name_of(job_id)}: Airflow could not keep its id for a retry:"
            f" {type(cause).__name__}: {full_stop(one_line(cause))} {full_stop(outcome.words.capitalize())}"
        )


class NeptuneMLStartExportJobOperator(NeptuneMLExportTask, NeptuneMLStartOperator):
    """
    Start a job of the Neptune-Export service, and wait until it has succeeded.

    The job is cancelled when the task is killed or times out (``cancel_on_kill``, ``cancel_on_timeout``). The
    service gives the id itself: a retry finds the job of an earlier try where Airflow has a task state store
    (3.3 or newer), unless the worker was lost between the request and the moment when it had stored the id.
    Elsewhere a retry starts another, and a try that fails cancels its own.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/export-service-run-export.html
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-data-export.html

    :param output_s3_path: Where in S3 the export goes: ``s3://bucket/prefix``. (templated)
    :param command: ``export-pg`` for a property graph, ``export-rdf`` for RDF (default: ``export-pg``).
        (templated)
    :param job_size: ``small``, ``medium``, ``large`` or ``xlarge`` (default: the service's). (templated)
    :param export_params: The ``params`` of the request, a dict that is sent as given, such as
        ``{"cloneCluster": True}``. Not ``params``, as that is Airflow's. What it lacks is filled in:
        ``endpoint`` by the host of the connection, ``profile`` by ``neptune_ml``, and ``useIamAuth`` by True
        where the connection has ``iam_auth`` (default: these). (templated)
    :param additional_params: The ``additionalParams`` of the request, a dict that is sent as given: targets
        and features as ``{"neptune_ml": {"version": "v2.0", "targets": [...]}}`` (default: none). (templated)
    :param expected_bucket_owner: The id of the AWS account that owns the bucket (default: not checked).
        (templated)
    :return: ``outputS3Uri``, where the export is; the id of the job if ``wait_for_completion`` is False.
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises NeptuneMLFailedError: when the job failed.
    :raises NeptuneMLTimeoutError: when ``timeout`` or ``execution_timeout`` has passed.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    submission_class = ExportSubmission
    request_parameters: ClassVar[Sequence[str]] = (
        "output_s3_path",
        "command",
        "job_size",
        "export_params",
        "additional_params",
        "expected_bucket_owner",
    )
    template_fields: Sequence[str] = (
        *NeptuneMLStartOperator.template_fields,
        "export_api_url",
        *request_parameters,
    )
    # The service gives it.
    job_id = None

    def __init__(
        self,
        *,
        output_s3_path: TemplatedText,
        command: TemplatedText = "export-pg",
        job_size: TemplatedText | None = None,
        export_params: TemplatedDict | None = None,
        additional_params: TemplatedDict | None = None,
        expected_bucket_owner: TemplatedText | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_s3_path = output_s3_path
        self.command = command
        self.job_size = job_size
        self.export_params = export_params
        self.additional_params = additional_params
        self.expected_bucket_owner = expected_bucket_owner
        self.validate_arguments()

    def validate_together(self, arguments: Mapping[str, Any], *, rendered: bool) -> None:
        """Check that what is the export's was not given as Airflow's ``params``."""
        super().validate_together(arguments, rendered=rendered)
        dag = self.get_dag()
        # Those of the Dag are there, too, and may have any name.
        own = set(self.params or {}) - set(dag.params if dag else {})
        if misplaced := sorted(_OF_EXPORTS & own):
            raise ValueError(
                f"params has {', '.join(misplaced)}: params are Airflow's own, give the export's as"
                " export_params"
            )

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> str | None:
        """Resume the task, and note whether the trigger has cancelled the export."""
        if event and event.get("is_cancelled"):
            self.kill.acknowledge(event["resource_id"])
        return super().execute_complete(context, event)

    def on_kill(self) -> None:
        """Cancel the export as any job. A retry may follow a time-out: Airflow calls this after it."""
        super().on_kill()
        # Not in a signal handler, which may have come in the middle of another request to the store.
        if isinstance(sys.exc_info()[1], AirflowTaskTimeout):
            with suppress(Exception):
                self._leave_to_no_retry(get_current_context())

    @contextmanager
    def _cancel_on_error(self, context: Context) -> Iterator[None]:
        """Leave an export that timed out to a retry only if it could not be cancelled."""
        with super()._cancel_on_error(context):
            try:
                yield
            except NeptuneMLTimeoutError:
                with suppress(Exception):
                    self._leave_to_no_retry(context)
                raise

    def _leave_to_no_retry(self, context: Context) -> None:
        """
        Have no retry adopt an export whose cancellation was accepted.

        What such an export is called until it has ended is not documented: a retry would wait for its end.
        """
        if self.kill.is_acknowledged:
            UnconsumedMarker(context).delete()

    def _finish(self, context: Context, resource_id: str, description: Mapping[str, Any]) -> str:
        super()._finish(context, resource_id, description)
        return str(description.get("outputS3Uri") or "")


class NeptuneMLCancelExportJobOperator(NeptuneMLExportTask, NeptuneMLStopOperator):
    """
    Cancel a job of the Neptune-Export service, and wait until it has ended.

    A job that is already in a terminal status is a success. Made for teardowns
    (``cancel.as_teardown(setups=start)``) and for ``trigger_rule="one_failed"``. When the task is killed
    before the request was acknowledged, it is sent once more.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/export-service-run-export.html

    :param job_id: The id of the job. (templated)
    :raises ValueError: when an argument breaks its rule, or ``clean`` is True: the service deletes nothing;
        nothing is sent.
    :raises NeptuneMLNotFoundError: when there is no such job, unless ``ignore_missing``.
    :raises NeptuneMLTimeoutError: when ``timeout`` or ``execution_timeout`` has passed.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    template_fields: Sequence[str] = (*NeptuneMLStopOperator.template_fields, "export_api_url", "job_id")

    def __init__(self, *, job_id: TemplatedText, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.validate_arguments()

    def validate_together(self, arguments: Mapping[str, Any], *, rendered: bool) -> None:  # noqa: ARG002
        """Check that nothing is to be deleted."""
        if self.clean:
            raise ValueError("clean=True must be False: the Neptune-Export service deletes nothing")
