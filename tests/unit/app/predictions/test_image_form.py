"""Forms of images: the same files however the body is cut, and a clear word for what is no such form."""

from __future__ import annotations

from itertools import pairwise

import pytest

from app.predictions.request_images import File, ImageForm
from core.errors import BadImage, InvalidInput

TYPE = "multipart/form-data; boundary=cut"
MOST, LARGEST = 4, 400


def part(data: bytes, name: str = "file", filename: str | None = "a.png") -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    return f'--cut\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"


def read(body: bytes, *cuts: int) -> tuple[list[File], bytes]:
    form = ImageForm(TYPE, most=MOST, max_bytes=LARGEST)
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    kept = b"".join([form.feed(body[start:end]) for start, end in pairwise(edges)])
    return form.finish(), kept


FAULTY = {
    "empty": (b"", "/", "malformed-multipart"),
    "cut off": (part(b"abc"), "/", "malformed-multipart"),
    "garbled": (b"no boundary here", "/", "malformed-multipart"),
    "no name": (b"--cut\r\nContent-Type: text/plain\r\n\r\na\r\n--cut--\r\n", "/", "malformed-multipart"),
    "too many": (part(b"x") * (MOST + 1) + b"--cut--\r\n", "/", "malformed-multipart"),
    "long header": (b"--cut\r\nX-Long: " + b"x" * 10_000, "/", "malformed-multipart"),
    "a field": (part(b"x") + part(b"0.5", "coverage", None) + b"--cut--\r\n", "/coverage", "not-a-file"),
    "odd name": (part(b"0.5", "a/b~c", None) + b"--cut--\r\n", "/a~1b~0c", "not-a-file"),
    "no file": (b"--cut--\r\n", "/file", "missing"),
}


@pytest.mark.parametrize(("body", "pointer", "code"), FAULTY.values(), ids=FAULTY)
def test_what_is_no_form_of_images_is_invalid_input(body: bytes, pointer: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(body)
    assert [(e.pointer, e.code) for e in refused.value.errors] == [(pointer, code)]


def test_every_file_that_is_too_large_is_named_and_not_kept() -> None:
    form = ImageForm(TYPE, most=MOST, max_bytes=LARGEST)
    large = part(b"x" * (LARGEST + 1)) + part(b"y" * LARGEST) + part(b"x" * 5000)
    kept = b"".join(form.feed(large[at : at + 100]) for at in range(0, len(large), 100))
    kept += form.feed(b"--cut--\r\n")
    assert (kept.count(b"y"), kept.count(b"x") <= 2 * LARGEST) == (LARGEST, True)
    with pytest.raises(BadImage) as refused:
        form.finish()
    assert [e.pointer for e in refused.value.errors] == ["/images/0", "/images/2"]
