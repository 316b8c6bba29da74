"""The figures of a small tree, and the limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.measure import LIMITS, Name, measure

SOURCE = '''"""A docstring
of two lines."""

found, n = 1, 2  # a comment


class Gaze:
    def look(self, value: int) -> None:
        """One line."""
        self.found_labels = "# no comment"
        _item = 1
'''


def test_a_small_tree(tmp_path: Path) -> None:
    (tmp_path / "app" / "jobs").mkdir(parents=True)
    (tmp_path / "app" / "jobs" / "a.py").write_text(SOURCE)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.py").write_text("found = 1\n")
    counted = measure(tmp_path)
    assert counted.statements == 7
    assert counted.documentation == 4
    unclear = [(name.place, name.text) for name in counted.names if name.is_unclear]
    assert unclear == [("app/jobs/a.py:7", "Gaze"), ("app/jobs/a.py:4", "found")]
    assert {name.text for name in counted.names if name.is_empty} == {"value", "_item"}
    assert set(counted.figures) == set(LIMITS)


@pytest.mark.parametrize(
    "text", ["found", "_found", "Said", "make_gaze", "KEPT", "GazeSection", "keep_house"]
)
def test_unclear_names(text: str) -> None:
    assert Name("a.py:1", text).is_unclear


@pytest.mark.parametrize("text", ["found_labels", "n_shown", "households", "gazetteer", "founder", "value"])
def test_clear_names(text: str) -> None:
    assert not Name("a.py:1", text).is_unclear


def test_a_limit_bounds_one_side() -> None:
    lines = LIMITS["lines of docstrings and comments"]
    assert (lines.allows(5_400), lines.allows(5_399)) == (True, False)
    empty = LIMITS["names result, value, data, item, obj"]
    assert (empty.allows(60), empty.allows(61)) == (True, False)
