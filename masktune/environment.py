"""What the environment says about the service, for a client that was told nothing else."""

from __future__ import annotations

import os

DEFAULT_URL = "http://127.0.0.1:8000"
URL, KEY, CA_FILE = "MASKTUNE_URL", "MASKTUNE_KEY", "MASKTUNE_CA_FILE"


def setting(explicit: str | None, variable: str, default: str = "") -> str:
    """What the caller says; if that is None, what the variable does, or else the default."""
    return os.environ.get(variable) or default if explicit is None else explicit
