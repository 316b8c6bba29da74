"""Options of an upload."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from masktune.contract.datasets import FormatOptions


def test_a_window_of_grey_levels_is_read_from_json() -> None:
    options = FormatOptions.model_validate({"grey_window": [0, 4095]})
    assert options.model_dump(mode="json")["grey_window"] == [0, 4095]


@pytest.mark.parametrize(
    "window", [[5, 5], [9, 2], [-1, 4], [0, 65_536], [1], [1, 2, 3], ["0", 4], [0.5, 4], 7, "0-4095"]
)
def test_what_is_no_window_is_refused(window: object) -> None:
    with pytest.raises(ValidationError, match="grey_window"):
        FormatOptions.model_validate({"grey_window": window})
