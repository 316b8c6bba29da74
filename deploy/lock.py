"""Writes `constraints.txt`, the versions that the image is built of:  python3.11 deploy/lock.py

Run it with the image's Python on Linux, with the CPU build of PyTorch in reach or not: what a version says
of its build (`+cpu`) is left out, so that one file serves the images with and without CUDA. pyproject.toml
keeps its ranges: whoever installs the package is not bound to these.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
OURS = {"masktune": HERE.parent / "packaging" / "masktune", "masktune-service": HERE.parent}
"""Distributions of this repository: installed by path, never by name from an index, and not locked."""
EXTRAS = "s3,otel"
"""Of the image: the Dockerfile names the same."""

HEADER = """\
# The versions that the image is built of. Made by deploy/lock.py; do not edit.
"""


def resolve() -> dict[str, str]:
    """Name → version of all that the project needs, as pip would install it into an empty environment."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--dry-run", "--ignore-installed", "--report", "-"]
    command += [str(OURS["masktune"]), f"{OURS['masktune-service']}[{EXTRAS}]"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = {one["metadata"]["name"].lower().replace("_", "-"): one["metadata"] for one in report["install"]}
    versions = {name: metadata["version"].partition("+")[0] for name, metadata in found.items()}
    return {name: version for name, version in versions.items() if name not in OURS}


def main() -> None:
    """Replace the file, once everything has been found."""
    lines = [f"{name}=={version}\n" for name, version in sorted(resolve().items())]
    (HERE / "constraints.txt").write_text(HEADER + "".join(lines))


if __name__ == "__main__":
    main()
