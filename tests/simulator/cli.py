"""The command line of the simulator, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULE = "airflow_provider_neptune_ml.simulator"


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the CLI on a free port; yield the process and its banner."""
    # Botocore of the lowest versions calls what Python 3.12 has deprecated.
    warnings = ("-W", "error", "-W", "ignore:datetime.datetime.utcnow")
    process = subprocess.Popen(
        [sys.executable, *warnings, "-m", MODULE, "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout
    banner = "".join(process.stdout.readline() for _ in range(5))
    try:
        yield process, banner
    finally:
        process.kill()
        process.communicate()


def url_in(banner: str) -> str:
    """The URL in a banner."""
    found = re.search(r"https?://\S+", banner)
    assert found, banner
    return found.group()
