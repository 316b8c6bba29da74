"""Optimizers of torch without its compiler, whose import costs a process 1.2 s and 80 MiB.

torch imports it (`torch._dynamo`) with the first optimizer, and nothing of ours is compiled.
"""

from __future__ import annotations

import inspect
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
