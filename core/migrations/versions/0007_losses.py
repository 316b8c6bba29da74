"""How many workers a job has lost since its last progress

Revision: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A server default, because replicas of the previous version still insert jobs during the update.
    op.add_column("jobs", sa.Column("losses", sa.Integer(), nullable=False, server_default="0"))
