"""Infer groups: label × the pattern that an image shows, for every split, without a label of either.

The artifact `jobs/{id}/infer_groups` holds
- `samples.npz`, arrays over all samples of the data set: `patterns` (the class whose pattern each shows, −1
  where that is not known) and `label_doubt` (probability that its label is wrong);
- `training.npz`, arrays over the training split in stored order: the groups that a head can be balanced over
  (`models.mitigation.groups.Groups`); `doubt` and `weights` are empty where there are none;
- `inferred.json`: the `InferredFile`.

The network is that of the job's ERM model, or of the model whose head is retrained. If an early stage named
the patterns, their judge is stored with that model (`worker.networks.patterns`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple, Self, TypedDict

import numpy as np

from masktune.contract.hyperparameters import HeadConfig
from models.data.splits import SPLITS
from models.data.store import Store
from models.mitigation.features import HeadError
from models.mitigation.finder import MAX_CLASSES, infer_minority
from models.mitigation.groups import Groups
from models.mitigation.logistic import counting_steps
from models.mitigation.minority import Minority
from models.mitigation.pattern_groups import PatternGroups, pattern_groups
from models.mitigation.pattern_judge import fit_pattern_judge
from models.mitigation.stage_features import StageFeatures
from models.types import Bools, Floats, Labels
from worker.context import StageContext
from worker.networks.features import FITS, NetworkFeatures, Passes
from worker.networks.patterns import save_judge
from worker.networks.training import given_model, load
from worker.results import GroupsResult, Json

SAMPLES, TRAINING, FACTS = "samples.npz", "training.npz", "inferred.json"
_JUDGED_SPLITS = tuple(split for split in SPLITS if split != "train")


class InferredFile(TypedDict):
    """The content of `inferred.json`.
    `details` are those of `Minority.explained_groups`; `confirmed`: a person's answers show that the guess is
    right often enough for a verdict."""

    model: str
    reason: str
    stage: str | None
    confirmed: bool
    inferred: bool
    names: list[str]
    details: Json


def infer_groups(context: StageContext) -> GroupsResult:
    """Name the minority of the training split and, if an early stage did, the pattern of every image.

    After a kill, the stage reuses the computed features, and draws the same random numbers again.
    """
    if not context.infers_groups:
        context.log("the data set has groups of its own: none are inferred")
        return GroupsResult(artifact=None)
    if not context.needs_groups and len(context.store.classes) > MAX_CLASSES:
        return GroupsResult(artifact=None)
    try:
        return _inferred(context)
    except HeadError as error:
        if context.needs_groups:
            raise
        context.log(f"no groups can be inferred: {error}")
        return GroupsResult(artifact=None)


def _inferred(context: StageContext) -> GroupsResult:
    model = given_model(context)
    network, card = load(context, model)
    features = NetworkFeatures.of_model(context, network, card, model)
    passes = Passes(context.run, 1 + FITS + len(_JUDGED_SPLITS))
    with passes.next() as run:
        training = features.stages(run)
    config = context.retraining.head if context.needs_groups else HeadConfig()
    minority = infer_training_groups(context, training, config, passes)
    patterns, doubt = np.full(len(context.store), -1), np.zeros(len(context.store))
    judge = None
    if minority.patterns is not None and minority.label_doubt is not None:
        rows = training.last.rows
        patterns[rows], doubt[rows] = minority.patterns, minority.label_doubt
        judge = fit_pattern_judge(training, minority, device=context.run.device, check=context.run.check)
        for split in _JUDGED_SPLITS:
            if len(rows := context.store.rows(split)):
                with passes.next() as run:
                    patterns[rows] = judge.patterns(features.early(split, judge.stage, run))
                    if minority.label_judge is not None:
                        values, labels = features.values(split, run), context.store.labels[rows]
                        doubt[rows] = minority.label_judge.doubt(values, labels, patterns[rows])
    doubt[context.right_labels] = 0.0  # also of other splits
    artifact = context.key(context.stage)
    with context.artifacts.writing(artifact) as target:
        np.savez_compressed(target / SAMPLES, patterns=patterns, label_doubt=doubt)
        (target / FACTS).write_text(json.dumps(_facts(context, model.id, minority), ensure_ascii=False))
        _save_training_groups(minority.groups, target)
    stored = {} if judge is None else {model.id: save_judge(context, judge)}
    return GroupsResult(artifact=artifact, judges=stored)


def _facts(context: StageContext, model: str, minority: Minority) -> InferredFile:
    """What is to know of how the groups of the training split were inferred."""
    groups = minority.explained_groups()
    return {
        "model": model,
        "reason": minority.reason,
        "stage": minority.stage,
        "confirmed": context.spec.image_answers is not None and context.spec.image_answers.decides,
        "inferred": groups.inferred,
        "names": list(groups.names),
        "details": dict(groups.details),
    }


def _save_training_groups(groups: Groups, target: Path) -> None:
    np.savez_compressed(
        target / TRAINING,
        assigned=groups.assigned,
        doubt=np.empty(0) if groups.doubt is None else groups.doubt,
        weights=np.empty(0) if groups.weights is None else groups.weights,
    )


def infer_training_groups(
    context: StageContext,
    features: StageFeatures,
    config: HeadConfig,
    passes: Passes,
) -> Minority:
    """What the finder says of the training split, with what a person said of some of its images."""
    rows = features.last.rows
    with passes.next(FITS) as run:
        return infer_minority(
            features,
            config,
            classes=context.store.classes,
            seed=run.seed,
            pictures=context.store.pictures(rows),
            clusters=context.store.clusters(rows),
            answers=context.answers,
            right_labels=context.right_labels,
            device=run.device,
            # By three early stages and the last features, at most.
            check=counting_steps(run, 4 * (len(config.judge_penalties) + config.rounds)),
        )


# --- what other stages read -----------------------------------------------------------------------


class InferredGroups(NamedTuple):
    """What the job's stage has published; arrays over all samples of the data set."""

    facts: InferredFile
    patterns: Labels
    label_doubt: Floats

    @classmethod
    def read(cls, context: StageContext) -> Self | None:
        """None if the job has inferred none."""
        folder = _published_folder(context)
        return None if folder is None else cls.load(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        with np.load(folder / SAMPLES, allow_pickle=False) as arrays:
            facts = json.loads((folder / FACTS).read_text())
            return cls(facts, arrays["patterns"], arrays["label_doubt"])

    @property
    def decide(self) -> bool:
        """Whether figures may rest on them: stages agreed, or a person who looked at images confirmed it.
        The mistakes of the last features would be those of the models that are to be judged; and a gate that
        somebody forced open says nothing."""
        if self.facts["stage"] is None:
            return False
        opened = self.facts["reason"] == "opened" and self.facts["confirmed"]
        return self.facts["reason"] == "stages_agree" or opened

    @property
    def wrong(self) -> Bools:
        """(N,), of samples whose label looks wrong."""
        return np.asarray(self.label_doubt > 0.5)

    def decide_on(self, store: Store) -> bool:
        """The same for a data set, whose own groups come first."""
        return self.decide and not store.has_groups

    def groups(self, store: Store) -> PatternGroups:
        """Label × pattern. The test images decide how a class is divided."""
        counted = np.zeros(len(store), bool)
        counted[store.rows("test")] = True
        return pattern_groups(store.labels, self.patterns, store.classes, counted=counted)


def _published_folder(context: StageContext) -> Path | None:
    stage_result = context.spec.stage_result(GroupsResult)
    if stage_result is None or stage_result.artifact is None:
        return None
    return context.artifacts.folder(stage_result.artifact)


def inferred_training_groups(context: StageContext) -> Groups:
    """The groups of the training split, to balance a head over."""
    folder = _published_folder(context)
    assert folder is not None  # a job that balances a head has inferred some
    facts: InferredFile = json.loads((folder / FACTS).read_text())
    with np.load(folder / TRAINING, allow_pickle=False) as arrays:
        assigned, doubt, weights = (arrays[name] for name in ("assigned", "doubt", "weights"))
    return Groups(
        "early_stages",
        facts["inferred"],
        assigned,
        tuple(facts["names"]),
        doubt if len(doubt) else None,
        facts["details"],
        weights if len(weights) else None,
    )
