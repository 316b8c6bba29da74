"""ONNX Runtime in torch's place: the same answers and maps, proven at the export, taken by the next load."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.inference import Explain, Inference, Pair, StoredNetwork, Upload
from app.inference.engines import graph_store as graphs
from app.inference.engines.export_process import export, prove, prove_answers
from app.inference.engines.onnx import TOLERANCE, OnnxEngine, difference
from app.inference.engines.torch import TorchEngine
from app.inference.types import Scores
from app.registry.aliases import load_ahead
from core.errors import Conflict, InvalidInput, MasktuneError, StorageFull, StorageNotWritable, Unavailable
from core.settings import Settings
from core.storage.artifacts import Artifacts
from models.backbones.build import build_network
from models.backbones.network import Network
from models.export import ModelError, card_of, save_model
from models.mitigation.features import HeadError, linear_layer
from models.onnx_export import export_onnx
from tests.integration.app.serving.conftest import forward, forward_by, inference_of, picture
from tests.support.graphs import (
    GREY_CLASSES,
    SIDE,
    WINDOW,
    exported,
    grey_answers,
    network_of,
    pooling_network,
    saved,
    store,
)
from tests.support.machine import needs
from tests.support.waits import wait_until

IMAGES = 3


@dataclass(frozen=True)
class Both:
    """A pair in torch and in ONNX Runtime, and images for it."""

    torch: TorchEngine
    onnx: OnnxEngine
    images: NDArray[np.uint8]
    networks: list[Network]


@pytest.fixture(scope="module")
def linear_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the network that pools."""
    graph = tmp_path_factory.mktemp("graphs") / graphs.FILE
    export_onnx(pooling_network(linear=True), graph)
    return graph


@pytest.fixture(scope="module", params=["hidden", "linear"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, linear_graph: Path
) -> Both:
    """One head has a hidden layer, whose gradient is taken; one is a pooling and a linear layer. Each is the
    other's ERM."""
    pairs = [(network_of(1), exported(tmp_path_factory)), (pooling_network(linear=True), linear_graph)]
    (network, file), (erm, erm_file) = pairs if request.param == "hidden" else pairs[::-1]
    served = TorchEngine(network, erm, torch.device("cpu"))
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 3, SIDE, SIDE), dtype=np.uint8)
    return Both(served, OnnxEngine(served, file, erm_file, threads=1), images, [network, erm])


def _close(found: Scores, expected: Scores) -> None:
    assert difference(found, expected).passes
    assert found.erm_logits is not None
    assert expected.erm_logits is not None
    assert difference(Scores(found.erm_logits, None), Scores(expected.erm_logits, None)).passes
    if expected.maps is None or found.maps is None:
        assert found.maps is expected.maps is None
        return
    np.testing.assert_allclose(found.maps, expected.maps, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(found.targets, expected.targets)


@pytest.mark.parametrize(
    "explain",
    [None, Explain("xgradcam"), Explain("gradcam", target=1), Explain("layercam"), Explain("fullgrad")],
    ids=lambda explain: explain and explain.method,
)
def test_it_says_what_torch_says(both: Both, explain: Explain | None) -> None:
    _close(both.onnx.run(both.images, explain), both.torch.run(both.images, explain))


@pytest.mark.parametrize("explain", [None, Explain("xgradcam"), Explain("fullgrad")])
def test_both_engines_hand_out_the_last_layer_s_inputs(both: Both, explain: Explain | None) -> None:
    in_torch, in_onnx = (
        engine.run(both.images, explain, features=True) for engine in (both.torch, both.onnx)
    )
    _close(in_onnx, in_torch)
    layer = linear_layer(both.networks[0])
    for scores in (in_torch, in_onnx):
        assert scores.features is not None
        with torch.inference_mode():
            np.testing.assert_allclose(layer(torch.from_numpy(scores.features)), scores.logits, atol=1e-4)
    _close(both.onnx.run(both.images[1:2], explain, features=True), in_torch.rows(1, 2))


def test_features_are_handed_out_only_when_asked_for(both: Both) -> None:
    assert both.torch.run(both.images, None).features is None
    assert both.onnx.run(both.images, Explain("xgradcam")).features is None


def test_an_explained_answer_is_the_same_answer(both: Both) -> None:
    plain, explained = (both.onnx.run(both.images, explain) for explain in (None, Explain("xgradcam")))
    np.testing.assert_array_equal(plain.logits, explained.logits)
    np.testing.assert_array_equal(explained.targets, plain.logits.argmax(1))


def test_neither_answers_nor_maps_depend_on_who_shares_the_batch(both: Both) -> None:
    together = both.onnx.run(both.images, Explain("xgradcam"))
    for number in range(len(both.images)):
        alone = both.onnx.run(both.images[number : number + 1], Explain("xgradcam"))
        _close(alone, together.rows(number, number + 1))


def test_the_memory_of_the_graphs_is_counted(both: Both) -> None:
    own, erm = (TorchEngine(network, None, torch.device("cpu")).nbytes for network in both.networks)
    assert both.torch.nbytes == own + erm
    assert both.onnx.nbytes > 2 * own + erm


@pytest.mark.parametrize(
    ("change", "passes"),
    [([0, 0], True), ([TOLERANCE / 2, 0], True), ([2 * TOLERANCE, 0], False), ([np.nan, 0], False)],
)
def test_which_differences_pass_verification(change: list[float], passes: bool) -> None:
    logits = np.array([[0.2, 0.1], [0.3, 0.9]], np.float32)
    found = difference(Scores(logits + np.array(change, np.float32), None), Scores(logits, None))
    assert found.passes is passes
    features = difference(
        Scores(logits, None, features=logits + np.array(change, np.float32)),
        Scores(logits, None, features=logits),
    )
    assert features.passes is passes
    close = np.array([[0.50001, 0.5]], np.float32)
    assert not difference(Scores(close[:, ::-1], None), Scores(close, None)).passes  # another label


def test_a_graph_of_other_weights_is_not_proven(tmp_path_factory: pytest.TempPathFactory) -> None:
    prove(network_of(1), exported(tmp_path_factory))
    with pytest.raises(ModelError, match="differ between ONNX Runtime and PyTorch"):
        prove(network_of(2), exported(tmp_path_factory))


def test_a_graph_of_answers_is_proven_on_images_of_odd_sizes(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    networks, graph = [network_of(seed) for seed in (1, 2)], grey_answers(tmp_path_factory)
    card = card_of(networks[0], GREY_CLASSES, "erm", grey_window=WINDOW)
    engine, others = (TorchEngine(network, None, torch.device("cpu")) for network in networks)
    prove_answers(engine, card, graph, "max_softmax", neighbours=None)
    with pytest.raises(ModelError, match=r"the answers to an image of 1 × 1 pixels differ between ONNX"):
        prove_answers(others, card, graph, "max_softmax", neighbours=None)


def test_a_network_without_distances_is_named(tmp_path: Path) -> None:
    network = build_network("torchvision/squeezenet1_1", classes=2, image_size=64)
    save_model(network, card_of(network, ("a", "b"), "erm"), tmp_path / "model")
    with pytest.raises(HeadError, match="does not end in a linear layer"):
        export(str(tmp_path / "a.onnx"), [[str(tmp_path / "model")]], "max_softmax", tells_unlike=True)
    assert not (tmp_path / "a.onnx").exists()


@pytest.fixture
def inference(artifacts: Artifacts, tmp_path: Path) -> Iterator[Inference]:
    made = inference_of(Settings(data_dir=tmp_path, threads=1), artifacts)
    yield made
    made.close()


def _ask(inference: Inference, pair: Pair) -> Scores:
    return asyncio.run(forward(inference, pair, [Upload(picture(3))])).scores


def test_a_pair_is_served_by_torch_until_the_export_of_what_its_alias_lacked(
    inference: Inference,
    artifacts: Artifacts,
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both networks have the same weights, of which there is a graph."""
    caplog.set_level("INFO")
    finish, content = threading.Event(), exported(tmp_path_factory).read_bytes()
    inference.exports._thread.submit(finish.wait, 60)
    pair = Pair(*(saved(artifacts, name, seed=1) for name in ("mdl_a", "mdl_e")))
    store(artifacts, graphs.key("mdl_a"), content)
    load_ahead(inference, pair)
    in_torch = _ask(inference, pair)
    assert inference.loaded == {"torch": 1}

    async def download() -> Path:
        waiting = asyncio.create_task(inference.exports.file(graphs.Graph(pair.networks[1:])))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        store(artifacts, graphs.key("mdl_e"), content)  # another replica is faster
        finish.set()
        return await waiting

    assert asyncio.run(download()).read_bytes() == content
    assert "the graphs of model mdl_a are stored" in caplog.text
    inference.cache.drop("mdl_a")
    _close(_ask(inference, pair), in_torch)
    _ask(inference, Pair(pair.model, None))
    assert inference.loaded == {"onnxruntime": 2}


def test_a_damaged_graph_leaves_the_model_to_torch(
    inference: Inference, artifacts: Artifacts, caplog: pytest.LogCaptureFixture
) -> None:
    pair = Pair(saved(artifacts, "mdl_a", seed=0), None)
    store(artifacts, graphs.key(pair.model.id), b"damaged")
    _ask(inference, pair)
    assert inference.loaded == {"torch": 1}
    assert "graphs of model mdl_a cannot be loaded" in caplog.text


@pytest.mark.parametrize("settings", [{"engine": "torch"}, {"device": "cuda"}], ids=str)
def test_where_no_graph_would_serve_none_is_exported(
    artifacts: Artifacts, tmp_path: Path, settings: dict[str, Any]
) -> None:
    inference = inference_of(Settings(data_dir=tmp_path, **settings), artifacts)
    inference.export(Pair(saved(artifacts, "mdl_a", seed=0), None))
    inference.close()
    assert not Path(artifacts.root, "exports").exists()


def test_an_alias_never_waits_or_fails_for_its_export(
    inference: Inference, artifacts: Artifacts, caplog: pytest.LogCaptureFixture
) -> None:
    finish = threading.Event()
    inference.exports._thread.submit(finish.wait, 60)
    pair = Pair(saved(artifacts, "mdl_a", seed=0), StoredNetwork("mdl_gone", "models/mdl_gone"))
    store(artifacts, graphs.key("mdl_a"), b"")
    for _ in range(graphs.MOST_WAITING + 1):
        inference.export(pair)
    assert caplog.text.count("not exported: 4 exports are already waiting") == 1
    finish.set()
    wait_until(lambda: caplog.text.count("not exported: the files of model mdl_gone are gone") == 4)


def test_closing_ends_an_export_that_leaves_nothing(inference: Inference, artifacts: Artifacts) -> None:
    inference.export(Pair(saved(artifacts, "mdl_a", seed=0), None))
    exports = Path(artifacts.root, "exports")
    wait_until(lambda: exports.exists() and any(exports.iterdir()))
    inference.close()
    assert list(exports.iterdir()) == []


def test_what_goes_out_of_the_cache_leaves_the_memory(artifacts: Artifacts, tmp_path: Path) -> None:
    """Frozen for the collector (`gc.freeze`), but freed by its last reference."""
    settings = Settings(data_dir=tmp_path, threads=1, engine="torch", models_in_memory_bytes=1)
    inference = inference_of(settings, artifacts)
    pairs = [Pair(saved(artifacts, f"mdl_{name}", seed=0), None) for name in "ab"]

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
    """Where the export was killed or the disk is full, it is worth another try."""
    with pytest.raises(MasktuneError) as raised:
        graphs.run_export(["-c", end], threading.Event())
    assert type(raised.value) is kind


def test_an_export_to_a_full_disk_is_told_and_leaves_nothing(artifacts: Artifacts, tmp_path: Path) -> None:
    needs("/dev/full")
    network, target = saved(artifacts, "mdl_a", seed=0), tmp_path / "exports"
    target.mkdir()
    (target / f".{graphs.FILE}.partial").symlink_to("/dev/full")
    facts = {"score": None, "tells_unlike": False, "networks": [[str(artifacts.folder(network.artifact))]]}
    job = json.dumps(facts | {"file": str(target / graphs.FILE)})
    with pytest.raises(StorageFull):
        graphs.run_export(["-m", "app.inference.engines.export_process", job], threading.Event())
    assert list(target.iterdir()) == []


def test_scores_that_are_not_finite_are_an_error_and_no_abstention(inference: Inference) -> None:
    network = network_of(0)
    with torch.no_grad():
        for weights in network.parameters():
            weights.fill_(3e38)
    engine = TorchEngine(network, None, torch.device("cpu"))
    with pytest.raises(InvalidInput, match="not finite"):
        asyncio.run(forward_by(inference, engine, [Upload(picture(0))]))
