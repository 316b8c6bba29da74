"""Halts a job's child where the test wants it: at the first file opened whose path has the gate's suffix.

Python imports this module at startup because the test puts it on PYTHONPATH. The product itself is not
changed: an audit hook (PEP 578) sees each file that is opened. The gate is a file with a mode and a suffix.
`hold`: wait until the gate changes. `touch`: continue after a second. `record`: continue, and add the name to
a list.
"""

import os
import sys
import time
from pathlib import Path

GATE = os.environ.get("TEST_GATE")
REACHED = ".reached"


def _gate() -> tuple[str, str]:
    try:
        mode, _, ending = Path(f"{GATE}").read_text().partition(" ")
    except OSError:
        return "", ""
    return mode, ending


def _halt(event: str, arguments: tuple[object, ...]) -> None:
    path = arguments[0] if event == "open" else None
    if not isinstance(path, str) or path.startswith(f"{GATE}"):
        return
    mode, ending = _gate()
    if mode == "record" and path.endswith(ending):
        with Path(f"{GATE}.recorded").open("a") as names:
            names.write(f"{Path(path).name}\n")
    if mode == "record" or "/artifacts/" not in path:
        return
    if not ending or not path.endswith(ending):
        return
    mark = Path(f"{GATE}{REACHED}.{ending.replace('/', '_')}")
    if mode == "touch" and mark.exists():
        return
    mark.write_text(str(os.getpid()))
    if mode == "touch":
        time.sleep(1)
    while mode == "hold" and _gate() == (mode, ending):
        time.sleep(0.01)


if GATE and "worker.child.process" in getattr(sys, "orig_argv", []):
    sys.addaudithook(_halt)
