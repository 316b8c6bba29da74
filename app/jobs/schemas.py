"""Shapes of jobs and their events."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.http.schemas import Time
from masktune.contract.vocabulary import JobKind, JobState, Stage


class Progress(BaseModel):
    """How far a job is."""

    fraction: float = Field(0.0, description="Of the whole job, 0..1.")
    stage: Stage | None = None
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    eta_seconds: float | None = None
    images_per_second: float | None = None


class Job(BaseModel):
    """A job."""

    id: str
    kind: JobKind
    state: JobState
    stage: Stage | None
    dataset: str | None
    progress: Progress
    attempt: int
    params: dict[str, Any] = Field(description="The parameters, fully resolved.")
    inputs: dict[str, Any] = Field(description="The model or mask set that the job reads.")
    models: dict[str, str] = Field(description="Arm → id of the model.")
    metrics: dict[str, Any]
    error: dict[str, Any] | None = Field(description="A problem object.")
    events: int = Field(description="Number of the newest event.")
    created_at: Time
    queued_at: Time | None
    started_at: Time | None
    cancelling_at: Time | None
    ended_at: Time | None
    links: dict[str, str]


class Event(BaseModel):
    """Something that happened to a job. `id` counts up by one from 1. Progress within epochs is deleted some
    days after the job's end (`MASKTUNE_PROGRESS_DAYS`)."""

    id: int
    type: Literal["state", "stage", "progress", "metrics", "log"]
    at: Time
    data: dict[str, Any]
