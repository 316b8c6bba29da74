"""Check that `head(features(images))` is the library's own forward pass, for torchvision and timm.

    python -m benchmarks.backbones [--libraries torchvision timm] [--modules eva vision_transformer] [--every]

A kind of timm network is a module, a class, a pooling and the names of its parts; its smallest network
represents it (`--every`: each network by name, which takes hours). All of torchvision's networks run.
Weights are random; nothing is downloaded. A network runs at 64 pixels or, if it refuses that, at the first
of some others and its published size that it accepts. Measured per network: the largest difference to the
library's logits for two images; how far a linear head's closed-form gradient is from autograd's; whether a
GradCAM can be computed; and, for networks that are cut before their end, whether a change in the image's
upper right quarter changes the activation more there than at the lower left, which it would not in a
transposed grid. Ends with one JSON line; exits with 1 if an aim is missed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from benchmarks._common import Aim, finish, make_run, table
from models.backbones import torchvision as backbones_torchvision
from models.backbones.build import build_network
from models.backbones.errors import UnsupportedBackbone
from models.backbones.network import Network
from models.backbones.timm import cut_of
from models.runtime.process import prepare_process
from models.saliency import saliency

_CLASSES = 3
_SIZES = (64, 56, 96, 128)  # tried in turn; 56 is for patches of 14
_LARGER = (224, 240, 256, 384)  # tried after the published size
_SEED = 0
_FAILED = "failed with"


class Candidate(NamedTuple):
    """A network to try, and the kind that it represents."""

    name: str
    kind: str
    published_size: int | None = None


class Reading(NamedTuple):
    """The measurements of one network. `refused` is the reason if no size was accepted."""

    name: str
    kind: str
    size: int | None = None
    activation: str | None = None
    channels: int | None = None  # the spatial ones
    heads: int | None = None
    difference: float | None = None
    largest_logit: float | None = None
    closed_form: float | None = None
    gradcam: bool | None = None
    corner: bool | None = None
    refused: str | None = None


def torchvision_candidates() -> Iterator[Candidate]:
    for name in backbones_torchvision.names():
        yield Candidate(f"torchvision/{name}", "torchvision", backbones_torchvision.published_size(name))


def timm_candidates(modules: Sequence[str], *, every: bool) -> Iterator[Candidate]:
    """Yield the smallest network of each kind, found without allocating any weight."""
    for module in timm.list_modules():
        if modules and module not in modules:
            continue
        smallest: dict[tuple[str, ...], tuple[int, str]] = {}
        for name in timm.list_models(module=module):
            with torch.device("meta"):
                model = timm.create_model(name)
            kind = "/".join((module, type(model).__name__, _pooling(model)))
            if every:
                yield Candidate(f"timm/{name}", kind, _published_size(name))
                continue
            size = sum(parameter.numel() for parameter in model.parameters())
            parts = (kind, *(part for part, _ in model.named_children()))
            smallest[parts] = min(smallest.get(parts, (size, name)), (size, name))
        for (kind, *_), (_, name) in smallest.items():
            yield Candidate(f"timm/{name}", kind, _published_size(name))


def _pooling(model: nn.Module) -> str:
    pooling = getattr(model, "global_pool", None)
    return pooling if isinstance(pooling, str) and pooling else "-"


def _published_size(name: str) -> int | None:
    published = timm.get_pretrained_cfg(name)
    return None if published is None else int(published.input_size[-1])


def read(candidate: Candidate) -> Reading:
    """Build the network at the first size that is not refused, and measure it."""
    published = () if candidate.published_size is None else (candidate.published_size,)
    reason = ""
    for size in dict.fromkeys((*_SIZES, *published, *_LARGER)):
        try:
            network = build_network(candidate.name, classes=_CLASSES, image_size=size, seed=_SEED)
        except UnsupportedBackbone as error:
            reason = reason or str(error)
            continue
        except Exception as error:  # noqa: BLE001  # any other failure is a finding; the sweep goes on
            return Reading(
                candidate.name, candidate.kind, refused=f"{_FAILED} {type(error).__name__}: {error}"
            )
        return measure(network, candidate)
    return Reading(candidate.name, candidate.kind, refused=reason)


def measure(network: Network, candidate: Candidate) -> Reading:
    generator = torch.Generator().manual_seed(_SEED)
    for layer in network.classifiers:  # some libraries initialise them with zeros
        torch.nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5, generator=generator)
    side = network.spec.image_size
    images = torch.rand(2, 3, side, side, generator=generator)
    with torch.no_grad():
        whole = network.model((images - network.mean) / network.std)
        activation = network.features(images)
        difference = (network.head(activation) - whole).abs().max()
    maps = saliency(network, images, method="gradcam").maps
    channels, height, width = network.activation_shape
    return Reading(
        candidate.name,
        candidate.kind,
        side,
        f"{channels}x{height}x{width}",
        network.spatial_channels,
        len(network.classifiers),
        float(difference),
        float(whole.abs().max()),
        closed_form(network, activation),
        bool(torch.isfinite(maps).all()) and maps.shape[1:] == (height, width),
        None if cut_of(network.model) is None else corner(network, images[:1]),
    )


def closed_form(network: Network, activation: Tensor) -> float | None:
    """Largest difference between the linear head's row over h·w and autograd's gradient; None for others."""
    if network.linear is None:
        return None
    leaf = activation.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.head(leaf)[:, 0].sum(), leaf)
    row = network.linear.weight[0].detach() / (leaf.shape[2] * leaf.shape[3])
    return float((gradient - row[None, :, None, None]).abs().max())


def corner(network: Network, image: Tensor) -> bool:
    """Whether noise in the upper right quarter changes the activation there more than at the lower left."""
    half = image.shape[-1] // 2
    other = image.clone()
    other[:, :, :half, half:] = torch.rand(3, half, image.shape[-1] - half, generator=_noise())
    with torch.no_grad():
        change = network.features(other) - network.features(image)
    strength = change[0, : network.spatial_channels].abs().mean(0)  # (h, w)
    h, w = strength.shape
    return bool(strength[: h // 2, w - w // 2 :].mean() > strength[h - h // 2 :, : w // 2].mean())


def _noise() -> torch.Generator:
    return torch.Generator().manual_seed(_SEED + 1)


def targets(readings: Sequence[Reading]) -> dict[str, Aim]:
    split = [r for r in readings if r.refused is None]
    failed = [r for r in readings if (r.refused or "").startswith(_FAILED)]
    relative = [r.difference / max(1.0, r.largest_logit or 0.0) for r in split if r.difference is not None]
    closed = [r.closed_form for r in split if r.closed_form is not None]
    return {
        "failed_instead_of_refused": Aim(len(failed), at_most=0),
        "largest_relative_difference": Aim(max(relative, default=0.0), at_most=1e-5),
        "largest_closed_form_difference": Aim(max(closed, default=0.0), at_most=1e-5),
        "share_with_a_gradcam": Aim(sum(bool(r.gradcam) for r in split) / max(1, len(split)), at_least=1.0),
        "wrong_corners": Aim(sum(r.corner is False for r in split), at_most=0),
    }


def reading_line(reading: Reading) -> str:
    if reading.refused is not None:
        return f"{reading.name} refused: {reading.refused}"
    return f"{reading.name} at {reading.size}: {reading.activation}, difference {reading.difference:.2g}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--libraries", nargs="+", choices=("torchvision", "timm"), default=["torchvision", "timm"]
    )
    parser.add_argument("--modules", nargs="*", default=[], help="timm's modules (default: all)")
    parser.add_argument("--every", action="store_true", help="every timm network, not one a kind")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    prepare_process(arguments.threads)
    warnings.filterwarnings("ignore", module=r"timm|torchvision")  # renamed networks
    started = time.monotonic()
    sources: list[Iterator[Candidate]] = []
    if "timm" in arguments.libraries:
        sources.append(timm_candidates(arguments.modules, every=arguments.every))
    if "torchvision" in arguments.libraries:
        sources.append(torchvision_candidates())
    readings: list[Reading] = []
    for candidate in itertools.chain(*sources):
        readings.append(read(candidate))
        print(f"  {reading_line(readings[-1])}", file=sys.stderr, flush=True)
    split = [r._asdict() for r in readings if r.refused is None]
    print(table([{k: v for k, v in row.items() if k != "refused"} for row in split]))
    for reading in readings:
        if reading.refused is not None:
            print(f"refused: {reading.name} ({reading.kind}): {reading.refused}")
    rows: list[dict[str, Any]] = [reading._asdict() for reading in readings]
    run = make_run("cpu", _SEED, "backbones")
    versions = {"timm": timm.__version__, "seconds": round(time.monotonic() - started)}
    return finish("backbones", run, rows=rows, aims=targets(readings), **versions)


if __name__ == "__main__":
    sys.exit(main())
