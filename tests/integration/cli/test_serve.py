"""How the parts are started: settings, sockets, and what is said when they cannot work."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app


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


def test_a_setting_that_cannot_work_is_named(tmp_path: Path) -> None:
    code, said = masktune("migrate", DATA_DIR=str(tmp_path), WORKER_SLOTS="many", API_KEYS="")
    assert (code, said.count("\n")) == (2, 1)
    assert "MASKTUNE_WORKER_SLOTS" in said


def test_a_key_that_is_malformed_is_told(tmp_path: Path) -> None:
    code, said = masktune("migrate", DATA_DIR=str(tmp_path), API_KEYS="nonsense")
    assert code == 2
    assert "MASKTUNE_API_KEYS must hold" in said
    assert "nonsense" not in said


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = masktune("serve", "--port", str(port), "--data-dir", str(tmp_path))
    assert code == 1
    assert said.startswith(f"masktune: cannot listen on 127.0.0.1 port {port}: ")


def test_a_database_that_is_away_is_told(tmp_path: Path) -> None:
    url = "postgresql+psycopg://nobody@127.0.0.1:9/none"
    code, said = masktune("migrate", DATA_DIR=str(tmp_path), DATABASE_URL=url)
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("masktune: the database cannot be used: ")


def test_migrate_can_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        assert masktune("migrate", DATA_DIR=str(tmp_path)) == (0, "")
    assert (tmp_path / "masktune.db").exists()


def test_a_worker_can_be_asked_for_without_one(tmp_path: Path) -> None:
    assert masktune("worker", "--check", DATA_DIR=str(tmp_path)) == (0, "")
    away = masktune("worker", "--check", DATA_DIR=str(tmp_path), BROKER_URL="redis://127.0.0.1:9/0")
    assert away == (1, "masktune: a worker cannot work here: OperationalError\n")
