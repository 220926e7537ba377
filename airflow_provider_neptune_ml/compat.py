"""
What this package takes from Airflow, from where each version has it; nothing else here asks for a version.

Read on 2.11.0 to 3.3.2. It is imported wherever a Dag is parsed: no boto3, and nothing of Amazon's provider.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from airflow import __version__ as AIRFLOW_VERSION

_RELEASE = tuple(int(part) for part in AIRFLOW_VERSION.split(".")[:2])
AIRFLOW_V_3_0_PLUS = _RELEASE >= (3, 0)
_AIRFLOW_V_3_2_PLUS = _RELEASE >= (3, 2)
# The first Airflow whose triggerer renders templates.
CAN_RUN_WITHOUT_WORKER = _RELEASE >= (3, 3)
# Airflow 3.0 and 3.1 mix up the answers where two threads of a task ask their supervisor.
TASK_MAY_ASK_FROM_THREADS = not AIRFLOW_V_3_0_PLUS or _AIRFLOW_V_3_2_PLUS
# A triggerer of 3.0 or 3.1 ends with an error where a thread asks its supervisor; that of 3.2 was not tried.
TRIGGERER_TAKES_XCOMS = not AIRFLOW_V_3_0_PLUS or CAN_RUN_WITHOUT_WORKER
# The key of the XCom in which Airflow 3 looks for a link is this with the name of the link's class.
LINK_PREFIX = "_link_"

if TYPE_CHECKING or AIRFLOW_V_3_0_PLUS:
    from airflow.sdk import (
        BaseOperator,
        BaseSensorOperator,
        Connection,
        Context,
        PokeReturnValue,
        TaskGroup,
        XComArg,
        get_current_context,
    )
    from airflow.triggers.base import BaseEventTrigger
else:
    from airflow.models.baseoperator import BaseOperator
    from airflow.models.connection import Connection
    from airflow.models.xcom_arg import XComArg
    from airflow.operators.python import get_current_context
    from airflow.sensors.base import BaseSensorOperator, PokeReturnValue
    from airflow.triggers.base import BaseTrigger as BaseEventTrigger
    from airflow.utils.context import Context
    from airflow.utils.task_group import TaskGroup

if TYPE_CHECKING or _AIRFLOW_V_3_2_PLUS:
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
    )
else:
    from airflow.configuration import conf
    from airflow.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
    )

if TYPE_CHECKING:
    from airflow.sdk.bases.xcom import BaseXCom
    from airflow.sdk.execution_time.xcom import XCom
else:

    def __getattr__(name: str) -> Any:
        """Import XCom when it is asked for: that imports the user's XCom backend, and what is behind it."""
        if name not in ("XCom", "BaseXCom"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if AIRFLOW_V_3_0_PLUS:
            from airflow.sdk.bases.xcom import BaseXCom
            from airflow.sdk.execution_time.xcom import XCom
        else:
            from airflow.models.xcom import BaseXCom, XCom
        return {"XCom": XCom, "BaseXCom": BaseXCom}[name]


def push_xcom(task_instance: Any, key: str, value: Any) -> None:
    """
    Push an XCom, from a worker or the triggerer; a link past the user's XCom backend.

    Airflow's server reads a link as it is stored, which another backend's would have to be fetched for.
    """
    xcom: Any = sys.modules[__name__].XCom
    backend = sys.modules[__name__].BaseXCom if key.startswith(LINK_PREFIX) else xcom
    # In the triggerer of Airflow 3.3, the task is one that was serialized, with which xcom_push fails.
    is_whole = isinstance(getattr(task_instance, "task", None), (BaseOperator, type(None)))
    if backend is xcom and is_whole and hasattr(task_instance, "xcom_push"):
        task_instance.xcom_push(key=key, value=value)
        return
    names = ("dag_id", "task_id", "run_id", "map_index")
    backend.set(key=key, value=value, **{name: getattr(task_instance, name) for name in names})


def get_link_xcom(ti_key: Any, key: str) -> Any:
    """Return what was pushed as a link; None where nothing was."""
    return sys.modules[__name__].BaseXCom.get_value(ti_key=ti_key, key=key)


def cleared_xcom_keys(ti: Any) -> list[str]:
    """Return the keys of the XComs that Airflow has cleared before this run of a task; none before 3.0."""
    told = getattr(ti, "_ti_context_from_server", None)
    return list(getattr(told, "xcom_keys_to_clear", None) or ())


def end_of_last_poke(ti: Any) -> float | None:
    """Return when the last poke of a rescheduled sensor ended (epoch seconds), if Airflow 2 tells it."""
    if AIRFLOW_V_3_0_PLUS:
        return None
    from airflow.models.taskreschedule import TaskReschedule
    from airflow.utils.session import create_session

    try:
        with create_session() as session:
            pokes = TaskReschedule.stmt_for_task_instance(ti, descending=True).limit(1)
            last = session.scalars(pokes).first()
            return last.end_date.timestamp() if last else None
    except Exception:  # whatever the database raises: what is printed depends on it, no more
        return None


def has_listeners() -> bool:
    """Tell whether a plugin has a listener, with which Airflow refuses tasks that end in the triggerer."""
    from airflow.listeners.listener import get_listener_manager

    return bool(get_listener_manager().has_listeners)


def has_coroutines(store: Any) -> bool:
    """Tell whether a state store has coroutines: a thread would wait for an answer for ever."""
    return hasattr(store, "aset")


async def ask_store(store: Any, verb: str, *arguments: Any) -> Any:
    """
    Read or write Airflow's state store of an asset, in the triggerer.

    Airflow 3.3.2 is the first whose store has coroutines. Before, its functions are meant for a thread.

    :param store: what Airflow gave the trigger.
    :param verb: ``get``, ``set`` or ``delete``.
    :param arguments: the key, and the value to set.
    """
    if has_coroutines(store):
        return await getattr(store, f"a{verb}")(*arguments)
    return await asyncio.to_thread(getattr(store, verb), *arguments)


def decoded(value: Any) -> Any:
    """Return an argument of a watcher; Airflow 3.0 and 3.1 give it a dict as they have encoded it."""
    if not isinstance(value, dict):
        return value
    plain = value["Encoding.VAR"] if value.get("Encoding.TYPE") == "dict" else value
    return {key: decoded(nested) for key, nested in plain.items()}


__all__ = [
    "AIRFLOW_VERSION",
    "AIRFLOW_V_3_0_PLUS",
    "CAN_RUN_WITHOUT_WORKER",
    "LINK_PREFIX",
    "TASK_MAY_ASK_FROM_THREADS",
    "TRIGGERER_TAKES_XCOMS",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseEventTrigger",
    "BaseOperator",
    "BaseSensorOperator",
    "BaseXCom",
    "Connection",
    "Context",
    "PokeReturnValue",
    "TaskGroup",
    "XCom",
    "XComArg",
    "ask_store",
    "cleared_xcom_keys",
    "conf",
    "decoded",
    "end_of_last_poke",
    "get_current_context",
    "get_link_xcom",
    "has_coroutines",
    "push_xcom",
]
