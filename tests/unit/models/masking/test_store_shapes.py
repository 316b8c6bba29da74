"""Height stays height: sets of images and maps that are not square, and what one header says of another's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.masking.rule import heights, threshold_masks, thresholds
from models.masking.store import MaskBatch, MaskSet, MaskSetError, MaskSetHeader, union, write_mask_set

CPU, SIZE, MAP_SIZE = torch.device("cpu"), (20, 30), (3, 7)
ROWS = torch.tensor([4, 900, 17])


def batch(seed: int = 0) -> MaskBatch:
    maps = torch.rand(3, *MAP_SIZE, generator=torch.Generator().manual_seed(seed))
    bounds = thresholds(heights(maps, SIZE))
    counts = threshold_masks(maps, bounds, SIZE).sum((1, 2))
    return MaskBatch(ROWS, maps, bounds, counts, torch.tensor([2, 0, 1]))


def write(folder: Path, one: MaskBatch, *, method: str = "xgradcam", seed: int = 0) -> MaskSet:
    header = MaskSetHeader(method, "predicted", 2.0, None, SIZE, MAP_SIZE, seed, len(one.rows), "none")
    write_mask_set(folder, header, [one])
    return MaskSet.open(folder)


def test_what_is_not_square_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = batch()
    found = write(tmp_path / "set", one)
    assert (found.header.size, found.header.map_size) == (SIZE, MAP_SIZE)
    masked = found.masks(ROWS, SIZE, CPU)
    assert masked.shape == (3, *SIZE)
    assert torch.equal(masked, threshold_masks(one.maps, one.thresholds, SIZE))
    assert found.masked_share == pytest.approx(masked.float().mean().item())
    assert torch.equal(found.records(ROWS.flip(0)).maps, one.maps.flip(0))


def test_random_masks_of_another_size_keep_the_share_and_not_the_number(tmp_path: Path) -> None:
    one = batch()
    found = write(tmp_path / "set", one, method="random")
    assert found.masks(ROWS, SIZE, CPU).sum((1, 2)).tolist() == one.counts.tolist()
    assert found.masks(ROWS, (20, 60), CPU).sum((1, 2)).tolist() == (2 * one.counts).tolist()
    assert found.masks(ROWS, (10, 30), CPU).sum((1, 2)).tolist() == (one.counts / 2).round().tolist()


def test_the_digest_is_of_all_that_the_masks_depend_on(tmp_path: Path) -> None:
    """A training that is gone on with must have the same."""
    one, other = batch(), batch(seed=1)
    lower = one._replace(thresholds=one.thresholds / 2)
    digests = [
        write(tmp_path / str(number), *columns, **options).digest  # type: ignore[arg-type]  # a table
        for number, (columns, options) in enumerate(
            [
                ((one,), {}),
                ((other,), {}),
                ((lower,), {}),
                ((one._replace(rows=ROWS + 1),), {}),
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


def test_an_empty_question_has_an_empty_answer_and_one_foreign_row_is_named(tmp_path: Path) -> None:
    found = write(tmp_path / "set", batch())
    assert found.masks(torch.zeros(0, dtype=torch.int64), SIZE, CPU).shape == (0, *SIZE)
    assert np.array_equal(found.records(ROWS.numpy()).targets, [2, 0, 1])
    with pytest.raises(MaskSetError, match="row 18"):
        found.records(torch.tensor([17, 18, 19]))


@pytest.mark.parametrize("wrong", [{"map_size": [7, 3]}, {"images": 2}, {"images": 4}])
def test_a_header_that_is_not_of_these_masks_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    write(tmp_path / "set", batch())
    told = tmp_path / "set" / "mask_set.json"
    told.write_text(json.dumps(json.loads(told.read_text()) | wrong))
    with pytest.raises(MaskSetError):
        MaskSet.open(tmp_path / "set")
