"""What is of use without torch loads none, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("models.selective", {"torch", "scipy"}),
        (
            "models.data.archives, models.data.formats, models.data.images.checks, models.data.store, "
            "models.data.importing.biased, models.data.importing.builtin, models.data.importing.datasets",
            {"torch"},
        ),
        ("models.defaults, models.backbones.errors", {"torch"}),
        (
            "models.shortcuts.masking_cost, models.shortcuts.properties, models.shortcuts.saliency_summary",
            {"torch", "sklearn"},
        ),
    ],
    ids=["policies", "data", "defaults", "shortcuts"],
)
def test_these_need_no_torch(modules: str, absent: set[str]) -> None:
    command = [sys.executable, "-c", f"import sys, {modules}; print(*{absent} & set(sys.modules))"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
