"""Data sets: requests and responses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, GetJsonSchemaHandler, StringConstraints
from pydantic_core.core_schema import CoreSchema, union_schema

from masktune.contract.base import (
    BARRED,
    MOST_NAME,
    ClassName,
    File,
    Metadata,
    Name,
    Options,
    Resource,
    Shape,
    Storable,
    Strict,
    Time,
    Word,
)
from masktune.contract.hyperparameters import BiasAssignment, BiasKind, DatasetFormat
from masktune.contract.problems import Problem
from masktune.contract.vocabulary import DatasetState

Seed = Annotated[int, Field(ge=0, lt=2**63, description="Seed of the splits that the import makes.")]


def _ascending(window: tuple[int, int]) -> tuple[int, int]:
    low, high = window
    if low >= high:
        raise ValueError("the first level must be below the second")
    return window


Level = Annotated[int, Field(ge=0, le=65_535, strict=True)]
GreyWindow = Annotated[tuple[Level, Level], Field(strict=False), AfterValidator(_ascending)]
"""Not strict, since JSON has lists alone; the levels in it are."""


MAX_CONDITION = 200  # characters
Condition = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_CONDITION, pattern=r"^meta:[^=\x00]+=[^\x00\n]+$"),
    Storable,
]


class FormatOptions(Strict):
    """`options` of an upload or an address."""

    classes: list[ClassName] | None = Field(
        None, min_length=2, max_length=100_000, description="The class list; other labels are rejected."
    )
    target: Word = Field("Blond_Hair", description="The CelebA attribute to use as the label.")
    group: Word | None = Field(
        None,
        description="What defines the groups: the column `meta:NAME` of a list, or an attribute of CelebA, "
        "by default `Male`.",
    )
    label: Word | None = Field(
        None, description="The column of a list that holds the classes, where several could."
    )
    path: Word | None = Field(None, description="The column of a list that names the files, likewise.")
    subject: Word | None = Field(
        None,
        description="Which part of a file's path names its subject (a patient, an animal, a burst): a "
        "pattern on the whole path such as `*/{subject}_*`, where `*` is any text without a slash and `**/` "
        "are any folders.",
        examples=["*/{subject}_*"],
    )
    hold_out: list[Condition] = Field(
        [],
        max_length=100,
        description="Makes the test split of the samples with these metadata, each `meta:NAME=VALUE`: "
        "sites, for one, that no model has seen.",
        examples=[["meta:site=Berlin"]],
    )
    new_splits: bool = Field(
        False,
        description="Ignores the splits that the files name: the import cuts its own and divides no subject.",
    )
    split: Literal["test"] | None = Field(
        None,
        description="`test` makes test images of all images, whatever the files say: a data set on which "
        "nothing is trained, and the models of a job are judged.",
    )
    grey_window: GreyWindow | None = Field(
        None,
        description="The grey levels of 12- and 16-bit images that become 0 and 255; by default measured on "
        "the training images.",
        examples=[[0, 4095]],
    )


class BuiltinOptions(Strict):
    """`options` of a builtin data set."""

    download: bool = Field(False, description="Whether MNIST, CIFAR-10 and SVHN may be downloaded.")
    size: int = Field(28, ge=8, le=256, description="Side of the digits in pixels.")
    kind: BiasKind = Field("square", description="What the shortcut of a biased set looks like.")
    ratio: float = Field(0.99, gt=0.5, lt=1, description="Share of the first class that has the shortcut.")
    assignment: BiasAssignment = Field("random", description="`order`: as in the paper's released code.")


@dataclass(frozen=True)
class _Of:
    """Documents a JSON object's fields in OpenAPI. The service validates them once it knows the source."""

    kinds: tuple[type[BaseModel], ...]

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(union_schema([kind.__pydantic_core_schema__ for kind in self.kinds]))


class UploadRequest(Strict):
    """The fields that accompany an uploaded file."""

    name: Name
    format: DatasetFormat = Field(DatasetFormat.AUTO, strict=False)  # a JSON string, not yet the enum
    options: Annotated[Options, _Of((FormatOptions,))] = Field(
        default_factory=dict, description="A JSON object: the class list, and which CelebA attributes to use."
    )
    seed: Seed = 0
    metadata: Metadata = Field(default_factory=dict, description="Notes of your own, a JSON object.")


class SourceRequest(UploadRequest):
    """A data set made from what the service can reach itself."""

    options: Annotated[Options, _Of((BuiltinOptions, FormatOptions))] = Field(
        default_factory=dict,
        description="A JSON object: the first shape for `builtin:NAME`, else the second.",
    )
    source: Annotated[str, StringConstraints(min_length=1, max_length=2000), Storable] = Field(
        description="`builtin:NAME`; `dataset:ID`, to read a data set again with other options; or an "
        "address, `file://…` or `s3://…`, that the operator allows.",
        examples=["builtin:biased-digits"],
    )


def name_of_source(source: str) -> str:
    """The last path segment without its extensions, in the way that an upload is named after its file."""
    last = re.sub(f"[{BARRED}]", " ", source.rstrip("/").rpartition("/")[2].removeprefix("builtin:"))
    return (last.partition(".")[0].strip() or last.strip() or "images")[:MOST_NAME]


class DatasetUpload(UploadRequest):
    """The form of an upload."""

    file: File = Field(
        description="zip, tar, tar.gz or tar.zst; with the format `unlabelled` also a table of paths."
    )


# --- responses ----


class Group(Shape):
    """Samples that share a class and an attribute; used to measure, never to train."""

    name: str
    n: int
    splits: dict[str, int] = {}


class Fact(Shape):
    """Something that the owner of a data set should know or fix."""

    code: str
    detail: str


class DatasetNote(Fact):
    """A fact about a data set that can be used; the `bad` ones come first."""

    tone: Literal["bad", "neutral"] = Field(
        "neutral", description="`bad`: it spoils what figures on the data set say."
    )


class Rejected(Shape):
    """A file that is not in the data set, and why."""

    path: str
    code: str
    detail: str


class Duplicates(Shape):
    """Files with the same image, each with its split and label. `same_bytes`: the files are identical."""

    paths: list[str]
    splits: list[str] = []
    labels: list[str] = []
    same_bytes: bool = False
    codes: list[str] = []
    more: int = Field(0, description="Further files with the image, which are not named here.")


class ColumnReading(Shape):
    """A column of a list, and what it was read as; `ignored` ones say why."""

    column: str
    read_as: Literal["path", "label", "split", "group", "subject", "metadata", "ignored"]
    detail: str = ""


class ImportReport(Shape):
    """What the import found. `GET /datasets/{id}/report` names every file; this names the first 1,000."""

    count: int = Field(0, description="Samples in the data set.")
    subjects: int = Field(0, description="Distinct subjects; 0 if none are named.")
    columns: list[ColumnReading] = Field([], description="What each column of a list was read as.")
    problems: list[Fact] = Field([], description="Why the data set is invalid.")
    notes: list[DatasetNote] = []
    rejected: list[Rejected] = Field([], description="The first 1,000; omitted in lists of data sets.")
    rejected_total: int = 0
    rejected_by_code: dict[str, int] = {}
    ignored_by_code: dict[str, int] = {}
    duplicates_by_code: dict[str, int] = Field(
        {}, description="Sets of equal pictures; `in_two_splits`: sets that are in more than one split."
    )
    duplicates: list[Duplicates] = Field(
        [],
        description="The first 100, those with two labels first, with 5 files of each; omitted in lists.",
    )
    classes: dict[str, dict[str, int]] = Field({}, description="Split → class → samples.")
    split_record: dict[str, Any] = Field({}, description="Which splits were given, which were made, and how.")
    shortcuts: dict[str, Any] | None = Field(
        None,
        description="Which simple property of an image (a corner, its brightness) predicts its class better "
        "than the majority does, with a permutation p-value over all properties: what a network may rely on.",
    )
    error: Problem | None = Field(None, description="Why the import failed.")


class FullReport(Shape):
    """What the import found, with every file by name.
    `rejected`: files that should have been images of the data set; `ignored`: files that were never meant to
    be."""

    name: str = ""
    count: int = 0
    subjects: int = 0
    columns: list[ColumnReading] = []
    problems: list[Fact] = []
    notes: list[DatasetNote] = []
    rejected: list[Rejected] = []
    ignored: list[Rejected] = []
    duplicates: list[Duplicates] = []


class TextCount(Shape):
    """A text of a column, and in how many samples it is."""

    text: str
    n: int


class MetadataColumn(Shape):
    """What a column of metadata holds: numbers from `low` to `high`, or texts."""

    name: str = Field(description="Without `meta:`.")
    kind: Literal["text", "number"]
    distinct: int = Field(description="Different texts or numbers in it.")
    missing: int = Field(description="Samples whose cell is empty.")
    most_frequent: list[TextCount] = Field(
        [], description="The 20 most frequent texts, of those with at most 200 characters."
    )
    low: float | None = None
    high: float | None = None


class Dataset(Resource):
    """A data set. `splits` counts the samples of each split; `report` says what was rejected and why."""

    name: str
    state: DatasetState
    format: str = Field(description="As the import found it; until then as requested.")
    source: dict[str, Any] = {}
    labelled: bool = Field(True, description="False: its images have no labels and can only be predicted.")
    classes: list[str] = []
    splits: dict[str, int] = Field({}, description="Samples of each split; empty without labels.")
    split_subjects: dict[str, int] = Field(
        {}, description="Distinct subjects of each split; empty if none are named."
    )
    groups: list[Group] = []
    subjects: int = Field(0, description="Distinct patients, animals, bursts …; 0 if none are named.")
    subject_word: str = Field("subject", description="What the owner calls one, by the column: patient, say.")
    metadata_columns: list[MetadataColumn] = Field([], description="What the columns `meta:NAME` hold.")
    report: ImportReport | None = None
    job: str | None = Field(None, description="The import job; null once it was deleted.")
    created_at: Time
    ended_at: Time | None = None
