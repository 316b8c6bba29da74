"""The dashboard in a real browser, as a person uses it. Every page is checked for accessibility, and no
request may leave the machine.

Screenshots are kept in `build/screenshots`, or in the folder that MASKTUNE_SCREENSHOTS names.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright
from sklearn.datasets import load_digits

from benchmarks._browser import FLAGS, chromium
from client import Client
from core.queries import events
from core.session import Database
from core.settings import Settings
from core.vocabulary import EventType
from tests.acceptance.conftest import ROOT, Processes, address, answers
from tests.conftest import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OFFLINE = "http://127.0.0.1:9"
"""A proxy that refuses: published weights cannot be fetched, on any machine."""
PATIENCE = 90_000
"""Milliseconds for what a job has to do first; two shared cores may be slow."""
expect.set_options(timeout=30_000)
WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 844}
SCREENSHOTS = Path(os.environ.get("MASKTUNE_SCREENSHOTS") or ROOT / "build/screenshots")


@dataclass
class Visitor:
    """A page of the browser, and all that it asked for."""

    page: Page
    url: str
    asked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("websocket", lambda socket: self.asked.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def goto(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def heading(self, name: str | re.Pattern[str]) -> Any:
        return self.page.get_by_role("heading", name=name)

    def badge(self, text: str) -> Any:
        return self.page.locator(".badge", has_text=text).first

    def choose(self, label: str, option: str) -> None:
        self.page.get_by_label(label, exact=True).first.click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def loaded(self, selector: str) -> None:
        """The first image of these, once it has come: it is asked for when it comes into view."""
        image = self.page.locator(selector).first
        image.scroll_into_view_if_needed()
        self.page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())

    def looked_at(self, name: str) -> None:
        """In both themes: what axe says of it, and a screenshot; then a narrow window, which must hold it."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.set_viewport_size(WIDE)
        was_dark = self.page.evaluate("Quasar.Dark.isActive")
        for dark in (True, False):
            self.page.evaluate(f"Quasar.Dark.set({str(dark).lower()})")
            # Half faded in, nothing has its colours yet.
            self.page.wait_for_function("document.getAnimations().every(one => one.playState !== 'running')")
            self._accessible(f"{name}, {'dark' if dark else 'light'}")
            self.page.screenshot(path=SCREENSHOTS / f"{name}{'-dark' if dark else ''}.png")
        self.page.evaluate(f"Quasar.Dark.set({str(was_dark).lower()})")
        self.page.set_viewport_size(NARROW)
        self.page.screenshot(path=SCREENSHOTS / f"{name}-narrow.png", full_page=True)
        width = self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= NARROW["width"], f"{name} is wider than a narrow window: {width} px"
        self._accessible(f"{name}, narrow")
        self.page.set_viewport_size(WIDE)

    def _accessible(self, what: str) -> None:
        found = Axe().run(self.page).response["violations"]
        bad = [
            f"{v['id']}: {v['nodes'][0]['html'][:120]}"
            for v in found
            if v["impact"] in ("serious", "critical")
        ]
        assert bad == [], f"{what}: {bad}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    binary = chromium()
    if binary is None:
        pytest.skip("NOT TESTED: no chromium on this machine (apt-get install chromium)")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=binary, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dashboard")


@pytest.fixture(scope="module")
def service(folder: Path, browser: Browser) -> Iterator[str]:
    """`masktune serve` for all tests of this module, cut off from published weights."""
    made = Processes(folder)
    with pytest.MonkeyPatch.context() as patched:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patched.setenv(name, OFFLINE)
        patched.setenv("TORCH_HOME", str(folder / "torch"))
        serve = made.masktune("serve", "--port", "0", "--data-dir", str(folder / "var"))
    try:
        yield address(serve)
        serve.terminate()
        assert serve.wait(30) == 0
        assert made.left() == []
    finally:
        serve.kill()
        serve.wait()
        assert serve.stdout is not None
        serve.stdout.close()


@pytest.fixture
def visitor(browser: Browser, service: str) -> Iterator[Visitor]:
    with_page = browser.new_page(viewport=WIDE)
    with_page.set_default_timeout(20_000)
    made = Visitor(with_page, service)
    yield made
    with_page.close()
    assert made.errors == []
    hosts = {urlsplit(url).hostname for url in made.asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}, "a request left the machine"


@pytest.fixture(scope="module")
def archive(folder: Path) -> Path:
    """200 digits with a red square on every 0-4: one folder per class."""
    target = folder / "digits.zip"
    pixels, digits = load_digits(return_X_y=True)
    with zipfile.ZipFile(target, "w") as zipped:
        for number in range(200):
            side = Image.fromarray((pixels[number].reshape(8, 8) * 15).astype("uint8")).resize((28, 28))
            picture = side.convert("RGB")
            if digits[number] < 5:
                picture.paste((255, 0, 0), (0, 0, 4, 4))
            data = io.BytesIO()
            picture.save(data, "PNG")
            zipped.writestr(f"{'0-4' if digits[number] < 5 else '5-9'}/{number:03d}.png", data.getvalue())
    return target


@pytest.fixture(scope="module")
def dataset(service: str, archive: Path) -> str:
    """The same digits, there already."""
    with Client(service) as client:
        made = client.datasets.upload(archive, name="digits, there already")
        return client.datasets.wait(made.id, timeout=120).id


def test_from_an_upload_to_a_refused_prediction(visitor: Visitor, archive: Path) -> None:
    page = visitor.page
    visitor.goto("/")
    assert urlsplit(page.url).path == "/ui/"
    expect(visitor.heading("Does your classifier lean on a shortcut?")).to_be_visible()
    visitor.looked_at("home")

    # --- the upload, and the report that grows
    page.locator("#dataset-drop input[type=file]").set_input_files(archive)
    page.wait_for_url("**/ui/datasets/ds_*")
    expect(visitor.heading("Is there a shortcut in the images?")).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".callout").first).to_contain_text("Yes: a simple property tells the class")
    expect(page.locator(".samples img")).to_have_count(36)
    visitor.loaded(".samples img")
    visitor.choose("Class", "5-9")
    expect(page.locator(".samples .name b", has_text="0-4")).to_have_count(0)
    visitor.button("Next").click()
    expect(page.get_by_text("page 2")).to_be_visible()
    visitor.looked_at("dataset")

    # --- a job, its cost guessed before it starts
    visitor.button("Train on it").click()
    expect(visitor.heading("What it may cost")).to_be_visible()
    expect(page.get_by_text("a guess: no job has run small_cnn")).to_be_visible()
    page.get_by_text("Fields that win over the preset").click()
    page.get_by_label("Epochs", exact=True).fill("2")
    expect(page.locator(".facts", has_text="Epochs")).not_to_contain_text("15")
    visitor.looked_at("new-job")
    visitor.button("Start the job").click()
    page.wait_for_url("**/ui/jobs/job_*")
    expect(visitor.badge("succeeded")).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".stages li.done")).to_have_count(6)
    expect(page.locator(".log")).to_contain_text("erm is done after")
    visitor.looked_at("job")

    # --- the report, and the slider between before and after
    visitor.button("Read the report").click()
    page.wait_for_url("**/report")
    expect(page.locator(".callout strong").first).to_have_text(
        re.compile("MaskTune helped|MaskTune hurt|No detectable effect")
    )
    visitor.loaded(".compare img")
    slide = page.locator(".gallery input.slide").first
    slide.focus()
    page.keyboard.press("End")
    assert "100%" in str(page.locator(".compare").first.get_attribute("style"))
    visitor.looked_at("report")

    # --- the model: what it would refuse, its names
    page.get_by_role("link", name="MaskTune", exact=True).last.click()
    page.wait_for_url("**/ui/models/mdl_*")
    model = urlsplit(page.url).path.rpartition("/")[2]
    expect(page.get_by_text("Chosen for the coverage")).to_be_visible()
    expect(page.get_by_text(re.compile("of these .* test samples would be refused"))).to_be_visible()
    page.get_by_label("Coverage in percent").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("Answer 89 % of the inputs")).to_be_visible()
    visitor.choose("Choose by", "risk: how many may be wrong")
    expect(page.get_by_text(re.compile("^(Certified|Not certifiable)$")).first).to_be_visible()
    page.get_by_label("Alias").fill("digits-best")
    visitor.button("Let it stand for this model").click()
    expect(visitor.badge("digits-best")).to_be_visible()
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Weights (safetensors)").click()
    assert downloading.value.path().stat().st_size > 10_000
    visitor.looked_at("model")

    # --- a prediction that is refused: so small a risk cannot be certified on so few samples
    visitor.button("Try it").click()
    page.wait_for_url(f"**/ui/try?model={model}")
    page.get_by_role("button", name="Sample").first.click()
    expect(page.locator(".decision")).to_have_text(re.compile("0-4|5-9"))
    visitor.choose("When to answer", "keep the share of wrong answers below")
    page.get_by_label("Percent").fill("0.1")
    expect(page.locator(".decision")).to_have_text("I don’t know")
    expect(page.get_by_text("No threshold keeps the wanted risk")).to_be_visible()
    expect(page.locator(".pictures img")).to_have_count(3)
    visitor.looked_at("try")

    # --- an image of one's own, which is refused as well
    page.locator("#image-drop input[type=file]").set_input_files(
        {"name": "own.png", "mimeType": "image/png", "buffer": _png((28, 28))}
    )
    expect(page.get_by_text("own.png").first).to_be_visible()
    expect(page.locator(".pictures img")).to_have_count(2)
    expect(page.locator(".decision")).to_have_text("I don’t know")
    visitor.goto("/ui/models")
    expect(visitor.badge("digits-best")).to_be_visible()
    visitor.looked_at("models")


def test_a_job_is_cancelled_and_resumed(visitor: Visitor, dataset: str) -> None:
    with Client(visitor.url) as client:
        job = client.jobs.start("erm", dataset=dataset, epochs=9_000, backbone="small_cnn")
        visitor.goto(f"/ui/jobs/{job.id}")
        expect(page_log(visitor)).to_contain_text("erm begins", timeout=PATIENCE)
        expect(visitor.page.locator("svg.chart").first).to_be_visible(timeout=PATIENCE)
        visitor.button("Cancel").click()
        visitor.button("Cancel it").click()
        expect(visitor.badge("cancelled")).to_be_visible(timeout=PATIENCE)
        expect(page_log(visitor)).to_contain_text("cancelled")
        visitor.looked_at("cancelled")
        visitor.button("Resume").click()
        expect(visitor.button("Cancel")).to_be_visible()
        assert client.jobs.get(job.id).state in ("queued", "running")
        client.jobs.cancel(job.id)
        visitor.goto("/ui/jobs")
        visitor.choose("Kind", "Plain training (ERM)")
        expect(visitor.page.locator("tbody tr")).to_have_count(1)
        visitor.looked_at("jobs")


def test_of_a_long_job_only_what_is_drawn_is_read(visitor: Visitor, dataset: str, folder: Path) -> None:
    page = visitor.page
    with Client(visitor.url) as client:
        job = client.jobs.start("erm", dataset=dataset, epochs=9_000, backbone="small_cnn")
        visitor.goto(f"/ui/jobs/{job.id}")
        expect(page_log(visitor)).to_contain_text("erm begins", timeout=PATIENCE)
        _add_events(folder / "var", job.id, 5_000)

        # --- opened late: its beginning, its newest lines, and its curve as it grows
        visitor.goto(f"/ui/jobs/{job.id}")
        expect(page.get_by_text("This job is long")).to_be_visible()
        expect(page_log(visitor)).to_contain_text("erm begins")
        expect(page_log(visitor)).to_contain_text("the newest line")
        curve = page.locator("svg.chart").first
        seen = curve.get_attribute("aria-label")
        expect(curve).not_to_have_attribute("aria-label", str(seen))
        client.jobs.cancel(job.id)
        expect(visitor.badge("cancelled")).to_be_visible(timeout=PATIENCE)
        expect(page_log(visitor)).to_contain_text("cancelled")
        lines = str(page_log(visitor).text_content()).split("\n")
        assert len(lines) == len(set(lines)), "an event was told twice"
        visitor.looked_at("long-job")


def _add_events(data: Path, job: str, number: int) -> None:
    """So many reports from within an epoch, and a line of the log."""
    database = Database(Settings(data_dir=data).database)
    within = {"stage": "erm", "epoch": 1, "epochs": 9_000, "fraction": 0.0, "metrics": {}}
    with database.begin() as session:
        for _ in range(number):
            events.add(session, job, EventType.PROGRESS, within)
        events.add(session, job, EventType.LOG, {"message": "the newest line"})
    database.close()


def test_a_failed_job_says_why(visitor: Visitor, dataset: str) -> None:
    visitor.goto(f"/ui/new?dataset={dataset}&kind=erm")
    visitor.page.get_by_text("Fields that win over the preset").click()
    visitor.page.get_by_label("Network", exact=True).fill("resnet18")
    visitor.page.get_by_role("switch", name="Start from published weights").click()
    visitor.button("Start the job").click()
    visitor.page.wait_for_url("**/ui/jobs/job_*")
    expect(visitor.badge("failed")).to_be_visible(timeout=PATIENCE)
    expect(visitor.page.get_by_role("alert").first).to_contain_text("could not be fetched")
    expect(visitor.button("Resume")).to_be_visible()
    visitor.looked_at("failed")


def test_a_field_that_cannot_be_is_said_where_it_is_asked(visitor: Visitor, dataset: str) -> None:
    visitor.goto(f"/ui/new?dataset={dataset}")
    visitor.page.get_by_label("Network", exact=True).fill("no_such_network")
    visitor.button("Start the job").click()
    field = visitor.page.locator(".q-field", has=visitor.page.get_by_label("Network", exact=True))
    expect(field.get_by_role("alert")).to_contain_text("no_such_network", timeout=PATIENCE)
    expect(visitor.page.locator(".callout.bad")).to_contain_text("See Network.")
    assert urlsplit(visitor.page.url).path == "/ui/new"
    visitor.looked_at("wrong-field")


@pytest.fixture(scope="module")
def model(service: str, dataset: str) -> str:
    """A network that was trained for a moment."""
    with Client(service) as client:
        job = client.jobs.start("erm", dataset=dataset, epochs=1, backbone="small_cnn")
        return client.jobs.wait(job.id, timeout=120).models["erm"]


def test_a_mask_set_a_finetune_on_it_and_a_split_in_a_file(
    visitor: Visitor, dataset: str, model: str
) -> None:
    page = visitor.page
    visitor.goto("/ui/new?kind=finetune")
    visitor.button("Start the job").click()
    expect(page.get_by_text("Choose a mask set.")).to_be_visible()
    expect(page.get_by_text("There is no mask set yet")).to_be_visible()

    # --- from a model to what it looks at
    visitor.choose("What to do", "Mask set")
    expect(page.get_by_text("What a model looks at in every training image")).to_be_visible()
    expect(visitor.heading("What it may cost")).to_be_visible()
    visitor.looked_at("new-mask")
    visitor.button("Start the job").click()
    page.wait_for_url("**/ui/jobs/job_*")
    expect(visitor.badge("succeeded")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Looks at every training image with xgradcam")).to_be_visible()
    expect(page.get_by_role("link", name="its model")).to_have_attribute("href", re.compile(model))
    visitor.looked_at("mask")

    # --- trained on
    visitor.button("Finetune on it").click()
    expect(visitor.heading("What it may cost")).to_be_visible()
    page.get_by_label("Epochs on masked images").fill("1")
    visitor.looked_at("new-finetune")
    visitor.button("Start the job").click()
    page.wait_for_url("**/ui/jobs/job_*")
    expect(visitor.badge("succeeded")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("link", name="its mask set")).to_be_visible()
    expect(visitor.button("Read the report")).to_be_visible()

    # --- and a split of it in a file
    visitor.goto(f"/ui/new?dataset={dataset}")
    visitor.choose("What to do", "Predict a split")
    visitor.choose("File", "CSV")
    visitor.choose("When to answer", "answer the surest share of inputs")
    page.get_by_label("Answer this percentage").fill("80")
    visitor.looked_at("new-predict")
    visitor.button("Start the job").click()
    page.wait_for_url("**/ui/jobs/job_*")
    expect(visitor.badge("succeeded")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Every sample of the test split, as csv")).to_contain_text("80.0")
    visitor.looked_at("predict")
    with page.expect_download() as downloading:
        visitor.button("Download the predictions").click()
    assert downloading.value.path().read_text().startswith("row,path,label,predicted,decision")


def test_what_a_model_cannot_do_is_said_beside_the_field(
    visitor: Visitor, model: str, tmp_path: Path
) -> None:
    with Client(visitor.url) as client:
        names = client.models.get(model).classes[::-1]
        weights = client.models.download(model, tmp_path / "weights.safetensors")
        other = client.models.import_(weights, backbone="small_cnn", classes=names, image_size=28)
    visitor.goto(f"/ui/new?kind=predict&model={other.id}")
    visitor.button("Start the job").click()
    expect(visitor.page.get_by_text("Choose a data set.")).to_be_visible()
    visitor.choose("Data set", "digits, there already")
    visitor.choose("When to answer", "answer from this score on")
    visitor.button("Start the job").click()
    expect(visitor.page.get_by_text("they must be the same, in the same order")).to_be_visible()


def test_a_model_is_imported_and_a_wrong_file_says_what_is_wrong(
    visitor: Visitor, model: str, tmp_path: Path
) -> None:
    page = visitor.page
    with Client(visitor.url) as client:
        weights = client.models.download(model, tmp_path / "weights.safetensors")
    visitor.goto("/ui/models")
    page.get_by_text("Import a model").click()
    says = page.locator("#model-drop .drop-says")
    visitor.button("Import the model").click()
    expect(says).to_have_text("Choose a file first.")

    # --- what is wrong stands beside its field, before the file is sent
    pickled = tmp_path / "model.pt"
    pickled.write_bytes(b"PK\x03\x04" + bytes(64))
    page.get_by_label("Weights of a model").set_input_files(pickled)
    page.get_by_label("Name, an alias").fill("Not So")
    visitor.button("Import the model").click()
    expect(page.get_by_text("Name the network.")).to_be_visible()
    expect(page.locator(".field-wrong")).to_have_count(3)
    visitor.looked_at("import-wrong")
    page.get_by_label("Network").fill("small_cnn")
    page.get_by_label("Image size in pixels").fill("28")
    page.get_by_label("Name, an alias").fill("brought")
    page.get_by_label("Classes, one on a line").fill("0-4\n5-9")
    visitor.button("Import the model").click()
    expect(says).to_contain_text("a zip archive, as torch.save writes", timeout=PATIENCE)
    visitor.looked_at("import-pickle")
    expect(page.locator(".field-wrong")).to_have_count(0)

    # --- weights of another network, then the right one
    page.get_by_label("Weights of a model").set_input_files(weights)
    page.get_by_label("Network").fill("resnet18")
    visitor.button("Import the model").click()
    expect(page.locator("#model-drop.failed .drop-says")).to_contain_text("resnet18", timeout=PATIENCE)
    visitor.looked_at("import-misfit")
    page.get_by_label("Weights of a model").set_input_files(weights)
    page.get_by_label("Network").fill("small_cnn")
    page.get_by_label("Classes, one on a line").fill("")
    page.get_by_label("Data set that it belongs to").select_option(label="digits, there already (2 classes)")
    visitor.button("Import the model").click()
    page.wait_for_url("**/ui/models/mdl_*")
    expect(visitor.heading("Imported")).to_be_visible()
    expect(visitor.badge("brought")).to_be_visible()
    visitor.looked_at("imported")


def test_wrong_files_are_refused_in_words(visitor: Visitor, service: str) -> None:
    visitor.goto("/")
    upload = visitor.page.locator("#dataset-drop input[type=file]")
    upload.set_input_files(
        {"name": "notes.zip", "mimeType": "application/zip", "buffer": b"no archive at all"}
    )
    said = visitor.page.locator("#dataset-drop.failed .drop-says, .callout.bad")
    expect(said.first).to_be_visible(timeout=PATIENCE)
    visitor.looked_at("wrong-file")

    only_text = io.BytesIO()
    with zipfile.ZipFile(only_text, "w") as zipped:
        zipped.writestr("cats/1.jpg", b"<html>no picture</html>")
        zipped.writestr("dogs/1.jpg", b"<html>no picture</html>")
    visitor.goto("/")
    upload.set_input_files(
        {"name": "pages.zip", "mimeType": "application/zip", "buffer": only_text.getvalue()}
    )
    expect(visitor.page.get_by_text("This data set cannot be used")).to_be_visible(timeout=PATIENCE)
    expect(visitor.page.get_by_text("2 files were rejected")).to_be_visible()
    visitor.looked_at("invalid")


def test_what_is_not_there_and_the_theme(visitor: Visitor) -> None:
    visitor.goto("/ui/datasets/ds_none")
    expect(visitor.heading("There is nothing here")).to_be_visible()
    theme = visitor.page.get_by_role("button", name=re.compile("Theme"))
    theme.click()
    theme.click()
    expect(visitor.page.locator("body.body--dark")).to_be_visible()
    visitor.page.reload()
    expect(visitor.page.locator("body.body--dark")).to_be_visible()
    visitor.looked_at("dark")


def test_alone_it_asks_for_a_key_and_says_when_the_service_is_away(
    browser: Browser, processes: Processes, tmp_path: Path
) -> None:
    api_port, web_port, key = free_port(), free_port(), "a-secret-of-the-test"
    url = f"http://127.0.0.1:{api_port}"
    api = processes.masktune(
        "api", "--port", str(api_port), DATA_DIR=str(tmp_path / "var"), API_KEYS=f"admin:{key}"
    )
    processes.masktune("web", "--port", str(web_port), URL=url)
    processes.wait_until(lambda: answers(url), seconds=60)
    page = browser.new_page(viewport=WIDE)
    visitor = Visitor(page, f"http://127.0.0.1:{web_port}")
    processes.wait_until(lambda: _alive(f"{visitor.url}/livez"), seconds=60)

    visitor.goto("/")
    expect(visitor.heading("This service asks for a key")).to_be_visible()
    visitor.looked_at("key")
    page.get_by_label("Key").fill("wrong")
    visitor.button("Go on").click()
    expect(page.get_by_text("That key is not known here")).to_be_visible()
    page.get_by_label("Key").fill(key)
    visitor.button("Go on").click()
    expect(visitor.heading("Your data sets")).to_be_visible()
    assert page.evaluate("document.cookie.includes('secret')") is False
    assert [url for url in visitor.asked if key in url] == []

    api.terminate()
    assert api.wait(30) == 0
    visitor.goto("/ui/jobs")
    expect(visitor.heading("The service does not answer")).to_be_visible()
    visitor.looked_at("away")
    page.close()
    assert {urlsplit(url).hostname for url in visitor.asked if not url.startswith("data:")} == {"127.0.0.1"}


def page_log(visitor: Visitor) -> Any:
    return visitor.page.locator(".log")


def _alive(url: str) -> bool:
    import httpx

    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _png(size: tuple[int, int]) -> bytes:
    data = io.BytesIO()
    Image.effect_noise(size, 60).save(data, "PNG")
    return data.getvalue()
