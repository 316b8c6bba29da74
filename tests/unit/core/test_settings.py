"""Settings fail at start-up, and never listen beyond the machine without a key."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from core.settings import Settings
from masktune.contract.vocabulary import Scope


def test_the_embedded_default_needs_no_server(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.database == f"sqlite:///{tmp_path}/masktune.db"
    assert settings.broker_url == ""
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
    Settings(host=host, first_key_file=Path("first")).check_exposure()


def test_a_network_of_proxies_must_be_one() -> None:
    assert Settings(trusted_proxies="10.0.0.0/8, proxy").trusted_proxies == "10.0.0.0/8, proxy"
    with pytest.raises(ValidationError, match="host bits"):
        Settings(trusted_proxies="10.0.0.1/8")


def test_origins_are_as_browsers_send_them() -> None:
    text = "https://lab.example, http://localhost:3000,http://[::1]:3000"
    assert Settings(allowed_origins=text).origins == (
        "https://lab.example",
        "http://localhost:3000",
        "http://[::1]:3000",
    )
    assert Settings().origins == ()


@pytest.mark.parametrize(
    "origin",
    ["*", "https://*.a", "null", "a", "https://a/", "https://a:443", "http://A", "https://me@a", "file://"],
)
def test_an_origin_that_no_browser_sends_fails_at_start(origin: str) -> None:
    with pytest.raises(
        ValidationError, match=r"MASKTUNE_ALLOWED_ORIGINS cannot have .* any page on the internet"
    ):
        Settings(allowed_origins=f"https://lab.example,{origin}")


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


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CUDA", "cpu:0", "cuda:1 "])
def test_a_device_that_there_cannot_be_fails_at_start_up(device: str) -> None:
    with pytest.raises(ValidationError, match="MASKTUNE_DEVICE must be auto, cpu, cuda or cuda:N"):
        Settings(device=device)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:11"])
def test_a_device_by_its_name(device: str) -> None:
    assert Settings(device=device).device == device


@pytest.mark.parametrize(
    ("field", "address", "said"),
    [
        ("database_url", "mysql://root:s3cret@db/x", "MASKTUNE_DATABASE_URL must begin with postgresql"),
        ("database_url", "postgres://root:s3cret@db/x", "MASKTUNE_DATABASE_URL must begin with postgresql"),
        ("database_url", "/var/masktune.db", "MASKTUNE_DATABASE_URL must begin with postgresql"),
        ("broker_url", "foo://:s3cret@x", "MASKTUNE_BROKER_URL must begin with redis://"),
        ("broker_url", "folder:///data/queue", "MASKTUNE_BROKER_URL must .* leave it empty to do without"),
        ("broker_url", "redis:6379", "MASKTUNE_BROKER_URL must begin with redis://"),
        ("broker_url", "sentinel://:s3cret@x:26379", "MASKTUNE_BROKER_URL must begin with redis://"),
        ("storage_url", "foo://key:s3cret@x", "MASKTUNE_STORAGE_URL: .* no file system called foo"),
        ("storage_url", "blockcache::foo://x", "MASKTUNE_STORAGE_URL: .* no file system called foo"),
    ],
)
def test_an_address_of_nothing_known_fails_at_start_up(field: str, address: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as error:
        Settings.model_validate({field: address})
    assert "s3cret" not in error.value.errors(include_input=False)[0]["msg"]


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ("database_url", "sqlite:////data/masktune.db"),
        ("database_url", "postgresql://db/masktune"),
        ("database_url", "postgresql+psycopg://masktune:a/b@db:5432/masktune"),
        ("broker_url", "rediss://:secret@redis:6380/0"),
        ("broker_url", "redis+socket:///run/redis.sock"),
        ("broker_url", "amqps://user:secret@rabbit//"),
        ("storage_url", "s3://bucket/prefix"),
        ("storage_url", "memory://here"),
        ("storage_url", "file:///data"),
        ("storage_url", "/data/artifacts"),
    ],
)
def test_an_address_that_can_work(field: str, address: str) -> None:
    assert getattr(Settings.model_validate({field: address}), field) == address


def test_without_its_package_a_store_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setattr(import_module("fsspec.registry"), "registry", {})  # as if no other test had loaded it
    with pytest.raises(ValidationError, match=r"MASKTUNE_STORAGE_URL=s3://… needs the package s3fs"):
        Settings(storage_url="s3://bucket")


@pytest.mark.parametrize(("given", "kept"), [("/mt", "/mt"), ("/mt/", "/mt"), ("/", ""), ("", "")])
def test_a_prefix_ends_without_a_slash(given: str, kept: str) -> None:
    assert Settings(root_path=given).root_path == kept
