"""What a reader must know of the groups that a last layer was balanced over."""

from __future__ import annotations

from masktune.contract.report.groups import BalancedGroups, GroupSlice
from masktune.contract.report.text.names import ARM_NAMES

_SOURCES = {
    "labels": "The data set's own groups, which somebody labelled. Here they were trained on: a ceiling for "
    "what a guess could reach.",
    "cross_mistakes": "A guess. A sample is in the second group of its class if heads fitted without it "
    "predict another class; its weight in each group is how confident they are of it.",
    "disagreement": "A guess. A sample is in the second group of its class if two models disagree on it.",
    "saliency_clusters": "A guess. The samples of a class are divided by where the model looks in them.",
}
_UNDIVIDED = (
    "No class was divided, so there was nothing to balance over and the retrained head equals its control."
)
_ADVICE = {
    "cross_mistakes": " A backbone that fits every training sample leaves no mistakes to find: try a model "
    "trained for fewer epochs.",
    "disagreement": " The two models give the same answers on the samples that they were trained on.",
}


def groups_title(groups: BalancedGroups) -> str:
    return "Inferred groups" if groups.inferred else "Balanced groups"


def groups_lead(groups: BalancedGroups) -> str:
    """Where the groups come from."""
    return f"{_SOURCES[groups.source]} The last layer was balanced over them; the backbone was kept."


def groups_warning(groups: BalancedGroups) -> str:
    """That there was nothing to balance over, if so."""
    return "" if groups.divided else _UNDIVIDED + _ADVICE.get(groups.source, "")


def groups_note(groups: BalancedGroups) -> str:
    """Which samples the accuracies are on, and what they are worth."""
    fitted = [ARM_NAMES[arm] for arm, held_out in groups.held_out.items() if not held_out]
    note = f"Accuracies are on the {groups.n:,} training samples."
    if len(fitted) < len(groups.held_out):
        note += " Those of the new heads come from equivalent heads that did not see the sample"
        note += f"; {' and '.join(fitted)} had seen all of them and looks better for it." if fitted else "."
    if groups.inferred:
        note += (
            " A group inferred from mistakes is hard by construction: what the change is worth is said by "
            "the verdict, on samples held out from training."
        )
    return note


def true_groups(group: GroupSlice) -> str:
    """How many samples of an inferred group have each label of the data set's own groups."""
    known = (group.true_groups or {}) if group.inferred else {}
    return ", ".join(f"{n:,} of “{name}”" for name, n in known.items())
