"""
Everything on the port, as a Starlette application: the ML operations, the control API, the status page.

The control API is the Python one over HTTP: ``POST /_simulator/<method>`` with the arguments as a JSON
object.
"""

from __future__ import annotations

import inspect
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.simulator.faults import Fault
from airflow_provider_neptune_ml.simulator.guard import Guard
from airflow_provider_neptune_ml.simulator.intake import BodyTooLarge, read_body, read_json
from airflow_provider_neptune_ml.simulator.page import PAGE, page_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response

    from airflow_provider_neptune_ml.simulator.control import Control
    from airflow_provider_neptune_ml.simulator.settings import Settings

CONTROL_PATH = "/_simulator"
COMMANDS = (
    "advance",
    "add_fault",
    "clear_faults",
    "describe",
    "fail",
    "finish",
    "reset",
    "script",
    "script_query",
    "seed",
    "set_status",
    "stop_job",
)


def build_app(gateway: Any, control: Control, settings: Settings) -> Guard:
    """
    Return the application.

    :param gateway: the ASGI application that takes every path which isn't one of the simulator's own.
    :param control: the hand on the cluster.
    :param settings: the cluster's settings.
    """
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse
    from starlette.routing import Mount, Route

    views = _Views(control)

    async def show_page(_request: HttpRequest) -> Response:
        return HTMLResponse(PAGE, headers=_PAGE_HEADERS)

    app = Starlette(
        routes=[
            Mount("/ml", app=gateway),
            Route("/", show_page, methods=["GET"]),
            Route(f"{CONTROL_PATH}/state", views.show_state),
            Route(f"{CONTROL_PATH}/journal", views.show_journal),
            Route(f"{CONTROL_PATH}/faults", views.show_faults),
            Route(f"{CONTROL_PATH}/{{command}}", views.run_command, methods=["POST"]),
            Mount("/", app=gateway),
        ]
    )
    return Guard(app, settings, CONTROL_PATH)


# The page runs its own inline script and asks its own server, and nothing else.
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}


class _Views:
    def __init__(self, control: Control) -> None:
        self._control = control

    async def show_state(self, _request: HttpRequest) -> Response:
        return _json(page_state(self._control))

    async def show_journal(self, request: HttpRequest) -> Response:
        calls = self._control.calls(request.query_params.get("operation"))
        return _json({"requests": [vars(call) for call in calls]})

    async def show_faults(self, _request: HttpRequest) -> Response:
        return _json({"faults": [asdict(fault) for fault in self._control.faults]})

    async def run_command(self, request: HttpRequest) -> Response:
        command = request.path_params["command"]
        if command not in COMMANDS:
            return _json({"error": f"{command!r} is none of {', '.join(COMMANDS)}"}, 404)
        # No page of another site can send this type without asking first, so none can pull the strings.
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _json({"error": "Content-Type must be application/json"}, 415)
        try:
            arguments = read_json(await read_body(request.receive))
            result = _call(getattr(self._control, command), command, arguments)
        except BodyTooLarge as error:
            return _json({"error": str(error)}, 413)
        except KeyError as error:
            return _json({"error": str(error.args[0])}, 404)
        except (TypeError, ValueError) as error:
            return _json({"error": str(error)}, 400)
        return _json({"result": result})


def _call(method: Callable[..., Any], command: str, arguments: Any) -> Any:
    if not isinstance(arguments, dict):
        raise ValueError("the body must be a JSON object with the arguments")
    if command == "add_fault":
        return method(Fault(**arguments))
    inspect.signature(method).bind(**arguments)
    return method(**arguments)


def _json(content: Any, status: int = 200) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse(content, status)
