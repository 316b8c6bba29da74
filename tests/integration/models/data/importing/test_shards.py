"""A shard of an import is the same whichever others are computed, and wherever its images come from."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from random import Random

import pytest

from models.data.images.limits import ImageLimits
from models.data.importing.builtin import BuiltinOptions, make_builtin
from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.importing.remote import RemoteZip
from models.data.importing.shards import SHARD_ENTRIES, ImportPass
from models.data.importing.sources import ArraySource
from models.data.report import ProblemCode
from models.run import ignore_progress
from tests.unit.models.data.conftest import MakeImage


@pytest.fixture(scope="module")
def digits() -> ArraySource:
    return ArraySource("digits", make_builtin("digits", BuiltinOptions()))


def pass_over(source: ArraySource, limits: ImageLimits | None = None, *, threads: int = 1) -> ImportPass:
    return ImportPass(source, limits or ImageLimits(), threads, lambda: False)


def computed(shards: ImportPass, numbers: list[int], folder: Path) -> dict[tuple[int, str], bytes]:
    """The files of these shards."""
    files = dict[tuple[int, str], bytes]()
    for number, write in shards.compute(numbers, ignore_progress):
        place = folder / str(number)
        place.mkdir(parents=True)
        write(place)
        files |= {(number, file.name): file.read_bytes() for file in place.iterdir()}
    shutil.rmtree(folder)
    return files


def test_a_shard_is_the_same_whichever_are_computed_with_it(digits: ArraySource, tmp_path: Path) -> None:
    count = len(digits.manifest.entries)
    shards = pass_over(digits)
    last = count % SHARD_ENTRIES
    assert shards.sizes == [*[SHARD_ENTRIES] * (count // SHARD_ENTRIES), last]
    whole = computed(shards, [0, 1, 2, 3], tmp_path / "whole")
    some = computed(pass_over(digits, threads=3), [3, 1], tmp_path / "some")
    assert {number for number, _ in some} == {1, 3}
    assert some == {place: content for place, content in whole.items() if place[0] in (1, 3)}


def test_other_limits_or_images_are_another_pass(digits: ArraySource) -> None:
    others = ArraySource("digits", make_builtin("digits", BuiltinOptions(seed=1)))
    keys = {
        pass_over(source, ImageLimits(max_bytes=most), threads=threads).key
        for source, most, threads in ((digits, 1 << 20, 1), (digits, 1 << 20, 2), (digits, 1 << 21, 1))
    }
    assert len(keys) == 2
    assert pass_over(others).key == pass_over(digits).key


class CountedZip:
    """A zip that is read by range, and how many of its bytes were read so."""

    def __init__(self, path: Path) -> None:
        self.path, self.read_bytes = path, 0

    def read(self, start: int, stop: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(start)
            content = file.read(stop - start)
        self.read_bytes += len(content)
        return content

    @property
    def remote(self) -> RemoteZip:
        return RemoteZip(self.path.stat().st_size, lambda: self.path.open("rb"), self.read)


@pytest.fixture
def counted(tmp_path: Path, make_image: MakeImage) -> CountedZip:
    """Of 40 images, stored and deflated, with a megabyte between two of them."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(40):
            method = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            archive.writestr(f"all/{'ab'[number // 20]}/{number}.png", make_image(number), method)
            if number == 10:
                archive.writestr("all/a/raw.bin", Random(0).randbytes(1 << 20))
    return CountedZip(tmp_path / "a.zip")


def test_only_the_images_of_a_zip_elsewhere_are_read(counted: CountedZip, tmp_path: Path) -> None:
    report = import_dataset(counted.remote, tmp_path / "remote", ImportOptions(threads=1))
    here = import_dataset(counted.path, tmp_path / "here", ImportOptions(threads=1))
    assert (report.state, report) == ("ready", here)
    names = sorted(file.name for file in (tmp_path / "here").iterdir())
    assert [(tmp_path / "remote" / name).read_bytes() for name in names] == [
        (tmp_path / "here" / name).read_bytes() for name in names
    ]
    assert 0 < counted.read_bytes < 1 << 20


def test_a_member_of_a_gigabyte_that_claims_a_few_bytes_is_not_read_whole(
    counted: CountedZip, tmp_path: Path
) -> None:
    """Its header says that it is packed in more bytes than it unpacks to."""
    content = counted.path.read_bytes()
    with zipfile.ZipFile(counted.path) as archive:
        raw = archive.getinfo("all/a/raw.bin")
    place = content.rindex(b"all/a/raw.bin") - 46
    claimed = bytearray(content.replace(b"all/a/raw.bin", b"all/a/raw.png"))
    claimed[place + 24 : place + 28] = (100).to_bytes(4, "little")
    counted.path.write_bytes(claimed)
    report = import_dataset(counted.remote, tmp_path / "remote", ImportOptions(threads=1))
    assert [problem.code for problem in report.problems] == [ProblemCode.DAMAGED_ARCHIVE]
    assert counted.read_bytes < raw.compress_size
