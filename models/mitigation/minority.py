"""What the finder says: which training samples lack the pattern of their class, and why it says so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from models.mitigation.groups import Groups
from models.mitigation.wrong_labels import LabelJudge
from models.types import Floats, Labels

Reason = Literal[
    "stages_agree",
    "class_is_low_level",
    "stages_disagree",
    "too_few_mistakes",
    "too_many_mistakes",
    "wrong_labels",
    "too_few_stages",
    "too_many_classes",
    "opened",
    "closed",
]


class Agreement(NamedTuple):
    """Two stages, by name, how many images the judges of each get wrong, and how far these are the same.

    `required` is the least Jaccard index that opens the gate.
    """

    shallow: str
    deep: str
    flagged_shallow: int
    flagged_deep: int
    jaccard: float
    required: float


@dataclass(frozen=True)
class Minority:
    """`groups` to balance a head over: class × pattern, or the classes alone where the gate stays closed.

    `stage` names the module whose judges were taken: None for the last features, or none at all. Only an
    early stage says whose pattern each sample shows, `patterns` (N,), and how probably its label is wrong,
    `label_doubt` (N,), with the `label_judge` for other samples if labels look wrong.
    """

    groups: Groups
    reason: Reason
    stage: str | None = None
    agreements: tuple[Agreement, ...] = ()
    candidates: tuple[int, ...] = ()
    """Rows of images that seem to lack the pattern of their class, surest first, for a person to look at:
    by `stage`, or by the judges that came nearest to opening the gate. Half are the surest of all."""
    random_candidates: tuple[int, ...] = ()
    """Those of them that were drawn at random from all such images, so that they tell how many really do."""
    patterns: Labels | None = None
    label_doubt: Floats | None = None
    label_judge: LabelJudge | None = None

    @property
    def is_open(self) -> bool:
        return self.groups.inferred

    def explained_groups(self) -> Groups:
        """`groups`, with the reason and the agreements among their details."""
        details = {
            "reason": self.reason,
            "stage": self.stage,
            "agreements": [agreement._asdict() for agreement in self.agreements],
            "candidates": list(self.candidates),
            "random_candidates": list(self.random_candidates),
            **self.groups.details,
        }
        return replace(self.groups, source="early_stages", details=details)
