"""The Compose files: they need no file of the user's, every part of ours is sealed, the proxy alone is
published, only API and workers reach database and broker, and each GPU worker has a card of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import Settings
from tests.support.machine import needs

ROOT = Path(__file__).parents[3]
OURS = ("migrate", "api", "web", "worker", "worker-gpu")

Service = dict[str, Any]


@cache
def composed(*words: str, folder: Path = ROOT) -> dict[str, Service]:
    """The services as Docker Compose understands them; `folder` has the files."""
    needs("docker compose")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MASKTUNE_")}
    command = ["docker", "compose", "--env-file", "/dev/null", *words, "config", "--format", "json"]
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Service] = json.loads(done.stdout)["services"]
    return found


def written() -> dict[str, Service]:
    found: dict[str, Service] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


@pytest.mark.parametrize("name", OURS)
def test_a_part_is_sealed(name: str) -> None:
    service = written()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]


@pytest.mark.parametrize("name", OURS)
def test_the_settings_exist(name: str) -> None:
    known = {f"MASKTUNE_{field.upper()}" for field in Settings.model_fields}
    known |= {"MASKTUNE_URL", "MASKTUNE_WEB_HOST"}
    known |= {"OTEL_EXPORTER_OTLP_ENDPOINT", "TMPDIR", "PGPASSFILE"}
    assert set(written()[name]["environment"]) <= known


def test_a_card_in_the_env_file_is_no_matter_of_parts_without_one() -> None:
    """`environment` wins over `.env`, where MASKTUNE_DEVICE=cuda would end every prediction."""
    devices = {name: written()[name]["environment"].get("MASKTUNE_DEVICE") for name in OURS}
    assert devices == {"web": None, "worker-gpu": "cuda"} | dict.fromkeys(
        ("migrate", "api", "worker"), "auto"
    )


def test_each_gpu_worker_has_a_card_of_its_own() -> None:
    files = ("-f", "docker-compose.yml", "-f", "docker-compose.gpus.yml")
    profiles = {f"gpus-{count}": count for count in (2, 4, 8)}
    services = composed(*files, *(word for profile in profiles for word in ("--profile", profile)))
    workers = {name: service for name, service in services.items() if name.startswith("worker-gpu")}
    for profile, count in profiles.items():
        cards = [
            device["device_ids"]
            for service in workers.values()
            if profile in service["profiles"]
            for device in service["deploy"]["resources"]["reservations"]["devices"]
        ]
        assert sorted(cards) == [[str(number)] for number in range(count)]
    assert services["worker"]["deploy"]["replicas"] == 0
    for service in workers.values():
        assert service["command"] == ["masktune", "worker"]
        assert service["environment"]["MASKTUNE_DEVICE"] == "cuda"
        assert service["read_only"] is True
        assert set(service["depends_on"]) == {"migrate", "redis"}


FILES = ("docker-compose.yml", "docker-compose.gpus.yml")


def test_what_stands_in_the_env_file_reaches_api_and_workers(tmp_path: Path) -> None:
    """Else a limit would be thought to hold that does not, and no bucket be reached."""
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    given = {
        "AWS_SECRET_ACCESS_KEY": "s",
        "MASKTUNE_RATE_LIMITS": "predict=9/minute",
        "MASKTUNE_MAX_UPLOAD_BYTES": "5000",
    }
    own = {"MASKTUNE_HOST": "127.0.0.1", "MASKTUNE_DATA_DIR": "/here", "MASKTUNE_DATABASE_URL": "sqlite://"}
    lines = [f"{name}={value}" for name, value in (given | own).items()]
    (tmp_path / ".env").write_text("\n".join(lines))
    files = [word for name in FILES for word in ("-f", name)]
    services = composed(*files, "--profile", "gpus-2", "--profile", "gpu", folder=tmp_path)
    readers = [name for name in services if name == "api" or name.startswith("worker")]
    assert len(readers) == 5
    for name in readers:
        found = services[name]["environment"]
        assert given.items() <= found.items()
        assert not own.items() & found.items()
    assert not {"MASKTUNE_API_KEYS", "POSTGRES_PASSWORD", *given} & services["web"]["environment"].keys()


PEOPLE = ("MASKTUNE_PROXY_USER_HEADER", "MASKTUNE_PROXY_GROUPS_HEADER")


@pytest.mark.parametrize("given", [{}, dict(zip(PEOPLE, ("X-User", "X-Groups"), strict=True))])
def test_the_proxy_drops_what_the_parts_believe_about_people(given: dict[str, str], tmp_path: Path) -> None:
    """By default nothing is believed, and what most proxies send is dropped all the same."""
    shutil.copy(ROOT / FILES[0], tmp_path)
    (tmp_path / ".env").write_text("\n".join(f"{name}={text}" for name, text in given.items()))
    services = composed("--env-file", ".env", folder=tmp_path)
    environments = {name: services[name]["environment"] for name in ("proxy", "api", "web")}
    dropped = [environments["proxy"][name] for name in PEOPLE]
    assert dropped == (list(given.values()) or ["Remote-User", "Remote-Groups"])
    for part in ("api", "web"):
        assert [environments[part].get(name, "") for name in PEOPLE] == (list(given.values()) or ["", ""])
    assert environments["api"]["MASKTUNE_PROXY_USER_FROM"] == "proxy,web"
    assert environments["web"]["MASKTUNE_PROXY_USER_FROM"] == "proxy"


def test_without_a_profile_no_gpu_is_asked_for() -> None:
    once = {"password", "migrate"}
    assert set(composed()) == {"proxy", "api", "web", "worker", "postgres", "redis"} | once


def test_the_proxy_alone_is_published_and_on_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in composed().items() if service.get("ports")}
    assert set(published) == {"proxy"}
    (port,) = published["proxy"]
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "8443", 443)


def test_other_ports_are_opened_by_a_file_of_their_own() -> None:
    services = composed("-f", "docker-compose.yml", "-f", "docker-compose.ports.yml")
    ports = {name: service["ports"][0] for name, service in services.items() if service.get("ports")}
    assert set(ports) == {"proxy", "api", "web"}
    assert {port["host_ip"] for port in ports.values()} == {"127.0.0.1"}


def test_only_those_who_need_a_secret_can_read_it() -> None:
    readers: dict[str, set[str]] = {"password": set(), "key": set()}
    writers: dict[str, set[str]] = {"password": set(), "key": set()}
    for name, service in composed("--profile", "gpu").items():
        for volume in service.get("volumes", ()):
            if volume["source"] in readers:
                (readers if volume.get("read_only") else writers)[volume["source"]].add(name)
    assert writers == {"password": {"password"}, "key": {"migrate"}}
    assert readers == {"password": {"postgres", "migrate", "api", "worker", "worker-gpu"}, "key": {"api"}}


def test_database_and_broker_share_a_network_with_api_and_workers_alone() -> None:
    files = ("-f", "docker-compose.yml", "-f", "docker-compose.gpus.yml", "-f", "docker-compose.ports.yml")
    members: dict[str, set[str]] = {}
    for name, service in composed(*files, "--profile", "gpus-2").items():
        for network in service.get("networks") or ():
            members.setdefault(network, set()).add(name)
    workers = {"migrate", "worker", "worker-gpu-0", "worker-gpu-1"}
    assert members == {
        "backend": {"postgres", "redis", "api", *workers},
        "frontend": {"proxy", "web", "api"},
    }
