"""The graph sees an image of any size as the service does, and scores it alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from app.inference.engines.graph_store import constants
from app.inference.engines.torch import TorchEngine
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.vocabulary import AbstainReason, Decision
from models.backbones.network import Network
from models.data.grey import GreyWindow, to_8_bit
from models.data.images.decoding import square_array
from models.export import ModelError, card_of
from models.onnx_export import (
    DECISIONS,
    REASONS,
    _Answers,
    export_answers,
    log_softmax,
    neighbour_distance,
    trace,
)
from models.selective import NEIGHBOURS, Scored, TrainingNeighbours, score
from models.selective.scores import log_softmax as service_log_softmax
from tests.support.graphs import (
    CLASSES,
    GREY_CLASSES,
    SIDE,
    WINDOW,
    downloaded,
    grey_answers,
    network_of,
)

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
TEMPERATURE = 2.0
WIDTH = 256
"""Of the last layer's inputs."""


@dataclass(frozen=True)
class Answers:
    """A graph of answers, and what it was made of; that to colour images tells unlike ones."""

    score: ScoreName
    graph: Path
    networks: Sequence[Network]
    classes: Sequence[str] = CLASSES
    window: GreyWindow | None = None

    def image(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8 | np.uint16]:
        """As the graph takes it; for grey images, of the first channel."""
        return pixels if self.window is None else pixels[..., 0].astype(np.uint16) * 17

    def square(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(3, S, S), as the service makes it of this image."""
        if self.window is not None:
            pixels = to_8_bit(self.image(pixels).astype(np.uint16), self.window)
        return square_array(Image.fromarray(pixels).convert("RGB"), SIDE)

    def whole(
        self, thresholds: Sequence[float] = (0.0, 0.0), neighbours: TrainingNeighbours | None = None
    ) -> bytes:
        """The graph with its constants; no image is unlike unless `neighbours` say so."""
        if neighbours is None and self.window is None:
            neighbours = replace(_vectors(NEIGHBOURS), threshold=np.inf)
        return self.graph.read_bytes() + constants(TEMPERATURE, thresholds, neighbours)

    def decided(self, pixels: NDArray[np.uint8], whole: bytes) -> dict[str, Any]:
        """The outputs of the whole graph for this image."""
        session = onnxruntime.InferenceSession(whole, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_outputs()]
        return dict(zip(names, session.run(names, {"image": self.image(pixels)}), strict=True))


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return Answers("product", downloaded(tmp_path_factory), (network_of(1), network_of(0)))


@pytest.fixture(scope="module", params=["colour", "grey"])
def answers(
    request: pytest.FixtureRequest, colour: Answers, tmp_path_factory: pytest.TempPathFactory
) -> Answers:
    if request.param == "colour":
        return colour
    graph = grey_answers(tmp_path_factory)
    return Answers("max_softmax", graph, [network_of(1)], GREY_CLASSES, WINDOW)


def _vectors(images: int) -> TrainingNeighbours:
    """Of so many training images."""
    values = np.abs(np.random.default_rng(1).normal(size=(99, WIDTH))).astype(np.float32)
    return TrainingNeighbours.fit(np.resize(values, (images, WIDTH)), values)


def _hard_images(height: int, width: int) -> list[NDArray[np.uint8]]:
    """Noise, black and white noise, and lines of one pixel."""
    generator = np.random.default_rng(height * width)
    lines = np.zeros((height, width, 3), np.uint8)
    lines[height // 2], lines[:, width // 3] = 255, 200
    noise = generator.integers(0, 256, (height, width, 3), np.uint8)
    return [noise, 255 * (noise // 128), lines]


@pytest.fixture(scope="module")
def first_convolution(answers: Answers) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """What the network in the graph sees of an image."""
    model = onnx.load_from_string(answers.whole())
    (name, *_) = (node.input[0] for node in model.graph.node if node.op_type == "Conv")
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def seen(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        (batch,) = session.run([name], {"image": answers.image(pixels)})
        return np.asarray(batch[0], np.float32)

    return seen


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_resized_image_equals_the_services_to_the_level(
    answers: Answers,
    first_convolution: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    size: tuple[int, int],
) -> None:
    for pixels in _hard_images(*size):
        expected = answers.square(pixels).astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(first_convolution(pixels), expected)


@pytest.mark.parametrize("logits", [[0.0, 0.0], [40.0, 0.0], [-3.0, 900.0], [1e-8, 0.0], [2.0, 2.5]])
def test_log_probabilities_keep_what_rounds_away_beside_one(logits: list[float]) -> None:
    temperature = torch.tensor(1.5, dtype=torch.float64)
    output = log_softmax(torch.tensor(logits), temperature)
    np.testing.assert_allclose(
        output, service_log_softmax([np.array(logits, np.float32)], 1.5)[0], rtol=1e-12
    )


def _scored(answers: Answers, pixels: NDArray[np.uint8]) -> tuple[list[int], Scored]:
    """The label of each network, and the service's score."""
    batch = torch.from_numpy(answers.square(pixels))[None].float() / 255
    with torch.inference_mode():
        logits = [network(batch).numpy() for network in answers.networks]
    return [int(one.argmax()) for one in logits], score(answers.score, *logits, temperature=TEMPERATURE)


def test_it_answers_or_abstains_by_the_services_score(answers: Answers) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (33, 45, 3), np.uint8)
    labels, scored = _scored(answers, pixels)
    log_score, answered = float(scored.scores[0]), int(scored.labels[0])
    for threshold, decision, why in (
        (log_score - 1e-4, "answer", ""),
        (log_score + 1e-4, "abstain", "below_threshold"),
        (-np.inf, "answer", ""),
        (np.inf, "abstain", "no_certified_threshold"),
    ):
        thresholds = [np.inf, np.inf]  # that of the other label does not count
        thresholds[answered] = threshold
        one = answers.decided(pixels, answers.whole(thresholds))
        assert (one["decision"], one["abstain_reason"]) == (decision, why)
        assert one["label"] == (answers.classes[answered] if decision == "answer" else "")
        assert one["score"] == pytest.approx(np.exp(log_score), abs=1e-6)
        np.testing.assert_allclose(one["probabilities"], np.exp(scored.log_probabilities[0]), atol=1e-6)
        assert one.get("agreement") == (None if len(labels) == 1 else labels[0] == labels[1])


def test_the_lower_of_two_scores_is_the_services() -> None:
    """Before it is traced: the export proves that the graph of each model scores alike."""
    networks, pixels = (network_of(1), network_of(0)), np.full((SIDE, SIDE, 3), 200, np.uint8)
    labels, scored = _scored(Answers("minimum", Path(), networks), pixels)
    card, number = card_of(networks[0], CLASSES, "erm"), torch.tensor(TEMPERATURE).double()
    with torch.inference_mode():
        inputs = (torch.from_numpy(pixels), number, number.expand(2))
        _, _, probability, _, _, agreement = _Answers(*networks, card, "minimum")(*inputs)
    assert probability == pytest.approx(np.exp(scored.scores[0]), abs=1e-6)
    assert agreement == (labels[0] == labels[1])


@pytest.mark.parametrize("images", [NEIGHBOURS, 300])
def test_an_image_unlike_the_training_images_abstains_whatever_its_score(
    colour: Answers, images: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (33, 45, 3), np.uint8)
    engine = TorchEngine(colour.networks[0], None, torch.device("cpu"))
    raw = engine.run(colour.square(pixels)[None], None, features=True)
    assert raw.features is not None
    fitted = _vectors(images)
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
        one = colour.decided(pixels, colour.whole([threshold] * 2, neighbours))
        assert (one["decision"], one["abstain_reason"]) == (decided, why)
        assert one["distance"] == pytest.approx(distance, abs=1e-6)
        assert (one["label"] == "") == (decided == "abstain")


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
        export_answers([network], tmp_path / "a.onnx", card_of(network, CLASSES, "erm"), "product")
    assert list(tmp_path.iterdir()) == []
