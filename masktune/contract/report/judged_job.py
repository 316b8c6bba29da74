"""A job's models judged on images that were brought for it: what counts, and what it decides."""

from __future__ import annotations

from typing import Literal

from masktune.contract.report.base import Section
from masktune.contract.vocabulary import Arm

JudgedOutcome = Literal["confirmed", "changed", "undecided"]
UndecidedReason = Literal["one_class", "no_groups", "few_subjects", "few_images"]


class LeftOut(Section):
    """Images that do not count, since they trained the models: `same_image` of the `images` are in train or
    val of the job's data set themselves, the others are of one picture or subject with such an image, or of a
    subject that is there. `paths` and `subjects` name the first of them.
    """

    images: int
    same_image: int
    paths: list[str] = []
    subjects: list[str] = []


class JudgedJob(Section):
    """The job whose models this report judges, on images that trained none of them.

    `dataset` is what the models were trained on, and `recommended` what the job's own report recommends:
    that stands, `undecided`, until these images decide. `breaks_pattern`: whoever brought them says that all
    of them lack the pattern which the other images of their class share.

    `look` numbers the images that have judged these models, from 1. Differences hold at `confidence`:
    1 − 0.05 / (look (look + 1)).
    All looks together err in at most 5 % of cases. In version 0.1.0 it was None, and 95 %.
    `more` says how many more images of a class or group would decide at the next look with a chance of four
    in five; it is empty if some would take more than `most`, or another reason keeps them from deciding.
    """

    job: str
    dataset: str
    recommended: Arm | None
    breaks_pattern: bool
    left_out: LeftOut
    outcome: JudgedOutcome
    undecided: UndecidedReason | None = None
    more: dict[str, int] = {}
    most: int
    look: int | None = None
    confidence: float = 0.95
