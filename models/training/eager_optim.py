"""Parts of torch and torchvision without torch's compiler, whose import costs a process 1.2 s and 80 MiB.

torch imports it (`torch._dynamo`) with the first optimizer, torchvision imports it by itself, and nothing of
ours is compiled. If a version of these libraries is built differently, its own way is taken.
"""

from __future__ import annotations

import inspect
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec
from typing import TypeVar, cast

import torch
from torch.optim import Optimizer

OptimizerT = TypeVar("OptimizerT", bound=Optimizer)
_PREPARED = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")
"""Methods that torch wraps for its compiler."""


def eager(kind: type[OptimizerT]) -> type[OptimizerT]:
    """This kind of optimizer with the methods as they are beneath torch's decorators: the same bits.

    Not for `differentiable=True`.
    """
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in _PREPARED}
    plain["step"] = torch.no_grad()(plain["step"])  # one of the decorators
    return cast("type[OptimizerT]", type(kind.__name__, (kind,), plain))


def load_image_ops() -> bool:
    """Register torchvision's image decoders as `torch.ops.image`. False if there are none."""
    try:
        torch.ops.load_library(_library("image"))  # type: ignore[no-untyped-call]  # torch leaves it untyped
    except (ImportError, OSError):  # torchvision may know where else they are
        import torchvision.io  # noqa: F401  # registers them
    return hasattr(torch.ops.image, "decode_png")


def _library(name: str) -> str:
    """Find a library of torchvision as torchvision does. Raises ImportError."""
    package = find_spec("torchvision")
    for folder in package.submodule_search_locations or () if package else ():
        found = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec(name)
        if found is not None and found.origin is not None:
            return found.origin
    raise ImportError(name)
