"""Sentences by what they depend on, for every value that it can have."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args

from masktune import Calibration, Model, OwnKey, RiskCoverage, Selection
from masktune.contract import models
from masktune.contract.jobs import JobVerdict
from masktune.contract.report import Report, accuracy, groups, judged_job
from masktune.contract.report.curves import reject_chart
from masktune.contract.report.recommendation import RecommendationReason
from masktune.contract.report.text import (
    answers,
    certificates,
    drift,
    judged_job_notes,
    names,
    notes,
    verdict,
)
from masktune.contract.report.text.groups import groups_agreements, groups_lead
from masktune.contract.report.text.next_steps import next_steps, recommendation_reason
from masktune.contract.report.text.promise import promise_statement
from masktune.contract.serving.prediction_table import JobDrift, PredictionCounts
from masktune.contract.serving.predictions import ClassPromise, PredictionSets
from masktune.contract.serving.reject_option import DriftLook
from models.evaluation.verdict import decide
from tests.golden_texts.sections import (
    CONTROL,
    ERM,
    MASKTUNE,
    SIGNS,
    Json,
    N,
    equal_models,
    judged_sections,
    recommendation,
)
from tests.support.answers import CURVE, MODEL, PROMISES
from tests.support.reports import early_stage_groups, evidence, report
from web.text import labels
from web.text.selection import statement

Rows = Iterator[tuple[str, str]]
AT = datetime(2026, 11, 3, 10, 15, tzinfo=UTC)


def _report(*, grouped: bool = True, decision: Json | None = None, **sections: Any) -> Report:
    """All models are equally good; `decision` changes the verdict, its `difference` the one that decides."""
    value, changes = equal_models(groups=grouped), dict(decision or {})
    value["verdict"]["deciding_difference"] |= changes.pop("difference", {})
    value["verdict"] |= changes
    return Report.model_validate(value | sections)


def _verdict(**sections: Any) -> str:
    decision = verdict(_report(**sections))
    return f"{{{decision.tone}}} {decision.title}. {decision.sentence}"


def _names_of_models() -> Rows:
    """In a table, in a sentence, beside other models, and what each is."""
    for arm in names.ARMS:
        texts = names.ARM_NAMES[arm], names.within_sentence(arm), names.model_name(arm)
        yield arm, " | ".join((*texts, names.ARM_DESCRIPTIONS[arm]))


def _titles_of_verdicts() -> Rows:
    for b in (CONTROL, ERM):
        for name, columns in itertools.product(get_args(accuracy.VerdictName), ([], ["site", "camera"])):
            decision = JobVerdict(verdict=name, a=MASKTUNE, b=b, hurt_by_columns=columns)
            tone, title = names.verdict_title(decision)
            yield f"{name}, against {b}{', columns' if columns else ''}", f"{{{tone}}} {title}"
    for columns in ([], ["site"]):
        helped = JobVerdict(verdict="helped", a=MASKTUNE, b=CONTROL, beaten_by=ERM, hurt_by_columns=columns)
        tone, title = names.verdict_title(helped)
        yield f"helped, worse than {ERM}{', columns' if columns else ''}", f"{{{tone}}} {title}"


def _verdicts_between_plain_training_and_control() -> Rows:
    standings = get_args(accuracy.Standing)[:3]
    for erm, control in itertools.product(standings, standings):
        verdict_name = decide([control, erm], by_groups=True)
        decision = {"verdict": verdict_name, "against_erm": erm, "against_control": control}
        yield f"{erm} plain training, {control} its control", _verdict(decision=decision)
    yield "a control that costs", _verdict(decision={"verdict": "helped", "control_cost": 0.084})


def _verdicts_that_are_not_testable() -> Rows:
    for reason in get_args(accuracy.NotTestableReason):
        for counted, n_subjects in (("images", None), ("subjects", 100)):
            decision = {"verdict": "not_testable", "reason": reason, "difference": {"n_subjects": n_subjects}}
            # The models that guess are named instead, in the report `guessing`.
            if reason != "not_above_chance" and (reason, counted) != ("few_subjects", "images"):
                yield f"{reason}, {counted}", _verdict(grouped=False, decision=decision)


def _verdicts_on_what_may_be_harm() -> Rows:
    decision: Json = {"verdict": "not_testable", "reason": "shortcut_or_harm"}
    shift = {"evidence": "some", "rule": "", "signs": SIGNS}
    yield "test images unlike validation", _verdict(decision=decision, shortcut_reliance=shift)
    metrics = equal_models()["metrics"]
    metrics["test"][MASKTUNE]["balanced_accuracy"] = 0.81
    yield "another mean over classes", _verdict(grouped=False, decision=decision, metrics=metrics)
    decision["seeds"] = [{"seed": 7, "estimate": -0.2}, {"seed": 8, "estimate": -0.1}]
    yield "over seeds", _verdict(decision=decision | {"difference": {"estimate": -0.15}})


def _certificates_of_reports() -> Rows:
    value = evidence(report(n=N))
    of_arm = value["certificates"][MASKTUNE]
    first = of_arm["targets"][0] | {"status": "certified", "coverage": 0.8}
    for statuses in ("not_certifiable not_certifiable", "not_certifiable certified certified", ""):
        joint = [first["simultaneous"] | {"status": status, "coverage": 0.6} for status in statuses.split()]
        of_arm["targets"] = [
            first | {"max_risk": risk, "simultaneous": one}
            for risk, one in zip((0.01, 0.02, 0.05), joint or [None], strict=False)
        ]
        yield statuses or "of before there were any", answers(Report.model_validate(value))[-1].answer
    certified = Report.model_validate(value).certificates[MASKTUNE]
    for n_subjects in (None, 100, N):
        counted = certified.model_copy(update={"n_subjects": n_subjects})
        yield f"{n_subjects} subjects", notes.calibration_samples(counted)


def _answers_on_training_images() -> Rows:
    value = report(n=N)
    yield from answers(Report.model_validate(value | {"metrics": {"train": value["metrics"]["test"]}}))


def _reasons_of_a_recommendation() -> Rows:
    for reason in get_args(RecommendationReason):
        for b in (CONTROL, ERM):
            section = recommendation(MASKTUNE, reason)
            yield f"{reason}, against {b}", recommendation_reason(_report(decision={"b": b}, **section))
    section = recommendation(MASKTUNE, "groups_inferred")
    for name in get_args(accuracy.VerdictName):
        decision = {"verdict": name}
        yield f"groups_inferred, {name}", recommendation_reason(_report(decision=decision, **section))


def _groups_of_a_last_layer() -> Rows:
    section = early_stage_groups("stages_agree").model_dump() | {"source": "cross_mistakes", "details": {}}
    yield "cross_mistakes, divided", groups_lead(groups.MistakeGroups.model_validate(section))
    shares = [
        {"n": n, "correct": correct, "accuracy": correct / n if n else 0.0, "low": 0.0, "high": 1.0}
        for correct, n in ((12, 16), (12, 20), (0, 0))
    ]
    compared: dict[str, Any] = {
        "label_precision": {"a": shares[0], "b": shares[2]},
        "label_recall": {"a": shares[1], "b": shares[1]},
    }
    yield "beside labels", " ".join(groups_agreements(early_stage_groups("opened", **compared)))
    for smallest in (None, 9, 10):
        labelled = section | {"source": "labels", "details": {"smallest": smallest}, "inferred": False}
        lead = groups_lead(groups.LabelledGroups.model_validate(labelled))
        yield f"labels, {smallest} in the smallest", lead
    for reason in get_args(groups.GroupReason):
        section = early_stage_groups(reason, divided=False).model_dump()
        undivided = _report(groups=section, **recommendation(ERM, "no_minority"))
        yield f"{reason}, undivided", recommendation_reason(undivided)
        yield f"{reason}, divided", groups_lead(early_stage_groups(reason))


def _images_that_judge_a_job() -> Rows:
    one, none = {"images": 1, "same_image": 1, "paths": ["a/1.png"]}, {"images": 0, "same_image": 0}
    for reason in get_args(judged_job.UndecidedReason):
        sections = judged_sections("undecided", MASKTUNE, undecided=reason, left_out=one, breaks_pattern=True)
        yield reason, " ".join(judged_job_notes(_report(**sections)))
    few = judged_sections("undecided", MASKTUNE, undecided="few_images", more={"0-4": 120}, left_out=none)
    of_subjects = {"difference": {"n_subjects": 100}}
    yield "few_images, subjects", " ".join(judged_job_notes(_report(decision=of_subjects, **few)))
    rows = ("confirmed", MASKTUNE, MASKTUNE), ("changed", CONTROL, MASKTUNE), ("changed", MASKTUNE, CONTROL)
    for outcome, before, now in (*rows, ("undecided", None, ERM)):
        judged = _report(**judged_sections(outcome, before), **recommendation(now, "new_images"))
        reason = " ".join((recommendation_reason(judged), *judged_job_notes(judged)))
        yield f"{outcome}, from {before} to {now}", reason
    weak = {"name": "0-4 with square", "accuracy": 0.42, "train": {}}
    advice = recommendation(MASKTUNE, "new_images", weak_group=weak)
    yield "weak group", next_steps(_report(**judged_sections("undecided", MASKTUNE), **advice))[0].sentence


def _drift() -> Rows:
    """In a list, before an answer, and on the model's page."""
    look, tests = DriftLook(at=AT, inputs=500, level=0.01), ["surest_50", "surest_80", "disagreement"]
    earlier: Json = {"found_at": AT, "acknowledged_at": AT, "acknowledged_by": "user:ada"}
    for status in get_args(models.DriftStatus):
        for name, fields in ((status, {}), (f"{status}, found earlier", earlier)):
            state = models.DriftState(status=status, **fields)
            sentence = drift.drift_statement(state, look, tests, open_inputs=30, window_inputs=200)
            yield name, f"{drift.drift_name(state)} | {drift.drift_warning(state)} | {sentence}"
    yield "no calibration", drift.drift_name(None) + drift.drift_warning(None)


def _what_a_predict_job_counts() -> Rows:
    """The coverage that was requested and reached, and whether the images are like the calibration split."""
    counts = PredictionCounts(answered=213, abstained=87, coverage=0.71)
    for requested in (None, 0.9):
        yield f"coverage {requested}", certificates.coverage_statement(counts, requested)
    share = {"k": 1, "n": 2, "share": 0.5}
    found: Json = {"calibration": share, "deployed": share, "p_value": 0.0, "p_adjusted": 0.0}
    tests = [found | {"name": name, "drifted": True} for name in ("surest_50", "surest_80", "disagreement")]
    for status in get_args(models.DriftStatus):
        look = {"status": status, "inputs": 1233, "level": 0.01, "tests": tests}
        yield status, drift.job_drift_statement(JobDrift.model_validate(look))


def _promises_of_a_review_policy() -> Rows:
    figures: Json = {"answers": 120, "errors": 4, "max_risk": 0.05, "risk_confidence": 0.95}
    later: Json = {"left_out": 5, "skipped": 1, "deleted": 2, "recent_errors": 3, "answers_to_notice": 90}
    later |= {"judged_at": AT, "noticed_at": AT, "lost": 7, "full_since": AT}
    for status in get_args(models.PromiseStatus):
        for fields in ({}, {"answers_to_notice": 300, "noticed_at": AT}, later):
            promise = models.Promise.model_validate(figures | {"status": status} | fields)
            yield status, promise_statement(promise)


def _certificates_of_answers() -> Rows:
    calibration = Calibration(id="cal_1", n=216, n_answered=0, n_errors=0, coverage=0, risk_confidence=0.95)
    for needed, best in ((640, 0.04), (None, None)):
        figures: Json = {"requested": 0.001, "samples_needed": needed, "best_certifiable_risk": best}
        refused = Selection(status="not_certifiable", calibration=calibration, **figures)
        yield f"{needed} samples needed", certificates.uncertified(refused)
    for n_subjects in (None, 100):
        yield f"certified, {n_subjects} subjects", certificates.certified(0.05, 0.99, n_subjects)
    promises = [ClassPromise.model_validate(promise) for promise in PROMISES]
    for count in (4, 1, 0):
        yield f"{count} classes", " ".join(certificates.certified_promises(promises[:count], 0.95))
    for always, lowest in (([], None), (["b"], {"label": "a", "n": 20, "coverage": 0.784})):
        figures = {"coverage": 0.9, "samples_at_least": 9, "always": always, "lowest": lowest}
        sets = PredictionSets.model_validate(figures)
        yield f"label sets with {len(always)} always", certificates.sets_statement(sets)
    for imported in (False, True):
        yield (
            "imported" if imported else "never calibrated",
            certificates.uncalibrated("mdl_9", imported=imported),
        )


def _thresholds_of_a_curve() -> Rows:
    coverage = {"policy": "coverage", "requested": 0.5, "status": "target_coverage"}
    refused = {"status": "not_certifiable", "samples_needed": 640, "best_certifiable_risk": 0.04}
    for fields, count in ((coverage, 1), ({}, 1), (refused, 0), (coverage, 0)):
        curve = RiskCoverage.model_validate(CURVE | {"table": CURVE["table"] | fields})
        point = curve.points[0] if count else None
        yield f"{curve.table.status}, {count} points", statement(curve.table, point, curve)
        yield "its chart", reject_chart(curve, point).title


def _words_of_the_dashboard() -> Rows:
    for masking in ({"sigmas": 2.0}, {"sigmas": "auto"}, {"share": 0.1, "method": "random"}):
        yield "mask", labels.job_description("mask", {"masking": {"method": "xgradcam"} | masking})
    for fields in ({"split": "test"}, {"split": "all"}, {"split": "val", "max_risk": 0.05}):
        yield "predict", labels.job_description("predict", {"output": "csv"} | fields)
    yield "erm", labels.job_description("erm", {"epochs": 3})
    model = Model.model_validate(MODEL | {"id": "mdl_01abcdef", "dataset": "ds_1", "job": "job_1"})
    yield "a model", labels.model_label(model, {"ds_1": "birds"}, {"job_1": "MaskTune helped"})
    yield "a named model", labels.model_label(model.model_copy(update={"name": "pilot"}), {}, {})
    keys = OwnKey(id="key_1", name="line 1", scopes=[]), OwnKey(id="user:alice", name="alice", scopes=[])
    for own in (*keys, OwnKey(scopes=["admin"])):
        yield f"visitor {own.id}", labels.visitor(own)


_SECTIONS = (
    _names_of_models, _titles_of_verdicts, _verdicts_between_plain_training_and_control,
    _verdicts_that_are_not_testable, _verdicts_on_what_may_be_harm,
    _certificates_of_reports, _answers_on_training_images, _reasons_of_a_recommendation,
    _groups_of_a_last_layer, _images_that_judge_a_job, _drift, _promises_of_a_review_policy,
    _what_a_predict_job_counts, _certificates_of_answers, _thresholds_of_a_curve, _words_of_the_dashboard,
)  # fmt: skip


def sentences() -> Iterator[tuple[str, str]]:
    """The rows of each section, a line each."""
    for section in _SECTIONS:
        rows = (f"{name}: {text}".rstrip() for name, text in section())
        yield section.__name__.strip("_").replace("_", " "), "\n".join(rows)
