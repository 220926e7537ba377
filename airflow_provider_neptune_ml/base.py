"""Base of all operators and sensors: connection arguments, the hook, and a resource with an id."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from jinja2 import Undefined

from airflow_provider_neptune_ml.background import in_daemon
from airflow_provider_neptune_ml.compat import BaseOperator, XComArg
from airflow_provider_neptune_ml.kinds import ResourceKind
from airflow_provider_neptune_ml.logs import FROM_THE_FIRST, Position, Source, TaskLog
from airflow_provider_neptune_ml.validation import normalized, validate
from airflow_provider_neptune_ml.xcoms import ExtraLinks, TaskXComs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from datetime import datetime

    from typing_extensions import Self

    from airflow_provider_neptune_ml.compat import Context
    from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
    from airflow_provider_neptune_ml.progress import Listener

# What Airflow lets a Dag pass for a templated argument: its value, a template, or the output of a task.
TemplatedText: TypeAlias = str | XComArg
TemplatedNumber: TypeAlias = int | str | XComArg
TemplatedFlag: TypeAlias = bool | str | XComArg
TemplatedList: TypeAlias = Sequence[str | XComArg] | str | XComArg
TemplatedDict: TypeAlias = Mapping[str, Any] | str | XComArg

CONNECTION_FIELDS = ("neptune_ml_conn_id", "aws_conn_id", "region_name", "verify", "botocore_config")
# The hook, the XComs, the kill of an operator, the watch and the stage's log of a sensor.
_MADE_TO_RUN = {"hook", "xcoms", "_kill", "_watch", "_stage_log"}


class NeptuneMLTask(BaseOperator):
    """
    Base of the operators and sensors.

    :param neptune_ml_conn_id: The connection with the cluster endpoint (default: ``neptune_ml_default``).
        (templated)
    :param aws_conn_id: The connection with the AWS credentials (default: ``aws_default``); None: boto3's own
        credential chain. (templated)
    :param region_name: AWS region (default: from the connections or the host name). (templated)
    :param verify: Whether to verify the TLS certificate, or the path of a CA bundle (default: as the AWS
        connection says, else True). (templated)
    :param botocore_config: Arguments of :external:py:class:`botocore.config.Config`, without proxies, which
        belong in a connection (default: none). (templated)
    """

    kind: ClassVar[ResourceKind]
    connection_fields: ClassVar[Sequence[str]] = CONNECTION_FIELDS
    template_fields: Sequence[str] = CONNECTION_FIELDS
    operator_extra_links = ExtraLinks()
    ui_color = "#dcd6f7"
    # The last reply about the resource in this process, for lineage.py.
    last_description: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        *,
        neptune_ml_conn_id: TemplatedText = "neptune_ml_default",
        aws_conn_id: TemplatedText | None = "aws_default",
        region_name: TemplatedText | None = None,
        verify: TemplatedFlag | None = None,
        botocore_config: TemplatedDict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.neptune_ml_conn_id = neptune_ml_conn_id
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config

    @property
    def hook_parameters(self) -> dict[str, Any]:
        """The settings of the hook: the same, whole, wherever a part of this task runs."""
        return hook_parameters_of(self, self.connection_fields)

    @cached_property
    def hook(self) -> NeptuneMLHook:
        """The hook. Imported here, with boto3 behind it: a Dag file should not pay for that."""
        from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook

        return NeptuneMLHook(**self.hook_parameters)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what the task made to run, with clients and locks: a copy makes its own."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return {name: value for name, value in state.items() if name not in _MADE_TO_RUN}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Leave it out as well; Airflow's own method copies every attribute, whatever the state is."""
        made = vars(self).keys() & _MADE_TO_RUN
        memo.update({id(vars(self)[name]): None for name in made})
        copied: Self = super().__deepcopy__(memo)
        for name in made:
            del vars(copied)[name]
        return copied

    @cached_property
    def xcoms(self) -> TaskXComs:
        """What of the resource is in XCom. Built at run time, as the hook is."""
        return TaskXComs(self.kind, self.log)

    @property
    def known_links(self) -> Mapping[str, str] | None:
        """The links that this process knows, by the keys of their XComs; None: another one may."""
        return self.xcoms.links

    def show(self, context: Context, reply: Mapping[str, Any]) -> None:
        """Have the links and the description of a reply in XCom."""
        self.xcoms.show(task_instance_of(context), reply)

    def listeners(self, context: Context) -> tuple[Listener, ...]:
        """Return what hears of each reply while this task waits in a worker."""
        return (lambda progress: self.show(context, progress.description),)

    @property
    def resource_id(self) -> str:
        """The id that the user gave: ``job_id``, or ``endpoint_id`` of an endpoint."""
        value: str = getattr(self, self.kind.id_argument)
        return value

    @property
    def own_fields(self) -> Sequence[str]:
        """The template fields of our class: one of a user's that derives from it may have more."""
        package = __name__.partition(".")[0]
        ours = next(base for base in type(self).__mro__ if base.__module__.partition(".")[0] == package)
        return tuple(ours.template_fields)  # type: ignore[attr-defined]

    @property
    def required_fields(self) -> Sequence[str]:
        """Those of which an empty text does not count as not given."""
        return (self.kind.id_argument,)

    def validate_arguments(self, *, rendered: bool = False) -> None:
        """
        Check what is known of the arguments: when the Dag is parsed, and again once the templates are
        rendered.

        :param rendered: whether they are.
        :raises ValueError: names the argument, the value and the rule.
        """
        if rendered:
            self._restore()
        arguments = self.normalized_arguments()
        for name in self.required_fields:
            if arguments.get(name, self) is None:
                raise missing_argument(name)
        validate(arguments, rendered=rendered)
        self.validate_together(arguments, rendered=rendered)

    def validate_together(self, arguments: Mapping[str, Any], *, rendered: bool) -> None:
        """
        Check what the rule of one argument alone can't say.

        :param arguments: those that :meth:`normalized_arguments` returned.
        :param rendered: whether the templates are rendered.
        :raises ValueError: names the argument, the value and the rule.
        """

    def normalized_arguments(self) -> dict[str, Any]:
        """Return our arguments as what they were before a template made a text, or a number, of them."""
        required = self.required_fields
        return {
            name: normalized(name, getattr(self, name), optional=name not in required)
            for name in self.own_fields
        }

    def _restore(self) -> None:
        # Not before the templates are rendered: a value that a mapped task got is known by its identity, and
        # would be rendered as if it were a template.
        for name, value in self.normalized_arguments().items():
            setattr(self, name, value)

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: Any,
        seen_oids: set[int],
    ) -> None:
        """
        Render the templates: our arguments so that a text stays a text.

        What they turn out to be is restored at once, before Airflow stores it as rendered fields. Read on
        Airflow 2.11.0 to 3.3.2.
        """
        ours = set(self.own_fields) if parent is self else set()
        fields = list(template_fields)
        super()._do_render_template_fields(
            parent, [field for field in fields if field not in ours], context, jinja_env, seen_oids
        )
        if ours:
            super()._do_render_template_fields(
                parent, [field for field in fields if field in ours], context, jinja_env.overlay(), seen_oids
            )
            self._restore()

    def _render(self, template: Any, context: Any, dag: Any = None) -> Any:
        """
        Render one template.

        Of our arguments, whose environment is an overlay: to the value of its expression where it is nothing
        else, to text otherwise. Airflow's native rendering would evaluate the text "20231023", too, even one
        without a template; :func:`normalized` evaluates what is to be a number, a list or a dict.
        """
        environment = template.environment
        if not environment.overlayed:
            return super()._render(template, context, dag)
        # As Airflow does it: a render of Jinja's own would resolve the whole context.
        known = copy.copy(context)
        known.update((name, value) for name, value in template.globals.items() if name not in known)
        values = list(
            template.root_render_func(
                environment.context_class(environment, known, template.name, template.blocks)
            )
        )
        if len(values) == 1 and not isinstance(values[0], Undefined):
            return values[0]
        return "".join(map(str, values))


def missing_argument(name: str) -> ValueError:
    """Return the error for a required argument that is None."""
    return ValueError(
        f"{name}=None must be given: it was left out, or the upstream task that returns it returned nothing"
    )


def hook_parameters_of(settings: object, fields: Sequence[str] = CONNECTION_FIELDS) -> dict[str, Any]:
    """Return the arguments of the hook that an object's connection arguments stand for."""
    renamed = {"botocore_config": "config"}
    return {renamed.get(field, field): getattr(settings, field) for field in fields}


def task_log_of(
    task: Any, resource_id: str, start: Position = FROM_THE_FIRST, *, is_failure: bool = False
) -> TaskLog:
    """
    Return what puts the log of a resource's stages into that of the task, in a worker.

    :param task: the operator or sensor.
    :param resource_id: the id of the resource.
    :param start: where to begin (default: with the first event).
    :param is_failure: whether only the last lines of the failed stage are left to be printed.
    """

    def submit(run: Callable[[Source], None]) -> Future[None]:
        source = task.hook.logs  # in this thread, see there
        return in_daemon(lambda: run(source))

    return TaskLog(
        task.kind,
        resource_id,
        log=task.log,
        submit=submit,
        print_log=task.print_log and not is_failure,
        failure_log_lines=task.failure_log_lines,
        start=start,
    )


class NoTaskInstance:
    """What stands for the task instance where a context has none: in the unit tests of users."""

    dag_id = task_id = run_id = ""
    map_index = -1
    try_number = 1
    max_tries = 0
    start_date: datetime | None = None

    def get_first_reschedule_date(self, context: Context) -> datetime | None:
        """Return None: there was no poke before."""

    def xcom_pull(self, **kwargs: Any) -> Any:
        """Return None: nothing was pushed."""

    def xcom_push(self, key: str, value: Any) -> None:
        """Leave it."""


def task_instance_of(context: Context) -> Any:
    """Return the task instance of a context, or what stands for it, like a first try."""
    return context.get("ti") or NoTaskInstance()


def execution_deadline(task: BaseOperator, context: Context) -> float:
    """Return when ``execution_timeout`` passes (epoch seconds); Airflow doesn't count deferred time."""
    started, allowed = task_instance_of(context).start_date, task.execution_timeout
    return (started + allowed).timestamp() if started and allowed else math.inf


def deadline_of(task: Any, started_at: float, latest: float) -> tuple[float, str]:
    """
    Return when a wait ends (epoch seconds), and the argument that sets it.

    :param task: the operator or sensor.
    :param started_at: when the wait began, in epoch seconds.
    :param latest: what :func:`execution_deadline` returned.
    """
    deadline = min(started_at + task.timeout, latest)
    return deadline, limit_of(task, by_execution_timeout=deadline == latest)


def limit_of(task: Any, *, by_execution_timeout: bool) -> str:
    """Return the argument that sets the deadline of a wait, with its value in seconds, for messages."""
    if by_execution_timeout:
        return f"execution_timeout={task.execution_timeout.total_seconds():g}"
    return f"timeout={task.timeout:g}"
