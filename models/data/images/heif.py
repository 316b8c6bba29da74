"""HEIC, the photographs of phones, with the extra `heic`."""

from __future__ import annotations

from models.data.images.limits import ImageError
from models.data.report import FileCode


def require_heif() -> None:
    """Teach PIL the format `HEIF`; it opens such a file only where it is asked for. Raises `ImageError`."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        detail = (
            "is a HEIC image, which needs the extra: pip install 'masktune-service[heic]', or save it as JPEG"
        )
        raise ImageError(FileCode.UNSUPPORTED_TYPE, detail) from error
    register_heif_opener()
