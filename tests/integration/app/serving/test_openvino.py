"""OpenVINO in torch's place: another engine, another calibration, and never one judged by the other's."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from app.deps import Services
from app.inference import Explain, Pair, Part
from app.inference.engines.graph import Graphs
from app.inference.engines.torch import TorchEngine
from app.inference.openvino_engine import OpenVinoEngine
from app.main import create_app
from app.registry.calibrations import FILE
from core.queries import datasets, registry
from core.settings import Settings
from core.tables import DatasetRow, ModelRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, DatasetState
from models.backbones import Network, build_network
from models.data.decoding import stored_square, to_unit
from models.data.store import DatasetInfo, Row, StoreWriter
from models.export import card_of, export_onnx, save_model
from models.selective import SCORES, CalibrationTable, score
from tests.integration.app.conftest import LOCAL

CLASSES = ["left", "right"]
SIDE = 28
COUNTS = {"train": 64, "val": 200, "calibration": 200, "test": 8}
Wished = Literal["openvino-bf16", "openvino-int8"]
WISHED: tuple[Wished, ...] = ("openvino-bf16", "openvino-int8")


def bright(number: int) -> tuple[bytes, int]:
    """A noisy picture that is brighter on one side, and which side: by how much varies."""
    draw = np.random.default_rng(number)
    label = number % 2
    pixels = draw.integers(0, 140, (SIDE, SIDE, 3))
    half = slice(0, SIDE // 2) if label == 0 else slice(SIDE // 2, SIDE)
    pixels[:, half] += draw.integers(2, 60)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue(), label


def taught(seed: int) -> Network:
    """A small network that has learned which side is brighter, most of the time."""
    network = build_network("small_cnn", classes=2, image_size=SIDE, seed=seed)
    pairs = [bright(10_000 + 128 * seed + n) for n in range(128)]
    images = to_unit(torch.stack([stored_square(data, SIDE) for data, _ in pairs]))
    labels = torch.tensor([label for _, label in pairs])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    network.train()
    for _ in range(12):
        for first in range(0, 128, 32):
            optimizer.zero_grad()
            some = slice(first, first + 32)
            loss = torch.nn.functional.cross_entropy(network(images[some]), labels[some])
            torch.autograd.backward(loss)
            optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def networks() -> tuple[Network, Network]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return taught(1), taught(2)


@pytest.fixture(scope="module")
def graphs(networks: tuple[Network, Network], tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    folder = tmp_path_factory.mktemp("graphs")
    files = [folder / "model.onnx", folder / "erm.onnx"]
    for network, file in zip(networks, files, strict=True):
        export_onnx(network, file)
    return Graphs(files[0], files[1])


@dataclass(frozen=True)
class House:
    """A front with one calibrated pair."""

    client: TestClient
    services: Services
    model: str
    erm: str
    standing: str

    @property
    def pair(self) -> Pair:
        return Pair(Part(self.model, f"models/{self.model}"), Part(self.erm, f"models/{self.erm}"))

    def ask(self, number: int, **query: Any) -> dict[str, Any]:
        answer = self.client.post(
            "/predict",
            params={"model": self.model, **query},
            content=bright(number)[0],
            headers={"Content-Type": "image/png"},
        )
        body: dict[str, Any] = answer.json() | {"http": answer.status_code}
        return body

    def await_engine(self, name: str) -> None:
        """Until it serves the model; asking is what loads it."""
        deadline = time.monotonic() + 120
        while not self.services.inference.loaded.get(name):
            assert time.monotonic() < deadline
            self.ask(0)
            time.sleep(0.05)


Opener = Callable[..., House]


@pytest.fixture
def opened(networks: tuple[Network, Network], graphs: Graphs, tmp_path: Path) -> Iterator[Opener]:
    with ExitStack() as stack:

        def opener(engine: Wished, counts: dict[str, int] = COUNTS, *, calibrated: bool = True) -> House:
            return stack.enter_context(_house(tmp_path, engine, networks, graphs, counts, calibrated))

        yield opener


@contextmanager
def _house(
    folder: Path,
    engine: Wished,
    networks: tuple[Network, Network],
    graphs: Graphs,
    counts: dict[str, int],
    calibrated: bool,
) -> Iterator[House]:
    from app.inference.engines import graph_store as artifacts_of_graphs

    app = create_app(Settings(data_dir=folder, threads=1, engine=engine))
    with TestClient(app, LOCAL) as client:
        services: Services = app.state.services
        dataset, ids, standing = new_id("ds"), (new_id("mdl"), new_id("mdl")), new_id("cal")
        with services.artifacts.writing(f"datasets/{dataset}") as target:
            with StoreWriter(target) as writer:
                number = 0
                for split, count in counts.items():
                    for _ in range(count):
                        data, label = bright(number)
                        writer.add(Row(f"{number}.png", label, split, label, SIDE, SIDE, data))
                        number += 1
                writer.finish(DatasetInfo("sides", "image_folder", tuple(CLASSES), tuple(CLASSES)))
        for id, network, graph in zip(ids, networks, graphs, strict=True):
            with services.artifacts.writing(f"models/{id}") as target:
                save_model(network, card_of(network, tuple(CLASSES), "masktune"), target)
            with services.artifacts.writing(artifacts_of_graphs.key(id)) as target:
                assert graph is not None
                (target / artifacts_of_graphs.FILE).write_bytes(graph.read_bytes())
        with services.artifacts.writing(f"calibrations/{standing}") as target:
            (target / FILE).write_text(json.dumps(_never_right(dataset)))
        calibration = {"id": standing, "artifact": f"calibrations/{standing}", "score_name": "max_softmax"}
        with services.database.begin() as session:
            datasets.add(session, _dataset_row(dataset))
            for id, arm, erm in ((ids[1], Arm.ERM, None), (ids[0], Arm.MASKTUNE, ids[1])):
                row = _model_row(id, arm, erm, dataset)
                row.calibration = calibration | {"scores": list(SCORES)} if calibrated else None
                registry.add(session, row)
        yield House(client, services, ids[0], ids[1], standing)


def _never_right(dataset: str) -> dict[str, Any]:
    """A calibration of torch's by which nothing can be certified: whoever is judged by it answers nothing."""
    table = CalibrationTable.build(np.log(np.linspace(0.5, 0.99, 50)), np.zeros(50, bool)).to_json()
    return {"dataset": dataset, "split": "calibration", "scores": dict.fromkeys(SCORES, table)}


def _dataset_row(dataset: str) -> DatasetRow:
    return DatasetRow(
        id=dataset,
        name="sides",
        state=DatasetState.READY,
        format="image_folder",
        source={"builtin": "none"},
        options={},
        job_id=new_id("job"),
        artifact=f"datasets/{dataset}",
        classes=CLASSES,
    )


def _model_row(id: str, arm: Arm, erm: str | None, dataset: str) -> ModelRow:
    return ModelRow(
        id=id,
        dataset_id=dataset,
        arm=arm,
        backbone="small_cnn",
        classes=CLASSES,
        image_size=SIDE,
        artifact=f"models/{id}",
        erm_id=erm,
        metrics={},
    )


def _squares(*numbers: int) -> NDArray[np.uint8]:
    return np.stack([stored_square(bright(n)[0], SIDE).numpy() for n in numbers])


def _engine_of(house: House) -> Any:
    return house.services.inference._cache.ready(house.pair)


@pytest.mark.slow
@pytest.mark.parametrize("wished", WISHED)
def test_it_is_measured_and_takes_over_and_no_answer_is_judged_by_the_other_calibration(
    opened: Opener, networks: tuple[Network, Network], wished: Wished, caplog: pytest.LogCaptureFixture
) -> None:
    """Under load, with a policy: each answer's calibration is that of the engine whose score it has."""
    caplog.set_level(logging.INFO)
    house = opened(wished)
    numbers = [50_000 + n for n in range(8)]
    torchs = np.exp(
        score(
            "max_softmax", TorchEngine(*networks, torch.device("cpu")).run(_squares(*numbers), None).logits
        ).scores
    )
    told: list[tuple[int, dict[str, Any]]] = []
    # Two processes quantize for seconds, and need the cores.
    pause = 0.05 if wished == "openvino-int8" else 0

    def client(first: int) -> None:
        n = first
        while not house.services.inference.loaded.get("openvino"):
            told.append((n % 8, house.ask(numbers[n % 8], max_risk=0.3)))
            n += 1
            time.sleep(pause)
        told.extend((n, house.ask(numbers[n], max_risk=0.3)) for n in range(8))

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(client, n) for n in range(4)]:
            done.result(120)

    engine = _engine_of(house)
    own = engine.calibration
    reduced = np.exp(score("max_softmax", engine.run(_squares(*numbers), None).logits).scores)
    assert not np.allclose(reduced, torchs, atol=1e-6)
    seen = set()
    for n, body in told:
        assert body["http"] == 200
        id, (prediction,) = body["selection"]["calibration"]["id"], body["predictions"]
        seen.add(id)
        if id == own.id:
            assert prediction["score"] == pytest.approx(reduced[n], abs=1e-9)
            assert body["selection"]["status"] == "certified"
        else:
            assert id == house.standing
            assert prediction["score"] == pytest.approx(torchs[n], abs=2e-5)
            assert body["selection"]["status"] == "not_certifiable"
            assert prediction["decision"] == "abstain"
    assert seen == {house.standing, own.id}
    assert f"model {house.model} is served by openvino: " in caplog.text
    assert f"on n = {COUNTS['calibration']} calibration samples" in caplog.text
    assert own.id in caplog.text
    assert 'masktune_models_loaded{engine="openvino"} 1.0' in house.client.get("/metrics").text


@pytest.mark.slow
def test_what_it_promises_is_counted_on_its_own_answers(opened: Opener) -> None:
    house = opened("openvino-bf16")
    house.await_engine("openvino")
    engine = _engine_of(house)
    first = COUNTS["train"] + COUNTS["val"]
    numbers = range(first, first + COUNTS["calibration"])
    said = engine.run(_squares(*numbers), None)
    labels = np.array([n % 2 for n in numbers])
    for name in SCORES:
        scored = score(name, said.logits, said.erm_logits)
        table = CalibrationTable.build(scored.scores, scored.labels == labels)
        assert engine.calibration.tables[name].to_json() == table.to_json()
        body = house.ask(7, coverage=0.5, score=name)["selection"]
        assert body["calibration"]["id"] == engine.calibration.id
        assert body["calibration"]["n"] == COUNTS["calibration"]
        assert body["threshold"] == pytest.approx(np.exp(np.sort(scored.scores)[-100]), abs=1e-12)


@pytest.mark.slow
def test_its_drift_is_counted_against_its_own_calibration(opened: Opener) -> None:
    house = opened("openvino-bf16")
    house.await_engine("openvino")
    for number in range(5):
        house.ask(number)
    drift = house.client.get(f"/models/{house.model}/drift").json()
    assert drift["calibration"] == _engine_of(house).calibration.id
    assert drift["served"]["inputs"] >= 5


@pytest.mark.slow
def test_an_explained_answer_is_the_same_answer(opened: Opener) -> None:
    house = opened("openvino-bf16")
    house.await_engine("openvino")
    plain, explained = house.ask(3), house.ask(3, explain="true")
    assert explained["predictions"][0]["saliency"]["target"] in CLASSES
    explained["predictions"][0]["saliency"] = None
    assert explained == plain


@pytest.mark.slow
def test_a_new_calibration_of_the_model_ends_the_old_one_of_the_engine(opened: Opener) -> None:
    house = opened("openvino-bf16")
    house.await_engine("openvino")
    old = _engine_of(house).calibration
    with house.services.database.begin() as session:
        row = registry.get(session, house.model)
        row.calibration = dict(row.calibration or {}) | {"id": "cal_newer"}
    assert house.ask(0)["selection"]["calibration"]["id"] == "cal_newer"
    house.await_engine("openvino")
    own = _engine_of(house).calibration
    assert own.stands_for == "cal_newer"
    assert house.ask(0)["selection"]["calibration"]["id"] == own.id != old.id


def _stays(house: House, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """The model is answered by torch or its equal, and the log says why."""
    deadline = time.monotonic() + 60
    while f"model {house.model} is not served in less precision: " not in caplog.text:
        assert time.monotonic() < deadline
        assert house.ask(0)["http"] == 200
        time.sleep(0.05)
    assert why in caplog.text
    house.await_engine("onnxruntime")
    assert not house.services.inference.loaded.get("openvino")


@pytest.mark.slow
def test_a_model_that_was_never_calibrated_is_not_served(
    opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    _stays(opened("openvino-bf16", calibrated=False), "it has no calibration", caplog)


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["calibration", "train"])
def test_nothing_else_stands_in_for_a_split(
    opened: Opener, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    """Not even for the images that int8 is quantized with."""
    counts = {split: count for split, count in COUNTS.items() if split != missing}
    _stays(opened("openvino-int8", counts), f"has no {missing}", caplog)


@pytest.mark.slow
def test_asked_without_its_erm_half_it_stays_with_torch(
    opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    """A map is of the model alone; what was calibrated is the pair."""
    house = opened("openvino-bf16")
    files = {"file": ("a.png", bright(1)[0], "image/png")}
    answer = house.client.post("/saliency", params={"model": house.model}, files=files)
    assert answer.status_code == 200
    _stays(house, "without the ERM model", caplog)


@pytest.mark.parametrize(
    "explain", [None, Explain("xgradcam"), Explain("scorecam"), Explain("gradcam", target=1)]
)
def test_what_a_batch_gives_does_not_depend_on_who_shares_it(
    networks: tuple[Network, Network], graphs: Graphs, explain: Explain | None
) -> None:
    """Bit for bit: the scores that are served are those that were calibrated, sixteen at a time."""
    served = TorchEngine(*networks, torch.device("cpu"))
    engine = OpenVinoEngine(graphs, served, threads=1, precision="bf16")
    images = _squares(*range(16))
    together = engine.run(images, explain)
    alone = [engine.run(images[n : n + 1], explain) for n in range(16)]
    np.testing.assert_array_equal(np.concatenate([one.logits for one in alone]), together.logits)
    if explain is not None:
        assert together.maps is not None
        assert together.targets is not None
        expected = together.logits.argmax(1) if explain.target is None else np.full(16, explain.target)
        np.testing.assert_array_equal(together.targets, expected)
        maps = np.concatenate([one.maps for one in alone if one.maps is not None])
        np.testing.assert_allclose(maps, together.maps, rtol=1e-4, atol=1e-5)


def test_its_name_and_size(networks: tuple[Network, Network], graphs: Graphs) -> None:
    served = TorchEngine(*networks, torch.device("cpu"))
    engine = OpenVinoEngine(graphs, served, threads=1, precision="f32")
    assert (engine.name, engine.precision, engine.classes, engine.image_size) == ("openvino", "f32", 2, SIDE)
    assert engine.nbytes > served.nbytes


_FIRST_COME_FIRST_GONE = """
import gc, os, signal, sys
from app.inference.openvino_engine import _Graph

graphs = [_Graph(path, 1, "f32") for path in sys.argv[1:]]
while graphs:
    del graphs[0]
    gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: print("alive"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_engines_that_are_gone_leave_no_thread_with_a_stack_that_is_gone(graphs: Graphs) -> None:
    """The next signal (of a child that ended, say) kills the process: two cores of OpenVINO leave that."""
    command = [sys.executable, "-c", _FIRST_COME_FIRST_GONE, *map(str, graphs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
