"""What is of use without torch loads none, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys


def test_the_policies_need_no_torch() -> None:
    code = "import sys, models.selective; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_import_of_data_needs_no_torch() -> None:
    names = "archives, formats, images.checks, importing.biased, importing.builtin, importing.datasets, store"
    modules = ", ".join(f"models.data.{name}" for name in names.split(", "))
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


def test_the_front_can_ask_without_torch() -> None:
    code = "import sys, models.defaults, models.backbones.errors; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_search_for_shortcuts_needs_no_torch() -> None:
    names = "properties, saliency_summary"
    modules = "models.shortcuts, models.shortcuts.masking_cost"
    script = f"import sys, {modules}; from models.shortcuts import {names}; " + (
        "sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
