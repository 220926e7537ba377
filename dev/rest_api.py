"""A small client for Airflow's public REST API: version 1 of Airflow 2.11, version 2 of Airflow 3."""

from __future__ import annotations

import json
import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

T = TypeVar("T")

POLL_SECONDS = 0.25
# Whatever proxy the environment names: it does not know this machine's loopback.
_DIRECT = build_opener(ProxyHandler({}))

ENDED_RUN_STATES = frozenset({"success", "failed"})


def until(condition: Callable[[], T | None], *, within: float, what: str) -> T:
    """Return what the condition returns as soon as it is true.

    :param within: Seconds after which to give up.
    :param what: What is waited for, for the error message.
    :raises TimeoutError: if it does not become true in time.
    """
    deadline = time.monotonic() + within
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {within:g} s in vain for {what}")
        time.sleep(POLL_SECONDS)
    return result


class RestApi:
    """The REST API of one Airflow.

    :param url: Where the API server (3.x) or the webserver (2.11) listens.
    :param version: Of Airflow: 2 or 3.
    """

    def __init__(self, url: str, *, version: int) -> None:
        self.url = url
        self.version = version
        self._token = ""
        # Two requests that write at the same time can block each other, see `_commands` of LocalAirflow.
        self._writing = threading.Lock()

    def call(self, method: str, path: str, body: object = None, *, accept: str = "application/json") -> Any:
        """Send one request and return the decoded answer.

        :raises HTTPError: for an error status, with the reply as its reason.
        """
        prefix = {2: "/api/v1", 3: "/api/v2"}[self.version]
        if self.version == 3 and not self._token:
            self._token = _send(Request(f"{self.url}/auth/token"))["access_token"]
        headers = {"Accept": accept, "Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        with nullcontext() if method == "GET" else self._writing:
            return _send(Request(f"{self.url}{prefix}{path}", data=data, method=method, headers=headers))

    def health(self) -> dict[str, str]:
        """Return the status of each component; empty while the server does not answer."""
        path = {2: "/health", 3: "/api/v2/monitor/health"}[self.version]
        try:
            reply = _send(Request(f"{self.url}{path}"))
        except (URLError, ConnectionError, TimeoutError):
            return {}
        return {name: part["status"] for name, part in reply.items() if part["status"]}

    def trigger(
        self,
        dag_id: str,
        conf: Mapping[str, object] | None = None,
        *,
        within: float = 90,
        logical_date: str | None = None,
    ) -> DagRun:
        """Start a Dag run, as soon as Airflow has read the Dag file.

        :param conf: The run's configuration; overrides the Dag's params.
        :param within: Seconds to wait for the Dag to be known.
        :param logical_date: In ISO form; without it, a run of Airflow 3 has none, and so no `{{ ds }}`.
        """
        until(lambda: self._knows(dag_id), within=within, what=f"Airflow to read the file of Dag {dag_id}")
        body: dict[str, object] = {"conf": dict(conf or {})}
        if self.version == 3:
            body["logical_date"] = logical_date
        run = self.call("POST", f"/dags/{dag_id}/dagRuns", body)
        return DagRun(self, dag_id, run["dag_run_id"])

    def _knows(self, dag_id: str) -> bool:
        try:
            self.call("GET", f"/dags/{dag_id}/details")
        except HTTPError as error:
            if error.code != 404:
                raise
            errors = self.call("GET", "/importErrors")["import_errors"]
            if errors:
                raise ImportError("\n".join(broken["stack_trace"] for broken in errors)) from None
            return False
        return True


class DagRun:
    """One run of a Dag."""

    def __init__(self, api: RestApi, dag_id: str, run_id: str) -> None:
        self.api = api
        self.dag_id = dag_id
        self.run_id = run_id
        self._path = f"/dags/{dag_id}/dagRuns/{quote(run_id)}"

    def state(self) -> str:
        """Return the state of the run."""
        return str(self.api.call("GET", self._path)["state"])

    def tasks(self) -> list[dict[str, Any]]:
        """Return the task instances as the API describes them: `task_id`, `state`, `try_number`, ..."""
        tasks: list[dict[str, Any]] = []
        while True:
            # At most 100 at once.
            path = f"{self._path}/taskInstances?limit=100&offset={len(tasks)}"
            page = self.api.call("GET", path)
            tasks += page["task_instances"]
            if len(tasks) >= page["total_entries"] or not page["task_instances"]:
                return sorted(tasks, key=lambda task: (task["start_date"] or "~", task["task_id"]))

    def task(self, task_id: str) -> dict[str, Any]:
        """Return one task instance as the API describes it."""
        return dict(self.api.call("GET", f"{self._path}/taskInstances/{task_id}"))

    def task_states(self) -> dict[str, str | None]:
        """Return the state of each task, None before it was scheduled; a mapped task's last instance."""
        return {task["task_id"]: task["state"] for task in self.tasks()}

    def wait(self, *, within: float) -> str:
        """Wait until the run has ended and return its state."""
        return until(
            lambda: _only_if(self.state(), ENDED_RUN_STATES), within=within, what=f"the end of {self.dag_id}"
        )

    def wait_for_task(self, task_id: str, *states: str, within: float) -> str:
        """Wait until a task is in one of the states and return which."""
        what = f"{self.dag_id}.{task_id} to be {' or '.join(states)}"
        return until(lambda: _only_if(self.task_states()[task_id], states), within=within, what=what)

    def set_task_state(self, task_id: str, state: str) -> None:
        """Mark a task `success` or `failed`, as the buttons of the UI do."""
        body: dict[str, object] = {"new_state": state}
        if self.api.version == 2:
            body["dry_run"] = False
        self.api.call("PATCH", f"{self._path}/taskInstances/{task_id}", body)

    def set_state(self, state: str) -> None:
        """Mark the whole run `success` or `failed`."""
        self.api.call("PATCH", self._path, {"state": state})

    def clear(self, *task_ids: str) -> None:
        """Clear tasks, so that they run again."""
        body: dict[str, object] = {"dag_run_id": self.run_id, "task_ids": task_ids, "reset_dag_runs": True}
        body.update(dry_run=False, only_failed=False)
        self.api.call("POST", f"/dags/{self.dag_id}/clearTaskInstances", body)

    def log(self, task_id: str, *, try_number: int = 1) -> str:
        """Return the log of a task's try as text, one event a line."""
        path = f"{self._path}/taskInstances/{task_id}/logs/{try_number}?full_content=true"
        if self.api.version == 2:
            return str(self.api.call("GET", path, accept="text/plain"))
        content = self.api.call("GET", path)["content"]
        return "\n".join(_line(event) for event in content)

    def error(self, task_id: str, *, try_number: int = 1) -> str:
        """Return the first line of the exception that a task's try logged last; empty if there is none."""
        path = f"{self._path}/taskInstances/{task_id}/logs/{try_number}?full_content=true"
        errors = [
            error
            for event in self.api.call("GET", path)["content"]
            for error in event.get("error_detail") or []
        ]
        return f"{errors[-1]['exc_type']}: {errors[-1]['exc_value']}".splitlines()[0] if errors else ""

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        """Return a value that a task pushed."""
        return self.api.call("GET", f"{self._path}/taskInstances/{task_id}/xcomEntries/{key}")["value"]

    def links(self, task_id: str) -> dict[str, str]:
        """Return the URLs of a task's buttons, as the UI gets them, without those that have none."""
        reply = self.api.call("GET", f"{self._path}/taskInstances/{task_id}/links")
        return {name: url for name, url in reply.get("extra_links", reply).items() if url}


def _line(event: Mapping[str, Any]) -> str:
    """Return a log event, and the exceptions that it reports, as text."""
    raised = [f"{error['exc_type']}: {error['exc_value']}" for error in event.get("error_detail") or []]
    return " ".join(filter(None, [event.get("level"), event["event"], *raised]))


def _only_if(state: str | None, wanted: Collection[str]) -> str | None:
    return state if state in wanted else None


def _send(request: Request) -> Any:
    try:
        with _DIRECT.open(request, timeout=60) as response:
            text = response.read().decode()
            is_json = response.headers.get_content_type() == "application/json"
    except HTTPError as error:
        reply = error.read().decode(errors="replace")
        error.msg = f"{error.msg} ({request.get_method()} {request.full_url}): {reply}"
        raise
    return json.loads(text) if is_json and text else text
