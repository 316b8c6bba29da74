"""Addresses as a client must ask for them: behind the prefix under which a proxy serves the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.errors import PROBLEM_BASE

Locate = Callable[[str], str]
"""Gives the address of one of our paths."""


def location(root_path: str, path: str) -> str:
    """The path behind that prefix, which has no slash at its end (`Settings`); empty where there is none."""
    return root_path + path


def located(problem: Mapping[str, Any], locate: Locate) -> dict[str, Any]:
    """A problem that was stored, whose `type` has no prefix: who stored it knows of no proxy."""
    kind = str(problem.get("type", ""))
    return {**problem, "type": locate(kind)} if kind.startswith(PROBLEM_BASE) else dict(problem)
