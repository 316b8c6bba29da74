"""What a run of tests makes once, for all of its processes: the first that asks makes it, the others wait."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Any:
    """What `make` returned for an empty folder, as JSON keeps it. The folder stays as `make` left it."""
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    answer = root / f"{name}.json"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer.exists():
            folder = root / name
            folder.mkdir()
            answer.write_text(json.dumps(make(folder)))
    return json.loads(answer.read_text())
