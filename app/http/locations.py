"""Addresses as a client must request them: with the prefix under which a proxy serves the API."""

from __future__ import annotations

from collections.abc import Callable

Locate = Callable[[str], str]
"""Maps one of our paths to its address."""


def location(root_path: str, path: str) -> str:
    """Prefix the path. `root_path` has no trailing slash (`Settings`); it is empty without a prefix."""
    return root_path + path
