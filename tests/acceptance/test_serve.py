"""`masktune serve` as a process: what starts, what is restarted, and what is left, which is nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from masktune import Client
from tests.support.processes import Processes, address, started
from tests.support.waits import PATIENCE

pytestmark = [pytest.mark.faults, pytest.mark.slow]

PARTS = ("api", "worker")


class Together(NamedTuple):
    """Several API processes and their parent."""

    processes: Processes
    parent: subprocess.Popen[str]
    url: str


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_is_asked_to_end_says_0(
    processes: Processes, tmp_path: Path, number: signal.Signals
) -> None:
    worker = processes.masktune("worker", DATA_DIR=str(tmp_path / "var"))
    processes.wait_until(lambda: " is ready: " in (tmp_path / "worker.log").read_text())
    worker.send_signal(number)
    assert worker.wait(PATIENCE) == 0


def test_a_card_that_is_not_there_is_told(processes: Processes, tmp_path: Path) -> None:
    serve = processes.masktune("serve", "--port", "0", "--data-dir", str(tmp_path / "var"), DEVICE="cuda:63")
    url = address(serve)
    log = tmp_path / "serve.log"
    processes.wait_until(lambda: "masktune: GPU: " in log.read_text())
    told = next(line for line in log.read_text().splitlines() if line.startswith("masktune: GPU: "))
    assert "MASKTUNE_DEVICE is cuda:63" in told
    parts = httpx2.get(f"{url}/readyz", timeout=60).json()["parts"]
    (forward,) = (part for part in parts if part["name"] == "forward_pass")
    assert (forward["ok"], "MASKTUNE_DEVICE is cuda:63" in forward["detail"]) == (False, True)
    serve.send_signal(signal.SIGINT)
    assert serve.wait(PATIENCE) == 0


def test_no_part_outlives_a_parent_that_is_killed(processes: Processes, tmp_path: Path) -> None:
    serve = processes.masktune("serve", "--port", "0", "--data-dir", str(tmp_path / "var"))
    address(serve)
    serve.kill()
    serve.wait()
    processes.wait_until(lambda: processes.left() == [])


def test_a_part_that_is_killed_comes_back_and_the_next_service_goes_on_in_the_folder(
    processes: Processes, tmp_path: Path
) -> None:
    serve = processes.masktune("serve", "--port", "0", "--data-dir", str(tmp_path / "var"))
    assert serve.stdout is not None
    with Client(address(serve)) as client:
        for part, name in zip(PARTS, ("API", "worker"), strict=True):
            os.kill(processes.pid_of("-m", "masktune.cli", part), signal.SIGKILL)
            assert serve.stdout.readline() == f"the {name} ended (signal 9); restarting it in 0.5 s\n"
        # No connection is refused meanwhile: the socket is the parent's.
        assert list(client.jobs.list()) == []
        made = client.datasets.from_source("builtin:digits", name="kept")
        assert client.datasets.wait(made.id).state == "ready"
    serve.send_signal(signal.SIGTERM)
    assert serve.wait(PATIENCE) == 0
    assert processes.left() == []

    serve = processes.masktune("serve", "--port", "0", "--data-dir", str(tmp_path / "var"))
    with Client(address(serve)) as client:
        assert [found.name for found in client.datasets.list()] == ["kept"]
    maps = [Path(f"/proc/{processes.pid_of('-m', 'masktune.cli', part)}/maps") for part in PARTS]
    # The API brings torch in by itself: nobody who predicts should have to wait for that.
    processes.wait_until(lambda: "libtorch" in maps[0].read_text())
    serve.send_signal(signal.SIGTERM)
    assert serve.wait(PATIENCE) == 0
    assert processes.left() == []


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Together]:
    """Two API processes at one address, which end on SIGTERM."""
    folder = tmp_path_factory.mktemp("together")
    with started(Processes(folder)) as made:
        parent = made.masktune("api", "--port", "0", "--processes", "2", DATA_DIR=str(folder / "var"))
        yield Together(made, parent, address(parent))
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(PATIENCE) == 0
        assert made.left() == []


def test_several_processes_share_an_address_and_are_measured_as_one(together: Together) -> None:
    processes, parent, url = together
    for _ in range(40):  # each on a connection of its own
        assert httpx2.get(f"{url}/livez").status_code == 200
    assert _counted(url) >= 40  # those of the greeting beside

    first, _ = (int(line.split()[0]) for line in processes.left() if "--tied" in line)
    os.kill(first, signal.SIGKILL)
    assert parent.stdout is not None
    assert "ended (signal 9); restarting it in 0.5 s" in parent.stdout.readline()
    for _ in range(40):  # none is refused: some wait for the process that starts
        assert httpx2.get(f"{url}/livez", timeout=60).status_code == 200
    assert _counted(url) >= 80  # what the killed one counted is kept


def _counted(url: str) -> float:
    """Answers to /livez by all processes, as any one of them tells."""
    found = re.search(
        r'^masktune_requests_total\{method="GET",route="/livez",status="200"\} (\S+)$',
        httpx2.get(f"{url}/metrics").text,
        re.MULTILINE,
    )
    assert found is not None
    return float(found[1])


def test_an_address_that_is_taken_is_refused_to_several_processes_too(
    together: Together, processes: Processes
) -> None:
    port, data = together.url.rpartition(":")[2], str(together.processes.folder / "var")
    second = processes.masktune("api", "--port", port, "--processes", "2", DATA_DIR=data)
    assert second.wait(PATIENCE) == 1
