"""What tests of review queues do over HTTP."""

from __future__ import annotations

from typing import Any

from core.queries import review_queue
from tests.integration.app.serving.conftest import World, picture

PROMISE = {"max_risk": 0.05, "risk_confidence": 0.95}


def switch_on(world: World, **policy: Any) -> None:
    body = {"enabled": True, "audit_share": 1.0} | PROMISE | policy
    answer = world.client.put(f"/models/{world.model}/review-policy", json=body)
    assert answer.status_code == 200, answer.text


def send(world: World, *numbers: int, **query: Any) -> dict[str, Any]:
    """Send these pictures in one request, and store those that were drawn."""
    files = [("file", (f"{n}.png", picture(n), "image/png")) for n in numbers]
    answer = world.client.post("/predict", params={"model": world.model} | query, files=files)
    assert answer.status_code == 200, answer.text
    world.services.predictions.spool.fill()
    body: dict[str, Any] = answer.json()
    return body


def listed(world: World, **query: Any) -> list[dict[str, Any]]:
    """All items, in the order in which they were drawn."""
    page = world.client.get("/reviews", params={"limit": 100} | query)
    assert page.status_code == 200, page.text
    items = {item["id"]: item for item in page.json()["data"]}
    rows = world.client.get("/reviews.csv", params=query).text.splitlines()[1:]
    return [items[row.partition(",")[0]] for row in rows]


def likeliest(world: World, item: dict[str, Any]) -> str:
    """The label that the model thinks likeliest; the service hides it while an image of the audit waits."""
    with world.services.database.read() as session:
        prediction = review_queue.get(session, item["id"]).prediction
    return str(prediction["candidates"][0]["label"])


def say(world: World, item: dict[str, Any], outcome: str = "label", label: str | None = None) -> Any:
    label = (label or likeliest(world, item)) if outcome == "label" else None
    return world.client.post(f"/reviews/{item['id']}/answer", json={"outcome": outcome, "label": label})


def promise(world: World) -> Any:
    return world.client.get(f"/models/{world.model}").json()["promise"]
