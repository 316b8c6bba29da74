"""The whole report."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import AliasChoices, Field

from masktune.contract.report.accuracy import (
    ArmDifference,
    ArmMetrics,
    BackgroundGap,
    Confusion,
    Disagreement,
    Verdict,
)
from masktune.contract.report.base import Section
from masktune.contract.report.columns import ColumnShortcut
from masktune.contract.report.groups import BalancedGroups
from masktune.contract.report.image_answers import ReportImageAnswers
from masktune.contract.report.inferred import InferredGroups
from masktune.contract.report.judged_job import JudgedJob
from masktune.contract.report.metadata import MetadataSlices
from masktune.contract.report.probabilities import Certificates, Reliability, RiskCurve, Temperature
from masktune.contract.report.recommendation import Recommendation
from masktune.contract.report.saliency import Gallery, SaliencySummary
from masktune.contract.report.shortcut import MaskingCost, PropertyCheck, ShortcutReliance
from masktune.contract.report.sigmas import SigmasChoice
from masktune.contract.vocabulary import Arm, JobKind, Stage


class ReportDataset(Section):
    """The data set: its classes, its groups, and the samples of each split.

    `split_subjects` counts the subjects of each split, and `shared_subjects` (split → `train` or `val` → n)
    those that the models were fitted to or chosen by too; both are empty if none are named. `subject_word` is
    what the owner calls one: patient, say.
    """

    id: str
    name: str
    classes: list[str]
    groups: list[str]
    splits: dict[str, int]
    split_subjects: dict[str, int] = {}
    shared_subjects: dict[str, dict[str, int]] = {}
    subject_word: str = "subject"


class ReportModel(Section):
    """A model that the report compares; `image_size` in pixels."""

    id: str
    backbone: str
    image_size: int


class StageCost(Section):
    """Time and throughput of one stage."""

    stage: Stage
    seconds: float | None
    images_per_second: float | None
    device: str | None


VERSION: Final = 1


class MaskSummary(Section):
    """The masks of the training images.
    `nothing_masked` of them mask no pixel, `non_finite` of those because their map is not finite."""

    images: int
    masked_share: float
    nothing_masked: int
    non_finite: int = 0
    seconds: float | None
    images_per_second: float | None


class Report(Section):
    """What a job's models do on splits that trained none of them.
    Every figure has its n and its interval.

    A model that the job has not is absent from the sections by arm; a section that does not apply is null.
    """

    version: Literal[1]
    job: str
    kind: JobKind
    created_at: float = Field(description="Seconds since 1970.")
    dataset: ReportDataset
    models: dict[Arm, ReportModel]
    training_note: str | None = Field(
        None, description="What to know of how the models were trained: that only the last layer was, say."
    )
    before: Arm | None = Field(None, description="The model that the one after was made from.")
    after: Arm | None = Field(None, description="The model that the report is about.")
    verdict: Verdict | None = Field(description="On the model after.")
    recommendation: Recommendation | None = Field(
        None, description="Which model to use, and what to do next; null if none was made against a shortcut."
    )
    image_answers: ReportImageAnswers | None = Field(
        None,
        validation_alias=AliasChoices("image_answers", "review"),  # the second in reports of 0.1.0
        description="What a person said since of the images that `recommendation` lists, if they did. The "
        "report itself never changes.",
    )
    verdicts: dict[Arm, Verdict] = Field({}, description="On each model that was made against a shortcut.")
    metrics: dict[str, dict[Arm, ArmMetrics]] = Field(description="By split and arm.")
    confusion: Confusion | None = Field(
        None, description="Of the test split; null without one, and with more than 20 classes."
    )
    differences: dict[str, list[ArmDifference]] = Field(
        description="By split: each model that was made against a shortcut minus each other model, paired."
    )
    disagreement: dict[str, Disagreement] = Field(
        description="By split: how often ERM and the model after it answer differently."
    )
    background_gap: dict[str, dict[Arm, BackgroundGap]] = Field(
        {}, description="By split and arm; for the Background Challenge only."
    )
    shortcut_reliance: ShortcutReliance | None = Field(
        None, description="Whether the model before uses a shortcut."
    )
    properties: PropertyCheck | None = None
    column_shortcuts: list[ColumnShortcut] = Field(
        [], description="Columns of metadata that predict the class in the training images, strongest first."
    )
    masking_cost: dict[str, dict[Arm, MaskingCost]] = Field(
        {}, description="By split and arm, of the split whose images have maps."
    )
    metadata_slices: MetadataSlices | None = Field(
        None,
        description="The models by metadata, to explore; null without metadata or without figures on test.",
    )
    saliency: SaliencySummary | None = None
    gallery: Gallery | None
    masks: MaskSummary | None
    sigmas: SigmasChoice | None = Field(
        None, description='How `masking.sigmas = "auto"` was resolved; null for a number.'
    )
    judged_job: JudgedJob | None = Field(
        None,
        description="The job whose models are judged on images that trained none of them; null in the report "
        "of a job on its own models.",
    )
    groups: BalancedGroups | None = Field(
        None, description="What a last layer was balanced over, inferred or not; each model on them."
    )
    inferred_groups: InferredGroups | None = Field(
        None, description="Groups of every split that nobody labelled; null where none could be inferred."
    )
    certificates: dict[Arm, Certificates] = Field(
        {}, description="What each model may answer at some risks that were fixed beforehand."
    )
    risk_coverage: dict[str, dict[Arm, RiskCurve]] = Field({}, description="By split and arm.")
    reliability: dict[str, dict[Arm, Reliability | None]] = Field(
        description="By split and arm; null if no answer is a finite number."
    )
    temperature: dict[Arm, Temperature] = Field({}, description="Of the probabilities in predictions.")
    reliability_at_temperature: dict[str, dict[Arm, Reliability | None]] = Field(
        {}, description="As `reliability`, for the probabilities at that temperature."
    )
    cost: list[StageCost]

    @property
    def rests_on_inferred_groups(self) -> bool:
        """Whether figures by group, and the verdict, rest on groups that nobody labelled."""
        return self.inferred_groups is not None and self.inferred_groups.decide
