"""An index for the slots that look for imports alone, among as many queued jobs of other kinds

Revision: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

QUEUED_IMPORT = sa.text("state = 'queued' AND kind = 'import'")


def upgrade() -> None:
    op.create_index(
        "jobs_next_import",
        "jobs",
        [sa.text("priority DESC"), "created_at", "id"],
        postgresql_where=QUEUED_IMPORT,
        sqlite_where=QUEUED_IMPORT,
    )


def downgrade() -> None:
    raise RuntimeError(
        "revision 0016 is not undone: the version before runs on it; or restore the backup made before it"
    )
