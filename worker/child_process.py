"""A job's process and all its descendants, identified by a mark in their environment and ended together.

The mark is inherited by whatever a library starts in a session of its own and by data loaders whose parent
has died, so no process escapes by changing its session, its process group or its parent.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

MARK = "MASKTUNE_CHILD"
_POLL_SECONDS = 0.02
_COMPLAIN_SECONDS = 10.0


def marked(mark: str) -> list[int]:
    """The pids of the living processes with this mark.

    Only this user's processes are seen, which covers all that a child can start. Raises `OSError` if this
    process cannot open files in /proc (out of descriptors or memory).
    """
    needle = f"{MARK}={mark}".encode()
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # Skip processes that have ended or belong to another user. Any other error is raised, since
            # an unchecked process may still be alive.
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if needle in (entry / "environ").read_bytes().split(b"\0"):
                    pids.append(int(entry.name))
    return pids


class ChildProcess:
    """A child in its own session, with a pipe to its stdin and a pipe from its stdout.

    Raises `OSError`, and leaves no child, if the host is out of memory, processes or descriptors.
    """

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str]) -> None:
        self.mark = uuid.uuid4().hex
        self._popen = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**environment, MARK: self.mark},
            start_new_session=True,
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._stdin, self._stdout = self._popen.stdin, self._popen.stdout
        self._rest = self._unsent = b""
        with ExitStack() as undo:
            undo.callback(self._abandon)
            self._ended = os.pidfd_open(self._popen.pid)
            undo.callback(os.close, self._ended)
            self._selector = selectors.DefaultSelector()
            undo.pop_all()
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe.fileno(), False)
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._selector.register(self._ended, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while the child runs.
        A negative code is the signal that ended it."""
        return self._popen.poll()

    def send(self, line: bytes) -> None:
        """Write one line to the child's stdin without blocking; `read` writes what the pipe cannot take yet.

        If the child has ended, this call does not raise; `read` reports it.
        """
        self._unsent += line + b"\n"
        self._hand_over()

    def read(self, timeout: float) -> tuple[list[bytes], bool]:
        """Wait up to `timeout` seconds for output; return whole lines, and whether the child has ended."""
        self._selector.select(timeout)
        self._hand_over()
        ended = self.returncode is not None  # checked before reading, so that no output is missed
        while True:
            try:
                chunk = os.read(self._stdout.fileno(), 1 << 16)
            except BlockingIOError:
                break
            if not chunk:  # the child closed its stdout: only its exit is still to come
                if self._stdout in self._selector.get_map():
                    self._selector.unregister(self._stdout)
                break
            self._rest += chunk
        *lines, self._rest = self._rest.split(b"\n")
        return lines, ended

    def end(self, grace_seconds: float) -> None:
        """End the child and every process it started, by SIGTERM, then SIGKILL; return when all are gone."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace_seconds)
        self.kill()
        self._stdin.close()
        self._popen.wait()
        self._selector.close()
        os.close(self._ended)
        self._stdout.close()

    def dump_stacks(self) -> None:
        """Have the child and every process it started dump the stack of each thread to the log, before `end`.

        SIGUSR1 ends a process that has not registered it with `faulthandler`, as child and loaders do.
        """
        with suppress(OSError):  # /proc cannot be searched now
            for pid in marked(self.mark):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGUSR1)

    def _hand_over(self) -> None:
        """Write what the child's stdin takes now; have the selector watch it while something is left."""
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._stdin.fileno(), self._unsent) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._unsent = b""
        waiting = self._stdin in self._selector.get_map()
        if self._unsent and not waiting:
            self._selector.register(self._stdin, selectors.EVENT_WRITE)
        elif waiting and not self._unsent:
            self._selector.unregister(self._stdin)

    def _abandon(self) -> None:
        """End a child that has just been started: it has no spec yet and has started no other process."""
        self._popen.kill()
        self._popen.wait()
        self._stdin.close()
        self._stdout.close()

    def kill(self) -> None:
        """Kill the child and every process it started, from any thread; the owner must still call `end`."""
        complain_at = time.monotonic() + _COMPLAIN_SECONDS
        while True:
            try:
                living = marked(self.mark)
            except OSError as error:
                trouble = f"nobody can see whether processes of a job are left ({error})"
            else:
                if not living:
                    return
                trouble = f"processes {living} do not end on SIGKILL"
                for pid in living:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            self._popen.poll()  # reap the child, so that it disappears from /proc
            if time.monotonic() > complain_at:
                logger.warning("%s; their device is not free yet", trouble)
                complain_at += _COMPLAIN_SECONDS
            time.sleep(_POLL_SECONDS)
