"""Who did what: the audit log, the owners of keys, who moved an alias

Revision: 0013
"""

import sqlalchemy as sa
from alembic import op

from core.session import db_now

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
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
    op.add_column("keys", sa.Column("owner", sa.String(length=100), nullable=True))
    op.add_column("alias_moves", sa.Column("created_by", sa.String(length=64), nullable=True))


def downgrade() -> None:
    raise RuntimeError(
        "revision 0013 is not undone: the version before runs on it; or restore the backup made before it"
    )
