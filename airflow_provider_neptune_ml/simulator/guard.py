"""
Keep pages of other sites out: the simulator has no password, and a browser sends it what any page says.

A page reaches it by an address of the simulator's, then the browser tells the page's origin; or by a name of
the page's own that leads here, then the ``Host`` header has that name.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import re
import socket
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.simulator.errors import access_denied
from airflow_provider_neptune_ml.simulator.responses import Answer, error_answer, send_answer

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.simulator.settings import Settings

App = Callable[..., Awaitable[None]]

_HOST = re.compile(r"(?:\[(?P<ip6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:\[\]@/]+))(?::[0-9]*)?")
# The status page itself may be opened by a link from anywhere: it does nothing.
_PAGE_PATH = "/"
_OTHER_SITES = ("cross-site", "same-site")


class Guard:
    """
    Pass requests on that are meant for the simulator's own host and come from no page but its own.

    :param app: the ASGI application that answers them.
    :param settings: tell the hosts.
    :param control_path: where the control API is, whose errors look different from the service's.
    """

    def __init__(self, app: App, settings: Settings, control_path: str) -> None:
        self._app = app
        self._settings = settings
        self._control_path = control_path
        self._is_own_host = functools.lru_cache(maxsize=64)(self._find_own_host)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it with 403."""
        objection = self._objection(scope)
        if objection is None:
            await self._app(scope, receive, send)
        else:
            await send_answer(self._refusal(scope["path"], objection), send, with_body=True)

    def _objection(self, scope: MutableMapping[str, Any]) -> str | None:
        hosts, origins, sites = (_values(scope, name) for name in (b"host", b"origin", b"sec-fetch-site"))
        if len(hosts) != 1 or not self._is_own_host(hosts[0]):
            return (
                f"host {', '.join(hosts)!r:.100}: not a name of this simulator; "
                "allow it with --allowed-host (allowed_hosts) if it is"
            )
        if any(origin.partition("://")[2] != hosts[0] for origin in origins) or (
            scope["path"] != _PAGE_PATH and not {*sites}.isdisjoint(_OTHER_SITES)
        ):
            return f"origin {', '.join(origins)!r:.100}: pages of other sites may not send requests here"
        return None

    def _find_own_host(self, header: str) -> bool:
        parts = _HOST.fullmatch(header)
        if parts is None:
            return False
        name = (parts["ip6"] or parts["name"]).lower().removesuffix(".")
        own = {"localhost", self._settings.host, *self._settings.allowed_hosts}
        if self._settings.allow_remote:
            own.add(socket.gethostname())
        # An address is no name that another site could point here, so with allow_remote any will do.
        return name in {host.lower() for host in own} or _is_address(
            name, only_loopback=not self._settings.allow_remote
        )

    def _refusal(self, path: str, text: str) -> Answer:
        if not path.startswith(self._control_path):
            return error_answer(access_denied(text), str(uuid.uuid4()))
        return Answer(403, json.dumps({"error": text}).encode())


def _values(scope: MutableMapping[str, Any], name: bytes) -> list[str]:
    return [value.decode("latin-1") for known, value in scope["headers"] if known == name]


def _is_address(name: str, *, only_loopback: bool) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not only_loopback
