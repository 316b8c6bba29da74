"""The head's gradient by hand beside autograd's, layer by layer and through a whole chain."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from models.saliency.layers import RULES, HeadTape, readable
from tests.support.tensors import assert_close

LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.BatchNorm1d(6), (6,)),
    (nn.BatchNorm1d(6, affine=False), (6,)),
    (nn.BatchNorm2d(4), (4, 5, 6)),
    (nn.Dropout(0.5), (6,)),
    (nn.Flatten(), (4, 5, 6)),
    (nn.Identity(), (6,)),
    (nn.Linear(6, 3), (6,)),
    (nn.MaxPool2d(2), (4, 6, 8)),
    (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (4, 6, 8)),  # its windows overlap
    (nn.MaxPool2d((2, 3), (1, 2), dilation=(1, 2)), (4, 6, 9)),
    (nn.ReLU(), (6,)),
    (nn.ReLU(inplace=True), (6,)),
]


def in_use(layer: nn.Module) -> nn.Module:
    """In evaluation mode, with the weights and statistics of a training."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for tensor in layer.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 1)
    return layer.eval()


def numbers(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(7, *shape, generator=torch.Generator().manual_seed(1))


def of_autograd(layers: Sequence[nn.Module], x: Tensor, weights: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    output = leaf * 1  # so that a layer may work in place
    for layer in layers:
        output = layer(output)
    (gradient,) = torch.autograd.grad((output * weights).sum(), leaf)
    return gradient


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["", "last"])
def test_a_layers_gradient_is_autograds(
    layer: nn.Module, shape: tuple[int, ...], memory_format: torch.memory_format
) -> None:
    layer, x = in_use(layer), numbers(shape)
    x = x.contiguous(memory_format=memory_format) if x.ndim == 4 else x
    with torch.no_grad():
        tape = HeadTape.record([layer], x.clone())
        assert torch.equal(tape.logits, layer(x.clone()))
        weights = torch.rand(tape.logits.shape, generator=torch.Generator().manual_seed(2))
        found = tape.gradient(weights)
    assert_close(found, of_autograd([layer], x, weights))


def test_every_rule_is_tried() -> None:
    assert {type(layer) for layer, _ in LAYERS} == set(RULES)


def chain() -> list[nn.Module]:
    layers = [nn.MaxPool2d(3, 2), nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(24, 8), nn.BatchNorm1d(8)]
    return [in_use(layer) for layer in [*layers, nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)]]


def test_a_chain_of_layers_gives_the_gradient_and_its_sum_behind_the_pooling() -> None:
    layers, x = chain(), numbers((4, 8, 10))
    weights = torch.rand(7, 3, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        tape = HeadTape.record(layers, x)
        found = tape.gradient(weights)
        behind = tape.gradient(weights, of_passed_on=True)
    assert_close(found, of_autograd(layers, x, weights))
    assert tape.passed_on.shape == behind.shape == (7, 4, 2, 3)
    assert_close((behind * tape.passed_on).sum((2, 3)), (found * x).sum((2, 3)))


def test_without_pooling_nothing_is_passed_on() -> None:
    layers, x = chain()[2:], numbers((4, 2, 3))
    with torch.no_grad():
        tape = HeadTape.record(layers, x)
        assert tape.passed_on is x
        weights = torch.ones(7, 3)
        assert torch.equal(tape.gradient(weights), tape.gradient(weights, of_passed_on=True))


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Tanh(),  # no rule
        Doubled(6, 3),  # another computation under a known name
        nn.BatchNorm1d(6, track_running_stats=False),  # normalises by the batch
    ],
    ids=str,
)
def test_what_has_no_rule_is_left_to_autograd(layer: nn.Module) -> None:
    assert readable(chain())
    assert not readable([*chain(), layer.eval()])


def test_a_layer_in_training_mode_is_left_to_autograd() -> None:
    layers = chain()
    layers[4].train()
    assert not readable(layers)
