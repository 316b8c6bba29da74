"""Review queues: which images of requests are kept; what people say of them, once each."""

from __future__ import annotations

from typing import Any

import pytest

from core.queries import webhooks
from core.tables import WebhookRow
from masktune.contract.ids import new_id
from tests.integration.app.serving.conftest import SAMPLES, World, picture
from tests.integration.app.serving.review_queue.reviews import (
    PROMISE,
    likeliest,
    listed,
    promise,
    say,
    send,
    switch_on,
)


def test_nothing_is_kept_unless_a_policy_says_so(fresh_world: World) -> None:
    world = fresh_world
    assert world.client.get(f"/models/{world.model}/review-policy").json()["enabled"] is False
    assert send(world, *range(8), **PROMISE)["selection"]["promise"] is None
    switch_on(world, enabled=False)
    send(world, *range(8), **PROMISE)
    send(world, *range(8), min_score=1)
    assert listed(world) == []


def test_abstained_images_and_those_of_the_promise_are_kept_as_they_were_sent(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world)
    sent = send(world, *range(8), subject="anna", **PROMISE)
    decided = [one["decision"] for one in sent["predictions"]]
    assert set(decided) == {"answer", "abstain"}
    items = listed(world)
    abstained = [one for one in items if one["kind"] == "abstained"]
    assert len(abstained) == decided.count("abstain")
    (audited,) = [one for one in items if one["kind"] == "audit"]  # one of a subject
    number = decided.index("answer")
    assert audited["prediction"] is None  # until somebody has answered
    image = world.client.get(f"/reviews/{audited['id']}/image")
    assert (image.content, image.headers["content-type"]) == (picture(number), "image/png")
    assert (audited["subject"], audited["state"], audited["outcome"]) == ("anna", "waiting", None)
    audited = say(world, audited).json()
    assert audited["prediction"]["label"] == sent["predictions"][number]["label"]
    assert audited["prediction"]["candidates"] == sent["predictions"][number]["candidates"]
    assert audited["prediction"]["threshold"] == sent["selection"]["threshold"]
    assert all(one["prediction"]["label"] is None for one in abstained)


def test_the_population_of_the_audit_sample_is_what_was_answered_under_its_very_promise(
    fresh_world: World,
) -> None:
    world = fresh_world
    switch_on(world)
    for other in (
        {},
        {"coverage": 1},
        {"min_score": 0.01},
        {"max_risk": 0.06, "risk_confidence": 0.95},
        {"max_risk": 0.05, "risk_confidence": 0.9},
        PROMISE | {"score": "product"},
    ):
        send(world, *range(8), **other)
    world.ask(**PROMISE)  # a look at a stored sample is no deployment
    assert listed(world, kind="audit") == []
    send(world, *range(8), **PROMISE)
    assert listed(world, kind="audit") != []


def test_a_copy_is_kept_once_of_each_kind(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world)
    send(world, *range(8), **PROMISE)
    once = listed(world)
    assert promise(world)["left_out"] == 0
    send(world, *range(8), **PROMISE)
    assert listed(world) == once
    assert promise(world)["left_out"] == len(listed(world, kind="audit"))
    send(world, *range(8), coverage=1e-9)  # abstains on more
    assert len({one["sha256"] for one in listed(world, kind="abstained")}) == len(
        listed(world, kind="abstained")
    )


def test_each_image_is_drawn_with_the_share_of_the_policy(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world, audit_share=0.5)
    answered = 0
    for start in range(0, 400, 50):
        decided = send(world, *range(start, start + 50), **PROMISE)["predictions"]
        answered += sum(one["decision"] == "answer" for one in decided)
    share = len(world.client.get("/reviews.csv", params={"kind": "audit"}).text.splitlines()[1:]) / answered
    assert answered > 100
    assert share == pytest.approx(0.5, abs=4 * (0.25 / answered) ** 0.5)


def test_an_image_is_handed_out_once_and_answered_once(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world)
    send(world, *range(6), **PROMISE)
    total = len(listed(world))
    handed = [world.client.post("/reviews/next").json() for _ in range(total)]
    assert len({one["id"] for one in handed}) == total
    kinds = [one["kind"] for one in handed]
    assert kinds == sorted(kinds, reverse=True)  # the audit sample first
    first = handed[0]
    assert say(world, first, label="left").json()["label"] == "left"
    second = say(world, first, label="left")
    assert (second.status_code, "answered already" in second.json()["detail"]) == (409, True)
    for one in handed[1:]:
        assert say(world, one).status_code == 200
    assert world.client.post("/reviews/next").status_code == 204
    waiting = "masktune_reviews_waiting 0.0"
    assert waiting in world.client.get("/metrics").text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"outcome": "label"}, "missing"),
        ({"outcome": "label", "label": "cat"}, "unknown-class"),
        ({"outcome": "skip", "label": "left"}, "not-used"),
        ({"outcome": "maybe"}, "enum"),
    ],
)
def test_an_answer_names_a_class_of_the_model_or_none(world: World, body: dict[str, Any], code: str) -> None:
    switch_on(world)
    send(world, *range(6), **PROMISE)
    item = listed(world)[0]
    refused = world.client.post(f"/reviews/{item['id']}/answer", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, code)
    assert listed(world)[0]["outcome"] is None
    missing = world.client.post("/reviews/rev_06d4k3w8s0q6v7yx3n5m9a1b2c/answer", json={"outcome": "skip"})
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")


def test_the_last_answer_can_be_undone_and_no_other(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world)
    send(world, *range(8), **PROMISE)
    first, second, *_ = listed(world, kind="audit")
    assert say(world, first, label="left").status_code == say(world, second, "skip").status_code == 200
    assert promise(world)["errors"] >= 1
    assert world.client.delete(f"/reviews/{first['id']}/answer").status_code == 409
    undone = world.client.delete(f"/reviews/{second['id']}/answer").json()
    assert (undone["state"], undone["outcome"], undone["answered_at"]) == ("waiting", None, None)
    assert promise(world)["answers"] == 1
    assert world.client.delete(f"/reviews/{second['id']}/answer").status_code == 409
    assert say(world, second).status_code == 200
    assert promise(world)["answers"] == 2


def test_the_promise_is_judged_by_the_audit_sample_in_order_up_to_the_first_without_an_answer(
    fresh_world: World,
) -> None:
    world = fresh_world
    webhook = WebhookRow(id=new_id("whk"), url="http://a", events=["model.promise_broken"], secret="whsec_")
    with world.services.database.begin() as session:
        webhooks.add(session, webhook)
    switch_on(world)
    assert (
        promise(world)
        == {
            "status": "not_enough",
            "answers": 0,
            "errors": 0,
            "skipped": 0,
            "left_out": 0,
            "lost": 0,
            "full_since": None,
            "deleted": 0,
            "recent_errors": 0,
            "judged_at": promise(world)["judged_at"],
            "noticed_at": None,
            "answers_to_notice": promise(world)["answers_to_notice"],
        }
        | PROMISE
    )
    send(world, *range(SAMPLES), **PROMISE)
    for one in listed(world, kind="abstained"):
        say(world, one, "skip")
    assert promise(world)["answers"] == 0
    first, second, third, fourth, *_ = listed(world, kind="audit")
    say(world, second, "none_of_the_classes")
    assert promise(world)["answers"] == 0
    say(world, first)
    assert (promise(world)["answers"], promise(world)["errors"]) == (2, 1)
    say(world, fourth, "skip")
    wrong = next(name for name in ("left", "right") if name != likeliest(world, third))
    say(world, third, label=wrong)
    assert (promise(world)["answers"], promise(world)["errors"]) == (4, 3)
    while promise(world)["status"] != "unanswered":
        say(world, world.client.post("/reviews/next").json(), "skip")
    assert promise(world)["skipped"] == promise(world)["errors"] - 2
    assert world.client.get(f"/webhooks/{webhook.id}/deliveries").json()["data"] == []
    while promise(world)["status"] != "broken":
        say(world, world.client.post("/reviews/next").json(), "none_of_the_classes")
    noticed = promise(world)["noticed_at"]
    (message,) = world.client.get(f"/webhooks/{webhook.id}/deliveries").json()["data"]
    assert (message["type"], message["data"]["id"]) == ("model.promise_broken", world.model)
    before = promise(world)
    assert send(world, 0, **PROMISE)["selection"]["promise"] == before
    assert "masktune_promises_broken 1.0" in world.client.get("/metrics").text
    while (following := world.client.post("/reviews/next")).status_code == 200:
        say(world, following.json())
    assert (promise(world)["status"], promise(world)["noticed_at"]) == ("broken", noticed)
    assert world.client.delete(f"/models/{world.model}/reviews").status_code == 204
    assert (listed(world), promise(world)["status"]) == ([], "not_enough")


def test_a_deleted_image_of_the_audit_sample_still_counts_and_as_wrong_without_an_answer(
    fresh_world: World,
) -> None:
    world = fresh_world
    switch_on(world)
    send(world, *range(8), **PROMISE)
    right, unanswered, *_ = listed(world, kind="audit")
    say(world, right)
    for one in (right, unanswered, listed(world, kind="abstained")[0]):
        assert world.client.delete(f"/reviews/{one['id']}").status_code == 204
        assert world.client.get(f"/reviews/{one['id']}/image").status_code == 404
    known = promise(world)
    assert (known["answers"], known["errors"], known["deleted"]) == (2, 1, 1)
    states = {one["id"]: one["state"] for one in listed(world, kind="audit")}
    assert (states[right["id"]], states[unanswered["id"]]) == ("answered", "deleted")
    assert say(world, unanswered).status_code == 409
    send(world, 0, 1, 2, 3, 4, 5, 6, 7, **PROMISE)
    assert len(listed(world, kind="audit")) == len(states)  # the copy is not drawn again


def test_a_queue_goes_with_its_model(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world)
    send(world, *range(6), **PROMISE)
    item = listed(world)[0]
    assert world.client.delete(f"/models/{world.model}").status_code == 204
    assert listed(world) == []
    assert "or its model was" in say(world, item, label="left").json()["detail"]
    assert world.client.get("/reviews", params={"model": world.model}).status_code == 404
