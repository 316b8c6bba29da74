"""Shapes of drift reports: a model's inputs compared with its calibration split."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.http.schemas import Time
from masktune.contract.vocabulary import AbstainReason

DriftStatus = Literal["drifted", "no_sign_of_drift", "too_few"]


class ShareOf(BaseModel):
    """`k` of `n`."""

    k: int
    n: int
    share: float | None = Field(description="Null if `n` is 0.")


class DriftTest(BaseModel):
    """One share on the calibration split and in service."""

    name: str = Field(
        description="`surest_50`, `surest_80`, `surest_95`: inputs at or above the score that 50, 80 or 95 % "
        "of the calibration split reach, whatever policy was requested. `disagreement`: inputs that the "
        "model and its ERM half label differently."
    )
    calibration: ShareOf
    deployed: ShareOf
    p_value: float = Field(description="Fisher's exact test, two-sided: twice the smaller tail.")
    p_adjusted: float = Field(description="The same times the number of tests (Bonferroni).")
    drifted: bool = Field(description="`p_adjusted` is at most `alpha`.")


class Served(BaseModel):
    """The decisions on uploaded images, under the policy of each request."""

    inputs: int
    answered: int
    abstained: dict[AbstainReason, int]
    coverage: float | None


class Drift(BaseModel):
    """Whether a model's inputs still look like its calibration split. Needs no labels."""

    model: str
    calibration: str = Field(description="Id of the calibration; counts under earlier ones are left out.")
    score_name: str = Field(description="The score that is tested: the calibration's own.")
    days: int = Field(description="How far back the counts go.")
    since: Time | None = Field(description="The first hour counted; null if nothing was served.")
    served: Served
    tests: list[DriftTest]
    alpha: float = Field(
        description="Level of all tests together, for one look: looking daily gives at most one false alarm "
        "in 1 / alpha days, on average."
    )
    method: str
    status: DriftStatus = Field(
        description="`too_few`: with so few inputs, none of the tests could have detected drift."
    )
    certificate_trusted: bool | None = Field(
        description="False if drift was found: a certificate is for inputs like those of the split. Null if "
        "there were too few inputs to find any."
    )
    statement: str
