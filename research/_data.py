"""Data sets of others, which the experiments read where a flag says; none comes with the project."""

from __future__ import annotations

import argparse
from pathlib import Path


def require(parser: argparse.ArgumentParser, *paths: Path | None) -> None:
    """End the command as a usage error, with status 2, if a path that was given is not there."""
    for path in paths:
        if path is not None and not path.exists():
            parser.error(f"{path} is not there: research/README.md says what the file or folder is")
