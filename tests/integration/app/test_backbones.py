"""`GET /backbones`: what a job may name, nearest weights first."""

from __future__ import annotations

from typing import Any

from masktune.contract.vocabulary import WeightsPlace
from models.backbones.build import available_backbones
from tests.integration.app.conftest import Front
from tests.integration.app.test_jobs import refused


def all_pages(front: Front, query: str = "") -> list[dict[str, Any]]:
    """All pages of the list."""
    networks: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = front.client.get(f"/backbones?limit=100{query}{cursor}").json()
        networks += page["data"]
        if page["next_cursor"] is None:
            return networks
        cursor = f"&cursor={page['next_cursor']}"


def test_the_pages_hold_every_name_once_and_the_nearest_weights_first(front: Front) -> None:
    networks = all_pages(front)
    assert front.client.get("/backbones?limit=2000").json() == {"data": networks, "next_cursor": None}
    assert sorted(network["name"] for network in networks) == sorted(available_backbones())
    ranks = [(list(WeightsPlace).index(network["weights"]), network["name"]) for network in networks]
    assert ranks == sorted(ranks)
    assert networks[0] == {
        "name": "tf_efficientnet_lite0",
        "library": "timm",
        "weights": "packaged",
        "image_size": 224,
        "weights_url": None,
    }


def test_a_part_of_the_name_and_a_place_select(front: Front) -> None:
    assert [network["name"] for network in all_pages(front, "&name=resnet32&weights=none")] == ["resnet32"]
    assert {network["weights"] for network in all_pages(front, "&weights=none")} == {"none"}
    assert all_pages(front, "&name=no-such-network") == []


def test_a_plain_name_answers_to_its_library_too(front: Front) -> None:
    """Jobs may name the default as `timm/tf_efficientnet_lite0`; the list has the shortest name."""
    (network,) = all_pages(front, "&name=timm/tf_efficientnet_lite0")
    assert network["name"] == "tf_efficientnet_lite0"
    assert {network["library"] for network in all_pages(front, "&name=torchvision/")} == {"torchvision"}


def test_an_unchanged_list_is_not_sent_again(front: Front) -> None:
    answer = front.client.get("/backbones")
    assert (answer.status_code, len(answer.json()["data"])) == (200, 20)
    again = front.client.get("/backbones", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_cannot_be_selected_is_refused(front: Front) -> None:
    refused(front.client.get("/backbones?weights=nearby"), 422, "invalid-input")
    refused(front.client.get("/backbones?cursor=nonsense"), 422, "invalid-input")
