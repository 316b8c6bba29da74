"""Data sets: what the API answers."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from masktune.contract.base import Shape, Time
from masktune.contract.vocabulary import DatasetState


class Group(Shape):
    """Samples that share a class and an attribute; used to measure, never to train."""

    name: str
    n: int
    splits: dict[str, int] = {}


class Fact(Shape):
    """Something that the owner of a data set should know or fix."""

    code: str
    detail: str


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


class ImportReport(Shape):
    """What the import found. `GET /datasets/{id}/report` names every file; this names the first 1,000."""

    count: int = Field(0, description="Samples in the data set.")
    problems: list[Fact] = Field([], description="Why the data set is invalid.")
    notes: list[Fact] = []
    rejected: list[Rejected] = Field([], description="The first 1,000; omitted in lists of data sets.")
    rejected_total: int = 0
    rejected_by_code: dict[str, int] = {}
    ignored_by_code: dict[str, int] = {}
    duplicates_by_code: dict[str, int] = Field(
        {}, description="Sets of equal pictures; `in_two_splits`: sets that are in more than one split."
    )
    classes: dict[str, dict[str, int]] = Field({}, description="Split → class → samples.")
    split_record: dict[str, Any] = Field({}, description="Which splits were given, which were made, and how.")
    shortcuts: dict[str, Any] | None = Field(
        None,
        description="Which simple property of an image (a corner, its brightness) predicts its class better "
        "than the majority does, with a permutation p-value over all properties: what a network may lean on.",
    )
    error: dict[str, Any] | None = Field(None, description="The problem that ended the import.")


class FullReport(Shape):
    """What the import found, with every file by name. `rejected`: files that should have been images of the
    data set; `ignored`: files that were never meant to be."""

    name: str = ""
    count: int = 0
    problems: list[Fact] = []
    notes: list[Fact] = []
    rejected: list[Rejected] = []
    ignored: list[Rejected] = []
    duplicates: list[Duplicates] = []


class Dataset(Shape):
    """A data set. `splits` counts the samples of each split; `report` says what was rejected and why."""

    id: str
    name: str
    state: DatasetState
    format: str | None = Field(None, description="As the import found it; until then as requested.")
    source: dict[str, Any] = {}
    classes: list[str] = []
    splits: dict[str, int] = {}
    groups: list[Group] = []
    report: ImportReport | None = None
    job: str | None = Field(None, description="The import job.")
    created_at: Time | None = None
    ended_at: Time | None = None


class Sample(Shape):
    """One image of a data set. `id` is its number there."""

    id: int
    path: str | None = Field(None, description="Its name in the upload.")
    label: str = Field(description="The name of its class.")
    split: str
    group: str | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = Field(None, description="Digest of the image file.")
