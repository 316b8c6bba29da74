"""What the service adds to the command `masktune`: its entry point in the group `masktune.commands`."""

from __future__ import annotations

from collections.abc import Callable

import typer

from launcher.backup import backup, restore
from launcher.demo.command import demo
from launcher.doctor import doctor
from launcher.serve import api, migrate, serve, worker
from launcher.web import web
from launcher.weights import app as weights

COMMANDS: tuple[Callable[..., None] | typer.Typer, ...] = (
    serve,
    api,
    worker,
    migrate,
    backup,
    restore,
    web,
    demo,
    doctor,
    weights,
)
