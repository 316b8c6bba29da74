"""Reports as the evaluation writes them, computed by the real code from made-up predictions."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from masktune.contract.report import VERSION, Report, accuracy
from masktune.contract.report import saliency as section
from masktune.contract.report.accuracy import ArmMetrics, Confusion, Disagreement
from masktune.contract.report.groups import EarlyStageDetails, EarlyStageGroups, GroupReason
from masktune.contract.report.metadata import MetadataSlice, MetadataSlices, SliceAgainstRest
from masktune.contract.report.probabilities import Certificate, Certificates, Reliability, RiskCurve
from masktune.contract.report.report import MaskSummary, ReportDataset, ReportModel, StageCost
from masktune.contract.report.shortcut import MaskingCost, PropertyCheck, ShortcutReliance
from masktune.contract.report.sigmas import BalancedAccuracy, DeletionPoint, SigmasChoice
from masktune.contract.vocabulary import CONTROL_OF, Arm, JobKind, Stage
from models.evaluation.metrics import Names, metrics
from models.evaluation.paired import Difference
from models.evaluation.reliability import calibration_error
from models.evaluation.verdict import compare, verdict
from models.selective import CalibrationTable, certify, risk_coverage
from models.shortcuts.check import check_properties
from models.shortcuts.masking_cost import MaskedPredictions, masking_cost
from models.shortcuts.metadata_slices import RULE
from models.shortcuts.properties import METADATA, Property, PropertyTable
from models.shortcuts.reliance import of_mask, of_property, of_shift, read
from models.shortcuts.saliency_summary import mean_maps, saliency_shifts
from models.statistics import wilson
from models.types import Labels

Json = dict[str, Any]

CLASSES = ("0-4", "5-9")
GROUPS = ("0-4 without", "0-4 with square", "5-9 without", "5-9 with square")
TRAIN_WEIGHTS = {0: 500, 1: 5, 2: 5, 3: 500}
GALLERY_ITEM: Json = {
    "sample": 7,
    "path": "0-4/<script>alert(1)</script>.png",
    "label": "0-4",
    "group": GROUPS[0],
    "rule": "most_changed",
    "shift": 0.9,
    "masked_share": 0.03,
    "image": "7-image.png",
    "arms": {
        arm: {"label": label, "probability": 0.98, "correct": correct}
        | {"heatmap": "h.png", "mask": "m.png", "mask_outline": "o.png"}
        for arm, label, correct in (("erm", "5-9", False), ("masktune", "0-4", True))
    },
}
RIGHT: dict[Arm, tuple[float, ...]] = {
    Arm.ERM: (0.2, 0.99, 0.99, 0.25),
    Arm.MASKTUNE_CONTROL: (0.25, 0.99, 0.98, 0.3),
    Arm.MASKTUNE: (0.95, 0.97, 0.96, 0.94),
}


def report(
    *, right: Mapping[Arm, tuple[float, ...]] | None = None, n: int = 400, groups: bool = True
) -> Json:
    """The JSON of a report. `right`: for each arm, the share of right answers in each of the four groups."""
    return copy.deepcopy(_report(tuple((RIGHT if right is None else right).items()), n, groups))


@lru_cache
def _report(right: tuple[tuple[Arm, tuple[float, ...]], ...], n: int, groups: bool) -> Json:
    rng = np.random.default_rng(1)
    group = rng.integers(0, 4, n)
    labels = group // 2
    said = {
        arm: np.where(rng.random(n) < np.array(shares)[group], labels, 1 - labels) for arm, shares in right
    }
    logits = {arm: np.eye(2, dtype=np.float32)[p] * rng.uniform(0.5, 4, (n, 1)) for arm, p in said.items()}
    figures = {
        arm: ArmMetrics.model_validate(
            metrics(
                labels,
                predictions,
                groups=group if groups else None,
                train_group_weights=TRAIN_WEIGHTS if groups else None,
                names=Names(CLASSES, GROUPS),
            )
        )
        for arm, predictions in said.items()
    }
    reliability: dict[Arm, Reliability | None] = {
        arm: Reliability.model_validate(calibration_error(logits[arm].astype(np.float32), labels))
        for arm in said
    }
    compared = group if groups else None
    verdicts = _verdicts(said, labels, compared)
    written = Report(
        version=VERSION,
        job="job_06d4k3w8s0q6v7yx3n5m9a1b2c",
        kind=JobKind.MASKTUNE,
        created_at=1.76e9,
        dataset=ReportDataset(
            id="ds_06d4k3w8s0q6v7yx3n5m9a1b2c",
            name="digits with a square",
            classes=list(CLASSES),
            groups=list(GROUPS) if groups else [],
            splits={"train": 1010, "val": 150, "calibration": 237, "test": n},
        ),
        before="erm" if "erm" in said else "imported" if "imported" in said else None,
        models={arm: ReportModel(id=f"mdl_{arm}", backbone="small_cnn", image_size=28) for arm in said},
        metrics={"val": figures, "test": figures},
        reliability={"val": reliability, "test": reliability},
        confusion=Confusion(
            classes=list(CLASSES),
            counts={
                arm: [[int(((labels == a) & (answers == b)).sum()) for b in (0, 1, -1)] for a in (0, 1)]
                for arm, answers in said.items()
            },
        ),
        differences={"val": [], "test": _differences(said, labels, compared)},
        verdict=verdicts.get(Arm.RETRAINED, verdicts.get(Arm.MASKTUNE)),
        verdicts=verdicts if len(verdicts) > 1 else {},
        disagreement={"test": Disagreement(n=n, disagree=40, share=40 / n, low=0.07, high=0.13)},
        masks=MaskSummary(
            images=1010, masked_share=0.038, nothing_masked=3, seconds=0.2, images_per_second=5050.0
        ),
        sigmas=SigmasChoice(
            sigmas=2.0,
            reason="plateau",
            n=150,
            plain=_balanced(0.99),
            curve=[
                DeletionPoint(sigmas=2.0, masked_share=0.038, own=_balanced(0.57), elsewhere=_balanced(0.99)),
                DeletionPoint(sigmas=1.75, masked_share=0.26, own=_balanced(0.56), elsewhere=_balanced(0.98)),
            ],
        ),
        cost=[
            StageCost(stage=Stage.ERM, seconds=5.2, images_per_second=2900.0, device="cpu"),
            StageCost(stage=Stage.MASK, seconds=0.2, images_per_second=5050.0, device="cpu"),
            StageCost(stage=Stage.EVALUATE, seconds=75.0, images_per_second=None, device="cpu"),
        ],
        gallery=section.Gallery(
            rules={"most_changed": "the images whose saliency moved most between the two models"},
            class_balanced_order="The first image of each class comes first.",
            split="test",
            pool=n,
            items=[],
        ),
    )
    return written.model_dump(mode="json")


def _balanced(accuracy: float) -> BalancedAccuracy:
    return BalancedAccuracy(accuracy=accuracy, low=accuracy - 0.02, high=min(1.0, accuracy + 0.02))


def evidence(value: Json) -> Json:
    """The report with the sections that need a model's outputs: signs, masks, maps, risk."""
    sections = _evidence(tuple(value["models"]), value["metrics"]["test"]["erm"]["n"])
    return value | copy.deepcopy(sections)


@lru_cache
def _evidence(arms: tuple[Arm, ...], n: int) -> Json:
    labels, maps = _maps(n)
    predictions = _predictions(labels)
    of_arms = {arm: predictions[arm] for arm in arms}
    cost = masking_cost(_masked(labels), generator=np.random.default_rng(0), names=Names(CLASSES))
    check = check_properties(_table(labels), labels, CLASSES, rng=np.random.default_rng(0), permutations=39)
    shifted = of_shift(metrics(labels, labels), metrics(labels, of_arms[Arm.ERM]))
    signs = [shifted, of_mask(cost, split="test"), of_property(dataclasses.asdict(check))]
    tables = {arm: CalibrationTable.build(np.linspace(-1, 0, n), of_arms[arm] == labels) for arm in arms}
    means = [section.MeanMap.model_validate(mean) for mean in mean_maps(maps, labels, classes=CLASSES)]
    parts: dict[str, Any] = {
        "shortcut_reliance": ShortcutReliance.model_validate(read([sign for sign in signs if sign])),
        "properties": PropertyCheck.model_validate(dataclasses.replace(check, split="train")),
        "masking_cost": {"test": {"erm": MaskingCost.model_validate(cost)}},
        "metadata_slices": _metadata_slices(arms),
        "saliency": section.SaliencySummary(
            split="test",
            n=n,
            split_size=2 * n,
            before="erm",
            after="masktune" if "masktune" in arms else None,
            shift=section.SaliencyShifts.model_validate(
                saliency_shifts(maps, maps[::-1], labels, classes=CLASSES)
            ),
            mean_maps={"erm": means},
            pictures=[
                section.ClassPicture(
                    class_name="0-4",
                    n=n // 2,
                    n_averaged=64,
                    image="mean.png",
                    heatmaps={"erm": "mean-erm-heatmap.png"},
                )
            ],
            left_out=[],
        ),
        "risk_coverage": {
            split: {arm: _curve(table) for arm, table in tables.items()} for split in ("calibration", "test")
        },
        "certificates": {arm: _certificates(table, models=len(arms)) for arm, table in tables.items()},
    }
    plain: Json = TypeAdapter(dict[str, Any]).dump_python(parts, mode="json")
    return plain


def _metadata_slices(arms: tuple[Arm, ...]) -> MetadataSlices:
    """Two scanners; ERM is much worse on the older one."""

    def share(correct: int) -> Json:
        low, high = wilson(correct, 200, confidence=0.995)
        return {"n": 200, "correct": correct, "accuracy": correct / 200, "low": low, "high": high}

    def against(correct: int, rest: int) -> SliceAgainstRest:
        return SliceAgainstRest.model_validate(share(correct) | {"rest": share(rest)})

    right = {arm: (120, 190) if arm == Arm.ERM else (188, 190) for arm in arms}
    return MetadataSlices(
        exploratory=True,
        rule=RULE,
        split="test",
        n=400,
        comparisons=2 * len(arms),
        confidence=0.995,
        slices=[
            MetadataSlice(
                column="scanner",
                value=value,
                n=200,
                n_subjects=120,
                accuracies={arm: against(*of_arm[::turn]) for arm, of_arm in right.items()},
            )
            for value, turn in (("X1", 1), ("<b>X2</b>", -1))
        ],
        notes=["file: none of its 400 values has 10 images."],
    )


def _predictions(labels: Labels) -> dict[Arm, Labels]:
    """ERM is wrong where it looks elsewhere (`_maps`), the others in every tenth sample."""
    at = np.arange(len(labels))
    wrong = {arm: (at // 2 % 5 if arm is Arm.ERM else at % 10) == 0 for arm in Arm}
    return {arm: np.where(of_arm, 1 - labels, labels) for arm, of_arm in wrong.items()}


def _maps(n: int) -> tuple[Any, Any]:
    """Labels 0, 1, 0, 1 …; the maps highlight one corner, and the opposite one in every fifth pair."""
    rng = np.random.default_rng(2)
    maps = 0.05 * rng.random((n, 6, 6))
    other = np.arange(n) // 2 % 5 == 0
    maps[~other, 0, 0] += 1
    maps[other, 5, 5] += 1
    return np.arange(n) % 2, maps.astype(np.float32)


def _masked(labels: Any) -> MaskedPredictions:
    """The image's own mask flips half of the answers, the other masks none."""
    n = len(labels)
    half = np.where(np.arange(n) % 4 < 2, labels, 1 - labels)
    return MaskedPredictions(np.arange(n), labels, np.full(n, 0.03), labels, half, labels)


def _table(labels: Any) -> PropertyTable:
    """A property that predicts the class, one that is noise, and a column of metadata that predicts it."""
    rng = np.random.default_rng(3)
    properties = (
        Property("top-left corner", "corner", "the look of the top-left corner", ("red",)),
        Property("brightness", "image", "the brightness", ("mean",)),
        Property("hospital", METADATA, "the metadata column hospital", ("text",), 2),
    )
    values = np.stack([labels + 0.01 * rng.random(len(labels)), rng.random(len(labels)), labels], 1)
    notes = ("The metadata column file was left out: it has no value twice.",)
    return PropertyTable(np.arange(len(labels)), properties, values.astype(np.float32), notes)


def _curve(table: CalibrationTable) -> RiskCurve:
    curve = risk_coverage(table)
    return RiskCurve.model_validate(dataclasses.asdict(curve) | {"score_name": "max_softmax"})


def _certificates(table: CalibrationTable, *, models: int) -> Certificates:
    return Certificates(
        n=table.n,
        confidence=0.99,
        models=models,
        score_name="max_softmax",
        best_certifiable_risk=0.15,
        targets=[_certificate(table, max_risk, 0.01 / models) for max_risk in (0.01, 0.2)],
    )


def _certificate(table: CalibrationTable, max_risk: float, level: float) -> Certificate:
    selections = [certify(table, max_risk=max_risk, confidence=1 - one) for one in (level, level / 2)]
    (alone, both), statuses = [one.point for one in selections], [one.status for one in selections]
    needed = [one.planning and one.planning.samples_needed for one in selections]
    return Certificate.model_validate(
        {
            "max_risk": max_risk,
            "status": statuses[0],
            "coverage": alone.coverage,
            "coverage_low": alone.coverage_interval.low,
            "coverage_high": alone.coverage_interval.high,
            "answered": alone.answered,
            "errors": alone.errors,
            "risk_upper": alone.risk_upper,
            "samples_needed": needed[0],
            "simultaneous": {
                "status": statuses[1],
                "coverage": both.coverage,
                "answered": both.answered,
                "errors": both.errors,
                "samples_needed": needed[1],
            },
        }
    )


def _compared(
    said: Mapping[Arm, Labels], arm: Arm, rival: Arm, labels: Labels, group: Labels | None
) -> tuple[Difference, ...]:
    return compare(
        said[arm] == labels,
        said[rival] == labels,
        classes=labels,
        groups=group,
        train_group_weights=TRAIN_WEIGHTS,
        generator=lambda _: np.random.default_rng(0),
    )


def _differences(
    said: Mapping[Arm, Labels], labels: Labels, group: Labels | None
) -> list[accuracy.ArmDifference]:
    return [
        accuracy.ArmDifference(a=arm, b=plain, **_named(difference))
        for arm in CONTROL_OF
        if arm in said
        for plain in said
        if plain not in CONTROL_OF
        for difference in _compared(said, arm, plain, labels, group)
    ]


def _verdicts(
    said: Mapping[Arm, Labels], labels: Labels, group: Labels | None
) -> dict[Arm, accuracy.Verdict]:
    """On each model that was made against a shortcut, against its control or else the model before."""
    verdicts = {}
    for arm in (arm for arm in CONTROL_OF if arm in said):
        rival = next((one for one in (CONTROL_OF[arm], Arm.ERM, Arm.IMPORTED) if one in said), None)
        if rival is None:
            continue
        before = next((one for one in (Arm.ERM, Arm.IMPORTED) if one in said and one is not rival), None)
        plain = () if before is None else _compared(said, arm, before, labels, group)
        decision = verdict(_compared(said, arm, rival, labels, group), plain=plain)
        verdicts[arm] = accuracy.Verdict(
            **decision.standings(is_control=rival is CONTROL_OF[arm]),
            erm_difference=decision.to_plain and accuracy.Difference(**_named(decision.to_plain)),
            verdict=decision.verdict,
            reason=decision.reason,
            split="test",
            a=arm,
            b=rival,
            deciding_difference=accuracy.Difference(**_named(decision.deciding)),
            accuracy_difference=accuracy.Difference(**_named(decision.average)),
        )
    return verdicts


def _named(difference: Difference) -> dict[str, Any]:
    names = GROUPS if difference.statistic == "worst_group_accuracy" else CLASSES
    lowest = {"worst_a": difference.worst_a, "worst_b": difference.worst_b}
    return difference._asdict() | {end: None if key is None else names[key] for end, key in lowest.items()}


def early_stage_groups(reason: GroupReason, *, divided: bool = True, **details: Any) -> EarlyStageGroups:
    """The section `groups` of a head whose groups early stages named, or did not."""
    known: dict[str, Any] = {"reason": reason, "stage": None, "agreements": []}
    return EarlyStageGroups(
        source="early_stages",
        details=EarlyStageDetails.model_validate(known | details),
        inferred=divided,
        divided=divided,
        split="train",
        n=10,
        penalty=1.0,
        control_penalty=None,
        held_out={},
        slices=[],
    )
