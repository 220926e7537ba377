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

Figures = dict[str, float]


def run_probe(name: str, connections: Mapping[str, str], **arguments: Any) -> Figures:
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
            [sys.executable, "-m", "benchmarks.probe", name],
            env={**env, **connections, "AIRFLOW_HOME": home, "AWS_EC2_METADATA_DISABLED": "true"},
            input=json.dumps(arguments),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"The probe {name} failed:\n{done.stdout[-2000:]}{done.stderr[-6000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures
