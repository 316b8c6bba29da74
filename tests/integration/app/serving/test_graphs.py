"""ONNX Runtime in torch's place: the same answers and maps, taken over under load, freed with its pair."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.inference import Explain, ForwardResult, Inference, Pair, Part, Upload
from app.inference.engines import graph_store as graphs
from app.inference.engines.onnx import TOLERANCE, Graphs, OnnxEngine, difference
from app.inference.engines.torch import TorchEngine, load
from app.inference.engines.verification import prove
from app.inference.types import Scores
from core.errors import Conflict, InvalidInput, MasktuneError, StorageFull, StorageNotWritable, Unavailable
from core.settings import Settings
from core.storage.artifacts import Artifacts
from models.backbones.build import build_network
from models.export import card_of, export_onnx, save_model
from tests.integration.app.serving.conftest import forward, inference_of, picture
from tests.machine import needs

HEADS = {"small_cnn": 28, "timm/test_resnet": 64}
"""One head with a hidden layer, whose gradient is taken, and one that is a pooling and a linear layer."""


@dataclass(frozen=True)
class Both:
    """A pair in torch and in ONNX Runtime, and images for it."""

    torch: TorchEngine
    onnx: OnnxEngine
    images: NDArray[np.uint8]
    graphs: Graphs


@pytest.fixture(scope="module", params=HEADS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder, side = tmp_path_factory.mktemp("graphs"), HEADS[request.param]
    networks = [build_network(request.param, classes=3, image_size=side, seed=seed) for seed in (1, 2)]
    files = [folder / f"{n}.onnx" for n in range(2)]
    for network, file in zip(networks, files, strict=True):
        export_onnx(network, file)
    served = TorchEngine(networks[0], networks[1], torch.device("cpu"))
    images = np.random.default_rng(0).integers(0, 256, (9, 3, side, side), dtype=np.uint8)
    of_pair = Graphs(files[0], files[1])
    return Both(served, OnnxEngine(of_pair, served, threads=1, cuda=False), images, of_pair)


def _close(found: Scores, expected: Scores) -> None:
    assert difference(found, expected).passes
    if expected.maps is None or found.maps is None:
        assert found.maps is expected.maps is None
        return
    np.testing.assert_allclose(found.maps, expected.maps, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(found.targets, expected.targets)


@pytest.mark.parametrize(
    "explain",
    [
        None,
        Explain("xgradcam"),
        Explain("gradcam", target=2),
        Explain("layercam"),
        Explain("fullgrad"),
    ],
    ids=lambda explain: explain and explain.method,
)
def test_it_says_what_torch_says(both: Both, explain: Explain | None) -> None:
    _close(both.onnx.run(both.images, explain), both.torch.run(both.images, explain))


def test_an_explained_answer_is_the_same_answer(both: Both) -> None:
    plain, explained = (both.onnx.run(both.images, explain) for explain in (None, Explain("xgradcam")))
    np.testing.assert_array_equal(plain.logits, explained.logits)
    np.testing.assert_array_equal(explained.targets, plain.logits.argmax(1))


def test_neither_answers_nor_maps_depend_on_who_shares_the_batch(both: Both) -> None:
    together = both.onnx.run(both.images, Explain("xgradcam"))
    for number in range(len(both.images)):
        alone = both.onnx.run(both.images[number : number + 1], Explain("xgradcam"))
        _close(alone, together.rows(number, number + 1))


def test_a_card_that_it_cannot_use_is_no_silent_fall_back(both: Both) -> None:
    """ONNX Runtime would run on the CPU then, far slower than torch on the card, and prove equal to it."""
    needs("no card")
    with pytest.raises(Conflict, match="cannot use the card"):
        OnnxEngine(both.graphs._replace(erm=None), both.torch, threads=1, cuda=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[TorchEngine, Path]:
    """A model without an ERM half, and its graph."""
    network = build_network("small_cnn", classes=2, image_size=28, seed=1)
    file = tmp_path_factory.mktemp("alone") / "a.onnx"
    export_onnx(network, file)
    return TorchEngine(network, None, torch.device("cpu")), file


def test_the_memory_of_the_graphs_is_counted(both: Both) -> None:
    half = both.torch.alone().nbytes
    assert both.torch.nbytes == 2 * half
    assert both.onnx.nbytes > 2.5 * half


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ([0, 0], True),
        ([TOLERANCE / 2, 0], True),
        ([2 * TOLERANCE, 0], False),
        ([np.nan, 0], False),
    ],
)
def test_which_differences_pass_verification(change: list[float], passes: bool) -> None:
    logits = np.array([[0.2, 0.1], [0.3, 0.9]], np.float32)
    found = difference(Scores(logits + np.array(change, np.float32), logits), Scores(logits, logits))
    assert found.passes is passes
    assert not difference(Scores(logits, -logits), Scores(logits, logits)).passes  # the ERM half counts too
    close = np.array([[0.50001, 0.5]], np.float32)
    assert not difference(Scores(close[:, ::-1], None), Scores(close, None)).passes  # another label


def _saved(artifacts: Artifacts, name: str, *, seed: int = 0) -> Part:
    network = build_network("small_cnn", classes=2, image_size=28, seed=seed)
    part = Part(name, f"models/{name}")
    with artifacts.writing(part.artifact) as folder:
        save_model(network, card_of(network, ("a", "b"), "erm"), folder)
    return part


def test_a_graph_of_other_weights_may_not_answer(
    artifacts: Artifacts, alone: tuple[TorchEngine, Path]
) -> None:
    part = _saved(artifacts, "mdl_a", seed=5)
    with artifacts.writing(graphs.key("mdl_a")) as folder:
        copyfile(alone[1], folder / graphs.FILE)
    pair = Pair(part, None)
    engine = load(pair, artifacts, device="cpu", threads=1)
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 28, 28), dtype=np.uint8)
    proven = prove(pair, engine, images, artifacts=artifacts, threads=1)
    assert proven.engine is None
    assert "differ between ONNX Runtime and torch" in proven.why


def _stored(model: str, count: int) -> list[bytes]:
    return [b"damaged", *(picture(number) for number in range(count - 1))]


@pytest.fixture
def inference(artifacts: Artifacts, tmp_path: Path) -> Iterator[Inference]:
    made = inference_of(Settings(data_dir=tmp_path, threads=1), artifacts, _stored)
    yield made
    made.close()


@pytest.mark.slow
def test_a_graph_is_made_proven_and_takes_over_under_load(inference: Inference, artifacts: Artifacts) -> None:
    """From the first request on, with the export in a process of its own: no answer fails or differs."""
    pair = Pair(_saved(artifacts, "mdl_a", seed=1), _saved(artifacts, "mdl_e", seed=2))

    async def run() -> list[Scores]:
        scores_of_all = []
        while inference.loaded.get("onnxruntime") != 1:
            scores_of_all += [
                prediction.scores for prediction in await asyncio.gather(*(ask() for _ in range(8)))
            ]
            await asyncio.sleep(0.2)  # some load: the export has the cores that are left
        scores_of_all.append((await ask()).scores)
        return scores_of_all

    async def ask() -> ForwardResult:
        return await forward(inference, pair, [Upload(picture(3))])

    answers = asyncio.run(run())
    assert inference.loaded == {"onnxruntime": 1}
    assert len(answers) > 8
    for scores in answers:
        assert difference(scores, answers[0]).passes
    assert artifacts.exists(graphs.key("mdl_a"))
    assert artifacts.exists(graphs.key("mdl_e"))


def test_closing_ends_an_export(inference: Inference, artifacts: Artifacts) -> None:
    pair = Pair(_saved(artifacts, "mdl_a"), None)
    asyncio.run(forward(inference, pair, [Upload(picture(0))]))
    inference.close()
    assert not artifacts.exists(graphs.key("mdl_a"))
    assert list(Path(artifacts.root).glob("exports/*")) == []  # the folder is made when an export is written


def test_what_goes_out_of_the_cache_leaves_the_memory(artifacts: Artifacts, tmp_path: Path) -> None:
    """Frozen for the collector (`gc.freeze`), but freed by its last reference."""
    settings = Settings(data_dir=tmp_path, threads=1, engine="torch", models_in_memory_bytes=1)
    inference = inference_of(settings, artifacts)
    pairs = [Pair(_saved(artifacts, f"mdl_{name}"), None) for name in "ab"]

    async def engine_of(pair: Pair) -> object:
        await forward(inference, pair, [Upload(picture(0))])
        return inference.cache.ready(pair)

    first = weakref.ref(asyncio.run(engine_of(pairs[0])))
    assert first() is not None
    asyncio.run(engine_of(pairs[1]))
    gc.collect()
    assert first() is None
    inference.close()


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ("import os; os.kill(os.getpid(), 9)", Unavailable),  # as where the memory is full
        ("import os; os._exit(os.EX_TEMPFAIL)", Unavailable),
        ("import os; os._exit(os.EX_CANTCREAT)", StorageFull),
        ("import os; os._exit(os.EX_NOPERM)", StorageNotWritable),
        ("raise SystemExit('it has no graph')", Conflict),
    ],
)
def test_only_what_the_network_is_to_blame_for_is_a_conflict(end: str, kind: type[MasktuneError]) -> None:
    """What cannot be exported stays with torch for good; where the export was killed it is tried again."""
    with pytest.raises(MasktuneError) as raised:
        graphs.run_export(["-c", end], threading.Event())
    assert type(raised.value) is kind


def test_an_export_to_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    needs("/dev/full")
    folder, target = tmp_path / "model", tmp_path / "exports"
    network = build_network("small_cnn", classes=2, image_size=28).eval()
    save_model(network, card_of(network, ("cat", "dog"), "erm"), folder)
    target.mkdir()
    (target / f".{graphs.FILE}.partial").symlink_to("/dev/full")
    with pytest.raises(StorageFull, match="not enough space"):
        graphs.run_export(
            ["-m", "app.inference.files", str(folder), str(target / graphs.FILE)], threading.Event()
        )
    assert list(target.iterdir()) == []


def test_scores_that_are_not_finite_are_an_error_and_no_abstention(inference: Inference) -> None:
    network = build_network("small_cnn", classes=2, image_size=28).eval()
    with torch.no_grad():
        for weights in network.parameters():
            weights.fill_(3e38)
    engine = TorchEngine(network, None, torch.device("cpu"))
    with pytest.raises(InvalidInput, match="not finite"):
        asyncio.run(inference.forward(engine, [Upload(picture(0))]))
