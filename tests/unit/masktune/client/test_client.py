"""What a client is made of: the environment, and no type of the library below."""

from __future__ import annotations

import inspect
from contextlib import suppress

import pytest

import masktune
from masktune import DEFAULT_URL, AsyncClient, Client
from masktune.environment import KEY, URL


def test_what_the_command_reads_from_the_environment_the_clients_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(client: Client | AsyncClient) -> tuple[str, str | None]:
        return str(client.driver.http.base_url), client.driver.http.headers.get("Authorization")

    for kind in (Client, AsyncClient):
        monkeypatch.delenv(URL, raising=False)
        monkeypatch.delenv(KEY, raising=False)
        assert told(kind()) == (DEFAULT_URL, None)
        monkeypatch.setenv(URL, "https://masktune.example/api")
        monkeypatch.setenv(KEY, "mt_x")
        assert told(kind()) == ("https://masktune.example/api/", "Bearer mt_x")
        assert told(kind("http://test", "")) == ("http://test", None)


def test_what_is_public_names_no_type_of_the_library_below() -> None:
    for name in masktune.__all__:
        public = getattr(masktune, name)
        methods = inspect.getmembers(public, inspect.isroutine) if inspect.isclass(public) else []
        for _, method in methods:
            with suppress(ValueError):  # of a built-in one
                assert "httpx" not in str(inspect.signature(method)), name
