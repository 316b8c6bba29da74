"""Problems have stable, distinct types, and say what RFC 9457 asks for."""

from __future__ import annotations

from core.errors import FieldError, InvalidInput, JobError, NotFound
from masktune.contract.problems import PROBLEM_KINDS, ErrorCode


def test_every_code_has_a_status_and_a_title() -> None:
    assert set(PROBLEM_KINDS) == set(ErrorCode)
    assert all(kind.type == f"/problems/{code}" for code, kind in PROBLEM_KINDS.items())


def test_a_problem_carries_the_members_of_the_rfc() -> None:
    assert NotFound("no job job_1").to_problem("/jobs/job_1") == {
        "type": "/problems/not-found",
        "code": "not-found",
        "title": "Not found",
        "status": 404,
        "detail": "no job job_1",
        "instance": "/jobs/job_1",
    }


def test_faults_are_named_by_pointer_in_order() -> None:
    faults = (FieldError("/a", "x", "1"), FieldError("/b", "y", "2"))
    body = InvalidInput("bad", errors=faults).to_problem()
    assert body["errors"] == [
        {"pointer": "/a", "code": "x", "detail": "1"},
        {"pointer": "/b", "code": "y", "detail": "2"},
    ]


def test_a_failed_job_names_its_reason() -> None:
    assert JobError("out_of_memory", "use a smaller batch_size").to_problem()["reason"] == "out_of_memory"
