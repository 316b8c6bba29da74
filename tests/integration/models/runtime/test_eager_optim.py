"""Optimizers and image decoders without torch's compiler do what those of the libraries do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer

from models.runtime.eager_optim import eager
from tests.support.seeds import shifted

pytestmark = pytest.mark.trains

KINDS: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True, "fused": True}),
    (SGD, {"lr": 0.1, "fused": False}),
    (Adam, {"lr": 0.1, "weight_decay": 0.01, "fused": True}),
    (AdamW, {"lr": 0.1, "fused": False}),
    (LBFGS, {"max_iter": 5, "line_search_fn": "strong_wolfe"}),
]


def trained(kind: type[Optimizer], options: dict[str, Any]) -> tuple[list[Tensor], dict[str, Any]]:
    """Parameters and state after three steps, of which the last follows a saved and loaded state."""
    generator = torch.Generator().manual_seed(shifted(0))
    layer = nn.Linear(4, 3)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    images = torch.randn(8, 4, generator=generator)
    optimizer = kind(layer.parameters(), **options)

    def closure() -> float:
        optimizer.zero_grad()
        loss: Tensor = layer(images).square().mean()
        torch.autograd.backward(loss)
        return loss.item()

    def step(times: int) -> None:
        for _ in range(times):
            closure()
            optimizer.step(closure)

    step(2)
    state = copy.deepcopy(optimizer.state_dict())
    optimizer = kind(layer.parameters(), **options)
    optimizer.load_state_dict(state)
    step(1)
    return list(layer.parameters()), optimizer.state_dict()


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_the_bits_are_those_of_torch(kind: type[Optimizer], options: dict[str, Any]) -> None:
    ours, state = trained(eager(kind), options)
    theirs, expected = trained(kind, options)
    for own, other in zip(ours, theirs, strict=True):
        assert torch.equal(own, other)
    assert str(state) == str(expected)


def test_a_step_needs_no_gradient_of_its_own() -> None:
    layer = nn.Linear(2, 1)
    optimizer = eager(SGD)(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert layer.weight.is_leaf
    assert torch.is_grad_enabled()


def test_hooks_are_called() -> None:
    """torch's profiler and its users' hooks find a step as before."""
    calls: list[str] = []

    def note(name: str) -> Callable[[Optimizer, tuple[Any, ...], dict[str, Any]], None]:
        return lambda optimizer, arguments, options: calls.append(name)

    optimizer = eager(SGD)([nn.Parameter(torch.zeros(1))], lr=0.1)
    optimizer.register_step_pre_hook(note("before"))
    optimizer.register_step_post_hook(note("after"))
    with torch.profiler.profile() as profile:
        optimizer.step()
    assert calls == ["before", "after"]
    assert "Optimizer.step#SGD.step" in {event.key for event in profile.key_averages()}
