"""What the cells of a workbook mean, and what is said of those that mean nothing."""

from __future__ import annotations

import datetime
from io import BytesIO
from pathlib import Path

import openpyxl
import pytest

from models.data.formats.lists import workbook
from models.data.formats.manifest import FormatError
from tests.support.workbooks import inline, row, shared
from tests.support.workbooks import workbook as made

HEADER = row(1, inline("A1", "path"), inline("B1", "label"))


def saved(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "labels.xlsx"
    path.write_bytes(content)
    return path


def lines(path: Path) -> list[list[str]]:
    """The cells of the first sheet, its header included."""
    table = workbook.sheets(path)[0]
    return [list(table.header), *([cell or "" for cell in line.cells] for line in table.lines())]


def test_cells_of_all_kinds_are_texts(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for cells in (
        ["path", "label", "c", "d", "e", "f"],
        ["a.png", 1, 2.5, True, datetime.date(2025, 11, 3), datetime.time(9, 30)],
        ["b.png", -7, 20251103094500, False, datetime.datetime(2025, 11, 3, 9, 30, 15), "ünï"],
        ["c.png", 0, 1e-9, None, None, " x "],
        ["d.png", datetime.timedelta(hours=30), 3, "#", "007", "x"],
    ):
        book.active.append(cells)
    buffer = BytesIO()
    book.save(buffer)
    assert lines(saved(tmp_path, buffer.getvalue())) == [
        ["path", "label", "c", "d", "e", "f"],
        ["a.png", "1", "2.5", "true", "2025-11-03", "09:30:00"],
        ["b.png", "-7", "20251103094500", "false", "2025-11-03T09:30:15", "ünï"],
        ["c.png", "0", "1e-09", "", "", "x"],
        ["d.png", "", "3", "#", "007", "x"],
    ]


@pytest.mark.parametrize("epoch", ["", '<workbookPr date1904="1"/>'])
def test_dates_count_from_the_year_that_the_workbook_says(tmp_path: Path, epoch: str) -> None:
    styles = '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="165"/></cellXfs>'
    styles = f'<numFmts><numFmt numFmtId="165" formatCode="dd/mm hh:mm"/></numFmts>{styles}'
    cells = (inline("A2", "a.png"), '<c r="B2" s="1"><v>45964</v></c>', '<c r="C2" s="2"><v>45964.5</v></c>')
    header = row(1, *(inline(f"{letter}1", letter) for letter in "ABC"))
    content = made(header + row(2, *cells), styles=styles, properties=epoch)
    day = "2029-11-04" if epoch else "2025-11-03"
    assert lines(saved(tmp_path, content))[1] == ["a.png", day, f"{day}T12:00:00"]


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


def test_numbers_of_rows_are_those_of_the_sheet(tmp_path: Path) -> None:
    header = row(3, inline("C3", "path"), inline("D3", "label"))
    rows = (row(number, inline(f"C{number}", f"{number}.png")) for number in (5, 1_000))
    (table,) = workbook.sheets(saved(tmp_path, made(header + "".join(rows))))
    assert table.header == ("path", "label")
    assert [(line.number, line.cells) for line in table.lines()] == [
        (5, ("5.png", "")),
        (1_000, ("1000.png", "")),
    ]


@pytest.mark.parametrize("error", ["#N/A", "#DIV/0!", "#SPILL!"])
def test_an_error_of_a_formula_is_refused_by_its_place(tmp_path: Path, error: str) -> None:
    header = row(2, inline("B2", "path"), inline("C2", "label"))
    cells = (inline("B3", "a.png"), f'<c r="C3" s="0" t="e"><f>1/0</f><v>{error}</v></c>')
    path = saved(tmp_path, made(header + row(3, *cells)))
    with pytest.raises(
        FormatError, match=rf"^row 3, column 3 of labels\.xlsx is {error}: correct the formula"
    ):
        lines(path)


@pytest.mark.parametrize("value", ["", "<v/>", "<v></v>"])
@pytest.mark.parametrize("kind", ["", ' t="n"', ' t="b"'])
@pytest.mark.parametrize("formula", ["<f>A2</f>", '<f t="shared" si="0"/>'])
def test_a_formula_that_was_not_computed_is_refused_by_its_place(
    tmp_path: Path, formula: str, kind: str, value: str
) -> None:
    header = row(1, inline("A1", "path"), inline("B1", "label"), inline("C1", "subject"))
    cells = (inline("A2", "a.png"), inline("B2", "cat"), f'<c r="C2"{kind}>{formula}{value}</c>')
    path = saved(tmp_path, made(header + row(2, *cells)))
    with pytest.raises(FormatError, match=r"^row 2, column 3 of labels\.xlsx has a formula without a stored"):
        lines(path)


def test_the_result_of_a_formula_may_be_an_empty_text(tmp_path: Path) -> None:
    empty = '<c r="B2" t="str"><f>A1&amp;""</f><v></v></c>'
    path = saved(tmp_path, made(HEADER + row(2, inline("A2", "a.png"), empty)))
    assert lines(path)[1] == ["a.png", ""]


def test_errors_beside_the_list_are_no_matter(tmp_path: Path) -> None:
    error = '<c r="{}" t="e"><v>#CALC!</v></c>'.format
    rows = HEADER + row(2, inline("A2", "a.png"), inline("B2", "cat"), error("D2"))
    path = saved(tmp_path, made(rows, row(1, inline("A1", "sums")) + row(2, error("A2"))))
    assert lines(path)[1][:2] == ["a.png", "cat"]


@pytest.mark.parametrize("cell", ['<c r="1"/>', '<c r="A2" t="s"><v>7</v></c>', "<c>"])
def test_a_damaged_cell_is_told(tmp_path: Path, cell: str) -> None:
    path = saved(tmp_path, made(HEADER + row(2, cell)))
    with pytest.raises(FormatError, match=r"labels\.xlsx is not a workbook"):
        lines(path)


def test_parts_before_the_start_of_the_file_are_damage(tmp_path: Path) -> None:
    content = bytearray(made(HEADER))
    content[-6:-2] = b"\xff\xff\xff\x7f"  # where the directory begins, and all parts before it
    with pytest.raises(FormatError, match=r"labels\.xlsx is not a workbook"):
        workbook.sheets(saved(tmp_path, bytes(content)))
