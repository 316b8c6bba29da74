"""The statements of a migration, on each kind of database."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from core import migrations

FOLDER = Path(__file__).parent
FIRST = "v0001"
DIALECTS = ("sqlite", "postgresql")


def statements(revision: str, dialect: str) -> str:
    """The statements as they are sent to such a database, one or more lines each."""
    output = StringIO()
    context = MigrationContext.configure(dialect_name=dialect, opts={"as_sql": True, "output_buffer": output})
    with Operations.context(context):
        ScriptDirectory(migrations.__path__[0]).get_revision(revision).module.upgrade()
    return "".join(f"{line.rstrip()}\n" for line in output.getvalue().splitlines())
