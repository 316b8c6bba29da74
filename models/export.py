"""A trained network as a safetensors file with its library's tensor names, and a model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from models.backbones.build import build_network, weight_shapes
from models.backbones.errors import BackboneError, WeightsUnavailable
from models.backbones.network import Network, rgb
from models.backbones.weights import (
    load_strictly,
    read_tensors,
    require_finite,
    require_fit,
    stored_shapes,
)
from models.data.grey import GreyWindow, read_window
from models.errors import LearningError
from models.training.checkpoints import tensors_digest, weights_digest
from models.training.frozen import backbone_weights

Arm = Literal["erm", "masktune", "retrained", "masktune_control", "retrained_control", "imported"]
WEIGHTS_FILE = "model.safetensors"
BACKBONE_FILE = "backbone.safetensors"
_LEAST_SHARED = 1 << 20  # bytes of the smallest backbone that is stored apart from its models
CARD_FILE = "model.json"
_VERSION = 1


class ModelError(LearningError, ValueError):
    """The files are not a complete model, or do not belong together. The message says what is wrong."""

    reason = "model_unusable"


@dataclass(frozen=True)
class ModelCard:
    """What the weights do not say.
    `mean`, `std`: see `BackboneSpec`; `digest`: see `weights_digest`; `grey_window`: how the network saw
    16-bit grey images (see `models.data.grey`)."""

    backbone: str
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    arm: Arm
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    grey_window: GreyWindow | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"version": _VERSION}

    @classmethod
    def from_json(cls, record: object) -> Self:
        """Raises `ModelError` for anything that `to_json` does not return."""
        if not isinstance(record, dict) or record.get("version") != _VERSION:
            raise ModelError(f"the card is not of version {_VERSION}")
        fields = {name: field_value for name, field_value in record.items() if name != "version"}
        try:
            card = cls(**fields)
            return replace(
                card,
                classes=tuple(card.classes),
                mean=rgb(card.mean),
                std=rgb(card.std),
                grey_window=read_window(card.grey_window),
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelError(f"the card does not hold what it should: {error}") from error


def card_of(
    network: Network,
    classes: tuple[str, ...],
    arm: Arm,
    hyperparameters: Mapping[str, Any] | None = None,
    *,
    grey_window: GreyWindow | None = None,
) -> ModelCard:
    """A card for `network` with its current weights and the `grey_window` of its training images."""
    spec = network.spec
    if len(classes) != spec.classes:
        raise ModelError(f"{len(classes)} class names were given for {spec.classes} outputs")
    return ModelCard(
        backbone=spec.name,
        classes=classes,
        image_size=spec.image_size,
        mean=spec.mean,
        std=spec.std,
        arm=arm,
        hyperparameters=hyperparameters or {},
        digest=weights_digest(network.model),
        grey_window=grey_window,
    )


def save_model(network: Network, card: ModelCard, folder: Path, *, with_backbone: bool = True) -> None:
    """Write weights and card into `folder`, replacing older ones.
    The caller publishes the folder.

    Without the backbone, its weights are left out, for `save_backbone` to write them.
    """
    if card.digest != weights_digest(network.model):
        raise ModelError("the card was made for other weights")
    folder.mkdir(parents=True, exist_ok=True)
    weights = _tensors(network.model)
    elsewhere = {} if with_backbone else backbone_weights(network)
    rule = {} if card.grey_window is None else _grey_rule(card.grey_window)
    _write(folder / WEIGHTS_FILE, {name: t for name, t in weights.items() if name not in elsewhere}, rule)
    (folder / CARD_FILE).write_text(json.dumps(card.to_json(), indent=1, ensure_ascii=False))


def shareable_digest(network: Network) -> str | None:
    """`tensors_digest` of the weights below the last layer, by which models with the same ones share a file;
    None for a backbone so small that each model has its own."""
    weights = backbone_weights(network)
    return tensors_digest(weights) if sum(t.nbytes for t in weights.values()) >= _LEAST_SHARED else None


def save_backbone(network: Network, folder: Path) -> None:
    """Write the weights below the last layer into `folder`. The caller publishes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    names, weights = backbone_weights(network).keys(), _tensors(network.model)
    _write(folder / BACKBONE_FILE, {name: t for name, t in weights.items() if name in names}, {})


def _write(file: Path, weights: Mapping[str, Tensor], rule: Mapping[str, str]) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    # `save_file` reports a full disk as text alone, a write of our own as an `OSError`.
    file.write_bytes(save(tensors, metadata={"format": "pt", **rule}))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state of `model`. Tensors that share memory are copied, because safetensors allows no sharing."""
    addresses: set[int] = set()
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        shared = tensor.data_ptr() in addresses
        addresses.add(tensor.data_ptr())
        state[name] = tensor.clone() if shared else tensor
    return state


def load_model(
    folder: Path, device: torch.device | None = None, *, backbone: Path | None = None
) -> tuple[Network, ModelCard]:
    """Load what `save_model` wrote into `folder`, and `save_backbone` into `backbone`, in eval mode.

    Raises `ModelError`, also for weights of another card.
    """
    card = read_card(folder)
    try:
        network = build_network(card.backbone, classes=len(card.classes), image_size=card.image_size)
        weights = {} if backbone is None else read_tensors(backbone / BACKBONE_FILE)
        load_strictly(network.model, weights | read_tensors(folder / WEIGHTS_FILE), what=WEIGHTS_FILE)
    except BackboneError as error:
        raise ModelError(str(error)) from error
    if (network.spec.mean, network.spec.std) != (card.mean, card.std):
        raise ModelError(f"this version of {card.backbone} normalises differently from the model card")
    if weights_digest(network.model) != card.digest:
        raise ModelError(f"{folder.name}: the weights are not those that the card describes")
    return network.to(device or torch.device("cpu")), card


def read_card(folder: Path) -> ModelCard:
    """Read only the card, not the weights. Raises `ModelError`."""
    try:
        return ModelCard.from_json(json.loads((folder / CARD_FILE).read_text()))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder.name} is not a saved model: {error}") from error


def import_safetensors(
    file: Path, *, backbone: str, classes: tuple[str, ...], image_size: int
) -> tuple[Network, ModelCard]:
    """Import weights that use the tensor names of the backbone's library and have an output for each class.

    The window of 16-bit grey images is the one that `save_model` wrote into the file, if any.
    Reads only safetensors, never a pickle. Raises `ModelError`, `BackboneError`.
    """
    if file.suffix != ".safetensors":
        raise ModelError(f"{file.name} is not a safetensors file, and nothing else is loaded")
    try:  # before building anything: a file of a kilobyte may name a network of gigabytes
        expected = weight_shapes(backbone, classes=len(classes), image_size=image_size)
        require_fit(expected, stored_shapes(file), what=file.name, network=backbone)
        network = build_network(backbone, classes=len(classes), image_size=image_size)
        load_strictly(network.model, read_tensors(file), what=file.name)
        require_finite(network.model.state_dict(), what=file.name)
        _require_finite_scores(network, what=file.name)
    except WeightsUnavailable as error:
        raise ModelError(str(error)) from error
    return network, card_of(network, classes, "imported", grey_window=_window_in(file))


def _require_finite_scores(network: Network, *, what: str) -> None:
    """Raise `ModelError` for weights that are finite themselves, but so large that the scores are not."""
    side = network.spec.image_size
    noise = torch.rand((1, 3, side, side), generator=torch.Generator().manual_seed(0))
    network.eval()
    with torch.no_grad():
        scores = network.head(network.features(noise))
    if not scores.isfinite().all():
        raise ModelError(f"{what}: the scores of an image are not finite numbers: train it again")


def _window_in(file: Path) -> GreyWindow | None:
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata() or {}
    if "grey_window_low" not in metadata:
        return None
    try:
        return read_window([int(metadata["grey_window_low"]), int(metadata["grey_window_high"])])
    except (KeyError, ValueError) as error:
        raise ModelError(f"{file.name} names a window of 16-bit levels that cannot be read") from error


def _grey_rule(window: GreyWindow) -> dict[str, str]:
    """Metadata of a safetensors file: how 16-bit grey images become 8-bit ones."""
    low, high = map(str, window)
    return {
        "grey_window_low": low,
        "grey_window_high": high,
        "grey_16_bit": f"8-bit level = round(255 * clip((v - {low}) / ({high} - {low}), 0, 1))",
    }
