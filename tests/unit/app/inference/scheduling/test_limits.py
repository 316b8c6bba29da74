"""The bytes of images that requests hold at a time."""

from __future__ import annotations

import pytest

from app.inference.scheduling.limits import ImageMemory
from core.errors import Overloaded


def test_what_others_hold_is_not_there_until_they_give_it_back() -> None:
    memory = ImageMemory(100)
    with memory.share() as one, memory.share() as other:
        one(60)
        other(40)
        with pytest.raises(Overloaded) as refused:
            other(1)
        assert int(refused.value.headers["Retry-After"]) >= 1
        assert memory.held == 100
    assert memory.held == 0
    with memory.share() as next_one:
        next_one(100)
    assert memory.held == 0


def test_who_is_alone_gets_any_number() -> None:
    """An image may be larger than the setting: it would be refused for ever."""
    memory = ImageMemory(10)
    with memory.share() as one, memory.share() as other:
        one(6)
        one(60)
        with pytest.raises(Overloaded):
            other(1)


def test_what_fails_gives_it_back_as_well() -> None:
    memory = ImageMemory(10)

    def fail() -> None:
        with memory.share() as one:
            one(6)
            raise ValueError("no image")

    with pytest.raises(ValueError, match="no image"):
        fail()
    assert memory.held == 0
