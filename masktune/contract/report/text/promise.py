"""What is said of a promised risk, wherever a model or its review queue is shown."""

from __future__ import annotations

from masktune.contract.models import Promise
from masktune.contract.report.text.formats import moment, whole_percent


def promise_statement(promise: Promise) -> str:
    """Whether the promise holds, by how many answers, and how soon a doubled risk would be noticed."""
    promised = f"at most {whole_percent(promise.max_risk)} of the answers are wrong"
    counted = f"{promise.errors:,} of {promise.answers:,} answers in the audit sample were wrong"
    if promise.status == "broken":
        noticed = "" if promise.noticed_at is None else f", noticed on {moment(promise.noticed_at)}"
        return f"The promise that {promised} is broken{noticed}: {counted}."
    verdict = (
        f"The promise holds: {promised}"
        if promise.status == "holds"
        else f"Not enough seen to tell whether {promised}"
    )
    most = promise.answers_to_notice
    soon = "only after more than 20,000" if most is None else f"within about {most:,}"
    return f"{verdict}. So far, {counted}; a doubled risk is noticed {soon} answers."
