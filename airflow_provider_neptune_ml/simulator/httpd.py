"""uvicorn, ending in an orderly way: imported only when something listens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    import socket

_GRACE_SECONDS = 1
_KEEP_ALIVE_SECONDS = 75


class Server(uvicorn.Server):
    """A server that leaves no connection behind when it stops."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """
        Stop listening, let answers under way go out, and end all connections.

        Under TLS an idle connection would wait for its client to say goodbye, which clients with a pool of
        connections don't.
        """
        self._abort_connections(idle_only=True)
        await super().shutdown(sockets)
        self._abort_connections(idle_only=False)
        await asyncio.sleep(0)

    def transport(self, client: tuple[str, int]) -> asyncio.Transport:
        """Return the transport of the connection from a client's address."""
        connections: Any = self.server_state.connections
        found: asyncio.Transport = next(
            known.transport for known in connections if known.client == tuple(client)
        )
        return found

    def _abort_connections(self, *, idle_only: bool) -> None:
        connections: Any = self.server_state.connections
        for connection in list(connections):
            cycle = getattr(connection, "cycle", None)
            if not idle_only or cycle is None or cycle.response_complete:
                connection.transport.abort()


def build_server(app: Any, ssl_certfile: str | None, ssl_keyfile: str | None) -> Server:
    """Return a server that is ready to run."""
    config = uvicorn.Config(
        app,
        # uvloop's close() was seen to hang for ever while a TLS client held its connection open.
        loop="asyncio",
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
    )
    config.load()
    return Server(config)
