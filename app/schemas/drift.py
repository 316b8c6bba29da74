"""Shapes of drift: what a model is served, against what it was calibrated on."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.schemas.common import Time
from core.vocabulary import AbstainReason

DriftStatus = Literal["drifted", "no_sign_of_drift", "too_few"]


class ShareOf(BaseModel):
    """`k` of `n`."""

    k: int
    n: int
    share: float | None = Field(description="Null without a sample.")


class DriftTest(BaseModel):
    """One share on the calibration split and in service."""

    name: str = Field(
        description="`surest_50`, `surest_80`, `surest_95`: inputs at or above the score that so many "
        "percent of the calibration split reach, whatever policy was asked for. `disagreement`: inputs that "
        "the model and its ERM half label differently."
    )
    calibration: ShareOf
    deployed: ShareOf
    p_value: float = Field(description="Fisher's exact test, two-sided: twice the smaller tail.")
    p_adjusted: float = Field(description="The same times the number of tests (Bonferroni).")
    drifted: bool = Field(description="`p_adjusted` is at most `alpha`.")


class Served(BaseModel):
    """What was decided for the images that were uploaded, under whatever policy each request had."""

    inputs: int
    answered: int
    abstained: dict[AbstainReason, int]
    coverage: float | None


class Drift(BaseModel):
    """Whether what a model is served still looks like its calibration split. Needs no labels."""

    model: str
    calibration: str = Field(description="Id of the calibration; counts under an earlier one are left out.")
    score_name: str = Field(description="The score that is watched: the calibration's own.")
    days: int = Field(description="How far back the counts go.")
    since: Time | None = Field(description="The first hour in them; null where nothing was served.")
    served: Served
    tests: list[DriftTest]
    alpha: float = Field(
        description="Level of all tests together, for one look: who looks daily is alarmed for nothing once "
        "in 1 / alpha days at most, on average."
    )
    method: str
    status: DriftStatus = Field(
        description="`too_few`: not one of the tests could have shown anything with so few inputs."
    )
    certificate_trusted: bool | None = Field(
        description="False where drift was found: a certificate is for inputs like those of the split. Null "
        "where there were too few inputs to find any."
    )
    statement: str
