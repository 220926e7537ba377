"""The whole lifecycle of a model as one task group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.base import CONNECTION_FIELDS
from airflow_provider_neptune_ml.compat import AirflowException, TaskGroup
from airflow_provider_neptune_ml.operators.export import (
    NeptuneMLCancelExportJobOperator,
    NeptuneMLStartExportJobOperator,
)
from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelDataProcessingJobOperator,
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLCancelModelTransformJobOperator,
    NeptuneMLCreateEndpointOperator,
    NeptuneMLStartDataProcessingJobOperator,
    NeptuneMLStartModelTrainingJobOperator,
    NeptuneMLStartModelTransformJobOperator,
)
from airflow_provider_neptune_ml.validation import validate_flag

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.compat import BaseOperator, Context, XComArg
    from airflow_provider_neptune_ml.operators.base import NeptuneMLStartOperator, NeptuneMLStopOperator

    Step = Mapping[str, Any] | BaseOperator | XComArg | str | None

# What a teardown needs to reach the job of its step.
_SHARED_WITH_TEARDOWN = (
    *CONNECTION_FIELDS,
    "export_api_url",
    "deferrable",
    "poll_interval",
    "unreachable_timeout",
    "queue",
    "pool",
    "executor",
)


class NeptuneMLPipeline(TaskGroup):
    """
    Export the graph, process the data, train, transform if need be, and create or update the endpoint.

    A step is given as a dict of its operator's arguments; a step that is not given is left out. In place of a
    dict, the id of a job that has completed already will do: a text, a template, or a task of your own that
    returns the id. The ids that connect the steps, and the location of the export, are filled in, unless a
    dict has its own. The tasks are the attributes ``export``, ``process``, ``train``, ``transform`` and
    ``deploy``: put your own before, between or behind them, and behind the whole with ``pipeline >> mine``.

    **Nothing is left running.** A step cancels its job when it is killed or times out. Where it can't,
    because its worker was lost or Neptune could not be reached, the teardown behind it does:
    ``cancel_export``, ``cancel_process``, ``cancel_train`` and ``cancel_transform``. They don't decide on the
    state of the Dag run. The endpoint has no teardown.

    The attribute ``endpoint_name`` is the name in SageMaker of the endpoint that ``deploy`` puts in service:
    an argument for a task of your own; in an f-string a template, for a query's ``Neptune#ml.endpoint``.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-overview.html
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-overview-evolving-data-incremental.html

    :param export: Arguments of :class:`NeptuneMLStartExportJobOperator
        <airflow_provider_neptune_ml.operators.export.NeptuneMLStartExportJobOperator>`; in place of a dict,
        the location of an export in S3. ``process`` reads from there (default: no such step).
    :param process: Arguments of :class:`NeptuneMLStartDataProcessingJobOperator
        <airflow_provider_neptune_ml.operators.neptune_ml.NeptuneMLStartDataProcessingJobOperator>` (default:
        no such step).
    :param train: Arguments of ``NeptuneMLStartModelTrainingJobOperator`` (default: no such step).
    :param transform: Arguments of ``NeptuneMLStartModelTransformJobOperator``, for the data of ``process``
        and the model of ``train`` (default: no such step).
    :param deploy: Arguments of ``NeptuneMLCreateEndpointOperator``, a dict with ``endpoint_id``; it serves
        the model of ``transform``, else that of ``train``. ``update`` is True unless it is given (default: no
        such step).
    :param incremental: Whether ``process`` and ``train`` build on the jobs that completed last in the same
        steps of earlier Dag runs, if there are any: incremental processing and a warm start. For graphs from
        which no nodes were removed (default: False).
    :param teardowns: Whether each job that is started has a teardown that cancels it (default: True).
    :param group_id: The id of the group (default: ``neptune_ml``).
    :param kwargs: Further arguments of the task group. ``default_args`` is the place for what all steps
        share, such as connections, ``deferrable``, ``poll_interval`` and ``retries``.
    :raises ValueError: when an argument breaks its rule; it names the step.
    """

    def __init__(
        self,
        *,
        export: Step = None,
        process: Step = None,
        train: Step = None,
        transform: Step = None,
        deploy: Mapping[str, Any] | None = None,
        incremental: bool = False,
        teardowns: bool = True,
        group_id: str = "neptune_ml",
        **kwargs: Any,
    ) -> None:
        try:
            super().__init__(group_id=group_id, **kwargs)
        except TypeError as error:
            raise TypeError(f"{error}. The steps are export, process, train, transform and deploy") from None
        if deploy is not None and not isinstance(deploy, Mapping):
            raise ValueError(f"deploy={deploy!r} must be a dict of the operator's arguments")
        self._teardowns = validate_flag("teardowns", teardowns)
        incremental = validate_flag("incremental", incremental)
        self._last: Any = None
        self.export: Any = self._lay(
            "export", export, NeptuneMLStartExportJobOperator, NeptuneMLCancelExportJobOperator
        )
        self.process: Any = self._lay(
            "process",
            process,
            NeptuneMLStartDataProcessingJobOperator,
            NeptuneMLCancelDataProcessingJobOperator,
            previous="previous_data_processing_job_id" if incremental else None,
            input_data_s3_location=_id_of(self.export),
        )
        self.train: Any = self._lay(
            "train",
            train,
            NeptuneMLStartModelTrainingJobOperator,
            NeptuneMLCancelModelTrainingJobOperator,
            previous="previous_model_training_job_id" if incremental else None,
            data_processing_job_id=_id_of(self.process),
            post_execute=_tell_data,
        )
        by_name = isinstance(transform, Mapping) and "training_job_name" in transform
        self.transform: Any = self._lay(
            "transform",
            transform,
            NeptuneMLStartModelTransformJobOperator,
            NeptuneMLCancelModelTransformJobOperator,
            data_processing_job_id=None if by_name else _id_of(self.process),
            ml_model_training_job_id=None if by_name else _id_of(self.train),
        )
        model = "ml_model_training_job_id" if self.transform is None else "ml_model_transform_job_id"
        source = self.train if self.transform is None else self.transform
        chosen = any(name.startswith("ml_model_") for name in deploy or ())
        self.deploy: Any = self._lay(
            "deploy",
            deploy,
            NeptuneMLCreateEndpointOperator,
            update=True,
            **{} if chosen else {model: _id_of(source)},
        )
        self.endpoint_name: Any = self.deploy and self.deploy.output["endpoint_name"]
        if self._last is None:
            raise ValueError(
                "export, process, train, transform and deploy: one of them must be a dict of arguments"
            )

    def _lay(
        self,
        name: str,
        step: Step,
        operator: type[NeptuneMLStartOperator],
        cancel: type[NeptuneMLStopOperator] | None = None,
        *,
        previous: str | None = None,
        **filled_in: Any,
    ) -> Any:
        """Build the task of a step that is given by arguments; return it, or what was given instead."""
        if not isinstance(step, Mapping):
            if step is None or (isinstance(step, str) and step.strip()) or _has_id(step):
                return step
            raise ValueError(
                f"{name}={step!r} must be a dict of the operator's arguments, or the id of a job"
            )
        if step.get("wait_for_completion", True) is not True:
            raise ValueError(f"{name}: wait_for_completion={step['wait_for_completion']!r} must be True")
        known = {key: value for key, value in filled_in.items() if value is not None}
        arguments = {"task_id": name, **known, **step, "wait_for_completion": True}
        if previous:
            task_id: str = self.child_id(arguments["task_id"])  # type: ignore[no-untyped-call]
            arguments = {previous: previous_job_id(task_id), **arguments}
        try:
            with self:
                task = operator(**arguments)
                if self._last is not None and self._last.task_id not in task.upstream_task_ids:
                    self._last >> task
                self._last = task
                if cancel and self._teardowns:
                    shared = {key: step[key] for key in _SHARED_WITH_TEARDOWN if key in step}
                    # Not `as_teardown(setups=task)`: Airflow runs a teardown only if its setup succeeded,
                    # and this one cancels what is left where it did not.
                    (
                        task
                        >> cancel(
                            task_id=f"cancel_{name}",
                            job_id=_unfinished_job_id(task.task_id),
                            ignore_missing=True,
                            **shared,
                        ).as_teardown()
                    )
        except (AirflowException, TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from error
        return task


def previous_job_id(task_id: str, *, key: str = "return_value") -> str:
    """
    Return a template for the id that a task of the same Dag returned when it last succeeded.

    It looks at this Dag run and those before it, by their logical date. Where there is none, the text is
    empty: the ``previous_...`` arguments of the operators take that for "none".

    :param task_id: The id of the task, with those of its groups: ``retrain.train``.
    :param key: The key of the XCom (default: ``return_value``). The step ``train`` of a pipeline also has
        ``data_processing_job_id``, the job whose output it was trained on.
    """
    # A map index, or Airflow 3 returns a list of all runs; that of this task, to work in mapped task groups.
    return _template(f"{_pull(task_id, key, 'include_prior_dates=True')} or ''")


def _unfinished_job_id(task_id: str) -> str:
    """Return a template for the job that a task has started and not seen completed."""
    started, completed = _pull(task_id, "job_id"), _pull(task_id, "return_value")
    return _template(f"'' if {completed} else {started} or ''")


def _template(expression: str) -> str:
    return "{{ " + expression + " }}"


def _pull(task_id: str, key: str, *more: str) -> str:
    arguments = (f"task_ids={task_id!r}", f"key={key!r}", *more, "map_indexes=ti.map_index")
    return f"ti.xcom_pull({', '.join(arguments)})"


def _tell_data(context: Context, result: Any) -> None:  # noqa: ARG001
    """Push what a model was trained on: a later run, in which that changed, may still serve the model."""
    ti: Any = context["ti"]
    # Not context["task"]: on Airflow 3.0 that has its templates still.
    ti.xcom_push(key="data_processing_job_id", value=ti.task.data_processing_job_id)


def _has_id(step: Any) -> bool:
    """Tell whether a step is a task, or what one returns."""
    return hasattr(step, "output") or hasattr(step, "resolve")


def _id_of(step: Any) -> Any:
    """Return the id of the job of a step; an output, where it is known at run time only."""
    return getattr(step, "output", step)
