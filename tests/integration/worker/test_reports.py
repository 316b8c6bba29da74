"""The report of real jobs: what it finds on a painted square, and that nothing odd breaks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.predictions.presenter import data_uri
from app.reports.service import render
from core.tables import JobRow
from masktune.contract.report import Report
from masktune.contract.vocabulary import JobKind
from models.backbones.network import Network
from models.data.importing.datasets import import_dataset
from models.data.loading.batches import Loader
from models.evaluation.metrics import Logits, predict_logits
from models.run import Run
from tests.integration.worker.bench import Bench, opened_bench
from tests.integration.worker.real_jobs import CLASSES, make_folder
from worker.stages import forward


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("reports")
    images = make_folder(folder / "images" / "squares")
    import_dataset(images, folder / "store")
    with opened_bench(folder, folder / "store", images) as opened:
        yield opened


@pytest.fixture(scope="module")
def asked() -> list[int]:
    """How many images a network was given each time that the job `masktune` asked one for logits."""
    return []


@pytest.fixture(scope="module")
def masktune(bench: Bench, asked: list[int]) -> JobRow:
    def counted(network: Network, loader: Loader, run: Run) -> Logits:
        asked.append(loader.images)
        return predict_logits(network, loader, run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "predict_logits", counted)
        return bench.succeed(bench.run(JobKind.MASKTUNE))[0]


def read(bench: Bench, job: JobRow) -> tuple[dict[str, Any], str]:
    """The report as JSON, and as the page with all its pictures found."""
    folder = bench.folder(job.done["evaluate"]["artifact"])
    report = json.loads((folder / "report.json").read_text())
    return report, render(Report.model_validate(report), lambda name: data_uri((folder / name).read_bytes()))


def test_every_part_of_a_report_has_its_figures_with_n_and_interval(bench: Bench, masktune: JobRow) -> None:
    report, page = read(bench, masktune)
    assert "3. Can I trust the new model?" in page
    n = report["dataset"]["splits"]["test"]
    for arm in ("erm", "masktune"):
        cost = report["masking_cost"]["test"][arm]
        assert cost["n"] == n
        assert cost["masked_low"] <= cost["masked_share"] <= cost["masked_high"]
        assert {each["n"] for each in cost["arms"]} == {n}
        assert cost["arms"][0]["correct"] == report["metrics"]["test"][arm]["correct"]
        means = report["saliency"]["mean_maps"][arm]
        assert sum(mean["n"] + mean["undefined"] for mean in means) == n
        for mean in means:
            assert np.sum(mean["map"]) == pytest.approx(1)
    moved = report["saliency"]["shift"]["all"]
    assert 0 < moved["low"] <= moved["mean"] <= moved["high"] <= 1
    assert moved["n"] + moved["undefined"] == n
    for split, by_arm in report["risk_coverage"].items():
        for arm, curve in by_arm.items():
            assert curve["n"] == report["dataset"]["splits"][split]
            last = curve["points"][-1]
            assert last["low"] <= last["risk"] <= last["high"]
            if split != "calibration":
                wrong = curve["n"] - report["metrics"][split][arm]["correct"]
                assert (last["coverage"], last["errors"]) == (1, wrong)
    assert set(report["certificates"]) == {"erm", "masktune", "masktune_control"}
    shown = report["reliability_at_temperature"]["test"]["masktune"]
    assert shown["n"] == n
    assert f"at temperature {report['temperature']['masktune']['value']:.2f}" in page
    reliability = report["reliability"]["test"]["masktune"]
    assert sum(b["n"] for b in reliability["bins"]) == reliability["n"] == n


def test_a_painted_square_is_found_in_the_model_and_in_the_data(bench: Bench) -> None:
    _, dataset = bench.imported({"builtin": "biased-digits"})
    job = bench.succeed(bench.run(JobKind.ERM, dataset_id=dataset.id))[0]
    report, page = read(bench, job)
    assert report["shortcut_reliance"]["evidence"] == "strong"
    found = {sign["name"] for sign in report["shortcut_reliance"]["signs"] if sign["present"]}
    assert {"shift", "property"} <= found
    assert report["properties"]["findings"][0]["property"] == "top-left corner"
    assert "It relies on a shortcut" in page
    assert "top-left corner" in page
    assert report["saliency"]["after"] is None
    assert report["saliency"]["shift"] is None
    assert {item["rule"] for item in report["gallery"]["items"]} <= {"most_masked", "mistaken"}


def test_the_same_job_writes_the_same_figures(bench: Bench) -> None:
    job_inputs = {"model": bench.untrained(CLASSES)}
    jobs = bench.succeed(*(bench.run(JobKind.EVALUATE, inputs=job_inputs, params={}) for _ in range(2)))
    first, second = (read(bench, job)[0] for job in jobs)
    for report in (first, second):
        for changing in ("job", "created_at", "cost"):
            del report[changing]
    assert first == second


def test_no_model_is_asked_twice_for_a_split(bench: Bench, masktune: JobRow, asked: list[int]) -> None:
    splits = read(bench, masktune)[0]["dataset"]["splits"]
    assert sorted(asked) == sorted(splits[name] for name in ("calibration", "val", "test") for _ in range(3))


def test_nothing_to_look_at_and_few_samples_break_nothing(bench: Bench) -> None:
    """Images of one colour: no map has a place, no mask a pixel; three samples of a class to test."""
    folder, shades = bench.images.parent / "flat", iter(range(256))
    for split, count in (("train", 20), ("val", 2), ("test", 3)):
        for name in ("a", "b", "c"):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                shade = next(shades)
                path = folder / split / name / f"{index}.png"
                Image.new("RGB", (28, 28), (shade, shade, shade)).save(path)
    _, dataset = bench.imported({"address": f"file://{folder}"})
    given = {"model": bench.untrained(tuple(dataset.classes))}
    asked = {"splits": ["test"]}
    job = bench.run(JobKind.EVALUATE, dataset_id=dataset.id, inputs=given, params=asked)
    report, page = read(bench, bench.succeed(job)[0])
    cost = report["masking_cost"]["test"]["imported"]
    assert (cost["n"], cost["nothing_masked"], cost["cost"]["estimate"]) == (9, 9, 0)
    means = report["saliency"]["mean_maps"]["imported"]
    assert [(mean["n"], mean["undefined"], mean["map"]) for mean in means] == [(0, 3, None)] * 3
    assert {item["rule"] for item in report["gallery"]["items"]} == {"mistaken"}
    assert report["verdict"] is None
    assert "No comparison" in page
    assert "No image has a map that shows where the model looks." in page
    assert "3. Can I trust the model?" in page


def test_known_subjects_in_test_are_told_and_a_held_out_site_has_none(bench: Bench) -> None:
    """Twenty subjects of five sites; two of them are in the train and in the test split of a list."""
    folder, shades = bench.images.parent / "sites", iter(range(256))
    folder.mkdir()
    rows, held_out = ["path,label,split,meta:site"], ["path,label,meta:site"]
    for number in range(60):
        subject, name = number // 3, ("a", "b")[number // 3 % 2]
        path = f"s{subject}_{number % 3}.png"
        Image.new("RGB", (28, 28), (next(shades),) * 3).save(folder / path)
        in_test = subject >= 16 or (subject < 2 and number % 3 == 0)
        rows.append(f"{path},{name},{'test' if in_test else 'train'},{subject % 5}")
        held_out.append(f"{path},{name},{subject % 5}")
    (folder / "labels.csv").write_text("\n".join(rows))
    options: dict[str, Any] = {"subject": "{subject}_*"}
    job, dataset = bench.imported({"address": f"file://{folder}"}, options=options)
    assert "subject_in_two_splits" in {note["code"] for note in job.done["import"]["summary"]["notes"]}
    given = {"model": bench.untrained(tuple(dataset.classes))}
    evaluation = bench.run(JobKind.EVALUATE, dataset_id=dataset.id, inputs=given, params={"splits": ["test"]})
    report, page = read(bench, bench.succeed(evaluation)[0])
    shared, of = report["dataset"]["shared_subjects"]["test"], report["dataset"]["split_subjects"]
    assert of["test"] == 6
    assert sum(shared.values()) <= 2
    assert "Of the 6 subjects of test, " in page

    (folder / "labels.csv").write_text("\n".join(held_out))
    options |= {"hold_out": ["meta:site=0"]}
    job, _ = bench.imported({"address": f"file://{folder}"}, options=options)
    summary = job.done["import"]["summary"]
    assert {split: counts["subjects"] for split, counts in summary["splits"].items()} == {
        "train": 12,
        "val": 2,
        "calibration": 2,
        "test": 4,
    }
    assert "subject_in_two_splits" not in {note["code"] for note in summary["notes"]}


def test_a_leak_and_a_column_that_tells_the_class_are_told_where_the_report_judges(
    bench: Bench,
) -> None:
    """Each patient has an image in train and one in test; each scanner but the last goes with one class."""
    folder, shades = bench.images.parent / "scanners", iter(range(256))
    folder.mkdir()
    rows = ["path,label,split,patient,scanner"]
    for number in range(160):
        label, split = number % 2, ("train", "train", "test", "test")[number % 4]
        if split == "test" and number % 8 >= 6:
            split = "val" if number % 16 < 8 else "calibration"
        path = f"{number:03d}.png"
        Image.new("RGB", (28, 28), (next(shades), 0, 90 * label)).save(folder / path)
        scanner = "new" if number % 5 == 0 else ("A", "B")[label]
        rows.append(f"{path},{('a', 'b')[label]},{split},p{number // 4},{scanner}")
    (folder / "labels.csv").write_text("\n".join(rows))
    job, dataset = bench.imported({"address": f"file://{folder}"})
    note = job.done["import"]["summary"]["notes"][0]
    assert (note["code"], note["tone"]) == ("subject_in_two_splits", "bad")
    assert note["detail"].startswith("patients in more than one split: 40 of 40")
    trained = bench.run(JobKind.MASKTUNE, dataset_id=dataset.id)
    report, page = read(bench, bench.succeed(trained)[0])
    steps = [step["step"] for step in report["recommendation"]["next"]]
    assert steps[0] == "cut_splits"
    assert steps[2:5] == ["measure_by_column", "balance_over_column", "hold_out_value"]
    assert report["recommendation"]["next"][4]["value"] == "new"
    (column,) = report["column_shortcuts"]
    assert (column["column"], column["is_grouping"]) == ("scanner", False)
    assert "Cut the splits so that no patient is in two" in page
    assert f"masktune fix {dataset.id} --group meta:scanner --new-splits" in page
    assert column["sentence"] in page
