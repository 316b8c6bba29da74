"""Which scope each route needs: that one is enough, all others together are not; and what is open."""

from __future__ import annotations

import re

import pytest

from masktune.contract.vocabulary import Scope
from tests.integration.app.conftest import StartFront
from tests.openapi import snapshot

OPEN = {"GET /livez", "GET /readyz", "GET /metrics", "GET /limits", "GET /problems", "GET /problems/{code}"}
NEEDS: dict[frozenset[str], set[str]] = {
    frozenset({"read"}): {
        "GET /datasets",
        "GET /datasets/{dataset_id}",
        "GET /datasets/{dataset_id}/download",
        "GET /datasets/{dataset_id}/report",
        "GET /datasets/{dataset_id}/samples",
        "GET /datasets/{dataset_id}/samples/{sample}",
        "GET /datasets/{dataset_id}/samples/{sample}/image",
        "GET /jobs",
        "GET /jobs/{job_id}",
        "GET /jobs/{job_id}/predictions",
        "GET /jobs/{job_id}/predictions/rows",
        "GET /jobs/{job_id}/events",
        "GET /jobs/{job_id}/report",
        "GET /jobs/{job_id}/image-answers",
        "GET /jobs/{job_id}/report/pictures/{name}",
        "GET /models",
        "GET /models/{model}",
        "GET /models/{model}/download",
        "GET /models/{model}/risk-coverage",
        "GET /models/{model}/drift",
        "GET /models/{model}/review-policy",
        "GET /aliases",
        "GET /aliases/{name}",
        "GET /backbones",
        "GET /dependents",
        "GET /presets",
        "GET /presets/{name}",
    },
    frozenset({"predict"}): {"POST /predict", "POST /saliency"},
    frozenset({"read", "predict"}): {"GET /predict", "GET /saliency"},
    frozenset({"train"}): {
        "POST /datasets",
        "POST /jobs/erm",
        "POST /jobs/mask",
        "POST /jobs/finetune",
        "POST /jobs/masktune",
        "POST /jobs/mitigate",
        "POST /jobs/retrain_head",
        "POST /jobs/evaluate",
        "POST /jobs/predict",
        "PUT /jobs/{job_id}/image-answers",
        "POST /jobs/{job_id}/cancel",
        "POST /jobs/{job_id}/resume",
        "POST /models",
        "POST /models/{model}/drift/acknowledge",
    },
    frozenset({"review"}): {
        "GET /reviews",
        "GET /reviews.csv",
        "POST /reviews/next",
        "GET /reviews/{review_id}",
        "GET /reviews/{review_id}/image",
        "POST /reviews/{review_id}/answer",
        "DELETE /reviews/{review_id}/answer",
    },
    frozenset({"review", "train"}): {"POST /models/{model}/reviews/dataset"},
    frozenset({"read", "train"}): {
        "PATCH /datasets/{dataset_id}",
        "PATCH /jobs/{job_id}",
        "PATCH /models/{model}",
    },
    frozenset({"admin"}): {
        "DELETE /datasets/{dataset_id}",
        "DELETE /jobs/{job_id}",
        "DELETE /models/{model}",
        "DELETE /models/{model}/reviews",
        "DELETE /reviews/{review_id}",
        "PUT /models/{model}/review-policy",
        "PUT /aliases/{name}",
        "POST /aliases/{name}/rollback",
        "DELETE /aliases/{name}",
        "POST /keys",
        "GET /keys",
        "GET /keys/{key_id}",
        "DELETE /keys/{key_id}",
        "POST /webhooks",
        "GET /webhooks",
        "GET /webhooks/{webhook_id}",
        "PATCH /webhooks/{webhook_id}",
        "DELETE /webhooks/{webhook_id}",
        "POST /webhooks/{webhook_id}/rotate",
        "POST /webhooks/{webhook_id}/test",
        "GET /webhooks/{webhook_id}/deliveries",
        "POST /webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
        "GET /audit",
        "GET /storage",
    },
}
ANY_KEY = "GET /keys/self"
"""Every valid key may ask."""
PLAIN = ("read", "predict", "train", "review")


def _secret(scopes: frozenset[str]) -> str:
    return "-".join(sorted(scopes))


def test_every_route_is_in_the_table() -> None:
    paths = snapshot()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert routes == OPEN.union({ANY_KEY}, *NEEDS.values())


@pytest.mark.parametrize("needed", NEEDS, ids=_secret)
def test_what_a_route_needs_is_enough_and_nothing_else_is(start: StartFront, needed: frozenset[str]) -> None:
    """`admin` has them all; of the other keys each lacks one of what is needed, and has all that is not."""
    enough = {needed, frozenset({"admin"})}
    lacking = {frozenset(PLAIN) - {scope} for scope in needed} - {frozenset()}
    keys = ",".join(f"{'+'.join(sorted(scopes))}:{_secret(scopes)}" for scopes in enough | lacking)
    front = start(api_keys=keys)
    for route in sorted(NEEDS[needed]):
        method, path = route.split()
        address = re.sub(r"{\w+}", "nosuch", path)

        def asked(scopes: frozenset[str], method: str = method, address: str = address) -> int:
            headers = {"X-API-Key": _secret(scopes)}
            return front.client.request(method, address, headers=headers).status_code

        assert front.client.request(method, address).status_code == 401, route
        for scopes in lacking:
            assert asked(scopes) == 403, f"{route} with {sorted(scopes)}"
        for scopes in enough:
            assert asked(scopes) not in (401, 403), f"{route} with {sorted(scopes)}"


def test_what_is_open_needs_no_key_and_takes_a_wrong_one(start: StartFront) -> None:
    front = start(api_keys="admin:root")
    for route in sorted(OPEN - {"GET /readyz"}):  # which runs a network: tests of its own hold it
        method, path = route.split()
        address = path.format(code="not-found")
        for headers in ({}, {"X-API-Key": "wrong"}):
            assert front.client.request(method, address, headers=headers).status_code == 200, route


def test_there_are_no_other_scopes() -> None:
    assert set(map(str, Scope)) == {*PLAIN, "admin"}
