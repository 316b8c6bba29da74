"""The graph sees an image of any size as the service does, and scores it alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from app.inference.engines.graph_store import constants
from app.inference.engines.torch import TorchEngine
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.vocabulary import AbstainReason, Decision
from models.data.grey import LEVELS, to_8_bit
from models.data.images.decoding import square_array
from models.export import ModelError, card_of
from models.onnx_export import (
    DECISIONS,
    REASONS,
    export_answers,
    log_softmax,
    neighbour_distance,
    save_graph,
    square,
    trace,
)
from models.selective import NEIGHBOURS, TrainingNeighbours, score
from models.selective.scores import log_softmax as service_log_softmax
from tests.support.graphs import SIDE, WINDOW, exported, network_of

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


class _Squares(torch.nn.Module):
    def forward(self, colour: torch.Tensor, grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return square(colour, SIDE, None), square(grey, SIDE, WINDOW)


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def _answering(path: Path, missing: bytes) -> onnxruntime.InferenceSession:
    """The graph of answers with its constants."""
    content = path.read_bytes() + missing
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def _hard_images(height: int, width: int) -> list[NDArray[np.uint8]]:
    """Noise, black and white noise, and lines of one pixel."""
    generator = np.random.default_rng(height * width)
    lines = np.zeros((height, width, 3), np.uint8)
    lines[height // 2], lines[:, width // 3] = 255, 200
    noise = generator.integers(0, 256, (height, width, 3), np.uint8)
    return [noise, 255 * (noise // 128), lines]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    images = {
        "colour": torch.zeros((5, 7, 3), dtype=torch.uint8),
        "grey": torch.zeros((6, 8), dtype=torch.uint16),
    }
    free = {"colour": {"height": 1, "width": 1}, "grey": {"grey_height": 1, "grey_width": 1}}
    path = tmp_path_factory.mktemp("square") / "square.onnx"
    save_graph(
        trace(_Squares(), images, outputs=("colour_square", "grey_square"), free=free, what="it"), path
    )
    return _session(path)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_resized_image_equals_the_services_to_the_level(
    squares: onnxruntime.InferenceSession, size: tuple[int, int]
) -> None:
    for pixels in _hard_images(*size):
        levels = pixels[..., 0].astype(np.uint16) * 17
        colour_square, grey_square = squares.run(None, {"colour": pixels, "grey": levels})
        np.testing.assert_array_equal(colour_square, square_array(Image.fromarray(pixels), SIDE))
        np.testing.assert_array_equal(grey_square, _grey_square(levels))


def _grey_square(levels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """As the service makes it of a 16-bit image."""
    return square_array(Image.fromarray(to_8_bit(levels, WINDOW)).convert("RGB"), SIDE)


@pytest.mark.parametrize("logits", [[0.0, 0.0], [40.0, 0.0], [-3.0, 900.0], [1e-8, 0.0], [2.0, 2.5]])
def test_log_probabilities_keep_what_rounds_away_beside_one(logits: list[float]) -> None:
    temperature = torch.tensor(1.5, dtype=torch.float64)
    output = log_softmax(torch.tensor(logits), temperature)
    np.testing.assert_allclose(
        output, service_log_softmax([np.array(logits, np.float32)], 1.5)[0], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("name", "seeds", "classes"),
    [("max_softmax", (9,), ("Käfer", "ant", "bee")), ("product", (1, 0), ("left", "right"))],
)
def test_it_answers_or_abstains_by_the_services_score(
    name: ScoreName,
    seeds: tuple[int, ...],
    classes: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    graph = exported(tmp_path_factory, *seeds, score=name, classes=classes)
    networks = [network_of(seed, classes) for seed in seeds]
    image = np.random.default_rng(0).integers(0, 256, (33, 45, 3), np.uint8)
    batch = torch.from_numpy(square_array(Image.fromarray(image), SIDE))[None].float() / 255
    with torch.inference_mode():
        own, *erm = (network(batch).numpy() for network in networks)
    scored = score(name, own, *erm, temperature=2.0)
    log_score, answered = float(scored.scores[0]), int(scored.labels[0])
    for threshold, decision, why in (
        (log_score - 1e-4, "answer", ""),
        (log_score + 1e-4, "abstain", "below_threshold"),
        (-np.inf, "answer", ""),
        (np.inf, "abstain", "no_certified_threshold"),
    ):
        thresholds = [np.inf] * len(classes)  # of the other labels, which do not count
        thresholds[answered] = threshold
        session = _answering(graph, constants(2.0, thresholds))
        decided, label, probability, shares, reason, *agreement = session.run(None, {"image": image})
        assert (decided, reason) == (decision, why)
        assert label == (classes[answered] if decision == "answer" else "")
        assert probability == pytest.approx(np.exp(log_score), abs=1e-6)
        np.testing.assert_allclose(shares, np.exp(scored.log_probabilities[0]), atol=1e-6)
        assert agreement == [own.argmax() == one.argmax() for one in erm]


@pytest.mark.parametrize("images", [NEIGHBOURS, 300])
def test_an_image_unlike_the_training_images_abstains_whatever_its_score(
    images: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    graph = exported(tmp_path_factory, 1, score="max_softmax", tells_unlike=True, window=WINDOW)
    network = network_of(1)
    image = np.random.default_rng(0).integers(0, LEVELS, (33, 45), np.uint16)
    square_image = _grey_square(image)[None]
    raw = TorchEngine(network, None, torch.device("cpu")).run(square_image, None, features=True)
    assert raw.features is not None
    held_out = np.abs(np.random.default_rng(1).normal(size=(99, raw.features.shape[1]))).astype(np.float32)
    fitted = TrainingNeighbours.fit(np.resize(held_out, (images, held_out.shape[1])), held_out)
    (distance,) = fitted.distances(raw.features).tolist()
    for unlike_threshold, threshold, decided, why in (
        (distance + 1e-4, -np.inf, "answer", ""),
        (distance + 1e-4, np.inf, "abstain", "no_certified_threshold"),
        (distance + 1e-4, 1.0, "abstain", "below_threshold"),
        (distance - 1e-4, -np.inf, "abstain", "unlike_training"),
        (distance - 1e-4, np.inf, "abstain", "unlike_training"),
        (np.inf, -np.inf, "answer", ""),
    ):
        neighbours = replace(fitted, threshold=unlike_threshold)
        session = _answering(graph, constants(2.0, [threshold] * 2, neighbours))
        names = ["decision", "abstain_reason", "distance"]
        decision, reason, output = session.run(names, {"image": image})
        assert (decision, reason, output) == (decided, why, pytest.approx(distance, abs=1e-6))
        assert (session.run(["label"], {"image": image}) == [""]) == (decided == "abstain")


def test_the_distance_is_the_services_also_of_zeros_and_of_what_is_not_finite() -> None:
    generator = np.random.default_rng(0)
    training, held_out, inputs = (generator.normal(0.5, 1, (n, 8)).astype(np.float32) for n in (40, 99, 9))
    fitted = TrainingNeighbours.fit(training, held_out)
    inputs[6:] = np.array([[0], [np.nan], [np.inf]])
    vectors = torch.from_numpy(fitted.vectors).half()
    distances = [neighbour_distance(torch.from_numpy(one), vectors) for one in inputs]
    np.testing.assert_allclose(distances, fitted.distances(inputs), atol=1e-6)


def test_why_it_abstains_is_said_in_the_words_of_the_service() -> None:
    assert tuple(AbstainReason) == REASONS
    assert set(DECISIONS) < set(Decision)


class _Stubborn(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if images.sum() > 0 else -images


def test_a_network_that_cannot_be_traced_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    images = torch.ones(2, 3)
    with pytest.raises(ModelError, match=r"stubborn cannot be exported to ONNX: .*data-dependent"):
        trace(_Stubborn(), {"images": images}, outputs=("logits",), free={}, what="stubborn")
    network = network_of(1)
    with pytest.raises(ModelError, match="product needs an ERM model"):
        export_answers([network], tmp_path / "a.onnx", card_of(network, ("left", "right"), "erm"), "product")
    assert list(tmp_path.iterdir()) == []
