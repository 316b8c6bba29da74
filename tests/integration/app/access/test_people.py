"""People whom an authenticating proxy names: what they may do, what is theirs, and who is not believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from core.settings import Settings
from tests.integration.app.conftest import DIGITS, LOCAL, ROOT, Front, migrated

PROXY = "10.1.1.1"
SETTINGS: dict[str, Any] = {
    "api_keys": "admin:root,read:r",
    "proxy_user_header": "Remote-User",
    "proxy_user_from": PROXY,
    "proxy_groups_header": "Remote-Groups",
    "proxy_scopes": "*=read,ml=train,operators=admin",
}
StartBehind = Callable[..., Front]


def person(name: str, *groups: str) -> dict[str, str]:
    """What the proxy sends with the requests of this person."""
    return {"Remote-User": name, "Remote-Groups": ",".join(groups)}


@pytest.fixture
def start_behind(tmp_path: Path) -> Iterator[StartBehind]:
    """A function that starts a front whose every request comes from the proxy."""
    with ExitStack() as stack:

        def begin(**changed: Any) -> Front:
            front_settings: dict[str, Any] = {"data_dir": tmp_path} | SETTINGS | changed
            migrated(**front_settings)
            settings = Settings(**front_settings)
            app = create_app(settings)
            client = TestClient(app, LOCAL, raise_server_exceptions=False, client=(PROXY, 1))
            return Front(stack.enter_context(client), app, settings)

        yield begin


@pytest.fixture
def behind(start_behind: StartBehind) -> Front:
    return start_behind()


def test_a_person_may_do_what_their_groups_allow(behind: Front) -> None:
    dataset, client = behind.dataset(), behind.client
    assert client.get("/datasets", headers=person("alice")).status_code == 200
    refused = client.post("/jobs/erm", json={"dataset": dataset}, headers=person("alice", "staff"))
    detail = "this needs the scope train; you have read"
    assert (refused.status_code, refused.json()["detail"]) == (403, detail)
    allowed = client.post("/jobs/erm", json={"dataset": dataset}, headers=person("alice", "staff", "ml"))
    assert allowed.status_code == 202
    assert client.get("/audit", headers=person("alice", "ml")).status_code == 403
    assert client.get("/audit", headers=person("carol", "operators")).status_code == 200


def test_a_person_learns_who_they_are(behind: Front) -> None:
    own = behind.client.get("/keys/self", headers=person("alice", "ml")).json()
    assert own == {"id": "user:alice", "name": "alice", "scopes": ["read", "train"], "open": False}


def test_what_a_person_makes_and_changes_has_their_name(behind: Front) -> None:
    client, alice = behind.client, person("alice", "ml", "operators")
    dataset_body = client.post("/datasets", json=DIGITS, headers=alice).json()
    client.post("/datasets", json=DIGITS, headers=person("bob", "ml"))
    client.post("/datasets", json=DIGITS, headers=ROOT)
    assert dataset_body["created_by"] == "user:alice"
    page = client.get("/datasets", params={"created_by": "user:alice"}, headers=alice).json()["data"]
    assert [dataset["id"] for dataset in page] == [dataset_body["id"]]
    model = behind.model(None)
    moved = client.put("/aliases/best", json={"model": model}, headers=alice).json()
    assert moved["history"][0]["created_by"] == "user:alice"
    entries = client.get("/audit", params={"actor": "user:alice"}, headers=ROOT).json()["data"]
    assert [(e["actor_name"], e["action"], e["object"], e["address"]) for e in entries] == [
        ("alice", "set_alias", "best", PROXY),
        ("alice", "create_dataset", dataset_body["id"], PROXY),
    ]


def test_a_creator_that_cannot_be_is_refused(behind: Front) -> None:
    for creator in ("alice", "user:", "user:é", "user:a\nb", f"user:{'x' * 60}", "key_"):
        response = behind.client.get("/datasets", params={"created_by": creator}, headers=ROOT)
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "?created_by")


def test_a_key_beside_the_persons_name_is_what_counts(behind: Front) -> None:
    client, alice = behind.client, person("alice", "operators")
    assert client.get("/keys/self", headers=alice | {"X-API-Key": "r"}).json()["scopes"] == ["read"]
    assert client.get("/audit", headers=alice | {"Authorization": "Bearer r"}).status_code == 403
    for wrong in ({"X-API-Key": "wrong"}, {"X-API-Key": ""}, {"Authorization": "Bearer wrong"}):
        assert client.get("/datasets", headers=alice | wrong).status_code == 401, wrong
    basic = alice | {"Authorization": "Basic YTpi"}  # what the proxy itself asked for
    assert client.get("/keys/self", headers=basic).json()["id"] == "user:alice"


def test_a_name_that_cannot_be_one_is_refused_before_anything_is_read(behind: Front) -> None:
    doubled = [("Remote-User", "alice"), ("Remote-User", "carol"), ("Remote-Groups", "operators")]
    for headers in (doubled, [("Remote-User", "")], [("Remote-Groups", "operators")]):
        refused = behind.client.post("/datasets", content="{", headers=headers)
        assert (refused.status_code, refused.headers["WWW-Authenticate"][:6]) == (401, "Bearer")
        assert "must send Remote-User once" in refused.json()["detail"]


def test_the_name_is_ignored_from_anybody_else(start_behind: StartBehind) -> None:
    client = start_behind(proxy_user_from="10.1.1.2").client
    root = person("root", "operators")
    assert client.get("/datasets", headers=root).status_code == 401
    assert client.get("/keys/self", headers=root | {"X-API-Key": "r"}).json()["scopes"] == ["read"]


def test_people_need_no_key_beside_them(start_behind: StartBehind) -> None:
    """The service is as closed as with keys, and its admins may make some."""
    client = start_behind(api_keys="").client
    assert client.get("/datasets").status_code == 401
    body = {"name": "line 1", "scopes": ["read"]}
    response = client.post("/keys", json=body, headers=person("carol", "operators"))
    assert client.get("/datasets", headers={"X-API-Key": response.json()["secret"]}).status_code == 200


def test_a_page_of_another_site_cannot_act_as_the_person(behind: Front) -> None:
    """The browser sends the proxy's cookie by itself, and the proxy then names the person."""
    for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
        sent = person("alice", "ml", "operators") | {"Origin": origin}
        for refused in (
            behind.client.post("/datasets", data=DIGITS, headers=sent),
            behind.client.post("/datasets", json=DIGITS, headers=sent | {"Content-Type": "text/plain"}),
            behind.client.delete("/aliases/best", headers=sent),
        ):
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), origin
    assert behind.client.get("/datasets", headers=ROOT).json()["data"] == []
    assert behind.client.post("/datasets", json=DIGITS, headers=sent | {"Origin": LOCAL}).status_code == 202


def test_the_server_believes_the_proxy_and_not_what_it_reports_of_the_client(tmp_path: Path) -> None:
    """The proxy is the peer of the connection. The address that it reports is the client's."""
    migrated(tmp_path)
    settings = Settings(data_dir=tmp_path, trusted_proxies=f"{PROXY},10.1.1.9", **SETTINGS)
    headers = person("carol", "operators", "ml")
    server = create_app(settings)
    with TestClient(server, LOCAL, client=(PROXY, 1)) as client:
        client.post("/datasets", json=DIGITS, headers=headers | {"X-Forwarded-For": "203.0.113.9"})
        (entry,) = client.get("/audit", headers=headers).json()["data"]
        assert (entry["actor"], entry["address"]) == ("user:carol", "203.0.113.9")
    with TestClient(server, LOCAL, client=("10.1.1.9", 1)) as client:
        assert client.get("/audit", headers=headers | {"X-Forwarded-For": PROXY}).status_code == 401
