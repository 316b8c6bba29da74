"""Columns that version 0.1.0 wrote and that nothing reads any longer.

Revision: v0002
"""

from alembic import op

revision = "v0002"
down_revision = "v0001"


def upgrade() -> None:
    op.drop_index("review_items_nearest", "review_items")
    with op.batch_alter_table("review_items") as review_items:
        review_items.drop_column("nearest_dataset_id")
        review_items.drop_column("nearest")
