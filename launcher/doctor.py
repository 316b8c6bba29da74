"""`masktune doctor`: finds problems with this machine before a job runs into them."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from launcher.startup import fault, writable
from masktune.cli.output import REFUSED, USAGE, console, fail

if TYPE_CHECKING:
    from core.settings import Settings

Level = Literal["ok", "warning", "wrong"]
GiB = 2**30

# Reports what the installed torch sees. It runs in a separate process because torch takes seconds to load,
# may crash, and must not stay in memory.
_TORCH = """
import json, torch, torchvision
cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "cards": cards,
                  "threads": torch.get_num_threads()}))
"""

# Lists the networks whose published weights are on this host. timm also takes seconds to load.
_WEIGHTS = """
import json
from models.backbones.build import list_backbones
networks = list_backbones()
print(json.dumps({place: [network.name for network in networks if network.weights == place]
                  for place in ("packaged", "cached")}))
"""


@dataclass(frozen=True)
class Finding:
    """The result of one check; `advice` is empty if there is no problem."""

    name: str
    level: Level
    detail: str
    advice: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check this machine with the service's settings; exit code 1 if the service cannot run here."""
    from pydantic import ValidationError

    from core.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        fail(fault(error), USAGE)
    findings = [finding for check in CHECKS for finding in check(settings)]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings)
    if any(finding.level == "wrong" for finding in findings):
        raise typer.Exit(REFUSED)


# --- the checks -------------------------------------------------------------------------------


def _system(settings: Settings) -> Iterator[Finding]:
    if platform.system() == "Linux":
        yield Finding("system", "ok", f"Linux {platform.release()}")
    else:
        advice = "use Docker: docker compose up"
        yield Finding("system", "wrong", f"{platform.system()}: the service runs jobs on Linux only", advice)
    yield Finding("Python", "ok", f"{sys.version.split()[0]}, {os.cpu_count()} cores")


def check_torch(settings: Settings) -> Iterator[Finding]:
    """Check that PyTorch loads, and that it sees the GPU that the settings name."""
    try:
        versions = _run(_TORCH)
    except subprocess.TimeoutExpired:
        yield Finding("PyTorch", "wrong", "does not load within two minutes", "check if the disk is slow")
        return
    except subprocess.CalledProcessError as error:
        advice = "reinstall torch and torchvision from the same release"
        yield Finding("PyTorch", "wrong", _last_line(error), advice)
        return
    yield Finding("PyTorch", "ok", f"{versions['torch']}, {versions['threads']} threads")
    yield _gpu(settings, versions["cards"], versions["cuda"])


def _weights(settings: Settings) -> Iterator[Finding]:
    try:
        names = _run(_WEIGHTS)
    except subprocess.TimeoutExpired:
        advice = "check if the disk is slow"
        yield Finding("weights", "warning", "the networks are not listed within two minutes", advice)
        return
    except subprocess.CalledProcessError as error:
        yield Finding("weights", "warning", _last_line(error), "reinstall timm and torchvision")
        return
    places = "; ".join(f"{place}: {', '.join(listed) or 'none'}" for place, listed in names.items())
    others = "all others need the internet, or `masktune weights add`"
    yield Finding("weights", "ok", f"{places}; {others}")


def _run(program: str) -> Any:
    """What a Python program prints, parsed as JSON. Raises `TimeoutExpired`, `CalledProcessError`."""
    command = [sys.executable, "-c", program]
    process = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return json.loads(process.stdout)


def _last_line(error: subprocess.CalledProcessError) -> str:
    return (str(error.stderr).strip().splitlines() or ["it ended without an error message"])[-1]


def _gpu(settings: Settings, cards: list[str], cuda: str | None) -> Finding:
    number = settings.device.partition(":")[2]
    if cards and int(number or 0) < len(cards):
        return Finding("GPU", "ok", ", ".join(cards))
    if cards:
        detail = f"there is only {', '.join(cards)}, but MASKTUNE_DEVICE is {settings.device}"
        return Finding("GPU", "wrong", detail, "number the cards from 0, or set MASKTUNE_DEVICE=auto")
    driver = shutil.which("nvidia-smi") is not None
    why = "this PyTorch is built without CUDA" if cuda is None else "PyTorch sees no card"
    if settings.device.startswith("cuda"):
        detail = f"{why}, but MASKTUNE_DEVICE is {settings.device}"
        return Finding("GPU", "wrong", detail, "set MASKTUNE_DEVICE=auto")
    if driver:
        advice = "install PyTorch's CUDA wheels, or check that the container has access to the card"
        return Finding("GPU", "warning", f"there is an NVIDIA driver, but {why}", advice)
    return Finding("GPU", "ok", "none: jobs train on the CPU")


def _shared_memory(settings: Settings) -> Iterator[Finding]:
    place = Path("/dev/shm")  # noqa: S108  # nosec B108  # the data loaders' shared memory; no file is created
    if not place.is_dir():
        return
    size = shutil.disk_usage(place).total
    if size < GiB:
        detail = f"{size / 2**20:.0f} MiB: the data loaders of a training pass images through it"
        yield Finding("shared memory", "warning", detail, "give the container more: shm_size: 2g")
    else:
        yield Finding("shared memory", "ok", f"{size / GiB:.1f} GiB")


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir.absolute()
    try:
        free = shutil.disk_usage(writable(folder)).free
    except OSError as error:
        advice = "set MASKTUNE_DATA_DIR to a folder that this user may write to"
        yield Finding("data folder", "wrong", f"{folder}: {error.strerror or error}", advice)
        return
    detail = f"{folder}, {free / GiB:.1f} GiB free"
    if free < 2 * GiB:
        advice = "free some space for an upload, its packed copy and a job's checkpoints at the same time"
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
        yield Finding(name, "wrong", str(error), "an address other than loopback needs a key")
    except OSError as error:
        advice = "the service may be running already; otherwise choose another port with MASKTUNE_PORT"
        yield Finding(name, "warning", f"{settings.host}: {error.strerror or error}", advice)


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _system,
    check_torch,
    _weights,
    _shared_memory,
    _disk,
    _port,
)


def warn_without_card(settings: Settings) -> None:
    """Warn if MASKTUNE_DEVICE names a GPU that PyTorch does not see.

    Runs on a thread, so that the start does not wait for PyTorch to load, which takes seconds.
    """
    if settings.device.startswith("cuda"):
        Thread(target=_warn_without_card, args=(settings,), name="card", daemon=True).start()


def _warn_without_card(settings: Settings) -> None:
    for finding in check_torch(settings):
        if finding.level == "wrong":
            print(
                f"masktune: {finding.name}: {finding.detail}: {finding.advice}", file=sys.stderr, flush=True
            )


def _show(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    signs = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "wrong": ("wrong", "bold red")}
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        text = Text(finding.detail)
        if finding.advice:
            text.append(f"\n→ {finding.advice}", "dim")
        table.add_row(Text(*signs[finding.level]), finding.name, text)
    console().print(table)
    bad = sum(finding.level == "wrong" for finding in findings)
    if bad:
        verdict = f"\n{bad} of {len(findings)} checks failed: the service cannot run here."
        console().print(verdict, style="bold red")
    else:
        console().print("\nThe service can run here; start it with: masktune serve")
