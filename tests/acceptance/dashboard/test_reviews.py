"""The page of the review queues, driven by keys alone."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from masktune import Client, ReviewItem
from tests.acceptance.dashboard.visitor import Visitor
from tests.support.jobs.golden import Golden
from tests.support.waits import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

IMAGES = 4


def _picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def client(service: str) -> Iterator[Client]:
    with Client(service) as client:
        yield client


def _answered(client: Client) -> list[ReviewItem]:
    """In the order of the answers."""
    return sorted(client.reviews.list(state="answered"), key=lambda one: str(one.answered_at))


def test_keys_alone_answer_and_undo(visitor: Visitor, golden: Golden, client: Client) -> None:
    page, model = visitor.page, golden.models["retrained"]
    classes = client.models.get(model).classes
    client.reviews.set_policy(model, enabled=True, max_risk=0.2)
    client.predict.images(model, [_picture(number) for number in range(IMAGES)], min_score=1.0)
    wait_until(lambda: len(list(client.reviews.list(state="waiting"))) == IMAGES)
    visitor.goto(f"/ui/reviews?model={model}")
    image = page.get_by_role("region", name="Image")
    expect(page.get_by_text("if the risk doubles, it is noticed within about")).to_be_visible()
    expect(image.get_by_text("the model abstained")).to_be_visible()
    visitor.loaded(".layers img")
    visitor.looked_at("reviews-with-an-image")

    def press(key: str, answers: int) -> None:
        before = page.locator(".layers img").first.get_attribute("src")
        page.keyboard.press(key)
        if answers < IMAGES:
            picture = page.locator(".layers img").first
            expect(picture).not_to_have_attribute("src", str(before))
        assert len(_answered(client)) == answers

    press("2", 1)
    press("n", 2)
    press("s", 3)
    press("u", 2)
    press("0", 3)
    page.keyboard.press("1")
    expect(page.get_by_text("No image waits for an answer.")).to_be_visible()
    said = [(one.outcome, one.label) for one in _answered(client)]
    none = ("none_of_the_classes", None)
    assert said == [("label", classes[1]), none, none, ("label", classes[0])]

    # --- what they are for
    visitor.button("Make a data set for training").click()
    visitor.button("Make it").click()
    page.wait_for_url("**/ui/datasets/ds_*")
    before = client.datasets.get(golden.dataset)
    dataset = client.datasets.wait(page.url.rpartition("/")[2])
    assert dataset.splits == before.splits | {"train": before.splits["train"] + 2}


def test_the_keys_can_be_switched_off_and_the_buttons_remain(
    visitor: Visitor, golden: Golden, client: Client
) -> None:
    model = golden.models["retrained"]
    client.reviews.set_policy(model, enabled=True)
    client.predict.images(model, [_picture(1000)], min_score=1.0)
    wait_until(lambda: bool(list(client.reviews.list(state="waiting"))))
    visitor.goto(f"/ui/reviews?model={model}")
    expect(visitor.page.get_by_role("region", name="Image").locator("img").first).to_be_visible()
    visitor.page.get_by_role("switch", name="Answer by keys").click()
    visitor.page.keyboard.press("s")
    visitor.button("Skip (s)").focus()
    visitor.page.keyboard.press("s")
    assert [one.state for one in client.reviews.list(state="waiting")] == ["waiting"]
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.get_by_text("No image waits for an answer.")).to_be_visible()
