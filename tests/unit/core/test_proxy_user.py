"""A setting that would believe anybody, or that cannot work, stops the start."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from core.settings import Settings
from masktune.contract.vocabulary import Scope

WORKING: dict[str, Any] = {
    "proxy_user_header": "Remote-User",
    "proxy_user_from": "10.1.1.1",
    "proxy_scopes": "*=read",
}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"proxy_user_from": ""}, "MASKTUNE_PROXY_USER_FROM must name the proxy that sends Remote-User"),
        ({"proxy_user_from": " , "}, "MASKTUNE_PROXY_USER_FROM must name the proxy"),
        ({"proxy_user_from": "*"}, r"MASKTUNE_PROXY_USER_FROM: \* is no address"),
        ({"proxy_user_from": "10.1.1.1, 0.0.0.0/0"}, "0.0.0.0/0 would believe almost anybody"),
        ({"proxy_user_from": "128.0.0.0/1"}, "would believe almost anybody"),
        ({"proxy_user_from": "::/0"}, "would believe almost anybody"),
        ({"proxy_user_from": "10.0.0.1/8"}, "10.0.0.1/8 is no address"),
        ({"proxy_user_header": "Remote User"}, "must be names of two headers"),
        ({"proxy_groups_header": "Remote:Groups"}, "must be names of two headers"),
        ({"proxy_groups_header": "remote-user"}, "must be names of two headers"),
        ({"proxy_scopes": ""}, r"MASKTUNE_PROXY_SCOPES must say .*\*=read"),
        ({"proxy_scopes": "read"}, "must be group=scope"),
        ({"proxy_scopes": "*=reed"}, "must be group=scope"),
        ({"proxy_scopes": "*="}, "must be group=scope"),
        ({"proxy_scopes": "*=read,*=admin"}, "each group once"),
        ({"proxy_scopes": "ml=train"}, "nobody is in the group ml without MASKTUNE_PROXY_GROUPS_HEADER"),
    ],
)
def test_what_cannot_be_meant_is_refused(changed: dict[str, str], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Settings(**(WORKING | changed))


def test_people_are_named_by_whom_the_settings_say() -> None:
    settings = Settings(
        proxy_user_header="Remote-User",
        proxy_groups_header="Remote-Groups",
        proxy_user_from="proxy, 10.0.0.0/8",
        proxy_scopes="*=read, cn=ml=train+predict",
    )
    assert settings.proxy_user.headers == ["remote-user", "remote-groups"]
    assert settings.person_scopes == {"*": {Scope.READ}, "cn=ml": {Scope.TRAIN, Scope.PREDICT}}


def test_nobody_is_named_by_default() -> None:
    assert Settings().proxy_user.headers == []
    assert Settings(proxy_groups_header="Remote-Groups", proxy_user_from="proxy").proxy_user.headers == []


def test_a_service_that_a_proxy_tells_who_calls_may_listen_anywhere() -> None:
    Settings(**WORKING, host="10.1.1.2").check_exposure()
