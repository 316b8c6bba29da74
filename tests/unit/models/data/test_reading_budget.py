"""What it may take to read an upload grows with its bytes, up to a bound."""

from __future__ import annotations

from pathlib import Path

from models.data.importing.bounded_reading import reading_budget
from models.runtime.files import bytes_below

MB = 10**6


def test_a_budget_grows_with_the_upload_up_to_a_bound() -> None:
    """Before, 25 kB could hold the only slot for ten minutes."""
    small, middle, large = (reading_budget(size) for size in (25_000, 20 * MB, 20_000 * MB))
    assert (small.cpu_seconds, small.memory) == (60, (512 << 20) + 64 * 25_000)
    assert (middle.cpu_seconds, middle.memory) == (100, (512 << 20) + 64 * 20 * MB)
    assert (large.cpu_seconds, large.memory) == (600, 8 << 30)


def test_the_bytes_of_an_upload_are_those_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.csv").write_bytes(bytes(100))
    (tmp_path / "c.csv").write_bytes(bytes(23))
    (tmp_path / "d.csv").symlink_to("/proc/kcore")
    assert bytes_below(tmp_path / "c.csv") == 23
    assert 123 <= bytes_below(tmp_path) < 1000
