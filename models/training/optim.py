"""Optimizers, and the learning rate as a pure function of the epoch, so schedules have no state to lose."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from masktune.contract.hyperparameters import OptimizerConfig, OptimizerName, ScheduleConfig
from models.errors import LearningError
from models.runtime.eager_optim import eager

SGD, Adam, AdamW = eager(torch.optim.SGD), eager(torch.optim.Adam), eager(torch.optim.AdamW)


_OPTIMIZERS: dict[OptimizerName, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
_HYPERPARAMETERS = ("lr", "momentum", "weight_decay", "nesterov")
"""The options that `OptimizerConfig` sets, by torch's names."""
_FUSED = ("cpu", "cuda")  # one kernel for all parameters: worth a fifth of SmallCNN's step on a CPU


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> Optimizer:
    """An optimizer of all parameters that require gradients, on the network's device."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    options: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    options["fused"] = all(p.device.type in _FUSED for p in parameters)
    if config.name == "sgd":
        options |= {"momentum": config.momentum, "nesterov": config.nesterov}
    return _OPTIMIZERS[config.name](parameters, **options)


class OptimizerMismatch(LearningError, ValueError):
    """The state belongs to another kind of optimizer, or to another network."""

    reason = "optimizer_mismatch"


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load the buffers of `state` (momentum, moments); `optimizer` keeps its own hyperparameters.

    Raises OptimizerMismatch unless the kind of optimizer and all parameters and shapes are the same.
    """
    own = optimizer.state_dict()
    if [_outline(group) for group in own["param_groups"]] != [_outline(g) for g in state["param_groups"]]:
        raise OptimizerMismatch(
            "the optimizer's state belongs to another kind of optimizer, or to another network"
        )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, values in state["state"].items():
        for name, buffer in values.items():
            if isinstance(buffer, torch.Tensor) and buffer.ndim and buffer.shape != parameters[index].shape:
                raise OptimizerMismatch(f"{name} of parameter {index} has the shape {tuple(buffer.shape)}")
    optimizer.load_state_dict(copy.deepcopy(state))  # otherwise its steps would write into `state`
    for group, before in zip(optimizer.param_groups, own["param_groups"], strict=True):
        group.update({name: before[name] for name in _HYPERPARAMETERS if name in before})


def _outline(group: dict[str, Any]) -> tuple[list[str], list[int], bool | None]:
    """What distinguishes kinds of optimizers: Adam and AdamW differ only in the last item."""
    return sorted(group), group["params"], group.get("decoupled_weight_decay")


def learning_rate(base: float, schedule: ScheduleConfig, *, epoch: int, epochs: int) -> float:
    """The learning rate of `epoch` (0 … epochs - 1)."""
    match schedule.name:
        case "constant":
            factor = 1.0
        case "multistep":
            factor = schedule.gamma ** sum(milestone <= epoch for milestone in schedule.milestones)
        case "cosine":
            factor = (1 + math.cos(math.pi * epoch / epochs)) / 2
    return base * factor
