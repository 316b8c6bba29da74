"""Presets: hyperparameters by name."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from masktune.contract.base import Shape


class Preset(Shape):
    """Hyperparameters by name: one for each experiment of the paper."""

    name: str
    title: str = ""
    description: str = ""
    data: str | None = Field(None, description="The data it is meant for: `builtin:NAME` or `format:NAME`.")
    params: dict[str, Any] = Field({}, description="Fields of a job; fields left out keep their defaults.")
    released: dict[str, Any] = Field(
        {}, description="Further fields that `as_released` sets: what the paper's code does on these data."
    )


class Presets(Shape):
    """All of them."""

    data: list[Preset]
