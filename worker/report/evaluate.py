"""Evaluate: compare the models of the job on splits that none of them was trained on.

The artifact `jobs/{id}/report` holds `report.json`, which is a `masktune.contract.report.Report`, and the
pictures that it names. A killed stage starts over; its figures depend only on the models, the data and the
job's seed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.storage.reports import REPORT
from masktune.contract.job_params import EvaluateParams
from masktune.contract.report import VERSION, Report
from masktune.contract.report.accuracy import JobVerdict
from masktune.contract.report.base import StatisticName
from masktune.contract.report.groups import BalancedGroups
from masktune.contract.report.inferred import InferredGroups
from masktune.contract.report.report import MaskSummary, ReportDataset, ReportModel, StageCost
from masktune.contract.report.shortcut import MaskingCost, PropertyCheck, ShortcutReliance
from masktune.contract.report.sigmas import SigmasChoice
from masktune.contract.vocabulary import CONTROLS, STAGES, Arm, Stage
from models.data.splits import SPLITS, explained_split
from models.data.store import Store
from models.evaluation.verdict import CONFIDENCE
from models.run import device_name
from models.shortcuts import masking_cost
from models.shortcuts.reliance import Sign, of_groups, of_mask, of_property, of_shift, read
from worker.context import StageContext, compared_models
from worker.networks.features import LogitsCache
from worker.protocol import DatasetSpec
from worker.report.columns import column_shortcuts, deciding_columns, with_data_steps
from worker.report.contexts import ComparisonContext, FiguresContext
from worker.report.gallery import make_gallery
from worker.report.groups import make_groups
from worker.report.inferred import JobGroups, make_inferred
from worker.report.judged_job import JudgedModels, judged_sections
from worker.report.metadata_slices import make_metadata_slices
from worker.report.metrics import VERDICT_SPLIT, Figures
from worker.report.recommendation import choose_model, make_recommendation
from worker.report.risk import risk_sections
from worker.report.saliency import MAPS, MASKS, costs_of_masks, explain_pool, make_saliency
from worker.report.subjects import shared_subjects, split_subjects, word_for_subject
from worker.results import EvaluateResult, Evaluation, MaskResult, ModelSpec
from worker.stages.seeds import further_seeds


def evaluate(context: StageContext) -> EvaluateResult:
    """Write the before/after report; return the plain figures of each arm."""
    judged, started = _judged_models(context), time.monotonic()
    compared = ComparisonContext(context) if judged is None else judged.context
    models, splits = compared_models(compared).all, _splits(context)
    cache = LogitsCache(compared, passes=MAPS + len(models) * (len(splits) + MASKS))
    logits = {split: {arm: cache.logits(m, split) for arm, m in models.items()} for split in splits}
    further, inferred = further_seeds(compared), JobGroups.of(compared)
    dataset = context.spec.dataset
    assert dataset is not None
    check = None if dataset.shortcuts is None else PropertyCheck.model_validate(dataset.shortcuts)
    artifact = context.key("report")
    with context.artifacts.writing(artifact) as folder:
        groups = make_groups(compared, models, cache, further, folder=folder)
        balanced = groups if judged is None else judged.own.groups
        store = inferred.context.store
        figures = Figures(
            inferred.context,
            logits,
            further,
            before=judged and judged.own.before,
            lacking=inferred.lacking,
            divided=balanced is None or balanced.divided,
            confidence=CONFIDENCE if judged is None else judged.confidence,
            columns={} if check is None or judged else deciding_columns(store, check.metadata),
        )
        guess = make_inferred(
            compared,
            inferred,
            logits,
            cache.network(next(iter(models.values()))),
            folder=folder,
        )
        decided = (
            _own_sections(
                inferred.context,
                check,
                figures,
                groups,
                models,
                guess,
            )
            if judged is None
            else judged_sections(judged, figures)
        )
        saliency = _saliency_sections(
            inferred.context,
            check,
            cache,
            figures,
            splits,
            decided["after"],
            folder=folder,
        )
        report = Report(
            version=VERSION,
            job=context.spec.job_id,
            kind=context.spec.kind,
            created_at=time.time(),
            dataset=_dataset(dataset, compared.store),
            models={
                arm: ReportModel(
                    id=model.id, backbone=model.backbone, image_size=cache.network(model).spec.image_size
                )
                for arm, model in models.items()
            },
            properties=check,
            metadata_slices=make_metadata_slices(store, logits),
            groups=groups,
            inferred_groups=guess,
            cost=_costs(context, started, cache),
            **decided,
            **saliency,
            **risk_sections(inferred.context, models, logits),
        )
        (folder / REPORT).write_text(report.model_dump_json(indent=1))
    return EvaluateResult(
        artifact=artifact,
        compared={arm: model.id for arm, model in models.items()},
        metrics={arm: figures.plain(arm) for arm in models},
        verdict=None
        if report.verdict is None
        else report.verdict.model_dump(mode="json", include=set(JobVerdict.model_fields)),
        evaluations={
            arm: _evaluation(report, figures, arm) for arm in models if VERDICT_SPLIT in report.metrics
        },
        next=[step.model_dump(mode="json") for step in report.recommendation.next]
        if report.recommendation
        else [],
        images_per_second=report.cost[-1].images_per_second,
    )


def _dataset(dataset: DatasetSpec, store: Store) -> ReportDataset:
    return ReportDataset(
        id=dataset.id,
        name=dataset.name,
        classes=list(store.classes),
        groups=list(store.group_names),
        splits=store.counts,
        split_subjects=split_subjects(store),
        shared_subjects=shared_subjects(store),
        subject_word=word_for_subject(store),
    )


def _evaluation(report: Report, figures: Figures, arm: Arm) -> Evaluation:
    """What stays with the arm's model: its figures on the test images."""
    of_arm, judged = report.metrics[VERDICT_SPLIT][arm], report.judged_job
    statistic: StatisticName = "worst_group_accuracy"
    smallest = figures.smallest_group(arm)
    if smallest is None and judged is not None and judged.breaks_pattern:
        # All images lack the pattern: those of a class are a group, and a person has said so.
        statistic = "worst_class_accuracy"
        smallest = figures.smallest_group(arm, of_classes=True)
    worst, low, high = of_arm.statistic(statistic)
    if smallest is None:
        worst = of_arm.worst_group_accuracy
        _, low, high = of_arm.statistic("accuracy")
    return Evaluation(
        dataset=report.dataset.id,
        dataset_name=report.dataset.name,
        n=of_arm.n,
        groups=None if smallest is None else "inferred" if figures.lacking else "labelled",
        smallest_group=smallest,
        accuracy=of_arm.accuracy,
        worst_group_accuracy=worst,
        low=low,
        high=high,
        created_at=report.created_at,
    )


def _judged_models(context: StageContext) -> JudgedModels | None:
    """The job whose models are judged, if they are another's."""
    spec = context.spec.judged_job
    if spec is None:
        return None
    own = Report.model_validate_json((context.artifacts.folder(spec.report) / REPORT).read_bytes())
    return JudgedModels.of(context, spec, own)


def _own_sections(
    context: FiguresContext,
    check: PropertyCheck | None,
    figures: Figures,
    groups: BalancedGroups | None,
    models: Mapping[Arm, ModelSpec],
    inferred: InferredGroups | None,
) -> dict[str, Any]:
    """The sections that follow from the figures, and the advice, of a report of a job on its own models."""
    choice = choose_model(figures, groups, trained_whole=not context.frozen)
    columns = column_shortcuts(context.store, None if check is None else check.metadata, figures)
    return figures.sections(choice and choice.subject) | {
        "training_note": _training_note(context),
        "column_shortcuts": columns,
        "recommendation": choice
        and with_data_steps(
            make_recommendation(
                choice,
                figures,
                groups,
                store=context.store,
                models=models,
                frozen=context.frozen,
                inferred=inferred,
            ),
            columns,
            groups,
            store=context.store,
        ),
    }


def _saliency_sections(
    context: FiguresContext,
    check: PropertyCheck | None,
    cache: LogitsCache,
    figures: Figures,
    splits: Sequence[str],
    after: Arm | None,
    *,
    folder: Path,
) -> dict[str, Any]:
    """The sections that rest on where the models look: on masks, and what these cost."""
    masks = context.spec.stage_result(MaskResult)
    models = compared_models(context).all
    explained = {arm: model for arm, model in models.items() if arm not in CONTROLS}
    split = explained_split(splits)
    pool = explain_pool(context, explained, cache, split=split, after=after)
    costs = costs_of_masks(context, pool, cache)
    return {
        "masks": masks and MaskSummary.model_validate(masks.summary),
        "sigmas": masks and masks.sigmas and SigmasChoice.model_validate(masks.sigmas),
        "saliency": make_saliency(context, pool, folder=folder),
        "gallery": make_gallery(context, pool, folder=folder),
        "masking_cost": {split: {arm: MaskingCost.model_validate(cost) for arm, cost in costs.items()}},
        "shortcut_reliance": _shortcut_reliance(
            check,
            pool.before,
            figures,
            costs[pool.before],
            split,
        ),
    }


def _splits(context: StageContext) -> list[str]:
    """The splits to evaluate on.
    None is empty: an import of such a data set fails, and a job is refused."""
    params = context.spec.params
    return (params.splits if isinstance(params, EvaluateParams) else []) or ["val", "test"]


def _shortcut_reliance(
    check: PropertyCheck | None,
    arm: Arm,
    figures: Figures,
    cost: masking_cost.MaskingCost,
    split: str,
) -> ShortcutReliance | None:
    """The signs on the split that the model of `arm` relies on a shortcut; `cost` is of its masks there.
    None for a split whose images lost their object: a model that is right there has used the background.
    """
    metrics = figures.metrics_without_copies(SPLITS)
    if split not in metrics:
        return None
    signs: list[Sign | None] = [of_groups(metrics[split][arm], split=split)]
    if {"val", "test"} <= metrics.keys():
        signs.append(of_shift(metrics["val"][arm], metrics["test"][arm]))
    signs.append(of_mask(cost, split=split))
    if check is not None:
        signs.append(of_property(check.model_dump()))
    validation = metrics["val"][arm] if "val" in metrics else None
    present = [sign for sign in signs if sign is not None]
    of_split = metrics[split][arm] if split != "train" else None
    columns = None if check is None else check.metadata
    column = columns.sentence if columns is not None and columns.strength == "strong" else None
    read_signs = read(
        present,
        validation,
        judged=of_split,
        split=split,
        lacking=figures.lacking,
        column=column,
    )
    return ShortcutReliance.model_validate(read_signs)


def _costs(context: StageContext, started: float, cache: LogitsCache) -> list[StageCost]:
    """The costs of the stages up to this one, which `started` at that time."""
    earlier = [
        StageCost(
            stage=stage, seconds=one.seconds, images_per_second=one.images_per_second, device=one.device
        )
        for stage in STAGES[context.spec.kind]
        if (one := context.spec.done.get(stage)) is not None
    ]
    own = StageCost(
        stage=context.stage,
        seconds=round(time.monotonic() - started, 3),
        images_per_second=cache.images_per_second,  # of plain forward passes
        device=device_name(context.run.device),
    )
    return [*earlier, own]


_FROZEN = (
    "Only the last layer was trained, on whole images. The rest of the network stayed as it was at the start."
)
_FROZEN_MASKED = (
    "Only the last layer was trained, first on whole images, then on masked ones. The rest of the network "
    "stayed as it was at the start, the same for all models."
)


def _training_note(context: StageContext) -> str | None:
    """What a reader must know of how the job trained its models."""
    if not context.frozen:
        return None
    return _FROZEN_MASKED if Stage.FINETUNE in context.spec.done else _FROZEN
