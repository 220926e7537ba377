"""Processes that are owned: all that they start can be found, killed and proved gone, however this one ends.

Each owned process leads a session of its own. Airflow forks freely and changes process groups, but not
sessions: these tell which processes belong together even after their parent died.

Run as a script, this file is the guardian: see :class:`Guardian`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

GRACE_SECONDS = 10.0


def members(session: int) -> list[psutil.Process]:
    """Return the living processes of a session and their descendants."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if process.pid == session or os.getsid(process.pid) == session:
                # The descendants too: what a shell command of a task starts may lead its own session.
                found.update([process, *process.children(recursive=True)])
    return [process for process in found if _is_alive(process)]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill(sessions: Iterable[int]) -> None:
    """Kill all members of the sessions at once and wait until they are gone.

    :raises RuntimeError: if one of them survives.
    """
    # A process may fork between the look and the kill, hence more than one round.
    for _ in range(5):
        left = [process for session in sessions for process in members(session)]
        if not left:
            return
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=GRACE_SECONDS)
    raise RuntimeError(f"These processes can't be killed: {left}")


class Guardian:
    """A process that kills the sessions it was told of when this process dies without doing so.

    It notices by the end of its standard input, which the kernel closes even after a SIGKILL.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def watch(self, session: int) -> None:
        """Add a session to those that must not outlive this process."""
        assert self._process.stdin
        self._process.stdin.write(f"{session}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Kill what is left of the sessions and end the guardian."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


class OwnedProcess:
    """A command that runs in its own session and logs to a file.

    :param name: The name for messages and of the log file.
    :param command: The program and its arguments.
    :param env: Its whole environment.
    :param log: The file that takes its output, appended to on a restart.
    :param guardian: Who kills it when nobody else can.
    :param cwd: The folder that it runs in (default: this process's own).
    :param user: The id of the user that it runs as, which only root can choose (default: who runs this).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        guardian: Guardian,
        cwd: Path | None = None,
        user: int | None = None,
    ) -> None:
        self.name = name
        self.command = command
        self.env = env
        self.log = log
        self.cwd = cwd
        self.user = user
        self._guardian = guardian
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the process, and of its session."""
        if not self._process:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the process ended; None while it runs. Negative for a signal."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start the process; does not wait until it is ready."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.cwd,
                user=self.user,
            )
        self._guardian.watch(self.pid)

    def terminate(self, number: int = signal.SIGTERM) -> None:
        """Ask the process to end, as an operator of the machine would; does not wait.

        :param number: The signal that does so.
        """
        if self._process:
            self._process.send_signal(number)

    def wait(self, seconds: float) -> None:
        """Wait until the process has ended, or the time is over."""
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)

    def kill(self) -> None:
        """Kill the process and all it started with SIGKILL, as the loss of its machine would."""
        if self._process:
            kill([self.pid])
            self._process.wait()

    def restart(self) -> None:
        """Start the process again after a :meth:`kill`; does not wait until it is ready."""
        self.kill()
        self.start()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Let the process and all it started hang (SIGSTOP), for as long as the context lasts."""
        frozen = self.members()
        for process in frozen:
            process.suspend()
        try:
            yield
        finally:
            for process in frozen:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def members(self) -> list[psutil.Process]:
        """Return the process and all it started, as far as they live."""
        return members(self.pid) if self._process else []

    def log_tail(self, lines: int = 30) -> str:
        """Return the end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def stop(processes: Sequence[OwnedProcess], *, grace_seconds: float = GRACE_SECONDS) -> None:
    """End processes together: with SIGTERM, and after the grace period with SIGKILL.

    :raises RuntimeError: if anything they started survives.
    """
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + grace_seconds
    for process in processes:
        process.wait(max(0.0, deadline - time.monotonic()))
    # What is left now did not end in time, or has lost the parent that would have ended it.
    for process in processes:
        process.kill()


def _guard() -> None:
    """Collect session ids until standard input ends, then kill them."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    kill([int(line) for line in sys.stdin])


if __name__ == "__main__":
    _guard()
