"""What is needed by others, and what is asked before it is deleted: one wording for all who ask."""

from __future__ import annotations

from pydantic import Field

from masktune.contract.base import Shape
from masktune.contract.report.text.formats import first_names

_KINDS = {
    "ds": (
        "data set",
        "Its images go. Its models and jobs stay, but the models cannot be measured on these images again, "
        "and the jobs cannot be resumed.",
    ),
    "mdl": (
        "model",
        "Its weights go. Aliases must point elsewhere first, and models that were tuned from it go first. "
        "Jobs stay, but cannot be resumed with it.",
    ),
    "job": (
        "job",
        "Its checkpoints, masks, report, predictions, log and answers about images go. Its models stay.",
    ),
}


class Dependents(Shape):
    """What needs a data set, a model or a job, and loses something with it."""

    of: str = Field(description="Its id.")
    models: list[str] = Field(
        [], description="Ids of the models of the data set, tuned from the model, or made by the job."
    )
    jobs: list[str] = Field(
        [],
        description="Ids of the jobs on the data set, that read or made the model, or that read the masks, "
        "the checkpoints or the report of the job.",
    )
    datasets: list[str] = Field(
        [],
        description="Ids of the unlabelled data sets that go with the job: no other predict job used them.",
    )
    aliases: list[str] = Field([], description="Names of the aliases of the model, or of these models.")


def deletion_question(dependents: Dependents, name: str = "") -> str:
    """What is asked before this is deleted. `name`: what its users call it."""
    kind, consequence = _KINDS[dependents.of.partition("_")[0]]
    names_by_kind = (
        ("models", dependents.models),
        ("jobs", dependents.jobs),
        ("aliases", dependents.aliases),
    )
    dependents_text = "; ".join(f"{label} {first_names(names)}" for label, names in names_by_kind if names)
    question = f"Delete {kind} {name or dependents.of}? {consequence}"
    if dependents.datasets:
        question += f" The images of data set {first_names(dependents.datasets)} go with it."
    return (
        question
        + (f" It is needed by: {dependents_text}." if dependents_text else "")
        + " This cannot be undone."
    )
