"""What a command says to a program that reads no further than it wants to."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.cli.conftest import Service, service

__all__ = ["service"]


@pytest.mark.parametrize("more", ["", " --json"])
@pytest.mark.parametrize("length", [1_000, 300_000], ids=["held until the end", "more than a pipe holds"])
def test_a_reader_who_has_enough_is_no_error(service: Service, length: int, more: str) -> None:
    service.answers["GET /presets"] = (200, {"data": [{"name": "x" * length, "title": "t"}] * 2})
    command = f"{sys.executable} -m cli jobs presets --url {service.url}{more}"
    # The reader ends before a byte is written, or after the first.
    for reader in ("true", "head -c 1"):
        done = subprocess.run(
            ["bash", "-c", f"(sleep 0.1; {command}) | {reader}"], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        assert len(done.stdout) == (reader != "true")


def test_a_command_of_the_service_ends_as_quietly() -> None:
    command = f"{sys.executable} -m cli migrate --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
