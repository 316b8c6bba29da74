"""Answers of a service, as the client receives them."""

from __future__ import annotations

from typing import Any

AT = "2025-11-03T09:30:00.000Z"
CREATED = {"created_at": AT}
DATASET: dict[str, Any] = {
    "id": "ds_1",
    "name": "birds",
    "state": "ready",
    "format": "csv",
    "classes": ["a", "b"],
    "splits": {"train": 8, "test": 2},
    "groups": [{"name": "a on land", "n": 5, "splits": {"train": 5}}],
    "report": {
        "count": 10,
        "rejected": [{"path": "x.png", "code": "truncated", "detail": "it ends too early"}],
        "rejected_total": 30,
        "notes": [{"code": "splits_made", "detail": "val was cut from train"}],
    },
    "job": "job_9",
    **CREATED,
}
FULL_REPORT: dict[str, Any] = {
    "name": "birds",
    "count": 10,
    "rejected": [
        {"path": f"{n}.png", "code": "truncated", "detail": "it ends too early"} for n in range(300)
    ],
    "ignored": [{"path": ".DS_Store", "code": "junk", "detail": "it was ignored"}],
    "duplicates": [{"paths": ["a.png", "b.png"], "same_bytes": True, "codes": ["in_two_splits"]}],
}
SAMPLE = {"split": "test", "label": "a", "width": 28, "height": 28, "sha256": ""}
BACKBONE = {"name": "tf_efficientnet_lite0", "library": "timm", "weights": "packaged", "image_size": 224}
LIMITS = {
    "max_body_bytes": 1_000,
    "max_upload_bytes": 2_000_000,
    "max_image_bytes": 1_000,
    "max_image_pixels": 1_000,
    "max_images_per_request": 4,
    "max_archive_entries": 10,
    "max_archive_bytes": 1_000,
    "max_archive_ratio": 2.0,
}
JOB: dict[str, Any] = {
    "id": "job_1",
    **CREATED,
    "kind": "masktune",
    "state": "succeeded",
    "stage": "evaluate",
    "dataset": "ds_1",
    "progress": {"fraction": 1.0},
    "models": {"erm": "mdl_1", "masktune": "mdl_2"},
    "metrics": {"erm": {"test": {"accuracy": 0.25}}},
    "verdict": {"verdict": "helped", "a": "masktune", "b": "masktune_control"},
}
FAILED = JOB | {"state": "failed", "error": {"title": "The job failed", "detail": "the disk\nis full"}}
MODEL: dict[str, Any] = {
    "id": "mdl_2",
    **CREATED,
    "arm": "masktune",
    "backbone": "small_cnn",
    "classes": ["a", "b"],
    "image_size": 28,
    "calibration": {"id": "cal_1", "n": 216},
    "metrics": {"test": {"accuracy": 0.93, "worst_group_accuracy": 0.9}},
}
EVALUATION: dict[str, Any] = {
    "dataset": "ds_1",
    "dataset_name": "birds",
    "n": 1200,
    "groups": "labelled",
    "smallest_group": 60,
    "accuracy": 0.92,
    "worst_group_accuracy": 0.61,
    "low": 0.48,
    "high": 0.73,
    "created_at": AT,
    "job": "job_1",
}
JUDGEMENT = {"job": "job_3", "verdict": JOB["verdict"], "evaluation": EVALUATION, "ended_at": AT}
JUDGE = {"job": "job_1", "module": "block2", "created_at": AT}
BROKEN = {
    "status": "broken",
    "answers": 40,
    "errors": 9,
    "noticed_at": AT,
    "max_risk": 0.05,
    "risk_confidence": 0.95,
    "answers_to_notice": 383,
}
"""A promise that the audit sample refutes."""
ALIAS = {
    "name": "best",
    "model": "mdl_2",
    "version": 2,
    "updated_at": AT,
    "history": [{"version": 2, "model": "mdl_2", "at": AT}],
}
KEY: dict[str, Any] = {
    "id": "key_1",
    "name": "line",
    "owner": "alice",
    "scopes": ["read", "predict"],
    **CREATED,
    "revoked_at": None,
}
WEBHOOK: dict[str, Any] = {
    "id": "whk_1",
    "url": "https://hooks.example/m",
    "events": ["job.failed"],
    "description": "chat",
    **CREATED,
    "disabled_reason": "the receiver answered 410 Gone",
}
DELIVERY: dict[str, Any] = {
    "id": "msg_1",
    "type": "job.failed",
    "data": {"id": "job_1"},
    **CREATED,
    "attempts": 2,
    "next_attempt_at": AT,
    "last_status": 503,
    "last_error": "the answer was 503",
}
CHANGE: dict[str, Any] = {
    "id": "aud_1",
    **CREATED,
    "actor": "key_1",
    "actor_name": "line",
    "action": "set_alias",
    "object": "best",
    "status": 200,
    "request_id": "r-1",
    "address": "192.0.2.7",
}
ANSWER: dict[str, Any] = {
    "model": "mdl_2",
    "predictions": [
        {"decision": "answer", "label": "a", "score": 0.9, "candidates": [{"label": "a", "probability": 0.9}]}
    ],
    "selection": {
        "policy": "max_risk",
        "requested": 0.05,
        "status": "certified",
        "threshold": 0.7,
        "calibration": {
            "id": "cal_1",
            "n": 216,
            "n_answered": 200,
            "n_errors": 1,
            "coverage": 0.93,
            "risk": 0.005,
            "risk_upper": 0.05,
        },
    },
}
PROMISES: list[dict[str, Any]] = [
    {"label": "a", "statement": "risk", "requested": 0.1, "status": "certified", "threshold": 0.6}
    | {"n": 120, "n_answered": 100, "n_errors": 2},
    {"label": "b", "statement": "risk", "requested": 0.1, "status": "too_few", "n": 12}
    | {"n_answered": 0, "n_errors": 0, "needed": 1031},
    {"label": "a", "statement": "missed", "requested": 0.1, "status": "certified", "threshold": 0.0}
    | {"n": 100, "n_errors": 3},
    {"label": "b", "statement": "missed", "requested": 0.1, "status": "too_few", "n": 50, "n_errors": 0},
]
ANSWER_BY_CLASS: dict[str, Any] = ANSWER | {
    "predictions": [
        ANSWER["predictions"][0] | {"labels": ["a", "b"]},
        {"decision": "abstain", "label": None, "abstain_reason": "no_certified_threshold", "score": 0.8}
        | {"labels": []},
    ],
    "selection": ANSWER["selection"]
    | {"policy": "by_class", "status": "partly_certified", "threshold": None, "promises": PROMISES}
    | {
        "sets": {"coverage": 0.9, "samples_at_least": 9, "always": ["b"]}
        | {"lowest": {"label": "a", "n": 20, "coverage": 0.784}}
    },
}
"""With promises by class, of which two are not certified, and with label sets."""
CURVE: dict[str, Any] = {
    "model": "mdl_2",
    "score_name": "max_softmax",
    "n": 216,
    "aurc": 0.01,
    "confidence": 0.95,
    "points": [
        {"threshold": 0.7, "coverage": 0.5, "risk": 0.02, "n_answered": 108, "n_errors": 2}
        | {"low": 0.01, "high": 0.04, "band_low": 0.0, "band_high": 0.09}
    ],
    "statement": "after looking only the band holds",
    "table": {
        "policy": "max_risk",
        "requested": 0.05,
        "status": "certified",
        "threshold": 0.7,
        "max_risk": 0.05,
        "risk_confidence": 0.99,
        "groups": [
            {"group": "dark", "n": 20, "n_answered": 10, "n_errors": 0, "coverage": 0.5, "risk": 0.0}
            | {"risk_upper": 0.37, "verdict": "too_few"}
        ],
        "group_coverage_ratio": 0.5,
    },
}
MIX: dict[str, Any] = {
    "minority_share": 0.3,
    "n_lacking": 20,
    "n_rest": 196,
    "points": [{"threshold": 0.7, "coverage": 0.4, "risk": 0.125}],
    "statement": "an estimate, not a certificate",
}
DRIFT: dict[str, Any] = {
    "model": "mdl_2",
    "calibration": "cal_1",
    "days": 2,
    "served": {"inputs": 30, "answered": 15, "coverage": 0.5},
    "tests": [
        {
            "name": "disagreement",
            "calibration": {"k": 1, "n": 100, "share": 0.01},
            "deployed": {"k": 9, "n": 10, "share": 0.9},
            "p_value": 1e-9,
            "p_adjusted": 4e-9,
            "drifted": True,
        }
    ],
    "alpha": 0.01,
    "status": "drifted",
    "certificate_trusted": False,
    "statement": "its certificates should not be trusted any more",
}
DRIFTED = {"status": "drifted", "found_at": AT}
STORAGE: dict[str, Any] = {
    "free": 2_000_000_000,
    "kinds": {"models": 900_000, "exports": 100_000},
    "largest": {"mdl_1": 500_000},
    "removable": {"resumable_jobs": 0, "unnamed_models": 400_000, "caches": 100_000},
}
