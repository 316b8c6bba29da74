"""The report of an import: every rejected file with its code, duplicates, counts and the final state."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

REPORT_FILE = "report.json"


class ImportStopped(Exception):
    """`should_stop` returned true. Nothing was left behind; the import can be started again."""


def some_names(names: Sequence[str], most: int = 5) -> str:
    """The first of these names, and how many more there are; empty if there are none."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


class FileCode(StrEnum):
    """Why one file was left out; the data set may be usable without it."""

    ANIMATED = "animated"  # the file holds several pictures; save the one you need as a still image
    BAD_PATH = "bad_path"  # the list has no path for the file, or one outside the data set
    BAD_ROW = "bad_row"  # the row of the list lacks a value, or has one that cannot be read
    EMPTY_FILE = "empty_file"  # the file is empty
    JUNK = "junk"  # an operating system left the file there; it was ignored
    LINK = "link"  # the name is a link or a device and was not followed
    LISTED_TWICE = "listed_twice"  # the list names the file a second time; the first row counts
    MISLABELLED = "mislabelled"  # the file's content has a different image type from its name
    MISSING_FILE = "missing_file"  # the list names a file that is not in the data set
    MISSING_LABEL = "missing_label"  # the row has no label
    MISSING_SPLIT = "missing_split"  # the row has no split although other rows have one
    NO_CLASS = "no_class"  # the image is not in the folder of a class
    NOT_AN_IMAGE = "not_an_image"  # the content is not an image, whatever its name
    NOT_LISTED = "not_listed"  # in no list, or the format has no use for it; it was ignored
    PIXEL_BOMB = "pixel_bomb"  # the image has more pixels than the service accepts
    SEVERAL_LABELS = "several_labels"  # the list gives the image several classes; a sample has one
    TOO_LARGE = "too_large"  # the file has more bytes than the service accepts for one image
    TOO_SMALL = "too_small"  # the image has fewer pixels than a network could use
    TRUNCATED = "truncated"  # the file ends before the image does
    UNDECODABLE = "undecodable"  # the image is damaged: it has the right type but cannot be decoded
    UNKNOWN_LABEL = "unknown_label"  # the label is not in the class list
    UNKNOWN_SPLIT = "unknown_split"  # the split is not train, val, calibration or test
    UNSUPPORTED_MODE = "unsupported_mode"  # the pixels cannot be read as RGB unambiguously
    UNSUPPORTED_TYPE = "unsupported_type"  # the file name is not one of an image type that the service reads


class ProblemCode(StrEnum):
    """Why a data set as a whole cannot be used."""

    ABSOLUTE_NAME = "absolute_name"  # the archive holds an absolute name
    AMBIGUOUS_LIST = "ambiguous_list"  # several lists, or several columns of one, could be meant
    BAD_LIST = "bad_list"  # the list of images or attributes cannot be read
    BAD_NAME = "bad_name"  # a name with control characters or backslashes, or one that is too long
    CLASS_NOT_IN_TRAIN = "class_not_in_train"  # a class has no training image, so no model could learn it
    CLIMBING_NAME = "climbing_name"  # the archive holds a name that climbs out of its folder
    DAMAGED_ARCHIVE = "damaged_archive"  # the archive is truncated or damaged
    DUPLICATE_NAME = "duplicate_name"  # the archive holds a name twice (case is ignored)
    EMPTY_SPLIT = "empty_split"  # a split has no usable image
    ENCRYPTED = "encrypted"  # the archive is encrypted
    HOLD_OUT = "hold_out"  # a test split cannot be made of the samples to hold out
    LINK = "link"  # the archive holds a link
    NESTED_ARCHIVE = "nested_archive"  # the archive holds another archive
    NO_IMAGES = "no_images"  # there is no usable image
    NOT_AN_ARCHIVE = "not_an_archive"  # the file is not a zip, tar, tar.gz or tar.zst archive
    ONE_CLASS = "one_class"  # there are fewer than two classes
    OVERLAPPING_ENTRIES = "overlapping_entries"  # entries of the archive overlap
    SOURCE_DAMAGED = "source_damaged"  # the files of a builtin data set are damaged
    SOURCE_UNAVAILABLE = "source_unavailable"  # a builtin data set is neither local nor can be downloaded
    SPECIAL_FILE = "special_file"  # the archive holds a device, a pipe or a sparse file
    SUBJECT_PATTERN = "subject_pattern"  # the pattern on the paths cannot name the subjects
    TOO_COSTLY = "too_costly"  # reading the archive or its lists takes more time or memory than allowed
    TOO_MANY_BYTES = "too_many_bytes"  # the archive holds more bytes than the service accepts
    TOO_MANY_ENTRIES = "too_many_entries"  # the archive holds more entries than the service accepts
    UNKNOWN_ATTRIBUTE = "unknown_attribute"  # the attribute chosen as target or group does not exist
    UNKNOWN_BUILTIN = "unknown_builtin"  # there is no builtin data set with that name
    UNKNOWN_FORMAT = "unknown_format"  # the files are not in a layout that the service knows
    UNSUPPORTED_COMPRESSION = "unsupported_compression"  # a zip entry is compressed in an unusual way
    WRONG_RATIO = "wrong_ratio"  # the archive unpacks to far more bytes than its size justifies


class NoteCode(StrEnum):
    """What the owner of a usable data set should know."""

    CLASS_NOT_IN_SPLIT = "class_not_in_split"  # a class has no image in one of the evaluation splits
    CONFLICTING_LABELS = "conflicting_labels"  # the same picture has two labels
    DUPLICATES = "duplicates"  # the same picture occurs more than once; all copies were kept
    EMPTY_CLASS = "empty_class"  # a class of the list or a class folder has no usable image
    FILES_NOT_USED = "files_not_used"  # files are in the upload that are no part of the data set
    GREY_WINDOW = "grey_window"  # images have 16-bit grey levels; those of the window named become 0 to 255
    HOLD_OUT = "hold_out"  # the test split was made of the samples with the metadata named
    IN_TWO_SPLITS = "in_two_splits"  # the same picture occurs in two splits; all copies were kept
    ONLY_TEST = "only_test"  # all images are in the test split, so nothing can be trained on the data set
    SMALL_IMAGES = "small_images"  # some images are so small beside the others that they are blurred
    SPLITS_MADE = "splits_made"  # missing splits were made from the given ones
    SUBJECT_IN_TWO_CLASSES = "subject_in_two_classes"  # images of one subject have different classes
    SUBJECT_IN_TWO_SPLITS = "subject_in_two_splits"  # images of one subject are in two of the given splits
    UNEVEN_SPLITS = "uneven_splits"  # subjects stay whole, so a split is far from the size aimed at
    WITHOUT_SUBJECT = "without_subject"  # some images have no subject; each counts as one of its own


class Rejection(NamedTuple):
    """A file (or a row of a list) that is not in the data set, and what to do about it."""

    path: str
    code: FileCode
    detail: str


class Problem(NamedTuple):
    """A reason why the data set is invalid."""

    code: ProblemCode
    detail: str


class Note(NamedTuple):
    """A fact about a usable data set that its owner should know; `bad` if it spoils what the figures say."""

    code: NoteCode
    detail: str
    tone: Literal["bad", "neutral"] = "neutral"


ColumnUse = Literal["path", "label", "split", "group", "subject", "metadata", "ignored"]


class ColumnReading(NamedTuple):
    """What a column of a list was read as, and why, where it was left out."""

    column: str
    read_as: ColumnUse
    detail: str = ""


SUBJECT = "subject"
_SUBJECT_WORDS = ("patient", "animal", "individual", "slide", "case", "burst")


def subject_word(columns: Iterable[ColumnReading]) -> str:
    """What the owner calls a subject, by the column that names it: patient, animal …, else subject."""
    called = "".join(reading.column.casefold() for reading in columns if reading.read_as == SUBJECT)
    return next((word for word in _SUBJECT_WORDS if word in called), SUBJECT)


class ImportRefused(Exception):
    """The data cannot be imported at all.

    ImportRefused
    ├── ArchiveError   models.data.archives
    ├── FormatError    models.data.formats
    └── SourceError    models.data.importing.builtin
    """

    def __init__(self, code: ProblemCode, detail: str) -> None:
        super().__init__(code, detail)  # what it is made of again in another process
        self.problem = Problem(code, detail)

    def __str__(self) -> str:
        return self.problem.detail


@dataclass(frozen=True)
class DuplicateSet:
    """Files with the same pixels, their splits and labels. `same_bytes`: the files are identical too."""

    paths: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    same_bytes: bool

    @property
    def codes(self) -> tuple[NoteCode, ...]:
        """What is wrong: copies within a split or in several, and conflicting labels."""
        crossing = NoteCode.IN_TWO_SPLITS if len(set(self.splits)) > 1 else NoteCode.DUPLICATES
        return (crossing, NoteCode.CONFLICTING_LABELS) if len(set(self.labels)) > 1 else (crossing,)


@dataclass(frozen=True)
class ImportReport:
    """The outcome of one import.
    `splits` is {split: {count, classes: {name: n}, groups: {name: n}, subjects}}.

    `rejected` names every file that should have been an image of the data set but is not;
    `ignored` names the files that were never meant to be one. `subjects` counts the distinct ones.
    """

    state: Literal["ready", "invalid"]
    name: str
    format: str | None
    count: int = 0
    classes: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    splits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    split_record: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    notes: tuple[Note, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    ignored: tuple[Rejection, ...] = ()
    duplicates: tuple[DuplicateSet, ...] = ()
    columns: tuple[ColumnReading, ...] = ()
    subjects: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values that name every file."""
        return {
            "state": self.state,
            "name": self.name,
            "format": self.format,
            "count": self.count,
            "subjects": self.subjects,
            "columns": [column._asdict() for column in self.columns],
            "classes": list(self.classes),
            "group_names": list(self.group_names),
            "splits": dict(self.splits),
            "split_record": dict(self.split_record),
            "problems": [problem._asdict() for problem in self.problems],
            "notes": [note._asdict() for note in self.notes],
            "rejected": [rejection._asdict() for rejection in self.rejected],
            "ignored": [rejection._asdict() for rejection in self.ignored],
            "duplicates": [dataclasses.asdict(d) | {"codes": d.codes} for d in self.duplicates],
        }

    def summary(self) -> dict[str, Any]:
        """Plain JSON values with counts only, so small however many files were rejected."""
        codes = Counter(code for duplicate in self.duplicates for code in duplicate.codes)
        return {
            "state": self.state,
            "count": self.count,
            "subjects": self.subjects,
            "columns": [column._asdict() for column in self.columns],
            "problems": [problem._asdict() for problem in self.problems],
            "notes": [note._asdict() for note in self.notes],
            "rejected": dict(Counter(rejection.code for rejection in self.rejected)),
            "ignored": dict(Counter(rejection.code for rejection in self.ignored)),
            "duplicates": dict(codes),
        }
