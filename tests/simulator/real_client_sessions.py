"""
Calls of real clients, made in an environment of their own and told as JSON; see ``test_real_clients.py``.

Reads ``{"client": "aws" or "graph-notebook", "port": ..., "iam_auth": ..., "calls": [...]}`` from standard
input. A call is a list of words for the AWS CLI, or ``[method, arguments]`` of graph-notebook's client.
Writes a list of ``[exit code or HTTP status, output]``.
"""

import contextlib
import io
import json
import sys
import warnings
from importlib import import_module
from typing import Any


def call_aws(settings: dict[str, Any]) -> list[list[Any]]:
    """Run AWS CLI commands, in one process because each would take a second to start."""
    create_clidriver = import_module("awscli.clidriver").create_clidriver
    common = [
        "neptunedata",
        "--endpoint-url",
        f"http://127.0.0.1:{settings['port']}",
        "--region",
        "us-east-1",
    ]
    if not settings["iam_auth"]:
        common.append("--no-sign-request")
    results = []
    for words in settings["calls"]:
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = create_clidriver().main([common[0], words[0], *common[1:], *words[1:]])
        out.seek(0)
        results.append([code, out.read() + err.getvalue()])
    return results


def call_graph_notebook(settings: dict[str, Any]) -> list[list[Any]]:
    """Call methods of graph-notebook's Neptune client."""
    from botocore.session import get_session

    builder = (
        import_module("graph_notebook.neptune.client")
        .ClientBuilder({})
        .with_host("127.0.0.1")
        .with_port(settings["port"])
        .with_tls(False)
    )
    builder = builder.with_region("us-east-1")
    if settings["iam_auth"]:
        builder = builder.with_iam(get_session())
    client = builder.build()
    results = []
    for method, arguments in settings["calls"]:
        response = getattr(client, method)(**arguments)
        results.append([response.status_code, response.text])
    client.close()
    return results


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    given = json.load(sys.stdin)
    call = {"aws": call_aws, "graph-notebook": call_graph_notebook}[given["client"]]
    json.dump(call(given), sys.stdout)
