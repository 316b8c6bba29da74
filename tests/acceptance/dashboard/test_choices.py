"""What may be chosen, and what cannot be: splits, numbers, names, orders; a choice is found again."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect
from sklearn.datasets import load_digits

from masktune import Client
from tests.acceptance.dashboard.visitor import Visitor
from tests.support.jobs.golden import Golden

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LONG = "ein_sehr_langer_Name_ohne_ein_einziges_Leerzeichen_und_ohne_Bindestrich"
LONGEST = (LONG + LONG)[:100]


def _digits(number: int) -> Iterator[bytes]:
    """The first so many digits as PNG."""
    pixels, _ = load_digits(return_X_y=True)
    for one in pixels[:number]:
        data = io.BytesIO()
        Image.fromarray((one.reshape(8, 8) * 15).astype("uint8")).resize((28, 28)).save(data, "PNG")
        yield data.getvalue()


@pytest.fixture(scope="module")
def challenge(service: str, folder: Path) -> str:
    """A small Background Challenge with a variant that shows no object."""
    target = folder / "challenge.zip"
    places = {
        "in9l/train": 80,
        "in9l/val": 40,
        "mixed_same/val": 20,
        "mixed_rand/val": 9,
        "only_bg_t/val": 20,
    }
    folders = [place for place, count in places.items() for _ in range(count)]
    with zipfile.ZipFile(target, "w") as zipped:
        for number, (place, digit) in enumerate(zip(folders, _digits(len(folders)), strict=True)):
            zipped.writestr(f"{place}/{('00_dog', LONG)[number % 2]}/{number}.png", digit)
    with Client(service) as client:
        made = client.datasets.upload(target, name=LONGEST)
        return client.datasets.wait(made.id).id


def imported(client: Client, model: str, classes: list[str], folder: Path) -> str:
    """A copy of the model under other names of its classes."""
    weights = client.models.download(model, folder / "weights.safetensors")
    return client.models.import_(weights, backbone="small_cnn", classes=classes, image_size=16).id


def test_the_splits_that_a_data_set_has_are_offered(
    visitor: Visitor, challenge: str, dataset: str, model: str, tmp_path: Path
) -> None:
    page = visitor.page
    visitor.goto(f"/ui/datasets/{challenge}")
    expect(page.locator(".samples img").first).to_be_visible()
    visitor.looked_at("long-names")  # which fit into a narrow window
    visitor.goto(f"/ui/new?kind=evaluate&dataset={challenge}")
    expect(page.get_by_text("No model has the classes of this data set yet")).to_be_visible()
    with Client(visitor.url) as client:
        fitting = imported(client, model, client.datasets.get(challenge).classes, tmp_path)
        name = client.datasets.get(dataset).name
    visitor.goto(f"/ui/new?kind=evaluate&model={fitting}&dataset={challenge}")
    page.get_by_label("Splits", exact=True).first.click()
    offered = [text.partition(" (")[0] for text in page.get_by_role("option").all_inner_texts()]
    assert offered == ["train", "val", "calibration", "test", "only_bg_t: object replaced by background"]
    page.get_by_role("option", name=re.compile("only_bg_t")).click()
    page.keyboard.press("Escape")
    visitor.looked_at("new-evaluate")

    # --- another data set has others; back again, those that judge a model are chosen
    visitor.choose("Data set", name)
    splits = page.locator(".q-field", has=page.get_by_label("Splits", exact=True)).first
    expect(splits).not_to_contain_text("only_bg_t")
    visitor.choose("Data set", LONGEST)
    page.get_by_label("Splits", exact=True).first.click()
    page.get_by_role("option", name=re.compile("only_bg_t")).click()
    page.keyboard.press("Escape")
    expect(splits).to_contain_text("only_bg_t")

    # --- one job, however often the button is pressed
    with Client(visitor.url) as client:
        before = len(list(client.jobs.list(kind="evaluate")))
        visitor.button("Start the job").dblclick()
        page.wait_for_url("**/ui/jobs/job_*")
        job, *others = client.jobs.list(kind="evaluate")
        assert len(others) == before
        assert client.jobs.cancel(job.id).params.model_dump()["splits"] == ["val", "test", "only_bg_t"]


def test_an_invalid_number_is_kept_and_reported(visitor: Visitor, dataset: str) -> None:
    """Another in its place would be trained with before anybody saw it."""
    with Client(visitor.url) as client:
        before = [job.id for job in client.jobs.list(dataset=dataset)]
    visitor.goto(f"/ui/new?dataset={dataset}&kind=erm")
    visitor.page.get_by_text("Fields that override the preset").click()
    for label, value, said in (
        ("Epochs", "0", "Enter a whole number: at least 1 and at most 10,000."),
        ("Epochs", "1.5", "Enter a whole number: at least 1 and at most 10,000."),
        ("Learning rate", "-1", "Enter a number: above 0 and below 1000."),
    ):
        visitor.fill(label, value)
        visitor.button("Start the job").click()
        expect(visitor.page.get_by_text(said)).to_be_visible()
        expect(visitor.page.get_by_label(label, exact=True)).to_have_value(value)
        visitor.fill(label, "")
    with Client(visitor.url) as client:
        assert [job.id for job in client.jobs.list(dataset=dataset)] == before


def test_the_address_of_a_form_names_a_preset_and_a_part_of_train(visitor: Visitor, dataset: str) -> None:
    visitor.goto(f"/ui/new?dataset={dataset}&kind=erm&preset=small-network&max_train_samples=100")
    visitor.button("Start the job").click()
    visitor.page.wait_for_url("**/ui/jobs/job_*")
    with Client(visitor.url) as client:
        job = client.jobs.cancel(visitor.page.url.rpartition("/")[2])
    assert job.request == {"dataset": dataset, "preset": "small-network", "max_train_samples": 100}
    assert job.params.model_dump()["image_size"] == 64


def test_moving_an_alias_needs_a_confirmation(visitor: Visitor, model: str, tmp_path: Path) -> None:
    page = visitor.page
    with Client(visitor.url) as client:
        other = imported(client, model, client.models.get(model).classes, tmp_path)
        client.models.set_alias("in-service", other)
        visitor.goto(f"/ui/models/{model}")
        visitor.fill("Alias", "in-service")
        visitor.button("Point it at this model").click()
        asked = page.get_by_role("dialog", name=re.compile(f"in-service now points at {other}"))
        expect(asked).to_be_visible()
        visitor.button("Go back").click()
        expect(asked).to_have_count(0)
        assert page.evaluate("document.activeElement.closest('button')?.textContent.includes('Point it at')")
        assert client.models.alias("in-service").model == other
        visitor.button("Point it at this model").click()
        visitor.button("Move it").click()
        expect(visitor.badge("in-service")).to_be_visible()
        assert client.models.alias("in-service").model == model


def test_a_click_on_a_column_header_sorts_the_table(visitor: Visitor, challenge: str) -> None:
    page = visitor.page
    visitor.goto(f"/ui/datasets/{challenge}")
    names = page.locator("[aria-label=Counts] tbody th")
    expect(names).to_have_text(["mixed_same", "mixed_rand", "All"])
    head = page.get_by_role("button", name="Group", exact=True)
    head.focus()
    page.keyboard.press("Enter")
    expect(names).to_have_text(["mixed_rand", "mixed_same", "All"])
    expect(page.get_by_role("columnheader", name="Group", exact=True)).to_have_attribute(
        "aria-sort", "ascending"
    )
    page.keyboard.press("Enter")
    expect(names).to_have_text(["mixed_same", "mixed_rand", "All"])

    # --- 9 before 20
    page.get_by_role("button", name="test", exact=True).click()
    expect(names).to_have_text(["mixed_rand", "mixed_same", "All"])


def test_chosen_jobs_stand_side_by_side_and_are_sorted(visitor: Visitor, golden: Golden) -> None:
    page = visitor.page
    visitor.goto(f"/ui/datasets/{golden.dataset}")
    page.get_by_label(f"Compare Train past shortcuts {golden.job}").check()
    visitor.button("Compare the chosen jobs").click()
    page.wait_for_url(f"**/ui/compare?jobs={golden.job}")
    models = page.get_by_role("region", name="Models on").locator("tbody td:nth-child(2)")
    expect(models).to_have_text(["ERM", "Control head", "Retrained head"])
    page.get_by_role("button", name="Model", exact=True).click()
    expect(models).to_have_text(["Control head", "ERM", "Retrained head"])


def test_the_list_of_jobs_refreshes_itself_and_keeps_its_filters(visitor: Visitor, challenge: str) -> None:
    page = visitor.page
    with Client(visitor.url) as client:
        job = client.jobs.start("erm", dataset=challenge, epochs=9_000, backbone="small_cnn")
        visitor.goto("/ui/jobs?kind=erm")
        expect(page.locator("tbody tr").first).to_contain_text(job.id)
        client.jobs.cancel(job.id)
        expect(page.locator("tbody tr").first).to_contain_text("cancelled")

    visitor.goto(f"/ui/datasets/{challenge}")
    visitor.button("Show jobs").click()
    page.wait_for_url(f"**/ui/jobs?dataset={challenge}")
    visitor.choose("Kind", "Plain training (ERM)")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Plain training (ERM)").click()
    page.wait_for_url("**/ui/jobs/job_*")
    expect(page).to_have_title(re.compile(r"^Plain training \(ERM\) on ein_sehr.*… · cancelled · masktune$"))
    page.go_back()
    page.wait_for_url(f"**/ui/jobs?dataset={challenge}&kind=erm")
    expect(page.locator("tbody tr")).to_have_count(1)
    visitor.choose("State", "failed")
    expect(page.get_by_text("No jobs match these filters.")).to_be_visible()


def test_what_was_renamed_is_found_by_its_name(visitor: Visitor, dataset: str, model: str) -> None:
    page, rows = visitor.page, visitor.page.locator("tbody tr")
    visitor.goto(f"/ui/datasets/{dataset}")
    visitor.button("Rename").click()
    visitor.fill("Name", " ")
    visitor.button("Rename it").click()
    expect(page.get_by_text("Enter a name.")).to_be_visible()
    visitor.button("Go back").click()
    visitor.goto(f"/ui/models/{model}")
    visitor.button("Rename").click()
    visitor.fill("Name", "Pilot 100%")
    page.keyboard.press("Enter")
    expect(visitor.heading("ERM: Pilot 100%")).to_be_visible()

    # --- in the list, whose address brings it again
    page.get_by_role("link", name="Models", exact=True).first.click()
    expect(rows.nth(1)).to_be_visible()
    visitor.fill("Search", "pilot 100%")
    expect(rows).to_have_count(1)
    page.wait_for_url("**/ui/models?q=pilot+100%25")
    page.reload()
    expect(rows).to_have_count(1)
    visitor.choose("Kind", "MaskTune")
    expect(page.get_by_text("No models match these filters.")).to_be_visible()

    # --- where models are chosen
    visitor.goto("/ui/try")
    page.get_by_role("combobox", name="Model").first.click()
    expect(
        page.get_by_role("option", name=re.compile(r" · ERM: Pilot 100% · 20\d\d-\d\d-\d\d · "))
    ).to_be_visible()

    visitor.goto("/ui/?since=7")
    expect(rows.first).to_be_visible()
    visitor.looked_at("home-search")
    visitor.fill("Search", "nothing has this name")
    expect(page.get_by_text("No data sets match these filters.")).to_be_visible()


def test_an_invalid_percentage_is_not_requested(visitor: Visitor, model: str) -> None:
    page = visitor.page
    visitor.goto(f"/ui/try?model={model}&policy=max_risk&value=50")
    page.get_by_role("button", name="Sample").first.click()
    expect(page.locator(".decision")).to_be_visible()
    expect(page.get_by_role("combobox", name="Confidence")).to_be_visible()
    result = page.get_by_role("region", name="Result")
    for value in ("0", "100", "-3", ""):
        visitor.fill("Percent", value)
        expect(result).to_have_text("Enter a percentage above 0 and below 100.")
        expect(page.get_by_label("Percent", exact=True)).to_have_value(value)
    visitor.looked_at("wrong-percentage")
    visitor.fill("Percent", "50")
    expect(page.locator(".decision")).to_be_visible()
    page.locator("#image-drop input[type=file]").set_input_files(
        {"name": "drawing.png", "mimeType": "image/png", "buffer": b"<svg xmlns='x'/>"}
    )
    expect(result).to_contain_text("Image 1 (drawing.png) is an SVG drawing")
    expect(result).not_to_contain_text("/images/0")


def test_an_answer_shows_its_label_set_and_what_is_promised_by_class(visitor: Visitor, model: str) -> None:
    page = visitor.page
    visitor.goto(f"/ui/try?model={model}&policy=by_class&value=50")
    page.get_by_role("button", name="Sample").first.click()
    expect(page.locator(".decision")).to_be_visible()
    expect(page.get_by_role("combobox", name="Confidence")).to_be_visible()
    expect(page.get_by_text("It may be", exact=True)).to_have_count(0)
    visitor.choose("Classes that it may be", "right for 90 % of each class")
    expect(page.get_by_text("It may be", exact=True)).to_be_visible()
    page.get_by_text("What is promised by class").click()
    promises = page.get_by_role("region", name="Promises by class")
    expect(promises.get_by_text("answered as another class").first).to_be_visible()
    visitor.looked_at("try-by-class")
