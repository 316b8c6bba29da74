"""DICOM: grey levels, windows and patients of a header, of which nothing else is kept."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from models.data.download import download
from models.data.formats import FormatOptions
from models.data.grey import GreyWindow
from models.data.images.checks import check_image, decode_image, grey_levels, stored_file
from models.data.images.dicom import read_header
from models.data.images.limits import ImageLimits
from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.report import FileCode, NoteCode, Rejection
from models.data.store import Store
from tests.integration.models.data.conftest import ImportFiles
from tests.support.dicoms import NAME, RAMP, dicom, encoded_dicom


def compressed(pixels: NDArray[Any], syntax: UID, format: str, **tags: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    image = dicom(pixels, **tags)
    image.PixelData = encapsulate([buffer.getvalue()])
    image["PixelData"].is_undefined_length = True
    return encoded_dicom(image, syntax)


def refusal(content: bytes, limits: ImageLimits | None = None) -> Rejection:
    rejection = check_image(content, "a.dcm", limits)
    assert isinstance(rejection, Rejection), rejection
    return rejection


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_12_bit_levels_are_the_stored_ones(syntax: UID) -> None:
    content = encoded_dicom(dicom(), syntax)
    assert np.array_equal(grey_levels(content), RAMP)
    picture = decode_image(content, window=GreyWindow(0, 4095))
    assert (picture.type, picture.image.mode, picture.image.size) == ("DICOM", "RGB", (16, 12))


def test_white_is_high_whatever_the_file_says() -> None:
    assert np.array_equal(grey_levels(encoded_dicom(dicom(kind="MONOCHROME1"))), 4095 - RAMP)


def test_signed_levels_start_at_0() -> None:
    signed = RAMP.astype(np.int16) - 2048
    assert np.array_equal(grey_levels(encoded_dicom(dicom(signed))), RAMP)


def test_those_of_a_ct_are_hounsfield_units_whatever_the_scanner_stores() -> None:
    unsigned = encoded_dicom(dicom(Modality="CT", RescaleSlope=1, RescaleIntercept=-1024))
    signed = RAMP.astype(np.int16) - 1024
    assert np.array_equal(grey_levels(unsigned), RAMP)
    assert np.array_equal(
        grey_levels(encoded_dicom(dicom(signed, bits=16, Modality="CT", RescaleIntercept=0, RescaleSlope=1))),
        RAMP,
    )


def test_8_bits_and_colours_are_as_they_are() -> None:
    grey = (RAMP // 16).astype(np.uint8)
    assert np.array_equal(np.asarray(decode_image(encoded_dicom(dicom(grey, bits=8))).image)[:, :, 0], grey)
    colours = np.stack([grey, grey // 2, 255 - grey], 2)
    picture = decode_image(encoded_dicom(dicom(colours, bits=8, kind="RGB"))).image
    assert np.array_equal(np.asarray(picture), colours)


def test_compressed_pixels() -> None:
    image = dicom()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.compress(RLELossless, RAMP)
    assert np.array_equal(grey_levels(encoded_dicom(image, RLELossless)), RAMP)
    grey = (RAMP // 16).astype(np.uint8)
    lossless = compressed(grey, JPEG2000Lossless, "JPEG2000", bits=8)
    assert np.array_equal(np.asarray(decode_image(lossless).image)[:, :, 0], grey)
    lossy = compressed(grey, JPEGBaseline8Bit, "JPEG", bits=8)
    assert np.abs(np.asarray(decode_image(lossy).image)[:, :, 0].astype(int) - grey).mean() < 5


@pytest.mark.parametrize(
    ("tags", "window"),
    [
        ({"WindowCenter": 2000, "WindowWidth": 1000}, (1500, 2499)),
        ({"WindowCenter": ["2000", "40"], "WindowWidth": ["1000", "80"]}, (1500, 2499)),
        ({"WindowCenter": 40, "WindowWidth": 400, "Modality": "CT"}, (864, 1263)),
        ({"WindowCenter": 0, "WindowWidth": 200, "RescaleSlope": 2, "RescaleIntercept": -400}, (150, 250)),
        ({"WindowCenter": 2000, "WindowWidth": 1000, "kind": "MONOCHROME1"}, (1596, 2595)),
        ({"WindowCenter": 2000}, None),
        ({"WindowCenter": 2000, "WindowWidth": 0}, None),
        ({"WindowCenter": 9e9, "WindowWidth": 100}, None),
        ({}, None),
    ],
)
def test_the_window_of_the_header_is_in_levels(tags: dict[str, Any], window: tuple[int, int] | None) -> None:
    assert read_header(encoded_dicom(dicom(**tags))).window == window


@pytest.mark.parametrize(
    ("image", "code", "words"),
    [
        (dicom(None), FileCode.NOT_AN_IMAGE, "without pixels"),
        (dicom(NumberOfFrames=16), FileCode.ANIMATED, "holds 16 frames: save the one you need"),
        (dicom(kind="PALETTE COLOR"), FileCode.UNSUPPORTED_MODE, "MONOCHROME2"),
        (dicom(RAMP.astype(np.uint32), bits=32), FileCode.UNSUPPORTED_MODE, "32 bits"),
        (dicom(Rows=1), FileCode.TOO_SMALL, "at least 8"),
        (dicom(Rows=100), FileCode.UNDECODABLE, "damaged"),
    ],
)
def test_what_cannot_be_used_says_what_to_do(image: Dataset, code: FileCode, words: str) -> None:
    rejection = refusal(encoded_dicom(image))
    assert (rejection.code, words in rejection.detail) == (code, True), rejection


def test_pixels_without_a_decoder_say_what_to_do() -> None:
    image = dicom(PixelData=encapsulate([b"\0" * 64]))
    image["PixelData"].is_undefined_length = True
    rejection = refusal(encoded_dicom(image, JPEGLSLossless))
    assert rejection.code is FileCode.UNSUPPORTED_TYPE
    assert "JPEG-LS Lossless" in rejection.detail
    assert "save it uncompressed" in rejection.detail


SEQUENCE, ITEM = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff", b"\xfe\xff\x00\xe0"
"""The start of one of undefined length, explicit and little endian; the tag of an item."""


@pytest.mark.parametrize(
    "sequences", [(SEQUENCE + ITEM + b"\xff" * 4) * 2000, SEQUENCE + (ITEM + b"\0" * 4) * 60_000]
)
def test_a_header_nested_deeply_or_of_many_items_is_refused(sequences: bytes) -> None:
    content = encoded_dicom(dicom())
    start = content.index(b"\x08\x00\x16\x00UI")
    assert refusal(content[:start] + sequences + content[start:]).code is FileCode.UNDECODABLE


def test_damaged_files_are_rejected_and_nothing_else() -> None:
    content = encoded_dicom(dicom(WindowCenter=40, WindowWidth=400))
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content[: int(rng.integers(140, len(content) + 1))])
        for place in rng.integers(132, len(damaged), 5):
            damaged[place] = int(rng.integers(256))
        check_image(bytes(damaged), "a.dcm")


# --- data sets ---


def scans(patients: int = 5, name: str = "p{}", **tags: Any) -> dict[str, bytes | str]:
    """Two classes of ten scans each, of as many patients, whose ids have this form."""
    return {
        f"{label}/{n}.dcm": encoded_dicom(
            dicom(RAMP + 10 * n + k, PatientID=name.format(n % patients), **tags)
        )
        for n in range(10)
        for k, label in enumerate(("ill", "well"))
    }


def listed(heading: str, cells: str, of_first: str = "") -> dict[str, bytes | str]:
    """A list of the scans with a further column: these cells, or another in the first of each class."""
    rows = [
        f"{label}/{n}.dcm,{label},{(not n and of_first) or cells}"
        for label in ("ill", "well")
        for n in range(10)
    ]
    return {"labels.csv": "\n".join([f"path,label,{heading}", *rows])}


def test_the_patient_is_the_subject_and_nothing_else_of_a_header_is_stored(
    tmp_path: Path, import_files: ImportFiles
) -> None:
    report = import_files(scans())
    assert (report.state, report.subjects) == ("ready", 5)
    assert ("DICOM PatientID", "subject") in {(one.column, one.read_as) for one in report.columns}
    store = Store.open(tmp_path / "ds")
    sample = store.sample(0)
    assert (sample.path, sample.subject) == ("ill/0.dcm.png", "p0")
    assert np.array_equal(grey_levels(store.image_bytes(0)), RAMP)
    for file in (tmp_path / "ds").iterdir():
        content = file.read_bytes()
        assert NAME.encode() not in content
        assert b"19700101" not in content


def test_what_took_the_picture_is_metadata(tmp_path: Path, import_files: ImportFiles) -> None:
    files = scans(Manufacturer="ACME", ManufacturerModelName="X 1", ViewPosition="PA")
    for n in range(5):
        image = dicom(RAMP + n, PatientID=f"p{n}", Manufacturer="Other", StationName="Ward\\East")
        files[f"ill/other{n}.dcm"] = encoded_dicom(image)
    report = import_files(files)
    store = Store.open(tmp_path / "ds")
    assert list(store.metadata) == ["manufacturer", "model", "station", "view"]
    by_path = {store.sample(row).path: store.sample(row).metadata for row in range(len(store))}
    assert by_path["well/3.dcm.png"] == {
        "manufacturer": "ACME",
        "model": "X 1",
        "station": None,
        "view": "PA",
    }
    assert by_path["ill/other0.dcm.png"]["station"] == "Ward\\East"
    readings = {one.column: (one.read_as, one.detail) for one in report.columns}
    assert readings["DICOM Manufacturer"] == ("metadata", "meta:manufacturer")
    assert "DICOM PatientName" not in readings


def test_a_column_of_the_list_counts_before_that_of_the_headers(
    tmp_path: Path, import_files: ImportFiles
) -> None:
    report = import_files(scans(Manufacturer="ACME", StationName="A") | listed("manufacturer", "own"))
    store = Store.open(tmp_path / "ds")
    assert {name: set(column.texts) for name, column in store.metadata.items()} == {
        "manufacturer": {"own"},
        "station": {"A"},
    }
    details = {one.column: one.detail for one in report.columns if one.read_as == "ignored"}
    assert details == {"DICOM Manufacturer": "the list has a column manufacturer"}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("AC\u202eME", "AC ME"),
        ("  a\x1b[31m\n b ", "a [31m b"),
        ("x" * 9000, "x" * 64),
        (["A", "B"], "A\\B"),
        ("", ""),
    ],
)
def test_a_text_of_a_header_is_one_short_line_without_controls(text: Any, kept: str) -> None:
    image = dicom(SpecificCharacterSet="ISO_IR 192")
    image.add_new("Manufacturer", "LO", text)
    assert read_header(encoded_dicom(image)).device == (kept, "", "", "")


def test_a_patient_whose_id_turns_text_around_can_be_downloaded_and_imported_again(
    tmp_path: Path, import_files: ImportFiles
) -> None:
    """A list refuses such an id: the data set's own download was none that it would take."""
    report = import_files(scans(5, "p\u202e{}\x1b[2J", SpecificCharacterSet="ISO_IR 192"))
    assert (report.state, report.subjects) == ("ready", 5)
    store = Store.open(tmp_path / "ds")
    assert {store.sample(row).subject for row in range(20)} == {f"p {n} [2J" for n in range(5)}
    (tmp_path / "again.zip").write_bytes(b"".join(download(store)))
    report = import_dataset(tmp_path / "again.zip", tmp_path / "ds2", ImportOptions(threads=1))
    assert (report.state, report.subjects, report.rejected) == ("ready", 5, ())


def test_a_patient_of_a_held_out_scan_is_held_out_whole(import_files: ImportFiles) -> None:
    files = scans() | listed("meta:site", "Ghent", of_first="Oslo")
    report = import_files(files, layout=FormatOptions(hold_out=("meta:site=Oslo",)))
    assert (report.splits["test"]["count"], report.splits["test"]["subjects"]) == (4, 1)
    (detail,) = (note.detail for note in report.notes if note.code is NoteCode.HOLD_OUT)
    assert detail == "test holds out meta:site=Oslo: 2 images, and 2 more of the same patients"


def test_one_patient_in_all_files_tells_none_apart(import_files: ImportFiles) -> None:
    report = import_files(scans(1))
    assert (report.state, report.subjects) == ("ready", 0)
    (reading,) = report.columns
    assert (reading.read_as, reading.detail) == ("ignored", "is one and the same in all files")


def test_the_window_is_that_of_the_headers_unless_the_owner_chose_one(
    tmp_path: Path, import_files: ImportFiles
) -> None:
    """What is stored looks then as what is predicted."""
    files = scans(WindowCenter=2000, WindowWidth=1000)
    report = import_files(files)
    store = Store.open(tmp_path / "ds")
    assert store.info.grey_window == (1500, 2499)
    (note,) = (note.detail for note in report.notes if note.code is NoteCode.GREY_WINDOW)
    assert "1500 to 2499" in note
    assert "the median of the windows in the headers of" in note
    posted, stored = (
        decode_image(content, window=store.info.grey_window).image
        for content in (encoded_dicom(dicom(WindowCenter=2000, WindowWidth=1000)), store.image_bytes(0))
    )
    assert np.array_equal(np.asarray(posted), np.asarray(stored))
    import_files(files, grey_window=GreyWindow(0, 4095))
    assert Store.open(tmp_path / "ds").info.grey_window == (0, 4095)


def test_other_types_are_stored_unchanged() -> None:
    buffer = BytesIO()
    Image.fromarray(RAMP).save(buffer, "PNG")
    assert stored_file(buffer.getvalue()) == buffer.getvalue()
