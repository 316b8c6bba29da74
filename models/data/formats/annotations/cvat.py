"""CVAT's "CVAT for images 1.1": XML in which an `<image>` has its class as a `<tag>`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element  # nosec B405  # for its type alone

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, iterparse

from models.data.formats.annotations.manifests import (
    MAX_BYTES,
    AnnotatedImage,
    Annotations,
    as_text,
    manifest,
)
from models.data.formats.manifest import (
    DatasetFormat,
    FormatError,
    FormatOptions,
    Listing,
    Manifest,
    require_size,
)
from models.data.report import ColumnReading, ProblemCode

_HEAD = 1024  # bytes in which the root must start
_NO_SPLIT = "default"  # CVAT's name of the subset of images that were put in none
_COLUMNS = (
    ColumnReading("name", "path"),
    ColumnReading("tag", "label"),
    ColumnReading("subset", "split"),
    ColumnReading("id", "ignored", "numbers the images within the file"),
    ColumnReading("width", "ignored", "is read from the image itself"),
    ColumnReading("height", "ignored", "is read from the image itself"),
)


def matches(listing: Listing) -> bool:
    """An XML file at the top whose root is `annotations`."""
    return bool(_lists(listing))


def read(listing: Listing, options: FormatOptions) -> Manifest:
    """An image is an `<image>`; its other attributes and those of its tag are metadata."""
    missing = 'there is no XML file of "CVAT for images 1.1" at the top: add it beside the images'
    annotations = Annotations.of(_lists(listing), *_COLUMNS, missing=missing)
    for path in annotations.lists:
        images = [_image(annotations, path, image) for image in _elements(listing.root / path)]
        if not images:
            raise FormatError(
                ProblemCode.BAD_LIST, f'{path} has no <image>: export it as "CVAT for images 1.1"'
            )
        annotations.images += images
    return manifest(listing, options, DatasetFormat.CVAT, annotations)


def _image(annotations: Annotations, path: str, image: Element) -> AnnotatedImage:
    tags = image.findall("tag")
    split = image.get("subset", "")
    of_tags = {
        attribute.get("name", ""): attribute.text for tag in tags for attribute in tag.findall("attribute")
    }
    return AnnotatedImage(
        place=f"image {image.get('id')} of {path}",
        name=image.get("name", ""),
        labels=tuple(dict.fromkeys(as_text(tag.get("label")) or "" for tag in tags)),
        split="" if split.casefold() == _NO_SPLIT else split,
        fields=annotations.fields_of(image.attrib | of_tags),
    )


def _elements(path: Path) -> Iterator[Element]:
    """The images of the file, each emptied when the next is asked for."""
    require_size(path, MAX_BYTES)
    try:
        root: Element | None = None
        for event, element in iterparse(path, events=("start", "end"), forbid_dtd=True):
            if root is None:
                root = element
            if event == "end" and element.tag == "image":
                yield element
                element.clear()
                root.clear()  # of images that are empty now, two hundred thousand of which take 40 MB
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise FormatError(
            ProblemCode.BAD_LIST, f"{path.name} is not plain XML: export it again ({error})"
        ) from error


def _lists(listing: Listing) -> list[str]:
    return [
        path
        for path in listing.top_files
        if path.lower().endswith(".xml") and _starts_as_cvat(listing.root / path)
    ]


def _starts_as_cvat(path: Path) -> bool:
    with path.open("rb") as file:
        return b"<annotations" in file.read(_HEAD)
