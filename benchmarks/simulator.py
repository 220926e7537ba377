"""
Measure the simulator: GETs a second on one core, and its memory over 100,000 requests.

``python benchmarks/simulator.py`` runs the simulator, and as a peer the least that Starlette on uvicorn can
do (one route that answers the same JSON), each in a process of its own on one core, and asks both from
another core in turns. The ratio is the figure to compare between machines. Exits with 1 when the simulator is
in its best round slower than 1,500 GETs a second or keeps more than 1,000 objects. Live objects are counted
after a garbage collection; resident memory is reported beside them, but moves with the collector: uvicorn
makes a reference cycle for each request.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import socket
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.kinds import MODEL_TRAINING
from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.simulator.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from starlette.requests import Request

CONNECTIONS = 16
LEAST_GETS_PER_SECOND = 1500
MOST_NEW_OBJECTS = 1000
PATH = f"/ml/{MODEL_TRAINING.name}/benchmark"


def serve_simulator(pipe: Connection, iam_auth: bool) -> None:
    """Run the simulator with one training job at work until the pipe says stop."""
    _use_core(0)
    with Simulator(iam_auth=iam_auth) as simulator:
        simulator.seed(MODEL_TRAINING.name, "benchmark", MODEL_TRAINING.statuses.running)
        pipe.send((simulator.port, simulator.describe(MODEL_TRAINING.name, "benchmark")))
        _serve_until_stopped(pipe)


def serve_peer(pipe: Connection, reply: dict[str, Any]) -> None:
    """Run a bare Starlette application that answers the same reply until the pipe says stop."""
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def answer(_request: Request) -> JSONResponse:
        return JSONResponse(reply)

    _use_core(0)
    listener = Listener("127.0.0.1", 0)
    listener.start(Starlette(routes=[Route("/ml/modeltraining/{id}", answer)]))
    pipe.send((listener.port, reply))
    _serve_until_stopped(pipe)
    listener.stop()


@contextmanager
def running(target: Any, argument: Any) -> Iterator[tuple[Connection, int, dict[str, Any]]]:
    """Run a server in a process of its own; yield the pipe to it, its port and the reply it gives."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    process = context.Process(target=target, args=(its, argument))
    process.start()
    try:
        port, reply = mine.recv()
        yield mine, port, reply
        mine.send("stop")
    finally:
        process.join(10)
        process.kill()


def gets_per_second(port: int, count: int) -> float:
    """Ask for the job over keep-alive connections and return how many answers came in a second."""
    request = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: benchmark\r\n\r\n".encode()
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    size = _ask(connections[0], request)
    started = time.perf_counter()
    for _ in range(count // CONNECTIONS):
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            _read(connection, size)
    seconds = time.perf_counter() - started
    for connection in connections:
        connection.close()
    return count // CONNECTIONS * CONNECTIONS / seconds


def main() -> int:
    """Measure, print the figures, and judge them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--requests", type=int, default=100_000, help="GETs in all (default: 100000)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of simulator and peer (default: 5)")
    arguments = parser.parse_args()
    _use_core(1)
    count = arguments.requests // arguments.rounds
    ours, peers = [], []
    with (
        running(serve_simulator, False) as (pipe, port, reply),
        running(serve_peer, reply) as (_, peer_port, _),
    ):
        gets_per_second(port, 5_000)  # fills the journal, so that what grows afterwards is a leak
        objects, mib = _weigh(pipe)
        for _ in range(arguments.rounds):
            ours.append(gets_per_second(port, count))
            peers.append(gets_per_second(peer_port, count // 4))
        later_objects, later_mib = _weigh(pipe)
    best, peer = max(ours), max(peers)
    print(f"simulator: {best:,.0f} GETs/s (rounds: {', '.join(f'{rate:,.0f}' for rate in ours)})")
    print(f"bare Starlette JSON route: {peer:,.0f} GETs/s; ratio {best / peer:.2f}")
    print(
        f"after {arguments.requests:,} requests: {later_objects - objects:+,} live objects (of {objects:,}), "
        f"{mib:.1f} -> {later_mib:.1f} MiB resident"
    )
    return 0 if best >= LEAST_GETS_PER_SECOND and later_objects - objects <= MOST_NEW_OBJECTS else 1


def _ask(connection: socket.socket, request: bytes) -> int:
    """Ask once, and return how many bytes an answer has."""
    connection.sendall(request)
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1)
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(head.decode(errors="replace"))
    body_size = int(head.lower().partition(b"content-length:")[2].split()[0])
    _read(connection, body_size)
    return len(head) + body_size


def _read(connection: socket.socket, size: int) -> None:
    while size > 0:
        chunk = connection.recv(1 << 16)
        if not chunk:
            raise RuntimeError("the server closed the connection")
        size -= len(chunk)


def _serve_until_stopped(pipe: Connection) -> None:
    """Tell the number of live objects and the resident memory as often as the pipe asks."""
    while pipe.recv() == "weigh":
        gc.collect()
        with open("/proc/self/statm") as file:
            mib = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        pipe.send((len(gc.get_objects()), mib))


def _weigh(pipe: Connection) -> tuple[int, float]:
    pipe.send("weigh")
    objects, mib = pipe.recv()
    return objects, mib


def _use_core(number: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[number % len(cores)]})


if __name__ == "__main__":
    sys.exit(main())
