"""First tables

Revision: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from core.session import db_now

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "alias_moves",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=True),
        sa.Column("at", sa.Double(), server_default=db_now(), nullable=False),
        sa.PrimaryKeyConstraint("name", "version"),
    )
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("format", sa.String(length=32), nullable=False),
        sa.Column("source", Json, nullable=False),
        sa.Column("options", Json, nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("artifact", sa.String(length=200), nullable=True),
        sa.Column("classes", Json, nullable=False),
        sa.Column("summary", Json, nullable=False),
        sa.Column("created_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
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
    op.create_index("ix_idempotency_at", "idempotency", ["at"], unique=False)

    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(16), nullable=True),
        sa.Column("dataset_id", sa.String(length=32), nullable=True),
        sa.Column("params", Json, nullable=False),
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
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=120), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("announced_at", sa.Double(), nullable=True),
        sa.Column("event_seq", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("jobs_dataset", "jobs", ["dataset_id", "state"], unique=False)
    op.create_index("jobs_lease", "jobs", ["state", "lease_until"], unique=False)
    op.create_index("jobs_queue", "jobs", ["state", "not_before", "priority", "created_at"], unique=False)

    op.create_table(
        "models",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("dataset_id", sa.String(length=32), nullable=True),
        sa.Column("job_id", sa.String(length=32), nullable=True),
        sa.Column("arm", sa.String(16), nullable=False),
        sa.Column("backbone", sa.String(length=200), nullable=False),
        sa.Column("classes", Json, nullable=False),
        sa.Column("image_size", sa.Integer(), nullable=False),
        sa.Column("artifact", sa.String(length=200), nullable=False),
        sa.Column("erm_id", sa.String(length=32), nullable=True),
        sa.Column("calibration", Json, nullable=True),
        sa.Column("metrics", Json, nullable=False),
        sa.Column("created_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_models_dataset_id", "models", ["dataset_id"], unique=False)
    op.create_index("ix_models_job_id", "models", ["job_id"], unique=False)

    op.create_table(
        "aliases",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.Double(), server_default=db_now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["models.id"],
        ),
        sa.PrimaryKeyConstraint("name"),
    )
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
