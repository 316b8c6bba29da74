"""The graph sees an image of any size as the service does, and scores it alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from app.inference.engines.graph_store import constants
from masktune.contract.hyperparameters import ScoreName
from models.backbones.build import build_network
from models.data.grey import GreyWindow, to_8_bit
from models.data.images.decoding import square_array
from models.export import ModelError, card_of
from models.onnx_export import export_answers, log_softmax, save_graph, square, trace
from models.selective import score
from models.selective.scores import log_softmax as service_log_softmax

SIZES = [
    (1, 1),
    (1, 2),
    (1, 900),
    (900, 1),
    (8, 500),
    (37, 41),
    (28, 28),
    (28, 50),
    (56, 56),
    (14, 14),
    (4200, 9),
]
"""Heights and widths: of one line, far from square, the network's own, its double and its half."""
CLASSES = ("Käfer", "ant", "bee")
SIDE = 28


class _Square(torch.nn.Module):
    def __init__(self, window: GreyWindow | None) -> None:
        super().__init__()
        self.window = window

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return square(image, SIDE, self.window)


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def _hard_images(height: int, width: int) -> list[NDArray[np.uint8]]:
    """Noise, black and white noise, and lines of one pixel."""
    generator = np.random.default_rng(height * width)
    lines = np.zeros((height, width, 3), np.uint8)
    lines[height // 2], lines[:, width // 3] = 255, 200
    noise = generator.integers(0, 256, (height, width, 3), np.uint8)
    return [noise, 255 * (noise // 128), lines]


@pytest.fixture(scope="module", params=[None, GreyWindow(20, 4020)], ids=["colour", "grey"])
def squares(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[onnxruntime.InferenceSession, GreyWindow | None]:
    window: GreyWindow | None = request.param
    image = (
        torch.zeros((5, 7, 3), dtype=torch.uint8) if window is None else torch.zeros(5, 7).to(torch.uint16)
    )
    path = tmp_path_factory.mktemp("square") / "square.onnx"
    free = {"image": ("height", "width")}
    save_graph(trace(_Square(window), {"image": image}, outputs=("square",), free=free, what="it"), path)
    return _session(path), window


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_resized_image_equals_the_services_to_the_level(
    squares: tuple[onnxruntime.InferenceSession, GreyWindow | None], size: tuple[int, int]
) -> None:
    session, window = squares
    for pixels in _hard_images(*size):
        levels = pixels[..., 0].astype(np.uint16) * 17
        eight_bit = np.asarray(Image.fromarray(to_8_bit(levels, window)).convert("RGB"))
        (output,) = session.run(None, {"image": pixels if window is None else levels})
        picture = Image.fromarray(pixels if window is None else eight_bit)
        np.testing.assert_array_equal(output, square_array(picture, SIDE))


@pytest.mark.parametrize("logits", [[0.0, 0.0], [40.0, 0.0], [-3.0, 900.0], [1e-8, 0.0], [2.0, 2.5]])
def test_log_probabilities_keep_what_rounds_away_beside_one(logits: list[float]) -> None:
    temperature = torch.tensor(1.5, dtype=torch.float64)
    output = log_softmax(torch.tensor(logits), temperature)
    np.testing.assert_allclose(
        output, service_log_softmax([np.array(logits, np.float32)], 1.5)[0], rtol=1e-12
    )


@pytest.mark.parametrize(("name", "with_erm"), [("max_softmax", False), ("product", True), ("minimum", True)])
def test_it_answers_or_abstains_by_the_services_score(
    name: ScoreName, with_erm: bool, tmp_path: Path
) -> None:
    networks = [build_network("small_cnn", classes=3, image_size=SIDE, seed=seed).eval() for seed in (1, 2)]
    card = card_of(networks[0], CLASSES, "erm")
    export_answers(networks[0], networks[1] if with_erm else None, tmp_path / "a.onnx", card, name)
    image = np.random.default_rng(0).integers(0, 256, (33, 45, 3), np.uint8)
    batch = torch.from_numpy(square_array(Image.fromarray(image), SIDE))[None].float() / 255
    with torch.inference_mode():
        own, erm = (network(batch).numpy() for network in networks)
    scored = score(name, own, erm, temperature=2.0)
    log_score, answered = float(scored.scores[0]), int(scored.labels[0])
    for threshold, decision in (
        (log_score - 1e-4, "answer"),
        (log_score + 1e-4, "abstain"),
        (-np.inf, "answer"),
    ):
        thresholds = [np.inf] * 3  # of the other labels, which do not count
        thresholds[answered] = threshold
        content = (tmp_path / "a.onnx").read_bytes() + constants(2.0, thresholds)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        decided, label, probability, shares, *agreement = session.run(None, {"image": image})
        assert decided == decision
        assert label == (CLASSES[answered] if decision == "answer" else "")
        assert probability == pytest.approx(np.exp(log_score), abs=1e-6)
        np.testing.assert_allclose(shares, np.exp(scored.log_probabilities[0]), atol=1e-6)
        assert agreement == ([own.argmax() == erm.argmax()] if with_erm else [])


class _Stubborn(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if images.sum() > 0 else -images


def test_a_network_that_cannot_be_traced_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    images = torch.ones(2, 3)
    with pytest.raises(ModelError, match=r"stubborn cannot be exported to ONNX: .*data-dependent"):
        trace(_Stubborn(), {"images": images}, outputs=("logits",), free={}, what="stubborn")
    network = build_network("small_cnn", classes=3, image_size=SIDE)
    with pytest.raises(ModelError, match="product needs an ERM model"):
        export_answers(network, None, tmp_path / "a.onnx", card_of(network, CLASSES, "erm"), "product")
    assert list(tmp_path.iterdir()) == []
