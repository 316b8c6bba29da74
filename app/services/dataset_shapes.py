"""Rows and packed stores as the API tells them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.locations import Locate, located
from app.schemas.datasets import Dataset, Group, Rejected, Report
from core.artifacts import ArtifactMissing, Artifacts
from core.tables import DatasetRow
from models.data.report import REPORT_FILE

REJECTED_SHOWN = 1000


def describe(row: DatasetRow, locate: Locate, artifacts: Artifacts | None = None) -> Dataset:
    """The data set. With `artifacts`, its report names the first rejected files; without, it counts them."""
    summary = row.summary
    splits: Mapping[str, Any] = summary.get("splits", {})
    return Dataset(
        id=row.id,
        name=row.name,
        state=row.state,
        format=summary.get("format") or row.format,
        source={k: v for k, v in row.source.items() if k != "upload"} or {"upload": True},
        classes=row.classes,
        splits={name: split["count"] for name, split in splits.items()},
        groups=_groups(splits),
        report=None if row.ended_at is None else _report(row, locate, artifacts),
        job=row.job_id,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def report_file(row: DatasetRow, artifacts: Artifacts) -> Path | None:
    """The import's full report, where it wrote one."""
    if row.artifact is None:
        return None
    try:
        return artifacts.file(row.artifact, REPORT_FILE)
    except ArtifactMissing:
        return None


def _groups(splits: Mapping[str, Any]) -> list[Group]:
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for split, facts in splits.items():
        for name, n in facts["groups"].items():
            found[name][split] = n
    return [Group(name=name, n=sum(counts.values()), splits=counts) for name, counts in found.items()]


def _report(row: DatasetRow, locate: Locate, artifacts: Artifacts | None) -> Report:
    summary = row.summary
    error: Mapping[str, Any] | None = summary.get("error")
    file = report_file(row, artifacts) if artifacts is not None else None
    rejected: Mapping[str, int] = summary.get("rejected", {})
    return Report(
        count=summary.get("count", 0),
        problems=summary.get("problems", []),
        notes=summary.get("notes", []),
        rejected=[] if file is None else list(_first_rejected(file, file.stat().st_mtime_ns)),
        rejected_total=sum(rejected.values()),
        rejected_by_code=dict(rejected),
        ignored_by_code=summary.get("ignored", {}),
        duplicates_by_code=summary.get("duplicates", {}),
        classes={name: split["classes"] for name, split in summary.get("splits", {}).items()},
        split_record=summary.get("split_record", {}),
        shortcuts=summary.get("shortcuts"),
        error=None if error is None else located(error, locate),
    )


@lru_cache(maxsize=256)
def _first_rejected(file: Path, changed: int) -> tuple[Rejected, ...]:
    """A report of millions of files takes seconds to read: each is read once, and again if it `changed`."""
    found = json.loads(file.read_text(encoding="utf-8"))["rejected"][:REJECTED_SHOWN]
    return tuple(Rejected(**entry) for entry in found)
