"""Label Studio: choices become classes, in the shape that its documentation gives of an export."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.data.formats import DatasetFormat, FormatError, FormatOptions, read
from models.data.report import FileCode, ProblemCode
from tests.support.manifests import labels, readings, rejections
from tests.unit.models.data.conftest import MakeTree


def choice(*choices: str, question: str = "choice") -> dict[str, Any]:
    return {"from_name": question, "to_name": "image", "type": "choices", "value": {"choices": list(choices)}}


def annotation(*regions: dict[str, Any], cancelled: bool = False) -> dict[str, Any]:
    return {"id": 1, "result": list(regions), "was_cancelled": cancelled, "completed_by": 1}


def export(*tasks: tuple[dict[str, Any], list[dict[str, Any]]]) -> str:
    """Tasks of (data, annotations) as the JSON export has them."""
    document = [
        {"id": number, "data": fields, "annotations": annotations, "predictions": []}
        for number, (fields, annotations) in enumerate(tasks, 1)
    ]
    return json.dumps(document)


def test_the_choice_of_the_first_completed_annotation_is_the_class(make_tree: MakeTree) -> None:
    text = export(
        ({"image": "/data/upload/3/0a1b2c3d-x.jpg"}, [annotation(choice("cat"))]),
        (
            {"image": "/data/upload/3/1a1b2c3d-y.jpg"},
            [annotation(choice("cat"), cancelled=True), annotation(), annotation(choice("dog"))],
        ),
        ({"image": "/data/upload/3/2a1b2c3d-z.jpg"}, [annotation(cancelled=True)]),
        ({"image": "/data/upload/3/3a1b2c3d-both.jpg"}, [annotation(choice("cat", "dog"))]),
    )
    files = ("0a1b2c3d-x.jpg", "y.jpg", "z.jpg", "both.jpg")
    manifest = read(make_tree({"project-3.json": text} | {f"images/{name}": "" for name in files}))
    assert manifest.format is DatasetFormat.LABEL_STUDIO
    assert labels(manifest) == {"images/0a1b2c3d-x.jpg": "cat", "images/y.jpg": "dog"}
    assert rejections(manifest) == {
        "images/z.jpg": FileCode.MISSING_LABEL,
        "images/both.jpg": FileCode.SEVERAL_LABELS,
    }


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/scans/a/x%201.jpg?token=abc",
        "s3://bucket/scans/a/x 1.jpg",
        "/data/local-files/?d=scans/a/x%201.jpg",
        "a\\x 1.jpg",
    ],
)
def test_an_address_means_the_file_whose_path_ends_alike(make_tree: MakeTree, address: str) -> None:
    text = export(({"image": address}, [annotation(choice("cat"))]))
    manifest = read(make_tree({"export.json": text, "a/x 1.jpg": "", "b/x 1.jpg": ""}))
    assert labels(manifest) == {"a/x 1.jpg": "cat"}


def test_other_fields_of_a_task_are_metadata(make_tree: MakeTree) -> None:
    regions = (choice("cat", question="species"), choice("good", question="quality"))
    text = export(
        (
            {"image": "x.jpg", "site": "Berlin", "subject": "p1", "split": "train", "boxes": [1]},
            [annotation(*regions)],
        )
    )
    tree = make_tree({"export.json": text, "x.jpg": ""})
    with pytest.raises(FormatError, match=r"quality, species.*options\.label") as several:
        read(tree)
    assert several.value.problem.code is ProblemCode.AMBIGUOUS_LIST
    manifest = read(tree, options=FormatOptions(label="species"))
    assert labels(manifest) == {"x.jpg": "cat"}
    assert manifest.metadata_names == ("site", "quality")
    (entry,) = manifest.entries
    assert (entry.subject, entry.split, entry.metadata) == ("p1", "train", ("Berlin", "good"))
    assert readings(manifest.columns) == {
        "image": "path",
        "species": "label",
        "split": "split",
        "boxes": "ignored",
        "subject": "subject",
        "site": "metadata",
        "quality": "metadata",
    }


def test_json_min(make_tree: MakeTree) -> None:
    own = {"annotator": 1, "annotation_id": 5, "created_at": "x", "updated_at": "x", "lead_time": 1.5}
    tasks: list[dict[str, Any]] = [
        {"image": "/data/upload/1/x.jpg", "site": "Berlin", "id": 1, "choice": "cat"} | own,
        {"image": "/data/upload/1/y.jpg", "site": "Bonn", "id": 2, "choice": {"choices": ["a", "b"]}} | own,
    ]
    manifest = read(make_tree({"export.json": json.dumps(tasks), "x.jpg": "", "y.jpg": ""}))
    assert manifest.format is DatasetFormat.LABEL_STUDIO
    assert labels(manifest) == {"x.jpg": "cat"}
    assert rejections(manifest) == {"y.jpg": FileCode.SEVERAL_LABELS}
    assert manifest.metadata_names == ("site",)
    assert manifest.entries[0].metadata == ("Berlin",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"data": {}, "annotations": []}', "not JSON"),
        ('["data", "annotations"]', "not a list of tasks"),
        ('[{"data": {"image": "x.jpg"}, "annotations": []}]', "no task with a completed choice"),
        ('[{"data": 0, "annotations": ' + "[" * 200_000, "nested too deeply"),
    ],
)
def test_a_file_that_cannot_be_read_is_said(make_tree: MakeTree, text: str, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        read(make_tree({"export.json": text, "cats/x.jpg": ""}))


def test_a_question_that_does_not_exist_is_said(make_tree: MakeTree) -> None:
    text = export(({"image": "x.jpg"}, [annotation(choice("cat"))]))
    with pytest.raises(FormatError, match="answers to choice"):
        read(make_tree({"export.json": text, "x.jpg": ""}), options=FormatOptions(label="species"))


def test_a_task_without_an_image_is_rejected(make_tree: MakeTree) -> None:
    text = export(
        ({"image": "x.jpg"}, [annotation(choice("cat"))]), ({"text": "hm"}, [annotation(choice("dog"))])
    )
    manifest = read(make_tree({"export.json": text, "x.jpg": ""}))
    assert [(rejection.path, rejection.code) for rejection in manifest.rejected] == [
        ("export.json", FileCode.BAD_PATH)
    ]


def test_other_json_is_no_export(make_tree: MakeTree) -> None:
    tree = make_tree({"list.json": '["data"]', "cat/1.png": "", "dog/1.png": ""})
    assert read(tree).format is DatasetFormat.IMAGE_FOLDER
    with pytest.raises(FormatError, match="no JSON or JSON-MIN export"):
        read(tree, DatasetFormat.LABEL_STUDIO)
