"""Jobs are not announced again: the index for it goes

The column `announced_at` stays, for the version before, which may go on beside this one.

Revision: 0010
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("jobs_untold", table_name="jobs")
