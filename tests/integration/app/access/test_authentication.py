"""Who calls is known before anything is looked up: strangers learn nothing, and cost the database nothing."""

from __future__ import annotations

import re
from itertools import product

import httpx2
import pytest

from core.tables import DeliveryRow, ReviewItemRow, WebhookRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import ReviewKind
from tests.integration.app.conftest import LOCAL, Front, Listen, StartFront
from tests.openapi import snapshot

SECURED = [
    (method.upper(), path)
    for path, operations in snapshot()["paths"].items()
    for method, operation in operations.items()
    if operation.get("security")
]
KEYS = "read:r,predict:p,admin:a"
PRESET = "waterbirds"
"""There is an alias with the name of this preset: both have `name` in their path."""
NARROW = ("read", "predict")
"""No route takes both: of each one or the other may not be asked for."""
JSON = {"Content-Type": "application/json"}
Ids = tuple[Front, dict[str, tuple[str, ...]]]


def key(secret: str) -> dict[str, str]:
    return {"X-API-Key": secret}


@pytest.fixture
def ids(start: StartFront) -> Ids:
    """A front with keys, and for each parameter of a path what exists, what might and what never can."""
    front = start(api_keys=KEYS)
    dataset = front.dataset()
    model = front.model(dataset)
    front.client.put(f"/aliases/{PRESET}", json={"model": model}, headers=key("a"))
    made = front.client.post("/keys", json={"name": "k", "scopes": ["read"]}, headers=key("a"))
    prediction = {"label": "a", "candidates": []}
    review = ReviewItemRow(
        id=new_id("rev"), model_id=model, seq=1, kind=ReviewKind.AUDIT, sha256="0" * 64, prediction=prediction
    )
    webhook = WebhookRow(id=new_id("whk"), url="http://a", events=["job.failed"], secret="whsec_")
    message = DeliveryRow(id=new_id("msg"), webhook_id=webhook.id, type="job.failed", data={})
    with front.services.database.begin() as session:
        session.add_all([webhook, review])
        session.flush()
        session.add(message)
    return front, {
        "dataset_id": (dataset, new_id("ds"), "x"),
        "job_id": (front.job(), new_id("job"), "x"),
        "model": (model, new_id("mdl"), "%20"),
        "key_id": (made.json()["id"], new_id("key"), "x"),
        "review_id": (review.id, new_id("rev"), "x"),
        "webhook_id": (webhook.id, new_id("whk"), "x"),
        "delivery_id": (message.id, new_id("msg"), "x"),
        "sample": ("0", "999", "x"),
        "name": (PRESET, "nosuch", "%20"),
    }


def addresses(path: str, ids: dict[str, tuple[str, ...]]) -> list[str]:
    names = re.findall(r"{(\w+)}", path)
    return [
        path.format(**dict(zip(names, one, strict=True))) for one in product(*(ids[name] for name in names))
    ]


def test_an_unauthenticated_caller_learns_nothing_of_what_exists(ids: Ids) -> None:
    """401 without a key and 403 with one of another scope, whatever the id and whatever else is sent."""
    front, known = ids
    assert len(SECURED) > 40

    async def ask_all() -> None:
        """On the application's own thread: the way there takes longer than a request."""
        transport = httpx2.ASGITransport(front.app)
        async with httpx2.AsyncClient(transport=transport, base_url=LOCAL) as client:
            for method, path in SECURED:
                allowed = set()
                for address in addresses(path, known):
                    for headers in ({}, key("wrong")):
                        answer = await client.request(method, address, headers=headers | JSON, content="{")
                        assert answer.status_code == 401, f"{method} {address}"
                    asked = {
                        scope: await client.request(method, address, headers=key(scope[0]))
                        for scope in NARROW
                    }
                    allowed.add(frozenset(s for s, answer in asked.items() if answer.status_code != 403))
                route = f"{method} {path}"
                assert len(allowed) == 1, f"{route}: the scope that it takes depends on what there is"
                assert max(map(len, allowed)) <= 1 or path == "/keys/self", f"{route}: no scope is needed"

    assert front.client.portal is not None
    front.client.portal.call(ask_all)


@pytest.mark.parametrize(
    "route", ["POST /jobs/erm", "POST /keys", "PUT /aliases/a", "POST /aliases/a/rollback"]
)
def test_the_body_of_an_unauthenticated_request_is_not_awaited(shared_server: Listen, route: str) -> None:
    """Nor is anything of it parsed; here it never comes."""
    head = f"{route} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
    assert shared_server(api_keys=KEYS).ask(f"{head}Connection: close\r\n\r\n".encode())[9:12] == b"401"


def test_what_does_not_exist_counts_toward_the_rate(start: StartFront) -> None:
    """Else who guesses names has no limit."""
    front = start(api_keys=KEYS, rate_limits="read=2/day")
    found = [front.client.get("/models/nosuch", headers=key("r")).status_code for _ in range(3)]
    assert found == [404, 404, 429]
