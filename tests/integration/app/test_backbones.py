"""`GET /backbones`: what a job may name, nearest weights first."""

from __future__ import annotations

from typing import Any

from masktune.contract.vocabulary import WeightsPlace
from models.backbones.build import available_backbones
from tests.integration.app.conftest import Front, pages
from tests.integration.app.jobs.test_jobs import refused


def networks(front: Front, *, limit: int = 3000, **query: Any) -> list[dict[str, Any]]:
    return pages(front.client, "/backbones", limit=limit, **query)


def test_the_pages_hold_every_name_once_and_the_nearest_weights_first(shared_front: Front) -> None:
    found = networks(shared_front, limit=1000)
    assert shared_front.client.get("/backbones?limit=3000").json() == {"data": found, "next_cursor": None}
    assert sorted(network["name"] for network in found) == sorted(available_backbones())
    ranks = [(list(WeightsPlace).index(network["weights"]), network["name"]) for network in found]
    assert ranks == sorted(ranks)
    assert found[0] == {
        "name": "tf_efficientnet_lite0",
        "library": "timm",
        "weights": "packaged",
        "image_size": 224,
        "weights_url": None,
        "license": "apache-2.0",
    }


def test_a_part_of_the_name_and_a_place_select(shared_front: Front) -> None:
    (network,) = networks(shared_front, name="resnet32", weights="none")
    assert network["name"] == "resnet32"
    assert {network["weights"] for network in networks(shared_front, weights="none")} == {"none"}
    assert networks(shared_front, name="no-such-network") == []


def test_a_plain_name_answers_to_its_library_too(shared_front: Front) -> None:
    """Jobs may name the default as `timm/tf_efficientnet_lite0`; the list has the shortest name."""
    (network,) = networks(shared_front, name="timm/tf_efficientnet_lite0")
    assert network["name"] == "tf_efficientnet_lite0"
    assert {network["library"] for network in networks(shared_front, name="torchvision/")} == {"torchvision"}


def test_an_unchanged_list_is_not_sent_again(shared_front: Front) -> None:
    answer = shared_front.client.get("/backbones")
    assert (answer.status_code, len(answer.json()["data"])) == (200, 20)
    again = shared_front.client.get("/backbones", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_cannot_be_selected_is_refused(shared_front: Front) -> None:
    refused(shared_front.client.get("/backbones?weights=nearby"), 422, "invalid-input")
    refused(shared_front.client.get("/backbones?cursor=nonsense"), 422, "invalid-input")
