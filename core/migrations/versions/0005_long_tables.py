"""Indexes for long queues and long histories

Revision: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

QUEUED = sa.text("state = 'queued'")


def upgrade() -> None:
    op.create_index(
        "jobs_next",
        "jobs",
        [sa.text("priority DESC"), "created_at", "id"],
        postgresql_where=QUEUED,
        sqlite_where=QUEUED,
    )
    op.create_index(
        "jobs_untold",
        "jobs",
        ["announced_at", "not_before", "created_at"],
        postgresql_where=QUEUED,
        sqlite_where=QUEUED,
    )
    op.create_index("jobs_newest", "jobs", ["created_at", "id"])
    op.drop_index("jobs_queue", table_name="jobs")
