"""What is said of an evaluation of a model, wherever the model is shown."""

from __future__ import annotations

from masktune.contract.models import Evaluation
from masktune.contract.report.text.formats import (
    moment,
    percent,
    percent_interval,
    sample_count,
)


def evaluation_statement(evaluation: Evaluation) -> str:
    """The figures with the interval of the one that decides, and the images that they rest on."""
    interval = percent_interval(evaluation.low, evaluation.high)
    interval = f"95\u00a0% interval {interval}"
    accuracy = f"accuracy {percent(evaluation.accuracy)}"
    figures = f"{accuracy} ({interval}), no groups that decide"
    if evaluation.groups is not None:
        figures = (
            f"worst {evaluation.groups} group "
            f"{percent(evaluation.worst_group_accuracy)} ({interval}), "
            f"{evaluation.smallest_group:,} in the smallest group; {accuracy}"
        )
    images = sample_count(evaluation.n, None, "test image")
    return f"{figures}; {images} of {evaluation.dataset_name}, {moment(evaluation.created_at)}"
