"""Room for uploads: what the disk has, and no more than was given; what a killed dashboard left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from web.transport.disk_quota import ABANDONED_SECONDS, PREFIX, Room, clear_abandoned


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_uploads_share_what_was_given() -> None:
    room = Room(100)
    with room.holding(60):
        assert room.free == 40
        with room.holding(60):
            assert room.free == 0
    assert room.free == 100


def test_there_is_never_more_room_than_on_the_disk(temporary: Path) -> None:
    disk = os.statvfs(temporary)
    for room in (Room(), Room(2**62)):
        assert 0 < room.free <= disk.f_blocks * disk.f_frsize


def test_what_a_killed_dashboard_left_is_removed(temporary: Path) -> None:
    """A volume would fill up with it; what is being received, and what is not ours, stays."""
    left, begun, other = (temporary / name for name in (f"{PREFIX}a", f"{PREFIX}b", "other"))
    for folder in (left, begun, other):
        folder.mkdir()
        (folder / "birds.zip").write_bytes(b"x")
    download = temporary / f"{PREFIX}c"
    download.write_bytes(b"x")
    long_ago = time.time() - ABANDONED_SECONDS - 1
    for path in (left / "birds.zip", left, begun, download, other / "birds.zip", other):
        os.utime(path, (long_ago, long_ago))
    clear_abandoned(temporary)
    assert sorted(temporary.iterdir()) == sorted([begun, other])
