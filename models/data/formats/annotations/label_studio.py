"""Label Studio's exports JSON and JSON-MIN: the class is the choice of the first completed annotation.

https://labelstud.io/guide/task_format
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from models.data.formats.annotations.manifests import (
    AnnotatedImage,
    Annotations,
    as_text,
    is_json_with,
    manifest,
    read_json,
)
from models.data.formats.manifest import (
    DatasetFormat,
    FormatError,
    FormatOptions,
    Listing,
    Manifest,
    is_image_name,
)
from models.data.report import ColumnReading, ProblemCode

_TASKS = (b'"annotations"', b'"data"')
_MIN = (b'"annotation_id"', b'"lead_time"')
_DEFAULT_QUESTION = "choice"  # in Label Studio's template for classifying images
_EXAMPLES = 20
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
_MIN_OWN = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time")


class _Task(NamedTuple):
    """An image's address, the classes chosen for each question, and the other fields."""

    place: str
    address: str
    answers: Mapping[str, Sequence[str]]
    fields: Mapping[str, Any]


def matches(listing: Listing) -> bool:
    """A JSON list at the top with the keys of either export."""
    return bool(_lists(listing))


def read(listing: Listing, options: FormatOptions) -> Manifest:
    """A task is an image. Of several questions, `options.label` names the one that is the class."""
    missing = "there is no JSON or JSON-MIN export of Label Studio at the top: add it beside the images"
    annotations = Annotations.of(_lists(listing), missing=missing)
    lists = annotations.lists
    tasks = [task for path in lists for task in _tasks(annotations, read_json(listing.root / path), path)]
    question = _question(tasks, options.label, lists)
    annotations.note(ColumnReading(question, "label", "the first completed annotation of an image counts"))
    if any("split" in task.fields for task in tasks):
        annotations.note(ColumnReading("split", "split"))
    names = {PurePosixPath(path).name for path in listing.files}
    for task in tasks:
        others = {name: ", ".join(labels) for name, labels in task.answers.items()}
        annotations.images.append(
            AnnotatedImage(
                place=task.place,
                name=_file_name(task.address, names),
                labels=task.answers.get(question, ()),
                split=as_text(task.fields.get("split")) or "",
                fields=annotations.fields_of({**task.fields, **others}),
            )
        )
    return manifest(listing, options, DatasetFormat.LABEL_STUDIO, annotations)


def _tasks(annotations: Annotations, document: Any, path: str) -> Iterator[_Task]:
    if not isinstance(document, list) or not all(isinstance(task, dict) for task in document):
        raise FormatError(ProblemCode.BAD_LIST, f"{path} is not a list of tasks: export it as JSON again")
    for task in document:
        fields, answers = task, {}
        if isinstance(task.get("data"), dict):
            fields, answers = task["data"], _answers(task.get("annotations"))
        else:  # JSON-MIN: the image, the answers and the rest side by side
            annotations.note(*(ColumnReading(name, "ignored", "is Label Studio's own") for name in _MIN_OWN))
        image = next((name for name, content in fields.items() if _is_image(content)), "")
        if image:
            annotations.note(ColumnReading(image, "path"))
        if fields is task:
            answers = {name: _choices_of(task[name]) for name in task if name not in (image, *_MIN_OWN)}
        others = {name: content for name, content in fields.items() if name not in answers}
        place = f"task {as_text(task.get('id'))} of {path}"
        yield _Task(place, fields.get(image, ""), answers, others)


def _answers(annotations: Any) -> dict[str, Sequence[str]]:
    """What the first completed annotation says of the whole image, by question."""
    for annotation in annotations if isinstance(annotations, list) else ():
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        regions = annotation.get("result")
        answers = {
            str(region.get("from_name")): _choices_of(region.get("value"))
            for region in (regions if isinstance(regions, list) else ())
            if isinstance(region, dict) and region.get("type") == "choices"
        }
        if answers:
            return answers
    return {}


def _choices_of(answer: Any) -> Sequence[str]:
    """The classes of an answer: `{"choices": [...]}`, or a text for a single one in JSON-MIN."""
    choices = answer.get("choices") if isinstance(answer, dict) else [answer]
    texts = (as_text(choice) for choice in (choices if isinstance(choices, list) else ()))
    return tuple(dict.fromkeys(text for text in texts if text))


def _question(tasks: Sequence[_Task], label: str | None, lists: Sequence[str]) -> str:
    """The name of the control whose choice is the class."""
    questions = sorted({name for task in tasks for name, labels in task.answers.items() if labels})
    if label is None and len(questions) == 1:
        return questions[0]
    question = label or _DEFAULT_QUESTION
    if question in questions:
        return question
    if not questions:
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"{lists[0]} has no task with a completed choice: annotate the images with <Choices>, and "
            "export it again",
        )
    raise FormatError(
        ProblemCode.AMBIGUOUS_LIST if label is None else ProblemCode.BAD_LIST,
        f"{lists[0]} has answers to {', '.join(questions[:_EXAMPLES])}: name the one that is the class in "
        "options.label",
    )


def _is_image(content: Any) -> bool:
    return isinstance(content, str) and is_image_name(_path(content))


def _path(address: str) -> str:
    """The path in an address; that of a file in local storage stands in its query."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    return parse_qs(parts.query).get("d", [unquote(parts.path)])[0]


def _file_name(address: str, names: Set[str]) -> str:
    """The path in an address, without what Label Studio adds to the name of an uploaded file if that was not
    uploaded here."""
    path = _path(address)
    name = PurePosixPath(path).name
    original = _UPLOAD_PREFIX.sub("", name)
    return path if name in names or original not in names else path.removesuffix(name) + original


def _lists(listing: Listing) -> list[str]:
    return [
        path
        for path in listing.top_files
        if path.lower().endswith(".json")
        and any(is_json_with(keys, listing.root / path, start=b"[") for keys in (_TASKS, _MIN))
    ]
