"""The page of a sample: the samples beside it."""

from __future__ import annotations

import pytest

from web.pages.sample import neighbours


@pytest.mark.parametrize(
    ("number", "beside"),
    [("7", (None, "3")), ("3", ("7", "12")), ("12", ("3", None)), ("4", (None, None))],
)
def test_the_samples_beside_one_are_those_of_its_list(
    number: str, beside: tuple[str | None, str | None]
) -> None:
    assert neighbours(number, ["7", "3", "12"]) == beside
