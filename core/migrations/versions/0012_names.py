"""Names, metadata and who created it: on data sets, jobs and models

The column `owner` of jobs stays, for the version before, which may go on beside this one.

Revision: 0012
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(JSONB(), "postgresql")
_JOBS = sa.table("jobs", sa.column("id"), sa.column("owner"), sa.column("created_by"))


def upgrade() -> None:
    for table in ("datasets", "jobs", "models"):
        op.add_column(table, sa.Column("metadata", _JSON, nullable=False, server_default=sa.text("'{}'")))
        op.add_column(table, sa.Column("created_by", sa.String(64)))
    for table in ("jobs", "models"):
        op.add_column(table, sa.Column("name", sa.String(100)))
    op.execute(sa.update(_JOBS).values(created_by=_JOBS.c.owner))
    for table in ("datasets", "models"):
        rows = sa.table(table, sa.column("job_id"), sa.column("created_by"))
        creator = sa.select(_JOBS.c.owner).where(_JOBS.c.id == rows.c.job_id)
        op.execute(sa.update(rows).values(created_by=creator.scalar_subquery()))
    op.drop_index("jobs_owner", "jobs")
    op.create_index("jobs_created_by", "jobs", ["created_by", "state"])


def downgrade() -> None:
    raise RuntimeError(
        "revision 0012 is not undone: the version before runs on it; or restore the backup made before it"
    )
