"""Loaders whose images are decoded by processes of their own."""

from __future__ import annotations

import multiprocessing

import pytest

from models.data.loading.loader_settings import LoaderSettings
from models.data.store import Store
from tests.unit.models.data.loading.test_batches import (
    _Counting,
    _loader,
    _same,
    decodes_what_is_resident,
    photographs,
    store,
)

__all__ = ["photographs", "store"]


@pytest.mark.parametrize("size", [12, 16])
def test_decoding_gives_the_same_batches_as_resident_pixels(store: Store, size: int) -> None:
    decodes_what_is_resident(store, size=size, workers=2)


def test_small_squares_of_large_images_are_decoded_once(photographs: _Counting) -> None:
    settings_ = LoaderSettings(16, 8, "crop_flip", workers=2, several_epochs=True)
    plain = Store.open(photographs.directory)
    kept, decoding = _loader(photographs, settings_), _loader(plain, settings_, decoding=True)
    assert all(_same(kept, decoding, epoch) for epoch in range(3))
    # The workers of the one that keeps them are gone when nothing is left for them.
    assert len(multiprocessing.active_children()) == 2  # of the other loader
    del decoding
