"""What each kind of job lets one decide. Every field that is left empty has a value that suits the data."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from client import Dataset, Model
from web import words
from web.estimate import Plan
from web.job_fields import Field, Fields, folded, percent, told_of
from web.shell import html

BACKBONES = ("small_cnn", "resnet32", "resnet18", "resnet50", "efficientnet_b0", "convnext_tiny", "vit_b_16")
GROUPS = {
    "": "groups that are inferred from mistakes",
    "given": "the groups of the data set",
    "saliency_clusters": "groups inferred from where the model looks",
    "disagreement": "groups inferred from where a second model differs",
}
METHODS = {"": "xgradcam, as in the paper", "gradcam": "gradcam", "random": "random places"}
FILLS = {"": "the service chooses", "black": "black", "mean": "the mean colour", "blur": "a blur"}
AUGMENTATIONS = {"": "the service chooses", "none": "none", "crop_flip": "crop and flip"}
SPLITS = ("train", "val", "calibration", "test")
CONFIDENCES = {"": "99 %", "0.95": "95 %", "0.9": "90 %"}


class Erm(Fields):
    """Plain training."""

    kind = "erm"

    def build(self) -> None:
        titles = {"": "none: what suits the data set"}
        titles |= {p.name: p.title or p.name for p in self.stock.presets.values()}
        with ui.element("div").classes("form"):
            self.choose_dataset(next(iter(self.stock.datasets))).classes("whole")
            self.choose("/preset", "Preset", titles)
            self.text("/backbone", "Network", BACKBONES)
        with folded("Fields that win over the preset"):
            self.number("/epochs", "Epochs", int, low=1)
            self.number("/image_size", "Image size in pixels", int, low=8)
            self.number("/batch_size", "Batch size", int, low=2)
            self.number("/optimizer/learning_rate", "Learning rate", low=0)
            self.number("/optimizer/weight_decay", "Weight decay", low=0)
            self.choose("/augmentation", "Augmentation", AUGMENTATIONS)
            self.number("/seed", "Seed", int, low=0)
            self.switch("/pretrained", "Start from published weights", lambda on: on or None)

    def plan(self) -> Plan | None:
        dataset = self.dataset()
        if dataset is None:
            return None
        preset = self.stock.presets.get(self.value("/preset") or "")
        base = dict(preset.params) if preset else {}
        return Plan(
            kind=self.kind,
            images=dataset.splits,
            backbone=self.value("/backbone") or base.get("backbone"),
            epochs=self.value("/epochs") or base.get("epochs"),
            image_size=self.value("/image_size") or base.get("image_size"),
            finetune_epochs=self.value("/finetune/epochs") or base.get("finetune", {}).get("epochs"),
            control=self.value("/control") is None,
        )


class Masktune(Erm):
    """The whole method."""

    kind = "masktune"

    def build(self) -> None:
        super().build()
        with folded("Masks and control"):
            _masking(self)
            self.number("/finetune/epochs", "Epochs on masked images", int, low=1)
            self.switch(
                "/control", "Train a control without masks", lambda on: None if on else False, value=True
            )


class OfModel(Fields):
    """What starts from a model: by default the newest of the data set, of the arm that suits the kind."""

    kind = ""
    arms: tuple[str, ...] = ()
    """That are taken first."""

    def build(self) -> None:
        options = {m.id: told_of(m) for m in self.stock.models}
        dataset, model = self._begin()
        if not options:
            html("nothing_to_start_from", what="model", kind="masktune")
        with ui.element("div").classes("form"):
            chosen = self.choose(
                "/model", "Model", options, model, required="Choose a model.", search=len(options) > 12
            ).classes("whole")
            self.choose_dataset(dataset).classes("whole")
            chosen.on_value_change(self._follow)
            self.more()

    def more(self) -> None:
        """The fields that the kind has beside model and data set."""

    def model(self) -> Model | None:
        return next((m for m in self.stock.models if m.id == self.value("/model")), None)

    def images(self, dataset: Dataset) -> dict[str, int]:
        """Those that the job looks at, by split."""
        return dataset.splits

    def plan(self) -> Plan | None:
        dataset, model = self.dataset(), self.model()
        if dataset is None or model is None:
            return None
        return Plan(self.kind, self.images(dataset), backbone=model.backbone, image_size=model.image_size)

    def _begin(self) -> tuple[str | None, str | None]:
        """The data set and the model that are chosen first."""
        carried = self.carried.get("/model")
        given = next((m for m in self.stock.models if m.id == carried), None)
        wanted = self.carried.get("/dataset") or (given.dataset if given else next(iter(self.stock.datasets)))
        dataset = self.stock.datasets.get(str(wanted))
        if given is not None or dataset is None:
            return (dataset.id if dataset else None), (given.id if given else None)
        fitting = [m for m in self.stock.models if m.classes == dataset.classes]
        fitting.sort(key=lambda m: (m.dataset != dataset.id, m.arm not in self.arms))
        return dataset.id, (fitting[0].id if fitting else None)

    def _follow(self, *_: object) -> None:
        """Another model: the data set that it was trained on."""
        model = self.model()
        if model is not None and model.dataset in self.stock.datasets:
            self.at["/dataset"].element.value = model.dataset


class Mask(OfModel):
    """What a model looks at, kept."""

    kind = "mask"
    arms = ("erm",)

    def more(self) -> None:
        _masking(self)


class RetrainHead(OfModel):
    """The last layer anew."""

    kind = "retrain_head"
    arms = ("erm",)

    def more(self) -> None:
        groups = self.choose("/groups", "Balanced over", GROUPS).classes("whole")
        options = {m.id: told_of(m) for m in self.stock.models}
        second = self.choose(
            "/second_model", "Second model", options, None, required="Choose the model that differs."
        ).classes("whole")
        second.bind_visibility_from(groups, "value", value="disagreement")


class Evaluate(OfModel):
    """Accuracy on splits that trained nothing."""

    kind = "evaluate"
    arms = ("masktune", "retrained", "imported")

    def more(self) -> None:
        found = ui.select(
            list(SPLITS), multiple=True, value=["val", "test"], label="Splits", on_change=self.changed
        )
        found.props('outlined dense options-dense behavior=menu aria-label="Splits"').classes("whole")
        self.at["/splits"] = Field("Splits", found, list, "Choose one split at least.")

    def images(self, dataset: Dataset) -> dict[str, int]:
        wanted = ("calibration", *(self.value("/splits") or ()))
        return {split: n for split, n in dataset.splits.items() if split in wanted}


class Predict(OfModel):
    """A split into a file."""

    kind = "predict"
    arms = ("masktune", "retrained", "imported")

    def more(self) -> None:
        self.choose("/split", "Split", {split: split for split in SPLITS}, "test")
        self.choose("/output", "File", {"parquet": "Parquet", "csv": "CSV"}, "parquet")
        when = self.choose("policy", "When to answer", words.POLICIES, "none").classes("whole")
        shares = {
            "coverage": ("Answer this percentage", 100.0),
            "max_risk": ("At most this percentage wrong", 99.9),
            "min_score": ("Score from, in percent", 100.0),
        }
        for policy, (label, high) in shares.items():
            first = words.POLICY_START[policy]
            share = self.number(f"/{policy}", label, percent, low=0.1, high=high, value=first)
            share.bind_visibility_from(when, "value", value=policy)
        sure = self.choose("/risk_confidence", "Confidence", CONFIDENCES)
        self.at["/risk_confidence"] = Field("Confidence", sure, float)
        unsure = {"abstain": "abstain from every input", "error": "let the job fail"}
        otherwise = self.choose("/on_uncertified", "Where no threshold keeps it", unsure, "abstain")
        for field in (sure, otherwise):
            field.bind_visibility_from(when, "value", value="max_risk")
        self.switch("/explain", "Add what the model looked at", lambda on: on or None).classes("whole")

    def sent(self) -> dict[str, Any]:
        return {name: value for name, value in super().sent().items() if name != "policy"}

    def images(self, dataset: Dataset) -> dict[str, int]:
        split = str(self.value("/split"))
        return {split: dataset.splits.get(split, 0)}


class Finetune(Fields):
    """A model trained on, on masked images; the mask set knows the model and the data set."""

    kind = "finetune"

    def build(self) -> None:
        options = {job.id: self._told(job.id) for job in self.stock.mask_sets}
        if not options:
            html("nothing_to_start_from", what="mask set", kind="mask")
        with ui.element("div").classes("form"):
            self.choose(
                "/mask_set", "Mask set", options, next(iter(options), None), required="Choose a mask set."
            ).classes("whole")
            self.number("/finetune/epochs", "Epochs on masked images", int, low=1)
            rate = "the last one of the training"
            self.number("/finetune/learning_rate", "Learning rate", low=0, hint=rate)
            self.choose("/masking/fill", "Masked pixels become", FILLS)
            self.number("/seed", "Seed", int, low=0)

    def plan(self) -> Plan | None:
        job = next((job for job in self.stock.mask_sets if job.id == self.value("/mask_set")), None)
        dataset = self.stock.datasets.get(str(job.dataset)) if job is not None else None
        if job is None or dataset is None:
            return None
        return Plan(
            self.kind,
            dataset.splits,
            backbone=job.params.get("backbone"),
            image_size=job.params.get("image_size"),
            finetune_epochs=self.value("/finetune/epochs") or job.params.get("finetune", {}).get("epochs"),
        )

    def dataset(self) -> Dataset | None:
        job = next((job for job in self.stock.mask_sets if job.id == self.value("/mask_set")), None)
        return self.stock.datasets.get(str(job.dataset)) if job is not None else None

    def _told(self, number: str) -> str:
        job = next(job for job in self.stock.mask_sets if job.id == number)
        dataset = self.stock.datasets.get(str(job.dataset))
        parts = (
            dataset.name if dataset else job.dataset,
            job.params.get("backbone"),
            words.ago(job.ended_at),
        )
        return " · ".join(str(part) for part in (*parts, job.id[-6:]))


FORMS: dict[str, type[Fields]] = {
    "masktune": Masktune,
    "erm": Erm,
    "mask": Mask,
    "finetune": Finetune,
    "retrain_head": RetrainHead,
    "evaluate": Evaluate,
    "predict": Predict,
}
"""Every kind that can be started, the whole method first."""


def _masking(fields: Fields) -> None:
    """What of an image is masked."""
    fields.choose("/masking/method", "Saliency method", METHODS)
    fields.number("/masking/sigmas", "Mask above mean + … deviations")
