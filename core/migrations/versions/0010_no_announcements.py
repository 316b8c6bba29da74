"""Jobs are not announced again: the index for it goes

The column `announced_at` stays, for the version before, which may go on beside this one.

Revision: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

QUEUED = sa.text("state = 'queued'")


def upgrade() -> None:
    op.drop_index("jobs_untold", table_name="jobs")


def downgrade() -> None:
    op.create_index(
        "jobs_untold",
        "jobs",
        ["announced_at", "not_before", "created_at"],
        postgresql_where=QUEUED,
        sqlite_where=QUEUED,
    )
