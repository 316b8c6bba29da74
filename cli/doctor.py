"""`masktune doctor`: what is wrong with this machine, before a job finds it out."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.output import REFUSED, USAGE, console, fail
from cli.starting import fault, telling

if TYPE_CHECKING:
    from core.settings import Settings

Level = Literal["ok", "warning", "wrong"]
GiB = 2**30

# What the torch of this installation sees. In a process of its own: it takes seconds to load, may break,
# and must not stay.
_TORCH = """
import json, torch, torchvision
cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "cards": cards,
                  "threads": torch.get_num_threads()}))
"""


@dataclass(frozen=True)
class Finding:
    """What one look found; `advice` is empty where all is well."""

    name: str
    level: Level
    detail: str
    advice: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Look at this machine with the settings that the service would have; exit code 1 if it cannot work."""
    from pydantic import ValidationError

    from core.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        fail(fault(error), USAGE)
    found = [finding for look in LOOKS for finding in look(settings)]
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        _show(found)
    if any(finding.level == "wrong" for finding in found):
        raise typer.Exit(REFUSED)


# --- the looks --------------------------------------------------------------------------------


def _python(settings: Settings) -> Iterator[Finding]:
    yield Finding("Python", "ok", f"{sys.version.split()[0]}, {os.cpu_count()} cores")


def look_at_torch(settings: Settings) -> Iterator[Finding]:
    """PyTorch itself, and whether it sees the card that the settings name."""
    try:
        command = [sys.executable, "-c", _TORCH]
        asked = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        yield Finding("PyTorch", "wrong", "does not load within two minutes", "see whether the disk is slow")
        return
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        yield Finding("PyTorch", "wrong", last, "install torch and torchvision again, of one release")
        return
    seen = json.loads(asked.stdout)
    yield Finding("PyTorch", "ok", f"{seen['torch']}, {seen['threads']} threads")
    yield _gpu(settings, seen["cards"], seen["cuda"])


def _gpu(settings: Settings, cards: list[str], cuda: str | None) -> Finding:
    number = settings.device.partition(":")[2]
    if cards and int(number or 0) < len(cards):
        return Finding("GPU", "ok", ", ".join(cards))
    if cards:
        seen = f"there is only {', '.join(cards)}, and MASKTUNE_DEVICE is {settings.device}"
        return Finding("GPU", "wrong", seen, "cards are counted from 0; or set it to auto")
    driver = shutil.which("nvidia-smi") is not None
    why = "this PyTorch is built without CUDA" if cuda is None else "PyTorch sees none"
    if settings.device.startswith("cuda"):
        return Finding("GPU", "wrong", f"{why}, and MASKTUNE_DEVICE is {settings.device}", "set it to auto")
    if driver:
        advice = "install PyTorch's CUDA wheels, or see whether the container was given the card"
        return Finding("GPU", "warning", f"there is an NVIDIA driver, but {why}", advice)
    return Finding("GPU", "ok", "none: jobs train on the processor")


def _shared_memory(settings: Settings) -> Iterator[Finding]:
    place = Path("/dev/shm")  # noqa: S108  # nosec B108  # the loaders' shared memory, no file of ours
    if not place.is_dir():
        return
    size = shutil.disk_usage(place).total
    if size < GiB:
        detail = f"{size / 2**20:.0f} MiB: the loaders of a training hand images over in it"
        yield Finding("shared memory", "warning", detail, "give the container more: shm_size: 2g")
    else:
        yield Finding("shared memory", "ok", f"{size / GiB:.1f} GiB")


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".doctor-{os.getpid()}"
        probe.write_bytes(b"masktune")
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        advice = "choose a folder that this user may write to: MASKTUNE_DATA_DIR"
        yield Finding("data folder", "wrong", f"{folder}: {error.strerror or error}", advice)
        return
    detail = f"{folder}, {free / GiB:.1f} GiB free"
    if free < 2 * GiB:
        advice = "make room: an upload, its packed copy and the checkpoints of a job lie here at a time"
        yield Finding("data folder", "wrong" if free < GiB // 4 else "warning", detail, advice)
    else:
        yield Finding("data folder", "ok", detail)


def _port(settings: Settings) -> Iterator[Finding]:
    name = f"port {settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        settings.check_exposure()
        with closing(socket.create_server((settings.host, settings.port), family=family)):
            yield Finding(name, "ok", f"free on {settings.host}")
    except ValueError as error:
        yield Finding(name, "wrong", str(error), "an open address needs a key")
    except OSError as error:
        advice = "the service may be running already; else choose another one: MASKTUNE_PORT"
        yield Finding(name, "warning", f"{settings.host}: {error.strerror or error}", advice)


def _database(settings: Settings) -> Iterator[Finding]:
    from core.session import Database

    def ping() -> None:
        with closing(Database(settings.database)) as database:
            database.ping()

    kind = "SQLite in the data folder" if not settings.database_url else settings.database.split(":")[0]
    advice = "see MASKTUNE_DATABASE_URL, and whether the server runs"
    yield _part("database", kind, ping, advice)


def _broker(settings: Settings) -> Iterator[Finding]:
    from core.queue import Doorbell

    def ping() -> None:
        with closing(Doorbell(settings.broker)) as doorbell:
            doorbell.ping()

    kind = "a folder in the data folder" if not settings.broker_url else settings.broker.split(":")[0]
    advice = "see MASKTUNE_BROKER_URL, and whether the server runs"
    yield _part("broker", kind, ping, advice)


def _storage(settings: Settings) -> Iterator[Finding]:
    from core.artifacts import Artifacts

    def check() -> None:
        Artifacts(settings.storage, cache=settings.scratch / "cache").check()

    kind = "the data folder" if not settings.storage_url else settings.storage
    advice = "see MASKTUNE_STORAGE_URL, and the credentials in the environment"
    yield _part("storage", kind, check, advice)


def _part(name: str, kind: str, check: Callable[[], None], advice: str) -> Finding:
    """Whether a part of the service answers."""
    said: list[str] = []
    with telling(said.append):
        check()
    return Finding(name, "wrong", f"{kind}: {said[0]}", advice) if said else Finding(name, "ok", kind)


PARTS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (_database, _broker, _storage)
"""What the parts of the service share."""

LOOKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _python,
    look_at_torch,
    _shared_memory,
    _disk,
    _port,
    *PARTS,
)


def _show(found: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    signs = {"ok": ("ok", "green"), "warning": ("look", "yellow"), "wrong": ("wrong", "bold red")}
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in found:
        told = Text(finding.detail)
        if finding.advice:
            told.append(f"\n→ {finding.advice}", "dim")
        table.add_row(Text(*signs[finding.level]), finding.name, told)
    console().print(table)
    bad = sum(finding.level == "wrong" for finding in found)
    if bad:
        console().print(f"\n{bad} of {len(found)} would keep the service from working.", style="bold red")
    else:
        console().print("\nThe service can work here: masktune serve")
