"""Drift that was found, until it is acknowledged, and the windows of inputs that it is judged by

Revision: 0014
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "drift",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("calibration_id", sa.String(length=40), nullable=False),
        sa.Column("windows", Json, nullable=False),
        sa.Column("look", Json, nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("model_id"),
    )
    op.add_column("models", sa.Column("drift", Json, nullable=True))


def downgrade() -> None:
    raise RuntimeError(
        "revision 0014 is not undone: the version before runs on it; or restore the backup made before it"
    )
