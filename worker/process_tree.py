"""A job's process and all that it starts: found by a mark in their environment, ended as one.

The mark is inherited by ranks that torchrun puts into sessions of their own and by loaders whose
parent has died, so that nothing escapes by leaving the session, the group or the family.
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
    """The living processes that carry this mark (of this user: others cannot be read, nor started by us).

    `OSError` where this process can open nothing.
    """
    needle = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # It ended meanwhile, or is somebody else's. Others go through: who was not looked at may live.
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if needle in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


class ChildProcess:
    """A child in a session of its own, with a pipe to its stdin and a pipe from its stdout.

    `OSError`, and no child, where there is no memory, process or descriptor for it.
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
        """None while it runs; negative: the signal that ended it."""
        return self._popen.poll()

    def send(self, line: bytes) -> None:
        """Write one line to its stdin; what it does not take now is written by `read`, for it may hang.

        A child that is gone is noticed by `read`, not here.
        """
        self._unsent += line + b"\n"
        self._hand_over()

    def read(self, timeout: float) -> tuple[list[bytes], bool]:
        """The lines it has written, waiting up to `timeout` seconds for one; and whether it has ended."""
        self._selector.select(timeout)
        self._hand_over()
        ended = self.returncode is not None  # asked before the last read: nothing it wrote is missed
        while True:
            try:
                data = os.read(self._stdout.fileno(), 1 << 16)
            except BlockingIOError:
                break
            if not data:  # it closed its stdout: only its end is still to come
                if self._stdout in self._selector.get_map():
                    self._selector.unregister(self._stdout)
                break
            self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        return lines, ended

    def end(self, grace_seconds: float) -> None:
        """Return when the process and everything it started are gone: SIGTERM, then SIGKILL."""
        if self.returncode is None:
            self._signal_group(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace_seconds)
        self._kill_marked()
        self._stdin.close()
        self._popen.wait()
        self._selector.close()
        os.close(self._ended)
        self._stdout.close()

    def tell_where(self) -> None:
        """Have it, and all that it started, write into the log where each thread stands, before `end`.

        What has not asked for the signal (`faulthandler`, in child, ranks and their loaders) ends by it.
        """
        with suppress(OSError):  # nobody can be looked for now
            for pid in marked(self.mark):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGUSR1)

    def kill(self) -> None:
        """End the process and everything it started at once, from any thread; its owner still calls `end`."""
        self._kill_marked()

    def _hand_over(self) -> None:
        """Write what its stdin takes now, and wait for it where that is not all."""
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
        """End a child that has only just begun: it has no spec yet, and nothing that it started."""
        self._popen.kill()
        self._popen.wait()
        self._stdin.close()
        self._stdout.close()

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, number)

    def _kill_marked(self) -> None:
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
            self._popen.poll()  # reaped, it leaves /proc
            if time.monotonic() > complain_at:
                logger.warning("%s; their device is not free yet", trouble)
                complain_at += _COMPLAIN_SECONDS
            time.sleep(_POLL_SECONDS)
