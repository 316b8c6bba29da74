"""The card of a model that leaves the service, for programs and for people; each sentence names its job."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Literal

from pydantic import Field

from masktune.contract.base import Shape
from masktune.contract.datasets import Dataset
from masktune.contract.models import Evaluation, Model
from masktune.contract.report import accuracy
from masktune.contract.report.report import Report
from masktune.contract.report.text import formats, names
from masktune.contract.report.text.certificates import (
    NO_PROMISE,
    certified,
    certified_promises,
    uncertified,
)
from masktune.contract.report.text.evaluations import evaluation_statement
from masktune.contract.report.text.notes import independence
from masktune.contract.report.text.verdict import verdict
from masktune.contract.serving.predictions import Selection
from masktune.contract.vocabulary import Arm


class CardSentence(Shape):
    """A sentence, and the job that it comes from."""

    text: str
    job: str | None = Field(None, description="Null if no job says it, as of a model that was imported.")


class CardPart(Shape):
    """A heading with its sentences. Without any, a person must add them: no job knows them."""

    title: str
    sentences: list[CardSentence] = []


class Card(Shape):
    """What a bundle says of its model."""

    version: Literal[1] = 1
    model: Model
    erm: Model | None = Field(None, description="The ERM model that it was tuned from, if there is one.")
    weights: str = Field(description="Digest of the model's weights.")
    selection: Selection = Field(description="The policy whose threshold is in the graph.")
    verdict: accuracy.Verdict | None = Field(None, description="If its job compared it with another model.")
    parts: list[CardPart] = []

    def markdown(self) -> str:
        """The card for people."""
        texts = (
            "\n".join(
                f"- {escape(one.text, quote=False)}" + (f" ({one.job})" if one.job else "")
                for one in part.sentences
            )
            for part in self.parts
        )
        parts = (
            f"## {part.title}\n\n{text or _TO_ADD}" for part, text in zip(self.parts, texts, strict=True)
        )
        return "\n\n".join((f"# Model {self.model.id}", *parts)) + "\n"


_HEADINGS_TO_ADD = ("Intended use", "Who answers for it", "Licence of the model and of its training images")
_TO_ADD = "**To be added by a person:** the service does not know it."
_BRIEF = ("epochs", "batch_size", "optimizer", "augmentation", "freeze_backbone", "masking", "seed")
"""The hyperparameters that a card tells."""
_POLICIES = {
    "none": "No policy was asked for: the graph answers every input whose score is finite.",
    "raw_threshold": "As asked for, the graph answers no input with a score below {number:g}.",
    "target_coverage": "The graph answers the surest {share} of inputs like those of the calibration split. "
    "Nothing is promised about the risk.",
    "not_certifiable": "Not certifiable: {refusal}. The graph abstains on every input.",
}
_SHIFT = (
    "A certificate says nothing once the inputs change. A shortcut that breaks is such a change: a "
    "certificate on images with the shortcut is for images with the shortcut."
)
_UNLIKE = (
    "Whatever the score, the graph abstains on an input that is unlike the training images: further from "
    "them than about 99\u00a0% of images like those of the validation split."
)
_UNNOTICED = "The file cannot notice that inputs change, or that the model was calibrated again."
_SEEN_BEFORE = (
    "A model that was imported, or started from the weights of another, may have seen the images of the "
    "calibration split before, which makes a certificate too optimistic; the service cannot know."
)


def card_parts(
    card: Card,
    dataset: tuple[Dataset, str] | None,
    params: Mapping[str, Any],
    licence: str | None,
    report: Report | None,
) -> list[CardPart]:
    """The parts of a card that has none yet: from its data set with the digest, if that is still there; from
    the `params` of its job, and the `licence` of the published weights that the job began with; and from the
    job's report."""
    calibration, job = card.model.calibration, card.model.job
    unknown = "What it was trained on is not known here: it was imported, or its job or data set was deleted."
    parts = [
        _part("Trained on", *((job, [unknown]) if dataset is None else (dataset[0].job, _data(*dataset)))),
        _part("How", job, _training(card, params, licence)),
        _part("Verdict", job, [] if report is None else _judged(card, report)),
        _evaluated(card.model.evaluations),
    ]
    limits = [NO_PROMISE] if card.selection.status in ("certified", "partly_certified") else []
    if calibration is not None:
        limits += [_SHIFT, independence(calibration)]
        limits += [_SEEN_BEFORE] if job is None or params.get("pretrained") else []
    counted_by = None if calibration is None else calibration.job
    tells_unlike = calibration is not None and calibration.unlike_threshold is not None
    unlike = [_UNLIKE] if tells_unlike and card.selection.status != "none" else []
    parts += [
        _part("When it answers", counted_by, _policy(card.selection) + unlike),
        _part("Not for", counted_by, [*limits, _UNNOTICED]),
    ]
    return [part for part in parts if part.sentences] + [CardPart(title=title) for title in _HEADINGS_TO_ADD]


def _part(title: str, job: str | None, texts: Iterable[str]) -> CardPart:
    return CardPart(title=title, sentences=[CardSentence(text=text, job=job) for text in texts if text])


def _evaluated(evaluations: Iterable[Evaluation]) -> CardPart:
    sentences = [
        CardSentence(text=f"{names.capitalised(evaluation_statement(one))}.", job=one.job)
        for one in evaluations
    ]
    return CardPart(title="Evaluations", sentences=sentences)


def _data(dataset: Dataset, digest: str) -> list[str]:
    splits = {} if dataset.report is None else dataset.report.classes
    return [
        f"It was trained on the data set {dataset.name} ({dataset.id}), added "
        f"{formats.moment(dataset.created_at)}; the digest of its images and labels is {digest}.",
        *(
            f"Its {split} split has {formats.sample_count(sum(counts.values()), None)}: "
            + ", ".join(f"{name} {n:,}" for name, n in counts.items())
            + "."
            for split, counts in splits.items()
        ),
    ]


def _training(card: Card, params: Mapping[str, Any], licence: str | None) -> list[str]:
    model, start = card.model, params.get("pretrained")
    described = names.ARM_DESCRIPTIONS.get(Arm(model.arm), "")
    brief = {name: params[name] for name in _BRIEF if params.get(name) is not None}
    settings = ", ".join(f"{name} {json.dumps(entry)}" for name, entry in brief.items())
    weights = f"published weights (licence: {licence or 'not known here'})"
    if start is not True:
        weights = f"the weights of {start}"
    return [
        f"It was made {formats.moment(model.created_at)}: {described}.",
        f"The network is {model.backbone}, for images of {model.image_size} × {model.image_size} pixels; the "
        f"digest of its weights is {card.weights}.",
        f"Its training began with {weights if start is True else f'the weights of {start}'}."
        if start
        else "",
        f"Hyperparameters: {settings}." if settings else "",
    ]


def _judged(card: Card, report: Report) -> list[str]:
    arm = next((arm for arm, model in report.models.items() if model.id == card.model.id), None)
    split = next(iter(names.splits_in_order(report)), None)
    if arm is None or split is None:
        return []
    texts, after = list[str](), names.arm_after(report)
    if arm in (after, *report.verdicts):
        judged = verdict(report, None if arm is after else arm)
        texts = [f"{judged.title}.", judged.sentence, judged.figures, judged.rule]
    metrics = report.metrics[split].get(arm)
    for name in names.statistics_in_order(report, split) if metrics else ():
        assert metrics is not None
        share, *ends = metrics.statistic(name)
        counted = formats.sample_count(
            metrics.n, metrics.n_subjects, f"{split} sample", report.dataset.subject_word
        )
        interval = formats.percent_interval(*ends)
        title, meaning = names.STATISTICS[name]
        texts.append(
            f"{title} ({meaning}): {formats.percent(share)} on {counted}"
            + (f", 95\u00a0% interval {interval}." if interval else ".")
        )
    return [*texts, f"About the {split} split: {names.split_note(report, split)}"]


def _policy(selection: Selection) -> list[str]:
    number, calibration = selection.requested or 0.0, selection.calibration
    text = _POLICIES.get(selection.status, "").format(
        number=number, share=formats.whole_percent(number), refusal=uncertified(selection)
    )
    if calibration is None:
        return [text]
    confidence = calibration.risk_confidence or 0.0
    if selection.status == "certified" and not selection.promises:
        text = certified(number, confidence, calibration.n_subjects)
    counts = formats.calibration_samples(calibration.n, calibration.n_subjects)
    return [
        *(certified_promises(selection.promises, confidence) or [text]),
        f"On {counts}, it answers {calibration.n_answered:,}, {calibration.n_errors:,} of them wrongly "
        f"({calibration.id}).",
    ]
