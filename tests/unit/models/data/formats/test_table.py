"""Lists of images as people have them: separators, encodings, names of columns, workbooks."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO
from typing import Any

import openpyxl
import pytest

from models.data.formats import DatasetFormat, FormatError, FormatOptions, Manifest, read
from models.data.formats.lists import list_reader, workbook
from models.data.report import FileCode, ProblemCode
from tests.support.manifests import labels, readings
from tests.unit.models.data.conftest import MakeTree

ReadList = Callable[..., Manifest]


@pytest.fixture
def read_list(make_tree: MakeTree) -> ReadList:
    """A function that reads a list beside the images a.png to f.png."""

    def read_one(
        content: bytes | str, name: str = "labels.csv", format: DatasetFormat | None = None, **options: Any
    ) -> Manifest:
        images = {f"{letter}.png": "" for letter in "abcdef"}
        return read(make_tree({name: content} | images), format, FormatOptions(**options))

    return read_one


def ignored_columns(manifest: Manifest) -> dict[str, str]:
    return {reading.column: reading.detail for reading in manifest.columns if reading.read_as == "ignored"}


def xlsx(*rows: list[Any], **sheets: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in rows:
        sheet.append(row)
    for name, other_rows in sheets.items():
        other = book.create_sheet(name)
        for row in other_rows:
            other.append(row)
    buffer = BytesIO()
    book.save(buffer)
    return buffer.getvalue()


TWO = {"a.png": "cat", "b.png": "dog"}


@pytest.mark.parametrize(
    "content",
    [
        "path;label\na.png;cat\nb.png;dog\n",
        "path\tlabel\na.png\tcat\nb.png\tdog\n",
        "filename,class\r\na.png,cat\r\nb.png,dog\r\n",
        "File Name,Diagnosis\na.png,cat\nb.png,dog\n",
        "IMAGE_PATH;Category\n a.png ; cat \n\n;;\nb.png;dog\n",
        "\n\npath,label,,\na.png,cat,,\nb.png,dog,,,\n",
        "\ufeffpath,label\na.png,cat\nb.png,dog\n",
        "path\tlabel\na.png\tcat\nb.png\tdog\n".encode("utf-16"),
        '"path";"label"\n"a.png";"cat"\n"b.png";"dog"\n',
    ],
)
def test_lists_as_spreadsheets_export_them(read_list: ReadList, content: bytes | str) -> None:
    manifest = read_list(content)
    assert manifest.format is DatasetFormat.CSV
    assert labels(manifest) == TWO
    assert manifest.rejected == ()
    assert set(readings(manifest.columns).values()) == {"path", "label"}


@pytest.mark.parametrize("name", ["labels.tsv", "labels.txt", "Labels.CSV"])
def test_lists_with_other_suffixes(read_list: ReadList, name: str) -> None:
    assert labels(read_list("path\tlabel\na.png\tcat\nb.png\tdog\n", name)) == TWO


def test_subjects_metadata_and_what_is_not_used(read_list: ReadList) -> None:
    manifest = read_list(
        ",path,label,Patient ID,meta:Site,META:age,hospital,class\n"
        "0,a.png,cat,p1,Berlin,41,north,x\n1,b.png,dog,p1,,,south,y\n2,c.png,dog,,Rome,7.5,north,y\n"
    )
    assert [(e.subject, e.metadata) for e in manifest.entries] == [
        ("p1", ("Berlin", "41", "north")),
        ("p1", ("", "", "south")),
        (None, ("Rome", "7.5", "north")),
    ]
    assert manifest.metadata_names == ("Site", "age", "hospital")
    assert readings(manifest.columns) == {
        "": "ignored",
        "path": "path",
        "label": "label",
        "Patient ID": "subject",
        "meta:Site": "metadata",
        "META:age": "metadata",
        "hospital": "metadata",
        "class": "ignored",
    }
    ignored = ignored_columns(manifest)
    assert "no name" in ignored[""]
    assert "another column is the label" in ignored["class"]
    assert "meta:class" in ignored["class"]
    assert "options.label" in ignored["class"]


def test_a_column_that_sorts_no_images_is_left_out_unless_its_prefix_asks_for_it(make_tree: MakeTree) -> None:
    names = [f"{number}.png" for number in range(30)]
    tree = make_tree(dict.fromkeys(names, ""))

    def write(prefix: str) -> Manifest:
        header = ",".join(prefix + column for column in ("row", "scan", "empty", "site", "area", "remark"))
        rows = (
            f"{name},{'cat' if i % 2 else 'dog'},{i + 1},scan {i},,S{i % 3},{i * i},x {i // 3}"
            for i, name in enumerate(names)
        )
        (tree / "l.csv").write_text("\n".join([f"path,label,{header}", *rows]))
        return read(tree)

    manifest = write("")
    assert {"site", "area"} <= set(manifest.metadata_names)
    ignored = ignored_columns(manifest)
    assert "counts the rows" in ignored["row"]
    assert "another text in each of 30 rows" in ignored["scan"]
    assert ignored["empty"] == "is empty"
    assert all("meta:" in ignored[column] for column in ("row", "scan"))
    assert "remark" not in ignored
    assert set(write("meta:").metadata_names) == {"row", "scan", "empty", "site", "area", "remark"}


def test_headings_as_nobody_should_write_them(read_list: ReadList) -> None:
    manifest = read_list(
        "path,label,,meta:,  ,site,site,META:Site,a\u202eb,meta: age ,path.1,subset,label.1\n"
        "a.png,cat,1,2,3,4,5,6,7,8,9,train,x\nb.png,dog,1,2,3,4,5,6,7,8,9,test,y\n"
    )
    assert manifest.metadata_names == ("site", "Site", "age", "path.1", "label.1")
    assert [entry.split for entry in manifest.entries] == ["train", "test"]
    details = [reading.detail for reading in manifest.columns if reading.read_as == "ignored"]
    assert sum("has no name" in detail for detail in details) == 2  # "" and "meta:", each told once
    assert any("second column" in detail for detail in details)
    assert any("control characters" in detail for detail in details)


def test_the_owner_names_the_label_column(read_list: ReadList) -> None:
    content = "path,breed,label\na.png,cat,1\nb.png,dog,2\n"
    assert labels(read_list(content, label="breed")) == TWO
    assert labels(read_list(content)) == {"a.png": "1", "b.png": "2"}
    with pytest.raises(FormatError, match=r"options\.label is 'race'.*'breed'"):
        read(read_list(content).root, DatasetFormat.CSV, FormatOptions(label="race"))


@pytest.mark.parametrize(
    ("header", "options"),
    [
        ("scan,kind", {"path": "scan", "label": "kind"}),
        ("class,kind", {"path": "class", "label": "kind"}),
        ("file,image", {"label": "image"}),  # both could be the path
        ("image,image", {"path": "image", "label": "image"}),
    ],
)
def test_the_owner_names_the_file_column(read_list: ReadList, header: str, options: dict[str, str]) -> None:
    assert labels(read_list(f"{header}\na.png,cat\nb.png,dog\n", **options)) == TWO
    with pytest.raises(FormatError, match=r"options\.path is 'none'"):
        read_list(
            f"{header}\na.png,cat\nb.png,dog\n",
            path="none",
            label=header.split(",")[1],
            format=DatasetFormat.CSV,
        )


def test_columns_that_could_be_the_same_are_not_guessed(read_list: ReadList) -> None:
    with pytest.raises(FormatError, match=r"'category' and 'diagnosis'.*options\.label") as labels_:
        read_list("path,category,diagnosis\na.png,x,cat\nb.png,y,dog\n")
    with pytest.raises(FormatError, match=r"'patient' and 'slide'.*rename the right one to subject"):
        read_list("path,label,patient,slide\na.png,cat,1,2\n")
    with pytest.raises(FormatError, match=r"'image' and 'file'.*name the right one in options\.path"):
        read_list("image,file,label\na.png,x,cat\n")
    assert labels_.value.problem.code is ProblemCode.AMBIGUOUS_LIST


def test_a_list_without_a_label_column_names_its_columns(make_tree: MakeTree) -> None:
    table = "img;kind\nimg/a.png;cat\nimg/b.png;dog\n"
    tree = make_tree({"labels.csv": table, "img/a.png": "", "img/b.png": ""})
    with pytest.raises(FormatError, match=r"'img', 'kind'.*label"):
        read(tree)
    assert labels(read(tree, options=FormatOptions(label="kind"))) == {"img/a.png": "cat", "img/b.png": "dog"}
    with pytest.raises(FormatError, match=r"'img', 'kind'"):
        read(tree, DatasetFormat.CSV)


def test_a_list_without_a_header_is_told_what_it_lacks(make_tree: MakeTree) -> None:
    with pytest.raises(FormatError, match=r"'a\.png', 'cat'.*first row"):
        read(make_tree({"l.csv": "a.png,cat\nb.png,dog\n", "a.png": "", "b.png": ""}))


def test_groups_are_made_of_the_column_that_the_owner_chooses(read_list: ReadList) -> None:
    content = "path,label,meta:site\na.png,dog,S2\nb.png,cat,S10\n"
    assert read_list(content, group="meta:site").group_names == ("cat · site S10", "dog · site S2")


def test_class_folders_count_where_a_list_beside_them_has_no_classes(make_tree: MakeTree) -> None:
    table = "file,patient\ncat/a.png,p1\ndog/b.png,p2\n"
    tree = make_tree({"patients.csv": table, "cat/a.png": "", "dog/b.png": "", "dog/c.png": ""})
    folders = read(tree)
    assert (folders.format, len(folders.entries)) == (DatasetFormat.IMAGE_FOLDER, 3)
    (ignored,) = folders.ignored
    assert "'file', 'patient'" in ignored.detail
    assert "format csv" in ignored.detail
    listed = read(tree, DatasetFormat.CSV)
    assert labels(listed) == {"cat/a.png": "cat", "dog/b.png": "dog"}
    assert [entry.subject for entry in listed.entries] == ["p1", "p2"]


def test_a_list_whose_files_lie_elsewhere_is_told_where(make_tree: MakeTree) -> None:
    tree = make_tree({"l.csv": "path,label\n1,cat\n2.png,dog\n", "images/1.png": "", "images/2.png": ""})
    with pytest.raises(FormatError, match=r"of the 2 files.*'images/1\.png' is there"):
        read(tree)


def test_equal_rows_are_ignored_and_others_for_the_same_file_rejected(read_list: ReadList) -> None:
    manifest = read_list("path,label\na.png,cat\na.png,cat\nb.png,dog\nb.png,cat\n")
    assert labels(manifest) == TWO
    assert [(r.path, r.code) for r in manifest.rejected] == [("b.png", FileCode.LISTED_TWICE)]
    assert [(r.path, r.code) for r in manifest.ignored if r.code is FileCode.LISTED_TWICE] == [
        ("a.png", FileCode.LISTED_TWICE)
    ]


def test_a_row_with_too_many_cells_is_rejected(read_list: ReadList) -> None:
    manifest = read_list("path,label\na.png,cat\nb.png,dog, small\n")
    assert [(r.path, r.code) for r in manifest.rejected] == [("b.png", FileCode.BAD_ROW)]


def test_forty_thousand_different_texts(make_tree: MakeTree) -> None:
    names = [f"{number}.png" for number in range(400)]  # a hundred times fewer, for the time it takes
    tree = make_tree(dict.fromkeys(names, ""))

    def write(column: str) -> None:
        rows = (f"{name},{'cat' if i % 2 else 'dog'},text {i}" for i, name in enumerate(names))
        (tree / "l.csv").write_text("\n".join([f"path,{column}", *rows]))

    write("label,meta:note")
    manifest = read(tree)
    assert manifest.entries[399].metadata == ("text 399",)
    with pytest.raises(FormatError, match=r"meta:note cannot be the groups: it has 400 different"):
        read(tree, options=FormatOptions(group="meta:note"))
    write("label,group")
    manifest = read(tree)
    assert manifest.group_names == ()
    assert "400 different" in ignored_columns(manifest)["group"]
    write("meta:kind,label")
    with pytest.raises(FormatError, match=r"400 different labels.*options\.label"):
        read(tree)


def test_more_classes_than_half_the_rows_are_classes_where_a_file_lists_them(make_tree: MakeTree) -> None:
    names = [f"class {n}" for n in range(150)]
    rows = [f"{n}.png,{name}" for n, name in enumerate(names)]
    tree = make_tree({f"{n}.png": "" for n in range(150)} | {"labels.csv": "\n".join(["path,label", *rows])})
    with pytest.raises(FormatError, match=r"150 different labels.*classes\.txt"):
        read(tree)
    (tree / "classes.txt").write_text("\n".join(reversed(names)))
    assert read(tree).classes == tuple(reversed(names))


def test_texts_that_are_no_metadata(read_list: ReadList) -> None:
    manifest = read_list(
        f'path,label,meta:report,meta:note\na.png,cat,{"x" * 1001},"two\nlines"\nb.png,dog,,\n'
    )
    assert manifest.metadata_names == ("note",)
    assert manifest.entries[0].metadata == ("two lines",)
    assert "1000 characters" in ignored_columns(manifest)["meta:report"]


@pytest.mark.parametrize("prefix", ["", "meta:"])
def test_of_a_thousand_columns_a_hundred_travel(read_list: ReadList, prefix: str) -> None:
    header = ",".join(f"{prefix}c{number}" for number in range(998))
    rows = "".join(f"{letter}.png,{letter in 'ab'}{',x' * 998}\n" for letter in "abcd")
    manifest = read_list(f"path,label,{header}\n{rows}")
    assert manifest.metadata_names == tuple(f"c{number}" for number in range(100))
    assert len(manifest.columns) == 1000
    assert "100" in ignored_columns(manifest)[f"{prefix}c997"]
    with pytest.raises(FormatError, match=r"1001 columns"):
        read_list("path,label" + ",x" * 999 + "\n")


def test_a_column_like_fold_is_one_of_splits_only_if_it_has_splits(read_list: ReadList) -> None:
    manifest = read_list("path,label,fold\na.png,cat,0\nb.png,dog,1\n")
    assert {entry.split for entry in manifest.entries} == {None}
    assert "meta:NAME" in ignored_columns(manifest)["fold"]
    manifest = read_list("path,label,Set\na.png,cat,Training\nb.png,dog,only_bg_t\n")
    assert [entry.split for entry in manifest.entries] == ["train", "only_bg_t"]
    assert manifest.splits == ("train", "only_bg_t")


def test_a_file_of_classes_fixes_their_order(make_tree: MakeTree) -> None:
    files = {"labels.csv": "path,label\na.png,cat\nb.png,dog\n", "a.png": "", "b.png": ""}
    tree = make_tree(files | {"classes.txt": "dog\ncow\ncat\n"})
    manifest = read(tree)
    assert manifest.classes == ("dog", "cat")
    assert manifest.ignored == ()
    assert read(tree, options=FormatOptions(classes=("cat", "dog"))).classes == ("cat", "dog")
    (tree / "classes.txt").write_text("1 dog\n2 cat\n")
    manifest = read(tree)
    assert manifest.classes == ("cat", "dog")
    assert [(r.path, "'cat'" in r.detail) for r in manifest.ignored] == [("classes.txt", True)]


def test_a_list_of_more_rows_than_images_can_be(read_list: ReadList, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_reader, "_MAX_LINES", 2)
    with pytest.raises(FormatError, match=r"more than 2 rows"):
        read_list("path,label\na.png,cat\nb.png,dog\nc.png,dog\n")


# --- workbooks ---


@pytest.mark.parametrize("name", ["labels.xls", "labels.ods"])
def test_other_spreadsheets_are_told_how_to_be_saved(read_list: ReadList, name: str) -> None:
    with pytest.raises(FormatError, match=r"save it as \.xlsx or as CSV"):
        read_list(b"", name)


def test_a_workbook(read_list: ReadList) -> None:
    content = xlsx(
        [], ["File", "Class", "Slide", "meta:age"], ["a.png", 1, 7, 41.5], [], ["b.png", 2, 8, None]
    )
    manifest = read_list(content, "labels.xlsx")
    assert labels(manifest) == {"a.png": "1", "b.png": "2"}
    assert [(e.subject, e.metadata) for e in manifest.entries] == [("7", ("41.5",)), ("8", ("",))]
    assert manifest.rejected == ()


def test_the_sheet_with_the_columns_is_the_list(read_list: ReadList) -> None:
    table = [["path", "label"], ["a.png", "cat"], ["b.png", "dog"]]
    assert labels(read_list(xlsx(["read me"], Images=table), "l.xlsx")) == TWO
    with pytest.raises(FormatError, match=r"sheet 'Images' of l\.xlsx, the sheet 'Old' of l\.xlsx") as two:
        read_list(xlsx(["read me"], Images=table, Old=table), "l.xlsx")
    assert two.value.problem.code is ProblemCode.AMBIGUOUS_LIST


def test_a_formula_counts_by_its_stored_value(read_list: ReadList) -> None:
    content = xlsx(["path", "label"], ["a.png", "cat"], ["b.png", '="d"&"og"'])
    with pytest.raises(FormatError, match=r"row 3, column 2 of l\.xlsx has a formula without a stored value"):
        read_list(content, "l.xlsx")
    buffer = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as book, zipfile.ZipFile(buffer, "w") as computed:
        for name in book.namelist():
            part = book.read(name).replace(b"<v></v>", b"<v>dog</v>").replace(b"<v />", b"<v>dog</v>")
            computed.writestr(name, part.replace(b'<c r="B3">', b'<c r="B3" t="str">'))
    assert labels(read_list(buffer.getvalue(), "l.xlsx")) == TWO


def test_merged_cells_count_once_and_are_told_so(read_list: ReadList) -> None:
    book = openpyxl.load_workbook(BytesIO(xlsx(["path", "label"], ["a.png", "cat"], ["b.png", "x"])))
    book.active.merge_cells("B2:B3")
    buffer = BytesIO()
    book.save(buffer)
    manifest = read_list(buffer.getvalue(), "l.xlsx")
    assert labels(manifest) == {"a.png": "cat"}
    (rejected,) = manifest.rejected
    assert rejected.code is FileCode.MISSING_LABEL
    assert "merged cells" in rejected.detail


def test_a_workbook_that_inflates_is_refused(read_list: ReadList, monkeypatch: pytest.MonkeyPatch) -> None:
    content = xlsx(["path", "label"], *(["a.png", "cat"] for _ in range(100)))
    monkeypatch.setattr(workbook, "MAX_LIST", 1000)
    with pytest.raises(FormatError, match=r"unpacks to \d+ bytes"):
        read_list(content, "l.xlsx")


def test_a_damaged_workbook_beside_class_folders_is_left_out(make_tree: MakeTree) -> None:
    manifest = read(make_tree({"cat/a.png": "", "dog/b.png": "", "notes.xlsx": b"damaged"}))
    assert len(manifest.entries) == 2
    assert [(r.path, "save it again" in r.detail) for r in manifest.ignored] == [("notes.xlsx", True)]


@pytest.mark.parametrize(("text", "window"), [("7 4000\n", (7, 4000)), ("4000 7", None), ("low high", None)])
def test_a_file_beside_the_list_has_the_window_of_16_bit_images(
    make_tree: MakeTree, text: str, window: tuple[int, int] | None
) -> None:
    tree = make_tree({"labels.csv": "path,label\na.png,cat\n", "grey_window.txt": text, "a.png": ""})
    manifest = read(tree)
    assert manifest.grey_window == window
    ignored = [(one.path, "two levels" in one.detail) for one in manifest.ignored]
    assert ignored == ([] if window else [("grey_window.txt", True)])
