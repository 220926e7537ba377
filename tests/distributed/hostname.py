"""A name for each process: as if every component of Airflow had a machine of its own."""

from __future__ import annotations

import os

VARIABLE = "NEPTUNE_ML_TESTS_HOSTNAME"


def own_hostname() -> str:
    """Return the name that the harness has given this process, for Airflow's `hostname_callable`."""
    return os.environ[VARIABLE]
