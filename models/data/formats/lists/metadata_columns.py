"""Which further columns of a list say something of groups of images, and which only tell images apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from models.data.columns import as_numbers
from models.data.formats.lists.headings import METADATA, display_name

_MANY = 100
"""From so many different texts on, a column must repeat most of them to sort images."""
_FEW = 20
"""From so many rows on, it is no chance that all texts of a column differ or its numbers count the rows."""


def are_names(distinct: int, count: int) -> bool:
    """Whether a column with so many different texts in `count` rows tells images apart and sorts none."""
    return distinct > _MANY and 2 * distinct > count


def reason_to_leave_out(cells: Sequence[str], keep: str = "") -> str:
    """Why a column with these cells does not travel, "" for one that does; `keep` says how it would."""
    stated = [cell for cell in cells if cell]
    if not stated:
        return "is empty"
    distinct = set(stated)
    all_differ = len(stated) >= _FEW and len(distinct) == len(stated)
    if (numbers := as_numbers(stated)) is not None:
        ordered = sorted(number for number in numbers if number is not None)
        counts_rows = all_differ and all(later - number == 1 for number, later in pairwise(ordered))
        return f"counts the rows, so it sorts no images{keep}" if counts_rows else ""
    if all_differ:
        return f"has another text in each of {len(stated)} rows, so it sorts no images{keep}"
    if are_names(len(distinct), len(stated)):
        return f"has {len(distinct)} different texts in {len(stated)} rows, too many to sort images{keep}"
    return ""


def how_to_keep(name: str) -> str:
    """What the owner of a list does to keep the column `name`, after a reason to leave it out."""
    return f": rename it to {METADATA}{display_name(name)} to keep it"
