"""Errors that say that memory ran out, and those that only resemble them."""

from __future__ import annotations

import pytest
import torch

from models.runtime.memory import is_out_of_memory


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
