"""The algorithm end to end on tiny images: budgets, starts and orders are the paper's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from masktune.contract.hyperparameters import (
    FinetuneConfig,
    Hyperparameters,
    MaskingConfig,
    OptimizerConfig,
    ScheduleConfig,
)
from models.backbones.build import build_network
from models.data.loading.loaders import val_loader
from models.errors import LearningError
from models.inputs import new_network
from models.masking.compute import load_or_compute_masks
from models.masktune import continue_as_control, finetune_on_masks, fit_erm, masktune
from models.run import Run, Stopped
from models.training.checkpoints import CheckpointFolder
from models.training.counting import count
from tests.support.seeds import shifted
from tests.unit.models.conftest import StoreFactory

pytestmark = pytest.mark.trains

CONFIG = Hyperparameters(
    image_size=16,
    batch_size=8,
    epochs=2,
    optimizer=OptimizerConfig(learning_rate=0.02),
    schedule=ScheduleConfig("multistep", (1,), gamma=0.1),
    masking=MaskingConfig(sigmas=1.0),
)
RUN = Run(seed=shifted(0))


class _NoMasks:
    """Masks nothing."""

    digest = "nothing"

    def masks(self, rows: torch.Tensor, size: int, device: torch.device) -> torch.Tensor:
        return torch.zeros(len(rows), size, size, dtype=torch.bool, device=device)


@pytest.mark.parametrize(
    ("splits", "masking", "reason"),
    [
        ({}, {"method": "xgradcm"}, "unknown_method"),
        ({"val": 0}, {}, "split_too_small"),
        ({"test": 0}, {}, "split_too_small"),
        ({"train": 0}, {}, "split_too_small"),
    ],
    ids=str,
)
def test_what_would_fail_after_erm_is_told_before_it(
    splits: dict[str, int],
    masking: dict[str, Any],
    reason: str,
    make_store: StoreFactory,
    tmp_path: Path,
) -> None:
    store, config = make_store(**splits), replace(CONFIG, masking=MaskingConfig(**masking))
    network = build_network("small_cnn", classes=2, image_size=16, seed=shifted(0))
    with pytest.raises(LearningError) as told:
        masktune(network, store, config, RUN, folder=tmp_path / "run")
    assert told.value.reason == reason
    assert not (tmp_path / "run").exists()


def test_each_iteration_draws_its_random_places_anew(make_store: StoreFactory, tmp_path: Path) -> None:
    store = make_store(train=16, val=2, test=2)
    masking = MaskingConfig(method="random", share=0.3, iterations=3)
    config = replace(CONFIG, epochs=1, control=False, masking=masking)
    result = masktune(new_network(store, config), store, config, RUN, folder=tmp_path)
    assert set(result.arms) == {"erm", "masktune"}  # no control was asked for
    seeds = [each.header.seed for each in result.masks]
    assert seeds[0] == RUN.seed  # as ever: masks that exist keep their places
    assert len(set(seeds)) == 3


def test_the_whole_of_it_and_again_from_where_it_was_stopped(
    make_store: StoreFactory, tmp_path: Path
) -> None:
    store = make_store()
    straight = masktune(new_network(store, CONFIG), store, CONFIG, RUN, folder=tmp_path / "a")
    assert set(straight.arms) == {"erm", "masktune", "control"}
    for arm in straight.arms.values():
        assert set(arm.metrics) == {"val", "test"}
        assert arm.metrics["test"].n == 8
        assert arm.metrics["test"].worst_group_accuracy is not None
    assert 0 < straight.masks[0].masked_share < 0.5

    questions = 0

    def count() -> bool:
        nonlocal questions
        questions += 1
        return False

    masktune(
        new_network(store, CONFIG), store, CONFIG, replace(RUN, should_stop=count), folder=tmp_path / "b"
    )
    for stop in range(2, questions, 5):
        asked = iter(range(questions))
        run = replace(RUN, should_stop=lambda asked=asked, stop=stop: next(asked) == stop)  # type: ignore[misc]  # mypy cannot infer the lambda's defaults
        folder = tmp_path / f"stop-{stop}"
        with pytest.raises(Stopped):
            masktune(new_network(store, CONFIG), store, CONFIG, run, folder=folder)
        resumed = masktune(new_network(store, CONFIG), store, CONFIG, RUN, folder=folder)
        digests = {name: arm.fit.digest for name, arm in resumed.arms.items()}
        assert digests == {name: arm.fit.digest for name, arm in straight.arms.items()}


def test_a_finetune_without_a_mask_is_the_control(make_store: StoreFactory, tmp_path: Path) -> None:
    """So both see the same batches from the same start, and only the masks tell them apart."""
    store = make_store()
    network = new_network(store, CONFIG)
    fit_erm(network, store, CONFIG, RUN, folder=tmp_path / "erm")
    start = CheckpointFolder(tmp_path / "erm").last()
    bare = finetune_on_masks(
        network, store, CONFIG, RUN, folder=tmp_path / "bare", start=start, masks=_NoMasks()
    )
    control = continue_as_control(network, store, CONFIG, RUN, folder=tmp_path / "control", start=start)
    assert bare.digest == control.digest
    assert control.history[0].learning_rate == pytest.approx(0.002)  # ERM's last
    masks = load_or_compute_masks(network, store, CONFIG, RUN, folder=tmp_path / "masks")
    tuned = finetune_on_masks(
        network, store, CONFIG, RUN, folder=tmp_path / "tuned", start=start, masks=masks
    )
    assert tuned.digest != control.digest


def test_iterations_accumulate_and_the_control_has_the_same_budget(
    make_store: StoreFactory, tmp_path: Path
) -> None:
    store = make_store()
    config = replace(
        CONFIG,
        masking=replace(CONFIG.masking, iterations=2),
        finetune=FinetuneConfig(epochs=2, learning_rate=0.005),
    )
    result = masktune(new_network(store, config), store, config, RUN, folder=tmp_path / "a")
    assert len(result.masks) == 2
    assert [r.learning_rate for r in result.arms["control"].fit.history] == [0.005] * 4
    assert [r.learning_rate for r in result.arms["masktune"].fit.history] == [0.005] * 2
    # With masks of nothing, two finetunes of two epochs are the control's four.
    start = CheckpointFolder(tmp_path / "a" / "erm").last()
    network = new_network(store, config)
    for iteration in range(2):
        folder = tmp_path / f"bare-{iteration}"
        bare = finetune_on_masks(
            network, store, config, RUN, folder=folder, start=start, masks=_NoMasks(), iteration=iteration
        )
        start = CheckpointFolder(folder).last()
    assert bare.digest == result.arms["control"].fit.digest


def test_as_released_never_steps_the_schedule(make_store: StoreFactory, tmp_path: Path) -> None:
    store = make_store(train=16)
    rates = {}
    for as_released in (False, True):
        config, folder = replace(CONFIG, as_released=as_released), tmp_path / str(as_released)
        network = new_network(store, config)
        erm = fit_erm(network, store, config, RUN, folder=folder / "erm")
        start = CheckpointFolder(folder / "erm").last()
        tuned = finetune_on_masks(
            network, store, config, RUN, folder=folder / "tuned", start=start, masks=_NoMasks()
        )
        rates[as_released] = [record.learning_rate for record in (*erm.history, *tuned.history)]
    assert rates == {False: pytest.approx([0.02, 0.002, 0.002]), True: [0.02, 0.02, 0.02]}


def test_as_released_the_best_epoch_is_the_first_of_the_highest_mean_of_batch_means(
    make_store: StoreFactory, tmp_path: Path
) -> None:
    """Eleven images of val in batches of 8: the three of the last batch weigh as much as the eight."""
    store, config = make_store(train=16, val=11), replace(CONFIG, epochs=6, schedule=ScheduleConfig())
    histories = {}
    for as_released in (False, True):
        config = replace(config, as_released=as_released)
        network = new_network(store, config)
        fitted = fit_erm(network, store, config, RUN, folder=tmp_path / str(as_released))
        histories[as_released] = fitted.history
        scores = [r.val_batch_mean if as_released else r.val_accuracy for r in fitted.history]
        best = [r.epoch for r, score in zip(fitted.history, scores, strict=True) if score == max(scores)]  # type: ignore[type-var]  # never None here
        assert fitted.epoch == (best[0] if as_released else best[-1])
    plain, released = histories[False], histories[True]
    assert [r.val_correct for r in plain] == [r.val_correct for r in released]
    assert [r.val_batch_mean for r in plain] == [None] * 6
    assert [r.val_batch_mean for r in released] != [r.val_accuracy for r in released]
    network = new_network(store, config)
    batches = val_loader(store, config, RUN)
    assert [len(batch.rows) for batch in batches.epoch(None)] == [8, 3]
    means = [
        float((network(batch.images).argmax(1) == batch.labels).float().mean())
        for batch in batches.epoch(None)
    ]
    assert count(network, batches, RUN).batch_mean == pytest.approx(sum(means) / 2)
