"""The doctor: what it finds on a machine that is well, and on one that is not."""

from __future__ import annotations

import io
import json
import platform
import shutil
import socket
import subprocess
from collections import namedtuple
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from masktune.cli.main import app

SEEN: dict[str, object] = {"torch": "2.9.0", "cuda": None, "cards": [], "threads": 2}
WEIGHTS = {"packaged": ["tf_efficientnet_lite0"], "cached": ["resnet18", "timm/resnet50"]}
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def quick_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer without its seconds; one test asks the real one."""
    torch_answers(monkeypatch, json.dumps(SEEN))
    monkeypatch.setattr(shutil, "which", lambda _: None)


def torch_answers(monkeypatch: pytest.MonkeyPatch, answer: str | subprocess.CalledProcessError) -> None:
    def run(command: list[str], **_: object) -> SimpleNamespace:
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(stdout=json.dumps(WEIGHTS) if "list_backbones" in command[-1] else answer)

    monkeypatch.setattr(subprocess, "run", run)


def examine(tmp_path: Path, *, code: int = 0, **settings: str) -> dict[str, dict[str, str]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    asked = {"DATA_DIR": str(tmp_path), "PORT": port} | settings
    environment = {f"MASKTUNE_{name}": value for name, value in asked.items()}
    result = CliRunner().invoke(app, ["doctor", "--json"], env=environment)
    assert result.exit_code == code, result.output
    return {finding["name"]: finding for finding in json.loads(result.stdout)}


def test_a_machine_that_is_well(tmp_path: Path) -> None:
    found = examine(tmp_path)
    assert {"PyTorch", "GPU", "data folder"} <= set(found)
    assert {f["level"] for f in found.values()} <= {"ok", "warning"}
    assert all(f["advice"] for f in found.values() if f["level"] != "ok")
    assert examine(tmp_path, DATA_DIR=str(tmp_path / "a/b"))["data folder"]["level"] == "ok"
    assert list(tmp_path.iterdir()) == []  # it looks, and makes nothing


def test_another_system_than_linux_is_told_by_doctor_serve_and_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert examine(tmp_path, code=1)["system"]["level"] == "wrong"
    for command in ("serve", "worker"):
        result = CliRunner().invoke(app, [command], env={"MASKTUNE_DATA_DIR": str(tmp_path)})
        assert (result.exit_code, result.stderr) == (
            1,
            "masktune: the service needs Linux; on Darwin, use Docker: docker compose up\n",
        )


def test_what_torch_really_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its programs run in this process, which has torch already."""

    def run(command: list[str], **_: object) -> SimpleNamespace:
        with redirect_stdout(io.StringIO()) as printed:
            exec(command[-1], {})
        return SimpleNamespace(stdout=printed.getvalue())

    monkeypatch.setattr(subprocess, "run", run)
    found = examine(tmp_path)
    assert found["PyTorch"]["level"] == "ok"
    assert "threads" in found["PyTorch"]["detail"]
    assert "packaged: tf_efficientnet_lite0" in found["weights"]["detail"]


def test_a_card_that_is_not_there_is_named(tmp_path: Path) -> None:
    found = examine(tmp_path, code=1, DEVICE="cuda")
    assert [f["name"] for f in found.values() if f["level"] == "wrong"] == ["GPU"]
    assert found["GPU"]["advice"]


def test_a_port_that_is_taken_and_an_address_that_is_open(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert examine(tmp_path, PORT=port)[f"port {port}"]["level"] == "warning"
    found = examine(tmp_path, code=1, PORT="8000", HOST="0.0.0.0")
    assert "without a key" in found["port 8000"]["detail"]


@pytest.mark.parametrize(("free", "level", "code"), [(2**27, "wrong", 1), (2**30, "warning", 0)])
def test_little_disk_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str, code: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(2**40, 0, free))
    assert examine(tmp_path, code=code)["data folder"]["level"] == level


def test_little_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(2**26, 0, 2**40))
    found = examine(tmp_path)
    assert found["shared memory"]["level"] == "warning"
    assert "shm_size" in found["shared memory"]["advice"]


def test_a_driver_that_torch_does_not_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    assert examine(tmp_path)["GPU"]["level"] == "warning"


@pytest.mark.parametrize(("device", "level"), [("cuda:0", "ok"), ("cuda:1", "wrong"), ("cuda", "ok")])
def test_a_card_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, level: str
) -> None:
    torch_answers(monkeypatch, json.dumps(SEEN | {"cards": ["H100"]}))
    found = examine(tmp_path, code=int(level == "wrong"), DEVICE=device)["GPU"]
    assert (found["level"], "H100" in found["detail"]) == (level, True)
    assert ("MASKTUNE_DEVICE" in found["detail"]) == (level == "wrong")


def test_a_torch_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_answers(
        monkeypatch, subprocess.CalledProcessError(1, "python", stderr="Traceback\nImportError: libfoo")
    )
    found = examine(tmp_path, code=1)
    assert found["PyTorch"]["detail"] == "ImportError: libfoo"
    assert (found["weights"]["level"], found["weights"]["detail"]) == ("warning", "ImportError: libfoo")


def test_the_weights_that_are_here_are_listed(tmp_path: Path) -> None:
    detail = examine(tmp_path)["weights"]["detail"]
    assert detail.startswith("packaged: tf_efficientnet_lite0; cached: resnet18, timm/resnet50; ")
    assert "masktune weights add" in detail


def test_the_table_ends_with_what_it_means(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = {"MASKTUNE_DATA_DIR": str(tmp_path), "MASKTUNE_PORT": port}
    well = CliRunner().invoke(app, ["doctor"], env=environment)
    assert "The service can run here" in well.stdout
    ill = CliRunner().invoke(app, ["doctor"], env=environment | {"MASKTUNE_DEVICE": "cuda"})
    assert ill.exit_code == 1
    assert "the service cannot run here" in ill.stdout


def test_a_setting_that_cannot_work_is_named(tmp_path: Path) -> None:
    for name, value in (("WORKER_SLOTS", "many"), ("DEVICE", "gpu"), ("STORAGE_URL", "foo://x")):
        result = CliRunner().invoke(app, ["doctor"], env={f"MASKTUNE_{name}": value})
        assert result.exit_code == 2
        assert result.stderr.startswith(f"masktune: MASKTUNE_{name}")
