"""The shell for a page's commands, and parts of a service that run in it until Ctrl-C."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.support.waits import PATIENCE

_DONE = "the-command-has-ended"
_LASTS = re.compile(r"^(?:\w+=\S* )*masktune (?P<part>serve|api|worker|web)\b(?!.* --check)")
_SAY = {"serve": "masktune is ready at ", "worker": " is ready: "}
"""What a part prints when it is ready, for parts that listen late or not at all."""


def lasts(command: str) -> bool:
    """Whether the command runs a part of the service, which continues until it is stopped."""
    return _LASTS.match(command) is not None


class Shell:
    """One bash for a whole page: variables and the current folder persist between commands."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> tuple[list[str], int]:
        """Run the command; return its output lines, including standard error, and its exit code."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        # With eval, so that an unterminated quote is an error instead of waiting for more input.
        typed = f"eval {shlex.quote(command)} </dev/null"
        self._bash.stdin.write(f"{typed}\nprintf '\\n%s %s\\n' {_DONE} $?\n")
        self._bash.stdin.flush()
        printed: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(f"{_DONE} "):
                if printed and not printed[-1]:
                    printed.pop()
                return printed, int(line.split()[1])
            printed.append(line.rstrip())
        raise AssertionError(f"the shell ended in {command!r}")

    def begin(self, command: str, log: Path) -> int:
        """Start the command in the background as its own process group, so that Ctrl-C reaches all of its
        processes. Returns its pid."""
        printed, _ = self.run(f"set -m; {command} >{shlex.quote(str(log))} 2>&1 & set +m; echo $!")
        return int(printed[-1])

    def interrupt(self, number: int) -> int:
        """Press Ctrl-C; return the exit code."""
        return self.run(f"kill -INT -- -{number}; wait {number}")[1]

    def close(self) -> None:
        self._bash.communicate()


@dataclass
class BackgroundCommand:
    """A part of the service in the background of a shell."""

    shell: Shell
    command: str
    number: int
    log: Path
    address: str
    """Host and port on which it listens."""

    def said(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines()

    def comes_up(self) -> bool:
        """Whether the part answers, or prints that it is ready, before it ends or `PATIENCE` runs out."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._is_there():
            if self._is_up():
                return True
            time.sleep(0.1)
        return False

    def _is_there(self) -> bool:
        return self.shell.run(f"kill -0 {self.number}")[1] == 0

    def _is_up(self) -> bool:
        found = _LASTS.match(self.command)
        if found is not None and found["part"] in _SAY:
            return _SAY[found["part"]] in self.log.read_text(encoding="utf-8")
        try:
            return httpx2.get(f"http://{self.address}/livez", trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.shell.run(f"kill -INT -- -{self.number}")

    def ended(self) -> int:
        """Wait for the part to end; return its exit code."""
        return self.shell.run(f"wait {self.number}")[1]
