"""Every error that a stage may foresee has its reason; the others stay crashes."""

from __future__ import annotations

import errno

import pytest
import torch
from botocore.exceptions import ClientError, EndpointConnectionError

from core.errors import JobError, NotFound
from core.storage.artifacts import ArtifactMissing
from masktune.contract.hyperparameters.parameters import ConfigError
from models.backbones.errors import UnknownBackbone, WeightsUnavailable
from models.data.layout import StoreError
from models.training.fit import Diverged
from worker.child.failures import explain


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "out_of_memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "storage_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "storage_full"),
        (OSError(errno.EROFS, "Read-only file system"), "storage_not_writable"),
        (PermissionError(errno.EACCES, "Permission denied"), "storage_not_writable"),
        (Diverged("use a lower learning_rate"), "diverged"),
        (WeightsUnavailable("give a file"), "weights_unavailable"),
        (UnknownBackbone("resnet5", ["resnet50"]), "unknown_backbone"),
        (ConfigError("/epochs", "must be above 0"), "invalid_parameters"),
        (StoreError("damaged"), "dataset_damaged"),
        (ArtifactMissing("models/mdl_1"), "artifact_missing"),
        (JobError("not_certifiable", "ask for more"), "not_certifiable"),
    ],
)
def test_a_foreseen_error_has_its_reason_and_is_not_retried(error: Exception, reason: str) -> None:
    explained = explain(error)
    assert explained is not None
    problem, retry = explained.error, explained.retry
    assert problem["reason"] == reason
    assert problem["detail"]
    assert "Traceback" not in str(problem["detail"])
    assert not retry


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("Killed. ", "ran out of memory"),
        ("Bus error. It is possible that dataloader's workers are out of shared memory.", "shm_size"),
    ],
)
def test_a_killed_loader_is_told_as_what_it_mostly_is_and_tried_again(how: str, words: str) -> None:
    explained = explain(RuntimeError(f"DataLoader worker (pid 7) is killed by signal: {how}"))
    assert explained is not None
    problem, retry = explained.error, explained.retry
    assert (problem["reason"], retry) == ("out_of_memory", True)
    assert words in str(problem["detail"])
    assert explain(RuntimeError("DataLoader worker (pid 7) is killed by signal: Aborted. ")) is None


def test_a_full_disk_is_507_and_says_resume() -> None:
    explained = explain(OSError(errno.ENOSPC, "full", "/srv/secret/place"))
    assert explained is not None
    assert explained.error["status"] == 507
    assert "resume" in str(explained.error["detail"])
    assert "/srv" not in str(explained.error["detail"])


def _from_s3(code: str) -> OSError:
    """As s3fs raises what the store answered."""
    error = OSError(errno.EIO, "of the bucket arn:aws:s3:::secret")
    error.__cause__ = ClientError({"Error": {"Code": code, "Message": "secret"}}, "PutObject")
    return error


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (_from_s3("InternalError"), "InternalError"),
        (_from_s3("RequestTimeTooSkewed"), "RequestTimeTooSkewed"),
        (EndpointConnectionError(endpoint_url="http://secret"), "EndpointConnectionError"),
    ],
)
def test_an_object_store_that_fails_is_named_and_the_job_tried_again(error: Exception, name: str) -> None:
    explained = explain(error)
    assert explained is not None
    assert (explained.error["reason"], explained.retry) == ("object_store", True)
    assert name in str(explained.error["detail"])
    assert "secret" not in str(explained.error["detail"])


def test_what_asks_to_be_tried_again() -> None:
    explained = explain(JobError("later", "the store is away", retry=True))
    assert explained is not None
    assert explained.retry


def test_other_errors_of_the_service_speak_for_themselves() -> None:
    explained = explain(NotFound("no model"))
    assert explained is not None
    assert explained.error["type"] == "/problems/not-found"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(errno.EIO, "x")])
def test_an_unforeseen_error_has_no_reason(error: Exception) -> None:
    assert explain(error) is None
    assert explain(ZeroDivisionError()) is None
