"""Parts of pages, drawn from what the API says."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from masktune import (
    Alias,
    Answer,
    CalibrationRef,
    ComparedModel,
    Comparison,
    Dataset,
    Drift,
    GroupTable,
    Job,
    Model,
    PatternJudgeRef,
    PredictionRow,
    Sample,
    SplitMetrics,
)
from masktune.contract.jobs import JobVerdict
from masktune.contract.report import Report
from masktune.contract.report.shortcut import ShortcutReliance
from masktune.contract.report.text import inferred
from masktune.contract.report.text.answers import EVIDENCE, shortcut_meaning
from tests.support.answers import (
    ALIAS,
    ANSWER,
    ANSWER_BY_CLASS,
    AT,
    CREATED,
    DATASET,
    DRIFT,
    JUDGE,
    MODEL,
    SAMPLE,
)
from tests.support.reports import evidence, report
from web.pages.try_it import TrialImage
from web.shell import render
from web.text import labels
from web.text.selection import ScoredSample


def drawn(template: str, **values: Any) -> str:
    """The template with links that lead nowhere, its spaces made one."""
    return re.sub(r"\s+", " ", render(template, link=lambda path: path, **values))


# --- predictions ------------------------------------------------------------------------------------------


def test_rows_of_a_predict_job_lead_to_their_images_and_unreadable_files_say_why() -> None:
    answered: dict[str, Any] = {
        "row": 3,
        "path": "a/3.png",
        "decision": "answer",
        "predicted": "cat",
        "score": 0.9,
        "pattern": "dog",
        "labels": ["cat", "dog"],
    }
    abstained = answered | {
        "row": 5, "labels": None, "decision": "abstain", "predicted": None, "label": "dog",
        "agreement": False, "unlike_training": True,
        "candidates": [{"label": "cat", "probability": 0.6}, {"label": "dog", "probability": 0.4}],
    }  # fmt: skip
    cut = {"row": None, "path": "cut.png", "decision": "unreadable", "reason": "truncated: it ends early"}
    rows = [PredictionRow.model_validate(row) for row in (answered, abstained, cut)]
    page = drawn("predictions", rows=rows, dataset="ds_1", model="mdl_1")
    assert '<a href="/datasets/ds_1/samples/5?among=3,5&amp;models=mdl_1">' in page
    assert "/files/datasets/ds_1/samples/3/image?as=png&amp;side=256" in page
    assert "score 0.900" in page
    for text in ("<b>abstained</b>", "likeliest: cat", "class: dog", "ERM disagrees", "may be: cat or dog"):
        assert text in page
    assert page.count(">unlike the training images<") == 1
    assert page.count(">pattern of dog<") == 1  # of what was answered
    assert '<b>unreadable</b></span> <span class="quiet">cut.png: truncated: it ends early</span>' in page
    assert page.count("<img") == 2
    assert "No rows match" in drawn("predictions", rows=[], dataset="ds_1", model="mdl_1")


# --- drift --------------------------------------------------------------------------------------------


def drift(status: str) -> Drift:
    trusted = {"drifted": False, "no_sign_of_drift": True}.get(status)
    return Drift.model_validate(DRIFT | {"status": status, "tests": [], "certificate_trusted": trusted})


@pytest.mark.parametrize(
    ("status", "tone", "badge"),
    [
        ("drifted", "bad", "certificates may not be trusted"),
        ("no_sign_of_drift", "good", "certificates may be trusted"),
        ("too_few", "unsure", "not known whether certificates may be trusted"),
    ],
)
def test_a_model_that_drifted_is_shown_as_such(status: str, tone: str, badge: str) -> None:
    page = drawn("drift", drift=drift(status))
    assert f'<div class="callout {tone}">' in page
    assert f'<span class="badge {tone}">{badge}</span>' in page


def test_drift_says_how_many_inputs_its_tests_count() -> None:
    report = drift("no_sign_of_drift")
    assert "of them count" not in drawn("drift", drift=report)
    served = report.served.model_copy(update={"independent": 3})
    page = drawn("drift", drift=report.model_copy(update={"served": served}))
    assert "For drift, 3 of them count, one a day of each subject." in page


WARNING = "The inputs of this model differ from its calibration split, found on 3 Nov 2025, "


@pytest.mark.parametrize("status", get_args(Drift.model_fields["status"].annotation))
def test_an_answer_begins_with_a_warning_once_drift_is_found(status: str) -> None:
    state = {"status": status, "found_at": AT}
    answer = Answer.model_validate(ANSWER | {"selection": {"status": "certified", "drift": state}})
    image = TrialImage("a.png")
    page = drawn("answer", answer=answer, prediction=answer.predictions[0], maps=[], image=image)
    drifted = status == "drifted"
    assert (WARNING in page, "but the inputs drifted" in page) == (drifted, drifted)
    if drifted:
        assert page.index(f'<div class="callout bad" role="alert"><p>{WARNING}') < page.index("answered")


def test_models_and_aliases_say_in_a_list_that_inputs_drifted() -> None:
    badge = '<span class="badge bad">inputs drifted</span>'
    for status, shown in (("drifted", True), ("no_sign_of_drift", False)):
        state = {"status": status, "found_at": AT}
        model = Model.model_validate(MODEL | {"drift": state})
        alias = Alias.model_validate(ALIAS | {"drift": state})
        assert (badge in drawn("models", models=[model], aliases_of={}, names={}, is_filtered=False)) == shown
        assert (badge in drawn("models_title", aliases=[alias])) == shown


@pytest.mark.parametrize("inferred", [True, False])
def test_a_model_that_knows_patterns_names_the_job_that_inferred_them(inferred: bool) -> None:
    judge = PatternJudgeRef.model_validate(JUDGE) if inferred else None
    page = drawn("model_figures", m=Model.model_validate(MODEL), judge=judge)
    told = "Says of a new image which class's pattern it shows: inferred by job"
    assert (f'{told} <span class="mono">job_1</span>' in page) is inferred


def test_every_drift_status_has_a_tone() -> None:
    assert set(get_args(Drift.model_fields["status"].annotation)) <= labels.TONES.keys()


# --- groups at a threshold ------------------------------------------------------------------------------


def test_a_bundle_is_offered_with_the_threshold_that_is_shown() -> None:
    table = {"policy": "max_risk", "requested": 0.05, "status": "certified", "threshold": 0.9}
    shown = GroupTable.model_validate(table | {"risk_confidence": 0.99, "groups": []})
    page = drawn(
        "reject_facts", table=shown, point=None, statement="", bundle="/files/m?format=bundle&max_risk=0.05"
    )
    assert '<a class="button second" href="/files/m?format=bundle&amp;max_risk=0.05">Bundle' in page


def groups(**table: Any) -> str:
    row = {"group": "dark", "n": 20, "n_answered": 10, "n_errors": 0, "coverage": 0.5, "risk": 0.0}
    asked = {"policy": "coverage", "requested": 0.5, "status": "target_coverage", "risk_confidence": 0.99}
    rows = [row | {"risk_upper": 0.37, "verdict": table.pop("verdict", None)}]
    return drawn("reject_groups", table=GroupTable.model_validate(asked | table | {"groups": rows}))


def test_groups_are_judged_only_against_a_requested_risk() -> None:
    plain = groups()
    assert "compared with" not in plain
    assert "Within the risk?" not in plain
    judged = groups(policy="max_risk", max_risk=0.4, verdict="bound_below")
    assert "compared with a risk of 40.0 %" in judged
    assert "not for all rows at once" in judged
    assert "✓ yes" in judged


def test_a_group_that_is_too_small_says_how_many_more_images_it_takes() -> None:
    row = groups(policy="max_risk", max_risk=0.1, verdict="too_few")
    assert "too few samples</td>" in row
    needed = {"group": "dark", "n": 20, "n_answered": 10, "n_errors": 0, "coverage": 0.5, "risk": 0.0}
    needed |= {"risk_upper": 0.37, "verdict": "too_few", "needed": 1034}
    table = {"policy": "max_risk", "requested": 0.1, "max_risk": 0.1, "status": "certified"}
    page = drawn(
        "reject_groups",
        table=GroupTable.model_validate(table | {"risk_confidence": 0.99, "groups": [needed]}),
    )
    assert "too few samples: 1,034 more needed</td>" in page


# --- promises by class, and label sets --------------------------------------------------------------------


def by_class(number: int) -> str:
    answer = Answer.model_validate(ANSWER_BY_CLASS)
    image = TrialImage("a.png")
    return drawn("answer", answer=answer, prediction=answer.predictions[number], maps=[], image=image)


def test_every_promise_has_a_row_that_says_what_it_takes() -> None:
    page = by_class(0)
    assert '<th scope="row">answers “a” that are wrong</th><td class="number">10.0 %</td>' in page
    assert "too few: 1,031 more would do" in page
    assert "“b” answered as another class" in page
    assert "no: the model errs too often" in page
    assert page.count("✓ yes") == 2
    assert "these thresholds answer 200, 1 of them wrongly" in page


def test_an_answer_of_a_class_without_a_promise_says_why_it_abstains() -> None:
    assert "Nothing can be promised for answers of this class." in by_class(1)


def test_label_sets_are_chips_and_name_the_classes_that_are_in_all_of_them() -> None:
    page = by_class(0)
    assert '<span class="badge">a</span> <span class="badge">b</span>' in page
    assert "true class of at least 90 % of the inputs of each class" in page
    assert "it always names b: fewer than 9 calibration samples each." in page
    assert "none of the classes" in by_class(1)


def test_an_answer_without_them_has_neither() -> None:
    answer = Answer.model_validate(ANSWER)
    page = drawn(
        "answer", answer=answer, prediction=answer.predictions[0], maps=[], image=TrialImage("a.png")
    )
    assert "It may be" not in page
    assert "Promised by class" not in page


FAR = {"distance": 0.61, "threshold": 0.2, "unlike": True}


@pytest.mark.parametrize("status", ["certified", "not_certifiable"])
def test_an_image_that_is_unlike_the_training_images_says_so(status: str) -> None:
    abstains = {"decision": "abstain", "label": None, "abstain_reason": "unlike_training", "score": 0.9}
    told = [one | {"unlike_training": FAR} for one in (*ANSWER["predictions"], abstains)]
    selection = ANSWER["selection"] | {"status": status}
    answer = Answer.model_validate(ANSWER | {"predictions": told, "selection": selection})
    answered, abstained = (
        drawn("answer", answer=answer, prediction=one, maps=[], image=TrialImage("a.png"))
        for one in answer.predictions
    )
    sentence = "The image is unlike the training images."
    assert f"{sentence} With any policy, the model abstains on it." in answered
    assert f"<p>{sentence}</p>" in abstained
    like = answer.predictions[0].model_copy(update={"unlike_training": None})
    assert sentence not in drawn("answer", answer=answer, prediction=like, maps=[], image=TrialImage("a.png"))


@pytest.mark.parametrize(("threshold", "told"), [(0.2, "abstains with any policy"), (None, "cannot tell")])
def test_a_model_page_says_whether_it_can_tell_unlike_images(threshold: float | None, told: str) -> None:
    calibration = CalibrationRef(id="cal_1", n=10, unlike_threshold=threshold)
    assert told in drawn("reject_title", n=10, calibration=calibration)


# --- a data set -----------------------------------------------------------------------------------------

SPLITS = ("train", "val", "calibration", "test")


def dataset(**fields: Any) -> Dataset:
    made = DATASET | {"splits": {"train": 90, "test": 30}, "classes": [], "groups": [], "report": None}
    return Dataset.model_validate(made | fields)


def counts(page: str) -> dict[str, list[str]]:
    """Of each row of the counts, its figures."""
    table = page.partition('aria-label="Counts"')[2].partition("</table>")[0]
    rows = re.findall(r'<tr[^>]*><th scope="row">(.*?)</th>(.*?)</tr>', table)
    return {name: re.findall(r">(\d+)<", figures) for name, figures in rows}


def report_of(d: Dataset) -> str:
    return drawn("dataset_report", d=d, splits=[split for split in SPLITS if d.splits.get(split)])


@pytest.mark.parametrize(("number", "listed"), [(2, True), (60, True), (61, False), (1000, False)])
def test_many_classes_are_counted_but_not_listed(number: int, listed: bool) -> None:
    names = [f"class {n}" for n in range(number)]
    by_class = {split: dict.fromkeys(names, 5) for split in ("train", "test")}
    page = report_of(dataset(classes=names, report={"classes": by_class}))
    found = counts(page)
    assert found.pop("All") == ["90", "30"]
    assert found == ({name: ["5", "5"] for name in names} if listed else {})
    assert (f"{labels.number(number)} classes, not listed." in page) is not listed


def test_groups_are_counted_however_many_classes_there_are() -> None:
    group = {"name": "on land", "n": 7, "splits": {"train": 4, "test": 3}}
    page = report_of(dataset(classes=[str(n) for n in range(61)], groups=[group]))
    assert counts(page) == {"on land": ["4", "3"], "All": ["90", "30"]}
    assert "61 classes, not listed." in page


def test_subjects_are_counted_in_each_split() -> None:
    counted = {"subjects": 12, "split_subjects": {"train": 9, "test": 3}, "report": {"count": 120}}
    for word, name in (("subject", "Subjects"), ("patient", "Patients")):
        page = report_of(dataset(**counted, subject_word=word))
        assert counts(page)[name] == ["9", "3"]
        assert f"<dt>{name}</dt><dd>12</dd>" in page
    assert "Subjects" not in report_of(dataset())


def test_images_without_labels_are_counted_without_classes() -> None:
    page = report_of(dataset(labelled=False, splits={}, report={"count": 7, "rejected_total": 2}))
    assert "<dt>Images</dt><dd>7</dd>" in page
    assert "<dt>Labels</dt><dd>none</dd>" in page
    assert "Classes" not in page
    listing = drawn("datasets", datasets=[dataset(labelled=False, splits={}, report={"count": 7})])
    assert '<td class="number">7</td>' in listing
    assert "no labels" in listing


def test_a_column_says_what_it_was_read_as_and_why_it_was_ignored() -> None:
    columns = [
        {"column": "patient", "read_as": "subject"},
        {"column": "notes", "read_as": "ignored", "detail": "its name begins with no meta:"},
    ]
    page = report_of(dataset(report={"columns": columns}))
    assert '<th scope="row">patient</th><td>subject</td>' in page
    assert "<details open><summary>What the columns" in page  # what was ignored is not folded away
    assert "its name begins with no meta:" in page
    assert "<details><summary>What the columns" in report_of(dataset(report={"columns": columns[:1]}))


def test_a_note_on_what_spoils_the_figures_stands_in_red_and_once() -> None:
    leak = {"code": "subject_in_two_splits", "detail": "patients in more than one split", "tone": "bad"}
    fact = {"code": "small_images", "detail": "a few are small"}
    known = dataset(report={"notes": [leak, fact]})
    assert known.report is not None
    page = report_of(known)
    assert "a few are small" in page
    assert "patients in more" not in page
    warning = drawn("dataset_warning", notes=known.report.notes[:1])
    assert '<div class="callout bad" role="alert">' in warning
    assert "Patients in more than one split." in warning


def test_metadata_has_its_most_frequent_texts_each_a_link_to_its_samples() -> None:
    texts = [{"text": "St. Mary & Co", "n": 70}, {"text": "Berlin", "n": 40}]
    site = {"name": "site", "kind": "text", "distinct": 3, "missing": 2, "most_frequent": texts}
    age = {"name": "age", "kind": "number", "distinct": 40, "missing": 0, "low": 3, "high": 20250101.5}
    page = report_of(dataset(metadata_columns=[site, age]))
    assert '?column=site&amp;cell=St.+Mary+%26+Co">St. Mary &amp; Co</a> 70, ' in page
    assert "Berlin</a> 40 …</td>" in page
    assert "3 to 20250101.5</td>" in page


def test_a_sample_has_its_subject_and_the_metadata_that_it_has() -> None:
    metadata = {"site": "Berlin", "age": 63.0, "scanner": None}
    sample = Sample.model_validate(
        SAMPLE | {"id": 1, "path": "a.png", "subject": "p07", "metadata": metadata}
    )
    page = drawn("samples", dataset="ds_1", samples=[sample], query={})
    assert re.findall(r'quiet" title="(.*?)">', page) == ["test", "subject p07", "site: Berlin", "age: 63"]


def test_accuracies_on_held_out_training_images_are_seen_at_once_and_named_so() -> None:
    right = {"n": 20, "correct": 15, "accuracy": 0.75, "low": 0.6, "high": 0.9}
    part = {"n": 20, "accuracies": {"erm": right, "retrained": right}}
    section = {"decide": True, "model": "mdl_1", "stage": "layer3", "reason": "stages_agree", "splits": {}}
    for held_out in (None, {"n": 40, "lacking": part, "rest": part}):
        told = Report.model_validate(report() | {"inferred_groups": section | {"held_out": held_out}})
        page = drawn("report_inferred", report=told, inferred_text=inferred, notes=[], mix="", chart="")
        at_once, _, folded = page.partition("<details")
        assert ("Held out of training: on the 20 training images" in at_once) is (held_out is not None)
        assert "Held out" not in folded


def test_what_a_job_guessed_of_a_sample_is_marked_as_inferred_wherever_it_is_shown() -> None:
    guess = {"job": "job_1", "pattern": "cat", "lacks_pattern": True, "label_doubt": 0.8}
    fields = SAMPLE | {"id": 1, "path": "a.png", "inferred": guess | {"label_looks_wrong": True}}
    sample = Sample.model_validate(fields)
    query = {"inferred_by": "job_1", "metadata.site": "St. Mary & Co"}
    listed = drawn("samples", dataset="ds_1", samples=[sample], query=query)
    assert '/ds_1/samples?inferred_by=job_1&amp;metadata.site=St.+Mary+%26+Co"' in listed
    alone = drawn("sample", d=dataset(), s=sample, neighbours=("0", None), among=["0", "1"], models=[])
    picked = drawn("review_pick", dataset="ds_1", sample=sample, caption="")
    for page in (listed, alone, picked):
        badges = re.findall('<span class="badge">(.*?)</span>', page)
        assert badges == ["shows the pattern of cat · inferred", "label looks wrong · inferred"]
    for page in (listed, alone, drawn("review_open", dataset="ds_1", sample=sample, among=[1])):
        assert page.count("&amp;inferred_by=job_1") == 1  # in the address of its page, or of the one before
    unknown = guess | {"pattern": None, "lacks_pattern": None, "label_looks_wrong": False}
    sample = Sample.model_validate(fields | {"inferred": unknown})
    assert "badge" not in drawn("samples", dataset="ds_1", samples=[sample], query={})


def test_a_small_picture_is_asked_for_only_where_browsers_cannot_show_the_file() -> None:
    fields = SAMPLE | {"path": "a.tif"}
    listed = [Sample.model_validate(fields | {"id": n, "needs_png": n == 2}) for n in (1, 2)]
    scored = [(ScoredSample(one.id, "a", "b", 0.5, one.needs_png), False) for one in listed]
    image = "/files/datasets/ds_1/samples/{}/image{}"
    for page in (
        drawn("samples", dataset="ds_1", samples=listed, query={}),
        drawn("review_others", dataset="ds_1", samples=listed),
        drawn("strip", dataset="ds_1", model="mdl_1", samples=scored, abstained=0),
    ):
        addresses = [image.format(1, ""), image.format(2, "?as=png&amp;side=256")]
        assert re.findall('src="(.*?)"', page) == addresses
        assert page.count("?among=1,2&amp;models=") == 2


def problem(detail: str) -> dict[str, Any]:
    return {"problems": [{"code": "x", "detail": detail}, {"code": "x", "detail": "another"}]}


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (problem("there is one class only"), "There is one class only."),
        (problem("too " + "long " * 40), "Too " + "long " * 17 + "long..."),
        (problem("<b>"), "&lt;b&gt;."),
        ({"error": {"detail": "the disk is full"}}, "The disk is full."),
        (None, "The import failed."),
    ],
)
def test_the_list_says_why_a_data_set_is_invalid(report: dict[str, Any] | None, said: str) -> None:
    invalid = dataset(state="invalid", report=report, splits={})
    page = drawn("datasets", datasets=[invalid, dataset()])
    assert re.findall(r"<small[^>]*>(.*?)</small>", page) == [said]


def test_an_import_without_findings_is_shown_as_not_judged() -> None:
    seen = {"strength": "none", "sentence": "Nothing was judged: too few images.", "findings": [], "n": 0}
    unjudged = dataset(report={"shortcuts": seen})
    page = report_of(unjudged)
    assert '<div class="callout unsure"> <strong>This could not be judged</strong>' in page
    assert '<span class="badge unsure">not judged</span>' in drawn("datasets", datasets=[unjudged])


def test_what_metadata_tells_is_shown_beside_what_images_tell() -> None:
    check = evidence(report())["properties"]
    page = report_of(dataset(report={"shortcuts": check}))
    images, _, metadata = page.partition("Does the metadata give the classes away?")
    assert "top-left corner" in images
    assert "The metadata column hospital alone tells 0-4 from 5-9" in metadata
    assert "The metadata column file was left out" in metadata
    assert "metadata" not in report_of(dataset(report={"shortcuts": check | {"metadata": None}}))


def test_a_model_that_is_not_testable_is_shown_as_such() -> None:
    answers = [("Does the model rely on a shortcut?", "…")]
    why = "It is no better than a guess."
    words: dict[str, Any] = {"evidence": EVIDENCE, "meaning": shortcut_meaning}
    unknown = ShortcutReliance(evidence="not_testable", reason=why, rule="…", signs=[])
    page = drawn("report_answers", reliance=unknown, answers=answers, **words)
    assert '<div class="callout "> <strong>Not testable here</strong><p>It is no' in page
    unseen = ShortcutReliance(evidence="none_seen", rule="…", signs=[])
    assert '<div class="callout good"> <strong>No sign of a shortcut</strong><p>' in drawn(
        "report_answers", reliance=unseen, answers=answers, **words
    )


@pytest.mark.parametrize(("number", "said"), [(1, "1 file was rejected"), (2, "2 files were rejected")])
def test_rejected_files_are_counted(number: int, said: str) -> None:
    assert said in report_of(dataset(report={"rejected_total": number}))


# --- lists that are empty -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_filtered", "text"), [(False, "No jobs yet."), (True, "No jobs match these filters.")]
)
def test_an_empty_list_says_whether_filters_emptied_it(is_filtered: bool, text: str) -> None:
    assert text in drawn("jobs", jobs=[], names={}, is_filtered=is_filtered)
    models = drawn("models", models=[], aliases_of={}, names={}, is_filtered=is_filtered)
    assert text.replace("jobs", "models") in models


# --- jobs with their verdicts ---------------------------------------------------------------------------


def job(b: str = "masktune_control") -> Job:
    verdict = {"verdict": "helped", "a": "masktune", "b": b}
    test = {"test": {"accuracy": 0.96, "worst_group_accuracy": 0.904}}
    of_job = {"id": "job_1", "kind": "masktune", "state": "succeeded", "params": {"seed": 7}}
    return Job.model_validate(
        of_job | CREATED | {"verdict": verdict, "metrics": {"erm": {}, "masktune": test}}
    )


@pytest.mark.parametrize(
    ("b", "title"), [("masktune_control", "MaskTune helped"), ("erm", "MaskTune is better than ERM")]
)
def test_a_list_of_jobs_has_their_verdicts(b: str, title: str) -> None:
    page = drawn("jobs", jobs=[job(b)], names={}, is_filtered=False)
    assert f'<span class="badge good">{title}</span>' in page


@pytest.mark.parametrize(("reason", "tone"), [("shortcut_or_harm", "unsure"), ("no_groups", "")])
def test_a_verdict_that_may_be_a_lost_shortcut_is_amber_in_a_list_of_jobs(reason: str, tone: str) -> None:
    verdict = JobVerdict.model_validate(
        {"verdict": "not_testable", "reason": reason, "a": "masktune", "b": "masktune_control"}
    )
    page = drawn("jobs", jobs=[job().model_copy(update={"verdict": verdict})], names={}, is_filtered=False)
    assert f'<span class="badge {tone}">Not testable here</span>' in page


def cells(page: str) -> list[str]:
    return [re.sub(r"<[^>]+>", " ", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", page)]


def test_jobs_of_a_data_set_stand_side_by_side() -> None:
    plain = job().model_copy(update={"verdict": None})  # it is about its first model
    page = drawn("dataset_jobs", jobs=[job(), plain])
    helped = ("", "7", "MaskTune", "96.0 %", "90.4 %", "MaskTune helped")
    assert cells(page) == [*helped, "", "7", "ERM", "–", "–", ""]
    assert drawn("dataset_jobs", jobs=[]).strip() == ""


def test_jobs_with_figures_can_be_chosen_for_a_comparison() -> None:
    without = queued("erm", None)
    page = drawn("jobs", jobs=[job(), without], names={}, is_filtered=False)
    assert re.findall(r'name="jobs" value="(.*?)" aria-label="(.*?)"', page) == [
        ("job_1", "Compare MaskTune job_1")
    ]
    assert "<button" in page
    assert "<button" not in drawn("jobs", jobs=[without], names={}, is_filtered=False)


def test_compared_jobs_have_a_table_for_each_data_set_and_one_of_their_fields() -> None:
    test = SplitMetrics(accuracy=0.75, worst_group_accuracy=0.5)
    known = {"job": "job_1", "split": "test", "n": 1200, "metrics": test}
    models = [
        ComparedModel.model_validate(known | {"arm": "erm", "to_erm": {}, "inferred_worst_group": 0.25}),
        ComparedModel.model_validate(known | {"arm": "masktune", "to_erm": {"accuracy": -0.02}}),
    ]
    without = queued("erm", None).model_copy(update={"id": "job_2", "dataset": "ds_1"})
    fields = {"optimizer.nesterov": {"job_1": True}, "schedule.milestones": {"job_1": [3, 4], "job_2": []}}
    comparison = Comparison(jobs=[job(), without], models=models, fields=fields, notes=["apart!"])
    page = drawn("compare", comparison=comparison, dataset_names={"ds_1": "birds"}, left_out=2)
    assert cells(page) == [
        *("ERM", "75.0 %", "–", "–", "25.0 % inferred", "–", "1,200"),
        *("MaskTune", "75.0 %", "−2.0", "–", "50.0 %", "–", "1,200"),
        *("no figures", *["–"] * 6),
        *("yes", "–", "3, 4", "none"),
    ]
    for text in ("apart!", "2 more jobs of this address", ">birds</a></h2>", "Optimizer: nesterov"):
        assert text in page


# --- what waits ---------------------------------------------------------------------------------------


def queued(kind: str, waiting_for: str | None) -> Job:
    return Job.model_validate(
        {"id": "job_1", "kind": kind, "state": "queued", "waiting_for": waiting_for, **CREATED}
    )


@pytest.mark.parametrize(
    ("waiting_for", "text"),
    [("a free worker: 1 import runs", "a free worker: 1 import runs"), (None, "a worker")],
    ids=["told", "of an older service"],
)
def test_a_page_says_what_a_queued_job_waits_for(waiting_for: str | None, text: str) -> None:
    importing, training = queued("import", waiting_for), queued("erm", waiting_for)
    assert f"<h3>Waiting for {text}</h3>" in drawn("importing", job=importing)
    progress = training.progress.model_dump()
    head = drawn("job_head", job=training, stages=[], progress=progress, connection_error="", description="")
    assert f">waiting for {text}</dd>" in head
