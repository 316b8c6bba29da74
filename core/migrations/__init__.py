"""Alembic migrations of the tables; run by `core.schema.upgrade`."""
