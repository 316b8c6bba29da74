"""The before/after report: did it help, whom, and where do the models look?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from masktune.contract.report import Report
from masktune.contract.report.accuracy import ArmMetrics, SliceAccuracy
from masktune.contract.report.charts import legend, svg
from masktune.contract.report.curves import mix_chart
from masktune.contract.report.saliency import GalleryAnswer, GalleryItem
from masktune.contract.report.text import (
    answers,
    evaluation_statement,
    inferred,
    judged_job_notes,
    notes,
    other_verdicts,
    verdict,
)
from masktune.contract.report.text.answers import EVIDENCE, shortcut_meaning
from masktune.contract.report.text.formats import sample_count
from masktune.contract.report.text.metadata import metadata_note, metadata_sentences, value_name
from masktune.contract.report.text.names import (
    in_order,
    says_nothing_of_quality,
    split_note,
    splits_in_order,
    statistics_in_order,
)
from masktune.contract.vocabulary import Arm
from web.next_steps import show_steps
from web.shell import html, page, set_title
from web.text import labels
from web.transport.connection import api, link, own_key

MOST_GROUPS = 60
"""Most rows of a table: those in which a model is worst. The API's report has all of them."""


@page("/jobs/{job_id}/report", "Report", "/jobs")
async def show(job_id: str) -> None:
    report, job = await api().jobs.report(job_id), await api().jobs.get(job_id)
    splits = splits_in_order(report)
    decision = verdict(report)
    set_title(f"{decision.title} · {labels.shorten(report.dataset.name)} · Report")
    models = [(arm, report.models[arm]) for arm in in_order(report.models)]
    html(
        "report_head",
        report=report,
        arms=models,
        notes=judged_job_notes(report),
        job=job,
        statement=evaluation_statement,
    )
    current = report
    if job.current is not None and job.current.job != job_id:
        current = await api().jobs.report(job.current.job)
    show_steps(api(), current, own_key())
    if report.inferred_groups is not None:
        _inferred(report)
    html("report_verdict", report=report, verdict=decision, others=other_verdicts(report))
    reliance = report.shortcut_reliance
    html(
        "report_answers",
        answers=answers(report),
        reliance=reliance,
        evidence=EVIDENCE,
        meaning=shortcut_meaning,
    )
    for split in splits[:1]:
        _split(report, split)
    html("report_confusion", report=report)
    sliced = report.metadata_slices
    html(
        "report_metadata",
        sliced=sliced,
        sentences=metadata_sentences(report),
        value_name=value_name,
        note=sliced and metadata_note(sliced),
    )
    if report.gallery and report.gallery.items:
        images = [(image, _before_and_after(image)) for image in report.gallery.items]
        pictures = link(f"/files/jobs/{job_id}/report/pictures/")
        html(
            "gallery",
            report=report,
            images=images,
            coarse=notes.coarse_maps(report),
            rules=report.gallery.rules,
            picture=lambda name: pictures + name,
        )
    for split in splits[1:]:
        _split(report, split)
    sigmas = report.sigmas
    html("report_sigmas", choice=sigmas, sentence=notes.sigmas_choice(sigmas), note=notes.DELETION_CURVE)
    html("report_cost", cost=report.cost)


def _inferred(report: Report) -> None:
    """Images that lack the pattern of their class, and what rests on that guess."""
    pictures = link(f"/files/jobs/{report.job}/report/pictures/")
    test = report.inferred_groups.test if report.inferred_groups else None
    chart = mix_chart({} if test is None else test.mix)
    html(
        "report_inferred",
        report=report,
        inferred_text=inferred,
        notes=inferred.inferred_notes(report),
        mix=inferred.mix_sentence(report),
        chart=svg(chart) + legend(chart),
        picture=lambda name: pictures + name,
    )


def _split(report: Report, split: str) -> None:
    facts = {"split": split, "note": split_note(report, split), "judges": not says_nothing_of_quality(split)}
    gap = notes.background_gap(report.background_gap.get(split))
    statistics = statistics_in_order(report, split)
    by_arm = report.metrics[split]
    html(
        "report_split",
        by_arm=by_arm,
        gap=gap,
        statistics=statistics,
        recommended=report.recommendation and report.recommendation.arm,
        inferred=_inferred_tag(report),
        **facts,
        **tables(by_arm, report.dataset.subject_word),
    )
    html(
        "report_changes", differences=report.differences.get(split, []), explained=notes.DIFFERENCES, **facts
    )


def _inferred_tag(report: Report) -> str:
    """What to say of groups that nobody labelled; "" for the data set's own."""
    return inferred.INFERRED_TAG if report.rests_on_inferred_groups else ""


def tables(by_arm: Mapping[Arm, ArmMetrics], word: str) -> dict[str, Any]:
    """Rows of a split's table: the groups, or else the classes. `word` is the owner's for a subject."""
    arms = in_order(by_arm)
    grouped = any(metrics.worst_group_accuracy is not None for metrics in by_arm.values())
    among: Literal["groups", "classes"] = "groups" if grouped else "classes"
    slices: dict[Arm, dict[int, SliceAccuracy]] = {
        arm: {one.id: one for one in getattr(by_arm[arm], among)} for arm in arms
    }
    rows = [
        (
            first.name,
            sample_count(first.n, first.n_subjects, "image", word),
            [slices[arm].get(number) for arm in arms],
        )
        for number, first in next(iter(slices.values()), {}).items()
    ]
    of = len(rows)
    if of > MOST_GROUPS:
        rows.sort(key=lambda row: min(one.accuracy for one in row[2] if one))
    return {
        "word": word,
        "arms": arms,
        "rows": rows[:MOST_GROUPS],
        "of": of,
        "among": among,
        "lowest": {arm: _lowest(slices[arm].values()) for arm in arms},
    }


def _lowest(slices: Iterable[SliceAccuracy]) -> float | None:
    """The lowest accuracy; None if all are equal."""
    accuracies = {one.accuracy for one in slices}
    return min(accuracies) if len(accuracies) > 1 else None


def _before_and_after(image: GalleryItem) -> list[tuple[Arm, GalleryAnswer]]:
    """The answers of the first and the last arm, or of the only one."""
    answers = [(arm, image.arms[arm]) for arm in in_order(image.arms)]
    return answers[:1] + answers[-1:] if len(answers) > 1 else answers
