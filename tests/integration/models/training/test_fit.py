"""One loop, and it repeats itself: resumed anywhere, a training ends with the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from masktune.contract.hyperparameters import Hyperparameters, OptimizerConfig, OptimizerName, ScheduleConfig
from models.backbones.build import build_network
from models.backbones.network import Network
from models.data.loading.batches import Batch
from models.data.loading.loaders import train_loader, val_loader
from models.data.store import Store
from models.run import Progress, Run, Stopped
from models.training.checkpoints import CheckpointError, CheckpointFolder, weights_digest
from models.training.counting import StepCounts, count
from models.training.fit import Diverged, FitConfig, FitData, FitResult, fit
from tests.support.seeds import shifted
from tests.unit.models.conftest import StoreFactory

pytestmark = pytest.mark.trains

CONFIG = Hyperparameters(seed=shifted(0), image_size=16, batch_size=8, epochs=3, augmentation="flip")
PLAN = FitConfig(3, CONFIG.optimizer)
RUN = Run(seed=shifted(0))


def _fit(
    store: Store,
    folder: Path,
    plan: FitConfig = PLAN,
    run: Run = RUN,
    *,
    backbone: str = "small_cnn",
    val: bool = True,
) -> tuple[Network, FitResult]:
    network = build_network(backbone, classes=2, image_size=16, seed=shifted(0))
    data = FitData(train_loader(store, CONFIG, run), val_loader(store, CONFIG, run) if val else None)
    return network, fit(network, data, config=plan, run=run, checkpoints=CheckpointFolder(folder))


@pytest.mark.parametrize("steps", [1, 31, 32, 33, 64])
def test_what_is_counted_is_what_was_seen(steps: int) -> None:
    counts, generator = StepCounts(torch.device("cpu")), torch.Generator().manual_seed(steps)
    loss, right, seen = 0.0, 0, 0
    for step in range(steps):
        size = 8 if step < steps - 1 else 3
        mean, drawn = torch.rand((), generator=generator), torch.randint(3, (2, size), generator=generator)
        counts.add(mean, drawn[0], drawn[1])
        loss, right, seen = loss + float(mean) * size, right + int((drawn[0] == drawn[1]).sum()), seen + size
    assert counts.sums().tolist() == pytest.approx([loss, right, seen])


class StopAfter:
    """Says stop at the n-th question."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("stop", [1, 5, 9])
def test_a_training_stopped_anywhere_ends_with_the_same_bits(
    make_store: StoreFactory, tmp_path: Path, optimizer: OptimizerName, stop: int
) -> None:
    store = make_store()
    schedule = ScheduleConfig("multistep", (2,))
    plan = replace(PLAN, optimizer=OptimizerConfig(optimizer, 0.003), schedule=schedule)
    straight_network, straight = _fit(store, tmp_path / "straight", plan)
    with pytest.raises(Stopped):
        _fit(store, tmp_path / "broken", plan, replace(RUN, should_stop=StopAfter(stop)))
    network, resumed = _fit(store, tmp_path / "broken", plan)
    assert resumed.digest == straight.digest == weights_digest(network.model)
    assert resumed.epoch == straight.epoch
    assert [r._replace(seconds=0) for r in resumed.history] == [
        r._replace(seconds=0) for r in straight.history
    ]
    last = CheckpointFolder(tmp_path / "broken").last(), CheckpointFolder(tmp_path / "straight").last()
    assert all(torch.equal(last[0].weights[n], last[1].weights[n]) for n in last[1].weights)
    assert weights_digest(straight_network) == weights_digest(network)


def test_dropout_is_drawn_from_the_epoch_and_torchs_generator_is_left_alone(
    make_store: StoreFactory, tmp_path: Path
) -> None:
    store = make_store(train=16)
    plan = replace(PLAN, epochs=2)

    def with_dropout(folder: Path, run: Run = RUN) -> str:
        network = build_network("small_cnn", classes=2, image_size=16, seed=shifted(0))
        network.model.set_submodule(
            "pool2", torch.nn.Sequential(torch.nn.MaxPool2d(2), torch.nn.Dropout(0.5))
        )
        data = FitData(train_loader(store, CONFIG, run))
        return fit(network, data, config=plan, run=run, checkpoints=CheckpointFolder(folder)).digest

    torch.manual_seed(shifted(1))
    before = torch.get_rng_state()
    straight = with_dropout(tmp_path / "a")
    torch.manual_seed(shifted(2))
    with pytest.raises(Stopped):
        with_dropout(tmp_path / "b", replace(RUN, should_stop=StopAfter(3)))
    assert with_dropout(tmp_path / "b") == straight
    torch.manual_seed(shifted(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_it_learns_and_picks_the_latest_best_epoch(make_store: StoreFactory, tmp_path: Path) -> None:
    network, result = _fit(make_store(train=64), tmp_path / "c", replace(PLAN, epochs=4))
    assert result.history[-1].loss < result.history[0].loss
    scores = [r.val_accuracy or 0 for r in result.history]
    assert result.epoch == max(epoch for epoch, score in enumerate(scores, 1) if score == max(scores))
    folder = CheckpointFolder(tmp_path / "c")
    assert folder.epochs() == sorted({result.epoch, 4})
    assert not network.training


def test_counts_are_of_every_sample_once(make_store: StoreFactory, tmp_path: Path) -> None:
    store = make_store(train=25, val=7)  # 25 = 3 batches of 8 and one left over, which joins the third
    network, result = _fit(store, tmp_path / "c")
    assert [(r.images, r.val_images) for r in result.history] == [(25, 7)] * 3
    found = count(network, val_loader(store, CONFIG, RUN), RUN)
    assert (found.correct, found.images) == (result.history[result.epoch - 1].val_correct, 7)


def test_without_val_the_last_epoch_is_taken(make_store: StoreFactory, tmp_path: Path) -> None:
    _, result = _fit(make_store(), tmp_path / "c", val=False)
    assert result.epoch == 3
    assert result.history[-1].val_accuracy is None


def test_checkpoints_of_another_training_are_refused(make_store: StoreFactory, tmp_path: Path) -> None:
    store = make_store()
    _fit(store, tmp_path / "c")
    with pytest.raises(CheckpointError, match="config"):
        _fit(store, tmp_path / "c", replace(PLAN, epochs=4))
    with pytest.raises(CheckpointError, match="network"):
        _fit(store, tmp_path / "c", backbone="resnet32")


def test_the_last_of_a_chain_of_trainings_names_no_more_than_its_own_start(
    make_store: StoreFactory, tmp_path: Path
) -> None:
    store, plan, start = make_store(), replace(PLAN, epochs=1, select="last"), None
    network = build_network("small_cnn", classes=2, image_size=16, seed=shifted(0))
    identities = []
    for link in range(4):
        data, folder = FitData(train_loader(store, CONFIG, RUN)), CheckpointFolder(tmp_path / str(link))
        fit(network, data, config=plan, run=RUN, checkpoints=folder, start=start)
        start = folder.last()
        identities.append(start.identity)
    assert len({len(identity) for identity in identities[1:]}) == 1
    assert len(set(identities)) == 4  # yet each says which training it goes on from


def test_another_number_of_threads_is_refused(make_store: StoreFactory, tmp_path: Path) -> None:
    store = make_store()
    _, done = _fit(store, tmp_path / "c")
    folder = CheckpointFolder(tmp_path / "c")
    folder.save(replace(folder.last(), threads=torch.get_num_threads() + 1))
    with pytest.raises(CheckpointError, match="set the threads to"):
        _fit(store, tmp_path / "c")
    folder.save(replace(folder.last(), threads=torch.get_num_threads()))
    assert _fit(store, tmp_path / "c")[1].digest == done.digest


def test_progress_tells_of_every_epoch(make_store: StoreFactory, tmp_path: Path) -> None:
    seen: list[Progress] = []
    _fit(make_store(), tmp_path / "c", run=replace(RUN, on_progress=seen.append))
    ends = [p for p in seen if p.metrics]
    assert [p.epoch for p in ends] == [1, 2, 3]
    assert all({"loss", "accuracy", "val_accuracy", "learning_rate"} == set(p.metrics) for p in ends)
    assert all(p.images_per_second > 0 and p.epochs == 3 for p in ends)


def test_a_loss_that_is_no_number_ends_the_training(make_store: StoreFactory, tmp_path: Path) -> None:
    plan = replace(PLAN, optimizer=OptimizerConfig(learning_rate=999.0, momentum=0.99))
    with pytest.raises(Diverged, match="use a learning_rate below"):
        _fit(make_store(), tmp_path / "c", replace(plan, epochs=40), backbone="resnet32")


def test_a_network_that_the_last_step_broke_ends_the_training(
    make_store: StoreFactory, tmp_path: Path
) -> None:
    """The loss is of the weights before it."""
    plan = replace(PLAN, epochs=1, optimizer=OptimizerConfig(learning_rate=999.0, weight_decay=1e38))
    with pytest.raises(Diverged, match=r"no output .* number.* learning_rate below"):
        _fit(make_store(train=8), tmp_path / "c", plan)
    assert CheckpointFolder(tmp_path / "c").newest() is None


def test_an_answer_that_is_no_number_is_not_right(make_store: StoreFactory) -> None:
    network, val = build_network("small_cnn", classes=2, image_size=16), val_loader(make_store(), CONFIG, RUN)
    assert count(network, val, RUN).numbers == 8
    with torch.no_grad():
        network.classifier.weight[1] = float("nan")
    found = count(network, val, RUN)
    assert (found.correct, found.images, found.numbers, found.batch_mean) == (0, 8, 0, 0)


class _Fixed:
    """A loader that gives one batch again and again."""

    def __init__(self, batch: Batch, steps: int) -> None:
        self.batch, self.steps = batch, steps
        self.images = steps * len(batch.labels)

    def __len__(self) -> int:
        return self.steps

    def epoch(self, generator: torch.Generator | None) -> Iterator[Batch]:
        return iter([self.batch] * self.steps)


def test_the_loop_is_plain_sgd(tmp_path: Path) -> None:
    images, labels = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 0, 1])
    batch = Batch(images, labels, torch.arange(4))
    ours, theirs = (build_network("small_cnn", classes=2, image_size=16, seed=shifted(0)) for _ in range(2))
    plan = FitConfig(2, OptimizerConfig(learning_rate=0.05, momentum=0.0, weight_decay=0.0))
    folder = CheckpointFolder(tmp_path / "c")
    fit(ours, FitData(_Fixed(batch, 1)), config=plan, run=RUN, checkpoints=folder)
    theirs.train()
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(theirs(images), labels)
        gradients: tuple[Tensor, ...] = torch.autograd.grad(loss, list(theirs.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(theirs.parameters(), gradients, strict=True):
                parameter.sub_(gradient, alpha=0.05)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)
