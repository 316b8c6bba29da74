"""The one training loop, for ERM, finetune and control: epochs, checkpoints, seeds, devices."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from masktune.contract.hyperparameters import OptimizerConfig, Precision, ScheduleConfig
from models.backbones.network import Network
from models.backbones.weights import load_strictly
from models.data.loading.batches import Loader
from models.errors import LearningError
from models.run import Progress, Run, ThrottledProgress
from models.training.checkpoints import (
    Checkpoint,
    CheckpointError,
    CheckpointFolder,
    EpochRecord,
    digest_of,
    weights_digest,
)
from models.training.counting import StepCounts, autocast, count
from models.training.optim import learning_rate, load_optimizer, make_optimizer


class Diverged(LearningError):
    """The loss or the outputs are not finite: the learning rate is too high for this network and data."""

    reason = "diverged"


@dataclass(frozen=True)
class FitConfig:
    """The settings of a training, apart from its data and starting point.

    `stage` and `first_epoch` determine the random numbers of an epoch: two trainings that agree in both see
    the same batches in the same order. `select` is the epoch whose weights the network ends with.
    `freeze_backbone` trains the last layer alone, on batches of its inputs
    (`models.training.frozen.FeatureLoader`); its checkpoints hold that layer alone. `batch_means` selects the
    best epoch as the paper's code does: the first with the highest mean of per-batch accuracies on val.
    Otherwise it is the last with the highest accuracy.
    """

    epochs: int
    optimizer: OptimizerConfig
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    stage: str = "erm"
    first_epoch: int = 0
    select: Literal["best", "last"] = "best"
    precision: Precision = "auto"
    batch_means: bool = False
    freeze_backbone: bool = False


class FitData(NamedTuple):
    """Batches of a training; without `val`, the last epoch is the best.
    `batch_settings` are plain JSON values by name that determine the batches; a resumed training must have
    the same ones.
    """

    train: Loader
    val: Loader | None = None
    batch_settings: Mapping[str, str | int | None] = {}


class FitResult(NamedTuple):
    """`epoch` (from 1) is the one whose weights the network now holds; `digest` is of those weights."""

    epoch: int
    history: tuple[EpochRecord, ...]
    digest: str


def fit(
    network: Network,
    data: FitData,
    *,
    config: FitConfig,
    run: Run,
    checkpoints: CheckpointFolder,
    start: Checkpoint | None = None,
) -> FitResult:
    """Train `network` for `config.epochs`, from the newest checkpoint, else from `start`, else as it is.

    `start` provides the weights and the optimizer state. A killed training resumes after its last finished
    epoch; on a CPU, its weights are then bit-identical to those of an uninterrupted run.
    Raises `Stopped` on request, `Diverged`, and `CheckpointError` for checkpoints of another training.
    """
    network.to(run.device)
    trained = network.classifier if config.freeze_backbone else network
    optimizer = make_optimizer(trained, config.optimizer)
    identity = _identity(network, data, config=config, run=run, start=start)
    newest = checkpoints.newest()
    if newest is not None:
        _check_resumable(newest, identity, run)
    origin = newest or start
    if origin is not None:
        load_weights(network, origin)
        load_optimizer(optimizer, dict(origin.optimizer))
    loop = _Loop(trained, optimizer, config, run)
    for epoch in range(0 if newest is None else newest.epoch, config.epochs):
        rate = learning_rate(
            config.optimizer.learning_rate, config.schedule, epoch=epoch, epochs=config.epochs
        )
        record = loop.epoch(data, epoch, rate)
        weights = _weights(network, trained)
        newest = _checkpoint(weights, optimizer, record, identity=identity, before=newest)
        checkpoints.save(newest)
    last = checkpoints.last()
    best = last.best if config.select == "best" else None
    selected = last if best in (None, last.epoch) else checkpoints.load(best)
    load_weights(network, selected)
    network.eval()
    return FitResult(selected.epoch, last.history, weights_digest(network.model))


def _weights(network: Network, trained: nn.Module) -> dict[str, Tensor]:
    """The tensors that the training changes, by their names in the network."""
    prefix = "" if trained is network else f"{network.classifier_names[-1]}."
    return {name: t.detach() for name, t in network.model.state_dict().items() if name.startswith(prefix)}


def load_weights(network: Network, checkpoint: Checkpoint) -> None:
    """Load the weights of `checkpoint`, strictly: those of the whole network, or of its last layer alone."""
    last = {f"{network.classifier_names[-1]}.{name}" for name in network.classifier.state_dict()}
    below = network.model.state_dict() if checkpoint.weights.keys() == last else {}
    load_strictly(
        network.model, {**below, **checkpoint.weights}, what=f"the checkpoint of epoch {checkpoint.epoch}"
    )


@dataclass(frozen=True)
class _Loop:
    trained: nn.Module
    optimizer: Optimizer
    config: FitConfig
    run: Run

    def epoch(self, data: FitData, epoch: int, rate: float) -> EpochRecord:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        started = time.monotonic()
        loss, correct, images = self._train(data.train, epoch)
        if not loss < float("inf"):  # NaN included
            raise Diverged(f"the loss of epoch {epoch + 1} is {loss}: use a learning_rate below {rate:g}")
        val = None
        if data.val is not None:
            val = count(self.trained, data.val, self.run, self.config.precision)
            if not val.numbers:  # the loss was computed before the last update
                raise Diverged(
                    f"after epoch {epoch + 1} no output on the validation split is a finite number: "
                    f"use a learning_rate below {rate:g}"
                )
        seconds = time.monotonic() - started
        record = EpochRecord(
            epoch=epoch + 1,
            learning_rate=rate,
            loss=loss,
            correct=correct,
            images=images,
            val_correct=val and val.correct,
            val_images=val and val.images,
            seconds=seconds,
            val_batch_mean=val.batch_mean if val and self.config.batch_means else None,
        )
        self._report(record, len(data.train))
        return record

    def _train(self, loader: Loader, epoch: int) -> tuple[float, int, int]:
        """(mean loss, correct, images). Results are read from the device only at the end."""
        run, optimizer = self.run, self.optimizer
        generator = run.generator(self.config.stage, self.config.first_epoch + epoch)
        progress = ThrottledProgress(run, len(loader), epoch=epoch, epochs=self.config.epochs)
        counts = StepCounts(run.device)
        self.trained.train()
        with _seeded(run.device, generator.initial_seed()):  # dropout draws from torch's global generator
            for step, batch in enumerate(loader.epoch(generator), 1):
                run.check()
                with autocast(run.device, self.config.precision):
                    logits = self.trained(batch.images)  # (B, K)
                    loss = F.cross_entropy(logits.float(), batch.labels)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                counts.add(loss.detach(), logits.detach().argmax(1), batch.labels)
                progress.tick(step, len(batch.labels))
        summed, right, images = counts.sums().tolist()
        return summed / images, round(right), round(images)

    def _report(self, record: EpochRecord, steps: int) -> None:
        metrics = {"loss": record.loss, "accuracy": record.accuracy, "learning_rate": record.learning_rate}
        if record.val_accuracy is not None:
            metrics["val_accuracy"] = record.val_accuracy
        speed = record.images / max(record.seconds, 1e-9)
        self.run.on_progress(Progress(record.epoch, self.config.epochs, 0, steps, speed, metrics))


@contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's global generators inside the block and restore their state after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _identity(
    network: Network, data: FitData, *, config: FitConfig, run: Run, start: Checkpoint | None
) -> str:
    """Everything in which a resumed training must match the interrupted one, as JSON.

    `start` is stored as a digest. Stored in full, it would nest the identities of all earlier trainings in
    the chain as JSON inside JSON, whose escape characters double at every level.
    """
    return json.dumps(
        {
            "network": asdict(network.spec),
            "config": asdict(config),
            "seed": run.seed,
            "images": data.train.images,
            "steps": len(data.train),
            "start": None if start is None else digest_of(start.identity),
            **data.batch_settings,
        },
        sort_keys=True,
    )


def _check_resumable(newest: Checkpoint, identity: str, run: Run) -> None:
    before, now = json.loads(newest.identity), json.loads(identity)
    differing = ", ".join(key for key in now if before.get(key) != now[key])
    if differing:
        raise CheckpointError(
            f"the checkpoints here belong to another training (different {differing}): use a new folder"
        )
    threads = torch.get_num_threads()
    if run.device.type == "cpu" and newest.threads != threads:
        raise CheckpointError(
            f"this training ran on {newest.threads} threads and now has {threads}, which would change "
            f"its result: set the threads to {newest.threads}"
        )


def _checkpoint(
    weights: Mapping[str, Tensor],
    optimizer: Optimizer,
    record: EpochRecord,
    *,
    identity: str,
    before: Checkpoint | None,
) -> Checkpoint:
    history = (*(before.history if before else ()), record)
    return Checkpoint(
        epoch=record.epoch,
        weights=weights,
        optimizer=optimizer.state_dict(),
        learning_rate=record.learning_rate,
        threads=torch.get_num_threads(),
        identity=identity,
        best=_best(history),
        history=history,
    )


def _best(history: tuple[EpochRecord, ...]) -> int | None:
    """Best epoch by the rule of `FitConfig.batch_means`, None without val. `max` takes the first of ties."""
    if history[-1].val_batch_mean is not None:
        return max(history, key=lambda r: r.val_batch_mean or 0.0).epoch
    if history[-1].val_accuracy is not None:
        return max(history, key=lambda r: (r.val_accuracy or 0.0, r.epoch)).epoch
    return None
