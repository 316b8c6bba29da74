"""A trained network as an ONNX graph: from images to logits, with metadata that say how to use it; or from
one image to an answer or an abstention, with all that lies between in the graph."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import assert_never

import torch
from onnxscript import ir
from torch import Tensor, nn

from masktune.contract.hyperparameters import ScoreName
from models.backbones.network import Network
from models.data.grey import GreyWindow
from models.export import ModelCard, ModelError
from models.mitigation.features import has_linear_layer, inputs_of, linear_layer
from models.selective import NEIGHBOURS

_VERSION = 1  # of the metadata
DECISIONS = ("abstain", "answer")
REASONS = ("below_threshold", "no_certified_threshold", "unlike_training")
"""Why it abstains, as in the service's answers."""
_OUTPUTS = ("decision", "label", "score", "probabilities", "abstain_reason")


class _Exported(nn.Module):
    """Logits, activation and, if the last layer is linear, its inputs from one forward pass."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.outputs = ["logits", "activation"] + ["features"] * has_linear_layer(network)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        activation = self.network.features(images)
        with inputs_of(self.network.classifier) as received:
            logits = self.network.head(activation)
        return (logits, activation, received.inputs[0])[: len(self.outputs)]


def export_onnx(network: Network, path: Path, card: ModelCard | None = None) -> None:
    """Write an ONNX graph: `images` (B, 3, H, W) in 0..1 → `logits` (B, K), `activation` (B, C, h, w) and, if
    the last layer is linear, its inputs `features` (B, D); any B.

    With its `card`, the file has `onnx_metadata`. The network must be on the CPU. Raises `ModelError` for a
    network that cannot be exported.
    """
    side, exported = network.spec.image_size, _Exported(network)
    program = trace(
        exported,
        {"images": torch.rand(2, 3, side, side)},
        outputs=exported.outputs,
        free={"images": {"batch": 1}},
        what=network.spec.name,
    )
    program.model.metadata_props.update({} if card is None else onnx_metadata(card))
    save_graph(program, path)


def trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    *,
    outputs: Sequence[str],
    free: Mapping[str, Mapping[str, int]],
    what: str,
) -> torch.onnx.ONNXProgram:
    """Trace a module on the CPU with these inputs, by name.
    The first dimensions of an input that `free` names may have any size from the least on; with one that is
    too small for the module, torch traces it twice. Raises `ModelError`, which says that `what` cannot be
    exported.
    """
    sizes = {
        name: {
            axis: torch.export.Dim(size, min=least)
            for axis, (size, least) in enumerate(free.get(name, {}).items())
        }
        for name in inputs
    }
    try:
        program = torch.onnx.export(
            module.eval(),
            kwargs=dict(inputs),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=sizes,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise ModelError(f"{what} cannot be exported to ONNX: {reason}") from error
    for name, sized in zip(inputs, () if program is None else program.model.graph.inputs, strict=True):
        for axis in sizes[name]:
            if sized.shape is None or isinstance(sized.shape[axis], int):
                raise ModelError(f"{what} cannot be exported for inputs of any size")
    assert program is not None  # else it has no inputs either
    return program


def save_graph(program: torch.onnx.ONNXProgram, path: Path) -> None:
    """Write the graph with its weights, up to 2 GB; the file appears complete or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        program.save(partial, external_data=False)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def onnx_metadata(card: ModelCard) -> dict[str, str]:
    """What a file says of its network, as JSON texts (docs/how-to/onnx.md). None of it ever changes."""
    side = card.image_size
    facts = {
        "version": _VERSION,
        "classes": card.classes,
        "input": {"name": "images", "type": "float32", "layout": "NCHW", "colours": "RGB", "range": [0, 1]},
        "resize": {
            "size": [side, side],
            "keep_aspect_ratio": False,
            "filter": "bilinear",
            "antialias": True,
            "weights": "int16",
            "order": ["width", "height"],
        },
        "normalisation": {"mean": card.mean, "std": card.std, "inside_the_graph": True},
        "grey_window": card.grey_window,
    }
    return {f"masktune.{name}": json.dumps(fact, ensure_ascii=False) for name, fact in facts.items()}


def export_answers(
    networks: Sequence[Network], path: Path, card: ModelCard, score: ScoreName, *, tells_unlike: bool = False
) -> None:
    """Write the graph of a model whose answers are decided by this score; `networks` are its own and, if the
    score needs it, ERM's.

    Input: `image`, (H, W, 3) uint8 RGB or, for a card with a window, (H, W) uint16 grey, of any size.
    Initializers are missing that belong at the end of the file: `temperature` and `thresholds` (K,), float64,
    a threshold for each label, a log-probability as `Scored.scores`, +inf for none; and with `tells_unlike`,
    `vectors` (M, D) float16 and `unlike_threshold` float64, as in `TrainingNeighbours`, +inf to answer unlike
    images too. Outputs, as in the service's answer: `decision` (`answer` or `abstain`), `label` (empty if it
    abstains), `score`, `probabilities` (K,), float64, and `abstain_reason` (empty if it answers);
    `agreement` with ERM, and the `distance` from the training images, if there are these. Raises
    `ModelError`, and `HeadError` for a network that has no distances.
    """
    network, erm = networks[0], networks[1] if len(networks) > 1 else None
    if (score == "max_softmax") != (erm is None):
        raise ModelError(f"{score} needs {'no' if erm else 'an'} ERM model")
    grey = card.grey_window is not None
    image = torch.zeros((5, 7), dtype=torch.uint16) if grey else torch.zeros((5, 7, 3), dtype=torch.uint8)
    number, optional = torch.ones((), dtype=torch.float64), ["agreement"] * (erm is not None)
    inputs = {"image": image, "temperature": number, "thresholds": number.expand(len(card.classes)).clone()}
    if tells_unlike:
        width = linear_layer(network).in_features
        inputs |= {"vectors": torch.ones((2 * NEIGHBOURS, width)).half(), "unlike_threshold": number.clone()}
        optional += ["distance"]
    program = trace(
        _Answers(network, erm, card, score),
        inputs,
        outputs=(*_OUTPUTS, *optional),
        free={"image": {"height": 1, "width": 1}, "vectors": {"training_images": NEIGHBOURS}},
        what=network.spec.name,
    )
    for output in program.model.graph.outputs:
        if output.name in ("decision", "label", "abstain_reason"):
            output.dtype = ir.DataType.STRING  # which no tensor of torch has
    del program.model.graph.inputs[1:]
    save_graph(program, path)


class _Answers(nn.Module):
    """An image and the initializers → the outputs of `export_answers`."""

    def __init__(self, network: Network, erm: Network | None, card: ModelCard, score: ScoreName) -> None:
        super().__init__()
        self.network, self.erm, self.card, self.score = network, erm, card, score

    def forward(
        self,
        image: Tensor,
        temperature: Tensor,
        thresholds: Tensor,
        vectors: Tensor | None = None,
        unlike_threshold: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        # (1, 3, S, S)
        images = square(image, self.card.image_size, self.card.grey_window).float()[None] / 255
        with inputs_of(self.network.classifier) as received:
            logits = self.network(images)[0]  # (K,)
        label = logits.argmax()
        logs = log_softmax(logits, temperature)
        score, optional = logs[label], list[Tensor]()
        if self.erm is not None and self.score != "max_softmax":
            erm_logits = self.erm(images)[0]
            own, erm = (log_softmax(of, torch.ones_like(temperature))[label] for of in (logits, erm_logits))
            match self.score:
                case "product":
                    score = own + erm
                case "minimum":
                    score = torch.minimum(own, erm)
                case _:
                    assert_never(self.score)
            optional += [erm_logits.argmax() == label]
        threshold = thresholds[label]
        reason = torch.where(score >= threshold, -1, (threshold == torch.inf).long())  # NaN is below any
        if vectors is not None and unlike_threshold is not None:
            distance = neighbour_distance(received.inputs[0][0], vectors)
            reason = torch.where(distance > unlike_threshold, 2, reason)
            optional += [distance]
        answers = reason < 0
        decision = _named(answers.long(), DECISIONS)
        named = _named(torch.where(answers, label, -1), self.card.classes)
        return decision, named, score.exp(), logs.exp(), _named(reason, REASONS), *optional


def square(image: Tensor, size: int, window: GreyWindow | None) -> Tensor:
    """What a network sees of an image, as 8-bit levels (3, size, size) in float64: equal, to the level, to
    `models.data.images.decoding.square` of an image (H, W, 3) or, through the window, (H, W)."""
    pixels = image if window is None else image.unsqueeze(-1)  # (H, W, C)
    height, channels = pixels.shape[0], pixels.shape[2]
    rows = pixels.transpose(0, 1).flatten(1)  # (W, H·C), in a small type until here
    levels = rows.double()
    if window is not None:  # as `models.data.grey.to_8_bit`
        levels = (255 * ((levels - window.low) / (window.high - window.low)).clamp(0, 1)).round()
    columns = _resized(levels, size).reshape(size, height, channels).transpose(0, 1).flatten(1)
    return _resized(columns, size).reshape(size, size, channels).permute(2, 0, 1).expand(3, size, size)


def _resized(lines: Tensor, size: int) -> Tensor:
    """(N, M) levels → (size, M): bilinear with antialiasing, with weights in fixed point, as PyTorch resizes
    uint8 (`_upsample_bilinear2d_aa`, after Pillow). Float64 holds its sums exactly."""
    places = torch.arange(lines.shape[0], dtype=torch.float64) + 0.5
    scale = (places[-1] + 0.5) / size  # N / size, of a size that is known when the graph runs
    centres = scale * (torch.arange(size, dtype=torch.float64) + 0.5)
    weights = (1 - (places - centres[:, None]).abs() / scale.clamp(min=1)).clamp(min=0)  # (size, N)
    weights = weights / weights.sum(1, keepdim=True)
    # A weight has 15 bits, of them as many behind the point as the largest weight leaves, at most 22.
    units = torch.pow(2.0, torch.arange(1, 23, dtype=torch.float64))
    unit = torch.pow(2.0, ((weights.max() * units + 0.5).floor() < 2**15).sum().double())
    return ((weights * unit + 0.5).floor() @ lines / unit + 0.5).floor().clamp(0, 255)


def neighbour_distance(features: Tensor, vectors: Tensor) -> Tensor:
    """`TrainingNeighbours.distances` of one input's `features` (D,) float32, from its `vectors` (M, D)."""
    length = torch.linalg.vector_norm(features).clamp(min=torch.finfo(torch.float32).tiny)
    cosines = vectors.float() @ (features / length)  # (M,)
    nearest = cosines.topk(NEIGHBOURS).values[-1]
    return torch.where(features.isfinite().all(), 1 - nearest, torch.inf).double()


def log_softmax(logits: Tensor, temperature: Tensor) -> Tensor:
    """`models.selective.scores.log_softmax` of (K,) logits, in float64."""
    z, label = logits.double(), logits.argmax()
    below = (z - z[label]) / temperature
    others = torch.where(torch.arange(len(z)) == label, 0.0, below.exp()).sum()
    # ONNX has no log1p. This is exact where 1 + others rounds (Goldberg 1991, theorem 4).
    rounded = 1 + others
    log1p = torch.where(rounded == 1, others, rounded.log() * others / (rounded - 1))
    return below - log1p


def _named(index: Tensor, names: tuple[str, ...]) -> Tensor:
    """The name at an index, empty for −1. Torch has no texts: it takes the result for a number."""
    return torch.onnx.ops.symbolic(
        "ai.onnx.ml::LabelEncoder",
        (index,),
        {"keys_int64s": list(range(len(names))), "values_strings": list(names), "default_string": ""},
        dtype=torch.int64,
        shape=(),
        version=4,
    )
