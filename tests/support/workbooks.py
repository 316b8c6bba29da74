"""Excel workbooks part by part, as programs write them that share texts between cells."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from io import BytesIO

_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def workbook(*sheets: str, texts: str = "", styles: str = "", properties: str = "") -> bytes:
    """A workbook of sheets whose rows are this XML; `texts` are the shared ones, `styles` those of cells."""
    parts = [(f"worksheet{number}", "worksheet", sheet) for number, sheet in enumerate(sheets)]
    names = "".join(
        f'<sheet name="{name}" sheetId="{number}" r:id="{name}"/>'
        for number, (name, _, _) in enumerate(parts, start=1)
    )
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_rels/.rels", _relations([("main", "officeDocument", "xl/workbook.xml")]))
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}">{properties}<sheets>{names}</sheets></workbook>',
        )
        relations = [(name, kind, f"worksheets/{name}.xml") for name, kind, _ in parts]
        relations += [("t", "sharedStrings", "sharedStrings.xml"), ("s", "styles", "styles.xml")]
        archive.writestr("xl/_rels/workbook.xml.rels", _relations(relations))
        archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{_MAIN}">{texts}</sst>')
        archive.writestr("xl/styles.xml", f'<styleSheet xmlns="{_MAIN}">{styles}</styleSheet>')
        for name, _, rows in parts:
            sheet = f'<worksheet xmlns="{_MAIN}"><sheetData>{rows}</sheetData></worksheet>'
            archive.writestr(f"xl/worksheets/{name}.xml", sheet)
    return buffer.getvalue()


def row(number: int, *cells: str) -> str:
    """A row of cells, each the XML of a `<c>`."""
    return f'<row r="{number}">{"".join(cells)}</row>'


def inline(place: str, text: str) -> str:
    """A cell that has its text itself."""
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


def shared(place: str, number: int) -> str:
    """A cell that has one of the shared texts."""
    return f'<c r="{place}" t="s"><v>{number}</v></c>'


def _relations(relations: Sequence[tuple[str, str, str]]) -> str:
    each = "".join(
        f'<Relationship Id="{name}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for name, kind, target in relations
    )
    return f'<Relationships xmlns="{_PACKAGE}">{each}</Relationships>'
