"""Addresses as a client must request them: with the prefix under which a proxy serves the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.errors import PROBLEM_BASE

Locate = Callable[[str], str]
"""Maps one of our paths to its address."""


def location(root_path: str, path: str) -> str:
    """Prefix the path. `root_path` has no trailing slash (`Settings`); it is empty without a prefix."""
    return root_path + path


def located(problem: Mapping[str, Any], locate: Locate) -> dict[str, Any]:
    """Add the prefix to the `type` of a stored problem: the worker that stored it knows of no proxy."""
    kind = str(problem.get("type", ""))
    return {**problem, "type": locate(kind)} if kind.startswith(PROBLEM_BASE) else dict(problem)
