"""How much code a flow passes through: functions, files, and returns to a file that it had already left.

    python -m benchmarks.flow [--checkout DIR] [--list predict|job|upload]

Starts `masktune serve` of the checkout (this one by default) on a temporary folder, uploads a small data set,
runs a `masktune` job on it and predicts a stored sample, all over HTTP. A profile function (`sys.setprofile`)
in every thread of the API, the worker and the jobs' child processes notes the first call of each function of
the product's own files:

- `upload`: the request, and the import in worker and child until the data set is ready;
- `job`: the request, and everything in worker and child until the job has ended;
- `predict`: one warm prediction by torch in the API, the second and the two after it; a function counts if
  all three call it, since others belong to the service's background threads.

Functions stand in the order of their first calls. Where the file changes to one that occurred before, that is
a return. Bodies of modules and classes and comprehensions are not counted. Prints a table and one JSON line;
`--list` prints the functions of a flow in order instead.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from PIL import Image

from benchmarks._common import environment, running_service, table

ROOT = Path(__file__).parents[1]
RECORDER = Path(__file__).parent / "flow_recorder"
PACKAGES = ("app", "worker", "models", "core", "masktune", "launcher", "web", "presets", "client", "cli")
"""Of this checkout and of those before the packages `masktune` and `launcher`."""
API, OTHERS = 0, 1
UPLOAD, JOB, PREDICT = 1, 2, 3
REPEATS = 3
_SECONDS = 600


class Call(NamedTuple):
    """The first call of a function in a window."""

    file: str
    function: str


class Recorder:
    """The switches of the recorded processes, and what they wrote."""

    def __init__(self, folder: Path) -> None:
        self._switches, self._calls = folder / "switches", folder / "calls"
        self._switches.write_bytes(bytes(2))
        self._calls.touch()

    @contextmanager
    def window(self, number: int, processes: int) -> Iterator[None]:
        self._switch(processes, number)
        try:
            yield
        finally:
            self._switch(processes, 0)

    def _switch(self, processes: int, number: int) -> None:
        with self._switches.open("r+b") as file:
            file.seek(processes)
            file.write(bytes([number]))

    def calls(self, number: int) -> list[Call]:
        """The functions of a window in the order of their first calls, over all processes."""
        lines = [line.split("\t") for line in self._calls.read_text().splitlines()]
        lines = sorted((line for line in lines if line[0] == str(number)), key=lambda line: int(line[1]))
        return list(dict.fromkeys(Call(file, function) for _, _, file, function in lines))


def figures(calls: list[Call]) -> dict[str, int]:
    """Functions, files and returns to a file that was left."""
    files = [call.file for call in calls]
    stretches, visited = len(list(itertools.groupby(files))), len(set(files))
    return {"functions": len(calls), "files": visited, "returns": stretches - visited}


def served(checkout: Path, folder: Path) -> AbstractContextManager[str]:
    """The address of a recorded `masktune serve` of this checkout with its data in `folder`."""
    program = "masktune.cli" if (checkout / "masktune" / "cli").is_dir() else "cli"
    settings = environment(DATA_DIR=str(folder / "data"), ENGINE="torch", DEVICE="cpu", THREADS="2")
    recorded = {"FLOW_FOLDER": str(folder), "FLOW_ROOT": str(checkout), "FLOW_PACKAGES": " ".join(PACKAGES)}
    path = {"PYTHONPATH": f"{RECORDER}{os.pathsep}{checkout}"}
    return running_service(folder, program, settings | recorded | path)


def archive() -> bytes:
    """An image folder of two classes: 120 images of 28 px."""
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for number in range(120):
            pixels = rng.integers(0, 256, (28, 28, 3), np.uint8)
            pixels[: 14 * (number % 2)] //= 2
            picture = io.BytesIO()
            Image.fromarray(pixels).save(picture, "PNG")
            out.writestr(f"{'light' if number % 2 else 'dark'}/{number}.png", picture.getvalue())
    return buffer.getvalue()


def run_flows(http: httpx.Client, recorder: Recorder) -> dict[str, list[Call]]:
    """The functions of each flow, in the order of their first calls."""
    with recorder.window(UPLOAD, OTHERS):
        with recorder.window(UPLOAD, API):
            form = {"name": "halves"}
            dataset = _sent(http.post("/datasets", data=form, files={"file": ("halves.zip", archive())}))
        _wait(http, f"/datasets/{dataset['id']}", {"importing"}, "ready")
    body = {"dataset": dataset["id"], "epochs": 2, "batch_size": 16}
    with recorder.window(JOB, OTHERS):
        with recorder.window(JOB, API):
            job = _sent(http.post("/jobs/masktune", json=body))
        job = _wait(http, f"/jobs/{job['id']}", {"queued", "running"}, "succeeded")
    query = {"model": job["models"]["masktune"], "dataset": dataset["id"], "sample": 0}
    _sent(http.get("/predict", params=query))
    for repeat in range(REPEATS):
        with recorder.window(PREDICT + repeat, API):
            _sent(http.get("/predict", params=query))
    predictions = [recorder.calls(PREDICT + repeat) for repeat in range(REPEATS)]
    common = set(predictions[0]).intersection(*predictions)
    return {
        "predict": [call for call in predictions[-1] if call in common],
        "job": recorder.calls(JOB),
        "upload": recorder.calls(UPLOAD),
    }


def _sent(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise RuntimeError(f"{response.request.url} answered {response.status_code}: {response.text}")
    answer: dict[str, Any] = response.json()
    return answer


def _wait(http: httpx.Client, path: str, unfinished: set[str], success: str) -> dict[str, Any]:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        resource = _sent(http.get(path))
        if resource["state"] == success:
            return resource
        if resource["state"] not in unfinished:
            raise RuntimeError(f"{path} ended as {resource['state']}: {resource.get('error')}")
        time.sleep(0.2)
    raise RuntimeError(f"{path} did not end in {_SECONDS} s")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkout", type=Path, default=ROOT, help="the tree to measure")
    parser.add_argument("--list", choices=["predict", "job", "upload"], help="print this flow's functions")
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        recorder = Recorder(Path(scratch))
        with served(checkout, Path(scratch)) as address, httpx.Client(base_url=address, timeout=60) as http:
            flows = run_flows(http, recorder)
    if options.list:
        print("\n".join(f"{call.file}  {call.function}" for call in flows[options.list]))
        return 0
    rows = [{"flow": name, **figures(calls)} for name, calls in flows.items()]
    print(table(rows))
    print(json.dumps({"benchmark": "flow", "checkout": str(checkout), "figures": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
