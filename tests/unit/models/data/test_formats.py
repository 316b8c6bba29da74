"""From folders to manifests, in every layout; no image is opened here."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.data.formats import DatasetFormat, FormatError, FormatOptions, Manifest, read
from models.data.formats.manifest import natural_order
from models.data.report import FileCode, ProblemCode
from tests.support.manifests import readings, rejections
from tests.unit.models.data.conftest import MakeTree


def rows(manifest: Manifest) -> set[tuple[str, str, str | None, str | None]]:
    """(path, class, split, group) by name."""
    return {
        (e.path, manifest.classes[e.label], e.split, manifest.group_names[e.group] if e.group >= 0 else None)
        for e in manifest.entries
    }


def test_class_folders(make_tree: MakeTree) -> None:
    manifest = read(make_tree({"cat/1.png": "", "cat/deep/2.JPG": "", "dog/1.png": "", "README.md": ""}))
    assert (manifest.format, manifest.classes, manifest.splits) == (
        DatasetFormat.IMAGE_FOLDER,
        ("cat", "dog"),
        (),
    )
    assert {e.path for e in manifest.entries} == {"cat/1.png", "cat/deep/2.JPG", "dog/1.png"}
    assert [r.path for r in manifest.ignored] == ["README.md"]


def test_split_folders_by_the_names_people_use(make_tree: MakeTree) -> None:
    manifest = read(make_tree({"train/cat/1.png": "", "valid/dog/1.png": "", "test/": "", "valid/x.png": ""}))
    assert manifest.splits == ("train", "val", "test")
    assert {(e.path, e.split) for e in manifest.entries} == {
        ("train/cat/1.png", "train"),
        ("valid/dog/1.png", "val"),
    }
    assert rejections(manifest) == {"valid/x.png": FileCode.NO_CLASS}


def test_a_class_may_be_called_test(make_tree: MakeTree) -> None:
    manifest = read(make_tree({"test/1.png": "", "control/1.png": ""}))
    assert (manifest.classes, manifest.splits) == (("control", "test"), ())


def test_a_wrapping_folder_is_stepped_into(make_tree: MakeTree) -> None:
    manifest = read(
        make_tree({"pets/v2/cat/1.png": "", "pets/v2/dog/1.png": "", ".DS_Store": "", "pets/.DS_Store": ""})
    )
    assert {e.path for e in manifest.entries} == {"cat/1.png", "dog/1.png"}
    assert {r.path for r in manifest.ignored} == {".DS_Store", "pets/.DS_Store"} or len(manifest.ignored) == 2
    assert all(r.code is FileCode.JUNK for r in manifest.ignored)


def test_one_class_is_not_a_wrapper(make_tree: MakeTree) -> None:
    assert read(make_tree({"cat/1.png": "", "cat/2.png": ""})).classes == ("cat",)


def test_what_lies_in_a_class_folder_and_is_no_image(make_tree: MakeTree) -> None:
    manifest = read(
        make_tree({"cat/1.png": "", "cat/a.svg": "", "dog/1.png": "", "docs/a.txt": "", "bird/": ""})
    )
    assert rejections(manifest) == {"cat/a.svg": FileCode.UNSUPPORTED_TYPE}
    assert [r.path for r in manifest.ignored] == ["docs/a.txt"]
    assert manifest.empty_classes == ("bird", "docs")


def test_a_given_class_list_fixes_the_order(make_tree: MakeTree) -> None:
    tree = make_tree({"cat/1.png": "", "dog/1.png": "", "cow/1.png": ""})
    manifest = read(tree, options=FormatOptions(classes=("dog", "cat")))
    assert [e.label for e in manifest.entries] == [1, 0]
    assert rejections(manifest) == {"cow/1.png": FileCode.UNKNOWN_LABEL}


def test_links_and_pipes_are_not_read(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree({"cat/1.png": "", "dog/1.png": ""})
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "2.png").touch()
    (tree / "dog" / "2.png").symlink_to(tmp_path / "secret" / "2.png")
    (tree / "cow").symlink_to(tmp_path / "secret")
    os.mkfifo(tree / "cat" / "pipe.png")
    assert rejections(read(tree)) == dict.fromkeys(("dog/2.png", "cow", "cat/pipe.png"), FileCode.LINK)


CSV = "Path , label,split,group\na/1.png,cat,train,in\n./a/2.png,dog,valid,out\na/3.png,dog,test,\n"


def test_csv(make_tree: MakeTree) -> None:
    manifest = read(
        make_tree({"labels.csv": "\ufeff" + CSV, "a/1.png": "", "a/2.png": "", "a/3.png": "", "a/4.png": ""})
    )
    assert manifest.format is DatasetFormat.CSV
    assert rows(manifest) == {
        ("a/1.png", "cat", "train", "in"),
        ("a/2.png", "dog", "val", "out"),
        ("a/3.png", "dog", "test", None),
    }
    assert [(r.path, r.code) for r in manifest.ignored] == [("a/4.png", FileCode.NOT_LISTED)]


def test_every_bad_row_is_named(make_tree: MakeTree) -> None:
    lines = {
        "gone.png,cat,train": FileCode.MISSING_FILE,
        "../x.png,cat,train": FileCode.BAD_PATH,
        "/etc/passwd,cat,train": FileCode.BAD_PATH,
        ",cat,train": FileCode.BAD_PATH,
        "b.png,,train": FileCode.MISSING_LABEL,
        "a.png,dog,train": FileCode.LISTED_TWICE,
        "c.png,cat,": FileCode.MISSING_SPLIT,
        "d.png,cat,holdout": FileCode.UNKNOWN_SPLIT,
        "e.png,cow,train": FileCode.UNKNOWN_LABEL,
        "f.png,ca\x1b[2Jt,train": FileCode.BAD_ROW,
        "g.png,c\0t,train": FileCode.BAD_ROW,
        "h.png,cat,train,in\u202eside": FileCode.BAD_ROW,
    }
    table = "path,label,split,group\na.png,cat,train\n" + "\n".join(lines)
    tree = make_tree({"l.csv": table} | {f"{letter}.png": "" for letter in "abcdefgh"})
    manifest = read(tree, options=FormatOptions(classes=("cat", "dog")))
    assert {e.path for e in manifest.entries} == {"a.png"}
    assert Counter(r.code for r in manifest.rejected) == Counter(lines.values())
    assert all("line" in r.detail for r in manifest.rejected if r.code is FileCode.MISSING_FILE)


def test_labels_that_are_numbers_keep_their_order(make_tree: MakeTree) -> None:
    tree = make_tree({"l.csv": "path,label\na.png,10\nb.png,9\n", "a.png": "", "b.png": ""})
    assert read(tree).classes == ("9", "10")


def test_lists_that_cannot_be_used(make_tree: MakeTree) -> None:
    tree = make_tree({"a.csv": "path,label\n", "b.csv": "path,label\n", "x.png": ""})
    with pytest.raises(FormatError, match=r"a\.csv, b\.csv") as two:
        read(tree)
    assert two.value.problem.code is ProblemCode.AMBIGUOUS_LIST
    (tree / "b.csv").unlink()
    (tree / "a.csv").write_bytes(b"path,label\n\xff\xfe,cat\n")
    with pytest.raises(FormatError, match="UTF-8"):
        read(tree, DatasetFormat.CSV)
    (tree / "a.csv").unlink()
    with pytest.raises(FormatError, match="columns path and label"):
        read(tree, DatasetFormat.CSV)


WATERBIRDS = "img_id,img_filename,y,split,place,place_filename\n"


def test_waterbirds_of_many_species(make_tree: MakeTree) -> None:
    table = (
        WATERBIRDS
        + "1,001.A/1.jpg,0,0,0,f\n2,001.A/2.jpg,0,1,1,f\n3,050.B/1.jpg,1,2,1,f\n4,051.C/1.jpg,1,0,0,f\n"
    )
    tree = make_tree(
        {"wb/metadata.csv": table} | {f"wb/{n}.jpg": "" for n in ("001.A/1", "001.A/2", "050.B/1", "051.C/1")}
    )
    manifest = read(tree)
    assert manifest.format is DatasetFormat.WATERBIRDS
    assert rows(manifest) == {
        ("001.A/1.jpg", "landbird", "train", "landbird · place 0"),
        ("001.A/2.jpg", "landbird", "val", "landbird · place 1"),
        ("050.B/1.jpg", "waterbird", "test", "waterbird · place 1"),
        ("051.C/1.jpg", "waterbird", "train", "waterbird · place 0"),
    }
    assert [reading.read_as for reading in manifest.columns] == [
        *("ignored", "path", "label", "split", "group", "ignored")
    ]


def test_waterbirds_with_a_folder_for_each_class(make_tree: MakeTree) -> None:
    table = (
        WATERBIRDS
        + "1,0.animal/1.jpg,0,0,0,f\n2,1.plant/1.jpg,1,0,1,f\n3,gone.jpg,1,0,1,f\n4,0.animal/1.jpg,x,9,1,f\n"
    )
    tree = make_tree({"metadata.csv": table, "0.animal/1.jpg": "", "1.plant/1.jpg": "", "masks/1.png": ""})
    manifest = read(tree)
    assert manifest.classes == ("animal", "plant")
    assert rejections(manifest) == {
        "gone.jpg": FileCode.MISSING_FILE,
        "0.animal/1.jpg": FileCode.LISTED_TWICE,
    }
    assert [r.path for r in manifest.ignored] == ["masks/1.png"]


CELEBA_TXT = "3\nBlond_Hair Male Young\n1.jpg  1 -1  1\n2.jpg -1  1 -1\n3.jpg  1  1  1\n"


@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_celeba(make_tree: MakeTree, kind: str) -> None:
    table, partition = CELEBA_TXT, "1.jpg 0\n2.jpg 1\n3.jpg 2\n"
    if kind == "csv":
        table = "image_id,Blond_Hair,Male,Young\n1.jpg,1,-1,1\n2.jpg,-1,1,-1\n3.jpg,1,1,1\n"
        partition = "image_id,partition\n1.jpg,0\n2.jpg,1\n3.jpg,2\n"
    files = {f"img_align_celeba/{n}.jpg": "" for n in (1, 2, 3)}
    tree = make_tree({f"list_attr_celeba.{kind}": table, f"list_eval_partition.{kind}": partition} | files)
    manifest = read(tree)
    assert manifest.format is DatasetFormat.CELEBA
    assert readings(manifest.columns) == {"Blond_Hair": "label", "Male": "group", "Young": "ignored"}
    assert rows(manifest) == {
        ("img_align_celeba/1.jpg", "Blond_Hair", "train", "Blond_Hair · no Male"),
        ("img_align_celeba/2.jpg", "no Blond_Hair", "val", "no Blond_Hair · Male"),
        ("img_align_celeba/3.jpg", "Blond_Hair", "test", "Blond_Hair · Male"),
    }


def test_celeba_with_other_attributes_and_gaps(make_tree: MakeTree) -> None:
    tree = make_tree(
        {"list_attr_celeba.txt": CELEBA_TXT + "4.jpg 1\n", "img/1.jpg": "", "img/2.jpg": "", "img/9.jpg": ""}
    )
    manifest = read(tree, options=FormatOptions(target="Young", group="Blond_Hair"))
    assert manifest.classes == ("no Young", "Young")
    assert {e.split for e in manifest.entries} == {None}
    assert rejections(manifest) == {"3.jpg": FileCode.MISSING_FILE, "4.jpg": FileCode.BAD_ROW}
    assert [r.path for r in manifest.ignored] == ["img/9.jpg"]
    with pytest.raises(FormatError, match="Blond_Hair") as unknown:
        read(tree, options=FormatOptions(target="blond_hair"))
    assert unknown.value.problem.code is ProblemCode.UNKNOWN_ATTRIBUTE


def test_backgrounds_challenge_as_released(make_tree: MakeTree) -> None:
    names = ["in9l/train/00_dog/1.JPEG", "in9l/val/00_dog/2.JPEG", "in9l/train/01_bird/1.JPEG"]
    variants = [f"{name}/val/00_dog/3.JPEG" for name in ("original", "mixed_rand", "only_fg")]
    manifest = read(make_tree(dict.fromkeys([*names, *variants, "notes.txt"], "")))
    assert manifest.format is DatasetFormat.BACKGROUNDS_CHALLENGE
    assert rows(manifest) == {
        ("in9l/train/00_dog/1.JPEG", "00_dog", "train", None),
        ("in9l/train/01_bird/1.JPEG", "01_bird", "train", None),
        ("in9l/val/00_dog/2.JPEG", "00_dog", "val", None),
        ("original/val/00_dog/3.JPEG", "00_dog", "test", "original"),
        ("mixed_rand/val/00_dog/3.JPEG", "00_dog", "test", "mixed_rand"),
        ("only_fg/val/00_dog/3.JPEG", "00_dog", "test", "only_fg"),
    }
    assert [r.path for r in manifest.ignored] == ["notes.txt"]


def test_backgrounds_challenge_with_three_splits_in_original(make_tree: MakeTree) -> None:
    names = [f"original/{split}/dog/1.png" for split in ("train", "val", "test")]
    manifest = read(make_tree(dict.fromkeys([*names, "mixed_same/dog/2.png"], "")))
    assert {(e.path, e.split) for e in manifest.entries} == {
        *zip(names, ("train", "val", "test"), strict=True),
        ("mixed_same/dog/2.png", "test"),
    }
    assert manifest.group_names == ("original", "mixed_same")


def test_variants_without_an_object_are_no_groups_but_splits_of_their_own(make_tree: MakeTree) -> None:
    kept, emptied = ("original", "mixed_same"), ("no_fg", "only_bg_b", "only_bg_t")
    names = [f"{name}/val/dog/1.png" for name in (*kept, *emptied[:2])]
    manifest = read(make_tree(dict.fromkeys([*names, "only_bg_t/dog/1.png", "in9l/train/dog/1.png"], "")))
    assert manifest.group_names == kept
    assert rows(manifest) == {
        ("in9l/train/dog/1.png", "dog", "train", None),
        *((f"{name}/val/dog/1.png", "dog", "test", name) for name in kept),
        *((f"{name}/val/dog/1.png", "dog", name, None) for name in emptied[:2]),
        ("only_bg_t/dog/1.png", "dog", "only_bg_t", None),
    }
    assert manifest.splits == ("train", "test", *emptied)


def test_no_known_layout_and_no_image(make_tree: MakeTree) -> None:
    with pytest.raises(FormatError, match=r"labels\.csv") as unknown:
        read(make_tree({"notes.txt": "", "a.png": ""}))
    assert unknown.value.problem.code is ProblemCode.UNKNOWN_FORMAT
    with pytest.raises(FormatError) as empty:
        read(make_tree({"folder/": ""}) / "folder")
    assert empty.value.problem.code is ProblemCode.NO_IMAGES


def test_natural_order() -> None:
    assert natural_order(["10", "9", "b2", "b10", "a", "9"]) == ("9", "10", "a", "b2", "b10")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.permutations(["path", "label", "split", "group"]),
    cells=st.lists(
        st.lists(st.text(max_size=6) | st.sampled_from(["a.png", "b.png", "cat", "train"]), max_size=5),
        max_size=6,
    ),
    tail=st.binary(max_size=8),
)
def test_any_list_gives_a_manifest_or_a_code(
    make_tree: MakeTree, header: list[str], cells: list[list[str]], tail: bytes
) -> None:
    """Every row is an entry or a rejection, and no entry leaves the folder."""
    text = "\n".join([",".join(header), *(",".join(row) for row in cells)])
    tree = make_tree({"l.csv": text.encode("utf-8", "replace") + tail, "a.png": "", "b.png": ""})
    try:
        manifest = read(tree, DatasetFormat.CSV)
    except FormatError:
        return
    assert {entry.path for entry in manifest.entries} <= {"a.png", "b.png"}
    assert all(0 <= entry.label < len(manifest.classes) for entry in manifest.entries)
