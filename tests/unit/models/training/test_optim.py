"""Learning rates by epoch, and optimizer states that load strictly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from masktune.contract.hyperparameters import OptimizerConfig, OptimizerName, ScheduleConfig, ScheduleName
from masktune.contract.hyperparameters.parameters import ConfigError
from models.training.optim import OptimizerMismatch, learning_rate, load_optimizer, make_optimizer


def _rates(schedule: ScheduleConfig, epochs: int) -> list[float]:
    return [learning_rate(1.0, schedule, epoch=e, epochs=epochs) for e in range(epochs)]


def test_learning_rates_follow_their_schedule() -> None:
    assert _rates(ScheduleConfig(), 3) == [1, 1, 1]
    assert _rates(ScheduleConfig("multistep", (2, 3), gamma=0.5), 5) == [1, 1, 0.5, 0.25, 0.25]
    cosine = _rates(ScheduleConfig("cosine"), 10)
    assert cosine == pytest.approx(sorted(cosine, reverse=True))
    assert cosine[0] == 1
    assert cosine[5] == pytest.approx(0.5)
    assert cosine[-1] > 0


@pytest.mark.parametrize(("name", "milestones"), [("constant", (2,)), ("cosine", (2,)), ("multistep", ())])
def test_milestones_and_multistep_go_together(name: ScheduleName, milestones: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="multistep") as refused:
        ScheduleConfig(name, milestones)
    assert refused.value.pointer == "/schedule/milestones"


def _stepped(layer: nn.Linear, config: OptimizerConfig) -> torch.optim.Optimizer:
    optimizer = make_optimizer(layer, config)
    layer(torch.ones(2, layer.in_features)).sum().backward()
    optimizer.step()
    return optimizer


@pytest.mark.trains
def test_a_loaded_state_is_a_copy() -> None:
    layer = nn.Linear(3, 2)
    state = _stepped(layer, OptimizerConfig()).state_dict()
    before = state["state"][0]["momentum_buffer"].clone()
    other = make_optimizer(layer, OptimizerConfig())
    load_optimizer(other, state)
    other.step()
    assert torch.equal(state["state"][0]["momentum_buffer"], before)


@pytest.mark.trains
@pytest.mark.parametrize(
    ("saved", "layer", "loading"),
    [
        ("sgd", nn.Linear(3, 2), "adam"),
        ("adam", nn.Linear(3, 2), "adamw"),
        ("sgd", nn.Linear(4, 2), "sgd"),
        ("sgd", nn.Linear(3, 2, bias=False), "sgd"),
    ],
)
def test_states_of_other_optimizers_and_networks_are_refused(
    saved: OptimizerName, layer: nn.Linear, loading: OptimizerName
) -> None:
    state = _stepped(nn.Linear(3, 2), OptimizerConfig(saved)).state_dict()
    with pytest.raises(OptimizerMismatch):
        load_optimizer(make_optimizer(layer, OptimizerConfig(loading)), state)


@pytest.mark.trains
def test_a_loaded_state_keeps_its_buffers_and_not_its_hyperparameters() -> None:
    layer = nn.Linear(3, 2)
    before = OptimizerConfig(momentum=0.9, weight_decay=1e-4)
    state = _stepped(layer, before).state_dict()
    changed = OptimizerConfig(learning_rate=0.5, momentum=0.3, weight_decay=0.2, nesterov=True)
    optimizer = make_optimizer(layer, changed)
    load_optimizer(optimizer, state)
    (group,) = optimizer.param_groups
    found = {name: group[name] for name in ("lr", "momentum", "weight_decay", "nesterov")}
    assert found == {"lr": 0.5, "momentum": 0.3, "weight_decay": 0.2, "nesterov": True}
    buffers = optimizer.state_dict()["state"]
    assert torch.equal(buffers[0]["momentum_buffer"], state["state"][0]["momentum_buffer"])
    same = make_optimizer(layer, before)
    load_optimizer(same, state)
    assert same.state_dict()["param_groups"] == state["param_groups"]


@pytest.mark.trains
def test_momentum_may_be_put_on_a_state_that_had_none() -> None:
    layer = nn.Linear(3, 2)
    optimizer = make_optimizer(layer, OptimizerConfig(momentum=0.9))
    load_optimizer(optimizer, _stepped(layer, OptimizerConfig(momentum=0.0)).state_dict())
    optimizer.step()
    assert set(optimizer.state_dict()["state"][0]) == {"momentum_buffer"}


def test_frozen_parameters_are_not_trained() -> None:
    layer = nn.Linear(3, 2)
    layer.weight.requires_grad_(False)
    (group,) = make_optimizer(layer, OptimizerConfig()).param_groups
    assert group["params"] == [layer.bias]
