"""The marker `trains`: a test in whose process an optimizer takes a step fails without it.

`make test-processors` runs these tests on each kind of processor and with other seeds, `--seed-offset`. One
that it did not know of would hold on the processor where it was written, and perhaps on no other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import Any

import pytest

from tests.support import seeds

SHARED = frozenset({"golden", "trained_once"})
"""Fixtures that whichever process comes first trains for the whole run. Most of their tests look at how a
service shows a job: those whose outcome is that of the training are marked by hand."""


def add_options(parser: pytest.Parser) -> None:
    parser.addoption("--seed-offset", type=int, default=0, help="shift the seeds of tests that train")


class TrainingMarker:
    """Counts the steps of optimizers: torch tells of those of the training loop and of a head's fit alike."""

    def __init__(self, config: pytest.Config) -> None:
        os.environ[seeds.VARIABLE] = str(config.getoption("seed_offset"))
        self.steps = 0
        self._is_told = False
        self._training_fixtures: set[int] = set()

    def _listen(self) -> None:
        """From when something else has imported torch: most unit tests do without."""
        if not self._is_told and "torch" in sys.modules:
            from torch.optim.optimizer import register_optimizer_step_pre_hook

            register_optimizer_step_pre_hook(self._count)
            self._is_told = True

    def _count(self, *_: Any) -> None:
        self.steps += 1

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """Remember which fixtures train: whichever of their tests comes first, each would if it ran alone."""
        self._listen()
        before = self.steps
        try:
            return (yield)
        finally:
            if fixturedef.argname in SHARED:
                self.steps = before
            elif self.steps > before:
                self._training_fixtures.add(id(fixturedef))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        self._listen()
        self.steps = 0
        yield
        self._check(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        yield
        self._check(item)

    def _check(self, item: pytest.Item) -> None:
        if (self.steps or self._has_training_fixture(item)) and item.get_closest_marker("trains") is None:
            pytest.fail("this test trains: mark it with pytest.mark.trains", pytrace=False)

    def _has_training_fixture(self, item: pytest.Item) -> bool:
        fixtures = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]  # pytest has no public name
        return any(id(each) in self._training_fixtures for of_name in fixtures.values() for each in of_name)
