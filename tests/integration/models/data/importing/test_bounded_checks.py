"""No image ends the process that imports it, nor keeps it for ever."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from models.data.images.checks import CheckedImage
from models.data.importing.bounded_checks import check_in_order
from models.data.importing.builtin import BuiltinData
from models.data.importing.sources import ArraySource
from models.data.report import FileCode, Rejection
from models.runtime.bounded import ProcessBudget
from tests.support.misbehaviour import crash, hang, swell

BUDGET = ProcessBudget(cpu_seconds=1, memory=256 << 20)
TASKS = [range(first, first + 5) for first in range(0, 40, 5)]


class OneBadImage(ArraySource):
    """Forty images, of which one is checked by `decode`."""

    def __init__(self, decode: Callable[[], object], bad: int = 1) -> None:
        images = np.zeros((40, 8, 8, 3), np.uint8)
        labels = np.arange(40) % 2
        super().__init__("forty", BuiltinData(images, labels, ("even", "odd")))
        self._decode, self._bad = decode, bad

    def check(self, index: int) -> CheckedImage:
        if index == self._bad:
            self._decode()
        return super().check(index)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("decode", "bad", "words"),
    [
        (hang, 0, "more than 1 s"),
        (swell, 20, "more memory"),
        (crash, 20, "crashes the decoder"),
        (crash, 39, "crashes the decoder"),
    ],
)
def test_an_image_that_hangs_swells_or_crashes_is_rejected_and_no_other(
    decode: Callable[[], object], bad: int, words: str
) -> None:
    source = OneBadImage(decode, bad)
    checked = list(chain.from_iterable(check_in_order(source, TASKS, 2, BUDGET)))
    assert len(checked) == 40
    (rejection,) = (each for each in checked if isinstance(each, Rejection))
    assert checked.index(rejection) == bad
    assert rejection.path == source.manifest.entries[bad].path
    assert (rejection.code, words in rejection.detail) == (FileCode.UNDECODABLE, True), rejection


def test_an_error_of_the_disk_ends_the_import_and_rejects_nothing() -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        list(check_in_order(OneBadImage(fail), TASKS, 2, BUDGET))


def test_who_stops_waits_for_no_image_that_was_not_begun(tmp_path: Path) -> None:
    class Counted(OneBadImage):
        def check(self, index: int) -> CheckedImage:
            (tmp_path / str(index)).touch()
            return super().check(index)

    outcomes = check_in_order(Counted(int), TASKS, 1, BUDGET)
    next(outcomes)
    del outcomes
    assert len(list(tmp_path.iterdir())) < 40
