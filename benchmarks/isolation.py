"""Each measurement in a fresh process: nothing imported, cached or fragmented by the one before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def run_probe(name: str, connections: Mapping[str, str], **arguments: Any) -> dict[str, float]:
    """
    Run a probe in a process of its own and return its figures.

    :param name: the name of its function in :mod:`benchmarks.start_probes` or ``poll_probes``.
    :param connections: the environment variables with the Airflow connections.
    :param arguments: its arguments, as far as JSON goes.
    """
    # Nothing of the user's own Airflow or AWS account.
    env = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW_", "AWS_"))}
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", __name__, name],
            env={**env, **connections, "AIRFLOW_HOME": home, "AWS_EC2_METADATA_DISABLED": "true"},
            input=json.dumps(arguments),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"The probe {name} failed:\n{done.stdout[-2000:]}{done.stderr[-6000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Run one probe in this process, with logs made as in a triggerer, and thrown away."""
    from airflow.sdk.log import configure_logging

    from benchmarks import poll_probes, start_probes

    with open(os.devnull, "wb") as nowhere:
        configure_logging(json_output=True, output=nowhere, sending_to_supervisor=True)
        module = start_probes if hasattr(start_probes, sys.argv[1]) else poll_probes
        figures = getattr(module, sys.argv[1])(**json.load(sys.stdin))
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
