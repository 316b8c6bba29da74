"""What a report says of the models by metadata."""

from __future__ import annotations

from masktune.contract.report.metadata import MetadataSlice, MetadataSlices
from masktune.contract.report.report import Report
from masktune.contract.report.text.formats import percent, percent_interval
from masktune.contract.report.text.names import arm_after, arm_before, within_sentence
from masktune.contract.vocabulary import Arm


def value_name(part: MetadataSlice) -> str:
    """A slice within the table of its column."""
    return "no value" if part.value is None else part.value


def _slice_name(part: MetadataSlice) -> str:
    return f"without {part.column}" if part.value is None else f"with {part.column} {part.value}"


def metadata_sentences(report: Report) -> list[str]:
    """On which slice the model before and the one after are worst; it is named only where that is shown."""
    section = report.metadata_slices
    if section is None or not section.slices:
        return []
    arms = dict.fromkeys((arm_before(report), arm_after(report)))
    return [_worst(section, arm) for arm in arms if arm in section.slices[0].accuracies]


def _worst(section: MetadataSlices, arm: Arm) -> str:
    model, looked_at = within_sentence(arm), f"Of {len(section.slices)} slices by metadata"
    lower = [part for part in section.slices if part.accuracies[arm].is_lower]
    if not lower:
        return (
            f"{looked_at}, there is none on which {model} is shown to be less accurate than on the other "
            f"images of the {section.split} split."
        )
    worst = min(lower, key=lambda part: part.accuracies[arm].accuracy)
    own = worst.accuracies[arm]
    rest = own.rest
    more = f" It is shown to be lower on {len(lower) - 1} more." if len(lower) > 1 else ""
    return (
        f"{looked_at}, {model} is least accurate on images {_slice_name(worst)}: it is right on "
        f"{percent(own.accuracy)} of them ({percent_interval(own.low, own.high)}), and on "
        f"{percent(rest.accuracy)} of the others ({percent_interval(rest.low, rest.high)}). The intervals "
        f"allow for how many slices were looked at.{more}"
    )


def metadata_note(section: MetadataSlices) -> str:
    """How the slices were made and how far their figures can be trusted."""
    notes = "".join(f" {note}" for note in section.notes)
    return (
        "To explore: nobody named these slices beforehand. Their intervals are wider than elsewhere, so "
        f"that all {section.comparisons:,} hold together with 95\u00a0% confidence, and count subjects where "
        "there are any. A slice is marked where a model’s interval lies below that of all other images. "
        f"{section.rule}{notes}"
    )
