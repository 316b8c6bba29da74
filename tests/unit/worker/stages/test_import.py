"""How the import tells where it is, and that it can be stopped to its last step."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.settings import Settings
from masktune.contract.ids import new_id
from masktune.contract.job_params import ImportParams
from models.data.report import ImportStopped
from models.run import Progress
from tests.support.import_context import import_context
from worker.protocol import DatasetSpec
from worker.stages.context import StageContext
from worker.stages.import_ import import_

IMAGES = 60


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """Of an import of `IMAGES` small pictures of two classes."""
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        folder = tmp_path / "images" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    settings = Settings(data_dir=tmp_path / "var", allowed_sources=f"file://{tmp_path}")
    dataset = DatasetSpec(new_id("ds"), "ab", {"address": f"file://{tmp_path}/images"}, None, ())
    return import_context(settings, dataset, ImportParams())


def watched(context: StageContext, seen: list[Progress], *, stop_at: float = 2.0) -> StageContext:
    """The same, told to stop once so much of the stage is done."""

    def stopping() -> bool:
        return bool(seen) and seen[-1].step / seen[-1].steps >= stop_at

    return dataclasses.replace(context, on_progress=seen.append, should_stop=stopping)


def test_it_is_done_when_shortcuts_were_looked_for_and_not_before(context: StageContext) -> None:
    seen: list[Progress] = []
    result = import_(watched(context, seen))
    assert result.ready
    assert "shortcuts" in result.summary
    shares = [progress.step / progress.steps for progress in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    stored = [progress.step for progress in seen].index(2 * IMAGES)
    assert shares[stored] == 0.5  # of so few images all are looked at


def test_it_can_be_stopped_while_it_looks_for_shortcuts(context: StageContext) -> None:
    seen: list[Progress] = []
    with pytest.raises(ImportStopped):
        import_(watched(context, seen, stop_at=0.5))
    assert seen[-1].step == 2 * IMAGES
