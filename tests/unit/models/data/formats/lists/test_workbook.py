"""A workbook is read as openpyxl reads it, and costs what is there rather than what it numbers."""

from __future__ import annotations

import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from models.data.formats.lists import workbook
from models.data.formats.lists.rows import cell_text
from models.data.formats.lists.workbook_parts import Workbook
from models.data.formats.manifest import FormatError
from tests.support.workbooks import inline, row, shared
from tests.support.workbooks import workbook as made

LAST_ROW = 1 << 20
HEADER = row(1, inline("A1", "path"), inline("B1", "label"))


def saved(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "labels.xlsx"
    path.write_bytes(content)
    return path


def values(path: Path) -> list[list[Any]]:
    """The cells of the first sheet as openpyxl has them, without what is behind the last of a row."""
    sheet = openpyxl.load_workbook(path, data_only=True).worksheets[0]
    rows = [[cell_text(cell) or "" for cell in cells] for cells in sheet.iter_rows(values_only=True)]
    return [cells for cells in rows if any(cells)]


def lines(path: Path) -> list[list[str]]:
    """The cells of the first sheet, its header included."""
    (table,) = workbook.sheets(path)
    return [list(table.header), *([cell or "" for cell in line.cells] for line in table.lines())]


def test_values_of_all_kinds_are_those_of_openpyxl(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for cells in (
        ["path", "label", "c", "d", "e", "f"],
        ["a.png", 1, 2.5, True, datetime.date(2025, 11, 3), datetime.time(9, 30)],
        ["b.png", -7, 1e300, False, datetime.datetime(2025, 11, 3, 9, 30, 15), "ünï"],
        ["c.png", 0, 1e-9, None, datetime.datetime(1900, 1, 15), " x "],
        ["d.png", datetime.timedelta(hours=30), 3, "#", "=1+1", "x"],
    ):
        book.active.append(cells)
    del book.active["E5"]
    buffer = BytesIO()
    book.save(buffer)
    path = saved(tmp_path, buffer.getvalue())
    assert [cells[:6] for cells in lines(path)] == values(path)


@pytest.mark.parametrize("epoch", ["", '<workbookPr date1904="1"/>'])
def test_dates_count_from_the_year_that_the_workbook_says(tmp_path: Path, epoch: str) -> None:
    styles = '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="165"/></cellXfs>'
    styles = f'<numFmts><numFmt numFmtId="165" formatCode="dd/mm hh:mm"/></numFmts>{styles}'
    cells = (inline("A2", "a.png"), '<c r="B2" s="1"><v>45964</v></c>', '<c r="C2" s="2"><v>45964.5</v></c>')
    header = row(1, *(inline(f"{letter}1", letter) for letter in "ABC"))
    content = made(header + row(2, *cells), styles=styles, properties=epoch)
    path = saved(tmp_path, content)
    day = "2029-11-04" if epoch else "2025-11-03"
    assert lines(path)[1] == ["a.png", f"{day}T00:00:00", f"{day}T12:00:00"]


def test_shared_texts_have_parts_and_no_reading_aids(tmp_path: Path) -> None:
    texts = [
        "<si><t>path</t></si>",
        "<si><t>label</t></si>",
        "<si><r><t>a</t></r><r><rPr><b/></rPr><t>.png</t></r></si>",
        "<si><t>猫</t><rPh sb='0' eb='1'><t>ねこ</t></rPh></si>",
        "<si><t xml:space='preserve'> &lt;b&gt; </t></si>",
    ]
    rows = row(1, shared("A1", 0), shared("B1", 1)) + row(2, shared("A2", 2), shared("B2", 3))
    path = saved(tmp_path, made(rows + row(3, shared("A3", 4), shared("B3", 4)), texts="".join(texts)))
    assert lines(path) == [["path", "label"], ["a.png", "猫"], ["<b>", "<b>"]]


def test_cells_and_rows_without_a_place_follow_the_one_before(tmp_path: Path) -> None:
    cell = '<c t="inlineStr"><is><t>{}</t></is></c>'
    rows = "".join(
        f"<row>{''.join(map(cell.format, cells))}</row>" for cells in (["path", "label"], ["a.png", "cat"])
    )
    assert lines(saved(tmp_path, made(rows))) == [["path", "label"], ["a.png", "cat"]]


def test_rows_that_are_absent_cost_nothing(tmp_path: Path) -> None:
    """Openpyxl makes them up: 25 kB of a thousand columns, whose last row is Excel's last, took 595 s."""
    rows = HEADER + row(2, inline("A2", "a.png"), inline("B2", "cat")) + row(LAST_ROW, inline("A9", "b.png"))
    path = saved(tmp_path, made(rows))
    book = Workbook(path)
    ((_, part),) = book.sheets
    assert [each.number for each in book.rows(part, LAST_ROW)] == [1, 2, LAST_ROW]
    (table,) = workbook.sheets(path)
    assert [line.number for line in table.lines()] == [2, LAST_ROW]


def test_rows_behind_the_last_one_and_before_the_one_before_are_left_out(tmp_path: Path) -> None:
    rows = HEADER + "".join(row(number, inline("A1", f"{number}.png")) for number in (4, 3, 5, LAST_ROW + 1))
    (table,) = workbook.sheets(saved(tmp_path, made(rows)))
    assert [line.cells[0] for line in table.lines()] == ["4.png", "5.png"]


@pytest.mark.parametrize(
    "cell", ['<c r="1"/>', '<c r="AAAA1"/>', '<c r="A2" t="s"><v>7</v></c>', '<c r="A2"><v>x</v></c>', "<c>"]
)
def test_a_damaged_cell_is_told(tmp_path: Path, cell: str) -> None:
    path = saved(tmp_path, made(HEADER + row(2, cell)))
    with pytest.raises(FormatError, match=r"labels\.xlsx is not a workbook"):
        lines(path)
