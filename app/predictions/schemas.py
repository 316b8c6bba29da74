"""Shapes of predictions with the reject option."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from masktune.contract.hyperparameters import ScoreName

ModelQuery = Annotated[
    str,
    Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$", description="Id or alias of a model."),
]
DatasetQuery = Annotated[str, Field(max_length=32, description="Id of the data set that the sample is in.")]
SampleQuery = Annotated[int, Field(ge=0, lt=2**63, description="Number of the sample.")]
PolicyName = Literal["coverage", "max_risk", "min_score", "none"]


class Query(BaseModel):
    """Query parameters. An unknown one is an error: a misspelt policy must not be ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class PredictQuery(Query):
    """A prediction by a model, and when it should abstain."""

    model: ModelQuery
    coverage: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Policy: answer this share of the inputs, the surest, if they are like those of the "
        "calibration split.",
    )
    max_risk: float | None = Field(
        None, gt=0, lt=1, description="Policy: certify that at most this share of the answers is wrong."
    )
    risk_confidence: float | None = Field(
        None, ge=0.5, lt=1, description="Probability that `max_risk` is kept. Default 0.99."
    )
    min_score: float | None = Field(
        None, gt=0, le=1, description="Policy: answer inputs with at least this `score`."
    )
    score: ScoreName | None = Field(None, description="Confidence score. Default: the calibration's.")
    on_uncertified: Literal["abstain", "error"] = Field(
        "abstain", description="If `max_risk` cannot be certified: abstain, or answer 409."
    )
    top_k: int = Field(5, ge=1, le=1000, description="Most candidates per prediction.")
    explain: bool = Field(False, description="Add the saliency map of the same forward pass.")


class StoredPredictQuery(PredictQuery):
    """The same for a sample of a data set."""

    dataset: DatasetQuery
    sample: SampleQuery
