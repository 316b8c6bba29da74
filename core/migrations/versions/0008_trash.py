"""Artifacts to delete

Revision: 0008
"""

import sqlalchemy as sa
from alembic import op

from core.session import db_now

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trash",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("at", sa.Double(), server_default=db_now(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
