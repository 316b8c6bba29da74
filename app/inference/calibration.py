"""A calibration as it is served: how often answers were right on the calibration split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from models.selective import CalibrationTable, Reference, Share, references


@dataclass(frozen=True, eq=False)
class Calibration:
    """The tables of one model by score, and those of the split's groups and classes (name → table) by score.

    `disagreement` is between the model and its ERM half on the split, None if unknown. `temperature` scales
    the probabilities that are shown. `n_subjects` of the samples are the one image of a subject; None without
    subjects.
    """

    id: str
    created_at: float | None
    tables: Mapping[str, CalibrationTable]
    groups: Mapping[str, Mapping[str, CalibrationTable]]
    classes: Mapping[str, Mapping[str, CalibrationTable]] = field(default_factory=dict)
    disagreement: Share | None = None
    temperature: float = 1.0
    n_subjects: int | None = None

    @cached_property
    def references(self) -> Mapping[str, tuple[Reference, ...]]:
        """The thresholds that drift monitoring watches, by score."""
        return {name: references(table) for name, table in self.tables.items()}
