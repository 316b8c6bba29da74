"""How much code a flow passes through: functions, files, and returns to a file that it had already left.

    python -m benchmarks.flow [--old DIR] [--checkout DIR] [--list predict|predict-post|job|upload]

Starts `masktune serve` of the checkout (this one by default) on a temporary folder, uploads a small data set,
runs a `masktune` job on it and predicts a stored sample and a sent image, all over HTTP. A profile function
(`sys.setprofile`) in every thread of the API, the worker and the children notes the first call of
each function of the product's own files:

- `upload`: the request, and the import in worker and child until the data set is ready;
- `job`: the request, and everything in worker and child until the job has ended;
- `predict` (GET, a stored sample) and `predict-post` (an image in the body): one warm prediction by torch in
  the API, the second and the two after it; a function counts if all three call it, since others belong to the
  service's background threads.

Functions stand in the order of their first calls. Where the file changes to one that occurred before, that is
a return. Bodies of modules and classes and comprehensions are not counted. `--old` measures another checkout
beside it, such as a worktree of an earlier commit. Prints a table and one JSON line; exits with 1 if a
prediction returns to files more often than `MOST_RETURNS`. `--list` prints the functions of a flow in order
instead.
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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import numpy as np
from PIL import Image

from benchmarks._common import Aim, environment, running_service, table
from benchmarks._needs import need_checkout

ROOT = Path(__file__).parents[1]
RECORDER = Path(__file__).parent / "flow_recorder"
PACKAGES = ("app", "worker", "models", "core", "masktune", "launcher", "web", "presets", "client", "cli")
"""Of this checkout and of those before the packages `masktune` and `launcher`."""
API, OTHERS = 0, 1
REPEATS = 3
UPLOAD, JOB, PREDICT = 1, 2, 3
PREDICT_POST = PREDICT + REPEATS
MOST_RETURNS = {"predict": 20, "predict-post": 30}
FLOWS = ("predict", "predict-post", "job", "upload")
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
    settings["MASKTUNE_SPARE_CHILDREN"] = "0"  # a spare child starts before the job's window
    recorded = {"FLOW_FOLDER": str(folder), "FLOW_ROOT": str(checkout), "FLOW_PACKAGES": " ".join(PACKAGES)}
    path = {"PYTHONPATH": f"{RECORDER}{os.pathsep}{checkout}"}
    return running_service(folder, program, settings | recorded | path)


def image(number: int) -> bytes:
    """A PNG of noise, 28 px, whose upper half is dark if the number is odd."""
    pixels = np.random.default_rng(number).integers(0, 256, (28, 28, 3), np.uint8)
    pixels[: 14 * (number % 2)] //= 2
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def archive() -> bytes:
    """An image folder of two classes: 120 images."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for number in range(120):
            out.writestr(f"{'light' if number % 2 else 'dark'}/{number}.png", image(number))
    return buffer.getvalue()


def run_flows(http: httpx2.Client, recorder: Recorder) -> dict[str, list[Call]]:
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
    model = {"model": job["models"]["masktune"]}
    stored = model | {"dataset": dataset["id"], "sample": "0"}
    get = partial(http.get, "/predict", params=stored)
    post = partial(
        http.post, "/predict", params=model, content=image(1), headers={"Content-Type": "image/png"}
    )
    return {
        "predict": _prediction(recorder, PREDICT, get),
        "predict-post": _prediction(recorder, PREDICT_POST, post),
        "job": recorder.calls(JOB),
        "upload": recorder.calls(UPLOAD),
    }


def _prediction(recorder: Recorder, window: int, ask: Callable[[], httpx2.Response]) -> list[Call]:
    """What all repetitions of a prediction call, in the order of the last, after one that is not recorded."""
    _sent(ask())
    for repeat in range(REPEATS):
        with recorder.window(window + repeat, API):
            _sent(ask())
    repetitions = [recorder.calls(window + repeat) for repeat in range(REPEATS)]
    common = set(repetitions[0]).intersection(*repetitions)
    return [call for call in repetitions[-1] if call in common]


def _sent(response: httpx2.Response) -> dict[str, Any]:
    if response.is_error:
        raise RuntimeError(f"{response.request.url} answered {response.status_code}: {response.text}")
    answer: dict[str, Any] = response.json()
    return answer


def _wait(http: httpx2.Client, path: str, unfinished: set[str], success: str) -> dict[str, Any]:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        resource = _sent(http.get(path))
        if resource["state"] == success:
            return resource
        if resource["state"] not in unfinished:
            raise RuntimeError(f"{path} ended as {resource['state']}: {resource.get('error')}")
        time.sleep(0.2)
    raise RuntimeError(f"{path} did not end in {_SECONDS} s")


def measured(checkout: Path) -> dict[str, list[Call]]:
    """The functions of each flow in this checkout."""
    with tempfile.TemporaryDirectory() as scratch:
        recorder = Recorder(Path(scratch))
        with served(checkout, Path(scratch)) as address, httpx2.Client(base_url=address, timeout=60) as http:
            return run_flows(http, recorder)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkout", type=Path, default=ROOT, help="the tree to measure")
    parser.add_argument("--old", type=Path, help="another tree, measured beside it")
    parser.add_argument("--list", choices=FLOWS, help="print this flow's functions")
    options = parser.parse_args()
    need_checkout(options.checkout, "--checkout")
    need_checkout(options.old, "--old")
    checkout = options.checkout.resolve()
    flows = measured(checkout)
    if options.list:
        print("\n".join(f"{call.file}  {call.function}" for call in flows[options.list]))
        return 0
    earlier = {} if options.old is None else measured(options.old.resolve())
    rows = [
        {"flow": name, **figures(calls)}
        | {f"{key}, old": number for key, number in figures(earlier.get(name, [])).items() if earlier}
        for name, calls in flows.items()
    ]
    targets = {
        f"{name}, returns": Aim(figures(flows[name])["returns"], at_most=most)
        for name, most in MOST_RETURNS.items()
    }
    print(table(rows))
    for key, aim in targets.items():
        print(f"{key:58} {json.dumps(aim.to_json())}")
    ok = all(aim.ok for aim in targets.values())
    line = {
        "benchmark": "flow",
        "checkout": str(checkout),
        "figures": rows,
        "targets": {key: aim.to_json() for key, aim in targets.items()},
        "ok": ok,
    }
    print(json.dumps(line))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
