"""Addresses: only below what the operator allows, whatever they are dressed as."""

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.datasets.sources import resolve
from core.errors import InvalidInput


def code_of(source: str, *allowed: str) -> str:
    with pytest.raises(InvalidInput) as refused:
        resolve(source, allowed)
    assert refused.value.errors[0].pointer == "/source"
    return refused.value.errors[0].code


def test_builtin_names_are_known_or_refused() -> None:
    assert resolve("builtin:biased-digits", ()) == {"builtin": "biased-digits"}
    assert code_of("builtin:nothing") == "unknown-builtin"


@pytest.mark.parametrize(
    "source", ["", "digits", "http://x/y", "ftp://x", "/etc/passwd", "file:/etc", "gcs://b/k"]
)
def test_other_schemes_are_unknown(source: str) -> None:
    assert code_of(source, "file:///") == "unknown-source"


def test_a_file_below_an_allowed_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.zip").write_bytes(b"x")
    allowed = f"file://{tmp_path}/data/"
    assert resolve(f"file://{tmp_path}/data/./a.zip", (allowed,)) == {
        "address": f"file://{tmp_path}/data/a.zip"
    }
    for name in ("b.zip", "b" * 300):  # longer than a name may be
        assert code_of(f"file://{tmp_path}/data/{name}", allowed) == "not-found"
    assert code_of(f"file://{tmp_path}/data/a\0b", allowed) == "invalid-address"
    assert code_of(f"file://{tmp_path}/data/a.zip") == "not-allowed"


def test_what_is_neither_a_file_nor_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        assert code_of(f"file://{tmp_path}/{name}", f"file://{tmp_path}") == "not-found"
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(tmp_path / "socket"))
    assert code_of(f"file://{tmp_path}/socket", f"file://{tmp_path}") == "not-found"
    assert code_of("file:///dev/zero", "file:///dev") == "not-found"


def test_s3_addresses_match_by_whole_parts() -> None:
    assert resolve("s3://bucket/sets/a.zip", ("s3://bucket/sets/",)) == {"address": "s3://bucket/sets/a.zip"}
    assert code_of("s3://bucket/sets-private/a.zip", "s3://bucket/sets") == "not-allowed"
    assert code_of("s3://bucket/sets/../x", "s3://bucket/sets") == "invalid-address"
    assert code_of("s3://bucket//x", "s3://bucket") == "invalid-address"
    assert code_of("s3://other/x", "s3://") == "not-allowed"


@given(path=st.lists(st.sampled_from(["..", ".", "a", "data", "", "%2e%2e", "link"]), max_size=8))
@settings(max_examples=50, deadline=None)
def test_any_path_stays_below_or_is_refused(path: list[str]) -> None:
    allowed = "/usr/share"
    try:
        found = resolve(f"file://{allowed}/" + "/".join(path), (f"file://{allowed}",))
    except InvalidInput:
        return
    assert Path(found["address"].removeprefix("file://")).is_relative_to(Path(allowed).resolve())
