"""The fields of each kind of job that starts from a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from masktune import Dataset, Model
from masktune.contract.parameters import Bounds
from web.forms.estimate import Plan
from web.forms.fields import Field, Fields, percent
from web.shell import html
from web.text import labels as words
from web.widgets import choice

GROUPS = {
    "": "groups inferred from mistakes",
    "labels": "the groups of the data set",
    "saliency_clusters": "groups inferred from where the model looks",
    "disagreement": "groups inferred from disagreement with a second model",
}
NO_MODEL = "No model has the classes of this data set yet. Train one on it, or choose another data set."
METHODS = {"": "xgradcam, as in the paper", "gradcam": "gradcam", "random": "random places"}


class OfModel(Fields):
    """A job that starts from a model: by default the data set's newest of an arm that suits the kind."""

    kind = ""
    arms: tuple[str, ...] = ()
    """Preferred arms."""

    def build(self) -> None:
        options = self.models()
        dataset, model = self._begin()
        if not options:
            html("nothing_to_start_from", what="model", kind="masktune")
        self.strange = html("notice", tone="unsure", text=NO_MODEL)
        with ui.element("div").classes("form"):
            chosen = self.choose(
                "/model", "Model", options, model, required="Choose a model.", search=len(options) > 12
            ).classes("whole")
            self.choose_dataset(dataset).classes("whole").on_value_change(self._another)
            chosen.on_value_change(self._follow)
            self.more()
        self._judge()

    def more(self) -> None:
        """Draw the kind's fields other than model and data set."""

    def another_dataset(self) -> None:
        """Update whatever depends on the chosen data set."""

    def _another(self, *_: object) -> None:
        self._judge()
        self.another_dataset()

    def _judge(self) -> None:
        """Show a notice if no model fits the data set."""
        dataset = self.dataset()
        known = dataset is None or any(m.classes == dataset.classes for m in self.stock.models)
        self.strange.set_visibility(bool(self.stock.models) and not known)

    def models(self) -> dict[str, str]:
        names = {d.id: d.name for d in self.stock.datasets.values()}
        return {m.id: words.told_of(m, names.get(m.dataset or "", "")) for m in self.stock.models}

    def model(self) -> Model | None:
        return next((m for m in self.stock.models if m.id == self.value("/model")), None)

    def splits(self) -> dict[str, str]:
        """The chosen data set's splits with their numbers of images; all splits if no data set is chosen."""
        dataset = self.dataset()
        if dataset is None:
            return dict(words.SPLITS)
        return {
            split: f"{words.SPLITS[split]} ({words.counted(dataset.splits[split], 'image', 'images')})"
            for split in words.splits_of(dataset)
        }

    def images(self, dataset: Dataset) -> dict[str, int]:
        """Number of images that the job processes, by split."""
        return dataset.splits

    def plan(self) -> Plan | None:
        dataset, model = self.dataset(), self.model()
        if dataset is None or model is None:
            return None
        return Plan(self.kind, self.images(dataset), backbone=model.backbone, image_size=model.image_size)

    def _begin(self) -> tuple[str | None, str | None]:
        """The data set and the model that are preselected."""
        carried, wanted = self.carried.get("/model"), self.carried.get("/dataset")
        given = next((m for m in self.stock.models if m.id == carried), None)
        newest = given or next((m for m in self.stock.models if m.dataset in self.stock.datasets), None)
        wanted = wanted or (newest.dataset if newest else next(iter(self.stock.datasets)))
        dataset = self.stock.datasets.get(str(wanted))
        if given is not None or dataset is None:
            return (dataset.id if dataset else None), (given.id if given else None)
        fitting = [m for m in self.stock.models if m.classes == dataset.classes]
        fitting.sort(key=lambda m: (m.dataset != dataset.id, m.arm not in self.arms))
        return dataset.id, (fitting[0].id if fitting else None)

    def _follow(self, *_: object) -> None:
        """When another model is chosen, choose the data set that it was trained on."""
        model = self.model()
        if model is not None and model.dataset in self.stock.datasets:
            self.at["/dataset"].element.value = model.dataset


class Mask(OfModel):
    """Computing and storing the saliency maps of a model."""

    kind = "mask"
    arms = ("erm",)

    def more(self) -> None:
        masking(self)


class RetrainHead(OfModel):
    """Refitting the last layer of a model."""

    kind = "retrain_head"
    arms = ("erm",)

    def more(self) -> None:
        groups = self.choose("/groups", "Balanced over", GROUPS).classes("whole")
        second = self.choose(
            "/second_model", "Second model", self.models(), None, required="Choose a second model."
        ).classes("whole")
        second.bind_visibility_from(groups, "value", value="disagreement")


class Evaluate(OfModel):
    """Accuracy on splits held out from training."""

    kind = "evaluate"
    arms = ("masktune", "retrained", "imported")

    def more(self) -> None:
        offered = self.splits()
        self.chosen = ui.select(
            offered,
            multiple=True,
            value=_kept(self.carried.get("/splits"), offered),
            label="Splits",
            on_change=self.changed,
        )
        self.chosen.props('outlined dense options-dense behavior=menu aria-label="Splits"').classes("whole")
        self.at["/splits"] = Field("Splits", self.chosen, list, "Choose at least one split.")

    def another_dataset(self) -> None:
        offered = self.splits()
        self.chosen.set_options(offered, value=_kept(self.chosen.value, offered))

    def images(self, dataset: Dataset) -> dict[str, int]:
        return {split: dataset.splits.get(split, 0) for split in self.value("/splits") or ()}


class Predict(OfModel):
    """Writing the predictions of a split to a file."""

    kind = "predict"
    arms = ("masktune", "retrained", "imported")

    def more(self) -> None:
        self.chosen = self.choose("/split", "Split", self.splits(), "test")
        self.choose("/output", "File", {"parquet": "Parquet", "csv": "CSV"}, "parquet")
        when = self.choose("policy", "When to answer", words.POLICIES, "none").classes("whole")
        shares = {
            "coverage": ("Percentage to answer", 100.0),
            "max_risk": ("Highest percentage wrong", 99.9),
            "min_score": ("Lowest score, in percent", 100.0),
        }
        for policy, (label, high) in shares.items():
            first = words.POLICY_START[policy]
            share = self.number(f"/{policy}", label, percent, Bounds(ge=0.1, le=high), value=first)
            share.bind_visibility_from(when, "value", value=policy)
        carried = self.carried.get("/risk_confidence")
        sure = choice("Confidence", words.CONFIDENCES, carried or 0.99, on_change=self.changed)
        self.at["/risk_confidence"] = Field("Confidence", sure, float)
        unsure = {"abstain": "abstain on every input", "error": "fail the job"}
        otherwise = self.choose("/on_uncertified", "If no threshold is certified", unsure, "abstain")
        for field in (sure, otherwise):
            field.bind_visibility_from(when, "value", value="max_risk")
        self.switch("/explain", "Add saliency maps", lambda on: on or None).classes("whole")

    def another_dataset(self) -> None:
        offered, present = self.splits(), self.chosen.value
        self.chosen.set_options(offered, value=present if present in offered else "test")

    def sent(self) -> dict[str, Any]:
        return {name: value for name, value in super().sent().items() if name != "policy"}

    def images(self, dataset: Dataset) -> dict[str, int]:
        split = str(self.value("/split"))
        return {split: dataset.splits.get(split, 0)}


def masking(fields: Fields) -> None:
    """Draw the fields that determine which parts of an image are masked."""
    fields.choose("/masking/method", "Saliency method", METHODS)
    fields.hyperparameter("/masking/sigmas", "Mask above mean + … std. deviations")


def _kept(wanted: Sequence[str] | None, offered: dict[str, str]) -> list[str]:
    """The wanted splits that are offered; if there are none, the splits that judge a model."""
    return [s for s in wanted or () if s in offered] or [s for s in ("val", "test") if s in offered]
