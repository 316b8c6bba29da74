"""Files that are brought: models, folders, wrong archives; the theme."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from sklearn.datasets import load_digits

from masktune import Client
from tests.acceptance.dashboard.visitor import Visitor

DROP_TWO_IMAGES = """drop => {
    const brought = new DataTransfer();
    for (const name of ["1.png", "2.png"]) brought.items.add(new File(["x"], name));
    drop.dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer: brought }));
}"""


def drop(page: Page, selector: str, path: Path) -> None:
    """Drag the file or folder over the element and let it go, which Playwright cannot do itself."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    dragged = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "data": dragged} | at)


pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_model_is_imported_and_a_wrong_file_says_what_is_wrong(
    visitor: Visitor, model: str, tmp_path: Path
) -> None:
    page = visitor.page
    with Client(visitor.url) as client:
        weights = client.models.download(model, tmp_path / "weights.safetensors")
    visitor.goto("/ui/models")
    page.get_by_text("Import a model").click()
    says = page.locator("#model-drop .drop-status")
    visitor.button("Import the model").click()
    expect(says).to_have_text("Choose a file first.")

    # --- what is wrong stands beside its field, before the file is sent
    pickled = tmp_path / "model.pt"
    with zipfile.ZipFile(pickled, "w") as saved:
        saved.writestr("model/data.pkl", b"")
    page.get_by_label("Model weights").set_input_files(pickled)
    visitor.button("Import the model").click()
    expect(page.get_by_text("Enter the name of the network.")).to_be_visible()
    expect(page.locator(".field-wrong")).to_have_count(2)
    visitor.looked_at("import-wrong")
    visitor.fill("Network", "small_cnn")
    visitor.fill("Image size in pixels", "16")
    visitor.fill("Classes, one per line, in the order of the outputs", "0-4\n5-9")
    visitor.button("Import the model").click()
    expect(says).to_contain_text(
        "the file is a zip archive, as torch.save writes, and pickles are never read"
    )
    expect(page.locator(".field-wrong")).to_have_count(0)

    # --- weights of another network, then the right one
    page.get_by_label("Model weights").set_input_files(weights)
    visitor.fill("Network", "resnet18")
    visitor.button("Import the model").click()
    expect(page.locator("#model-drop.failed .drop-status")).to_contain_text("resnet18")
    page.get_by_label("Model weights").set_input_files(weights)
    visitor.fill("Network", "small_cnn")
    visitor.fill("Classes, one per line, in the order of the outputs", "")
    page.get_by_label("Data set it belongs to").select_option(label="digits, there already (2 classes)")
    expect(page.locator("#model-classes")).to_have_value("high\nlow")
    visitor.button("Import the model").click()
    page.wait_for_url("**/ui/models/mdl_*")
    expect(visitor.heading("Imported")).to_be_visible()


def test_an_invalid_archive_is_explained(visitor: Visitor) -> None:
    only_text = io.BytesIO()
    with zipfile.ZipFile(only_text, "w") as zipped:
        for name in ("cats/1.jpg", "dogs/1.jpg"):
            zipped.writestr(name, b"<html>no picture</html>")
    visitor.goto("/")
    says = visitor.page.locator("#dataset-drop.failed .drop-status")
    for name, content, reason in (
        ("labels.docx", b"PK", "This holds neither images nor a table of them: send a folder"),
        ("1.jpg", b"x", "This holds images side by side"),
        ("a.zip", b"%PDF-1.7", "the file is a PDF document: send a folder"),
    ):
        visitor.page.locator("#dataset-drop input[type=file]").set_input_files(
            {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        )
        expect(says).to_contain_text(reason)
    visitor.page.locator("#dataset-drop input[type=file]").set_input_files(
        {"name": "pages.zip", "mimeType": "application/zip", "buffer": only_text.getvalue()}
    )
    expect(visitor.page.get_by_text("This data set cannot be used")).to_be_visible()
    expect(visitor.page.get_by_text("2 files were rejected")).to_be_visible()
    visitor.looked_at("invalid")


def test_a_folder_that_is_dropped_becomes_a_data_set(visitor: Visitor, tmp_path: Path) -> None:
    """Names of more than the 100 bytes that a plain tar can hold, of other letters, and of TIFF files, which
    no browser shows, included."""
    digits, labels = load_digits(n_class=2, return_X_y=True)
    folder = tmp_path / "Ziffern"
    names = ("nought", f"é{'n' * 110}")
    for index in range(40):
        path = folder / names[int(labels[index])] / f"{index}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits[index].reshape(8, 8) * 15.9).astype("uint8")).resize((28, 28)).save(path)
    visitor.goto("/")
    drop(visitor.page, "#dataset-drop", folder)
    visitor.page.wait_for_url("**/ui/datasets/ds_*")
    expect(visitor.heading("Ziffern")).to_be_visible()
    with Client(visitor.url) as client:
        dataset = client.datasets.wait(visitor.page.url.rpartition("/")[2])
    assert (dataset.classes, dataset.format) == ([*names], "image_folder")
    assert sum(dataset.splits.values()) == 40
    # The page shows by itself that the import has ended: to open it again meanwhile would be aborted.
    visitor.loaded(".samples img")
    visitor.page.locator(".samples a").first.click()
    expect(visitor.heading("Sample 0: nought")).to_be_visible()
    visitor.loaded("img.full-size")
    expect(visitor.page.get_by_text("No model has been trained on this data set.")).to_be_visible()


def test_images_without_labels_can_be_predicted_and_nothing_else(
    visitor: Visitor, model: str, tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file, digit in zip(files[:2], load_digits().images, strict=False):
        Image.fromarray((digit * 15.9).astype("uint8")).resize((28, 28)).save(file)
    files[2].write_bytes(b"no picture")
    page = visitor.page
    visitor.goto("/")
    page.get_by_text("Name, format, subjects and sites").click()
    page.get_by_label("Format", exact=True).select_option(label="images without labels, to be predicted")
    visitor.fill("Name", "Mittagspause")
    page.locator("#dataset-drop input[type=file]").set_input_files(files)
    page.wait_for_url("**/ui/datasets/ds_*")
    expect(visitor.heading("Mittagspause")).to_be_visible()
    expect(visitor.button("Predict the images")).to_be_visible()
    expect(page.get_by_text("1 file was rejected")).to_be_visible()
    for name in ("Train past shortcuts", "Other jobs", "Balance over its groups"):
        expect(visitor.button(name)).to_have_count(0)
    for name in ("Split", "Class"):
        expect(page.get_by_label(name, exact=True)).to_have_count(0)
    visitor.loaded(".samples img")
    visitor.looked_at("unlabelled")

    page.locator(".samples a").first.click()
    expect(visitor.heading("Sample 0: 0.png")).to_be_visible()
    expect(page.locator(".looks .candidates").first).to_be_visible()
    page.go_back()
    visitor.button("Predict the images").click()
    expect(page.get_by_label("Data set", exact=True).first).to_have_value("Mittagspause")
    expect(page.get_by_label("Split", exact=True).first).to_have_value(re.compile("^all images"))
    visitor.choose("What to do", "Evaluate a model")
    page.get_by_label("Data set", exact=True).first.click()
    expect(page.get_by_role("option").first).to_be_visible()
    expect(page.get_by_role("option", name="Mittagspause")).to_have_count(0)


def test_only_one_image_to_try_is_accepted(visitor: Visitor, model: str) -> None:
    visitor.goto(f"/ui/try?model={model}")
    visitor.page.locator("#image-drop").evaluate(DROP_TWO_IMAGES)
    expect(visitor.page.locator("#image-drop.failed .drop-status")).to_have_text(
        "One file at a time, please."
    )


def test_the_theme_survives_redraws_and_reloads(visitor: Visitor, model: str) -> None:
    visitor.goto(f"/ui/try?model={model}")
    theme = visitor.page.get_by_role("button", name=re.compile("Theme"))
    theme.click()
    theme.click()
    expect(visitor.page.locator("body.body--dark")).to_be_visible()
    visitor.page.get_by_role("button", name="Sample").first.click()
    expect(visitor.page.locator(".decision")).to_be_visible()
    expect(visitor.page.locator("body.body--dark")).to_be_visible()
    visitor.page.reload()
    expect(visitor.page.locator("body.body--dark")).to_be_visible()
