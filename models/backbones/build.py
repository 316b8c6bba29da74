"""Networks by name, each as features(images) → activation and head(activation) → logits."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from models.backbones import small as backbones_own
from models.backbones.errors import BackboneError, UnknownBackbone, WeightsUnavailable
from models.backbones.network import SIZE_ERRORS, BackboneSpec, BuildRequest, Library, Network
from models.backbones.weights import Shapes, WeightsPlace, load_strictly, shapes_of


def _torchvision() -> Library:
    # takes a second to import, which small networks do not need
    from models.backbones import torchvision as backbones_torchvision

    return backbones_torchvision


def _timm() -> Library:
    from models.backbones import timm as backbones_timm  # takes two seconds to import

    return backbones_timm


def _own() -> Library:
    return backbones_own


# A plain name is looked up in this order; `torchvision/NAME` and `timm/NAME` name the library.
_LIBRARIES: dict[str, Callable[[], Library]] = {"own": _own, "torchvision": _torchvision, "timm": _timm}


def load_libraries() -> None:
    """Import the libraries ahead of the first network."""
    for library in _LIBRARIES.values():
        library()


def available_backbones() -> list[str]:
    """Every name that `build_network` accepts, prefixed with its library if an earlier library has it too."""
    return [name for name, _, _ in _names()]


class ListedBackbone(NamedTuple):
    """A network that a job may name.
    `image_size` is the side (pixels) that its published weights were made for, None if unknown; `url` is
    their file's address on the internet, None if packaged or published nowhere; `license` is theirs, None if
    unknown."""

    name: str
    library: str
    weights: WeightsPlace
    image_size: int | None
    url: str | None
    license: str | None


def list_backbones() -> list[ListedBackbone]:
    """Every name that `build_network` accepts, with the place of its published weights as this host sees it.

    Reads the caches each time (0.2 s), since a job may fill them. Builds nothing, and needs no internet.
    """
    return [_listed(name, library, plain) for name, library, plain in _names()]


def _listed(name: str, library: str, plain: str) -> ListedBackbone:
    weights = _LIBRARIES[library]().published_weights(plain)
    return ListedBackbone(name, library, weights.place, weights.image_size, weights.url, weights.license)


def _names() -> Iterator[tuple[str, str, str]]:
    """(name, its library, its name there) of every network."""
    known: set[str] = set()
    for prefix, library in _LIBRARIES.items():
        plain_names = library().names()
        for plain in plain_names:
            yield (f"{prefix}/{plain}" if plain in known else plain), prefix, plain
        known.update(plain_names)


def build_network(
    name: str,
    *,
    classes: int,
    image_size: int,
    pretrained: bool = False,
    seed: int = 0,
) -> Network:
    """Build the network `name` with random weights drawn from `seed`, or with published ones.

    With published weights, the last layer is kept if it has `classes` outputs and freshly initialised
    otherwise. Library networks normalise with their library's mean and std, `resnet32` with 0.5, `small_cnn`
    not at all. Returns the network in eval mode, channels last.
    Raises `UnknownBackbone`, `UnsupportedBackbone`, `WeightsUnavailable`.
    """
    library, plain = find_library(name)
    request = BuildRequest(plain, classes, image_size, pretrained)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = library.build(request)
        network = Network(built, BackboneSpec(name, classes, image_size, built.mean, built.std))
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]  # torch's stub knows no memory_format alone


def weight_shapes(name: str, *, classes: int, image_size: int) -> Shapes:
    """Tensor shapes of the network that `build_network` would build, without allocating or computing it.

    Raises `UnknownBackbone`, and `UnsupportedBackbone` for some, not all, networks that cannot be split.
    """
    library, plain = find_library(name)
    request = BuildRequest(plain, classes, image_size)
    try:
        with torch.device("meta"):
            built = library.build(request)
    except (BackboneError, *SIZE_ERRORS):  # or the builder reads values, as torchvision's RegNets do
        with _NoWeights():
            built = library.build(request)
    return shapes_of(built.model.state_dict())


class _NoWeights(TorchFunctionMode):
    """Create weights and images on device `meta`, without values; other tensors keep theirs."""

    _ALLOCATIONS = frozenset({torch.empty, torch.ones, torch.rand, torch.randn, torch.zeros})

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._ALLOCATIONS and kwargs.get("device") is None:
            kwargs = kwargs | {"device": "meta"}
        return func(*args, **kwargs)


def adopt_weights(network: Network, source: Network) -> None:
    """Copy the weights of `source`, a network of the same backbone, into `network`.

    Every tensor must fit; only the last layer is left alone if its number of classes differs.
    Raises `WeightsUnavailable`.
    """
    if network.spec.name != source.spec.name:
        raise WeightsUnavailable(
            f"the weights are of a {source.spec.name}, but the network is a {network.spec.name}"
        )
    state = dict(source.model.state_dict())
    if network.spec.classes != source.spec.classes:
        own = network.model.state_dict()
        last = {id(p) for layer in network.classifiers for p in layer.parameters()}
        for key, parameter in network.model.named_parameters():
            if id(parameter) in last:
                state[key] = own[key]
    load_strictly(network.model, state, what=f"the given {source.spec.name}")


def find_library(name: str) -> tuple[Library, str]:
    """The library that has the network `name`, and its name there. Raises `UnknownBackbone`."""
    prefix, slash, plain = name.partition("/")
    if slash:
        if prefix in ("torchvision", "timm") and (library := _LIBRARIES[prefix]()).knows(plain):
            return library, plain
        raise UnknownBackbone(name, _near(plain))
    for make in _LIBRARIES.values():
        library = make()
        if library.knows(name):
            return library, name
    raise UnknownBackbone(name, _near(name))


def _near(name: str) -> list[str]:
    return difflib.get_close_matches(name, available_backbones(), n=5)
