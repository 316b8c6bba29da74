"""The fields of each kind of job that starts from a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from masktune import Dataset, Model
from masktune.contract.hyperparameters.parameters import Bounds
from masktune.contract.job_params import EVERY_SPLIT
from masktune.contract.serving.predictions import CERTIFIED_POLICIES, POLICY_OF
from web.forms.fields import Field, Fields, percent
from web.shell import html
from web.text import labels

GROUPS = {
    "": "automatic: the groups of the data set if they divide a class, else inferred",
    "early_stages": "groups inferred from early stages of the network",
    "labels": "the groups of the data set",
    "cross_mistakes": "groups inferred from mistakes on the last features",
}
NO_MODEL = "No model has the classes of this data set yet. Train one on it, or choose another data set."
METHODS = {"": "XGrad-CAM, as in the paper"} | {name: labels.METHODS[name] for name in ("gradcam", "random")}

SIGMAS: dict[float | str, str] = {
    "": "mean + 2 standard deviations, as in the paper",
    "auto": "a threshold that hides what ERM uses, measured",
    **{sigmas: f"mean + {sigmas:g} standard deviations" for sigmas in (1.5, 1.0, 0.5)},
}


class ModelFields(Fields):
    """A job that starts from a model: by default the data set's newest of an arm that suits the kind."""

    arms: tuple[str, ...] = ()
    """Preferred arms."""

    def build(self) -> None:
        options = self.models()
        dataset, model = self._preselected()
        if not options:
            html("nothing_to_start_from", what="model", kind="masktune")
        self.mismatch = html("notice", tone="unsure", text=NO_MODEL)
        with ui.element("div").classes("form"):
            chosen = self.choose(
                "/model", "Model", options, model, required="Choose a model.", search=len(options) > 12
            ).classes("whole")
            self.choose_dataset(dataset).classes("whole").on_value_change(self._dataset_changed)
            chosen.on_value_change(self._model_changed)
            self.more()
        self._show_mismatch()

    def more(self) -> None:
        """Draw the kind's fields other than model and data set."""

    def update_splits(self) -> None:
        """Offer the splits of the chosen data set."""

    def _dataset_changed(self, *_: object) -> None:
        self._show_mismatch()
        self.update_splits()

    def _show_mismatch(self) -> None:
        """Show a notice if no model fits the data set."""
        dataset = self.dataset()
        fits = dataset is None or any(_fits(model, dataset) for model in self.choices.models)
        self.mismatch.set_visibility(bool(self.choices.models) and not fits)

    def models(self) -> dict[str, str]:
        names = {d.id: d.name for d in self.choices.datasets.values()}
        return {m.id: labels.model_label(m, names, self.choices.verdicts) for m in self.choices.models}

    def model(self) -> Model | None:
        return next((m for m in self.choices.models if m.id == self.value("/model")), None)

    def splits(self) -> dict[str, str]:
        """The chosen data set's splits with their numbers of images; all splits if no data set is chosen."""
        dataset = self.dataset()
        if dataset is None:
            return dict(labels.SPLITS)
        if not dataset.labelled:
            return {"all": "all images"}
        return {
            split: f"{labels.SPLITS[split]} ({labels.count_of(dataset.splits[split], 'image', 'images')})"
            for split in labels.splits_of(dataset)
        }

    def _preselected(self) -> tuple[str | None, str | None]:
        """The data set and the model that are preselected."""
        models, datasets = self.choices.models, self.choices.datasets
        model = next((m for m in models if m.id == self.initial.get("/model")), None)
        newest = model or next((m for m in models if m.dataset in datasets), None)
        default = newest.dataset if newest else next(iter(datasets))
        dataset = datasets.get(str(self.initial.get("/dataset") or default))
        if model is not None or dataset is None:
            return (dataset.id if dataset else None), (model.id if model else None)
        fitting = [m for m in models if _fits(m, dataset)]
        fitting.sort(key=lambda m: (m.dataset != dataset.id, m.arm not in self.arms))
        return dataset.id, (fitting[0].id if fitting else None)

    def _model_changed(self, *_: object) -> None:
        """When another model is chosen, choose the data set that it was trained on, in place of another with
        labels."""
        model, dataset = self.model(), self.dataset()
        if dataset is not None and not dataset.labelled:
            return
        if model is not None and model.dataset in self.choices.datasets:
            self.by_pointer["/dataset"].element.value = model.dataset


def _fits(model: Model, dataset: Dataset) -> bool:
    return not dataset.labelled or model.classes == dataset.classes


class Mask(ModelFields):
    """Computing and storing the saliency maps of a model."""

    arms = ("erm",)

    def more(self) -> None:
        masking(self)


class RetrainHead(ModelFields):
    """Refitting the last layer of a model."""

    arms = ("erm",)

    def more(self) -> None:
        self.choose("/groups", "Balanced over", GROUPS).classes("whole")


class Evaluate(ModelFields):
    """Accuracy on splits held out from training."""

    arms = ("masktune", "retrained", "imported")

    def more(self) -> None:
        options = self.splits()
        self.select = ui.select(
            options,
            multiple=True,
            value=_available(self.initial.get("/splits"), options),
            label="Splits",
            on_change=self.on_change,
        )
        self.select.props('outlined dense options-dense behavior=menu aria-label="Splits"').classes("whole")
        self.by_pointer["/splits"] = Field("Splits", self.select, list, "Choose at least one split.")

    def update_splits(self) -> None:
        options = self.splits()
        self.select.set_options(options, value=_available(self.select.value, options))


class Predict(ModelFields):
    """Writing the predictions of a split to a file."""

    arms = ("masktune", "retrained", "imported")
    takes_unlabelled = True

    def more(self) -> None:
        options = self.predictable()
        self.select = self.choose("/split", "Split", options, _predicted(options))
        self.choose("/output", "File", {"parquet": "Parquet", "csv": "CSV"}, "parquet")
        when = self.choose("policy", "When to answer", labels.POLICIES, "none").classes("whole")
        shares = {
            "coverage": ("Percentage to answer", 100.0),
            "max_risk": ("Highest percentage wrong", 99.9),
            "max_class_risk": ("Highest percentage wrong, of the answers of each class", 99.9),
            "max_missed": ("Highest percentage of each class answered as another", 99.9),
            "min_score": ("Lowest score, in percent", 100.0),
        }
        for name, (label, high) in shares.items():
            policy = POLICY_OF[name]
            first, bounds = labels.POLICY_START[policy], Bounds(ge=0.1, le=high)
            share = self.number(f"/{name}", label, percent, bounds, default=first, hint="no limit")
            share.bind_visibility_from(when, "value", value=policy)
        confidence = self.choose("/risk_confidence", "Confidence", labels.CONFIDENCES, 0.99)
        actions = {"abstain": "abstain", "error": "fail the job"}
        action = self.choose("/on_uncertified", "If no threshold is certified", actions, "abstain")
        for field in (confidence, action):
            field.bind_visibility_from(when, "value", CERTIFIED_POLICIES.__contains__)
        may_be = "Classes that it may be"
        sets = self.choose("/set_coverage", may_be, labels.SET_COVERAGES, 0)
        self.by_pointer["/set_coverage"] = Field(may_be, sets, lambda share: share or None)
        self.switch("/explain", "Add saliency maps", lambda on: on or None).classes("whole")

    def predictable(self) -> dict[str, str]:
        """The splits, and all of them."""
        return self.splits() | {EVERY_SPLIT: "all images, and the files that could not be read"}

    def update_splits(self) -> None:
        options, split = self.predictable(), self.select.value
        self.select.set_options(options, value=split if split in options else _predicted(options))

    def request_body(self) -> dict[str, Any]:
        body = super().request_body()
        del body["policy"]  # told by the field that it makes visible
        return body


def masking(fields: Fields) -> None:
    """Draw the fields that determine which parts of an image are masked."""
    fields.choose("/masking/method", "Saliency method", METHODS)
    fields.choose("/masking/sigmas", "Mask what is above", SIGMAS)


def _predicted(options: dict[str, str]) -> str:
    """The split that is predicted by default: `test`, or the first where there is none."""
    return "test" if "test" in options else next(iter(options))


def _available(splits: Sequence[str] | None, options: dict[str, str]) -> list[str]:
    """Those of the splits that the data set has; if there are none, the splits that judge a model."""
    return [s for s in splits or () if s in options] or [s for s in ("val", "test") if s in options]
