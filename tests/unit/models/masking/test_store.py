"""Mask sets on disk: round trip, size, lookup, atomicity, union, and what a header says of the masks."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from models.masking.rule import heights, threshold_masks, thresholds
from models.masking.store import MaskBatch, MaskSet, MaskSetError, MaskSetHeader, union, write_mask_set
from models.runtime.files import hidden_sibling

CPU, SIZE, MAP_SIZE = torch.device("cpu"), (20, 30), (3, 7)
"""Neither is square: height stays height."""


def header(images: int, **changes: object) -> MaskSetHeader:
    plain = MaskSetHeader("xgradcam", "predicted", 2.0, None, SIZE, MAP_SIZE, 0, images, "none")
    return MaskSetHeader.from_json(dataclasses.asdict(plain) | changes)


def batch(rows: Sequence[int], seed: int = 0) -> MaskBatch:
    maps = torch.rand(len(rows), *MAP_SIZE, generator=torch.Generator().manual_seed(seed))
    bounds = thresholds(heights(maps, SIZE))
    counts = threshold_masks(maps, bounds, SIZE).sum((1, 2))
    return MaskBatch(torch.tensor(rows), maps, bounds, counts, torch.arange(len(rows)))


def write(folder: Path, *batches: MaskBatch, **changes: object) -> MaskSet:
    write_mask_set(folder, header(sum(len(b.rows) for b in batches), **changes), batches)
    return MaskSet.open(folder)


def test_what_was_written_is_read_in_any_order(tmp_path: Path) -> None:
    first, second = batch([9, 2, 40]), batch([7, 100], seed=1)
    found = write(tmp_path / "set", first, second)
    assert len(found) == 5
    assert found.header == header(5)
    kept = found.records(torch.tensor([100, 9, 9]))
    assert torch.equal(kept.maps, torch.stack([second.maps[1], first.maps[0], first.maps[0]]))
    assert torch.equal(
        kept.thresholds, torch.stack([second.thresholds[1], first.thresholds[0], first.thresholds[0]])
    )
    assert kept.targets.tolist() == [1, 0, 0]


def test_an_image_takes_less_than_300_bytes(tmp_path: Path) -> None:
    write(tmp_path / "set", batch(list(range(2000))))
    size = sum(path.stat().st_size for path in (tmp_path / "set").iterdir())
    assert size / 2000 < 220


def test_it_opens_with_numpy_and_is_not_read_into_memory(tmp_path: Path) -> None:
    found = write(tmp_path / "set", batch([5, 6]))
    records = np.load(tmp_path / "set" / "masks.npy", mmap_mode="r")
    assert isinstance(records, np.memmap)
    assert records["row"].tolist() == found.rows.tolist() == [5, 6]


def test_a_foreign_row_is_an_error(tmp_path: Path) -> None:
    found = write(tmp_path / "set", batch([1, 3]))
    for row in (0, 2, 4):
        with pytest.raises(MaskSetError, match=f"row {row}"):
            found.masks(torch.tensor([row]), SIZE, CPU)


def test_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_mask_set(tmp_path / "set", header(2), (batch([1 // n]) for n in (1, 0)))
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_is_not_complete_does_not_appear(tmp_path: Path) -> None:
    with pytest.raises(MaskSetError, match="1 masks were given, 2 announced"):
        write_mask_set(tmp_path / "set", header(2), [batch([1])])
    assert list(tmp_path.iterdir()) == []


def test_all_of_it_is_on_disk_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a machine that loses its power keeps a whole set or none."""
    kept: list[tuple[str, bool]] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        kept.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, (tmp_path / "set").exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write(tmp_path / "set", batch([1]))
    before = {name for name, named in kept if not named}
    assert {"masks.npy", "mask_set.json"} <= before
    assert any(name.startswith(".set.partial") for name in before)
    assert [name for name, named in kept if named] == [tmp_path.name]


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    (hidden_sibling(tmp_path / "set") / "masks.npy").write_bytes(b"half of it")
    assert write(tmp_path / "set", batch([4, 5])).rows.tolist() == [4, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_set_is_never_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "set", batch([1]))
    with pytest.raises(FileExistsError):
        write_mask_set(tmp_path / "set", header(1), [batch([1])])


@pytest.mark.parametrize("damage", ["header", "version", "records", "truncated", "missing"])
def test_a_damaged_set_is_refused(tmp_path: Path, damage: str) -> None:
    write(tmp_path / "set", batch([1, 2]))
    meta, records = tmp_path / "set" / "mask_set.json", tmp_path / "set" / "masks.npy"
    if damage == "header":
        meta.write_text("{}")
    elif damage == "version":
        meta.write_text(json.dumps(json.loads(meta.read_text()) | {"version": 9}))
    elif damage == "records":
        np.save(records, np.zeros(2))
    elif damage == "truncated":
        records.write_bytes(records.read_bytes()[:-10])
    else:
        records.unlink()
    with pytest.raises(MaskSetError):
        MaskSet.open(tmp_path / "set")


def test_a_union_masks_where_any_does(tmp_path: Path) -> None:
    first, second = (write(tmp_path / str(s), batch([1, 2], seed=s)) for s in (0, 1))
    rows = torch.tensor([2, 1])
    found = union([first, second]).masks(rows, 28, CPU)
    assert torch.equal(found, first.masks(rows, 28, CPU) | second.masks(rows, 28, CPU))
    assert union([first]) is first
    with pytest.raises(ValueError, match="at least one"):
        union([])


ROWS = (4, 900, 17)


def test_what_is_not_square_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = batch(ROWS)
    found = write(tmp_path / "set", one)
    rows = torch.tensor(ROWS)
    assert (found.header.size, found.header.map_size) == (SIZE, MAP_SIZE)
    masked = found.masks(rows, SIZE, CPU)
    assert masked.shape == (3, *SIZE)
    assert torch.equal(masked, threshold_masks(one.maps, one.thresholds, SIZE))
    assert found.masked_share == pytest.approx(masked.float().mean().item())
    assert torch.equal(found.records(rows.flip(0)).maps, one.maps.flip(0))


def test_random_masks_of_another_size_keep_the_share_and_not_the_number(tmp_path: Path) -> None:
    one, rows = batch(ROWS), torch.tensor(ROWS)
    found = write(tmp_path / "set", one, method="random")
    assert found.masks(rows, SIZE, CPU).sum((1, 2)).tolist() == one.counts.tolist()
    assert found.masks(rows, (20, 60), CPU).sum((1, 2)).tolist() == (2 * one.counts).tolist()
    assert found.masks(rows, (10, 30), CPU).sum((1, 2)).tolist() == (one.counts / 2).round().tolist()


def test_the_digest_is_of_all_that_the_masks_depend_on(tmp_path: Path) -> None:
    """A training that is gone on with must have the same."""
    one, other = batch(ROWS), batch(ROWS, seed=1)
    lower = one._replace(thresholds=one.thresholds / 2)
    digests = [
        write(tmp_path / str(number), *columns, **options).digest  # type: ignore[arg-type]  # a table
        for number, (columns, options) in enumerate(
            [
                ((one,), {}),
                ((other,), {}),
                ((lower,), {}),
                ((one._replace(rows=one.rows + 1),), {}),
                ((one,), {"method": "random"}),
                ((one,), {"method": "random", "seed": 1}),
            ]
        )
    ]
    assert len(set(digests)) == len(digests)
    assert write(tmp_path / "again", one).digest == digests[0]
    sets = [MaskSet.open(tmp_path / str(number)) for number in (0, 1, 2)]
    joined = {union(sets[:2]).digest, union(sets[:2][::-1]).digest, union(sets).digest, digests[0]}
    assert len(joined) == 4


def test_an_empty_question_has_an_empty_answer(tmp_path: Path) -> None:
    found = write(tmp_path / "set", batch(ROWS))
    assert found.masks(torch.zeros(0, dtype=torch.int64), SIZE, CPU).shape == (0, *SIZE)
    assert np.array_equal(found.records(np.array(ROWS)).targets, [0, 1, 2])


@pytest.mark.parametrize("wrong", [{"map_size": [7, 3]}, {"images": 2}, {"images": 4}])
def test_a_header_that_is_not_of_these_masks_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    write(tmp_path / "set", batch(ROWS))
    told = tmp_path / "set" / "mask_set.json"
    told.write_text(json.dumps(json.loads(told.read_text()) | wrong))
    with pytest.raises(MaskSetError):
        MaskSet.open(tmp_path / "set")
