"""Size limits of request bodies, by route and media type."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Scope

from app.http.headers import header
from core.settings import Settings

FRAMING = 1 << 20
"""Allowance for the boundaries and small fields around the files of a multipart body."""


def limit_of(settings: Settings) -> Callable[[Scope], int]:
    """Return a function from ASGI scope to limit in bytes. Uploads and images have their own limits.

    JSON has the small limit on every route. A form may hold as many images as fit in memory together; any
    other image body is one image.
    """
    upload = settings.max_upload_bytes + FRAMING
    images_of_form = settings.max_image_bytes * settings.max_images_per_request
    form = min(images_of_form, max(settings.predict_image_bytes, settings.max_image_bytes)) + FRAMING
    uploads, images = ("/datasets", "/models"), ("/predict", "/saliency")
    forms = dict.fromkeys(uploads, upload) | dict.fromkeys(images, form)
    others = dict.fromkeys(uploads, upload) | dict.fromkeys(images, settings.max_image_bytes)

    def limit(scope: Scope) -> int:
        if scope["method"] != "POST":
            return settings.max_body_bytes
        kind = header(scope, b"content-type").decode("latin-1").partition(";")[0].strip().lower()
        if kind in ("", "application/json") or kind.endswith("+json"):
            return settings.max_body_bytes
        large = forms if kind == "multipart/form-data" else others
        return large.get(scope["path"].removeprefix(scope.get("root_path", "")), settings.max_body_bytes)

    return limit
