"""Which further columns of a list say something of groups of images, and which only tell images apart."""

from __future__ import annotations

from collections.abc import Sequence

from models.data.columns import as_numbers
from models.data.formats.headings import METADATA, display_name

_MANY = 100
"""From so many different texts on, a column must repeat most of them to sort images."""
_FEW = 20
"""Rows from which on it is no chance that all texts of a column differ, or that its numbers count the rows."""


def are_names(distinct: int, count: int) -> bool:
    """Whether a column with so many different texts in `count` rows tells images apart and sorts none."""
    return distinct > _MANY and 2 * distinct > count


def reason_to_leave_out(name: str, cells: Sequence[str]) -> str:
    """Why nobody needs the column `name` with these cells, and how to keep it; "" for one that travels."""
    stated = [cell for cell in cells if cell]
    if not stated:
        return "is empty"
    keep = f"rename it to {METADATA}{display_name(name)} to keep it"
    distinct = set(stated)
    all_differ = len(stated) >= _FEW and len(distinct) == len(stated)
    if (numbers := as_numbers(stated)) is not None:
        whole = sorted(number for number in numbers if number is not None)
        counts_rows = all_differ and all(later - number == 1 for number, later in zip(whole, whole[1:]))
        return f"counts the rows, so it sorts no images: {keep}" if counts_rows else ""
    if all_differ:
        return f"has another text in each of {len(stated)} rows, so it sorts no images: {keep}"
    if are_names(len(distinct), len(stated)):
        return f"has {len(distinct)} different texts in {len(stated)} rows, too many to sort images: {keep}"
    return ""
