"""Data set rows in the shapes of the API."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.http.edits import user_fields
from core.storage.artifacts import ArtifactMissing, Artifacts
from core.tables import DatasetRow
from masktune.contract.datasets import Dataset, Duplicates, Group, ImportReport, Rejected
from models.data.formats.manifest import natural_order
from models.data.report import REPORT_FILE, ColumnReading, NoteCode, subject_word
from models.data.splits import ALL_SPLITS

REJECTED_SHOWN = 1000
DUPLICATES_SHOWN, COPIES_SHOWN = 100, 5


def describe(row: DatasetRow, artifacts: Artifacts | None = None) -> Dataset:
    """Describe the data set. Its report names the first files only if `artifacts` is given."""
    summary, splits = row.summary, _splits(row)
    return Dataset(
        id=row.id,
        state=row.state,
        format=summary.get("format") or row.format,
        source={k: v for k, v in row.source.items() if k != "upload"} or {"upload": True},
        labelled=row.labelled,
        classes=row.classes,
        splits={name: split["count"] for name, split in splits.items()},
        split_subjects=_split_subjects(splits),
        groups=_groups(splits, summary.get("groups", ())),
        subjects=summary.get("subjects", 0),
        subject_word=subject_word(ColumnReading(**column) for column in summary.get("columns", ())),
        metadata_columns=summary.get("metadata_columns", []),
        report=None if row.ended_at is None else _report(row, splits, artifacts),
        job=row.job_id,
        created_at=row.created_at,
        ended_at=row.ended_at,
        **user_fields(row),
    )


def report_file(row: DatasetRow, artifacts: Artifacts) -> Path | None:
    """Return the file with the import's full report, or None if it wrote none."""
    if row.artifact is None:
        return None
    try:
        return artifacts.file(row.artifact, REPORT_FILE)
    except ArtifactMissing:
        return None


def _splits(row: DatasetRow) -> dict[str, Any]:
    """Return the counts of each split, `train` first."""
    stored = row.summary.get("splits", {})
    return {name: stored[name] for name in ALL_SPLITS if name in stored}


def _split_subjects(splits: Mapping[str, Any]) -> dict[str, int]:
    """Return the subjects of each split, or nothing if there are none."""
    counts = {name: split["subjects"] for name, split in splits.items()}
    return counts if any(counts.values()) else {}


def _groups(splits: Mapping[str, Any], names: Sequence[str]) -> list[Group]:
    """Return the groups in the order of `names`; any group missing there follows in natural order."""
    counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for split, facts in splits.items():
        for name, n in facts["groups"].items():
            counts[name][split] = n
    there = (name for name in dict.fromkeys((*names, *natural_order(counts))) if name in counts)
    return [Group(name=name, n=sum(counts[name].values()), splits=counts[name]) for name in there]


def _report(row: DatasetRow, splits: Mapping[str, Any], artifacts: Artifacts | None) -> ImportReport:
    summary = row.summary
    file = report_file(row, artifacts) if artifacts is not None else None
    first = ([], []) if file is None else _first_files(file, file.stat().st_mtime_ns)
    rejected: Mapping[str, int] = summary.get("rejected", {})
    return ImportReport(
        count=summary.get("count", 0),
        subjects=summary.get("subjects", 0),
        columns=summary.get("columns", []),
        problems=summary.get("problems", []),
        notes=summary.get("notes", []),
        rejected_total=sum(rejected.values()),
        rejected_by_code=rejected,
        ignored_by_code=summary.get("ignored", {}),
        duplicates_by_code=summary.get("duplicates", {}),
        classes={name: split["classes"] for name, split in splits.items()},
        split_record=summary.get("split_record", {}),
        shortcuts=summary.get("shortcuts"),
        error=summary.get("error"),
        rejected=first[0],
        duplicates=first[1],
    )


@lru_cache(maxsize=256)
def _first_files(file: Path, changed: int) -> tuple[list[Rejected], list[Duplicates]]:
    """Return the first rejected files and duplicates.
    Cached, since reports on millions of files take seconds to read; `changed` (mtime) invalidates the cache.
    """
    report = json.loads(file.read_text(encoding="utf-8"))
    rejected = [Rejected(**entry) for entry in report["rejected"][:REJECTED_SHOWN]]
    alike = sorted(report["duplicates"], key=lambda entry: NoteCode.CONFLICTING_LABELS not in entry["codes"])
    return rejected, [_first_copies(entry) for entry in alike[:DUPLICATES_SHOWN]]


def _first_copies(entry: Mapping[str, Any]) -> Duplicates:
    first = {name: entry[name][:COPIES_SHOWN] for name in ("paths", "splits", "labels")}
    return Duplicates(**{**entry, **first}, more=max(0, len(entry["paths"]) - COPIES_SHOWN))
