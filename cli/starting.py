"""What comes before a part starts: its settings, its database, and the line that says why it cannot work."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

import typer

from cli.output import REFUSED, USAGE, fail

if TYPE_CHECKING:
    from core.settings import Settings


def read_settings(**given: Any) -> Settings:
    """The settings of the environment, and what the command line says instead; exit 2 if they cannot work."""
    from core.settings import Settings

    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
        settings.check_exposure()
    except ValueError as error:
        fail(fault(error), USAGE)
    return settings


def fault(error: ValueError) -> str:
    """Which setting cannot work, and why; no value, for it may be a secret."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    faults = [
        f"{'MASKTUNE_' + '_'.join(map(str, e['loc'])).upper() + ': ' if e['loc'] else ''}"
        f"{e['msg'].removeprefix('Value error, ')}"  # pydantic's words before ours
        for e in error.errors()
    ]
    return "; ".join(faults)


@contextmanager
def telling(tell: Callable[[str], object]) -> Iterator[None]:
    """Hand over the first line of whatever the block raises.

    Of any kind, for it speaks to drivers and file systems, and each of them has errors of its own.
    """
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:  # noqa: BLE001  # as it says above
        tell((str(error).strip().splitlines() or [type(error).__name__])[0])


def migrate(settings: Settings) -> None:
    """Bring the database up to date, or say why it cannot be used."""
    from sqlalchemy.exc import SQLAlchemyError

    from core import schema

    try:
        schema.upgrade(settings.database)
    except (SQLAlchemyError, OSError, ImportError, ValueError) as error:  # no such driver, no such port
        fail(f"the database cannot be used: {str(error).splitlines()[0]}", REFUSED)


@contextmanager
def refusing() -> Iterator[None]:
    """A server that cannot start ends with 1: uvicorn's own 3 says here that no service can be reached."""
    try:
        yield
    except SystemExit as ended:
        raise typer.Exit(REFUSED if ended.code else 0) from None


def check_parts(settings: Settings) -> None:
    """Exit code 1 where the database, the broker or the store of artifacts does not answer."""
    from cli.doctor import PARTS

    for look in PARTS:
        for found in look(settings):
            if found.level == "wrong":
                fail(f"a worker cannot work here: {found.name}: {found.detail}", REFUSED)


def look_for_card(settings: Settings) -> None:
    """Say it, some seconds from now, where MASKTUNE_DEVICE names a card that PyTorch does not see.

    The start does not wait: to ask PyTorch takes seconds.
    """
    if settings.device.startswith("cuda"):
        Thread(target=_tell_of_card, args=(settings,), name="card", daemon=True).start()


def _tell_of_card(settings: Settings) -> None:
    from cli.doctor import look_at_torch

    for found in look_at_torch(settings):
        if found.level == "wrong":
            print(f"masktune: {found.name}: {found.detail}: {found.advice}", file=sys.stderr, flush=True)


def exit_0_on_sigterm() -> None:
    """A clean end, also before and after the part that handles the signal itself."""

    def end(*_: object) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
