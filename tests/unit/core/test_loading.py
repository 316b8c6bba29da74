"""Modules are loaded without the collector, which is as it was afterwards."""

from __future__ import annotations

import gc

import pytest

from core.loading import loading


def test_the_collector_is_off_inside_and_on_afterwards() -> None:
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_is_on_after_a_failed_import_too() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError("no such module")
    assert gc.isenabled()


def test_who_has_turned_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
