"""Shards have the batches of one pass over all rows, in any order, and are read no further than needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.layout import PIXELS_FILE
from models.data.loading.batches import Batch, make_loader
from models.data.loading.loader_settings import LoaderSettings
from models.data.loading.shards import ShardLoader, map_shards
from models.data.store import Store
from models.run import Run
from tests.unit.models.conftest import StoreFactory

SIZE, BATCH = 16, 4


@pytest.fixture(params=["pixels", "decoded"])
def store(request: pytest.FixtureRequest, make_store: StoreFactory) -> Store:
    store = make_store(train=21)
    if request.param == "decoded":
        Path(store.directory, PIXELS_FILE).unlink()
    return Store.open(store.directory)


def _shards(store: Store) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    rows = np.random.default_rng(0).permutation(store.rows("train"))
    return [rows[:8], rows[8:16], rows[16:]]


def test_they_hold_the_batches_of_one_pass_over_all_rows(store: Store) -> None:
    settings, shards = LoaderSettings(SIZE, BATCH), _shards(store)
    whole = list(make_loader(store, np.concatenate(shards), settings, Run()).epoch(None))
    loader = ShardLoader(store, shards, settings, Run())
    by_number = dict(map_shards(loader, [2, 0, 1], Run(), lambda batch: batch))
    batches = [batch for number in range(3) for batch in by_number[number]]
    assert len(loader) == len(batches) == len(whole) == 5
    for one, other in zip(batches, whole, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.images.stride() == other.images.stride()
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.rows, other.rows)


def test_the_next_number_is_read_when_images_of_it_are_needed(store: Store) -> None:
    done: list[int] = []

    def numbers() -> Iterator[int]:
        for number in (2, 1, 0):
            assert len(done) >= 2 - number - 1, "it is not read two shards ahead"
            yield number

    def rows(batch: Batch) -> list[int]:
        return batch.rows.tolist()

    loader = ShardLoader(store, _shards(store), LoaderSettings(SIZE, BATCH, workers=0), Run())
    for number, _ in map_shards(loader, numbers(), Run(), rows):
        done.append(number)
    assert done == [2, 1, 0]


def test_a_last_batch_of_one_image_is_no_batch_of_its_own(make_store: StoreFactory) -> None:
    store = make_store(train=9)
    loader = ShardLoader(store, [store.rows("train")], LoaderSettings(SIZE, BATCH), Run())
    assert [len(positions) for positions in loader.positions(0)] == [4, 5]


def test_a_shard_of_one_image_is_a_batch_of_one(store: Store) -> None:
    rows = store.rows("train")[:1]
    loader = ShardLoader(store, [rows], LoaderSettings(SIZE, BATCH), Run())
    ((_, (batch,)),) = map_shards(loader, [0], Run(), lambda batch: batch)
    assert batch.images.shape == (1, 3, SIZE, SIZE)
    assert batch.rows.tolist() == rows.tolist()
