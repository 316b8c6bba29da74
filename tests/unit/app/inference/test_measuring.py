"""An engine beside torch on a model's own splits: what it is chosen by, and what it is calibrated on."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.inference import Explain, Ground, Scores
from app.inference.measuring import Answers, calibrated, difference, fit, measure
from core.errors import Conflict
from models.data.store import DatasetInfo, Row, Store, StoreWriter
from models.evaluation.metrics import Logits
from models.selective import SCORES, CalibrationTable, fit_temperature, score
from tests.unit.app.inference.doubles import EchoEngine
from worker.stages.calibrate import _tables
from worker.stages.context import StageContext

CLASSES, GROUPS = ("dark", "bright"), ("a", "b")


class Threshold(EchoEngine):
    """Says `bright` of an image whose first pixel is at least `at`; its ERM half never does."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def run(self, images: NDArray[np.uint8], explain: Explain | None) -> Scores:
        self.batches.append(len(images))
        first = (images[:, 0, 0, 0].astype(np.float32) - self.at + 0.5) / np.float32(50)
        logits = np.stack([-first, first], axis=1)
        return Scores(logits, np.stack([np.abs(first), -np.abs(first)], axis=1))


def store(folder: Path, counts: dict[str, int]) -> Store:
    """Even shades of grey in each split, no picture in two; what is at least 100 is bright."""
    with StoreWriter(folder) as writer:
        for mark, (split, count) in enumerate(counts.items()):
            for number in range(count):
                shade = round(255 * number / max(1, count - 1))
                buffer, image = io.BytesIO(), Image.new("RGB", (2, 2), (shade,) * 3)
                image.putpixel((1, 1), (mark,) * 3)
                image.save(buffer, "PNG")
                writer.add(
                    Row(f"{split}{number}.png", int(shade >= 100), split, number % 2, 2, 2, buffer.getvalue())
                )
        writer.finish(DatasetInfo("greys", "image_folder", CLASSES, GROUPS))
    return Store.open(folder)


FULL = {"train": 2, "val": 200, "calibration": 100, "test": 4}


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(store(tmp_path, FULL), "cal_torch")


def pause() -> None:
    """Nobody waits."""


def test_an_engine_as_good_as_torch_is_calibrated_on_its_own_answers(ground: Ground) -> None:
    found = measure(Threshold(101), Threshold(100), ground, pause=pause)
    own = found.calibration
    assert own is not None
    assert own.stands_for == "cal_torch"
    assert own.id.startswith("cal_")
    assert own.id in found.why
    assert "accuracy 0.9900, torch's 1.0000, on n = 100 calibration samples" in found.why
    rows = ground.store.rows("calibration")
    values = 255 * np.arange(100) / 99
    said = Threshold(101).run(_images(np.round(values)), None)
    for name in SCORES:
        expected = score(name, said.logits, said.erm_logits)
        table = CalibrationTable.build(expected.scores, expected.labels == ground.store.labels[rows])
        assert own.tables[name].to_json() == table.to_json()
        assert set(own.groups[name]) == set(GROUPS)
        assert set(own.classes[name]) == set(CLASSES)
        assert sum(part.n for part in own.groups[name].values()) == own.tables[name].n == 100
    assert own.disagreement is not None
    assert own.disagreement.n == 100
    val = Threshold(101).run(_images(np.round(255 * np.arange(200) / 199)), None)
    labels = ground.store.labels[ground.store.rows("val")]
    assert own.temperature == fit_temperature(val.logits, labels)


def _images(shades: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.tile(shades.astype(np.uint8)[:, None, None, None], (1, 3, 2, 2))


def test_the_calibration_split_chooses_nothing(tmp_path: Path) -> None:
    """An engine that is bad on `val` alone is refused, one that is bad on `calibration` alone is not."""
    candidate, torch = Threshold(130), Threshold(100)
    bad_on_val = Ground(_only(tmp_path / "a", val=120, calibration=20), "cal_torch")
    assert measure(candidate, torch, bad_on_val, pause=pause).calibration is None
    bad_on_calibration = Ground(_only(tmp_path / "b", val=20, calibration=120), "cal_torch")
    found = measure(candidate, torch, bad_on_calibration, pause=pause).calibration
    assert found is not None
    assert found.tables["max_softmax"].wrong[-1] == 10


def test_copies_of_a_picture_are_calibrated_on_once(tmp_path: Path) -> None:
    copied = Ground(_only(tmp_path / "a", copies=3, val=20, calibration=120), "cal_torch")
    found = measure(Threshold(130), Threshold(100), copied, pause=pause).calibration
    assert found is not None
    assert found.disagreement is not None
    table = found.tables["max_softmax"]
    assert (table.n, table.wrong[-1], found.disagreement.n) == (10, 10, 10)


def test_pictures_that_chose_the_model_are_not_calibrated_on(tmp_path: Path) -> None:
    shared = Ground(_only(tmp_path / "a", val=120, calibration=120), "cal_torch")
    with pytest.raises(Conflict, match="no calibration samples"):
        measure(Threshold(130), Threshold(100), shared, pause=pause)


def _only(folder: Path, copies: int = 1, **shades: int) -> Store:
    """Ten images in each split, whose first pixel is of one shade."""
    folder.mkdir()
    with StoreWriter(folder) as writer:
        for split, shade in shades.items():
            for number in range(10 * copies):
                buffer, image = io.BytesIO(), Image.new("RGB", (2, 2), (shade,) * 3)
                image.putpixel((1, 1), (number // copies,) * 3)
                image.save(buffer, "PNG")
                writer.add(Row(f"{split}{number}", int(shade >= 100), split, 0, 2, 2, buffer.getvalue()))
        writer.finish(DatasetInfo("greys", "image_folder", CLASSES, GROUPS))
    return Store.open(folder)


def test_a_worse_engine_is_refused_with_its_figures(ground: Ground) -> None:
    found = measure(Threshold(110), Threshold(100), ground, pause=pause)
    assert found.calibration is None
    assert "its accuracy less torch's is -0.0" in found.why
    assert "on 200 val samples (allowed: -0.01)" in found.why


@pytest.mark.parametrize(("worse", "passes"), [(0, True), (2, True), (3, False), (-5, True)])
def test_one_percentage_point_is_allowed(worse: int, passes: bool) -> None:
    right, n = 150, 200

    def said(count: int) -> Answers:
        wrong = (np.arange(n) >= count).astype(np.float32)
        logits = np.stack([1 - wrong, wrong], axis=1)
        return Answers(np.arange(n), np.zeros(n, np.int64), logits, None)

    assert fit(difference(said(right - worse), said(right))) is passes


@pytest.mark.parametrize("missing", ["val", "calibration"])
def test_without_a_split_there_is_nothing_to_measure_with(tmp_path: Path, missing: str) -> None:
    counts = {split: 0 if split == missing else count for split, count in FULL.items()}
    engine = Threshold(100)
    with pytest.raises(Conflict, match=f"no {missing} samples"):
        measure(engine, engine, Ground(store(tmp_path, counts), "cal_torch"), pause=pause)
    assert engine.batches == []


def test_the_id_is_that_of_the_content(ground: Ground) -> None:
    """Two replicas with the same kernels say the same; what is measured otherwise is another calibration."""
    rows = ground.store.rows("calibration")
    said = Threshold(100).run(_images(np.linspace(0, 255, 100)), None)
    own = Answers(rows, ground.store.labels[rows], said.logits, said.erm_logits)
    ids = [
        calibrated(own, ground.store, temperature=t, stands_for=standing).id
        for t, standing in ((1.0, "cal_1"), (1.0, "cal_1"), (1.1, "cal_1"), (1.0, "cal_2"))
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_the_tables_are_those_that_the_worker_would_write(ground: Ground) -> None:
    store, rows = ground.store, ground.store.rows("calibration")
    said = Threshold(105).run(_images(np.linspace(0, 255, 100)), None)
    assert said.erm_logits is not None
    labels = store.labels[rows]
    found = calibrated(
        Answers(rows, labels, said.logits, said.erm_logits), store, temperature=1.0, stands_for="cal_1"
    )
    context = cast(StageContext, SimpleNamespace(store=store))
    expected = _tables(context, Logits(rows, labels, said.logits), Logits(rows, labels, said.erm_logits))
    assert {name: table.to_json() for name, table in found.tables.items()} == expected["scores"]
    for parts, key in ((found.groups, "groups"), (found.classes, "classes")):
        assert {
            score: {name: table.to_json() for name, table in of_score.items()}
            for score, of_score in parts.items()
        } == expected[key]


def test_without_an_erm_half_there_is_one_score(ground: Ground) -> None:
    rows = ground.store.rows("calibration")
    said = Threshold(100).run(_images(np.linspace(0, 255, 100)), None)
    own = calibrated(
        Answers(rows, ground.store.labels[rows], said.logits, None),
        ground.store,
        temperature=1.0,
        stands_for="cal_1",
    )
    assert set(own.tables) == {"max_softmax"}
    assert own.disagreement is None
