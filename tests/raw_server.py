"""A server of a few lines for replies that the simulator can't give."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

# What to answer to a request, given how many its connection had before, and all had before; None: hang up.
Answer = Callable[[bytes, int, int], "bytes | None"]


def reply(status: int, body: object, **headers: str) -> bytes:
    """Return a reply whose body is the given bytes, or the JSON of anything else."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


@contextmanager
def serve(answer: Answer | bytes, certificate: Path | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """Answer requests, and yield the port and the requests."""
    requests: list[bytes] = []
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    def talk(plain: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(plain, server_side=True) if context else plain as client:
            before = 0
            while request := _read(client):
                requests.append(request)
                said = answer if isinstance(answer, bytes) else answer(request, before, len(requests) - 1)
                if said is None:
                    return
                client.sendall(said)
                if b"\r\nConnection: close" in said:
                    return
                before += 1

    def accept() -> None:
        threads = []
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                client.settimeout(60)
                threads.append(Thread(target=talk, args=(client,), daemon=True))
                threads[-1].start()

    listening: Any = socket.create_server(("127.0.0.1", 0))
    thread = Thread(target=accept)
    thread.start()
    try:
        yield listening.getsockname()[1], requests
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        listening.close()


def _read(client: socket.socket) -> bytes:
    """Return a request without its body, or nothing at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (part := client.recv(65536)):
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [
        line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    ]
    left = int(lengths[0]) - len(body) if lengths else 0
    while left > 0:
        left -= len(client.recv(65536))
    return head
