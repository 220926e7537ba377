"""Run an ASGI application on uvicorn, in a thread that always ends."""

from __future__ import annotations

import importlib.util
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from types import ModuleType

_BACKLOG = 2048


class Listener:
    """
    Listen on one address; can be stopped and started again on the same port.

    :param host: address to listen on.
    :param port: port to listen on; 0 for a free one, which later starts keep.
    :param ssl_certfile: PEM file with the certificate chain; None for plain HTTP.
    :param ssl_keyfile: PEM file with the private key; None if it is in the other file.
    """

    def __init__(
        self, host: str, port: int, ssl_certfile: str | None = None, ssl_keyfile: str | None = None
    ) -> None:
        self.port = port
        self._host = host
        self._ssl_files = (ssl_certfile, ssl_keyfile)
        self._server: Any = None
        self._thread: threading.Thread | None = None
        # Not forgotten while it ends: who asks from within must still be recognised.
        self._latest_thread: threading.Thread | None = None

    @property
    def is_stopping(self) -> bool:
        """Whether the server is about to end and nothing may be waited for."""
        return self._server is None or self._server.should_exit

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs in the server's thread, and so can't wait for its end."""
        return self._latest_thread is threading.current_thread()

    def transport(self, client: tuple[str, int]) -> asyncio.Transport:
        """Return the transport of the connection from a client's address."""
        found: asyncio.Transport = self._server.transport(client)
        return found

    def start(self, app: Any) -> None:
        """
        Listen, and return when requests are answered; raise OSError if the address can't be had.

        :param app: the ASGI application.
        """
        if self._thread is not None:
            raise RuntimeError("already started")
        listening = self._bind()
        self.port = listening.getsockname()[1]
        try:
            self._server = _import_httpd().build_server(app, *self._ssl_files)
        except BaseException:
            listening.close()
            raise
        self._thread = threading.Thread(
            target=self._server.run,
            args=([listening],),
            name=f"neptune-ml-simulator-{self.port}",
            daemon=True,
        )
        self._latest_thread = self._thread
        self._thread.start()
        self._wait_until_started()

    def stop(self) -> None:
        """Stop listening and answering, and return when the thread has ended."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._server.should_exit = True
        thread.join()
        self._server = None

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # asyncio turns Nagle's algorithm off only where the protocol is named: 40 ms for each answer else.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self._host, self.port))
            # From here on clients may knock: what they send waits until uvicorn is up.
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
        return listening

    def _wait_until_started(self) -> None:
        thread = self._thread
        while thread is not None and thread.is_alive() and not self._server.started:
            thread.join(0.002)
        if not self._server.started:
            self.stop()
            raise RuntimeError("the simulator's server did not start; its log says why")


class Outage:
    """
    A time in which nobody listens.

    :param listener: stopped for that time.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, app: Any, seconds: float) -> None:
        """
        Stop listening for real seconds.

        Connections are refused when this returns; soon after it where the server's own thread asks.
        """
        self.end()
        self._over.clear()
        refused = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(app, seconds, refused), name="neptune-ml-simulator-outage", daemon=True
        )
        self._thread.start()
        if not self._listener.is_own_thread:
            refused.wait()

    def end(self) -> None:
        """Listen again now, if this is an outage."""
        self._over.set()
        if self._thread is not None and not self._listener.is_own_thread:
            self._thread.join()
            self._thread = None

    def _run(self, app: Any, seconds: float, refused: threading.Event) -> None:
        self._listener.stop()
        refused.set()
        self._over.wait(seconds)
        self._listener.start(app)


def _import_httpd() -> ModuleType:
    check_extra()
    from airflow_provider_neptune_ml.simulator import httpd

    return httpd


def check_extra() -> None:
    """Raise ModuleNotFoundError that says which extra to install, if it isn't."""
    for name in ("starlette", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(
                f"the simulator needs {name}: pip install 'airflow-provider-neptune-ml[simulator]'"
            )
