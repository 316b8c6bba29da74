"""Which errors of the disk are problems of their own."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from app.datasets.uploads import Spool
from app.http.problems import storage_error
from tests.support.machine import needs


def test_a_full_disk_is_told_as_one() -> None:
    needs("/dev/full")
    spool = Spool(Path("/dev/full"))
    spool.write(b"x" * 100)
    with pytest.raises(OSError, match="space") as failed:
        spool.close()
    found = storage_error(failed.value)
    assert found is not None
    assert found.status == 507


def test_a_store_that_may_not_be_written_is_told_and_other_faults_are_not() -> None:
    for number in (errno.EROFS, errno.EACCES, errno.EPERM):
        found = storage_error(OSError(number, "no"))
        assert found is not None
        assert (found.code, found.status) == ("storage-not-writable", 507)
    assert storage_error(OSError(errno.EIO, "no")) is None


def test_an_error_that_an_object_store_answers_with_is_told() -> None:
    error = PermissionError("Access Denied")
    error.__cause__ = ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
    problem = storage_error(error)
    assert problem is not None
    assert (problem.status, problem.headers) == (503, {"Retry-After": "5"})
