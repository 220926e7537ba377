"""One probe in this process, with logs made as in a triggerer and thrown away; see `isolation`."""

from __future__ import annotations

import json
import os
import sys

from airflow.sdk.log import configure_logging

from benchmarks import poll_probes, start_probes


def main() -> None:
    """Run the probe that the command line names, with the arguments from the standard input."""
    with open(os.devnull, "wb") as nowhere:
        configure_logging(json_output=True, output=nowhere, sending_to_supervisor=True)
        module = start_probes if hasattr(start_probes, sys.argv[1]) else poll_probes
        figures = getattr(module, sys.argv[1])(**json.load(sys.stdin))
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
