"""Limits of what a reply may cost: memory, and time, which botocore limits for each packet alone."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError, ResponseStreamingError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import ProtocolError
from urllib3.exceptions import ReadTimeoutError as SilenceError

T = TypeVar("T")

# The replies of Neptune ML have some kilobytes.
_LONGEST_REPLY_BYTES = 4_000_000
_LONGEST_REPLY_SECONDS = 60.0
# Small: until a part is complete, the time is not looked at.
_PART_BYTES = 64


class _TimedStream(RawIOBase):
    """What a socket receives; reading from it fails when its time has passed, however little is missing."""

    def __init__(self, stream: RawIOBase, seconds: float | None) -> None:
        self._stream = stream
        self.until = math.inf if seconds is None else time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count: int | None = self._stream.readinto(buffer)
        if time.monotonic() >= self.until:
            raise TimeoutError("timed out")
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class TimedResponse(HTTPResponse):
    """A response whose headers arrive within the read time-out, which otherwise counts for each packet."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._stream = _TimedStream(self.fp.detach(), sock.gettimeout())
        self.fp = BufferedReader(self._stream)

    def begin(self) -> None:
        """Read the headers."""
        super().begin()
        # The body is the caller's, which may take long.
        self._stream.until = math.inf


class ReplyTooLongError(ResponseParserError):
    """A reply has more bytes than are read."""


class _Session(Protocol):
    def send(self, request: AWSPreparedRequest) -> AWSResponse: ...

    def close(self) -> None: ...


class _Body:
    """A body that was read, as botocore reads one."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content


class _BoundedSession:
    """A client's HTTP session that gives up replies which are too long, to requests below a path."""

    def __init__(self, session: _Session, path: str, longest: int, seconds: float, part: int) -> None:
        self._session = session
        self._path = path
        self._longest = longest
        self._seconds = seconds
        self._part = part

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        if not urlsplit(request.url).path.startswith(self._path):
            # The client's other operations may answer with as much as a user asks for.
            return self._session.send(request)
        # Or the session reads it all.
        request.stream_output = True
        response: Any = self._session.send(request)
        try:
            content = _read(response.raw, request.url, self._longest, self._seconds, self._part)
        except (ReadTimeoutError, ResponseParserError):
            response.raw.close()
            raise
        # What the session makes of them where it reads itself: botocore repeats such requests.
        except SilenceError as error:
            raise ReadTimeoutError(endpoint_url=request.url, error=error) from error
        except ProtocolError as error:
            raise ConnectionClosedError(endpoint_url=request.url, request=request, error=error) from error
        except Exception as error:  # others of urllib3 and http.client
            raise ResponseStreamingError(error=error) from error
        return AWSResponse(response.url, response.status_code, response.headers, _Body(content))

    def close(self) -> None:
        self._session.close()


def bound_replies(
    client: Any,
    path: str,
    longest: int = _LONGEST_REPLY_BYTES,
    seconds: float = _LONGEST_REPLY_SECONDS,
    part: int = _PART_BYTES,
) -> None:
    """
    Have a client give up replies that are too long.

    :param client: the client.
    :param path: how the paths of the requests begin that it is about.
    :param longest: how many bytes are too many.
    :param seconds: how long a body may take.
    :param part: how many are read before the time is looked at.
    """
    session = client._endpoint.http_session
    client._endpoint.http_session = _BoundedSession(session, path, longest, seconds, part)


def _read(raw: Any, url: str, longest: int, seconds: float, part_bytes: int) -> bytes:
    parts, size, until = [], 0, time.monotonic() + seconds
    for part in raw.stream(part_bytes):
        parts.append(part)
        size += len(part)
        if size > longest:
            raise ReplyTooLongError(f"more than {longest} bytes")
        if time.monotonic() >= until:
            raise ReadTimeoutError(endpoint_url=url)
    return b"".join(parts)


def within(seconds: float, call: Callable[[], T], url: str) -> T:
    """
    Return what a call returns, which is waited for no longer than so many seconds.

    In a thread of its own: whatever the server does, it can't hold up the caller.

    :param seconds: how long.
    :param call: sends a request.
    :param url: where to, for the error.
    :raises ReadTimeoutError: there was no answer by then.
    """
    # Airflow's signal handlers raise in the middle of what waits: a lock of Python's own, which a Future has,
    # may be lost then, and its RuntimeError would stand in the place of the time-out.
    answers: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # whatever it is, the caller gets it
            answers.put((None, error))

    threading.Thread(target=run, name="neptune-ml", daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except Empty:
        raise ReadTimeoutError(endpoint_url=url) from None
    if error:
        raise error
    return cast("T", answer)
