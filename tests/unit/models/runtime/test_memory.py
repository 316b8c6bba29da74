"""Errors that say that memory ran out, those that only resemble them, and a limit that raises one."""

from __future__ import annotations

import pytest
import torch

from models.runtime.bounded import is_out_of_memory, limited_memory


def test_a_tensor_that_no_machine_can_hold_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 50)
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        ValueError("CUDA error: out of memory"),  # torch raises RuntimeErrors
    ],
)
def test_other_errors_of_a_gpu_are_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_memory_beyond_a_limit_is_refused_and_only_while_it_holds() -> None:
    with pytest.raises(MemoryError):
        with limited_memory(64 << 20):
            bytearray(4 << 30)
    assert len(bytearray(128 << 20)) == 128 << 20


def test_a_limit_within_another_does_not_widen_it() -> None:
    with limited_memory(64 << 20), limited_memory(1 << 40), pytest.raises(MemoryError):
        bytearray(4 << 30)
