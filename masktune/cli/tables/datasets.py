"""A data set and the files that its import left out, as terminal tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from masktune.cli import completion
from masktune.cli.output import new_table, table_of

if TYPE_CHECKING:
    from rich.table import Table

    from masktune import ColumnReading, Dataset, FullReport, InferredPattern, MetadataColumn, Sample

REJECTED_SHOWN = 20
"""Most rejected files listed in a table."""
TEXTS_SHOWN = 5
"""Most texts of a column of metadata in a table."""


def table(dataset: Dataset) -> Table:
    """One data set in full."""
    grid = table_of(dataset, "data set")
    for note in dataset.report.notes if dataset.report else ():
        if note.tone == "bad":
            grid.add_row(note.code, note.detail, style="bold red")
    grid.add_row("state", dataset.state)
    grid.add_row("format", dataset.format or "–")
    if dataset.labelled:
        grid.add_row("classes", ", ".join(dataset.classes) or "–")
        grid.add_row("splits", _counts(dataset.splits))
    else:
        grid.add_row("samples", f"{dataset.report.count if dataset.report else 0}, without labels")
    for group in dataset.groups:
        grid.add_row("group", f"{group.name}: " + _counts(group.splits))
    if dataset.subjects:
        grid.add_row(f"{dataset.subject_word}s", str(dataset.subjects))
    for column in dataset.metadata_columns:
        grid.add_row(f"meta:{column.name}", _content(column))
    if report := dataset.report:
        if readings := [_reading(reading) for reading in report.columns if reading.read_as != "ignored"]:
            grid.add_row("columns", ", ".join(readings))
        for reason, columns in _ignored(report.columns).items():
            grid.add_row("ignored", f"{', '.join(columns)}: {reason}")
        for fact in (*report.problems, *(note for note in report.notes if note.tone != "bad")):
            grid.add_row(fact.code, fact.detail)
        if report.shortcuts is not None:
            grid.add_row("shortcuts", f"{report.shortcuts['strength']}: {report.shortcuts['sentence']}")
            if metadata := report.shortcuts.get("metadata"):
                grid.add_row("metadata", f"{metadata['strength']}: {metadata['sentence']}")
                for note in metadata["notes"]:
                    grid.add_row("", note)
        named = report.rejected[:REJECTED_SHOWN]
        for rejected in named:
            grid.add_row("rejected", f"{rejected.path}: {rejected.detail}")
        if report.rejected_total > len(named):
            more = report.rejected_total - len(named)
            grid.add_row("", f"and {more} more: masktune datasets report {dataset.id}")
    return grid


def sample_columns(page: Sequence[Sample]) -> dict[str, Callable[[Sample], str]]:
    """The columns that a list of these samples needs: what each shows of a sample, by its title."""
    columns: dict[str, Callable[[Sample], str]] = {
        "sample": lambda sample: str(sample.id),
        "split": lambda sample: sample.split or "–",
        "label": lambda sample: sample.label or "–",
        "group": lambda sample: sample.group or "–",
        "file": lambda sample: sample.path or "–",
    }
    if any(sample.subject for sample in page):
        columns["subject"] = lambda sample: sample.subject or "–"
    if any(sample.metadata for sample in page):
        columns["metadata"] = lambda sample: _cells(sample.metadata) or "–"
    if any(sample.inferred for sample in page):
        columns["inferred"] = lambda sample: _inferred(sample.inferred)
    return columns


def files(report: FullReport) -> Table:
    """One row per file, and one per set of files with the same image."""
    counts = f"rejected {len(report.rejected)}, ignored {len(report.ignored)}"
    title = f"data set {report.name}: {report.count} samples; {counts}, duplicates {len(report.duplicates)}"
    listing = new_table("what", "code", "file", "why", title=title)
    for what, entries in (("rejected", report.rejected), ("ignored", report.ignored)):
        for file in entries:
            listing.add_row(what, file.code, file.path, file.detail)
    for same in report.duplicates:
        why = "the same file" if same.same_bytes else "the same picture"
        listing.add_row("duplicates", ", ".join(same.codes), ", ".join(same.paths), why)
    return listing


def _counts(splits: dict[str, int]) -> str:
    counts = completion.in_order(splits, completion.SPLITS)
    return ", ".join(f"{split} {n}" for split, n in counts) or "–"


def _reading(reading: ColumnReading) -> str:
    """A column, and what it was read as if its name does not say so."""
    if reading.column == reading.read_as or reading.column.startswith("meta:"):
        return reading.column
    return f"{reading.column} as {reading.read_as}"


def _ignored(readings: Sequence[ColumnReading]) -> dict[str, list[str]]:
    """The columns that were not read, by the reason."""
    ignored: dict[str, list[str]] = {}
    for reading in readings:
        if reading.read_as == "ignored":
            ignored.setdefault(reading.detail, []).append(reading.column)
    return ignored


def _content(column: MetadataColumn) -> str:
    """What a column of metadata holds, in a line."""
    if column.low is not None and column.high is not None:
        parts = [f"{column.low:g} to {column.high:g}"]
    else:
        parts = [f"{text.text} {text.n}" for text in column.most_frequent[:TEXTS_SHOWN]]
        parts += ["…"] if column.distinct > len(parts) else []
    if column.missing:
        parts.append(f"none {column.missing}")
    return ", ".join(parts)


def _cells(metadata: dict[str, float | str | None]) -> str:
    """The cells of a sample that are not empty, in a line."""
    cells = {name: cell for name, cell in metadata.items() if cell is not None}
    return ", ".join(
        f"{name}={cell:g}" if isinstance(cell, float) else f"{name}={cell}" for name, cell in cells.items()
    )


def _inferred(pattern: InferredPattern | None) -> str:
    return "–" if pattern is None else ", ".join(pattern.notes) or "–"
