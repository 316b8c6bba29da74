"""A disk that fills up in the middle of a file says so, whatever library writes it."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.backbones.build import build_network
from models.backbones.network import Network
from models.export import card_of, save_model
from models.training.checkpoints import Checkpoint
from tests.support.machine import lacks, needs

pytestmark = pytest.mark.faults

SMALL = 128 * 2**10
"""Bytes of the disk. The largest tensor of the network has more."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    needs("mount")
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "masktune-test", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lacks("mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)


@pytest.fixture
def network() -> Network:
    return build_network("resnet32", classes=2, image_size=16, seed=4)


def checkpoint(network: Network, disk: Path) -> None:
    weights = network.model.state_dict()
    Checkpoint(1, weights, {}, 0.1, 1, "{}", None, ()).write(disk / "epoch-00001.pt")


def model(network: Network, disk: Path) -> None:
    save_model(network, card_of(network, ("a", "b"), "erm"), disk / "model")


@pytest.mark.parametrize("write", [checkpoint, model])
def test_a_disk_that_fills_up_in_the_middle_of_a_file(
    network: Network, disk: Path, write: Callable[[Network, Path], None]
) -> None:
    assert max(t.numel() * t.element_size() for t in network.model.state_dict().values()) > SMALL
    with pytest.raises(OSError, match="No space left") as raised:
        write(network, disk)
    assert raised.value.errno == errno.ENOSPC
