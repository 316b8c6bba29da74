"""Virtual environments of their own, for tests of what an installation has in it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    @property
    def site_packages(self) -> Path:
        (path,) = self.folder.glob("lib/python3*/site-packages")
        return path

    def install(self, *arguments: str | Path) -> None:
        pip = [sys.executable, "-m", "pip", "--python", str(self.folder / "bin/python"), "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", "install", *arguments], check=True)

    def run(
        self, program: str, *arguments: str, cwd: Path, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its programs with these variables and no others."""
        command = [str(self.folder / "bin" / program), *arguments]
        return subprocess.run(command, cwd=cwd, env=settings, capture_output=True, text=True, check=False)


def new_environment(folder: Path) -> Environment:
    """Make an environment without any package."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return Environment(folder)
