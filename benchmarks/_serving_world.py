"""The setup that `benchmarks.serving` measures: models, real images, and services as processes."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from benchmarks._common import leave_on_sigterm
from core.queries import datasets, registry
from core.schema import upgrade
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.tables import DatasetRow, ModelRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, DatasetState
from models.backbones.build import build_network
from models.data.layout import DatasetInfo
from models.data.packing import Row, StoreWriter
from models.export import card_of, save_model
from tests.support.servers import free_port

CLASSES = ("a", "b")
_PATIENCE = 120.0


@dataclass(frozen=True)
class Kind:
    """A network and the requests to it. Weights are random, since they do not affect the speed."""

    backbone: str
    side: int
    content_type: str
    images: Sequence[bytes]
    stored: int
    """Number of images in the packed data set."""

    @property
    def bodies(self) -> list[str]:
        return [base64.b64encode(image).decode() for image in self.images]


@dataclass(frozen=True)
class Furnished:
    """Ids of one kind: its data set, the ERM model, and a model tuned from it (the pair)."""

    dataset: str
    alone: str
    pair: str
    folder: Path
    """Contains the ERM model's files."""


def digits() -> Kind:
    """Handwritten digits as PNG, 28 px."""
    images = load_digits().images[:64]
    return Kind("small_cnn", 28, "image/png", [_encoded(i * 15.9, (28, 28), "PNG") for i in images], 512)


def photographs() -> Kind:
    """Crops of two photographs as JPEG, 500×375."""
    china, flower = load_sample_images().images
    corners = [(top, left) for top in (0, 20, 40) for left in (0, 40, 80)]
    cuts = [picture[top:, left:] for top, left in corners for picture in (china, flower)]
    return Kind("resnet50", 224, "image/jpeg", [_encoded(cut, (500, 375), "JPEG") for cut in cuts], 1024)


def _encoded(pixels: NDArray[np.float64], size: tuple[int, int], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert("RGB").resize(size).save(buffer, kind, quality=90)
    return buffer.getvalue()


def furnish(folder: Path, kind: Kind) -> Furnished:
    """Write a data set and two models of the kind into the service's data folder."""
    settings = Settings(data_dir=folder)
    upgrade(settings.database)
    database, artifacts = Database(settings.database), Artifacts(settings.storage, cache=folder / "cache")
    dataset, alone, pair = new_id("ds"), new_id("mdl"), new_id("mdl")
    with artifacts.writing(f"datasets/{dataset}") as place, StoreWriter(place) as writer:
        for row in range(kind.stored):
            data = kind.images[row % len(kind.images)]
            width, height = Image.open(io.BytesIO(data)).size
            writer.add(Row(f"{row}", row % 2, "test", -1, width, height, data))
        writer.finish(DatasetInfo("bench", "image_folder", CLASSES, ()))
    with database.begin() as session:
        datasets.add(
            session,
            DatasetRow(
                id=dataset, name="bench", state=DatasetState.READY, format="image_folder", source={},
                options={}, job_id=new_id("job"), artifact=f"datasets/{dataset}", classes=list(CLASSES),
                summary={"splits": {"test": {"count": kind.stored}}},
            ),
        )  # fmt: skip
        for seed, (model, arm) in enumerate(((alone, Arm.ERM), (pair, Arm.MASKTUNE))):
            network = build_network(kind.backbone, classes=2, image_size=kind.side, seed=seed)
            with artifacts.writing(f"models/{model}") as place:
                save_model(network, card_of(network, CLASSES, "erm" if arm is Arm.ERM else "masktune"), place)
            registry.add(
                session,
                ModelRow(
                    id=model, dataset_id=dataset, arm=arm, backbone=kind.backbone, classes=list(CLASSES),
                    image_size=kind.side, artifact=f"models/{model}", metrics={},
                    erm_id=alone if arm is Arm.MASKTUNE else None,
                ),
            )  # fmt: skip
    database.close()
    return Furnished(dataset, alone, pair, artifacts.folder(f"models/{alone}"))


def furnish_old(checkout: Path, folder: Path) -> dict[str, str]:
    """Have another checkout's code write its own data set and models, since its tables may differ; ids of its
    ERM models by network."""
    program = (
        "import json, pathlib, sys; from benchmarks import _serving_world as world; "
        "kinds = (world.digits(), world.photographs()); folder = pathlib.Path(sys.argv[1]); "
        "print(json.dumps({kind.backbone: world.furnish(folder, kind).alone for kind in kinds}))"
    )
    command = [sys.executable, "-c", program, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    ids = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, check=True).stdout
    return dict(json.loads(ids))


class Server(NamedTuple):
    """A running service: its port, and the processes that were started for it."""

    port: int
    pids: Sequence[int]

    def cpu_seconds(self) -> float:
        """CPU time of the processes and their descendants so far; comparable even on a busy machine."""
        ticks: dict[int, int] = {}
        parents: dict[int, int] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended
                fields = stat.read_text().rpartition(")")[2].split()
                pid = int(stat.parent.name)
                parents[pid], ticks[pid] = int(fields[1]), int(fields[11]) + int(fields[12])
        return sum(ticks[pid] for pid in ticks if self._is_ours(pid, parents)) / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run only within the block: some services take a sixth of a core when idle."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids:
            os.killpg(pid, number)

    def _is_ours(self, pid: int, parents: dict[int, int]) -> bool:
        while pid and pid not in self.pids:
            pid = parents.get(pid, 0)
        return bool(pid)


@contextmanager
def masktune(folder: Path, *parts: str, processes: int = 1, checkout: Path | None = None) -> Iterator[Server]:
    """Run these parts of the service on this data folder, with `processes` API processes, out of this or
    another checkout."""
    port = free_port()
    environment = {
        "MASKTUNE_DATA_DIR": str(folder),
        "MASKTUNE_PORT": str(port),
        "MASKTUNE_API_PROCESSES": str(processes),
        "MASKTUNE_LOG_LEVEL": "warning",  # like the others: no line per request
    }
    commands = [[sys.executable, "-m", "masktune.cli", part] for part in parts]
    if checkout is not None:
        environment["PYTHONPATH"] = str(checkout)
    with _running(commands, environment, checkout) as pids:
        _await(f"http://127.0.0.1:{port}/livez")
        yield Server(port, pids)


@contextmanager
def rival(name: str, model: Path, kind: Kind, *, processes: int = 1) -> Iterator[Server]:
    """Run one of `benchmarks._rivals`."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks._rivals", name, str(model), str(port), str(processes)]
    with _running([command], {}) as pids:
        _await(_ask(port, kind, "/predict"))
        yield Server(port, pids)


def export(port: int, model: str) -> None:
    """Have the model's graph exported."""
    graph = f"http://127.0.0.1:{port}/models/{model}/download?format=onnx"
    urlopen(graph, timeout=2 * _PATIENCE).close()


def warm(port: int, kind: Kind, model: str, engines: int) -> None:
    """Send requests until ONNX Runtime serves `engines` pairs, as each process loads them."""
    ask = _ask(port, kind, f"/predict?model={model}")
    deadline = time.monotonic() + 2 * _PATIENCE
    sample = f'masktune_models_loaded{{engine="onnxruntime"}} {engines}.0'
    while True:
        urlopen(ask, timeout=_PATIENCE).close()
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            if sample in answer.read().decode():
                return
        if time.monotonic() > deadline:
            raise TimeoutError("no process loaded the graphs")
        time.sleep(0.5)


def _ask(port: int, kind: Kind, path: str) -> Request:
    head = {"Content-Type": kind.content_type}
    return Request(f"http://127.0.0.1:{port}{path}", data=kind.images[0], headers=head, method="POST")


@contextmanager
def _running(
    commands: Sequence[Sequence[str]], environment: dict[str, str], folder: Path | None = None
) -> Iterator[Sequence[int]]:
    """Run the commands, in this folder, which Python imports from first."""
    leave_on_sigterm()
    processes = [
        subprocess.Popen(
            command, env=os.environ | environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, start_new_session=True, cwd=folder,
        )
        for command in commands
    ]  # fmt: skip
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
            os.killpg(process.pid, signal.SIGCONT)  # a stopped process does not see SIGTERM
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)  # LitServe leaves its workers behind
            process.wait()


def _await(request: Request | str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            urlopen(request, timeout=10).close()
        except (URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
