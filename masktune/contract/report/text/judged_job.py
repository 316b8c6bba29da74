"""In words: whose models a report judges, on which images, and what these decide."""

from __future__ import annotations

from collections.abc import Iterator

from masktune.contract.report.judged_job import JudgedJob
from masktune.contract.report.report import Report
from masktune.contract.report.text.formats import confidence_level
from masktune.contract.report.text.names import arm_after, within_sentence
from masktune.contract.vocabulary import JobKind

BREAKS_PATTERN = "These images break the pattern"
"""What whoever brings images may say of them."""
_SMALLEST_GROUP = 10
_MOST_NAMES = 10


def judged_by_images(report: Report) -> str | None:
    """Id of the job whose models images of one's own choice can judge; None if the report is of a single
    model."""
    if report.judged_job is not None:
        return report.judged_job.job
    return None if report.kind is JobKind.EVALUATE else report.job


def judged_job_reason(report: Report, judged: JudgedJob) -> str:
    """Why the recommended model is recommended."""
    agree = f"Job {judged.job} recommends it, and these images, which trained none of its models,"
    if judged.outcome == "undecided" or judged.recommended is None:
        return f"{agree} do not decide otherwise."
    if judged.outcome == "confirmed":
        return f"{agree} show that it is right to."
    recommended = within_sentence(judged.recommended)
    arm = report.recommendation.arm if report.recommendation else None
    if arm is arm_after(report) and report.verdict is not None:
        rival = within_sentence(report.verdict.b)
        return f"On these images, which trained none of the models, it is better than {rival}."
    return f"On these images, which trained none of the models, {recommended} is worse than it."


def judged_job_notes(report: Report) -> tuple[str, ...]:
    """What counts and what does not, and why the images do not decide, if they do not; empty for a report of
    a job on its own models."""
    return () if report.judged_job is None else tuple(_notes(report, report.judged_job))


def _notes(report: Report, judged: JudgedJob) -> Iterator[str]:
    n = report.dataset.splits.get("test", 0)
    yield f"{_images(n)} of {report.dataset.name} judge the models of job {judged.job}."
    if left_out := judged.left_out.images:
        paths = judged.left_out.paths[:_MOST_NAMES]
        names = ", ".join(paths) + (f" and {left_out - len(paths):,} more" if left_out > len(paths) else "")
        were = "was" if left_out == 1 else "were"
        yield f"{_images(left_out)} {were} left out, for they or their subjects trained the models: {names}."
    if judged.look is not None:
        yield (
            f"This is look {judged.look} at these models on other images. Its differences have "
            f"{confidence_level(judged.confidence)} intervals: over all looks together, a difference is seen "
            "where there is none in at most 5 of 100 cases."
        )
    if judged.breaks_pattern:
        yield (
            "Whoever brought the images says that all of them lack the pattern which the others of their "
            "class share."
        )
    if sentence := undecided_sentence(report, judged):
        yield sentence


def undecided_sentence(report: Report, judged: JudgedJob) -> str:
    """Why the images do not decide, and what would; empty if they do, or there is nothing to decide."""
    if judged.undecided == "one_class":
        return (
            "All images are of one class, and a model that always answers that class is right on them: bring "
            "images of another class too."
        )
    if judged.undecided == "no_groups":
        return (
            "Nothing says which of these images break the pattern, so a model that gave the pattern up may "
            f"be right less often on them: label their groups, each of at least {_SMALLEST_GROUP} images, or "
            "say of all of them that they break it."
        )
    if judged.undecided == "few_subjects":
        return "The images are of too few subjects to tell whether a difference is chance: bring others."
    if judged.undecided == "few_images" and not judged.more:
        return (
            f"The models differ so little on these images that even {judged.most:,} of a class or group "
            "would hardly decide: take them for equally good here."
        )
    if judged.undecided == "few_images":
        more = " and ".join(f"{n:,} of {name}" for name, n in judged.more.items())
        subjects = report.verdict is not None and report.verdict.deciding_difference.n_subjects is not None
        other = ", if they show other subjects" if subjects else ""
        return (
            "The difference can be chance. If it is as large as it seems, about so many more images would "
            f"decide with a chance of four in five{other}: {more}."
        )
    return ""


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n:,} images"
