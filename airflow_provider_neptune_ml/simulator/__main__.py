"""Run the simulator from the command line: ``python -m airflow_provider_neptune_ml.simulator``."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import ssl
import sys
import threading
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.simulator.auth import EXAMPLE_CREDENTIAL, Credential
from airflow_provider_neptune_ml.simulator.intake import read_json
from airflow_provider_neptune_ml.simulator.server import Simulator
from airflow_provider_neptune_ml.simulator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_PORT = 8182
_EXIT_UNUSABLE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    given = _build_parser().parse_args(arguments)
    if given.access_log:
        _log_requests()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        simulator = _build_simulator(given)
        simulator.start()
    except (ModuleNotFoundError, OSError, OverflowError, ValueError) as error:
        print(f"simulator: {_explain(error, given)}", file=sys.stderr)
        return _EXIT_UNUSABLE
    try:
        print(_banner(simulator), flush=True)
        stopped.wait()
    finally:
        simulator.stop()
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_neptune_ml.simulator",
        description="A local stand-in for a Neptune cluster's ML endpoint.",
    )
    add = parser.add_argument
    add("--host", default=Settings.host, help="address to listen on (default: %(default)s)")
    add(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help="port to listen on, 0 for a free one (default: %(default)s)",
    )
    add("--allow-remote", action="store_true", help="listen on an address that other machines can reach")
    add(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name by which clients may call it; may be repeated",
    )
    add("--ssl-certfile", metavar="FILE", help="PEM certificate chain: speak HTTPS")
    add("--ssl-keyfile", metavar="FILE", help="PEM private key, if it isn't in the certificate's file")
    add(
        "--clock",
        choices=("real", "manual"),
        default="real",
        help="manual: time is stopped until it is advanced",
    )
    add(
        "--speed", type=float, default=1.0, metavar="N", help="simulated seconds per real second (default: 1)"
    )
    add(
        "--duration",
        action="append",
        default=[],
        metavar="KIND.STAGE=SECONDS",
        help="simulated seconds of a stage, e.g. modeltraining.hpoJob=60; may be repeated",
    )
    add("--region", default=Settings.region, help="AWS region (default: %(default)s)")
    add(
        "--iam-auth",
        action="store_true",
        help="verify SigV4 signatures by the keys in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
        "AWS_SESSION_TOKEN; without these by the example keys of AWS's documentation",
    )
    add(
        "--not-found",
        choices=("404", "400"),
        default="404",
        help="how an unknown id is answered (default: 404)",
    )
    add("--lists", choices=("all", "active"), default="all", help="what the lists hold (default: all)")
    add("--no-default-role", action="store_true", help="require neptuneIamRoleArn in every request")
    add(
        "--allowed-role",
        action="append",
        metavar="ARN",
        help="accept only this neptuneIamRoleArn; may be repeated",
    )
    add(
        "--appears-after",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="a fresh id isn't found for so long",
    )
    add(
        "--training-job-name",
        action="append",
        default=[],
        metavar="NAME",
        help="a finished SageMaker training job that transforms may name; may be repeated",
    )
    add(
        "--query-result",
        type=_read_list,
        metavar="JSON",
        help="what Gremlin queries are answered, a JSON list, unless scripted otherwise",
    )
    add("--state", metavar="FILE", help="keep the resources in this file over a restart")
    add("--journal-size", type=int, default=1000, metavar="N", help="requests to remember (default: 1000)")
    add(
        "--aws-endpoint-url",
        metavar="URL",
        help="write each stage's log, a trained model's metrics and the configuration of a training to "
        "CloudWatch Logs and S3 there, such as moto's server",
    )
    add(
        "--no-access-log",
        dest="access_log",
        action="store_false",
        help="don't log requests to standard error",
    )
    return parser


def _build_simulator(given: argparse.Namespace) -> Simulator:
    return Simulator(
        host=given.host,
        port=given.port,
        allow_remote=given.allow_remote,
        allowed_hosts=given.allowed_host,
        ssl_certfile=given.ssl_certfile,
        ssl_keyfile=given.ssl_keyfile,
        clock=given.clock,
        speed=given.speed,
        durations=_read_durations(given.duration),
        region=given.region,
        iam_auth=given.iam_auth,
        credentials=(_read_credential(),),
        not_found=given.not_found,
        lists=given.lists,
        default_role=not given.no_default_role,
        allowed_roles=given.allowed_role,
        appears_after=given.appears_after,
        training_job_names=given.training_job_name,
        query_result=given.query_result,
        state_file=given.state,
        journal_size=given.journal_size,
        aws_endpoint_url=given.aws_endpoint_url,
    )


def _read_durations(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    durations: dict[str, dict[str, float]] = {}
    for text in texts:
        name, _, seconds = text.partition("=")
        kind, _, stage = name.partition(".")
        try:
            durations.setdefault(kind, {})[stage] = float(seconds)
        except ValueError:
            raise ValueError(f"--duration {text}: must be KIND.STAGE=SECONDS") from None
    return durations


def _read_list(text: str) -> list[Any]:
    value = read_json(text)
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value


def _read_credential() -> Credential:
    # From the environment: a secret on a command line is everybody's to read.
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret:
        return EXAMPLE_CREDENTIAL
    return Credential(key, secret, os.environ.get("AWS_SESSION_TOKEN") or None)


def _explain(error: Exception, given: argparse.Namespace) -> str:
    address = f"{given.host} port {given.port}"
    if isinstance(error, OverflowError):
        return f"can't listen on {address}: a port is a number from 0 to 65535"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        problem = os.strerror(error.errno) if error.errno else str(error)
        return (
            f"can't read {error.filename}: {problem}"
            if error.filename
            else f"can't listen on {address}: {problem}"
        )
    return str(error)


def _banner(simulator: Simulator) -> str:
    lines = [
        f"Neptune ML simulator on {simulator.url} (status page: {simulator.url}/)",
        "Airflow connection:",
        f"  {simulator.connection_uri}",
        "or, for the default connection id, in the environment of Airflow:",
        f"  export AIRFLOW_CONN_NEPTUNE_ML_DEFAULT='{json.dumps(simulator.connection)}'",
    ]
    if simulator.iam_auth:
        lines.append(f"Requests must be signed by {simulator.credentials[0].access_key}.")
    return "\n".join(lines)


def _log_requests() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("airflow_provider_neptune_ml.simulator.access")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


if __name__ == "__main__":
    sys.exit(main())
