"""Review queues: for how long images are kept, their table, and a data set of abstained images."""

from __future__ import annotations

from app.review_queue import service as reviews
from core.queries import review_queue
from core.session import db_now
from core.tables import ModelRow, ReviewImageRow, ReviewItemRow
from masktune.contract.vocabulary import Arm, ReviewKind
from tests.integration.app.serving.conftest import SAMPLES, World, picture
from tests.integration.app.serving.review_queue.reviews import PROMISE, listed, promise, say, send, switch_on


def _age(world: World, days: float) -> None:
    with world.services.database.begin() as session:
        session.query(ReviewItemRow).update({"created_at": db_now() - 86_400 * days})


def test_images_are_kept_for_so_many_days(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world, keep_days=3.0)
    send(world, *range(8), **PROMISE)
    drawn = len(listed(world, kind="audit"))
    _age(world, 2.9)
    reviews.expire(world.services.database)
    assert all(one["bytes"] for one in listed(world))
    _age(world, 3.1)
    reviews.expire(world.services.database)
    items = listed(world)
    assert [one["kind"] for one in items] == ["audit"] * drawn
    assert all(one["bytes"] is None for one in items)
    assert (promise(world)["answers"], promise(world)["errors"]) == (drawn, drawn)


def test_a_model_that_cannot_be_judged_leaves_the_images_of_others(fresh_world: World) -> None:
    world, database = fresh_world, fresh_world.services.database
    switch_on(world, keep_days=3.0)
    send(world, *range(8), **PROMISE)
    with database.begin() as session:  # a row whose queue comes first, and a policy that nobody can read
        fields = {"backbone": "x", "classes": ["a"], "image_size": 28, "artifact": "models/0"}
        session.add(ModelRow(id="mdl_0", arm=Arm.ERM, review_policy={"keep_days": "x"}, **fields))
        row = session.query(ReviewItemRow).filter_by(kind=ReviewKind.ABSTAINED).first()
        assert row is not None
        row.model_id = "mdl_0"
    _age(world, 3.1)
    with database.read() as session:
        assert review_queue.models(session)[0] == "mdl_0"
    reviews.expire(database)
    assert [one["model"] for one in listed(world) if one["bytes"]] == ["mdl_0"]


def test_what_a_backup_restores_without_its_image_goes_as_others_do(fresh_world: World) -> None:
    world, database = fresh_world, fresh_world.services.database
    switch_on(world, keep_days=3.0)
    send(world, *range(8), **PROMISE)
    with database.begin() as session:
        session.query(ReviewImageRow).delete()
        session.query(ReviewItemRow).update({"bytes": None, "subject": None})
    audit, abstained = listed(world, kind="audit"), listed(world, kind="abstained")
    assert len(abstained) > 1
    for one in (audit[0], abstained[0]):
        assert world.client.delete(f"/reviews/{one['id']}").status_code == 204
    assert listed(world, kind="abstained") == abstained[1:]
    reviews.expire(database)
    assert listed(world, kind="abstained") == abstained[1:]
    _age(world, 3.1)
    reviews.expire(database)
    assert [one["id"] for one in listed(world)] == [one["id"] for one in audit]


def test_more_bytes_than_the_policy_allows_are_never_stored(fresh_world: World) -> None:
    world = fresh_world
    most = 6 * len(picture(0))
    switch_on(world, keep_bytes=most)
    for start in range(0, 60, 10):
        send(world, *range(start, start + 10), min_score=1)
        kept = [one for one in listed(world) if one["bytes"]]
        assert kept
        assert sum(one["bytes"] for one in kept) <= most


def test_a_full_audit_sample_waits_for_answers_and_says_so(fresh_world: World) -> None:
    """Nothing that others send deletes an image of it."""
    world = fresh_world
    switch_on(world, keep_bytes=1)
    send(world, *range(SAMPLES), **PROMISE)
    (waiting,) = [one for one in listed(world) if one["bytes"]]
    assert (waiting["kind"], waiting["state"]) == ("audit", "waiting")
    full = promise(world)
    assert full["lost"] > 0
    assert full["full_since"] is not None
    send(world, *range(SAMPLES), min_score=1)
    reviews.expire(world.services.database)
    assert [one["id"] for one in listed(world) if one["bytes"]] == [waiting["id"]]
    assert promise(world)["full_since"] == full["full_since"]
    say(world, waiting)
    assert promise(world)["full_since"] is None
    reviews.expire(world.services.database)
    send(world, *range(50, 60), **PROMISE)
    assert len(listed(world, kind="audit")) > 1


def test_answered_images_go_first_and_waiting_ones_of_the_audit_sample_stay(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world)
    send(world, *range(8), **PROMISE)
    audit, abstained = listed(world, kind="audit"), listed(world, kind="abstained")
    say(world, audit[0])
    stored = {one["id"]: one["bytes"] for one in listed(world)}
    order = [audit[0], *abstained]
    left = sum(stored.values())
    for gone, one in enumerate(order, start=1):
        left -= stored[one["id"]]
        switch_on(world, keep_bytes=left)
        reviews.expire(world.services.database)
        still = {item["id"] for item in listed(world) if item["bytes"]}
        assert still == {other["id"] for other in (*order[gone:], *audit[1:])}


def test_a_table_has_the_images_and_what_people_said(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world)
    send(world, *range(6), **PROMISE)
    said = say(world, listed(world)[0]).json()
    header, *rows = world.client.get("/reviews.csv").text.splitlines()
    assert header == "id,outcome,label,model,kind,state,predicted,score,sha256"
    assert [row.partition(",")[0] for row in rows] == [one["id"] for one in listed(world)]
    (answered,) = (row for row in rows if row.startswith(said["id"]))
    assert answered.split(",")[1:6] == ["label", said["label"], world.model, said["kind"], "answered"]


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
    creation = world.client.post(path, json=body, headers={"Idempotency-Key": "1"})
    assert (creation.status_code, creation.json()["state"]) == (202, "importing")
    assert creation.json()["source"] == {"dataset": world.dataset}
    assert world.client.post(path, json=body, headers={"Idempotency-Key": "1"}).json() == creation.json()
    folder = world.services.artifacts.folder(f"uploads/{creation.json()['id']}")
    rows = (folder / "labels.csv").read_text().splitlines()
    assert rows == ["path,label,split,subject", f"reviewed/{first['id']}.png,right,train,anna"]
    assert [file.name for file in (folder / "reviewed").iterdir()] == [f"{first['id']}.png"]


def test_a_data_set_needs_one_to_add_images_to(fresh_world: World) -> None:
    model = fresh_world.uncalibrated()
    refused = fresh_world.client.post(f"/models/{model}/reviews/dataset", json={"name": "d"})
    assert (refused.status_code, "belongs to no data set" in refused.json()["detail"]) == (409, True)
