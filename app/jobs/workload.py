"""What each stage of a job does with how many images: what the job's cost depends on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy.orm import Session

from core.queries import registry
from core.tables import DatasetRow, ModelRow
from masktune.contract.job_params import EVERY_SPLIT
from masktune.contract.vocabulary import CONTROLS, Arm, JobKind, Stage, stages_of
from models.data.splits import explained_split
from models.selective import LEAST_HELD_OUT, MOST_VECTORS

Operation = Literal["training", "forward", "fit"]
"""What is done with each image: a step of training, a forward pass, or fits of the last layer on features."""

MAP_LIMIT, MASK_LIMIT, _MASK_PASSES = 2_048, 512, 2
"""Of a report: the most images with a map, the most with masks, and forward passes for masks
(`worker.report.saliency`)."""


@dataclass(frozen=True)
class Workload:
    """What the cost of a job depends on, whether it is planned or has ended."""

    kind: JobKind
    dataset_id: str
    splits: Mapping[str, int]
    """Number of images by split."""
    params: Mapping[str, Any]
    arms: Collection[Arm]
    """Of the models that the job makes."""
    reads_model: bool
    backbone: str
    image_size: int
    is_frozen: bool
    """Whether all models of the job share one backbone, whose features are computed once for each image."""
    judged: Collection[Arm] = ()
    """Of the models of another job that it judges."""

    @property
    def network(self) -> tuple[str, int, bool]:
        """Jobs that are equal in this have comparable rates."""
        return self.backbone, self.image_size, self.is_frozen

    def images(self, *splits: str) -> int:
        return sum(self.splits.get(split, 0) for split in splits)

    @property
    def images_of_epoch(self) -> int:
        """Those that are trained on, and those of val."""
        train = self.images("train")
        return min(train, self.params.get("max_train_samples") or train) + self.images("val")

    @property
    def compared_models(self) -> int:
        return len(self.arms) + self.reads_model + len(self.judged)

    @property
    def explained_models(self) -> int:
        """Those whose saliency is in the report: all but the controls."""
        return self.compared_models - sum(arm in CONTROLS for arm in (*self.arms, *self.judged))


class Work(NamedTuple):
    """What a stage does with how many images."""

    operation: Operation
    images: int


def work_of(job: Workload) -> dict[Stage, Work]:
    """What each stage of the job does."""
    return {stage: _OF_STAGE[stage](job) for stage in stages_of(job.kind, job.params)}


def workload(
    session: Session, kind: JobKind, dataset: DatasetRow, params: Mapping[str, Any], inputs: Mapping[str, Any]
) -> Workload | None:
    """Describe a job by what its row holds; None if the model that it reads is gone."""
    splits = {split: counts["count"] for split, counts in dataset.summary["splits"].items()}
    judged: Mapping[str, str] = inputs.get("judged", {})
    if judged:  # on every image, as test images
        splits = {"test": sum(splits.values())}
    if params.get("split") == EVERY_SPLIT:
        splits = {EVERY_SPLIT: dataset.summary["count"]}
    some_model = inputs.get("model") or next(iter(judged.values()), None)
    model = session.get(ModelRow, some_model) if some_model is not None else None
    if "backbone" in params:
        backbone, size, frozen = params["backbone"], params["image_size"], params.get("freeze_backbone")
    elif model is not None:
        training = registry.training_job(session, model)
        backbone, size = model.backbone, model.image_size
        frozen = training is not None and training.params.get("freeze_backbone")
    else:
        return None
    return Workload(
        kind=kind,
        dataset_id=dataset.id,
        splits=splits,
        params=params,
        arms=[Arm(arm) for arm in inputs.get("model_ids", ())],
        reads_model="model" in inputs,
        backbone=backbone,
        image_size=size,
        is_frozen=bool(frozen),
        judged=[Arm(arm) for arm in judged],
    )


# --- the work of each stage ----------------------------------------------------------------------------


def _erm(job: Workload) -> Work:
    images = job.images_of_epoch
    return Work("forward", images) if job.is_frozen else Work("training", job.params["epochs"] * images)


def _infer_groups(job: Workload) -> Work:
    """Features and early stages of every split; a frozen ERM training has computed those of train."""
    known = job.is_frozen and Stage.ERM in stages_of(job.kind, job.params)
    return Work("forward", job.images(*(() if known else ("train",)), "val", "calibration", "test"))


def _forward_train(job: Workload) -> Work:
    return Work("forward", job.images("train"))


def _finetune(job: Workload) -> Work:
    iterations = job.params["masking"]["iterations"]
    if job.is_frozen:  # the features of the masked images, once
        return Work("forward", iterations * job.images("train"))
    return Work("training", iterations * job.params["finetune"]["epochs"] * job.images_of_epoch)


def _control(job: Workload) -> Work:
    return _fit_head(job) if job.is_frozen else _finetune(job)


def _fit_head(job: Workload) -> Work:
    return Work("fit", job.images("train"))


def _repeat(job: Workload) -> Work:
    """What the stages before it do with most images, for each further seed, but for the features of a frozen
    backbone, which are there by then."""
    stages = stages_of(job.kind, job.params)
    each = [_OF_STAGE[stage](job) for stage in stages[: stages.index(Stage.REPEAT)]]
    operation: Operation = "fit" if job.is_frozen else "training"
    images = sum(work.images for work in each if work.operation == operation)
    return Work(operation, (job.params["seeds"] - 1) * images)


def _calibrate(job: Workload) -> Work:
    """The thresholds, the temperature on val, and the training images that inputs are compared with, whose
    features a training on a frozen backbone has computed."""
    images = _passes(job, "calibration", "val")
    if job.images("val") >= LEAST_HELD_OUT and not (job.is_frozen and job.arms):
        images += min(job.images("train"), MOST_VECTORS) * job.compared_models
    return Work("forward", images)


def _evaluate(job: Workload) -> Work:
    """Logits, then maps and masks of the models that are explained. Those of val are kept by `_calibrate`."""
    splits = job.params.get("splits") or ("val", "test")
    explained = job.images(explained_split(splits))
    maps = min(explained, MAP_LIMIT) * (1 if job.is_frozen else job.explained_models)
    masks = _MASK_PASSES * min(explained, MASK_LIMIT) * job.explained_models
    logits = _passes(job, *(split for split in splits if split != "val"))
    return Work("forward", logits + maps + masks)


def _passes(job: Workload, *splits: str) -> int:
    """Images through a backbone: once for each model, or once for all of them if they share a frozen one."""
    return job.images(*splits) * (1 if job.is_frozen else job.compared_models)


def _predict(job: Workload) -> Work:
    return Work("forward", job.images(job.params["split"]))


_OF_STAGE: Mapping[Stage, Callable[[Workload], Work]] = {
    Stage.ERM: _erm,
    Stage.INFER_GROUPS: _infer_groups,
    Stage.MASK: _forward_train,
    Stage.FINETUNE: _finetune,
    Stage.CONTROL: _control,
    Stage.RETRAIN_HEAD: _fit_head,
    Stage.HEAD_CONTROL: _fit_head,
    Stage.REPEAT: _repeat,
    Stage.CALIBRATE: _calibrate,
    Stage.EVALUATE: _evaluate,
    Stage.PREDICT: _predict,
}
