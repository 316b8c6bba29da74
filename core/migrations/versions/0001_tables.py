"""The tables of version 0.1.0. This file is never edited: a change of the tables is a new file.

What sorts before this revision is of a checkout before the first release, and is refused (`core.schema`), so
the next ones are v0002, v0003 …

Revision: v0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from core.session import db_now

revision = "v0001"
down_revision = None

Json = sa.JSON(none_as_null=True)


def _where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    _datasets()
    _jobs()
    _job_indexes()
    _of_jobs()
    _models()
    _of_models()
    _review_queue()
    _callers()
    _webhooks()
    _upkeep()


def _datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("format", sa.String(length=32), nullable=False),
        sa.Column("source", Json, nullable=False),
        sa.Column("options", Json, nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=True),
        sa.Column("artifact", sa.String(length=200), nullable=True),
        sa.Column("labelled", sa.Boolean(), nullable=False),
        sa.Column("classes", Json, nullable=False),
        sa.Column("summary", Json, nullable=False),
        sa.Column("occupies", sa.BigInteger(), nullable=True),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("datasets_newest", "datasets", ["created_at", "id"])


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=True),
        sa.Column("dataset_id", sa.String(length=32), nullable=True),
        sa.Column("params", Json, nullable=False),
        sa.Column("request", Json, nullable=False),
        sa.Column("inputs", Json, nullable=False),
        sa.Column("done", Json, nullable=False),
        sa.Column("progress", Json, nullable=False),
        sa.Column("models", Json, nullable=False),
        sa.Column("metrics", Json, nullable=False),
        sa.Column("error", Json, nullable=True),
        sa.Column("times", Json, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=120), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("not_before", sa.Double(), nullable=True),
        sa.Column("event_seq", sa.Integer(), nullable=False),
        sa.Column("thinned_at", sa.Double(), nullable=True),
        sa.Column("occupies", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.String(length=100), nullable=True),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("traceparent", sa.String(length=55), nullable=True),
        sa.Column("created_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )


def _job_indexes() -> None:
    op.create_index("jobs_created_by", "jobs", ["created_by", "state"])
    op.create_index("jobs_dataset", "jobs", ["dataset_id", "state", "created_at", "id"])
    op.create_index("jobs_dataset_newest", "jobs", ["dataset_id", "created_at", "id"])
    op.create_index("jobs_kind", "jobs", ["kind", "state", "created_at", "id"])
    op.create_index("jobs_kind_newest", "jobs", ["kind", "created_at", "id"])
    op.create_index("jobs_lease", "jobs", ["state", "lease_until"])
    op.create_index("jobs_newest", "jobs", ["created_at", "id"])
    op.create_index("jobs_state_newest", "jobs", ["state", "created_at", "id"])
    op.create_index(
        "jobs_next",
        "jobs",
        [sa.text("priority DESC"), "created_at", "id"],
        **_where("state = 'queued' AND not_before IS NOT NULL"),
    )
    op.create_index(
        "jobs_next_import",
        "jobs",
        [sa.text("priority DESC"), "created_at", "id"],
        **_where("state = 'queued' AND kind = 'import'"),
    )
    op.create_index(
        "jobs_whole", "jobs", ["ended_at"], **_where("ended_at IS NOT NULL AND thinned_at IS NULL")
    )


def _of_jobs() -> None:
    op.create_table(
        "events",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.Column("at", sa.Double(), server_default=db_now(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "seq"),
    )
    op.create_table(
        "reviews",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("dataset_id", sa.String(length=32), nullable=False),
        sa.Column("answers", Json, nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=True),
        sa.Column("created_by_name", sa.String(length=100), nullable=True),
        sa.Column("updated_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_index("ix_reviews_dataset_id", "reviews", ["dataset_id"])


def _models() -> None:
    op.create_table(
        "backbones",
        sa.Column("artifact", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("artifact"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("dataset_id", sa.String(length=32), nullable=True),
        sa.Column("job_id", sa.String(length=32), nullable=True),
        sa.Column("arm", sa.String(length=32), nullable=False),
        sa.Column("backbone", sa.String(length=200), nullable=False),
        sa.Column("classes", Json, nullable=False),
        sa.Column("image_size", sa.Integer(), nullable=False),
        sa.Column("artifact", sa.String(length=200), nullable=False),
        sa.Column("backbone_artifact", sa.String(length=200), nullable=True),
        sa.Column("erm_id", sa.String(length=32), nullable=True),
        sa.Column("calibration", Json, nullable=True),
        sa.Column("pattern_judge", Json, nullable=True),
        sa.Column("drift", Json, nullable=True),
        sa.Column("review_policy", Json, nullable=True),
        sa.Column("promise", Json, nullable=True),
        sa.Column("metrics", Json, nullable=False),
        sa.Column("occupies", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.String(length=100), nullable=True),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.ForeignKeyConstraint(["backbone_artifact"], ["backbones.artifact"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_models_backbone_artifact", "models", ["backbone_artifact"])
    op.create_index("ix_models_job_id", "models", ["job_id"])
    op.create_index("models_newest", "models", ["created_at", "id"])
    op.create_index("models_arm", "models", ["arm", "created_at", "id"])
    op.create_index("models_dataset", "models", ["dataset_id", "created_at", "id"])


def _of_models() -> None:
    op.create_table(
        "aliases",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"]),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "alias_moves",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=True),
        sa.Column("created_by", sa.String(length=64), nullable=True),
        sa.Column("at", sa.Double(), server_default=db_now(), nullable=False),
        sa.PrimaryKeyConstraint("name", "version"),
    )
    op.create_table(
        "served",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("calibration_id", sa.String(length=40), nullable=False),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("what", sa.String(length=32), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "calibration_id", "hour", "what"),
    )
    op.create_index("served_hour", "served", ["hour"])
    op.create_table(
        "drift",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("calibration_id", sa.String(length=40), nullable=False),
        sa.Column("windows", Json, nullable=False),
        sa.Column("look", Json, nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("model_id"),
    )


def _review_queue() -> None:
    op.create_table(
        "review_items",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("calibration_id", sa.String(length=40), nullable=True),
        sa.Column("max_risk", sa.Double(), nullable=True),
        sa.Column("risk_confidence", sa.Double(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=True),
        sa.Column("subject_sha256", sa.String(length=64), nullable=True),
        sa.Column("label", sa.String(), nullable=True),
        sa.Column("prediction", Json, nullable=False),
        sa.Column("nearest", Json, nullable=False),
        sa.Column("nearest_dataset_id", sa.String(length=32), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(length=32), nullable=True),
        sa.Column("true_label", sa.String(), nullable=True),
        sa.Column("answered_by", sa.String(length=64), nullable=True),
        sa.Column("answered_by_name", sa.String(length=100), nullable=True),
        sa.Column("answered_at", sa.Double(), nullable=True),
        sa.Column("claimed_by", sa.String(length=64), nullable=True),
        sa.Column("claimed_until", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["nearest_dataset_id"], ["datasets.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("review_items_order", "review_items", ["model_id", "kind", "seq"], unique=True)
    op.create_index("review_items_newest", "review_items", ["created_at", "id"])
    op.create_index("review_items_model", "review_items", ["model_id", "created_at", "id"])
    op.create_index("review_items_answered", "review_items", ["answered_by", "answered_at", "id"])
    op.create_index("review_items_copies", "review_items", ["model_id", "kind", "sha256"])
    op.create_index("review_items_nearest", "review_items", ["nearest_dataset_id"])
    waiting = _where("outcome IS NULL AND bytes IS NOT NULL")
    op.create_index("review_items_waiting", "review_items", ["created_at", "seq"], **waiting)
    of_kind = ["kind", "created_at", "seq"]
    op.create_index("review_items_next", "review_items", of_kind, **waiting)
    op.create_index("review_items_next_of_model", "review_items", ["model_id", *of_kind], **waiting)
    op.create_table(
        "review_images",
        sa.Column("item_id", sa.String(length=32), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["review_items.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("item_id"),
    )


def _callers() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=True),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scopes", Json, nullable=False),
        sa.Column("created_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("actor_name", sa.String(length=100), nullable=True),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("object", sa.String(length=100), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("audit_newest", "audit", ["created_at", "id"])
    op.create_table(
        "idempotency",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", Json, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.Double(), server_default=db_now(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_idempotency_at", "idempotency", ["at"])


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("url", sa.String(length=2000), nullable=False),
        sa.Column("events", Json, nullable=False),
        sa.Column("description", sa.String(length=100), nullable=True),
        sa.Column("secret", sa.String(length=100), nullable=False),
        sa.Column("old_secret", sa.String(length=100), nullable=True),
        sa.Column("old_secret_until", sa.Double(), nullable=True),
        sa.Column("created_by", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.Column("disabled_at", sa.Double(), nullable=True),
        sa.Column("disabled_reason", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("webhook_id", sa.String(length=32), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.Column("created_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.Column("next_attempt_at", sa.Double(), server_default=db_now(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.String(length=200), nullable=True),
        sa.Column("delivered_at", sa.Double(), nullable=True),
        sa.Column("given_up_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("deliveries_newest", "deliveries", ["webhook_id", "created_at", "id"])
    op.create_index(
        "deliveries_next",
        "deliveries",
        ["webhook_id", "next_attempt_at"],
        **_where("next_attempt_at IS NOT NULL"),
    )


def _upkeep() -> None:
    op.create_table(
        "trash",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("at", sa.Double(), server_default=db_now(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "purges",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("audit_seconds", sa.Double(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
