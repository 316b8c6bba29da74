"""Parts of the dashboard's pages, drawn from what the API answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from masktune import (
    Alias,
    Answer,
    CalibrationRef,
    ComparedModel,
    Comparison,
    Dataset,
    Drift,
    GroupTable,
    ImageSaliency,
    Job,
    Model,
    PatternJudgeRef,
    PredictionRow,
    Sample,
)
from tests.support import answers
from tests.support.answers import ANSWER, ANSWER_BY_CLASS, AT, DRIFTED
from tests.support.reports import evidence, report
from web.pages.try_it import TrialImage
from web.text import labels
from web.text.selection import ScoredSample

Json = dict[str, Any]
Drawings = Iterator[tuple[str, Mapping[str, Any]]]
"""Templates, each with what it is filled with."""
HOSTILE = "St. <b>Mary</b> & Co"


def _predictions() -> Drawings:
    answered = {"row": 3, "path": "a/3.png", "decision": "answer", "predicted": "cat", "score": 0.9}
    answered |= {"pattern": "dog", "labels": ["cat", "dog"]}
    candidates = [{"label": "cat", "probability": 0.6}, {"label": "dog", "probability": 0.4}]
    abstained = answered | {"row": 5, "decision": "abstain", "predicted": None, "labels": None}
    abstained |= {"label": "dog", "agreement": False, "unlike_training": True, "candidates": candidates}
    cut = {"row": None, "path": "cut.png", "decision": "unreadable", "reason": "truncated: it ends early"}
    for rows in ((answered, abstained, cut), ()):
        predictions = [PredictionRow.model_validate(row) for row in rows]
        yield "predictions", {"rows": predictions, "dataset": "ds_1", "model": "mdl_1"}


def _drift() -> Drawings:
    for status in get_args(Drift.model_fields["status"].annotation):
        trusted = {"drifted": False, "no_sign_of_drift": True}.get(status)
        fields = {"status": status, "tests": [], "certificate_trusted": trusted}
        served = answers.DRIFT["served"] | {"independent": None if trusted else 3}
        yield "drift", {"drift": Drift.model_validate(answers.DRIFT | fields | {"served": served})}
        state = {"drift": {"status": status, "found_at": AT}}
        model = Model.model_validate(answers.MODEL | state)
        yield "models", {"models": [model], "aliases_of": {}, "names": {}, "is_filtered": False}
        yield "models_title", {"aliases": [Alias.model_validate(answers.ALIAS | state)]}


def _answers() -> Drawings:
    """Of drifted inputs; of an image that is unlike the training images, also where nothing is certified; and
    by class."""
    drifted = ANSWER | {"selection": ANSWER["selection"] | {"drift": DRIFTED}}
    unlike = {"unlike_training": {"distance": 0.61, "threshold": 0.2, "unlike": True}}
    abstains = {"decision": "abstain", "label": None, "abstain_reason": "unlike_training", "score": 0.9}
    both = ANSWER | {"predictions": [one | unlike for one in (ANSWER["predictions"][0], abstains)]}
    refused = both | {"selection": ANSWER["selection"] | {"status": "not_certifiable"}}
    for document in (drifted, both, refused, ANSWER_BY_CLASS):
        answer, image = Answer.model_validate(document), TrialImage("a.png")
        for prediction in answer.predictions:
            yield "answer", {"answer": answer, "prediction": prediction, "maps": [], "image": image}
    pictures = dict.fromkeys(("overlay", "image", "heatmap", "mask", "mask_outline"), "data:,")
    looked = {"label": "cat", "target": "cat", "size": (1, 1), "map": [[1.0]], "masked_share": 0.043}
    map_of_erm = (labels.arm("erm"), ImageSaliency.model_validate(looked | pictures))
    answer = Answer.model_validate(ANSWER)
    shown = {"answer": answer, "prediction": answer.predictions[0], "image": TrialImage("a.png")}
    for arm, maps in (("masktune", [map_of_erm]), ("masktune", []), ("retrained", [map_of_erm])):
        yield "answer", shown | {"maps": maps, "arm": arm}


def _model() -> Drawings:
    for judge in (PatternJudgeRef.model_validate(answers.JUDGE), None):
        yield "model_figures", {"m": Model.model_validate(answers.MODEL), "judge": judge}
    for threshold in (0.2, None):
        calibration = CalibrationRef(id="cal_1", n=10, unlike_threshold=threshold)
        yield "reject_title", {"n": 10, "calibration": calibration}
    row = answers.CURVE["table"]["groups"][0]
    rows = [row | {"verdict": "bound_below"}, row, row | {"needed": 1034}]
    plain = {"requested": 0.4, "status": "certified", "risk_confidence": 0.99}
    coverage = {"policy": "coverage", "groups": [row]}
    for fields in (coverage, {"policy": "max_risk", "max_risk": 0.4, "threshold": 0.9, "groups": rows}):
        table = GroupTable.model_validate(plain | fields)
        yield "reject_groups", {"table": table}
        bundle = "/files/m?format=bundle&max_risk=0.05"
        yield "reject_facts", {"table": table, "point": None, "statement": "", "bundle": bundle}


def _dataset(**fields: Any) -> Dataset:
    plain: Json = {"splits": {"train": 90, "test": 30}, "classes": [], "groups": [], "report": None}
    return Dataset.model_validate(answers.DATASET | plain | fields)


def _datasets() -> Drawings:
    columns = [{"column": "patient", "read_as": "subject"}, {"column": "notes", "read_as": "ignored"}]
    columns[1]["detail"] = "its name begins with no meta:"
    leak = {"code": "subject_in_two_splits", "detail": "patients in more than one split", "tone": "bad"}
    import_report = {"count": 120, "columns": columns, "rejected_total": 2}
    import_report["notes"] = [leak, {"code": "small_images", "detail": "a few are small"}]
    import_report["duplicates_by_code"] = {"in_two_splits": 1, "duplicates": 1, "conflicting_labels": 1}
    twice: Json = {"paths": [HOSTILE, "b.png"], "splits": ["train"] * 2, "labels": ["a", "b"], "more": 7}
    import_report["duplicates"] = [twice | {"codes": ["duplicates", "conflicting_labels"]}]
    import_report["classes"] = {"train": {"a": 50, "b": 40}, "test": {"a": 10, "b": 20}}
    site = {"name": "site", "kind": "text", "distinct": 3, "missing": 2}
    site["most_frequent"] = [{"text": HOSTILE, "n": 70}, {"text": "Berlin", "n": 40}]
    age = {"name": "age", "kind": "number", "distinct": 40, "missing": 0, "low": 3, "high": 20250101.5}
    whole = _dataset(classes=["a", "b"], report=import_report, metadata_columns=[site, age])
    many: Json = {"classes": [str(n) for n in range(61)], "report": {"columns": columns[:1]}}
    many["groups"] = [{"name": "on land", "n": 7, "splits": {"train": 4, "test": 3}}]
    many |= {"subjects": 12, "split_subjects": {"train": 9, "test": 3}, "subject_word": "patient"}
    check = evidence(report())["properties"]
    unjudged = check | {"strength": "none", "sentence": "Nothing was judged: too few.", "n": 0}
    unjudged |= {"findings": [], "metadata": None}
    reports = [{"shortcuts": shortcuts} for shortcuts in (unjudged, check, check | {"metadata": None})]
    unlabelled = _dataset(labelled=False, splits={}, report={"count": 7, "rejected_total": 1})
    for dataset in (whole, _dataset(**many), unlabelled, *(_dataset(report=one) for one in reports)):
        yield "dataset_report", {"d": dataset, "splits": list(dataset.splits)}
        yield "datasets", {"datasets": [dataset]}
    assert whole.report is not None
    yield "dataset_warning", {"notes": whole.report.notes[:1]}
    problems = ("there is one class only", "too " + "long " * 40, HOSTILE)
    reasons: list[Json | None] = [
        {"problems": [{"code": "x", "detail": problem}] * 2} for problem in problems
    ]
    for reason in (*reasons, {"error": {"detail": "the disk is full"}}, None):
        yield "datasets", {"datasets": [_dataset(state="invalid", report=reason, splits={})]}


def _samples() -> Drawings:
    guess = {"job": "job_1", "pattern": "cat", "lacks_pattern": True, "label_doubt": 0.8}
    guess |= {"label_looks_wrong": True}
    unknown = guess | {"pattern": None, "lacks_pattern": None, "label_looks_wrong": False}
    known = {"subject": "p07", "metadata": {"site": HOSTILE, "age": 63.0, "scanner": None}}
    for fields in (known | {"needs_png": True}, {"inferred": guess}, {"inferred": unknown}):
        sample = Sample.model_validate(answers.SAMPLE | {"id": 1, "path": "a.png"} | fields)
        query = {"inferred_by": "job_1", "metadata.site": HOSTILE}
        yield "samples", {"dataset": "ds_1", "samples": [sample], "query": query}
        neighbours: Json = {"neighbours": ("0", None), "among": ["0", "1"], "models": []}
        yield "sample", {"d": _dataset(), "s": sample} | neighbours
        yield "image_answers_pick", {"dataset": "ds_1", "sample": sample, "caption": ""}
        yield "image_answers_open", {"dataset": "ds_1", "sample": sample, "among": [1]}
        yield "image_answers_others", {"dataset": "ds_1", "samples": [sample]}
    scored = [(ScoredSample(n, "a", "b", 0.5, needs_png=n == 2), n == 2) for n in (1, 2)]
    yield "strip", {"dataset": "ds_1", "model": "mdl_1", "samples": scored, "abstained": 1}


def _jobs() -> Drawings:
    test = {"test": {"accuracy": 0.96, "worst_group_accuracy": 0.904}}
    plain = answers.JOB | {"params": {"seed": 7}, "metrics": {"erm": {}, "masktune": test}}
    untestable = {"verdict": "not_testable", "a": "masktune", "b": "masktune_control"}
    against_erm = {"verdict": {"verdict": "helped", "a": "masktune", "b": "erm"}}
    unlike = [{"verdict": untestable | {"reason": reason}} for reason in ("shortcut_or_harm", "no_groups")]
    unjudged: Json = {"verdict": None}
    without = unjudged | {"id": "job_2", "kind": "erm", "metrics": {}}
    listed = [plain | fields for fields in ({}, against_erm, *unlike, unjudged, without)]
    jobs = [Job.model_validate(job) for job in listed]
    yield "jobs", {"jobs": jobs, "names": {}, "is_filtered": False}
    yield "jobs", {"jobs": jobs[-1:], "names": {}, "is_filtered": False}
    yield "dataset_jobs", {"jobs": [jobs[0], jobs[4]]}
    yield "dataset_jobs", {"jobs": []}
    for is_filtered in (False, True):
        yield "jobs", {"jobs": [], "names": {}, "is_filtered": is_filtered}
        yield "models", {"models": [], "aliases_of": {}, "names": {}, "is_filtered": is_filtered}
    figures = {"job": "job_1", "split": "test", "n": 1200}
    figures["metrics"] = {"accuracy": 0.75, "worst_group_accuracy": 0.5}
    erm = figures | {"arm": "erm", "to_erm": {}, "inferred_worst_group": 0.25}
    masktune = figures | {"arm": "masktune", "to_erm": {"accuracy": -0.02}}
    models = [ComparedModel.model_validate(one) for one in (erm, masktune)]
    fields: Json = {"optimizer.nesterov": {"job_1": True}}
    fields["schedule.milestones"] = {"job_1": [3, 4], "job_2": []}
    comparison = Comparison(jobs=[jobs[0], jobs[-1]], models=models, fields=fields, notes=["apart!"])
    yield "compare", {"comparison": comparison, "dataset_names": {"ds_1": "birds"}, "left_out": 2}
    for reason in ("a free worker: 1 import runs", None):
        waiting = Job.model_validate(plain | {"state": "queued", "waiting_for": reason})
        yield "importing", {"job": waiting}
        head = {"job": waiting, "stages": [], "connection_error": "", "description": ""}
        yield "job_head", head | {"progress": waiting.progress.model_dump()}


def drawings() -> Drawings:
    for part in (_predictions, _drift, _answers, _model, _datasets, _samples, _jobs):
        yield from part()
