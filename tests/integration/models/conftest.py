"""Fixtures shared with the unit tests of the models."""

from __future__ import annotations

from tests.unit.models.conftest import make_store

__all__ = ["make_store"]
