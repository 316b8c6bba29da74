"""COCO: which class, split and metadata an image of the JSON has, and what is said where it has none."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest
from pycocotools.coco import COCO

from models.data.formats import DatasetFormat, FormatError, FormatOptions, read
from models.data.report import FileCode
from tests.support.manifests import labels, readings, rejections, splits
from tests.unit.models.data.conftest import MakeTree

Document = dict[str, list[dict[str, Any]]]


def document(**classes_of: tuple[str, ...]) -> Document:
    """A COCO file with an image `NAME.jpg` for each keyword and its annotations; categories are b 1, a 2."""
    numbers = {"b": 1, "a": 2}
    return {
        "images": [
            {"id": number, "file_name": f"{name}.jpg", "width": 8, "height": 8}
            for number, name in enumerate(classes_of, 1)
        ],
        "annotations": [
            {
                "id": 10 * number + place,
                "image_id": number,
                "category_id": numbers[name],
                "bbox": [0, 0, 2, 2],
            }
            for number, names in enumerate(classes_of.values(), 1)
            for place, name in enumerate(names)
        ],
        "categories": [{"id": 2, "name": "a"}, {"id": 1, "name": "b"}, {"id": 3, "name": "c"}],
    }


def test_the_class_of_an_image_is_that_of_all_its_annotations(make_tree: MakeTree) -> None:
    coco = document(one=("a",), two=("b", "b"), mixed=("a", "b"), bare=())
    tree = make_tree(
        {"instances.json": json.dumps(coco)}
        | {f"images/{name}.jpg": "" for name in ("one", "two", "mixed", "bare", "other")}
    )
    manifest = read(tree)
    assert manifest.format is DatasetFormat.COCO
    assert labels(manifest) == {"images/one.jpg": "a", "images/two.jpg": "b"}
    assert rejections(manifest) == {
        "images/mixed.jpg": FileCode.SEVERAL_LABELS,
        "images/bare.jpg": FileCode.MISSING_LABEL,
    }
    assert "'a', 'b'" in manifest.rejected[0].detail
    assert "labels.csv" in manifest.rejected[0].detail
    assert [ignored.path for ignored in manifest.ignored] == ["images/other.jpg"]


def test_classes_are_in_the_order_of_their_ids(make_tree: MakeTree) -> None:
    tree = make_tree(
        {"coco.json": json.dumps(document(x=("a",), y=("b",))), "x.jpg": "", "y.jpg": "", "z.jpg": ""}
    )
    assert read(tree).classes == ("b", "a")
    assert read(tree).empty_classes == ("c",)
    assert read(tree, options=FormatOptions(classes=("a", "b"))).classes == ("a", "b")


def test_the_split_is_a_word_in_the_name_of_the_file(make_tree: MakeTree) -> None:
    tree = make_tree(
        {
            "annotations/instances_train2017.json": json.dumps(document(x=("a",), y=("b",))),
            "annotations/instances_val2017.json": json.dumps(document(x=("b",))),
            "annotations/person_keypoints_val2017.json": json.dumps(document(x=("a",))),
            "train2017/x.jpg": "",
            "train2017/y.jpg": "",
            "val2017/x.jpg": "",
        }
    )
    manifest = read(tree)
    assert splits(manifest) == {
        "train2017/x.jpg": "train",
        "train2017/y.jpg": "train",
        "val2017/x.jpg": "val",
    }
    assert labels(manifest)["val2017/x.jpg"] == "b"
    assert manifest.rejected == ()


def test_a_file_in_the_folder_of_each_split(make_tree: MakeTree) -> None:
    tree = make_tree(
        {
            f"{split}/{name}": content
            for split, label in (("train", "a"), ("valid", "b"))
            for name, content in (("_annotations.coco.json", json.dumps(document(x=(label,)))), ("x.jpg", ""))
        }
    )
    assert {(entry.path, entry.split) for entry in read(tree).entries} == {
        ("train/x.jpg", "train"),
        ("valid/x.jpg", "val"),
    }


def test_other_fields_of_an_image_are_metadata_and_one_may_name_its_subject(make_tree: MakeTree) -> None:
    coco = document(x=("a",), y=("b",))
    coco["images"][0] |= {"site": "Berlin", "patient_id": "p1", "night": True, "tags": ["x"]}
    coco["images"][1] |= {"age": 61, "site": None}
    manifest = read(make_tree({"coco.json": json.dumps(coco), "x.jpg": "", "y.jpg": ""}))
    assert manifest.metadata_names == ("site", "night", "age")
    assert [entry.metadata for entry in manifest.entries] == [("Berlin", "true", ""), ("", "", "61")]
    assert [entry.subject for entry in manifest.entries] == ["p1", None]
    read_as = readings(manifest.columns)
    assert read_as["patient_id"] == "subject"
    assert (read_as["site"], read_as["tags"], read_as["id"]) == ("metadata", "ignored", "ignored")
    assert all(reading.detail for reading in manifest.columns if reading.read_as == "ignored")


def test_what_is_read_is_what_pycocotools_reads(make_tree: MakeTree) -> None:
    coco = document(one=("a", "a"), two=("b",), three=("a",))
    tree = make_tree({"coco.json": json.dumps(coco)} | {f"{n}.jpg": "" for n in ("one", "two", "three")})
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(tree / "coco.json"))
    expected = {
        image["file_name"]: theirs.loadCats(theirs.imgToAnns[number][0]["category_id"])[0]["name"]
        for number, image in theirs.imgs.items()
    }
    assert labels(read(tree)) == expected


def test_images_that_are_missing_are_named(make_tree: MakeTree) -> None:
    coco = json.dumps(document(x=("a",), y=("b",)))
    manifest = read(make_tree({"coco.json": coco, "x.jpg": ""}))
    assert rejections(manifest) == {"y.jpg": FileCode.MISSING_FILE}
    (manifest.root / "x.jpg").unlink()
    with pytest.raises(FormatError, match=r"2 images, none .*'x\.jpg', 'y\.jpg'.*put the images beside it"):
        read(manifest.root)


def test_an_image_in_two_splits_counts_once(make_tree: MakeTree) -> None:
    tree = make_tree(
        {f"annotations/instances_{split}.json": json.dumps(document(x=("a",))) for split in ("train", "val")}
        | {"images/x.jpg": ""}
    )
    manifest = read(tree)
    assert [(entry.path, entry.split) for entry in manifest.entries] == [("images/x.jpg", "train")]
    (twice,) = manifest.rejected
    assert (twice.code, "instances_val.json" in twice.detail) == (FileCode.LISTED_TWICE, True)


def test_a_name_alone_is_enough_only_where_one_image_has_it(make_tree: MakeTree) -> None:
    coco = document(x=("a",), y=("b",), z=("b",))
    for image, folder in zip(coco["images"], ("/home/me/1", "clip1", "clip2"), strict=True):
        image["file_name"] = f"{folder}/{'x' if folder.startswith('/') else 'frame'}.jpg"
    manifest = read(make_tree({"coco.json": json.dumps(coco), "x.jpg": "", "clip1/frame.jpg": ""}))
    assert labels(manifest) == {"x.jpg": "a", "clip1/frame.jpg": "b"}
    assert rejections(manifest) == {"clip2/frame.jpg": FileCode.MISSING_FILE}


def test_a_name_that_fits_several_files_is_not_guessed(make_tree: MakeTree) -> None:
    tree = make_tree({"coco.json": json.dumps(document(x=("a",))), "p/x.jpg": "", "q/x.jpg": ""})
    (rejection,) = read(tree).rejected
    assert (rejection.code, "p/x.jpg, q/x.jpg" in rejection.detail) == (FileCode.BAD_PATH, True)


def test_annotations_of_unknown_images_and_categories_without_a_name(make_tree: MakeTree) -> None:
    coco = document(x=("a",), y=("b",))
    coco["annotations"].append({"id": 99, "image_id": 77, "category_id": 1})
    coco["categories"] = [{"id": 1}, {"id": 2, "name": "a"}]
    manifest = read(make_tree({"coco.json": json.dumps(coco), "x.jpg": "", "y.jpg": ""}))
    assert labels(manifest) == {"x.jpg": "a"}
    assert rejections(manifest) == {"coco.json": FileCode.BAD_ROW, "y.jpg": FileCode.MISSING_LABEL}
    assert "77" in manifest.rejected[0].detail


def test_control_characters_in_a_category_are_refused(make_tree: MakeTree) -> None:
    coco = document(x=("a",), y=("b",))
    coco["categories"][0]["name"] = "a\u202e"
    manifest = read(make_tree({"coco.json": json.dumps(coco), "x.jpg": "", "y.jpg": ""}))
    assert rejections(manifest) == {"x.jpg": FileCode.BAD_ROW}


def test_a_file_too_large_to_be_read_whole_is_refused(make_tree: MakeTree) -> None:
    tree = make_tree({"coco.json": '{"images": [], "annotations": [], "categories": []', "cats/x.jpg": ""})
    with (tree / "coco.json").open("r+b") as file:
        file.truncate(300 << 20)
    with pytest.raises(FormatError, match="more than the limit"):
        read(tree)


def test_a_table_of_labels_counts_instead(make_tree: MakeTree) -> None:
    tree = make_tree(
        {"coco.json": json.dumps(document(x=("a", "b"))), "labels.csv": "path,label\nx.jpg,a\n", "x.jpg": ""}
    )
    assert read(tree).format is DatasetFormat.CSV


def test_other_json_is_no_list(make_tree: MakeTree) -> None:
    tree = make_tree({"package.json": '{"images": "no"}', "empty.json": "", "cat/1.png": "", "dog/1.png": ""})
    assert read(tree).format is DatasetFormat.IMAGE_FOLDER
    with pytest.raises(FormatError, match="no JSON file with images"):
        read(tree, DatasetFormat.COCO)
