"""A child that follows its job's script, `scripts/{id}` in the data folder, over the real pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker.child.pipes import ParentWatch

SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def say(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def spawn_stray(_: object) -> None:
    """Spawn a descendant that leaves the session and ignores SIGTERM, like a rank of torchrun."""
    subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True, stdout=subprocess.DEVNULL)


def wait_for(name: str) -> None:
    """Until the test has made a file of this name in the data folder."""
    while not (Path(os.environ["MASKTUNE_DATA_DIR"]) / name).exists():
        time.sleep(0.02)


def ignore_sigterm(_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


STEPS: dict[str, Callable[[Any], None]] = {
    "say": say,
    "raw": lambda text: print(text, flush=True),  # noqa: T201
    "sleep": time.sleep,
    "await": wait_for,
    "exit": os._exit,
    "signal": lambda number: os.kill(os.getpid(), number),
    "spawn_stray": spawn_stray,
    "ignore_sigterm": ignore_sigterm,
}


def main() -> None:
    parent = ParentWatch(0)
    spec = json.loads(parent.first_line())
    parent.watch()
    script = json.loads((Path(os.environ["MASKTUNE_DATA_DIR"]) / "scripts" / spec["job_id"]).read_text())
    for step, argument in script.get(str(spec["attempt"]), script["default"]):
        STEPS[step](argument)


if __name__ == "__main__":
    main()
