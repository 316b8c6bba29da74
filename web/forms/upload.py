"""The fields of an upload besides its file, described in the words of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from masktune.contract.base import Strict
from masktune.contract.datasets import FormatOptions, UploadRequest
from masktune.contract.hyperparameters import DatasetFormat

FORMATS = {
    DatasetFormat.AUTO: "detect automatically",
    DatasetFormat.IMAGE_FOLDER: "one folder per class",
    DatasetFormat.CSV: "a table: CSV or Excel",
    DatasetFormat.HUGGING_FACE: "Hugging Face",
    DatasetFormat.COCO: "COCO",
    DatasetFormat.CVAT: "CVAT",
    DatasetFormat.LABEL_STUDIO: "Label Studio",
    DatasetFormat.WATERBIRDS: "Waterbirds",
    DatasetFormat.CELEBA: "CelebA",
    DatasetFormat.BACKGROUNDS_CHALLENGE: "Backgrounds Challenge",
    DatasetFormat.UNLABELLED: "images without labels, to be predicted",
}


@dataclass(frozen=True)
class UploadField:
    """A field that is left out of the request when it is empty."""

    name: str
    """Its JSON pointer in the request, without the first slash."""
    label: str
    example: str
    kind: Literal["text", "lines", "levels", "number", "switch"] = "text"

    @property
    def description(self) -> str:
        shape: type[Strict] = FormatOptions if self.name.startswith("options/") else UploadRequest
        return shape.model_fields[self.name.rpartition("/")[2]].description or ""


COMMON = (
    UploadField("options/subject", "Subjects by the path", "*/{subject}_*"),
    UploadField("options/hold_out", "Hold out for the test, one per line", "meta:site=Berlin", "lines"),
)
RARE = (
    UploadField("options/label", "Column of the classes", "label"),
    UploadField("options/path", "Column of the files", "path"),
    UploadField("options/group", "Groups", "meta:site"),
    UploadField("options/new_splits", "New splits", "", "switch"),
    UploadField("options/split", "Split of all images", "test"),
    UploadField("options/classes", "Classes, one per line", "all that occur", "lines"),
    UploadField("options/target", "CelebA’s label", FormatOptions().target),
    UploadField("options/grey_window", "Grey levels for black and white", "0, 4095", "levels"),
    UploadField("seed", "Seed", "0", "number"),
)
