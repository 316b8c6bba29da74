"""Multipart bodies, however they are cut into pieces and in whatever order their parts come."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.http.multipart import MAX_FIELD_BYTES, UploadForm
from core.errors import InvalidInput

TYPE = "multipart/form-data; boundary=cut"


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    return f'--cut\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + value + b"\r\n"


def read(body: bytes, *cuts: int) -> tuple[UploadForm, bytes]:
    form, file = UploadForm(TYPE), b""
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        file += form.feed(body[start:end])
    form.finish()
    return form, file


@given(
    data=st.binary(max_size=300),
    order=st.permutations(["file", "name", "options"]),
    cuts=st.lists(st.integers(min_value=0, max_value=10_000), max_size=8),
)
@settings(max_examples=40, deadline=None)
def test_any_order_and_any_cut_give_the_same(data: bytes, order: list[str], cuts: list[int]) -> None:
    data = data.replace(b"--cut", b"")
    parts = {
        "file": part("file", data, "a.zip"),
        "name": part("name", "Blätter".encode()),
        "options": part("options", b"{}"),
    }
    form, file = read(b"".join(parts[name] for name in order) + b"--cut--\r\n", *cuts)
    assert file == data
    assert form.fields == {"name": "Blätter", "options": "{}"}
    assert form.filename == "a.zip"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (part("name", b"a") + b"--cut--\r\n", "missing"),
        (part("file", b"abc", "f") + b"--cut", "truncated"),
        (part("file", b"abc", "f"), "truncated"),
        (b"", "truncated"),
        (part("file", b"a", "f") + part("file", b"b", "f") + b"--cut--\r\n", "repeated"),
        (part("name", b"a") + part("name", b"b") + b"--cut--\r\n", "repeated"),
        (part("name", b"x" * (MAX_FIELD_BYTES + 1)) + b"--cut--\r\n", "too-long"),
        (part("name", b"\xff") + b"--cut--\r\n", "not-utf8"),
        (b"--cut\r\nContent-Type: text/plain\r\n\r\na\r\n--cut--\r\n", "unnamed-part"),
        (b"no boundary here", "malformed-multipart"),
        (b"".join(part(f"n{i}", b"") for i in range(40)) + b"--cut--\r\n", "too-many-parts"),
    ],
)
def test_a_faulty_body_is_invalid_input(body: bytes, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(body)
    assert refused.value.errors[0].code == code


def test_endless_headers_are_refused() -> None:
    """By us, or by a parser that has a limit of its own."""
    with pytest.raises(InvalidInput):
        read(b"--cut\r\nX-Long: " + b"x" * 10_000 + b"\r\n\r\n")


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/mixed; boundary=cut", ""])
def test_a_type_without_a_boundary_is_refused(kind: str) -> None:
    with pytest.raises(InvalidInput):
        UploadForm(kind)


@given(body=st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_a_form_or_invalid_input(body: bytes) -> None:
    with suppress(InvalidInput):
        read(b"--cut\r\n" + body)
