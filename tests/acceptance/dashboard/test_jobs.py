"""Jobs: started, watched, cancelled, resumed, refused, failed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from core.queries import events
from core.session import Database
from core.settings import Settings
from masktune import Client, ProgressEvent
from masktune.contract.vocabulary import EventType
from tests.acceptance.dashboard.visitor import Visitor
from web.pages.job import TAIL

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_job_waits_in_the_queue_and_is_cancelled_and_resumed(visitor: Visitor, dataset: str) -> None:
    place = visitor.page.locator("dl.facts > div", has_text="Place in the queue").locator("dd")
    waiting = visitor.page.locator("dl.facts > div", has_text="Now").locator("dd")
    with Client(visitor.url) as client:
        first, second, third = (
            client.jobs.start("erm", dataset=dataset, epochs=9_000, backbone="small_cnn").id for _ in range(3)
        )
        next(job for job in client.jobs.watch(first) if job.state == "running")
        visitor.goto(f"/ui/jobs/{third}")
        expect(place).to_have_text("2")
        expect(waiting).to_have_text("waiting for a free worker: 1 job runs, 1 job is before it")
        client.jobs.cancel(second)
        expect(place).to_have_text("1")
        expect(waiting).to_have_text("waiting for a free worker: 1 job runs")

        # --- a question is not taken back when the job starts meanwhile
        visitor.button("Cancel").click()
        expect(visitor.button("Cancel the job")).to_be_visible()
        client.jobs.cancel(first)
        expect(visitor.badge("running")).to_be_visible()
        visitor.button("Cancel the job").click()
        expect(visitor.badge("cancelled")).to_be_visible()
        expect(visitor.log).to_contain_text("cancelled")

        visitor.button("Resume").click()
        expect(visitor.button("Cancel")).to_be_visible()
        assert client.jobs.get(third).state in ("queued", "running")
        client.jobs.cancel(third)


def test_a_long_job_shows_its_start_its_newest_events_and_its_curve(
    visitor: Visitor, dataset: str, folder: Path
) -> None:
    page = visitor.page
    with Client(visitor.url) as client:
        job = client.jobs.start("erm", dataset=dataset, epochs=9_000, backbone="small_cnn")
        next(event for event in client.jobs.events(job.id) if event.type == "stage")
        _add_events(folder / "var", job.id, 2 * TAIL)

        # --- opened late: its beginning, its newest lines, and its curve as it grows
        visitor.goto(f"/ui/jobs/{job.id}")
        expect(visitor.log).to_contain_text("plain training started")
        expect(visitor.log).to_contain_text("the newest line")
        curve = page.locator("svg.chart").first
        seen = curve.get_attribute("aria-label")
        expect(curve).not_to_have_attribute("aria-label", str(seen))
        client.jobs.cancel(job.id)
        expect(visitor.badge("cancelled")).to_be_visible()
        expect(visitor.log).to_contain_text("cancelled")
        lines = str(visitor.log.text_content()).split("\n")
        assert len(lines) == len(set(lines)), "an event was told twice"


def _add_events(data: Path, job: str, number: int) -> None:
    """So many reports from within an epoch, and a line of the log."""
    database = Database(Settings(data_dir=data).database)
    within = {"stage": "erm", "epoch": 1, "epochs": 9_000, "fraction": 0.0, "metrics": {}}
    with database.begin() as session:
        for _ in range(number):
            events.add(session, job, EventType.PROGRESS, within)
        events.add(session, job, EventType.LOG, {"message": "the newest line"})
    database.close()


def test_a_job_is_deleted_after_a_question_that_names_what_it_leaves(visitor: Visitor, dataset: str) -> None:
    page = visitor.page
    with Client(visitor.url) as client:
        job = client.jobs.start("erm", dataset=dataset, epochs=9_000, backbone="small_cnn").id
        next(e for e in client.jobs.events(job) if isinstance(e, ProgressEvent) and e.data.epoch)
        client.jobs.cancel(job)
        visitor.goto(f"/ui/jobs/{job}")
        expect(visitor.badge("cancelled")).to_be_visible()

        # --- what it takes, and that it may go
        page.get_by_role("link", name="Storage").click()
        expect(page.get_by_role("link", name=job)).to_be_visible()
        expect(page.get_by_text("Failed and cancelled jobs")).to_be_visible()
        visitor.looked_at("storage")
        page.get_by_role("link", name=job).click()

        visitor.button("Delete").click()
        expect(page.get_by_text(f"Delete job {job}? Its checkpoints,")).to_be_visible()
        visitor.button("Delete it").click()
        page.wait_for_url("**/ui/jobs")
        assert job not in [row.id for row in client.jobs.list()]


def test_a_failed_job_says_why(visitor: Visitor, dataset: str) -> None:
    visitor.goto(f"/ui/new?dataset={dataset}&kind=erm")
    visitor.page.get_by_label("Network", exact=True).first.click()
    options = visitor.page.get_by_role("option")
    expect(options.first).to_have_text("automatic")
    nearest = "tf_efficientnet_lite0 · weights are with the service"
    expect(options.nth(1)).to_have_text(nearest)
    visitor.fill("Network", "resnet18 ·")
    options.filter(has_text=re.compile("^resnet18 · weights are on the internet")).click()
    visitor.choose("Weights at the start", "published")
    cost = visitor.page.locator(".card", has=visitor.heading("Estimated time"))
    expect(cost).to_contain_text("the whole network")
    visitor.choose("What is trained", "only the last layer")
    expect(cost).to_contain_text("only the last layer")
    visitor.button("Start the job").click()
    visitor.page.wait_for_url("**/ui/jobs/job_*")
    expect(visitor.badge("failed")).to_be_visible()
    expect(visitor.page.get_by_role("alert").first).to_contain_text("could not be fetched")
    expect(visitor.button("Resume")).to_be_visible()
    visitor.looked_at("failed")
    visitor.button("Again with other fields").click()
    visitor.page.wait_for_url("**/ui/new?like=job_*")
    expect(visitor.heading("Estimated time")).to_be_visible()
    expect(visitor.page.get_by_label("Network", exact=True).first).to_have_value(re.compile("^resnet18"))
    expect(visitor.page.get_by_label("What is trained", exact=True).first).to_have_value(
        "only the last layer"
    )
    expect(visitor.page.get_by_label("Epochs", exact=True)).to_be_visible()


def test_a_page_keeps_its_fields_over_a_lost_connection(visitor: Visitor, dataset: str) -> None:
    visitor.goto(f"/ui/new?dataset={dataset}&kind=erm")
    visitor.page.get_by_text("Fields that override the preset").click()
    visitor.fill("Epochs", "7")
    visitor.page.evaluate("window.socket.disconnect()")
    visitor.page.wait_for_timeout(4_500)  # longer than NiceGUI waits by itself
    visitor.page.evaluate("window.socket.connect()")
    expect(visitor.page.locator("#popup")).to_have_attribute("aria-hidden", "true")

    visitor.choose("What to do", "MaskTune")
    expect(visitor.page.get_by_label("Epochs on masked images")).to_be_attached()
    expect(visitor.page.get_by_label("Epochs", exact=True)).to_have_value("7")


def test_a_mask_set_a_finetune_on_it_and_a_split_in_a_file(visitor: Visitor, model: str) -> None:
    page = visitor.page
    visitor.goto("/ui/new?kind=finetune")
    visitor.button("Start the job").click()
    expect(page.get_by_text("Choose a mask set.")).to_be_visible()
    expect(page.get_by_text("There is no mask set yet")).to_be_visible()

    # --- from a model to what it looks at
    visitor.choose("What to do", "Mask set")
    expect(page.get_by_text("Mask what a model looks at in every training image")).to_be_visible()
    expect(visitor.heading("Estimated time")).to_be_visible()
    visitor.button("Start the job").click()
    page.wait_for_url("**/ui/jobs/job_*")
    expect(visitor.badge("succeeded")).to_be_visible()
    expect(page.get_by_text("in every training image (method: XGrad-CAM)")).to_be_visible()
    expect(page.get_by_role("link", name="its model")).to_have_attribute("href", re.compile(model))

    # --- trained on
    visitor.button("Finetune with these masks").click()
    expect(visitor.heading("Estimated time")).to_be_visible()
    visitor.fill("Epochs on masked images", "1")
    visitor.button("Start the job").click()
    page.wait_for_url("**/ui/jobs/job_*")
    expect(page.get_by_role("link", name="its mask set")).to_be_visible()
    with Client(visitor.url) as client:
        assert client.jobs.cancel(page.url.rpartition("/")[2]).params.model_dump()["finetune"]["epochs"] == 1

    # --- and a split of it in a file
    visitor.goto(f"/ui/new?kind=predict&model={model}")
    visitor.choose("File", "CSV")
    visitor.choose("When to answer", "answer the most confident share of inputs")
    visitor.fill("Percentage to answer", "80")
    visitor.looked_at("new-predict")
    expect(page.get_by_label("Percentage to answer")).to_have_value("80")
    visitor.button("Start the job").click()
    page.wait_for_url("**/ui/jobs/job_*")
    expect(visitor.badge("succeeded")).to_be_visible()
    expect(page.get_by_text("Predicts every sample of the test split as csv")).to_contain_text("80.0")
    with page.expect_download() as downloading:
        visitor.button("Download the predictions").click()
    assert downloading.value.path().read_text().startswith("row,path,sha256,label,predicted,decision")
    visitor.button("Again with other fields").click()
    expect(page.get_by_label("Percentage to answer")).to_have_value("80")

    # --- looked at
    page.go_back()
    visitor.button("Browse the predictions").click()
    page.wait_for_url("**/predictions")
    samples = page.locator(".samples li")
    expect(samples.first).to_contain_text("score")
    visitor.choose("Decision", "abstained")
    expect(samples.filter(has_not_text="likeliest:")).to_have_count(0)
    visitor.choose("Order", "least sure first")
    page.wait_for_url(re.compile("decision=abstain&sort=least_sure"))
    with Client(visitor.url) as client:
        job = page.url.split("/")[-2]
        least = next(client.jobs.prediction_rows(job, decision="abstain", sort="least_sure"))
    expect(samples.first).to_contain_text(f"score {least.score:.3f}")
    visitor.loaded(".samples img")
    visitor.looked_at("predictions")
    samples.first.get_by_role("link").click()
    page.wait_for_url(re.compile(rf"/samples/\d+\?.*models={model}"))
    visitor.button("Show where it looks").click()
    visitor.loaded(".looks img")
