"""What is deleted between the plan of a job and its row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.auth.idempotency import Once, T
from app.http.validation import parse
from app.jobs.service import JobCreation, JobQueue, start
from core.errors import NotFound
from core.queries import registry
from masktune.contract.job_requests import ErmRequest, EvaluateRequest
from masktune.contract.vocabulary import JobKind
from tests.integration.app.conftest import Front

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@dataclass(frozen=True)
class Late(Once):
    """One whose `meanwhile` happens when the plan is made."""

    meanwhile: Callable[[], object] = lambda: None

    def run_planned(
        self, fingerprint: str, plan: Callable[[], T], make: Callable[[Session, T], Response]
    ) -> Response:
        def planned() -> T:
            made = plan()
            self.meanwhile()
            return made

        return super().run_planned(fingerprint, planned, make)


@pytest.mark.parametrize("role", ["model", "pretrained"])
def test_a_model_that_is_deleted_meanwhile_is_not_found(front: Front, role: str) -> None:
    dataset = front.dataset()
    gone = front.model(dataset)
    kind, request = {
        "model": (JobKind.EVALUATE, EvaluateRequest(model=gone)),
        "pretrained": (
            JobKind.ERM,
            parse(ErmRequest, {"dataset": dataset, "backbone": "resnet32", "pretrained": gone}),
        ),
    }[role]

    def delete() -> None:
        with front.services.database.begin() as session:
            registry.delete(session, gone)

    queue = JobQueue(0, 1, front.services.notifier)
    once = Late(front.services.database, caller="c", key=None, meanwhile=delete)
    with pytest.raises(NotFound, match=gone):
        start(JobCreation(once, queue, front.settings.root_path), kind, request, dry_run=False)
    assert front.client.get("/jobs").json()["data"] == []
