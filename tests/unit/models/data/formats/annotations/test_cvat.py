"""CVAT for images: tags become classes, subsets splits, attributes metadata."""

from __future__ import annotations

import pytest

from models.data.formats import DatasetFormat, FormatError, read
from models.data.report import FileCode
from tests.support.manifests import labels, rejections, splits
from tests.unit.models.data.conftest import MakeTree

EXPORT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><name>pets</name><labels><label><name>cat</name></label></labels></task></meta>
  {images}
</annotations>
"""


def image(name: str, *tags: str, attributes: str = "", inside: str = "") -> str:
    labels = "".join(f'<tag label="{tag}" source="manual">{inside}</tag>' for tag in tags)
    return f'<image id="0" name="{name}" width="8" height="8" {attributes}>{labels}</image>'


def export(*images: str) -> str:
    return EXPORT.format(images="\n".join(images))


def test_the_tag_of_an_image_is_its_class(make_tree: MakeTree) -> None:
    box = '<box label="dog" xtl="0" ytl="0" xbr="4" ybr="4" />'
    xml = export(
        image("a.jpg", "cat"),
        image("clip/b.jpg", "dog"),
        image("both.jpg", "cat", "dog"),
        image("boxes.jpg").replace("</image>", f"{box}</image>"),
    )
    files = ("a.jpg", "clip/b.jpg", "both.jpg", "boxes.jpg")
    manifest = read(make_tree({"annotations.xml": xml} | {f"images/{name}": "" for name in files}))
    assert manifest.format is DatasetFormat.CVAT
    assert labels(manifest) == {"images/a.jpg": "cat", "images/clip/b.jpg": "dog"}
    assert rejections(manifest) == {
        "images/both.jpg": FileCode.SEVERAL_LABELS,
        "images/boxes.jpg": FileCode.MISSING_LABEL,
    }


def test_a_subset_is_the_split_and_one_file_may_be_in_the_folder_of_each(make_tree: MakeTree) -> None:
    xml = export(
        image("x.jpg", "cat", attributes='subset="Train"'),
        image("x.jpg", "dog", attributes='subset="Validation"'),
        image("y.jpg", "dog", attributes='subset="default"'),
        image("z.jpg", "dog", attributes='subset="Batch 7"'),
    )
    files = ("train/x.jpg", "validation/x.jpg", "default/y.jpg", "z.jpg")
    manifest = read(make_tree({"annotations.xml": xml} | {f"images/{name}": "" for name in files}))
    assert splits(manifest) == {"images/train/x.jpg": "train", "images/validation/x.jpg": "val"}
    assert {rejection.code for rejection in manifest.rejected} == {
        FileCode.MISSING_SPLIT,
        FileCode.UNKNOWN_SPLIT,
    }


def test_without_subsets_there_are_no_splits(make_tree: MakeTree) -> None:
    xml = export(image("x.jpg", "cat", attributes='subset="default"'))
    manifest = read(make_tree({"annotations.xml": xml, "x.jpg": ""}))
    assert (manifest.splits, manifest.entries[0].split) == ((), None)


def test_attributes_are_metadata(make_tree: MakeTree) -> None:
    inside = '<attribute name="scanner">A</attribute><attribute name="subject">p1</attribute>'
    xml = export(image("x.jpg", "cat", inside=inside, attributes='task_id="3"'), image("y.jpg", "dog"))
    manifest = read(make_tree({"annotations.xml": xml, "x.jpg": "", "y.jpg": ""}))
    assert manifest.metadata_names == ("task_id", "scanner")
    assert [(entry.subject, entry.metadata) for entry in manifest.entries] == [
        ("p1", ("3", "A")),
        (None, ("", "")),
    ]


def test_other_xml_is_no_list(make_tree: MakeTree) -> None:
    tree = make_tree({"pom.xml": "<project/>", "cat/1.png": "", "dog/1.png": ""})
    assert read(tree).format is DatasetFormat.IMAGE_FOLDER
    with pytest.raises(FormatError, match="no XML file"):
        read(tree, DatasetFormat.CVAT)
