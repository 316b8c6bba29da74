"""What a command says to a program that reads no further than it wants to."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
import time

import pytest

from masktune.cli.main import main
from tests.unit.masktune.cli.conftest import Service, server, service
from tests.unit.masktune.client.conftest import job

__all__ = ["server", "service"]


@pytest.mark.parametrize(
    ("length", "more", "reader"),
    [(1_000, " --json", "true"), (300_000, "", "true"), (300_000, "", "head -c 1")],
    ids=["held until the end", "more than a pipe holds", "after the first byte"],
)
def test_a_reader_who_has_enough_is_no_error(service: Service, length: int, more: str, reader: str) -> None:
    service.answers["GET /presets"] = (200, {"data": [{"name": "x" * length, "title": "t"}] * 2})
    command = f"{sys.executable} -m masktune.cli jobs presets --url {service.url}{more}"
    done = subprocess.run(
        ["bash", "-c", f"(sleep 0.1; {command}) | {reader}"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert len(done.stdout) == (reader != "true")


def test_an_encoding_without_a_sign_ends_no_command(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answers["GET /jobs"] = (200, {"data": [job(state="queued")]})
    service.answers["GET /datasets"] = (200, {"data": []})
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "argv", ["masktune", "jobs", "list", "--url", service.url])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    with pytest.raises(SystemExit) as ended:
        main()
    sys.stdout.flush()
    assert ended.value.code == 0
    assert rb"\u2013" in printed.getvalue()  # the dash of a stage that has not begun


def test_an_interrupted_watch_ends_with_130_and_a_line(service: Service) -> None:
    """The stream of the job's events says nothing, as that of a long epoch."""
    ended = threading.Event()
    service.answers["GET /jobs/job_1"] = (200, job(state="running"))
    service.by_headers["GET /jobs/job_1/events"] = lambda _: str(ended.wait(60)).encode()
    command = [sys.executable, "-m", "masktune.cli", "jobs", "watch", "job_1", "--url", service.url]
    # Where the tests run in the background of a shell, it has them ignore Ctrl-C, and so would the command.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    while not any("/events" in asked for asked, _ in service.asked):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    ended.set()
    assert process.returncode == 130
    assert said.startswith("masktune: job job_1 keeps running: ")


def test_a_command_of_the_service_ends_as_quietly() -> None:
    command = f"{sys.executable} -m masktune.cli migrate --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
