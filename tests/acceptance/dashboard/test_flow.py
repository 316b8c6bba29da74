"""The whole way, from an upload to a prediction that is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from launcher.demo.digits_zip import write_zip
from masktune import Client
from tests.acceptance.dashboard.conftest import served
from tests.acceptance.dashboard.visitor import Visitor, png

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    """A service in which no job has run yet."""
    with served(tmp_path_factory.mktemp("new")) as url:
        yield url


@pytest.fixture
def biased(tmp_path: Path) -> Path:
    """All digits, as in the demo: in training the square tells the class, in the test split it misleads."""
    target = tmp_path / "digits-with-a-square.zip"
    write_zip(target)
    return target


def test_from_an_upload_to_a_refused_prediction(visitor: Visitor, biased: Path) -> None:
    page = visitor.page
    visitor.goto("/")
    assert urlsplit(page.url).path == "/ui/"
    expect(visitor.heading("Does your classifier rely on a shortcut?")).to_be_visible()
    visitor.looked_at("home")

    # --- the upload, and the report that grows
    page.locator("#dataset-drop input[type=file]").set_input_files(biased)
    page.wait_for_url("**/ui/datasets/ds_*")
    expect(visitor.heading("Is there a shortcut in the images?")).to_be_visible()
    expect(page.locator(".callout").first).to_contain_text("Yes: a simple property predicts the class")
    expect(page.locator(".samples img")).to_have_count(36)
    visitor.loaded(".samples img")
    visitor.looked_at("dataset")
    visitor.choose("Class", "5-9")
    expect(page.locator(".samples .name b", has_text="0-4")).to_have_count(0)
    visitor.button("Next").click()
    expect(page.get_by_text("page 2")).to_be_visible()
    visitor.choose("Split", "test")
    expect(page.locator(".samples .name.quiet", has_text="5-9 without")).to_have_count(0)
    visitor.choose("Group", "5-9 without square")
    expect(page.get_by_text("No samples match these filters.")).to_be_visible()

    # --- the job for most people starts at one press
    visitor.button("Train past shortcuts").click()
    page.wait_for_url("**/ui/jobs/job_*")
    with Client(visitor.url) as client:
        client.jobs.cancel(page.url.rpartition("/")[2])
    expect(visitor.badge("cancelled")).to_be_visible()

    # --- the same with fields of one's own, its cost guessed before it starts
    page.get_by_role("link", name="digits-with-a-square").click()
    visitor.button("Other jobs").click()
    expect(page.get_by_text("try what suits the data against a shortcut")).to_be_visible()
    expect(visitor.heading("Estimated time")).to_be_visible()
    expect(page.get_by_text("no job has measured this at this image size yet")).to_be_visible()
    page.get_by_text("Fields that override the preset").click()
    visitor.fill("Epochs", "6")
    visitor.fill("Batch size", "32")
    visitor.fill("Learning rate", "0.01")
    page.get_by_text("Masks and control").click()
    visitor.fill("Epochs on masked images", "3")
    expect(page.locator(".facts", has_text="Epochs")).to_contain_text(re.compile(r"Epochs\s*6\b"))
    visitor.looked_at("new-job")
    visitor.button("Start the job").click()
    page.wait_for_url("**/ui/jobs/job_*")
    expect(page.locator("svg.chart").first).to_be_visible()
    visitor.looked_at("job-live")
    expect(visitor.badge("succeeded")).to_be_visible()
    expect(page.locator(".stages li.done")).to_have_count(9)
    expect(page.locator(".log")).to_contain_text("plain training finished after")

    # --- the report: the model to use, before and after under a slider, the strength of the maps, the masks
    visitor.button("Read the report").click()
    page.wait_for_url("**/report")
    expect(page.locator(".callout strong").first).to_have_text("MaskTune helped")
    expect(page.locator(".steps li").first).to_contain_text("Use the MaskTune model.")
    visitor.button("Use this model").click()
    visitor.fill("Alias", "Production")
    visitor.button("Point it at this model").click()
    expect(page.get_by_text("Up to 64 lower-case letters")).to_be_visible()
    visitor.fill("Alias", "production")
    visitor.button("Point it at this model").click()
    expect(page.get_by_text("production now points at this model.")).to_be_visible()
    visitor.loaded(".compare img")
    slide = page.locator(".gallery input.slide").first
    slide.focus()
    page.keyboard.press("End")
    assert "100%" in str(page.locator(".compare").first.get_attribute("style"))
    heatmap, mask = page.locator(".compare .heatmap").first, page.locator(".compare .mask").first
    page.get_by_label("Strength of the map").focus()
    page.keyboard.press("End")
    expect(heatmap).to_have_css("opacity", "1")
    expect(mask).to_be_hidden()
    page.get_by_label("as finetuning sees it").check()
    expect(heatmap).to_be_hidden()
    expect(mask).to_be_visible()
    visitor.loaded(".compare .mask")
    page.get_by_label("outline").check()
    visitor.looked_at("report")

    # --- the model: what it would refuse, its names
    page.get_by_role("link", name="MaskTune", exact=True).last.click()
    page.wait_for_url("**/ui/models/mdl_*")
    model = urlsplit(page.url).path.rpartition("/")[2]
    expect(page.get_by_text("Target coverage")).to_be_visible()
    expect(page.get_by_text(re.compile("would abstain on .* of these .* test samples"))).to_be_visible()
    page.get_by_label("Coverage in percent").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("Answer 89 % of the inputs")).to_be_visible()
    visitor.choose("Choose by", "risk: share of answers that may be wrong")
    visitor.choose("Confidence", "95 %")
    expect(page.get_by_text(re.compile("^(Certified|Not certifiable)$")).first).to_be_visible()
    expect(visitor.badge("production")).to_be_visible()
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Weights (safetensors)").click()
    assert downloading.value.path().stat().st_size > 10_000
    expect(page.locator(".q-notification")).to_have_count(0)
    visitor.looked_at("model")

    # --- a prediction that is refused: so small a risk cannot be certified on so few samples
    visitor.button("Try it").click()
    page.wait_for_url(f"**/ui/try?model={model}")
    page.get_by_role("button", name="Sample").first.click()
    expect(page.locator(".decision")).to_have_text(re.compile("0-4|5-9"))
    visitor.choose("When to answer", "limit the share of wrong answers")
    visitor.fill("Percent", "0.1")
    expect(page.locator(".decision")).to_have_text("I don’t know")
    expect(page.get_by_text(re.compile("that takes about [0-9,]+ calibration samples"))).to_be_visible()
    expect(page.locator(".pictures figure")).to_have_count(3)
    visitor.looked_at("try", whole=True)

    # --- two images of one's own, which are refused as well; of one patient, they are one input for drift
    visitor.fill("Subject of the image that you drop, if known", "p07")
    for name in ("own.png", "other.png"):
        page.locator("#image-drop input[type=file]").set_input_files(
            {"name": name, "mimeType": "image/png", "buffer": png((28, 28))}
        )
        expect(page.locator(".card", has_text=name)).to_be_visible()
        expect(page.locator(".pictures figure")).to_have_count(2)
        expect(page.locator(".decision")).to_have_text("I don’t know")
    with Client(visitor.url) as client:
        inputs = client.models.drift(model).served
        assert (inputs.inputs, inputs.independent) == (2, 1)
        for _ in range(3):  # inputs that all have one score are not like the calibration split
            client.predict.images(model, [png((28, 28))] * 20)
            client.models.drift(model)
    visitor.goto("/ui/models")
    expect(visitor.badge("production")).to_be_visible()
    expect(visitor.badge("inputs drifted").first).to_be_visible()
    visitor.looked_at("models")

    # --- the model's page begins with the drift, until somebody acknowledges it
    visitor.goto(f"/ui/models/{model}")
    expect(page.locator(".callout.bad").first).to_contain_text("differ from its calibration split")
    visitor.button("Acknowledge the drift").click()
    visitor.button("Acknowledge it").click()
    expect(page.locator(".callout.bad")).to_have_count(0)
    expect(page.get_by_text("was acknowledged on")).to_be_visible()
