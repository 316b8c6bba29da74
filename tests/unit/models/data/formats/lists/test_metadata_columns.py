"""Which columns of a list say something of groups of images."""

from __future__ import annotations

import pytest

from models.data.formats.lists.headings import reason_to_leave_out


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["", ""], "is empty"),
        ([str(n) for n in range(5, 30)], "counts the rows"),
        ([f"scan {n}" for n in range(20)], "has another text in each of 20 rows"),
        ([f"scan {n}" for n in range(20)] + [""], "has another text in each of 20 rows"),
        ([f"note {n % 150}" for n in range(200)], "has 150 different texts in 200 rows"),
    ],
)
def test_a_column_that_sorts_no_images_is_left_out(cells: list[str], reason: str) -> None:
    assert reason_to_leave_out(cells).startswith(reason)


@pytest.mark.parametrize(
    "cells",
    [
        ["A", "B", ""],
        ["one"] * 50,
        [f"scan {n}" for n in range(19)],
        [str(n) for n in range(10)],
        [str(2 * n) for n in range(50)],
        [f"{n / 7}" for n in range(500)],
        [f"site {n % 100}" for n in range(150)],
        [f"site {n % 150}" for n in range(400)],
    ],
)
def test_any_other_column_travels(cells: list[str]) -> None:
    assert reason_to_leave_out(cells) == ""
