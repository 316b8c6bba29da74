"""What an import costs in memory, and builtin sources that are not there (torchvision is loaded)."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data.importing.builtin import BuiltinOptions, SourceError, make_builtin
from models.data.report import ProblemCode

IMPORT = """
import re, sys
from pathlib import Path
from models.data.importing.datasets import import_dataset

def peak() -> int:  # getrusage begins with that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10

before = peak()
report = import_dataset(Path(sys.argv[1]), Path(sys.argv[2]))
print(report.state, report.count, peak() - before)
"""


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    """Beside the files that are mapped, at most 100 MiB of 117, nothing is held of the images."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(600):
            noise[0, :3, 0] = number % 256, number // 256, 0
            buffer = BytesIO()
            Image.fromarray(noise).save(buffer, "BMP")
            archive.writestr(f"{'ab'[number % 2]}/{number}.bmp", buffer.getvalue())
    command = [sys.executable, "-c", IMPORT, str(tmp_path / "a.zip"), str(tmp_path / "ds")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    state, count, mebibytes = done.stdout.split()
    assert (state, count) == ("ready", "600")
    assert int(mebibytes) < 220


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_an_empty_folder_is_no_source(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="put torchvision's") as missing:
        make_builtin(name, BuiltinOptions(root=tmp_path))
    assert missing.value.problem.code is ProblemCode.SOURCE_UNAVAILABLE
    assert missing.value.problem.detail.endswith("or allow the download with the option download=true")
