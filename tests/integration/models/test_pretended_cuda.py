"""On a card, pretended: nothing lies on the wrong device, and no step of a loop waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from app.inference.engines.torch import TorchEngine
from app.inference.types import Explain
from masktune.contract.hyperparameters import (
    Augmentation,
    Fill,
    FinetuneConfig,
    HeadConfig,
    Hyperparameters,
    MaskingConfig,
    OptimizerName,
)
from models.backbones.build import build_network
from models.data.loading.augment import RECIPES
from models.data.loading.batches import make_loader
from models.data.loading.loader_settings import LoaderSettings
from models.data.loading.loaders import evaluation_loader
from models.data.loading.shards import ShardLoader, process_shards
from models.evaluation.metrics import predict_logits
from models.export import card_of, load_model, save_model
from models.inputs import new_network
from models.masking.compute import (
    compute_mask_set,
    load_or_compute_masks,
    mask_batches,
    predict_with_maps,
)
from models.masking.store import MaskBatch, MaskSet, MaskSetHeader, write_mask_set
from models.masktune import finetune_on_masks, fit_erm, masktune
from models.mitigation.features import compute_features
from models.mitigation.groups import cross_mistakes
from models.mitigation.retrain import retrain_head
from models.run import Run
from models.saliency import METHODS, saliency
from models.shortcuts.masking_cost import predict_under_masks
from models.training import counting
from tests.support import pretend_cuda
from tests.support.pretend_cuda import CUDA, Pretended, Wait, pretended_card
from tests.support.seeds import shifted
from tests.unit.models.conftest import StoreFactory

HEADS = HeadConfig(rounds=1, judge_penalties=(10.0,), penalties=(10.0,), folds=2, repeats=1)
CONFIG = Hyperparameters(
    seed=shifted(0), image_size=16, batch_size=8, epochs=2, masking=MaskingConfig(sigmas=1.0)
)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretended]:
    with pretended_card(monkeypatch) as pretended:
        yield pretended


def test_it_is_a_device_of_its_own(card: Pretended) -> None:
    here, there = torch.ones(3), torch.ones(3, device="cuda")
    assert there.device == CUDA
    assert (there * 2).is_cuda
    assert not here.is_cuda
    with pytest.raises(RuntimeError, match="same device"):
        here + there
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    assert card.waits == []
    moved = here.to("cuda", non_blocking=True)
    moved += 1
    assert here.tolist() == [1, 1, 1]
    assert card.waits == []
    waiting: list[Callable[[], object]] = [
        moved.cpu,
        moved.tolist,
        lambda: moved[moved > 1],
        lambda: moved[torch.tensor([0])],
        lambda: here.to("cuda"),
        lambda: there.new_tensor(3),
        lambda: torch.tensor(3, device="cuda"),
        lambda: float(there.sum()),
    ]
    for number, work in enumerate(waiting, 1):
        work()
        assert len(card.waits) == number
    assert moved.cpu().tolist() == [2, 2, 2]


@pytest.mark.trains
def test_the_whole_of_it_is_what_a_cpu_makes(
    card: Pretended, make_store: StoreFactory, tmp_path: Path
) -> None:
    config = replace(CONFIG, precision="fp32", augmentation="flip", epochs=1)
    store = make_store()
    on, networks = {}, {}
    for name in ("cpu", "cuda"):
        networks[name] = new_network(store, config)
        run = Run(torch.device(name), seed=shifted(0))
        on[name] = masktune(networks[name], store, config, run, folder=tmp_path / name)
    assert {p.device for p in networks["cuda"].parameters()} == {CUDA}
    for arm, found in on["cuda"].arms.items():
        assert found.fit.digest == on["cpu"].arms[arm].fit.digest
        assert found.metrics == on["cpu"].arms[arm].metrics


def _waits_of(card: Pretended, work: Callable[[], object]) -> list[Wait]:
    before = len(card.waits)
    work()
    return card.waits[before:]


@pytest.mark.trains
@pytest.mark.parametrize(
    ("optimizer", "augmentation"),
    [
        *((name, "none") for name in get_args(OptimizerName)),
        *(("sgd", name) for name in RECIPES if name != "none"),
    ],
)
def test_no_step_of_training_waits(
    card: Pretended,
    make_store: StoreFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    optimizer: OptimizerName,
    augmentation: Augmentation,
) -> None:
    """Of 5 batches labels and draws take more than this driver takes from memory that is not pinned."""
    monkeypatch.setattr(pretend_cuda, "STAGED", 1 << 8)
    config = replace(
        CONFIG, augmentation=augmentation, optimizer=replace(CONFIG.optimizer, name=optimizer), epochs=1
    )

    def train(steps: int) -> None:
        store = make_store(train=8 * steps, val=8 * steps)
        fit_erm(
            new_network(store, config),
            store,
            config,
            Run(CUDA, seed=shifted(0)),
            folder=tmp_path / str(steps),
        )

    train(1)  # what is made once
    assert _waits_of(card, lambda: train(2)) == _waits_of(card, lambda: train(5))


@pytest.mark.trains
@pytest.mark.parametrize(
    ("fill", "method"), [*((fill, "xgradcam") for fill in get_args(Fill)), ("black", "random")]
)
def test_no_step_of_a_finetune_on_masks_waits(
    card: Pretended, make_store: StoreFactory, tmp_path: Path, fill: Fill, method: str
) -> None:
    masking = replace(CONFIG.masking, fill=fill, method=method)
    config = replace(CONFIG, masking=masking, finetune=FinetuneConfig(learning_rate=0.01))

    def tune(images: int) -> list[Wait]:
        store, run, folder = make_store(train=images), Run(CUDA, seed=shifted(0)), tmp_path / str(images)
        network = new_network(store, config).to(CUDA)
        masks = load_or_compute_masks(network, store, config, run, folder=folder / "masks")
        return _waits_of(
            card,
            lambda: finetune_on_masks(
                network, store, config, run, folder=folder / "tuned", start=None, masks=masks
            ),
        )

    tune(8)
    assert tune(16) == tune(40)


def test_large_maps_come_from_pinned_memory(card: Pretended, tmp_path: Path) -> None:
    count, side = 8, 64
    header = MaskSetHeader("xgradcam", "predicted", 2.0, None, (side, side), (side, side), 0, count, "none")
    columns = (torch.rand(count), torch.ones(count, dtype=torch.int32), torch.zeros(count, dtype=torch.int64))
    batch = MaskBatch(torch.arange(count), torch.rand(count, side, side), *columns)
    write_mask_set(tmp_path / "masks", header, [batch])
    masks = MaskSet.open(tmp_path / "masks")
    masks.masks(torch.arange(count), side, CUDA)  # what is made once
    assert masks.records(torch.arange(count)).maps.nbytes > 1 << 16
    assert _waits_of(card, lambda: masks.masks(torch.arange(count), side, CUDA)) == []


def test_bfloat16_is_for_cards_that_have_it(card: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, dtype in (((7, 5), torch.float32), ((9, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, found=capability: found)
        counting._has_bfloat16.cache_clear()
        weight = torch.ones(2, 2, device=CUDA)
        with counting.autocast(CUDA, "auto"):
            assert (weight @ weight).dtype is dtype
    counting._has_bfloat16.cache_clear()


@pytest.mark.parametrize("backbone", ["small_cnn", "resnet32"])
def test_masks_are_waited_for_beside_the_backbone(
    card: Pretended, make_store: StoreFactory, tmp_path: Path, backbone: str
) -> None:
    store = make_store(train=40)
    network = build_network(backbone, classes=2, image_size=16).to(CUDA)
    loader = make_loader(store, store.rows("train"), LoaderSettings(16, 8), Run(CUDA))
    compute_mask_set(network, loader, CONFIG.masking, Run(CUDA), folder=tmp_path / "first")
    waits = _waits_of(
        card, lambda: compute_mask_set(network, loader, CONFIG.masking, Run(CUDA), folder=tmp_path / "second")
    )
    assert waits
    assert all(wait.thread.startswith("masks") for wait in waits)
    shards = ShardLoader(store, [store.rows("train")], LoaderSettings(16, 8), Run(CUDA))
    masks = partial(mask_batches, network, config=CONFIG.masking, device=CUDA)
    waits = _waits_of(card, lambda: dict(process_shards(shards, [0], Run(CUDA), masks)))
    assert waits
    assert all(wait.thread.startswith("masks") for wait in waits)


@pytest.mark.parametrize(
    ("backbone", "method"),
    [
        *(("small_cnn", method) for method in METHODS),
        *(("resnet32", method) for method in ("xgradcam", "gradcam++")),
    ],
)
def test_every_map_is_that_of_a_cpu(card: Pretended, backbone: str, method: str) -> None:
    network = build_network(backbone, classes=3, image_size=16, seed=shifted(0))
    images, labels = torch.rand(2, 3, 16, 16), torch.tensor([0, 2])
    here = saliency(network, images, method=method, target=labels)
    there = saliency(network.to(CUDA), images.to(CUDA), method=method, target=labels)
    for column, of_card in zip(here, there, strict=True):
        assert of_card.device == CUDA
        assert torch.equal(column, of_card.cpu())


@pytest.mark.trains
def test_what_the_report_and_the_heads_look_at_is_that_of_a_cpu(
    card: Pretended, make_store: StoreFactory, tmp_path: Path
) -> None:
    store = make_store(train=12)
    config = replace(CONFIG, backbone="resnet32")
    network = new_network(store, config)
    save_model(network, card_of(network, store.classes, "erm"), tmp_path / "model")
    seen = {}
    for device in (torch.device("cpu"), CUDA):
        run = Run(device, seed=shifted(0))
        served, _ = load_model(tmp_path / "model", device)
        assert {p.device for p in served.parameters()} == {device}
        loader = evaluation_loader(store, store.rows("train"), config, run)
        features = compute_features(served, loader, run)
        groups = cross_mistakes(features, HEADS, classes=store.classes, seed=shifted(0), device=device)
        head = retrain_head(served, features, groups, HEADS, seed=shifted(0), device=device)
        plain = predict_with_maps([served], loader, config.masking, run)
        masked = predict_under_masks([served], loader, plain, config.masking, run)
        seen[device] = [
            *predict_logits(served, loader, run),
            features.values,
            *plain[0],
            *masked[0],
            *head.head,
            served.classifier.weight.detach().cpu().numpy(),
        ]
    for here, there in zip(*seen.values(), strict=True):
        np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize(
    ("backbone", "explain"),
    [
        *(("small_cnn", explain) for explain in (None, Explain("xgradcam"), Explain("gradcam", target=1))),
        ("resnet32", Explain("xgradcam")),
    ],
)
def test_what_is_served_is_that_of_a_cpu(card: Pretended, backbone: str, explain: Explain | None) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8)
    engines = []
    for device in (torch.device("cpu"), CUDA):
        model, erm = (build_network(backbone, classes=3, image_size=16, seed=seed) for seed in (1, 2))
        engines.append(TorchEngine(model, erm, device))
    here, there = (engine.run(images, explain) for engine in engines)
    for column, of_card in zip(here, there, strict=True):
        np.testing.assert_array_equal(column, of_card)
