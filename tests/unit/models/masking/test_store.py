"""Mask sets on disk: round trip, size, lookup, atomicity, union."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from models.masking.rule import heights, threshold_masks, thresholds
from models.masking.store import MaskBatch, MaskSet, MaskSetError, MaskSetHeader, union, write_mask_set
from models.runtime.files import hidden_sibling

CPU = torch.device("cpu")
SIZE = (28, 28)


def header(images: int, **changes: object) -> MaskSetHeader:
    plain = MaskSetHeader("xgradcam", "predicted", 2.0, None, SIZE, (7, 7), 0, images, "none")
    return MaskSetHeader.from_json(dataclasses.asdict(plain) | changes)


def batch(rows: list[int], seed: int = 0) -> MaskBatch:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(len(rows), 7, 7, generator=generator)
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


def test_masks_are_those_that_were_counted(tmp_path: Path) -> None:
    one = batch([3, 1, 2])
    found = write(tmp_path / "set", one).masks(torch.tensor([2, 3]), 28, CPU)
    assert found.dtype == torch.bool
    assert found.sum((1, 2)).tolist() == [int(one.counts[2]), int(one.counts[0])]
    assert torch.equal(found, threshold_masks(one.maps[[2, 0]], one.thresholds[[2, 0]], SIZE))


def test_an_image_takes_less_than_300_bytes(tmp_path: Path) -> None:
    write(tmp_path / "set", batch(list(range(2000))))
    size = sum(path.stat().st_size for path in (tmp_path / "set").iterdir())
    assert size / 2000 < 220


def test_it_opens_with_numpy_and_is_not_read_into_memory(tmp_path: Path) -> None:
    found = write(tmp_path / "set", batch([5, 6]))
    records = np.load(tmp_path / "set" / "masks.npy", mmap_mode="r")
    assert isinstance(records, np.memmap)
    assert records["row"].tolist() == found.rows.tolist() == [5, 6]


def test_random_masks_scale_with_the_size(tmp_path: Path) -> None:
    one = batch([3, 1])
    found = write(tmp_path / "set", one, method="random", seed=4)
    rows = torch.tensor([1, 3])
    assert torch.equal(found.masks(rows, 28, CPU), found.masks(rows, 28, CPU))
    assert found.masks(rows, 28, CPU).sum((1, 2)).tolist() == one.counts[[1, 0]].tolist()
    assert found.masks(rows, 56, CPU).sum((1, 2)).tolist() == (4 * one.counts[[1, 0]]).tolist()


def test_a_foreign_row_is_an_error(tmp_path: Path) -> None:
    found = write(tmp_path / "set", batch([1, 3]))
    for row in (0, 2, 4):
        with pytest.raises(MaskSetError, match=f"row {row}"):
            found.masks(torch.tensor([row]), 28, CPU)


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
