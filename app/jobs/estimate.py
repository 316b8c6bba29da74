"""Estimates what a job costs before it starts.

Its time comes from the rates of ended jobs on the same network, else from a table of guesses; its memory and
disk space follow from what is known of network and data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from app.inference.backbones import NetworkSize
from app.jobs.workload import Operation, Work, Workload, work_of, workload
from core.queries import jobs
from core.tables import DatasetRow, JobRow
from masktune.contract.jobs import JobEstimate, StageEstimate
from masktune.contract.vocabulary import Arm, EstimateSource, JobKind, Stage
from models.defaults import SMALL_SIDE

_ENDED_JOBS = 100
"""The newest ended jobs whose rates count."""
STARTUP_SECONDS = 10.0
"""For a child process to start and to import the libraries."""
_MOSTLY = 0.9
"""Share of the time that must have been measured for the whole to be called so."""

_GUESSES: Mapping[str, tuple[int, float, float]] = {
    "small_cnn": (28, 2_000.0, 6_000.0),
    "resnet32": (28, 150.0, 600.0),
    "resnet18": (224, 12.0, 40.0),
    "resnet50": (224, 5.0, 16.0),
    "tf_efficientnet_lite0": (224, 15.0, 45.0),
}
"""Image side in pixels, and images per second at it on two CPU cores, in training and in a forward pass.
Orders of magnitude, scaled to another side by the number of pixels."""
_OTHER_NETWORK = (224, 8.0, 25.0)
_FITS_PER_SECOND = 1_000.0
"""Images per second in all fits of a last layer together: folds, repeats and penalties."""

_LIBRARY_BYTES = 400 << 20
"""Of a process that has imported torch, torchvision and timm."""
_ACTIVATIONS: Mapping[Operation, int] = {"training": 150, "forward": 60, "fit": 0}
"""Memory for a batch, as a multiple of its float32 images. Measured on a CPU: 50 (SmallCNN) to 260
(ResNet-32) in a step of training, 30 (SmallCNN) to 100 (EfficientNet-Lite0) in the passes of whole jobs."""
_SMALL_BATCH, _LARGE_BATCH = 256, 32
"""Images of a pass: of up to `SMALL_SIDE` pixels, and of larger ones (`worker.networks.features`)."""
_OPTIMIZER_STATES = {"sgd": 1, "adam": 2, "adamw": 2}
"""Tensors that an optimizer keeps beside each weight."""
_FITTED_BY_EPOCHS = (Arm.ERM, Arm.MASKTUNE, Arm.MASKTUNE_CONTROL)
_CHECKPOINTS = 2
"""Of each training: the newest epoch and the best."""
_MASK_BYTES = 216
"""Of an image in a mask set, with a map of 7×7."""


class Rate(NamedTuple):
    """The measured rate of one stage of an ended job."""

    job_id: str
    kind: JobKind
    dataset_id: str
    stage: Stage
    operation: Operation
    images_per_second: float
    device: str


# --- time ----------------------------------------------------------------------------------------------


def measured_rates(session: Session, planned: Workload) -> list[Rate]:
    """The rates of ended jobs with the same network, image size and trained part, newest first.

    Those on another device than the newest do not count.
    """
    rates: list[Rate] = []
    for row in jobs.newest_succeeded(session, limit=_ENDED_JOBS):
        ended = _ended_workload(session, row)
        if ended is not None and ended.network == planned.network:
            rates += _rates_of(row, ended)
    return [rate for rate in rates if rate.device == rates[0].device]


def _ended_workload(session: Session, row: JobRow) -> Workload | None:
    dataset = session.get(DatasetRow, row.dataset_id) if row.dataset_id else None
    return workload(session, row.kind, dataset, row.params, row.inputs) if dataset is not None else None


def _rates_of(row: JobRow, ended: Workload) -> list[Rate]:
    rates = []
    for stage, work in work_of(ended).items():
        output = row.done.get(stage, {})
        if work.images and output.get("seconds"):
            rates.append(
                Rate(
                    job_id=row.id,
                    kind=row.kind,
                    dataset_id=ended.dataset_id,
                    stage=stage,
                    operation=work.operation,
                    images_per_second=work.images / output["seconds"],
                    device=output.get("device") or "",
                )
            )
    return rates


def estimate_job(planned: Workload, rates: Sequence[Rate], network: NetworkSize) -> JobEstimate:
    """Estimate each stage from the measured rate that fits it best, or from a guess if there is none."""
    work = work_of(planned)
    stages = [_estimate_stage(planned, stage, part, rates) for stage, part in work.items()]
    seconds = sum(stage.seconds for stage in stages)
    measured = sum(stage.seconds for stage in stages if stage.source == EstimateSource.MEASURED)
    is_measured = seconds > 0 and measured >= _MOSTLY * seconds
    return JobEstimate(
        seconds=round(STARTUP_SECONDS + seconds, 1),
        source=EstimateSource.MEASURED if is_measured else EstimateSource.GUESSED,
        device=rates[0].device if is_measured else None,
        stages=stages,
        memory_bytes=_memory_bytes(planned, work, network),
        disk_bytes=_disk_bytes(planned, work, network),
    )


def _estimate_stage(planned: Workload, stage: Stage, work: Work, rates: Sequence[Rate]) -> StageEstimate:
    rate = _best_rate(planned, stage, work, rates)
    per_second = _guessed_rate(planned, work.operation) if rate is None else rate.images_per_second
    return StageEstimate(
        stage=stage,
        seconds=round(work.images / per_second, 1),
        source=EstimateSource.GUESSED if rate is None else EstimateSource.MEASURED,
        job=None if rate is None else rate.job_id,
    )


def _best_rate(planned: Workload, stage: Stage, work: Work, rates: Sequence[Rate]) -> Rate | None:
    """The newest rate of this stage on this data set, if possible in a job of this kind; else the slowest of
    this stage; else the slowest of the operation.

    The slowest, because a stage looks fast where an earlier job had already computed its features.
    """
    comparable = [rate for rate in rates if rate.operation == work.operation]
    of_stage = [rate for rate in comparable if rate.stage is stage]
    here = [rate for rate in of_stage if rate.dataset_id == planned.dataset_id]
    if here:
        return next((rate for rate in here if rate.kind is planned.kind), here[0])
    return min(of_stage or comparable, key=lambda rate: rate.images_per_second, default=None)


def _guessed_rate(planned: Workload, operation: Operation) -> float:
    """Images per second."""
    if operation == "fit":
        return _FITS_PER_SECOND
    side, training, forward = _GUESSES.get(planned.backbone.rpartition("/")[2], _OTHER_NETWORK)
    return (training if operation == "training" else forward) * (side / planned.image_size) ** 2


# --- memory and disk -----------------------------------------------------------------------------------


def _memory_bytes(planned: Workload, work: Mapping[Stage, Work], network: NetworkSize) -> int:
    """The libraries, the weights, a batch, and the features of train with their standardised copy."""
    operations = {part.operation for part in work.values()}
    copies = max(planned.compared_models, 1)
    if "training" in operations:  # with a gradient and the optimizer's state
        copies = max(copies, 2 + _optimizer_states(planned))
    batch = max(_batch_size(planned, operation) * _ACTIVATIONS[operation] for operation in operations)
    features = 2 * _feature_bytes(planned, work, network, "train")
    return _LIBRARY_BYTES + copies * _weight_bytes(network) + batch * 4 * 3 * planned.image_size**2 + features


def _disk_bytes(planned: Workload, work: Mapping[Stage, Work], network: NetworkSize) -> int:
    """What the job leaves: backbones, checkpoints, features, masks. Last layers and reports are small."""
    trainings = sum(arm in _FITTED_BY_EPOCHS for arm in planned.arms)
    networks = min(trainings, 1) if planned.is_frozen else trainings
    if trainings and not planned.is_frozen:
        networks += trainings * _CHECKPOINTS * (1 + _optimizer_states(planned))
    splits = tuple(planned.splits) if planned.is_frozen else ("train",)
    masks = _MASK_BYTES * planned.images("train") if Stage.MASK in work else 0
    return networks * _weight_bytes(network) + _feature_bytes(planned, work, network, *splits) + masks


def _weight_bytes(network: NetworkSize) -> int:
    return 4 * network.weights


def _optimizer_states(planned: Workload) -> int:
    return _OPTIMIZER_STATES[planned.params["optimizer"]["name"]]


def _batch_size(planned: Workload, operation: Operation) -> int:
    if operation == "training":
        return int(planned.params["batch_size"])
    return _SMALL_BATCH if planned.image_size <= SMALL_SIDE else _LARGE_BATCH


def _feature_bytes(planned: Workload, work: Mapping[Stage, Work], network: NetworkSize, *splits: str) -> int:
    """Of the last layer's inputs in float32, which only a frozen backbone and a retrained head keep."""
    keeps_features = planned.is_frozen or Stage.RETRAIN_HEAD in work
    return 4 * network.features * planned.images(*splits) if keeps_features else 0
