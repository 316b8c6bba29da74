"""Small DICOM files."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

RAMP = (np.arange(16 * 12).reshape(12, 16) * 20).astype(np.uint16)
"""Levels of 12 bits."""
NAME = "Doe^Jane"


def dicom(
    pixels: NDArray[Any] | None = RAMP, *, bits: int = 12, kind: str = "MONOCHROME2", **tags: Any
) -> Dataset:
    """A secondary capture of these pixels (H, W) or (H, W, 3); `tags` are added, or replace others."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.SOPClassUID = SecondaryCaptureImageStorage
    image.SOPInstanceUID = generate_uid()
    image.PatientName, image.PatientID, image.PatientBirthDate = NAME, "p1", "19700101"
    if pixels is not None:
        image.Rows, image.Columns = pixels.shape[:2]
        image.SamplesPerPixel = pixels.shape[2] if pixels.ndim == 3 else 1
        image.PlanarConfiguration = 0
        image.PhotometricInterpretation = kind
        image.BitsAllocated = 8 * pixels.itemsize
        image.BitsStored, image.HighBit = bits, bits - 1
        image.PixelRepresentation = int(pixels.dtype.kind == "i")
        image.PixelData = pixels.tobytes()
    for name, content in tags.items():
        setattr(image, name, content)
    return image


def encoded_dicom(image: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    buffer = BytesIO()
    image.file_meta.TransferSyntaxUID = syntax
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
