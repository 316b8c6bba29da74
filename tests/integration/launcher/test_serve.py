"""How the parts are started: settings, sockets, and what is said when they cannot work."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from masktune.cli.main import app
from tests.support.brokers import redis_server
from tests.support.databases import sqlite_database
from tests.support.forks import in_forks


def masktune(*arguments: str, **settings: str) -> tuple[int, str]:
    environment = {f"MASKTUNE_{name}": value for name, value in settings.items()}
    result = CliRunner().invoke(app, arguments, env=environment)
    return result.exit_code, result.stderr


@pytest.mark.parametrize("command", ["serve", "api"])
def test_no_address_beyond_this_machine_without_a_key(command: str, tmp_path: Path) -> None:
    code, said = masktune(command, "--host", "0.0.0.0", DATA_DIR=str(tmp_path))
    assert code == 2
    assert said.startswith("masktune: refusing to listen on 0.0.0.0 without a key")
    assert said.count("\n") == 1


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = masktune("serve", "--port", str(port), "--data-dir", str(tmp_path))
    assert code == 1
    assert said.startswith(f"masktune: cannot listen on 127.0.0.1 port {port}: ")


@pytest.mark.parametrize("command", ["api", "web"])
def test_a_part_alone_that_cannot_listen_ends_with_1(command: str, tmp_path: Path) -> None:
    """Not with uvicorn's 3, which says of a command of ours that it reached no service."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        (done,) = in_forks(1, command, "--port", port, DATA_DIR=str(tmp_path))
    assert (done.code, "address already in use" in done.printed) == (1, True), done


def test_a_dashboard_is_told_at_once_where_no_service_can_be() -> None:
    result = CliRunner().invoke(app, ["web", "--url", "foo"])
    assert (result.exit_code, result.stderr) == (
        2,
        "masktune: foo is not an address: it must begin with http:// or https://\n",
    )


@pytest.mark.parametrize("command", ["migrate", "worker"])
def test_a_database_that_is_away_is_told(command: str, tmp_path: Path) -> None:
    url = "postgresql+psycopg://nobody@127.0.0.1:9/none"
    code, said = masktune(command, DATA_DIR=str(tmp_path), DATABASE_URL=url)
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("masktune: the database cannot be used: ")


def test_migrate_can_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        assert masktune("migrate", DATA_DIR=str(tmp_path)) == (0, "")
    assert (tmp_path / "masktune.db").exists()


def test_a_worker_can_be_asked_for_without_one(tmp_path: Path) -> None:
    assert masktune("worker", "--check", DATA_DIR=str(tmp_path)) == (0, "")
    away = masktune("worker", "--check", DATA_DIR=str(tmp_path), BROKER_URL="redis://127.0.0.1:9/0")
    assert (away[0], away[1].count("\n")) == (1, 1)
    assert away[1].startswith("masktune: a worker cannot run here: broker: redis: Error 111 ")


def test_a_store_in_a_folder_beside_a_broker_must_be_shared(tmp_path: Path) -> None:
    with redis_server(tmp_path) as (broker, _):
        environment = {"MASKTUNE_DATA_DIR": str(tmp_path), "MASKTUNE_BROKER_URL": broker}
        result = CliRunner().invoke(app, ["worker", "--check"], env=environment)
    assert result.exit_code == 0
    assert "workers on other hosts must see this folder" in result.stdout


NO_CREDENTIALS = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/none",
    "AWS_SHARED_CREDENTIALS_FILE": "/none",
}
NO_PORT = "postgresql+psycopg://u:s3cret@db:abc/x"
NO_DRIVER = "postgresql+psycopg2://u:s3cret@db/x"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an artifact, and a backup of it."""
    folder = tmp_path_factory.mktemp("served")
    sqlite_database(folder)
    (folder / "artifacts" / "models").mkdir(parents=True)
    (folder / "artifacts" / "models" / "weights").write_text("weights")
    assert masktune("backup", str(folder / "saved"), DATA_DIR=str(folder)) == (0, "")
    return folder


@pytest.mark.parametrize("command", ["worker --check", "backup", "restore"])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"DATABASE_URL": NO_PORT}, "'abc'"),
        ({"DATABASE_URL": NO_DRIVER}, "No module named 'psycopg2'"),
        ({"STORAGE_URL": "s3://bucket/x"}, "Unable to locate credentials"),
    ],
    ids=["port", "driver", "credentials"],
)
def test_a_part_that_cannot_be_used_is_one_line(
    command: str,
    settings: dict[str, str],
    said: str,
    served: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in NO_CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    words = {"backup": [str(tmp_path / "new")], "restore": [str(served / "saved")]}.get(command, [])
    code, told = masktune(*command.split(), *words, DATA_DIR=str(served), **settings)
    assert (code, told.count("\n")) == (1, 1), told
    assert told.startswith("masktune: ")
    assert said in told
    assert "s3cret" not in told


@pytest.mark.parametrize("command", ["serve", "api", "worker", "migrate"])
@pytest.mark.parametrize(
    "setting",
    [
        {"DEVICE": "gpu"},
        {"STORAGE_URL": "foo://x"},
        {"BROKER_URL": "foo://x"},
        {"DATABASE_URL": "mysql://x"},
    ],
    ids=str,
)
def test_a_setting_that_cannot_work_ends_the_start(
    command: str, setting: dict[str, str], tmp_path: Path
) -> None:
    code, said = masktune(command, DATA_DIR=str(tmp_path), **setting)
    assert (code, said.count("\n")) == (2, 1)
    (name,) = setting
    assert said.startswith(f"masktune: MASKTUNE_{name}")
