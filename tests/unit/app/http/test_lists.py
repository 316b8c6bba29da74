"""Cursors: what comes out is what went in, and nothing else comes in."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.http import lists
from core.errors import InvalidInput
from core.tables import KeyRow
from masktune.contract.ids import new_id


@given(at=st.floats(min_value=0, max_value=1e11, allow_nan=False))
@settings(max_examples=25, deadline=None)
def test_a_cursor_is_exact(at: float) -> None:
    last = new_id("job")
    assert lists.decode(lists.encode(at, last)) == (at, last)


def test_a_cursor_may_end_at_the_name_of_a_network() -> None:
    assert lists.decode(lists.encode(2.0, "timm/resnet18")) == (2.0, "timm/resnet18")


@given(number=st.integers(min_value=0, max_value=2**63 - 1))
@settings(max_examples=25, deadline=None)
def test_a_numbered_cursor_is_exact(number: int) -> None:
    assert lists.decode_number(lists.encode_number(number)) == number


@given(text=st.text(max_size=60))
@settings(max_examples=80, deadline=None)
def test_any_text_is_a_cursor_or_invalid_input(text: str) -> None:
    for decode in (lists.decode, lists.decode_number):
        with suppress(InvalidInput):
            decode(text)


@pytest.mark.parametrize(
    "inside",
    ["[]", '[1, "x"]', "[NaN]", '[Infinity, "job_1"]', '[1.5, "x; DROP"]', "[true]", "[-1]", "{}", "1"],
)
def test_forged_cursors_are_refused(inside: str) -> None:
    cursor = base64.urlsafe_b64encode(inside.encode()).decode().rstrip("=")
    with pytest.raises(InvalidInput):
        lists.decode(cursor)
    with pytest.raises(InvalidInput):
        lists.decode_number(cursor)


@given(
    times=st.lists(st.integers(min_value=0, max_value=5), max_size=30),
    limit=st.integers(min_value=1, max_value=7),
)
@settings(max_examples=25, deadline=None)
def test_pages_hold_every_row_once_in_order(times: list[int], limit: int) -> None:
    """Also where many rows were made at the same moment."""
    rows = sorted(
        (KeyRow(id=f"r{i:03}", created_at=float(t)) for i, t in enumerate(times)),
        key=lambda r: (-r.created_at, r.id),
    )
    rows.sort(key=lambda r: (r.created_at, r.id), reverse=True)
    seen: list[KeyRow] = []
    before: tuple[float, str] | None = None
    while True:
        rest = [r for r in rows if before is None or (r.created_at, r.id) < before]
        page = lists.page(rest[: limit + 1], limit, lambda row: row)
        seen += page.data
        if page.next_cursor is None:
            break
        before = lists.decode(page.next_cursor)
    assert seen == rows
