"""ONNX Runtime on a card: which one, with which options, and what its errors become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail, RuntimeException

from app.inference.engines.onnx import Graphs, OnnxEngine
from app.inference.engines.torch import TorchEngine
from core.errors import Unavailable
from models.backbones.build import build_network
from models.export import export_onnx
from tests.support.pretend_cuda import pretended_card

IMAGES = np.zeros((2, 3, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    file = tmp_path_factory.mktemp("graphs") / "a.onnx"
    export_onnx(build_network("small_cnn", classes=2, image_size=28), file)
    return Graphs(file, None)


class Session(onnxruntime.InferenceSession):  # type: ignore[misc]  # it has no stub
    """One of the CPU that calls itself a card's."""

    asked: ClassVar[list[Any]] = []
    """The providers of each, in order."""

    def __init__(self, path: Path, options: object, providers: list[Any]) -> None:
        self.asked.append(providers)
        super().__init__(path, options, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]


class Failing:
    """What a session runs; each run ends with `error`."""

    def __init__(self, inner: Any, error: Exception) -> None:
        self._inner, self._error = inner, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def run(self, *args: object) -> None:
        raise self._error


def fail(engine: OnnxEngine, error: Exception) -> None:
    """Let every run of the engine's session end so."""
    session = engine._model._session
    session._sess = Failing(session._sess, error)


@pytest.fixture
def on_card(graphs: Graphs, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], OnnxEngine]:
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    Session.asked.clear()

    def make(device: str) -> OnnxEngine:
        network = build_network("small_cnn", classes=2, image_size=28)
        with pretended_card(monkeypatch):
            served = TorchEngine(network, None, torch.device(device))
            return OnnxEngine(graphs, served, threads=1, cuda=True)

    return make


@pytest.mark.parametrize(("device", "number"), [("cuda", "0"), ("cuda:1", "1")])
def test_it_runs_on_the_card_that_torch_runs_on(
    on_card: Callable[[str], OnnxEngine], device: str, number: str
) -> None:
    on_card(device)
    [[(name, options), other]] = Session.asked
    assert (name, other) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options["device_id"] == number
    assert options["use_tf32"] == "0"
    assert options["arena_extend_strategy"] == "kSameAsRequested"


def test_an_error_of_the_card_is_no_silent_fall_back(
    on_card: Callable[[str], OnnxEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    """The session would be made anew on the CPU, and answer from there on, unproven."""
    engine = on_card("cuda")
    fail(engine, EPFail("CUDA failure 700"))
    with pytest.raises(EPFail):
        engine.run(IMAGES, None)
    assert capsys.readouterr().out == ""


def test_a_card_without_room_is_to_be_asked_again(on_card: Callable[[str], OnnxEngine]) -> None:
    engine = on_card("cuda")
    full = RuntimeException("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer")
    fail(engine, full)
    with pytest.raises(Unavailable, match="no memory left") as refused:
        engine.run(IMAGES, None)
    assert refused.value.headers["Retry-After"] == "5"
    fail(engine, RuntimeException("bad node"))
    with pytest.raises(RuntimeException, match="bad node"):
        engine.run(IMAGES, None)
