"""The fields of each kind of job. Fields left empty get a default that suits the data."""

from __future__ import annotations

from nicegui import ui

from masktune import Dataset, Job
from web.forms.fields import Fields, collapsible
from web.forms.from_model import GROUPS, Evaluate, Mask, Predict, RetrainHead, masking
from web.shell import html
from web.text import labels

WEIGHTS: dict[bool | str, str] = {
    "": "automatic: published for photographs",
    True: "published",
    False: "random",
}
TRAINED: dict[bool | str, str] = {
    "": "automatic: the last layer for photographs",
    True: "only the last layer",
    False: "the whole network",
}
FILLS = {"": "automatic", "black": "black", "mean": "mean colour", "blur": "blur"}
AUGMENTATIONS = {"": "automatic", "none": "none", "crop_flip": "crop and flip"}
MASKED: dict[bool | str, str] = {
    "": "automatic: where the whole network is trained",
    True: "yes",
    False: "no",
}


class Erm(Fields):
    """Plain training."""

    def build(self) -> None:
        titles = {"": "none: automatic"}
        titles |= {p.name: p.title or p.name for p in self.choices.presets.values()}
        with ui.element("div").classes("form"):
            datasets = self.choices.datasets
            trainable = (id for id, one in datasets.items() if one.splits.get("train"))
            self.choose_dataset(next(trainable, next(iter(datasets)))).classes("whole")
            self.choose("/preset", "Preset", titles)
            self.choose("/backbone", "Network", self.backbones(), search=True)
            self.choose("/pretrained", "Weights at the start", WEIGHTS)
            self.choose("/freeze_backbone", "What is trained", TRAINED)
        with collapsible("Fields that override the preset"):
            self.hyperparameter("/epochs", "Epochs")
            self.hyperparameter("/max_train_samples", "Training images at most", hint="all")
            self.hyperparameter("/image_size", "Image size in pixels")
            self.hyperparameter("/batch_size", "Batch size")
            self.hyperparameter("/optimizer/learning_rate", "Learning rate")
            self.hyperparameter("/optimizer/weight_decay", "Weight decay")
            self.choose("/augmentation", "Augmentation", AUGMENTATIONS)
            self.hyperparameter("/seed", "Seed")


class Masktune(Erm):
    """The whole method."""

    def build(self) -> None:
        super().build()
        with collapsible("Masks and control"):
            masking(self)
            self.hyperparameter("/finetune/epochs", "Epochs on masked images")
            self.switch(
                "/control", "Train a control without masks", lambda on: None if on else False, default=True
            )


class Mitigate(Masktune):
    """The way past a shortcut that suits the data."""

    kind = "mitigate"

    def build(self) -> None:
        super().build()
        with collapsible("What is tried"):
            self.choose("/groups", "Last layer balanced over", GROUPS)
            self.choose("/masktune", "MaskTune", MASKED)
            self.hyperparameter("/seeds", "Seeds, with one verdict over all", hint="1")


class Finetune(Fields):
    """Training a model further on masked images; the mask set determines the model and the data set."""

    def build(self) -> None:
        options = {job.id: self._label(job) for job in self.choices.mask_sets}
        if not options:
            html("nothing_to_start_from", what="mask set", kind="mask")
        with ui.element("div").classes("form"):
            self.choose(
                "/mask_set", "Mask set", options, next(iter(options), None), required="Choose a mask set."
            ).classes("whole")
            self.hyperparameter("/finetune/epochs", "Epochs on masked images")
            self.hyperparameter(
                "/finetune/learning_rate", "Learning rate", hint="the last one used in training"
            )
            self.choose("/masking/fill", "Fill masked pixels with", FILLS)
            self.hyperparameter("/seed", "Seed")

    def dataset(self) -> Dataset | None:
        datasets = {job.id: job.dataset for job in self.choices.mask_sets}
        return self.choices.datasets.get(str(datasets.get(self.value("/mask_set"))))

    def _label(self, job: Job) -> str:
        dataset = self.choices.datasets.get(str(job.dataset))
        parts = (
            dataset.name if dataset else job.dataset,
            job.params.model_dump().get("backbone"),
            labels.ago(job.ended_at),
        )
        return " · ".join(str(part) for part in (*parts, job.id[-6:]))


FORMS: dict[str, type[Fields]] = {
    "mitigate": Mitigate,
    "masktune": Masktune,
    "erm": Erm,
    "mask": Mask,
    "finetune": Finetune,
    "retrain_head": RetrainHead,
    "evaluate": Evaluate,
    "predict": Predict,
}
"""All kinds of job that can be started, the one for most people first."""
MAIN_KIND = next(iter(FORMS))
