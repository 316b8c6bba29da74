"""How the parts are started: settings, sockets, and what is said when they cannot work."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from masktune.cli.main import app

ROOT = Path(__file__).parents[3]


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
        done = subprocess.run(
            [sys.executable, "-m", "masktune.cli", command, "--port", str(taken.getsockname()[1])],
            env={"PYTHONPATH": str(ROOT), "MASKTUNE_DATA_DIR": str(tmp_path), "PATH": ""},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, "address already in use" in done.stderr) == (1, True), done.stderr


def test_a_dashboard_is_told_at_once_where_no_service_can_be() -> None:
    result = CliRunner().invoke(app, ["web", "--url", "foo"])
    assert (result.exit_code, result.stderr) == (
        2,
        "masktune: foo is not an address: it must begin with http:// or https://\n",
    )


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
    assert (away[0], away[1].count("\n")) == (1, 1)
    assert away[1].startswith("masktune: a worker cannot run here: broker: redis: Error 111 ")


NO_CREDENTIALS = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/none",
    "AWS_SHARED_CREDENTIALS_FILE": "/none",
}
NO_PORT = "postgresql+psycopg://u:s3cret@db:abc/x"
NO_DRIVER = "postgresql+psycopg2://u:s3cret@db/x"


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
    command: str, settings: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in NO_CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    words = command.split()
    if command != "worker --check":
        assert masktune("migrate", DATA_DIR=str(tmp_path)) == (0, "")
        saved = tmp_path / "saved"
        (tmp_path / "artifacts" / "models").mkdir(parents=True)
        (tmp_path / "artifacts" / "models" / "weights").write_text("weights")
        if command == "restore":
            assert masktune("backup", str(saved), DATA_DIR=str(tmp_path)) == (0, "")
        words.append(str(saved))
    code, told = masktune(*words, DATA_DIR=str(tmp_path), **settings)
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
