"""`masktune reviews …`: the policy with the promise, the list, its table, a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from masktune.contract.models import Promise
from masktune.contract.report.text import promise_statement
from tests.support.answers import DATASET, MODEL
from tests.unit.masktune.cli.conftest import Service

ID = "mdl_06d4k3w8s0q6v7yx3n5m9a1b2c"
POLICY = {
    "enabled": True,
    "audit_share": 0.01,
    "max_risk": 0.05,
    "risk_confidence": 0.99,
    "keep_days": 90.0,
    "keep_bytes": 2**30,
    "answers_to_notice": 300,
}
PROMISE = {"max_risk": 0.05, "risk_confidence": 0.99, "answers": 120, "answers_to_notice": 300}
REVIEW = {
    "id": "rev_1",
    "model": ID,
    "kind": "audit",
    "state": "answered",
    "sha256": "0" * 64,
    "prediction": {"decision": "answer", "label": "cat", "score": 0.9},
    "outcome": "label",
    "label": "dog",
    "answered_by_name": "Ada",
    "created_at": "2025-11-03T09:30:00.000Z",
}


def _model(**promise: Any) -> dict[str, Any]:
    return MODEL | {"id": ID, "promise": PROMISE | promise}


def test_a_policy_is_shown_with_whether_its_promise_holds(service: Service) -> None:
    service.answers[f"GET /models/{ID}/review-policy"] = (200, POLICY)
    model = _model(status="holds", errors=1)
    service.answers[f"GET /models/{ID}"] = (200, model)
    run = service.masktune("reviews", "policy", ID)
    assert run.exit_code == 0
    sentence = promise_statement(Promise.model_validate(model["promise"]))
    assert "".join(sentence.split()) in "".join(run.stdout.split())


def test_a_policy_is_set_at_once(service: Service) -> None:
    service.answers[f"PUT /models/{ID}/review-policy"] = (200, POLICY)
    service.answers[f"GET /models/{ID}"] = (200, _model(status="holds", errors=1))
    assert service.masktune("reviews", "policy", ID, "--max-risk", "0.05").exit_code == 2
    assert service.masktune("reviews", "policy", ID, "--on", "--max-risk", "0.05").exit_code == 0
    (body,) = [json.loads(body) for path, body in service.asked if path.startswith("PUT")]
    assert body == {"enabled": True, "max_risk": 0.05}


def test_the_list_says_who_answered_what(service: Service) -> None:
    service.answers["GET /reviews"] = (200, {"data": [REVIEW], "next_cursor": None})
    run = service.masktune("reviews", "list", "--state", "answered")
    assert run.exit_code == 0
    assert all(word in run.stdout for word in ("rev_1", "audit", "cat", "0.900", "dog", "Ada"))


def test_a_table_is_written(service: Service, tmp_path: Path) -> None:
    service.answers["GET /reviews.csv"] = (200, "id,outcome,label")
    table = tmp_path / "reviews.csv"
    assert service.masktune("reviews", "export", str(table)).exit_code == 0
    assert json.loads(table.read_text()) == "id,outcome,label"


def test_a_data_set_is_made(service: Service) -> None:
    service.answers[f"POST /models/{ID}/reviews/dataset"] = (202, DATASET)
    run = service.masktune("reviews", "dataset", ID, "--name", "more")
    assert "data set ds_1 is importing" in run.stdout
    assert json.loads(service.asked[-1][1]) == {"name": "more"}
