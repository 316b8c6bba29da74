"""Settings fail at start-up, and never listen beyond the machine without a key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import SecretStr, ValidationError

from core.settings import Settings
from core.vocabulary import Scope


def test_the_embedded_default_needs_no_server(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.database == f"sqlite:///{tmp_path}/masktune.db"
    assert settings.broker == f"folder://{tmp_path}/queue"
    assert settings.storage == f"file://{tmp_path}/artifacts"


def test_keys_carry_their_scopes() -> None:
    settings = Settings(api_keys=SecretStr("read+predict:one, admin:two:with:colons"))
    assert settings.keys == {
        "one": frozenset({Scope.READ, Scope.PREDICT}),
        "two:with:colons": frozenset({Scope.ADMIN}),
    }


@pytest.mark.parametrize("keys", ["secret", "read:", ":secret", "write:secret", "read+:secret"])
def test_a_malformed_key_fails_at_start(keys: str) -> None:
    with pytest.raises(ValidationError, match="MASKTUNE_API_KEYS"):
        Settings(api_keys=SecretStr(keys))


def test_a_lease_must_outlive_two_heartbeats() -> None:
    with pytest.raises(ValidationError, match="twice"):
        Settings(lease_seconds=10, heartbeat_seconds=6)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.8.8.8", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    Settings(host=host).check_exposure()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "masktune.example", ""])
def test_any_other_address_needs_a_key(host: str) -> None:
    with pytest.raises(ValueError, match="without a key"):
        Settings(host=host).check_exposure()
    Settings(host=host, api_keys=SecretStr("admin:secret")).check_exposure()


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKTUNE_PORT", "9001")
    monkeypatch.setenv("MASKTUNE_ALLOWED_SOURCES", "file:///data/, s3://bucket/")
    settings = Settings()
    assert settings.port == 9001
    assert settings.sources == ("file:///data/", "s3://bucket/")


def test_rate_limits_are_read_by_scope() -> None:
    rates = Settings(rate_limits="predict=600/minute, train=60/hour").rates
    assert {scope: (rate.amount, rate.get_expiry()) for scope, rate in rates.items()} == {
        Scope.PREDICT: (600, 60),
        Scope.TRAIN: (60, 3600),
    }


@pytest.mark.parametrize(
    "text",
    ["predict", "predict=", "predict=0/minute", "predict=9/fortnight", "x=1/hour", "read=1/hour,read=2/hour"],
)
def test_a_rate_limit_that_cannot_be_read_fails_at_start_up(text: str) -> None:
    with pytest.raises(ValidationError, match="MASKTUNE_RATE_LIMITS"):
        Settings(rate_limits=text)


@pytest.mark.parametrize("engine", ["openvino-bf16", "openvino-int8"])
def test_without_openvino_the_start_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, engine: Literal["openvino-bf16", "openvino-int8"]
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ValidationError, match=rf"{engine}.*masktune-service\[openvino\]"):
        Settings(engine=engine)
    assert Settings().engine == "auto"
