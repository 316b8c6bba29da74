"""Images of patients from several hospitals: uploaded with their table, filtered, downloaded."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect
from sklearn.datasets import load_digits

from masktune import Client
from tests.acceptance.dashboard.visitor import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def clinics(tmp_path: Path) -> Path:
    """A folder with sixty digits of thirty patients, a pair of two classes each, of three hospitals."""
    folder = tmp_path / "clinics"
    (folder / "images").mkdir(parents=True)
    pixels, digits = load_digits(n_class=2, return_X_y=True)
    rows = ["path,label,patient,meta:hospital,notes"]
    for label in (0, 1):
        for number, picture in enumerate(pixels[digits == label][:30]):
            path = f"images/{label}_{number:02d}.png"
            drawing = Image.fromarray((picture.reshape(8, 8) * 15).astype("uint8"))
            drawing.resize((28, 28)).save(folder / path)
            rows.append(f"{path},{label},p{number:02d},{('Berlin', 'Oslo', 'Rome')[number % 3]},")
    (folder / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def test_a_table_of_patients_is_uploaded_filtered_and_downloaded(visitor: Visitor, clinics: Path) -> None:
    page = visitor.page
    visitor.goto("/")
    page.get_by_text("Name, format, subjects and sites").click()
    page.get_by_text("Rarely needed").click()

    # --- what the form, then the service refuses stands beside its field, unfolded
    visitor.fill("Grey levels for black and white", "0 to 4095")
    page.get_by_label("Choose a folder").set_input_files(clinics)
    expect(page.get_by_text("Enter two levels with a comma between them: 0, 4095.")).to_be_visible()
    visitor.looked_at("upload-wrong", whole=True)
    visitor.fill("Grey levels for black and white", "4095, 0")
    page.get_by_text("Rarely needed").click()
    page.get_by_label("Choose a folder").set_input_files(clinics)
    expect(page.locator(".field-wrong")).to_have_text(re.compile("first level must be below"))
    expect(page.get_by_label("Grey levels for black and white")).to_be_focused()
    visitor.fill("Grey levels for black and white", "")
    visitor.fill("Hold out for the test, one per line", "meta:hospital=Berlin")
    page.get_by_label("Choose a folder").set_input_files(clinics)
    page.wait_for_url("**/ui/datasets/ds_*")

    # --- the page of the data set
    expect(page.locator(".facts", has_text="Patients")).to_contain_text(re.compile(r"Patients\s*30\b"))
    subjects = page.get_by_role("region", name="Counts").get_by_role("row", name="Patients")
    expect(subjects.get_by_role("cell").last).to_have_text("10")
    expect(page.get_by_role("region", name="Columns").get_by_role("row", name="notes")).to_contain_text(
        "ignored"
    )
    visitor.looked_at("subjects", whole=True)

    # --- its filters, in its address
    page.get_by_role("link", name="Oslo").click()
    page.wait_for_url("**?column=hospital&cell=Oslo")
    expect(visitor.heading("Samples")).to_be_in_viewport()
    samples = page.locator(".samples li")
    expect(samples).to_have_count(20)
    expect(samples.first).to_contain_text("hospital: Oslo")
    visitor.fill("Patient", "p04")
    expect(samples).to_have_count(2)
    visitor.fill("Patient", "")
    visitor.choose("Metadata column", "any")
    visitor.fill("Search", "ROME")
    expect(samples.filter(has_text="hospital: Rome")).to_have_count(20)
    expect(samples).to_have_count(20)
    page.wait_for_url("**?*q=ROME")

    # --- and its download
    with page.expect_download() as started:
        visitor.button("Download").click()
    assert "labels.csv" in zipfile.ZipFile(started.value.path()).namelist()


@pytest.fixture
def scanners(tmp_path: Path) -> Path:
    """A folder whose table puts every patient into train and test, and has a scanner for each class and a
    third for both."""
    folder = tmp_path / "scanners"
    folder.mkdir()
    pixels, digits = load_digits(n_class=2, return_X_y=True)
    rows = ["path,label,split,patient,scanner"]
    for label in (0, 1):
        for number, picture in enumerate(pixels[digits == label][:80]):
            path = f"{label}_{number:02d}.png"
            drawing = Image.fromarray((picture.reshape(8, 8) * 15).astype("uint8"))
            drawing.resize((28, 28)).save(folder / path)
            split = ("train", "train", "test", ("val", "calibration")[number % 8 // 4])[number % 4]
            scanner = "both" if number % 5 == 0 else f"only {label}"
            rows.append(f"{path},{label},{split},p{label}{number // 4},{scanner}")
    (folder / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def test_what_stands_in_the_way_is_red_and_a_button_away_from_its_cure(
    visitor: Visitor, scanners: Path
) -> None:
    page = visitor.page
    with Client(visitor.url) as client:
        leaking = client.datasets.wait(client.datasets.upload(scanners).id)
        job = client.jobs.start(
            "masktune",
            dataset=leaking.id,
            backbone="small_cnn",
            epochs=1,
            finetune={"epochs": 1},
            control=False,
        )
        client.jobs.wait(job.id)

    # --- the report starts with the leak, and has the steps that the column allows
    visitor.goto(f"/ui/jobs/{job.id}/report")
    steps = page.locator("ol.steps > li")
    expect(steps.first).to_contain_text("Cut the splits so that no patient is in two")
    visitor.looked_at("data-steps", whole=True)
    expect(steps.filter(has_text="Hold out scanner both")).to_contain_text("--hold-out meta:scanner=both")
    expect(page.locator(".callout", has_text="The metadata column scanner alone tells")).to_be_visible()
    steps.filter(has_text="Measure by scanner").get_by_role("button", name="Measure by it").click()
    page.wait_for_url(re.compile(rf"/ui/datasets/(?!{leaking.id})ds_"))

    # --- the data set read again has groups, over which a job balances
    visitor.button("Balance over its groups").click()
    page.wait_for_url("**/ui/new?dataset=ds_*&groups=labels")
    page.get_by_text("What is tried").click()
    balanced = page.get_by_role("combobox", name="Last layer balanced over")
    expect(balanced).to_have_value("the groups of the data set")

    # --- the data set says so too
    visitor.goto(f"/ui/datasets/{leaking.id}")
    warning = page.locator(".callout.bad", has_text="The splits are not separate")
    expect(warning).to_contain_text("Patients in more than one split: 40 of 40")
    visitor.looked_at("leak", whole=True)
    visitor.button("Cut new splits").click()
    page.wait_for_url(re.compile(rf"/ui/datasets/(?!{leaking.id})ds_"))
