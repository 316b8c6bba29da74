"""Indexes for long lists of data sets and models

Revision: 0009
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("datasets_newest", "datasets", ["created_at", "id"])
    op.create_index("models_newest", "models", ["created_at", "id"])
