"""The tables of models, the backbones that they share, their aliases and their use."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from core.session import db_now
from core.tables.base import Table, user_metadata
from masktune.contract.vocabulary import Arm, UsageKind


class BackboneRow(Table):
    """Weights below the last layer, stored once for all models that have them, until the last one goes.

    `artifact` is the key of the folder with `backbone.safetensors`. It is never written again, so a late
    deletion hits no newer copy of the same weights. `digest` is the weights' `tensors_digest`.
    """

    __tablename__ = "backbones"

    artifact: Mapped[str] = mapped_column(String(200), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)


class ModelRow(Table):
    """A trained or imported network."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    dataset_id: Mapped[str | None] = mapped_column(String(32))
    job_id: Mapped[str | None] = mapped_column(String(32), index=True)
    """None if it was imported, or its job was deleted."""
    arm: Mapped[Arm]
    backbone: Mapped[str] = mapped_column(String(200))
    classes: Mapped[list[str]]
    image_size: Mapped[int]
    artifact: Mapped[str] = mapped_column(String(200))
    """Key of the folder with `model.safetensors` and `model.json`."""
    backbone_artifact: Mapped[str | None] = mapped_column(ForeignKey("backbones.artifact"), index=True)
    """Where the weights below the last layer are; None if the model's own file has them too."""
    erm_id: Mapped[str | None] = mapped_column(String(32))
    """The ERM model that this one was made from; the two are served as a pair."""
    calibration: Mapped[dict[str, Any] | None]
    """`{id, artifact, n, scores}`; the tables themselves are in the artifact."""
    pattern_judge: Mapped[dict[str, Any] | None]
    """`{artifact, job, module, created_at}`: the judge of this network (`worker.networks.patterns`)."""
    drift: Mapped[dict[str, Any] | None]
    """`{calibration, status, found_at, acknowledged_at, acknowledged_by}`: what is known of the inputs under
    that calibration, and nothing under another. Written only when it changes, by whoever counts inputs."""
    review_policy: Mapped[dict[str, Any] | None]
    """`masktune.contract.serving.review_queue.ReviewPolicy`; None if nobody ever named one."""
    promise: Mapped[dict[str, Any] | None]
    """`masktune.contract.models.Promise` without its numbers, and what it is `of`. Written only when it
    changes, under the lock of this row."""
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Figures by split, on the model's own data set."""
    evaluations: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    """By the id of the job that made it: `worker.results.Evaluation`, and `job`, which is null
    once that was deleted. Written only under the lock of this row."""
    occupies: Mapped[int | None] = mapped_column(BigInteger)  # bytes of its own files in the store
    name: Mapped[str | None] = mapped_column(String(100))
    user_metadata: Mapped[dict[str, Any]] = user_metadata()
    created_by: Mapped[str | None] = mapped_column(String(64))
    """Id of the caller that imported it or started its job; None if no request did."""
    created_at: Mapped[float] = mapped_column(server_default=db_now())

    @property
    def own_calibration(self) -> dict[str, Any] | None:
        """The calibration; None of one that version 0.1.0 imported with the model from another service, whose
        temperature alone is still used."""
        calibration = self.calibration
        return None if calibration is None or calibration.get("imported_from") else calibration

    __table_args__ = (
        Index("models_newest", "created_at", "id"),
        Index("models_arm", "arm", "created_at", "id"),
        Index("models_dataset", "dataset_id", "created_at", "id"),
    )


class AliasRow(Table):
    """A name for a model. `version` counts the alias's moves."""

    __tablename__ = "aliases"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    version: Mapped[int]
    updated_at: Mapped[float] = mapped_column(server_default=db_now())


class AliasMoveRow(Table):
    """One move of an alias, as history for rollbacks."""

    __tablename__ = "alias_moves"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model_id: Mapped[str | None] = mapped_column(String(32))
    """None if the alias was removed."""
    created_by: Mapped[str | None] = mapped_column(String(64))
    """Id of the caller that moved it; None if no request did."""
    at: Mapped[float] = mapped_column(server_default=db_now())


class ServedRow(Table):
    """An hourly count of one kind of outcome for the images that a model was served, over all replicas.

    Replicas add to the rows, so they need not coordinate, and the counts outlive them. There is no foreign
    key, since a replica may write its last counts after the model was deleted.
    """

    __tablename__ = "served"

    model_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    calibration_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    """Empty for a model without a calibration. Counts under different calibrations are not comparable."""
    hour: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """The hour in which the count was written, in hours since 1970."""
    what: Mapped[UsageKind] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("served_hour", "hour"),)


class DriftRow(Table):
    """The inputs of a model that drift is judged by. Whoever changes the row has locked that of the model."""

    __tablename__ = "drift"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    calibration_id: Mapped[str] = mapped_column(String(40))
    """Inputs under an earlier calibration are forgotten."""
    windows: Mapped[dict[str, Any]]
    """`models.selective.Windows`, as JSON."""
    look: Mapped[dict[str, Any] | None]
    """`{at, inputs, level, tests}`: the look that found drift, else the last one."""
