"""How large a request's body may be, by its path and kind."""

from __future__ import annotations

import pytest

from app.server.edge import FRAMING, limit_of
from core.settings import Settings


@pytest.mark.parametrize(
    ("method", "path", "kind", "expected"),
    [
        ("POST", "/datasets", "multipart/form-data; boundary=x", 5_000 + FRAMING),
        ("POST", "/datasets", "application/json", 2_000),
        ("POST", "/models", "multipart/form-data; boundary=x", 5_000 + FRAMING),
        ("POST", "/predict", "multipart/form-data; boundary=x", 3_000 * 4 + FRAMING),
        ("POST", "/predict", "image/png", 3_000),
        ("POST", "/saliency", "text/plain", 3_000),
        ("POST", "/jobs/erm", "multipart/form-data", 2_000),
        ("POST", "/datasets", "", 2_000),
        ("PUT", "/datasets", "multipart/form-data", 2_000),
    ],
)
def test_each_kind_of_body_has_its_limit(method: str, path: str, kind: str, expected: int) -> None:
    settings = Settings(
        max_body_bytes=2_000, max_upload_bytes=5_000, max_image_bytes=3_000, max_images_per_request=4
    )
    scope = {"type": "http", "method": method, "path": path, "headers": [(b"content-type", kind.encode())]}
    assert limit_of(settings)(scope) == expected


@pytest.mark.parametrize(("memory", "most"), [(7_000, 7_000), (2_000, 3_000), (50_000, 12_000)])
def test_a_form_holds_no_more_images_than_memory_does(memory: int, most: int) -> None:
    """But one image always."""
    settings = Settings(max_image_bytes=3_000, max_images_per_request=4, predict_image_bytes=memory)
    kind = [(b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": kind}
    assert limit_of(settings)(scope) == most + FRAMING
