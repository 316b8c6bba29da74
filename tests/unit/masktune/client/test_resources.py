"""Every operation: what it asks for, and what it makes of the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx2
import pytest

from masktune import (
    AsyncClient,
    Client,
    DatasetInvalid,
    FullReport,
    JobNotSucceeded,
    NotSent,
    ProblemError,
    UnexpectedAnswer,
    Unreachable,
    WaitedTooLong,
)
from masktune.client import datasets, jobs, keys, models, predict, webhooks
from masktune.client.calls import PATIENCE
from masktune.client.client import get_dependents, get_storage, readiness
from masktune.client.wire import Flow
from models.data.report import DuplicateSet, FileCode, ImportReport, Rejection
from tests.support.answers import (
    ALIAS,
    ANSWER,
    AT,
    BACKBONE,
    CHANGE,
    CURVE,
    DATASET,
    DELIVERY,
    DRIFT,
    FULL_REPORT,
    KEY,
    MODEL,
    SAMPLE,
    STORAGE,
    WEBHOOK,
)
from tests.support.reports import report
from tests.unit.masktune.client.conftest import FAST, Chunks, Runner, Script, awaiting, blocking, job, problem

PLAN = {
    "kind": "erm",
    "dataset": "ds_1",
    "params": {"epochs": 15},
    "models": ["erm"],
    "estimate": {
        "seconds": 100.0,
        "source": "measured",
        "device": "cpu",
        "memory_bytes": 5e8,
        "disk_bytes": 1e6,
        "stages": [{"stage": "erm", "seconds": 90.0, "source": "measured", "job": "job_1"}],
    },
}
ANSWERS = {
    "job": "job_1",
    "created_by": "key_1",
    "created_by_name": "Ada",
    "updated_at": AT,
    "gate": "open",
    "lacking": 1,
    "answers": [{"sample": 4, "lacks_pattern": True}],
}
MAPS = {"model": "mdl_1", "method": "xgradcam", "images": []}

CASES: list[tuple[Flow[Any], str, object]] = [
    (datasets.get_dataset("ds_1"), "GET /datasets/ds_1", DATASET),
    (datasets.full_report("ds_1"), "GET /datasets/ds_1/report", FULL_REPORT),
    (
        datasets.get_sample("ds_1", 3, inferred_by="job_1"),
        "GET /datasets/ds_1/samples/3?inferred_by=job_1",
        SAMPLE | {"id": 3, "path": "3.png"},
    ),
    (datasets.delete_dataset("ds_1"), "DELETE /datasets/ds_1", None),
    (datasets.from_source("builtin:digits"), "POST /datasets", DATASET),
    (jobs.start("erm", dataset="ds_1"), "POST /jobs/erm", job()),
    (jobs.plan("erm", dataset="ds_1"), "POST /jobs/erm?dry_run=true", PLAN),
    (jobs.get_job("job_1"), "GET /jobs/job_1", job()),
    (jobs.predict_dataset("best", "ds_1", min_score=0.9), "POST /jobs/predict", job()),
    (jobs.predict_dataset("best", source="s3://bucket/today/"), "POST /jobs/predict", job()),
    (datasets.update_dataset("ds_1", name="night"), "PATCH /datasets/ds_1", DATASET),
    (jobs.update_job("job_1", metadata={"site": None}), "PATCH /jobs/job_1", job()),
    (models.update_model("best", if_match='"1"', name=None), "PATCH /models/best", MODEL),
    (jobs.cancel("job_1"), "POST /jobs/job_1/cancel", job()),
    (jobs.resume("job_1"), "POST /jobs/job_1/resume", job()),
    (jobs.report("job_1"), "GET /jobs/job_1/report", report()),
    (jobs.image_answers("job_1"), "GET /jobs/job_1/image-answers", ANSWERS),
    (
        jobs.set_image_answers("job_1", {4: True}, if_match='"1"'),
        "PUT /jobs/job_1/image-answers",
        ANSWERS,
    ),
    (
        jobs.set_image_answers("job_1", {4: True}, label_right=[9]),
        "PUT /jobs/job_1/image-answers",
        ANSWERS,
    ),
    (models.get_model("best"), "GET /models/best", MODEL),
    (get_dependents("job_1"), "GET /dependents?of=job_1", {"of": "job_1", "aliases": ["best"]}),
    (get_storage(), "GET /storage", STORAGE),
    (jobs.delete_job("job_1"), "DELETE /jobs/job_1", None),
    (jobs.delete_job("job_1", keep_dataset=True), "DELETE /jobs/job_1?keep_dataset=true", None),
    (models.delete_model("mdl_1"), "DELETE /models/mdl_1", None),
    (models.get_alias("best"), "GET /aliases/best", ALIAS),
    (models.set_alias("best", "mdl_1"), "PUT /aliases/best", ALIAS),
    (models.roll_back_alias("best"), "POST /aliases/best/rollback", ALIAS),
    (models.delete_alias("best"), "DELETE /aliases/best", None),
    (
        models.risk_coverage("m", points=9, minority_share=0.3),
        "GET /models/m/risk-coverage?points=9&minority_share=0.3",
        CURVE,
    ),
    (models.drift("m", days=2), "GET /models/m/drift?days=2", DRIFT),
    (models.acknowledge_drift("m"), "POST /models/m/drift/acknowledge", DRIFT),
    (
        predict.predict_sample(model="best", dataset="ds_1", sample=3, coverage=0.9, explain=True),
        "GET /predict?model=best&dataset=ds_1&sample=3&coverage=0.9&explain=true",
        ANSWER,
    ),
    (
        predict.predict_images("best", [b"png", ("a.png", b"png")], subject="patient 7", max_risk=0.1),
        "POST /predict?model=best&subject=patient+7&max_risk=0.1",
        ANSWER,
    ),
    (
        predict.explain_sample(model="best", dataset="ds_1", sample=3, method="gradcam"),
        "GET /saliency?model=best&dataset=ds_1&sample=3&format=json&method=gradcam",
        MAPS,
    ),
    (predict.explain_images("best", [b"png"]), "POST /saliency?model=best&format=json", MAPS),
    (keys.make_key("line 1", ["read"]), "POST /keys", KEY | {"secret": "mt_x"}),
    (keys.get_key("key_1"), "GET /keys/key_1", KEY),
    (webhooks.create_webhook("https://a", ["job.failed"]), "POST /webhooks", WEBHOOK | {"secret": "whsec_x"}),
    (webhooks.get_webhook("whk_1"), "GET /webhooks/whk_1", WEBHOOK),
    (webhooks.update_webhook("whk_1", enabled=False), "PATCH /webhooks/whk_1", WEBHOOK),
    (webhooks.delete_webhook("whk_1"), "DELETE /webhooks/whk_1", None),
    (webhooks.rotate_webhook("whk_1"), "POST /webhooks/whk_1/rotate", WEBHOOK | {"secret": "whsec_y"}),
    (webhooks.send_test("whk_1"), "POST /webhooks/whk_1/test", DELIVERY),
    (webhooks.replay_delivery("a/b", "c/d"), "POST /webhooks/a%2Fb/deliveries/c%2Fd/replay", DELIVERY),
    (keys.revoke_key("key_1"), "DELETE /keys/key_1", None),
    (keys.whoami(), "GET /keys/self", {"id": None, "name": None, "scopes": ["read"], "open": False}),
    (readiness(), "GET /readyz", {"status": "ready", "parts": []}),
]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("builtin:biased-digits", "biased-digits"),
        ("s3://bucket/images/birds.tar", "birds"),
        ("file:///data/my birds.tar.gz", "my birds"),
        ("s3://bucket/images/", "images"),
        ("s3://bucket", "bucket"),
        ("file:///data/.zip", ".zip"),
    ],
)
def test_a_source_has_the_name_that_its_upload_would_have(source: str, name: str) -> None:
    script = Script([httpx2.Response(202, json=DATASET)])
    with blocking(script) as client:
        client.datasets.from_source(source)
    assert json.loads(script.asked[0].content)["name"] == name


def test_every_operation_asks_for_its_resource() -> None:
    # A flow can be driven once: here by hand, for both clients share it.
    for flow, expected, body in CASES:
        script = Script([httpx2.Response(204 if body is None else 200, json=body)])
        with blocking(script, "http://test/api") as client:
            result = client.driver.run(flow)
        url = script.asked[0].url
        assert f"{script.asked[0].method} {url.raw_path.decode().removeprefix('/api')}" == expected
        shown = (
            result if isinstance(result, dict | None) else result.model_dump(mode="json", exclude_unset=True)
        )
        assert shown == body


@pytest.mark.parametrize("key", ["schlüssel", "mt_x\n", "mt_x ", "mt\x7f_x", "“mt_x”"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_key_that_no_header_can_hold_is_refused(kind: type[Client | AsyncClient], key: str) -> None:
    with pytest.raises(NotSent, match="the key") as caught:
        kind("http://test", key=key)
    assert key.strip() not in str(caught.value)


def test_the_two_clients_have_the_same_methods() -> None:
    def shape(client: Client | AsyncClient) -> dict[str, set[str]]:
        groups = ("audit", "datasets", "jobs", "keys", "models", "predict", "saliency")
        return {name: {m for m in dir(getattr(client, name)) if m[0] != "_"} for name in groups}

    client, other = Client(), AsyncClient()
    assert shape(client) == shape(other)
    assert "events" in shape(client)["jobs"]
    assert client.jobs.get.__doc__ == "Get the job in its current state."
    client.close()


def test_the_async_client_awaits_and_iterates() -> None:
    async def go() -> tuple[str, list[str]]:
        page = {"data": [job(id="a"), job(id="b")], "next_cursor": None}
        script = Script([httpx2.Response(200, json=job()), httpx2.Response(200, json=page)])
        async with awaiting(script) as client:
            return (await client.jobs.get("job_1")).id, [one.id async for one in client.jobs.list()]

    assert asyncio.run(go()) == ("job_1", ["a", "b"])


@pytest.mark.parametrize(
    ("make", "listed"),
    [
        (lambda: datasets.list_datasets(labelled=False), DATASET),
        (lambda: datasets.list_samples("ds_1", split="test"), SAMPLE | {"id": 3, "path": "3.png"}),
        (lambda: jobs.list_jobs(state="failed"), job()),
        (lambda: models.list_models(arm="erm"), MODEL),
        (models.list_aliases, ALIAS),
        (lambda: models.list_backbones(name="resnet", weights="none"), BACKBONE),
        (keys.list_keys, KEY),
        (webhooks.list_webhooks, WEBHOOK),
        (lambda: webhooks.list_deliveries("whk_1"), DELIVERY),
        (keys.list_audit, CHANGE),
        (jobs.list_presets, {"name": "cifar10", "params": {"epochs": 300}}),
        (
            lambda: jobs.list_prediction_rows("job_1", decision="unreadable", sort="least_sure"),
            {"row": None, "path": "cut.png", "decision": "unreadable", "reason": "truncated: it ends early"},
        ),
    ],
    ids=[
        "datasets",
        "samples",
        "jobs",
        "models",
        "aliases",
        "backbones",
        "keys",
        "webhooks",
        "deliveries",
        "audit",
        "presets",
        "rows",
    ],
)
def test_lists_give_their_shapes(runner: Runner, make: Callable[[], Any], listed: dict[str, Any]) -> None:
    (found,) = runner.all(Script([httpx2.Response(200, json={"data": [listed]})]), make())
    assert found.model_dump(exclude_unset=True, mode="json") == listed


def test_filters_of_the_audit_log_are_sent(runner: Runner) -> None:
    script = Script([httpx2.Response(200, json={"data": [], "next_cursor": None})])
    after = datetime(2025, 11, 3, 10, 30, tzinfo=timezone(timedelta(hours=1)))
    assert runner.all(script, keys.list_audit(actor="key_1", object="best", created_after=after)) == []
    assert dict(script.asked[0].url.params) == {
        "actor": "key_1",
        "object": "best",
        "created_after": "2025-11-03T09:30:00.000Z",
    }


@pytest.mark.parametrize("list_", [datasets.list_datasets, jobs.list_jobs, models.list_models])
def test_filters_of_a_list_are_sent_with_each_page(runner: Runner, list_: Callable[..., Any]) -> None:
    pages: list[dict[str, Any]] = [{"data": [], "next_cursor": "c"}, {"data": [], "next_cursor": None}]
    script = Script([httpx2.Response(200, json=page) for page in pages])
    after = datetime(2025, 11, 3, 10, 30, tzinfo=timezone(timedelta(hours=1)))
    metadata = {"site": "Bern", "a&b": "1 = 1"}
    runner.all(script, list_(name="night", created_by="key_1", metadata=metadata, created_after=after))
    filters = {
        "name": "night",
        "created_by": "key_1",
        "metadata.site": "Bern",
        "metadata.a&b": "1 = 1",
        "created_after": "2025-11-03T09:30:00.000Z",
    }
    assert [dict(request.url.params) for request in script.asked] == [filters, filters | {"cursor": "c"}]


def test_a_job_that_fails_says_why(runner: Runner) -> None:
    ended = job(state="failed", error={"detail": "the disk is full"})
    with pytest.raises(JobNotSucceeded, match="job_1 failed: the disk is full") as caught:
        runner.run(Script([httpx2.Response(200, json=ended)]), jobs.wait("job_1"))
    assert caught.value.job.state == "failed"


def _away() -> list[httpx2.Response | Exception]:
    """A restart that lasts for more tries than a single request has, behind a proxy or without one."""
    return [*[httpx2.ConnectError("refused")] * 9, *(httpx2.Response(502) for _ in range(9))]


@pytest.mark.parametrize(
    ("wait", "now", "later"),
    [
        (lambda: jobs.wait("job_1"), job(), job(state="succeeded")),
        (lambda: datasets.wait_for_dataset("ds_1"), DATASET | {"state": "importing"}, DATASET),
    ],
    ids=["job", "data set"],
)
def test_waiting_outlasts_a_restart(
    runner: Runner, wait: Callable[[], Flow[Any]], now: dict[str, Any], later: dict[str, Any]
) -> None:
    running, ended = httpx2.Response(200, json=now), httpx2.Response(200, json=later)
    assert runner.run(Script([running, *_away(), ended]), wait()).state == later["state"]
    with pytest.raises(Unreachable):
        runner.run(Script(_away()), wait())
    with pytest.raises(ProblemError):
        runner.run(Script([running, httpx2.Response(404)]), wait())
    gone = Script([running, *[httpx2.ConnectError("refused")] * FAST.attempts * PATIENCE])
    with pytest.raises(Unreachable):
        runner.run(gone, wait())
    assert gone.answers == []


def test_waiting_ends_when_the_time_is_up(runner: Runner) -> None:
    with pytest.raises(WaitedTooLong):
        runner.run(Script([httpx2.Response(200, json=job())]), jobs.wait("job_1", timeout=0))
    importing = httpx2.Response(200, json=DATASET | {"state": "importing"})
    with pytest.raises(WaitedTooLong):
        runner.run(Script([importing]), datasets.wait_for_dataset("ds_1", timeout=0))


def test_a_data_set_that_is_invalid_says_what_is_wrong_with_it(runner: Runner) -> None:
    fact = {"code": "one_class", "detail": "there is one class only: add images of a second"}
    invalid = DATASET | {"state": "invalid", "report": {"problems": [fact]}}
    with pytest.raises(DatasetInvalid) as caught:
        runner.run(Script([httpx2.Response(200, json=invalid)]), datasets.wait_for_dataset("ds_1"))
    assert str(caught.value) == f"data set ds_1 is invalid: {fact['detail']}"
    report = caught.value.dataset.report
    assert report is not None
    assert report.problems[0].code == "one_class"


def test_a_full_report_is_what_the_import_writes() -> None:
    rejected = tuple(Rejection(f"{n}.png", FileCode.TRUNCATED, "it ends too early") for n in range(5000))
    twice = DuplicateSet(("a.png", "b.png"), ("train", "test"), ("x", "y"), same_bytes=False)
    written = ImportReport(
        state="ready",
        name="birds",
        format="csv",
        rejected=rejected,
        ignored=rejected[:2],
        duplicates=(twice,),
    )
    report = FullReport.model_validate_json(json.dumps(written.to_json()))
    assert (len(report.rejected), len(report.ignored)) == (5000, 2)
    assert report.rejected[-1].path == "4999.png"
    assert report.duplicates[0].paths == ["a.png", "b.png"]
    assert report.duplicates[0].codes == ["in_two_splits", "conflicting_labels"]


def test_bytes_come_as_they_are(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"from a file")
    for flow in (
        datasets.sample_image("ds_1", 3),
        predict.picture_sample(model="m", dataset="ds_1", sample=3, view="mask"),
        jobs.report_picture("job_1", "7-image.png"),
        predict.picture_image("m", tmp_path / "a.png"),
    ):
        script = Script([httpx2.Response(200, content=b"\x89PNG")])
        assert runner.run(script, flow) == b"\x89PNG"
    assert b"from a file" in script.bodies[0]
    script = Script([httpx2.Response(200, content=b"\x89PNG")])
    runner.run(script, datasets.sample_image("ds_1", 3, as_png=True, side=256))
    assert script.asked[0].url.query == b"as=png&side=256"


def test_a_report_is_a_page_too(runner: Runner) -> None:
    script = Script([httpx2.Response(200, text="<h1>")])
    assert runner.run(script, jobs.report_html("job_1")) == "<h1>"
    assert script.asked[0].headers["Accept"] == "text/html"


def test_a_download_appears_whole_or_not_at_all(runner: Runner, tmp_path: Path) -> None:
    target, told = tmp_path / "model.onnx", list[tuple[int, int]]()
    good = httpx2.Response(200, headers={"Content-Length": "6"}, stream=Chunks(b"abc", b"def"))

    def download() -> Flow[Path]:
        return models.download_model("m", target, format="onnx", on_received=lambda *seen: told.append(seen))

    cut = httpx2.Response(200, stream=Chunks(b"abc", httpx2.ReadError("gone")))
    script = Script([cut, good])
    assert runner.run(script, download()) == target
    assert target.read_bytes() == b"abcdef"
    assert told[-1] == (6, 6)
    assert script.asked[0].url.query == b"format=onnx"
    target.unlink()
    with pytest.raises(ProblemError):
        runner.run(Script([problem("not-found", 404)]), download())
    moved = httpx2.Response(
        301, headers={"Location": "https://test/models/m/download"}, html="<h1>Moved</h1>"
    )
    with pytest.raises(UnexpectedAnswer, match="redirects to https://test: use that"):
        runner.run(Script([moved]), download())
    broken = Script([httpx2.Response(200, stream=Chunks(httpx2.ReadError("gone"))) for _ in range(4)])
    with pytest.raises(Unreachable, match="broke 4 times"):
        runner.run(broken, download())
    assert list(tmp_path.iterdir()) == []


def test_one_image_is_not_a_list_of_images() -> None:
    with pytest.raises(TypeError, match="put a single image in a list"):
        predict.predict_images("m", b"png")  # type: ignore[arg-type]  # the mistake itself
