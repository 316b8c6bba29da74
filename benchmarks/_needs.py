"""What a benchmark needs: without it, one sentence and exit code 2, before anything is measured."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from models.run import resolve_device

if TYPE_CHECKING:
    import torch

_GROUPS = {"litserve": "bench", "mapie": "test", "moto": "test", "playwright": "test", "s3fs": "test"}
"""The dependency group of each package that the service itself does not need."""


def refuse(reason: str) -> NoReturn:
    """End this process with 2: 1 is for a target that was missed."""
    print(f"NOT RUN: {reason}", file=sys.stderr)
    sys.exit(2)


def is_installed(package: str) -> bool:
    """If not, says on stderr how to install it."""
    if find_spec(package) is not None:
        return True
    print(f"{package} is not installed: pip install --group {_GROUPS[package]}", file=sys.stderr)
    return False


def need_packages(*names: str) -> None:
    for name in names:
        if not is_installed(name):
            refuse(f"this needs the package {name}")


def need_programs(*names: str, instead: str = "") -> None:
    """`instead`: what may be done without them."""
    if missing := [name for name in names if shutil.which(name) is None]:
        refuse(f"this needs {', '.join(missing)}{instead and f'; {instead}'}")


def need_path(path: Path | None, flag: str) -> None:
    """That the file or folder is there which this flag names, if it names one."""
    if path is not None and not path.exists():
        refuse(f"{flag} {path} is not there")


def need_checkout(path: Path | None, flag: str) -> None:
    """As `need_path`, of a checkout of this project."""
    if path is not None and not (path / "pyproject.toml").is_file():
        refuse(f"{flag} {path} is no checkout of masktune")


def need_server(url: str) -> None:
    """That a database server lets us in at this address."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(url)
        engine.connect().close()
        engine.dispose()
    except SQLAlchemyError as error:
        refuse(f"no database server with --server: {str(error).splitlines()[0]}")


def need_device(name: str, *, instead: str = "--device cpu needs none") -> torch.device:
    """The device of this name: auto, cpu, cuda or cuda:N."""
    import torch  # seconds, which simulations need not wait for

    device = resolve_device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        refuse(f"PyTorch sees no GPU here; {instead}")
    return device
