"""Shapes of the health checks."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

PartName = Literal["database", "broker", "storage", "forward_pass"]


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Part(BaseModel):
    """One part that the service needs."""

    name: PartName
    ok: bool
    detail: str = Field(description="`ok`, or what is wrong.")


class Ready(BaseModel):
    """Every part answers."""

    status: Literal["ready"] = "ready"
    parts: list[Part]
