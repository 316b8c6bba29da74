"""Every network by name, as features(images) → activation and head(activation) → logits."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from models import backbones_own
from models.backbones_base import SIZE_ERRORS, BackboneSpec, BuildRequest, Library, Network
from models.backbones_errors import BackboneError, UnknownBackbone, UnsupportedBackbone, WeightsUnavailable
from models.backbones_weights import Shapes, load_strictly, shapes_of

__all__ = [
    "BackboneError",
    "BackboneSpec",
    "Network",
    "UnknownBackbone",
    "UnsupportedBackbone",
    "WeightsUnavailable",
    "adopt_weights",
    "available_backbones",
    "build_network",
    "weight_shapes",
]


def _torchvision() -> Library:
    from models import backbones_torchvision  # a second to import, and small networks do without

    return backbones_torchvision


def _timm() -> Library:
    from models import backbones_timm  # two seconds to import

    return backbones_timm


def _own() -> Library:
    return backbones_own


# A plain name is looked up in this order; `torchvision/NAME` and `timm/NAME` say which one.
_LIBRARIES: dict[str, Callable[[], Library]] = {"own": _own, "torchvision": _torchvision, "timm": _timm}


def available_backbones() -> list[str]:
    """Every name that `build_network` knows: plain where it is unique, else with its library."""
    listed: list[str] = []
    for prefix, library in _LIBRARIES.items():
        known = set(listed)
        listed += [f"{prefix}/{name}" if name in known else name for name in library().names()]
    return listed


def build_network(
    name: str,
    *,
    classes: int,
    image_size: int,
    pretrained: bool = False,
    weights: Path | None = None,
    seed: int = 0,
) -> Network:
    """The network `name` with fresh weights of `seed`, published ones, or those of a local file.

    `weights` is a safetensors or PyTorch file in the library's tensor names, loaded strictly; the
    last layer is kept where it has `classes` outputs and fresh otherwise. Library networks
    normalise with their library's mean and std, `resnet32` with 0.5, `small_cnn` not at all.
    Raises `UnknownBackbone`, `UnsupportedBackbone`, `WeightsUnavailable`. In eval mode, channels last.
    """
    library, plain = _find(name)
    request = BuildRequest(plain, classes, image_size, pretrained, weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = library.build(request)
        network = Network(built, BackboneSpec(name, classes, image_size, built.mean, built.std))
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]  # torch's stub knows no memory_format alone


def weight_shapes(name: str, *, classes: int, image_size: int) -> Shapes:
    """The tensors of what `build_network` would build; no memory is taken for them, and nothing computed.

    Raises `UnknownBackbone`, `UnsupportedBackbone`; not all that cannot be split is noticed.
    """
    library, plain = _find(name)
    request = BuildRequest(plain, classes, image_size)
    try:
        with torch.device("meta"):
            built = library.build(request)
    except (BackboneError, *SIZE_ERRORS):  # or its builder looks at values: torchvision's RegNets
        with _NoWeights():
            built = library.build(request)
    return shapes_of(built.model.state_dict())


class _NoWeights(TorchFunctionMode):
    """Weights and images have no values inside (device `meta`); what is counted and listed has."""

    _MADE = frozenset({torch.empty, torch.ones, torch.rand, torch.randn, torch.zeros})

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._MADE and kwargs.get("device") is None:
            kwargs = kwargs | {"device": "meta"}
        return func(*args, **kwargs)


def adopt_weights(network: Network, source: Network) -> None:
    """Copy the weights of `source`, a network of the same backbone, into `network`.

    Everything must fit; only a last layer for another number of classes stays as it is.
    """
    if network.spec.name != source.spec.name:
        raise WeightsUnavailable(
            f"the weights are a {source.spec.name}'s, and the network is a {network.spec.name}"
        )
    state = dict(source.model.state_dict())
    if network.spec.classes != source.spec.classes:
        own = network.model.state_dict()
        last = {id(p) for layer in network.classifiers for p in layer.parameters()}
        for key, parameter in network.model.named_parameters():
            if id(parameter) in last:
                state[key] = own[key]
    load_strictly(network.model, state, what=f"the {source.spec.name} given")


def _find(name: str) -> tuple[Library, str]:
    prefix, slash, plain = name.partition("/")
    if slash:
        if prefix in ("torchvision", "timm") and plain in (library := _LIBRARIES[prefix]()).names():
            return library, plain
        raise UnknownBackbone(name, _near(plain))
    for make in _LIBRARIES.values():
        library = make()
        if name in library.names():
            return library, name
    raise UnknownBackbone(name, _near(name))


def _near(name: str) -> list[str]:
    return difflib.get_close_matches(name, available_backbones(), n=5)
