"""What is said of a promised risk, wherever a model or its review queue is shown."""

from __future__ import annotations

from masktune.contract.models import Promise
from masktune.contract.report.text.formats import moment, whole_percent


def promise_statement(promise: Promise) -> str:
    """Whether the promise holds, by how many answers, and how soon a doubled risk would be noticed."""
    sentences = [_statement(promise)]
    if promise.left_out:
        sentences.append(f"{promise.left_out:,} copies and further images of a subject were left out.")
    if promise.lost:
        sentences.append(f"{promise.lost:,} drawn images were lost.")
    if promise.full_since is not None:
        since = moment(promise.full_since)
        sentences.append(f"The queue is full since {since}: answer images, or no other one joins the sample.")
    return " ".join(sentences)


def _statement(promise: Promise) -> str:
    promised = f"at most {whole_percent(promise.max_risk)} of the answers are wrong"
    counted = f"Audit sample of {promise.answers:,} images: {_errors(promise)}"
    if promise.status == "broken":
        noticed = "" if promise.noticed_at is None else f", noticed on {moment(promise.noticed_at)}"
        return f"The promise that {promised} is broken{noticed}. {counted}."
    if promise.status == "unanswered":
        return (
            f"Nobody can tell whether {promised}: too many images were skipped, or deleted unanswered. "
            f"{counted}. Those count as wrong; the wrong answers alone would not break the promise."
        )
    verdict = f"Not enough seen to tell whether {promised}"
    if promise.status == "holds":
        as_of = "" if promise.judged_at is None else f" (as of {moment(promise.judged_at)})"
        verdict = f"The promise has held over {promise.answers:,} answers{as_of}: {promised}"
    most = promise.answers_to_notice
    if most is None:
        return f"{verdict}. {counted}; a doubled risk is noticed only after more than 20,000 answers."
    recent = ""
    if promise.recent_errors is not None and most < promise.answers:
        recent = f" ({promise.recent_errors:,} of the last {most:,})"
    after = f" after these {promise.answers:,}" if promise.answers else ""
    return (
        f"{verdict}. {counted}{recent}; if the risk doubles{after}, it is noticed within about {most:,} more."
    )


def _errors(promise: Promise) -> str:
    """“3 wrong, 1 skipped, 2 deleted unanswered”."""
    wrong = promise.errors - promise.skipped - promise.deleted
    others = {"skipped": promise.skipped, "deleted unanswered": promise.deleted}
    return ", ".join([f"{wrong:,} wrong", *(f"{n:,} {name}" for name, n in others.items() if n)])
