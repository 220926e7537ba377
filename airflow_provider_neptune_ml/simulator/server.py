"""The simulator itself: a cluster, its HTTP face and the hand on it, in one object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airflow_provider_neptune_ml.simulator.app import Gateway
from airflow_provider_neptune_ml.simulator.auth import Verifier
from airflow_provider_neptune_ml.simulator.control import Control
from airflow_provider_neptune_ml.simulator.faults import REFUSED, Fault, FaultRules
from airflow_provider_neptune_ml.simulator.journal import Journal
from airflow_provider_neptune_ml.simulator.listener import Listener, Outage, check_extra
from airflow_provider_neptune_ml.simulator.service import Service
from airflow_provider_neptune_ml.simulator.settings import EXPORT_PATH, Settings
from airflow_provider_neptune_ml.simulator.store import Store

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class Simulator(Settings, Control):
    """
    A local stand-in for a Neptune cluster's ML endpoint, over real HTTP.

    As a context manager it listens on a free port of the loopback interface:

        with Simulator(clock="manual") as simulator:
            client = boto3.client("neptunedata", endpoint_url=simulator.url, region_name=simulator.region)

    The arguments are those of ``Settings``, all keyword-only.

    :raises ValueError: a setting can't be used.
    :raises OSError: a file of the certificate can't be read.
    """

    def __post_init__(self) -> None:
        """Build the cluster; nothing listens yet."""
        super().__post_init__()
        self._settings = self
        self._store = Store(self)
        self._faults = FaultRules()
        self._journal = Journal(self.journal_size)
        self._listener = Listener(self.host, self.port, self.ssl_certfile, self.ssl_keyfile)
        self._outage = Outage(self._listener)
        self._app: Any = None

    def start(self) -> None:
        """
        Listen, and return when requests are answered.

        After a ``stop()`` the state file is read anew.

        :raises OSError: the address can't be had, or the certificate can't be used.
        :raises ValueError: the state file can't be used.
        :raises ModuleNotFoundError: the extra ``simulator`` is not installed.
        """
        self._app = self._build_app()
        self._store.open()
        try:
            self._listener.start(self._app)
        except (OSError, OverflowError):
            self._store.close()
            raise
        self.port = self._listener.port

    def stop(self) -> None:
        """
        Stop listening, and return when no thread and no socket is left; the resources stay.

        A state file is then free for another simulator, and this one takes no change until it is started.
        """
        self._outage.end()
        self._listener.stop()
        self._store.close()

    def add_fault(self, fault: Fault) -> None:
        """
        Put a fault in force; ``refused`` begins at once and ends after its seconds, or when cleared.

        :param fault: the fault.
        :raises ValueError: ``refused`` before the simulator is started.
        """
        if fault.kind == REFUSED:
            if self._app is None:
                raise ValueError(
                    "kind='refused': the simulator isn't started and accepts no connections anyway"
                )
            self._outage.begin(self._app, fault.seconds)
        else:
            super().add_fault(fault)

    def clear_faults(self) -> None:
        """Drop the faults that are still to come, and listen again if the simulator doesn't."""
        super().clear_faults()
        self._outage.end()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def scheme(self) -> str:
        """``https`` with a certificate, else ``http``."""
        return "https" if self.ssl_certfile else "http"

    @property
    def url(self) -> str:
        """The endpoint for clients, e.g. ``http://127.0.0.1:51234``."""
        return f"{self.scheme}://{self._netloc}"

    @property
    def export_api_url(self) -> str:
        """The invoke URI of the export service."""
        return f"{self.url}{EXPORT_PATH}"

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection, in the form that ``AIRFLOW_CONN_<ID>`` takes as JSON."""
        return {
            "conn_type": "neptune_ml",
            "host": self.host,
            "port": self.port,
            "schema": self.scheme,
            "extra": {
                "iam_auth": self.iam_auth,
                "region_name": self.region,
                "export_api_url": self.export_api_url,
                "export_iam_auth": self.iam_auth,
            },
        }

    @property
    def connection_uri(self) -> str:
        """The Airflow connection as a URI, e.g. for ``airflow connections add --conn-uri``."""
        # Airflow turns the hyphen of the scheme into the underscore of the connection type; an underscore is
        # no letter of a URI's scheme.
        extra = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in self.connection["extra"].items()
        }
        query = urlencode(extra)
        return f"neptune-ml://{self._netloc}/{self.scheme}?{query}"

    def overview(self) -> dict[str, Any]:
        """Return the whole cluster as plain data, for the status page; times are simulated ones."""
        clock = f"at {self.speed:g} times real speed" if self.clock == "real" else "stepped by hand"
        return super().overview() | {"clock": clock, "connection_uri": self.connection_uri}

    def _build_app(self) -> Any:
        check_extra()
        from airflow_provider_neptune_ml.simulator.web import build_app

        verifier = Verifier(self.credentials, self.region) if self.iam_auth else None
        service = Service(self, self._store)
        gateway = Gateway(service, self._store, self._faults, self._journal, self._listener, verifier)
        return build_app(gateway, self, self)

    @property
    def _netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
