"""Review queues: which images of requests are kept, and for how long; what people say of them, once each."""

from __future__ import annotations

from typing import Any

import pytest

from app.review_queue import service as reviews
from core.session import db_now
from core.tables import ReviewItemRow
from tests.integration.app.serving.conftest import SAMPLES, World, picture

PROMISE = {"max_risk": 0.05, "risk_confidence": 0.95}


def switch_on(world: World, **policy: Any) -> None:
    body = {"enabled": True, "audit_share": 1.0} | PROMISE | policy
    answer = world.client.put(f"/models/{world.model}/review-policy", json=body)
    assert answer.status_code == 200, answer.text


def send(world: World, *numbers: int, **query: Any) -> dict[str, Any]:
    """Send these pictures in one request."""
    files = [("file", (f"{n}.png", picture(n), "image/png")) for n in numbers]
    answer = world.client.post("/predict", params={"model": world.model} | query, files=files)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def listed(world: World, **query: Any) -> list[dict[str, Any]]:
    """All items, in the order in which they were drawn."""
    page = world.client.get("/reviews", params={"limit": 100} | query)
    assert page.status_code == 200, page.text
    items = {item["id"]: item for item in page.json()["data"]}
    rows = world.client.get("/reviews.csv", params=query).text.splitlines()[1:]
    return [items[row.partition(",")[0]] for row in rows]


def say(world: World, item: dict[str, Any], outcome: str = "label", label: str | None = None) -> Any:
    label = (label or item["prediction"]["candidates"][0]["label"]) if outcome == "label" else None
    return world.client.post(f"/reviews/{item['id']}/answer", json={"outcome": outcome, "label": label})


def promise(world: World) -> Any:
    return world.client.get(f"/models/{world.model}").json()["promise"]


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
    assert audited["prediction"]["label"] == sent["predictions"][number]["label"]
    assert audited["prediction"]["candidates"] == sent["predictions"][number]["candidates"]
    assert audited["prediction"]["threshold"] == sent["selection"]["threshold"]
    assert (audited["subject"], audited["state"], audited["outcome"]) == ("anna", "waiting", None)
    image = world.client.get(f"/reviews/{audited['id']}/image")
    assert (image.content, image.headers["content-type"]) == (picture(number), "image/png")
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
    send(world, *range(8), **PROMISE)
    assert listed(world) == once
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
    switch_on(world)
    assert (
        promise(world)
        == {
            "status": "not_enough",
            "answers": 0,
            "errors": 0,
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
    wrong = next(name for name in ("left", "right") if name != third["prediction"]["label"])
    say(world, third, label=wrong)
    assert (promise(world)["answers"], promise(world)["errors"]) == (4, 3)
    while promise(world)["status"] != "broken":
        say(world, world.client.post("/reviews/next").json(), "skip")
    noticed = promise(world)["noticed_at"]
    assert send(world, 0, **PROMISE)["selection"]["promise"] == promise(world)
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
    assert (promise(world)["answers"], promise(world)["errors"]) == (2, 1)
    states = {one["id"]: one["state"] for one in listed(world, kind="audit")}
    assert (states[right["id"]], states[unanswered["id"]]) == ("answered", "deleted")
    assert say(world, unanswered).status_code == 409
    send(world, 0, 1, 2, 3, 4, 5, 6, 7, **PROMISE)
    assert len(listed(world, kind="audit")) == len(states)  # the copy is not drawn again


def _age(world: World, days: float) -> None:
    with world.services.database.begin() as session:
        session.query(ReviewItemRow).update({"created_at": db_now() - 86_400 * days})


@pytest.mark.parametrize("policy", [{"keep_days": 3.0}, {"keep_bytes": 0}])
def test_images_are_kept_for_so_many_days_and_bytes(fresh_world: World, policy: dict[str, Any]) -> None:
    world = fresh_world
    switch_on(world, **policy)
    send(world, *range(8), **PROMISE)
    drawn = len(listed(world, kind="audit"))
    _age(world, 2.9 if "keep_days" in policy else 0)
    if "keep_days" in policy:
        reviews.expire(world.services.database)
        assert all(one["bytes"] for one in listed(world))
        _age(world, 3.1)
    reviews.expire(world.services.database)
    items = listed(world)
    assert [one["kind"] for one in items] == ["audit"] * drawn
    assert all(one["bytes"] is None for one in items)
    assert (promise(world)["answers"], promise(world)["errors"]) == (drawn, drawn)


def test_answered_images_go_first_and_waiting_ones_of_the_audit_sample_last(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world)
    send(world, *range(8), **PROMISE)
    audit, abstained = listed(world, kind="audit"), listed(world, kind="abstained")
    say(world, audit[0])
    stored = {one["id"]: one["bytes"] for one in listed(world)}
    order = [audit[0], *abstained, *audit[1:]]
    left = sum(stored.values())
    for gone, one in enumerate(order, start=1):
        left -= stored[one["id"]]
        switch_on(world, keep_bytes=left)
        reviews.expire(world.services.database)
        still = {item["id"] for item in listed(world) if item["bytes"]}
        assert still == {other["id"] for other in order[gone:]}


def test_a_queue_goes_with_its_model(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world)
    send(world, *range(6), **PROMISE)
    item = listed(world)[0]
    assert world.client.delete(f"/models/{world.model}").status_code == 204
    assert listed(world) == []
    assert "or its model was" in say(world, item).json()["detail"]
    assert world.client.get("/reviews", params={"model": world.model}).status_code == 404


def test_a_table_of_answers_is_taken_as_a_whole_and_changes_nothing_twice(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world)
    send(world, *range(6), **PROMISE)
    header, *rows = world.client.get("/reviews.csv").text.splitlines()
    assert header.startswith("id,outcome,label,model,kind,state,")
    assert len(rows) == len(listed(world))
    cells = [row.split(",") for row in rows]
    cells[0][1:3] = ["label", "left"]
    cells[1][1:3] = ["skip", ""]
    table = "\n".join([header, *(",".join(row) for row in cells)])

    def post(body: str, kind: str = "text/csv") -> Any:
        return world.client.post("/reviews.csv", content=body.encode(), headers={"Content-Type": kind})

    assert post(table).json() == {"answered": 2, "unchanged": 0}
    assert post(table).json() == {"answered": 0, "unchanged": 2}
    answered = listed(world, state="answered")
    assert sorted(one["outcome"] for one in answered) == ["label", "skip"]
    assert post(table, "application/json").status_code == 415
    assert post("name\nx").json()["errors"][0]["code"] == "missing"
    assert post('id,outcome,label\n"x').json()["errors"][0]["code"] == "not-a-table"

    ids = [row[0] for row in cells]
    faulty = "\n".join(
        (
            "id,outcome,label",
            f"{ids[2]},label,right",  # is right, and yet not taken
            f"{ids[3]},label,cat",
            f"{ids[4]},maybe,",
            "rev_nothing,skip,",
            f"{ids[0]},label,right",  # has another answer
            f"{ids[5]},,",
        )
    )
    refused = post(faulty)
    assert refused.status_code == 422
    assert [(one["pointer"], one["code"]) for one in refused.json()["errors"]] == [
        ("/3/label", "unknown-class"),
        ("/4/outcome", "enum"),
        ("/5/id", "not-found"),
        ("/6/outcome", "not-answerable"),
    ]
    assert len(listed(world, state="answered")) == 2


def test_abstained_images_with_a_label_alone_join_train_of_a_new_data_set(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world)
    path, body = f"/models/{world.model}/reviews/dataset", {"name": "with reviewed images"}
    send(world, *range(SAMPLES), subject="anna", min_score=1)
    send(world, *range(SAMPLES), **PROMISE)
    assert world.client.post(path, json=body).status_code == 409  # there is no label yet
    first, second, third, *_ = listed(world, kind="abstained")
    assert (say(world, first, label="right").status_code, say(world, second, "skip").status_code) == (
        200,
        200,
    )
    say(world, third)
    world.client.delete(f"/reviews/{third['id']}")
    for audited in listed(world, kind="audit"):
        say(world, audited)
    made = world.client.post(path, json=body, headers={"Idempotency-Key": "1"})
    assert (made.status_code, made.json()["state"]) == (202, "importing")
    assert made.json()["source"] == {"dataset": world.dataset}
    assert world.client.post(path, json=body, headers={"Idempotency-Key": "1"}).json() == made.json()
    folder = world.services.artifacts.folder(f"uploads/{made.json()['id']}")
    rows = (folder / "labels.csv").read_text().splitlines()
    assert rows == ["path,label,split,subject", f"reviewed/{first['id']}.png,right,train,anna"]
    assert [file.name for file in (folder / "reviewed").iterdir()] == [f"{first['id']}.png"]


def test_a_data_set_needs_one_to_add_images_to(fresh_world: World) -> None:
    model = fresh_world.uncalibrated()
    refused = fresh_world.client.post(f"/models/{model}/reviews/dataset", json={"name": "d"})
    assert (refused.status_code, "belongs to no data set" in refused.json()["detail"]) == (409, True)
