"""A child that follows its job's script, `scripts/{id}` in the data folder, over the real pipes.

It imports little: most tests of a supervisor start one, and the product's half of the pipes imports pydantic.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

DATA = Path(os.environ["MASKTUNE_DATA_DIR"])
SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


ORDERS = SimpleQueue[bytes]()
"""What the supervisor has said."""


def say(message: dict[str, object]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def spawn_stray(_: object) -> None:
    """Spawn a descendant that leaves the session and ignores SIGTERM."""
    import subprocess

    subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True, stdout=subprocess.DEVNULL)


def wait_for(name: str) -> None:
    """Until the test has made a file of this name in the data folder."""
    while not (DATA / name).exists():
        time.sleep(0.02)


def read_order(name: str) -> None:
    """Add the next line with shards to a file of this name in the data folder."""
    line = b""
    while b'"numbers"' not in line:
        line = ORDERS.get()
    with (DATA / name).open("ab") as file:
        file.write(line)


def ignore_sigterm(_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def watch(_: object) -> None:
    """Be a child that ends itself with its lease, as the product's."""
    from worker.child.pipes import ParentWatch

    ParentWatch(0).watch()


def end_with_stdin() -> None:
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        for line in stdin:
            ORDERS.put(line)
    os._exit(1)


STEPS: dict[str, Callable[..., object]] = {
    "say": say,
    "raw": lambda text: print(text, flush=True),  # noqa: T201
    "sleep": time.sleep,
    "await": wait_for,
    "order": read_order,
    "exit": os._exit,
    "signal": lambda number: os.kill(os.getpid(), number),
    "spawn_stray": spawn_stray,
    "ignore_sigterm": ignore_sigterm,
    "watch": watch,
}


def main() -> None:
    with open(0, "rb", buffering=0, closefd=False) as stdin:  # no line is held back
        spec = json.loads(stdin.readline())
    script = json.loads((DATA / "scripts" / spec["job_id"]).read_text())
    steps = script.get(str(spec["attempt"]), script["default"])
    if ["watch", None] not in steps:
        threading.Thread(target=end_with_stdin, daemon=True).start()
    for step, argument in steps:
        STEPS[step](argument)


if __name__ == "__main__":
    main()
