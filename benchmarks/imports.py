"""How long a program waits for the client: imports, each in a fresh interpreter, beside the bare one.

    python -m benchmarks.imports [--rounds 15]

The sides take turns. `ms` is the median of the wall-clock time of the whole process, `modules` counts what it
imports. Ends with one JSON line; exits with 1 if the client takes more than twice as long as its libraries.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from benchmarks._common import Aim, finish, table
from models.run import Run, resolve_device

_LIBRARIES = "import httpx, pydantic"
SIDES = {
    "python": "pass",
    _LIBRARIES: _LIBRARIES,
    "import masktune": "import masktune",
    "from masktune import Client": "from masktune import Client",
    "the command masktune": "import masktune.cli.main",
}
MOST = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(arguments.rounds + 1):
        for side, code in SIDES.items():
            seconds[side].append(run_once(code))
    medians = {side: statistics.median(times[1:]) for side, times in seconds.items()}  # the first compiles
    rows = [
        {"side": side, "ms": round(1000 * medians[side]), "modules": count_modules(code)}
        for side, code in SIDES.items()
    ]
    print(table(rows))
    ratio = medians["from masktune import Client"] / medians[_LIBRARIES]
    aims = {"client_over_its_libraries": Aim(round(ratio, 2), at_most=MOST)}
    return finish("imports", Run(resolve_device("cpu")), rows=rows, aims=aims)


def run_once(code: str) -> float:
    """Seconds from the start of an interpreter to its end."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def count_modules(code: str) -> int:
    """How many modules an interpreter has loaded after this code."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(len(sys.modules))"],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
