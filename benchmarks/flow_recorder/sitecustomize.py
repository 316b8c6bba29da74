"""Records which functions of the product a process calls, for `benchmarks.flow`.

Python imports this module at startup, because the benchmark puts its folder on PYTHONPATH. `switches` is a
file of two bytes, which every process maps: the number of the window that is being recorded in processes of
the API, and the one in all others; 0 records nothing. The first call of each function in a window is a line
of `calls`.
"""

import inspect
import mmap
import os
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType

FOLDER = os.environ.get("FLOW_FOLDER")
ROOT = os.environ.get("FLOW_ROOT", "")
PACKAGES = frozenset(os.environ.get("FLOW_PACKAGES", "").split())


def _record(folder: Path, arguments: list[str]) -> None:
    with (folder / "switches").open("r+b") as file:
        switches = mmap.mmap(file.fileno(), 2)
    calls = os.open(folder / "calls", os.O_WRONLY | os.O_APPEND)
    switch = 0 if "api" in arguments else 1
    recorded: set[tuple[int, CodeType]] = set()

    def on_event(frame: FrameType, event: str, _: object) -> None:
        window = switches[switch]
        code = frame.f_code
        if not window or event != "call" or (window, code) in recorded:
            return
        recorded.add((window, code))
        # Bodies of modules and classes are no functions, and neither are comprehensions.
        if not code.co_flags & inspect.CO_OPTIMIZED or code.co_name.startswith("<"):
            return
        if not code.co_filename.startswith(ROOT):
            return
        file = code.co_filename[len(ROOT) + 1 :]
        if file.partition("/")[0] in PACKAGES:
            line = "\t".join([str(window), str(time.monotonic_ns()), file, code.co_qualname])
            os.write(calls, f"{line}\n".encode())

    threading.setprofile(on_event)
    sys.setprofile(on_event)


# The process that starts the others and waits takes no part in any flow.
if FOLDER and "serve" not in getattr(sys, "orig_argv", []):
    _record(Path(FOLDER), sys.orig_argv)
