"""The evaluations of models, the passes of running jobs, and what answers to a report lack before a verdict
rests on them are added.
What version 0.1.0 wrote and nothing reads any longer goes: columns, and the field `gpus` of trainings.

Revision: v0002
"""

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"

_WITHOUT_GPUS = {
    "sqlite": "json_remove({0}, '$.gpus')",
    # Not by JSONB, which forgets the order of keys.
    "postgresql": (
        "COALESCE((SELECT json_object_agg(key, value) FROM json_each({0}) WHERE key <> 'gpus'), '{{}}')"
    ),
}


def upgrade() -> None:
    evaluations = sa.Column(
        "evaluations",
        sa.JSON(none_as_null=True),
        nullable=False,
        server_default="{}",  # also for what version 0.1.0 writes during a rolling update
    )
    op.add_column("models", evaluations)
    op.add_column("reviews", sa.Column("needed", sa.Integer(), nullable=True))
    op.create_table(
        "passes",
        sa.Column("job_id", sa.String(32), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("numbers", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("shards", sa.Integer(), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
    )
    op.drop_index("review_items_nearest", "review_items")
    with op.batch_alter_table("review_items") as review_items:
        review_items.drop_column("nearest_dataset_id")
        review_items.drop_column("nearest")
    without = _WITHOUT_GPUS[op.get_context().dialect.name]
    for column in ("params", "request"):
        of_trainings = "WHERE kind IN ('erm', 'mask', 'finetune', 'masktune', 'mitigate')"
        op.execute(f"UPDATE jobs SET {column} = {without.format(column)} {of_trainings}")  # noqa: S608  # nosec B608
