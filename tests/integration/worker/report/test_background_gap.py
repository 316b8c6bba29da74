"""The Background Challenge from its folders to its report: what counts for the verdict, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from masktune.contract.vocabulary import JobKind
from models.data.importing.datasets import import_dataset
from models.data.store import Store
from tests.support.jobs.bench import Bench, opened_bench
from tests.support.jobs.real_jobs import hyperparameters, make_folder

VARIANTS = ("original", "mixed_same", "mixed_rand", "only_bg_t")


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("backgrounds")
    images = folder / "images" / "challenge"
    for split, (first, last) in {"train": (0, 120), "val": (120, 160)}.items():
        part(folder, images / "in9l" / split, first, last)
    for number, variant in enumerate(VARIANTS):
        part(folder, images / variant / "val", 160, 190, shade=10 * number)
    report = import_dataset(images, folder / "store")
    assert report.state == "ready", report.problems
    with opened_bench(folder, folder / "store", images) as opened:
        yield opened


def part(folder: Path, target: Path, first: int, last: int, *, shade: int = 0) -> None:
    """Some digits, with a corner of this brightness: copies would count once."""
    whole = folder / "digits"
    if not whole.exists():
        make_folder(whole)
    for file in sorted(whole.rglob("*.png"), key=lambda path: path.name)[first:last]:
        goal = target / file.parent.name / file.name
        goal.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as picture:
            picture.paste((shade, shade, shade), (24, 24, 28, 28))
            picture.save(goal)


@pytest.mark.trains
def test_the_verdict_is_about_images_with_an_object_and_the_gap_is_reported(challenge: Bench) -> None:
    job = challenge.succeed(
        challenge.run(JobKind.MASKTUNE, params=hyperparameters(epochs=1, finetune={"epochs": 1}))
    )[0]
    report, page = challenge.report_json(job), challenge.page(job)
    found = report["metrics"]["test"]["masktune"]
    assert {group["name"] for group in found["groups"]} == set(VARIANTS[:3])
    assert found["n"] == 90
    assert report["verdict"]["deciding_difference"]["n"] == 90
    assert report["dataset"]["splits"]["only_bg_t"] == 30
    gaps = report["background_gap"]["test"]
    assert gaps.keys() == {"erm", "masktune", "masktune_control"}
    assert report["background_gap"].keys() == {"test"}
    for arm, gap in gaps.items():
        groups = {each["name"]: each for each in report["metrics"]["test"][arm]["groups"]}
        assert gap["paired"]
        assert gap["gap"] == groups["mixed_same"]["accuracy"] - groups["mixed_rand"]["accuracy"]
        assert gap["low"] <= gap["gap"] <= gap["high"]
        assert gap["low"] < gap["high"]
        assert (gap["n_same"], gap["correct_random"]) == (30, groups["mixed_rand"]["correct"])
    assert "Background gap" in page
    (erm,) = (id for arm, id in report["models"].items() if arm == "erm")
    given: dict[str, Any] = {"inputs": {"model": erm["id"]}, "params": {"splits": ["only_bg_t"]}}
    asked = challenge.succeed(challenge.run(JobKind.EVALUATE, **given))[0]
    alone = challenge.report_json(asked)
    assert alone["metrics"]["only_bg_t"]["erm"]["n"] == 30
    assert alone["metrics"]["only_bg_t"]["erm"]["worst_group_accuracy"] is None
    assert (alone["shortcut_reliance"], alone["verdict"], alone["background_gap"]) == (None, None, {})


def test_images_without_an_object_are_in_no_group(challenge: Bench) -> None:
    store = Store.open(challenge.folder(f"datasets/{challenge.dataset_id}"))
    assert store.group_names == VARIANTS[:3]
    assert (store.groups[store.rows("only_bg_t")] == -1).all()
