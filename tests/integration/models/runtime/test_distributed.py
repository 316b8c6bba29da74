"""A rank's part of a process group: gone after its work, left alone after an error."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch.distributed as dist

from models.run import Run
from models.runtime.distributed import process_group


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As torchrun starts the one rank of one."""
    world = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in world.items():
        monkeypatch.setenv(name, value)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.usefixtures("_alone")
def test_the_group_is_gone_after_the_work() -> None:
    with process_group(Run()) as run:
        assert dist.is_initialized()
        assert (run.rank, run.world_size) == (0, 1)
    assert not dist.is_initialized()


@pytest.mark.usefixtures("_alone")
def test_a_rank_that_raises_does_not_wait_for_the_others() -> None:
    with pytest.raises(LookupError, match="lost"), process_group(Run()):
        raise LookupError("lost")
    assert dist.is_initialized()
