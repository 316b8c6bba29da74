"""Fixtures shared with the unit tests of the models."""

from __future__ import annotations

from tests.unit.models.conftest import make_store
from tests.unit.models.data.conftest import make_image, make_tree

__all__ = ["make_image", "make_store", "make_tree"]
