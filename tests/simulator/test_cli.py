"""The command line, in a process of its own."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import psutil
import pytest

from airflow_provider_neptune_ml.simulator import Credential, Simulator
from tests.simulator.cli import MODULE, running, url_in

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulator.conftest import ClientMaker


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_with_success(number: signal.Signals) -> None:
    """A polite signal ends it promptly, with exit code 0 and no traceback."""
    with running() as (process, banner):
        urlopen(f"{url_in(banner)}/ml/endpoints").read()
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)

        assert process.returncode == 0
        assert "Traceback" not in errors
        logged = json.loads(errors)
        assert (logged["operation"], logged["status"]) == ("ListMLEndpoints", 200)


def test_banner_has_what_one_pastes() -> None:
    """The banner has the URI, and a line for the shell whose value Airflow takes."""
    with running("--region", "eu-west-1") as (_, banner):
        port = url_in(banner).rpartition(":")[2]
        assert f"neptune-ml://127.0.0.1:{port}/http?iam_auth=false&region_name=eu-west-1" in banner
        exported = subprocess.run(
            ["sh", "-c", f'{banner.splitlines()[4]}; printf %s "$AIRFLOW_CONN_NEPTUNE_ML_DEFAULT"'],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        connection = json.loads(exported)
        assert connection["conn_type"] == "neptune_ml"
        url = connection["extra"].pop("export_api_url")
        assert url == f"http://127.0.0.1:{connection['port']}/v1/neptune-export"
        assert connection["extra"] == {
            "iam_auth": False,
            "region_name": "eu-west-1",
            "export_iam_auth": False,
        }


def test_flags_reach_the_cluster(tmp_path: Path) -> None:
    """Clock, durations, state file, shape of "not found", identity: each flag does what it says."""
    state = tmp_path / "state"
    flags = (
        "--clock",
        "manual",
        "--duration",
        "endpoints.endpoint=5",
        "--state",
        str(state),
        "--not-found",
        "400",
    )
    with running(*flags) as (_, banner):
        assert _status(f"{url_in(banner)}/ml/endpoints/nobody") == 400
        _post(f"{url_in(banner)}/_simulator/seed", kind="endpoints", id="one", status="Creating")
        _post(f"{url_in(banner)}/_simulator/advance", seconds=5)
        with urlopen(f"{url_in(banner)}/ml/endpoints/one") as response:
            assert json.load(response)["status"] == "InService"

    with running("--state", str(state), "--no-default-role", "--no-access-log") as (_, banner):
        assert _status(f"{url_in(banner)}/ml/endpoints/one") == 400
        assert _status(f"{url_in(banner)}/ml/endpoints/one?neptuneIamRoleArn=arn") == 200


def test_kill_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    """After SIGKILL in the middle of changes, whatever was answered is there again."""
    flags = ("--state", str(tmp_path / "state"), "--no-access-log")
    answered: list[str] = []
    enough = threading.Event()

    def seed_until_killed(worker: int) -> None:
        for number in itertools.count():
            try:
                _post(f"{url}/_simulator/seed", kind="endpoints", id=f"e-{worker}-{number}")
            except (OSError, HTTPException):
                return
            answered.append(f"e-{worker}-{number}")
            if len(answered) > 100:
                enough.set()

    with running(*flags) as (process, banner), ThreadPoolExecutor(4) as pool:
        url = url_in(banner)
        done = [pool.submit(seed_until_killed, worker) for worker in range(4)]
        assert enough.wait(60)
        process.kill()
        for one in done:
            one.result()
    with running(*flags) as (_, banner), urlopen(f"{url_in(banner)}/ml/endpoints?maxItems=1024") as response:
        assert set(answered) <= set(json.load(response)["ids"])


def test_kill_does_not_turn_time_back(tmp_path: Path) -> None:
    """A job that was answered as completed still is after SIGKILL, also when time runs fast."""
    flags = ("--state", str(tmp_path / "state"), "--no-access-log")
    with running(*flags, "--speed", "100000") as (_, banner):
        _post(f"{url_in(banner)}/_simulator/seed", kind="endpoints", id="one", status="Creating")
        while _endpoint_status(banner, "one") != "InService":
            pass
    with running(*flags, "--clock", "manual") as (_, banner):
        assert _endpoint_status(banner, "one") == "InService"


def test_two_processes_on_one_state_file(tmp_path: Path) -> None:
    """A second process on a state file is refused in one line that names it, until the first is killed."""
    state = str(tmp_path / "state")
    with running("--state", state) as (_, banner):
        done = _run("--state", state, "--port", "0")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"simulator: state_file={state!r}: another simulator uses it")
        assert done.stderr.count("\n") == 1
        _post(f"{url_in(banner)}/_simulator/seed", kind="endpoints", id="one")
    with running("--state", state) as (_, banner):
        assert _endpoint_status(banner, "one") == "InService"


def test_two_processes_after_a_copy(tmp_path: Path) -> None:
    """The file stays the first process's when that one opens and closes it, as a backup does."""
    path = tmp_path / "state"
    with Simulator(state_file=str(path)) as simulator:
        simulator.seed("endpoints", "one")
        path.read_bytes()  # ends the locks that a process has by fcntl, which are SQLite's
        done = _run("--state", str(path), "--port", "0")
        simulator.seed("endpoints", "two")

    assert (done.returncode, done.stdout) == (2, "")
    assert "another simulator uses it" in done.stderr
    with running("--state", str(path)) as (_, banner):
        assert [_endpoint_status(banner, id_) for id_ in ("one", "two")] == ["InService", "InService"]


def test_one_of_two_processes_at_the_same_moment(tmp_path: Path) -> None:
    """Of simulators that are started on one state file at the same moment, one gets it."""
    command = [sys.executable, "-m", MODULE, "--port", "0", "--state", str(tmp_path / "state")]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(3)
    ]
    try:
        banners = [process.stdout.readline() for process in processes if process.stdout]
        assert sorted(map(bool, banners)) == [False, False, True]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_change_costs_the_same_however_many_jobs(tmp_path: Path) -> None:
    """What is written to keep a change does not grow with the number of resources."""
    with running("--state", str(tmp_path / "state"), "--no-access-log") as (process, banner):
        url = f"{url_in(banner)}/_simulator"
        counters = psutil.Process(process.pid)

        def written_for(numbers: range) -> int:
            before = counters.io_counters().write_chars
            for number in numbers:
                _post(f"{url}/seed", kind="endpoints", id=f"e-{number}", status="Creating")
                _post(f"{url}/finish", kind="endpoints", id=f"e-{number}")
                _post(f"{url}/advance", seconds=1)
            return int(counters.io_counters().write_chars - before)

        few = written_for(range(50))
        written_for(range(50, 450))
        assert written_for(range(450, 500)) < 2 * few


def test_iam_auth_takes_keys_from_the_environment() -> None:
    """With --iam-auth the keys come from the environment, and the secret isn't printed."""
    keys = {"AWS_ACCESS_KEY_ID": "AKIAMINE", "AWS_SECRET_ACCESS_KEY": "my-secret"}
    with running("--iam-auth", **keys) as (process, banner):
        assert process.stdout
        assert "AKIAMINE" in process.stdout.readline()
        assert "my-secret" not in banner
        assert _status(f"{url_in(banner)}/ml/endpoints") == 403


def test_empty_session_token_is_none(make_client: ClientMaker) -> None:
    """An AWS_SESSION_TOKEN that is set to nothing means that the keys have no token."""
    keys = {"AWS_ACCESS_KEY_ID": "AKIAMINE", "AWS_SECRET_ACCESS_KEY": "my-secret", "AWS_SESSION_TOKEN": ""}
    with running("--iam-auth", **keys) as (_, banner):
        there = Simulator(port=int(url_in(banner).rpartition(":")[2]))  # never started: it tells the URL
        client = make_client(there, Credential("AKIAMINE", "my-secret"))
        assert client.list_ml_endpoints()["ids"] == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--host", "0.0.0.0"], "simulator: host='0.0.0.0': other machines could reach it"),
        (["--host", "192.0.2.1", "--allow-remote"], "simulator: can't listen on 192.0.2.1 port 8182: "),
        (["--speed", "nan"], "simulator: speed=nan: must be a valid float"),
        (["--appears-after", "-1"], "simulator: appears_after=-1.0: must not be negative"),
        (
            ["--duration", "endpoints.endpoint=nan"],
            "simulator: durations={'endpoints': {'endpoint': nan}}: must",
        ),
        (["--speed", "0"], "simulator: speed=0.0: must be more than 0"),
        (["--duration", "x"], "simulator: --duration x: must be KIND.STAGE=SECONDS"),
        (["--port", "99999"], "simulator: can't listen on 127.0.0.1 port 99999: "),
        (["--ssl-certfile", "/nowhere.pem"], "simulator: can't read /nowhere.pem: No such file or directory"),
        (
            ["--state", "/nowhere/state"],
            "simulator: state_file='/nowhere/state': there is no such folder",
        ),
        (["--state", __file__], f"simulator: state_file={__file__!r}: not a state of this simulator"),
        (["--state", "/"], "simulator: state_file='/': can't be used (Is a directory)"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], text: str) -> None:
    """A mistake is one line on standard error that names it, and exit code 2."""
    done = _run(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(text)
    assert done.stderr.count("\n") == 1


def test_port_in_use_is_one_line() -> None:
    """A port that is taken is named."""
    with running() as (_, banner):
        port = url_in(banner).rpartition(":")[2]
        done = _run("--port", port)

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr == f"simulator: can't listen on 127.0.0.1 port {port}: Address already in use\n"


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_the_extra(missing: str) -> None:
    """Without the extra it says in one line what to install."""
    code = (
        "import importlib.util, runpy, sys\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: {missing!r} != name and find(name, *rest) or None\n"
        f"sys.argv = ['simulator']\nrunpy.run_module({MODULE!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr == (
        f"simulator: the simulator needs {missing}: pip install 'airflow-provider-neptune-ml[simulator]'\n"
    )


@pytest.mark.parametrize("module", [MODULE, f"{MODULE}.pytest_plugin"])
def test_importing_the_package_is_cheap(module: str) -> None:
    """Neither package nor pytest plugin imports a web server, botocore or Airflow before it is used."""
    heavy = ("starlette", "uvicorn", "botocore", "boto3", "airflow")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", MODULE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def _status(url: str) -> int:
    from urllib.error import HTTPError

    try:
        with urlopen(url) as response:
            status: int = response.status
            return status
    except HTTPError as error:
        with error:
            return error.code


def _endpoint_status(banner: str, id_: str) -> str:
    with urlopen(f"{url_in(banner)}/ml/endpoints/{id_}") as response:
        status: str = json.load(response)["status"]
        return status


def _post(url: str, **arguments: Any) -> None:
    from urllib.request import Request

    body = json.dumps(arguments).encode()
    with urlopen(Request(url, data=body, headers={"Content-Type": "application/json"})):
        pass
