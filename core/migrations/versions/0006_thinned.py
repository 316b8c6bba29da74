"""When the events of a job were thinned

Revision: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

WHOLE = sa.text("ended_at IS NOT NULL AND thinned_at IS NULL")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("thinned_at", sa.Double(), nullable=True))
    op.create_index("jobs_whole", "jobs", ["ended_at"], postgresql_where=WHOLE, sqlite_where=WHOLE)
