"""Checks before a part starts: its settings, its database, and a one-line error if it cannot run."""

from __future__ import annotations

import os
import platform
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from masktune.cli.output import REFUSED, USAGE, fail

if TYPE_CHECKING:
    from core.settings import Settings

_GRACE = 15.0
"""Seconds for a graceful shutdown once the parent is gone."""


def read_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment, replaced by `overrides`. Exits with 2 if they are invalid.

    From now on the process makes files that no other user of the host can read: images, keys, backups. A data
    folder that is there already is closed to them.
    """
    from core.settings import Settings

    os.umask(0o077)
    try:
        settings = Settings(**{name: setting for name, setting in overrides.items() if setting is not None})
        settings.check_exposure()
    except ValueError as error:
        fail(fault(error), USAGE)
    _close_to_others(settings.data_dir)
    return settings


def _close_to_others(folder: Path) -> None:
    """Take the folder's permissions from all users but its own and its group, and so what is below from their
    reach. One with the sticky bit, such as /tmp, is meant to be shared."""
    with suppress(OSError):  # there is none yet, or it is another user's
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & stat.S_IRWXO and not mode & stat.S_ISVTX:
            folder.chmod(mode & ~stat.S_IRWXO)
            print(f"every user of this host could read {folder}: it is closed to them now", flush=True)


def fault(error: ValueError) -> str:
    """Say which setting is invalid and why, without its value, which may be a secret."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    faults = [
        f"{'MASKTUNE_' + '_'.join(map(str, e['loc'])).upper() + ': ' if e['loc'] else ''}"
        f"{e['msg'].removeprefix('Value error, ')}"  # the prefix that pydantic adds
        for e in error.errors()
    ]
    return "; ".join(faults)


@contextmanager
def report_failure(report: Callable[[str], object]) -> Iterator[None]:
    """Pass the first line of any exception that the block raises to `report`.

    Any type is caught, because the block calls drivers and file systems that each raise their own.
    """
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:  # noqa: BLE001  # see the docstring
        report((str(error).strip().splitlines() or [type(error).__name__])[0])


def migrate(settings: Settings) -> None:
    """`upgrade`, and make the first key, or exit with the reason why that cannot be."""
    upgrade(settings)
    if settings.first_key_file is not None and not settings.keys:
        _make_first_key(settings.database, settings.first_key_file)


def upgrade(settings: Settings) -> None:
    """Bring the database up to date, or exit with the reason why that cannot be."""
    from sqlalchemy.exc import SQLAlchemyError

    from core import schema

    try:
        schema.upgrade(settings.database)
    except schema.EarlierCheckout as error:
        fail(str(error), REFUSED)
    except (SQLAlchemyError, OSError, ImportError, ValueError) as error:  # e.g. an unknown driver or port
        reason = str(error).splitlines()[0]
        if "password authentication failed" in reason:
            reason += (
                "; it was made with another password than the service has now (if that was lost with its "
                'volume: docs/how-to/server.md, "A lost volume")'
            )
        fail(f"the database cannot be used: {reason}", REFUSED)


def _make_first_key(url: str, file: Path) -> None:
    from app.auth.first_key import DatabaseLost, ensure_first_key
    from core.session import Database

    try:
        with closing(Database(url)) as database:
            is_new = ensure_first_key(database, file)
    except DatabaseLost as lost:
        fail(str(lost), REFUSED)
    except OSError as error:
        fail(f"the first key cannot be kept: {error}", REFUSED)
    if is_new:
        print("made the first admin key; `masktune keys first` shows it", flush=True)


@contextmanager
def exit_1_on_failure() -> Iterator[None]:
    """Exit with 1 if the server cannot start: here, uvicorn's own 3 means that the service is unreachable."""
    try:
        yield
    except SystemExit as ended:
        raise typer.Exit(REFUSED if ended.code else 0) from None


def end_with_parent() -> None:
    """Once the parent is gone, end this process gracefully by SIGTERM, and in any case after `_GRACE`."""
    from core.process import exit_after, on_parent_exit

    def end() -> None:
        exit_after(_GRACE, "the process that started this one is gone, and this one did not end in time")
        os.kill(os.getpid(), signal.SIGTERM)

    on_parent_exit(end)


def check_parts(settings: Settings) -> None:
    """Exit with 1 if the database, the broker or the artifact store does not answer. Makes nothing."""
    store = f"storage: {settings.storage_url or 'the data folder'}"
    scheme = settings.database.split(":")[0]
    for part, check in (
        (f"database: {scheme if settings.database_url else 'SQLite in the data folder'}", _ping_database),
        (f"broker: {settings.broker_url.split(':')[0]}", _ping_broker),
        (store, _check_store),
    ):
        with report_failure(partial(_refuse, part)):
            check(settings)
    if settings.broker_url and settings.storage.startswith("file:"):
        print(
            f"{store}: workers on other hosts must see this folder: mount the same folder on every host of a "
            "worker, or set MASKTUNE_STORAGE_URL to an object store"
        )


def _refuse(part: str, why: str) -> None:
    fail(f"a worker cannot run here: {part}: {why}", REFUSED)


def _ping_database(settings: Settings) -> None:
    from sqlalchemy import make_url

    from core.session import Database

    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        writable(Path(url.database).parent)
        return
    with closing(Database(settings.database)) as database:
        database.ping()


def _ping_broker(settings: Settings) -> None:
    from core.notifications import JobNotifier

    with closing(JobNotifier(settings.broker_url)) as notifier:
        notifier.ping()


def _check_store(settings: Settings) -> None:
    from core.storage.artifacts import Artifacts

    artifacts = Artifacts(settings.storage, cache=settings.scratch / "cache")
    if artifacts.local and not artifacts.fs.exists(artifacts.root):
        writable(Path(artifacts.root))
    else:
        artifacts.check()


def writable(folder: Path) -> Path:
    """The folder, or the one above it in which it can be made. Makes nothing. Raises OSError."""
    place = next(place for place in (folder, *folder.parents) if place.exists())
    with tempfile.TemporaryFile(dir=place):  # it has no name
        return place


def require_linux() -> None:
    """Exit with 1 where no job could run: a job's process is watched and ended by means of Linux."""
    if platform.system() != "Linux":
        fail(f"the service needs Linux; on {platform.system()}, use Docker: docker compose up", REFUSED)


def exit_0_on_sigterm() -> None:
    """Exit with 0 on SIGTERM and SIGHUP, also before and after the server's own signal handling is active."""

    def end(*_: object) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
