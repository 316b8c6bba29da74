"""How the import tells where it is, that it can be stopped to its last step, and where others may help."""

from __future__ import annotations

import dataclasses
import shutil
import uuid
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from core.settings import Settings
from masktune.contract.ids import new_id
from masktune.contract.job_params import ImportParams
from models.data.report import ImportStopped
from models.run import Progress
from tests.support.import_context import import_context
from worker.context import StageContext
from worker.protocol import DatasetSpec
from worker.stages.import_ import import_, pass_of_job

IMAGES = 20


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


def _opened(folder: Path, source: dict[str, str], **changes: str) -> StageContext:
    """The context of an import on one host; all have one data folder, and each its scratch space."""
    sources = f"file://{folder.parent},memory:///sources"
    settings = Settings(data_dir=folder / "var", allowed_sources=sources, **changes)  # type: ignore[arg-type]  # texts
    return import_context(settings, DatasetSpec(new_id("ds"), "ab", source, None, ()), ImportParams())


def _archived(context: StageContext, format: str) -> Path:
    """An archive of the images of the import."""
    images = Path((context.spec.dataset.source if context.spec.dataset else {})["address"][len("file://") :])
    return Path(shutil.make_archive(str(images.with_name("archive")), format, images))


@pytest.mark.parametrize("format", ["zip", "tar"])
def test_others_read_a_zip_by_range_where_there_may_be_any(
    context: StageContext, tmp_path: Path, format: str
) -> None:
    key = "uploads/ds_1"
    with context.artifacts.writing(key) as folder:
        shutil.copy(_archived(context, format), folder / "archive")
    alone = _opened(tmp_path, {"upload": key})
    shared: list[dict[str, str]] = [{"broker_url": "redis://host"}, {"database_url": "postgresql://host/db"}]
    passes = [pass_of_job(alone), *(pass_of_job(_opened(tmp_path, {"upload": key}, **one)) for one in shared)]
    remote: dict[str, str | None] | None = {} if format == "zip" else None
    assert [one.arguments for one in passes] == [None, remote, remote]
    assert len({one.key for one in passes}) == 1


@pytest.mark.parametrize("kind", ["zip", "folder", "parquet"])
def test_others_read_images_in_an_object_store(context: StageContext, tmp_path: Path, kind: str) -> None:
    place, fs = f"memory:///sources/{uuid.uuid4().hex}", fsspec.filesystem("memory")
    if kind == "folder":
        fs.put(str(tmp_path / "images"), place, recursive=True)
    elif kind == "parquet":
        files = [file.read_bytes() for file in sorted((tmp_path / "images").rglob("*.png"))]
        rows = {
            "image": [{"bytes": file, "path": None} for file in files],
            "label": ["a", "b"] * (IMAGES // 2),
        }
        pq.write_table(pa.table(rows), tmp_path / "images.parquet")
        fs.put_file(str(tmp_path / "images.parquet"), f"{place}/images.parquet")
    else:
        fs.put_file(str(_archived(context, kind)), f"{place}/images")
        place += "/images"
    own, helpers = (pass_of_job(_opened(tmp_path / host, {"address": place})) for host in ("one", "other"))
    assert own.arguments == ({} if kind != "parquet" else None)
    assert own.key == helpers.key
    assert sum(own.sizes) == IMAGES


def test_a_folder_here_may_be_another_on_another_host(context: StageContext) -> None:
    assert pass_of_job(context).arguments is None
