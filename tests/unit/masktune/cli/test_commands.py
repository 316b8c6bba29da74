"""The client's commands, against a service made of answers."""

from __future__ import annotations

import json
import re
import time
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from typer.testing import CliRunner

from masktune.cli.characters import escape_controls
from masktune.cli.main import app
from masktune.contract.base import rfc3339
from masktune.contract.vocabulary import WebhookEvent
from tests.support.answers import (
    ALIAS,
    ANSWER,
    AT,
    BACKBONE,
    BROKEN,
    CHANGE,
    CURVE,
    DATASET,
    DELIVERY,
    DRIFT,
    DRIFTED,
    EVALUATION,
    FAILED,
    FULL_REPORT,
    JOB,
    JUDGE,
    JUDGEMENT,
    KEY,
    MIX,
    MODEL,
    SAMPLE,
    STORAGE,
    WEBHOOK,
)
from tests.support.reports import evidence, report
from tests.unit.masktune.cli.conftest import Service


@pytest.mark.parametrize(
    ("command", "asked", "answer", "shown"),
    [
        ("datasets list", "GET /datasets", {"data": [DATASET]}, ["ds_1", "birds", "ready", "10"]),
        (
            "datasets show ds_1",
            "GET /datasets/ds_1",
            DATASET,
            [
                "a on land: train 5",
                "x.png: it ends too early",
                "val was cut from train",
                "29 more: masktune datasets report ds_1",
            ],
        ),
        (
            "datasets report ds_1",
            "GET /datasets/ds_1/report",
            FULL_REPORT,
            ["birds: 10 samples", "299.png", "truncated", ".DS_Store", "a.png, b.png", "in_two_splits"],
        ),
        (
            "datasets samples ds_1 --split test --most 2",
            "GET /datasets/ds_1/samples",
            {"data": [SAMPLE | {"id": n, "path": f"{n}.png"} for n in range(3)]},
            ["0.png", "1.png"],
        ),
        ("datasets delete ds_1 --yes", "DELETE /datasets/ds_1", {}, ["data set ds_1 is deleted"]),
        ("jobs delete job_1 --yes", "DELETE /jobs/job_1", {}, ["job job_1 is deleted"]),
        ("jobs list --state failed", "GET /jobs", {"data": [JOB]}, ["birds", "100%", "MaskTune helped"]),
        (
            "jobs show job_1",
            "GET /jobs/job_1",
            JOB | {"current": JUDGEMENT, "judgements": [JUDGEMENT, JUDGEMENT | {"job": "job_1"}]},
            ["current verdict", "60 in the smallest group", "jobs report job_3", "other verdict"],
        ),
        ("jobs show job_1", "GET /jobs/job_1", JOB, ["model masktune", "mdl_2", "test 0.250"]),
        (
            "jobs show job_1",
            "GET /jobs/job_1",
            JOB | {"state": "queued", "queue_position": 3},
            ["waiting for a worker", "place in queue", "3"],
        ),
        (
            "jobs show job_1",
            "GET /jobs/job_1",
            JOB | {"state": "queued", "waiting_for": "a free worker: 1 job runs"},
            ["waiting for a free worker: 1 job runs"],
        ),
        ("jobs watch job_1", "GET /jobs/job_1", JOB, ["succeeded"]),
        ("jobs cancel job_1", "POST /jobs/job_1/cancel", JOB | {"state": "cancelling"}, ["cancelling"]),
        ("jobs resume job_1", "POST /jobs/job_1/resume", JOB | {"state": "queued"}, ["queued"]),
        (
            "jobs edit job_1 --name night --meta site=Bern",
            "PATCH /jobs/job_1",
            JOB | {"name": "night", "metadata": {"site": "Bern"}, "priority": 7},
            ["night", "site", "Bern", "priority", "7"],
        ),
        ("datasets edit ds_1 --name night", "PATCH /datasets/ds_1", DATASET | {"name": "n"}, ["ds_1"]),
        ("models edit best --meta site=Bern", "PATCH /models/best", MODEL, ["mdl_2"]),
        ("jobs presets", "GET /presets", {"data": [{"name": "cifar10", "title": "CIFAR-10"}]}, ["cifar10"]),
        ("models list --arm masktune", "GET /models", {"data": [MODEL]}, ["mdl_2", "0.930", "0.900"]),
        (
            "models backbones --weights packaged",
            "GET /backbones",
            {"data": [BACKBONE]},
            ["tf_efficientnet_lite0", "timm", "packaged", "224"],
        ),
        ("models show best", "GET /models/best", MODEL, ["small_cnn, 28 px", "216 calibration samples"]),
        ("models show best", "GET /models/best", MODEL | {"pattern_judge": JUDGE}, ["fitted by job_1"]),
        (
            "models show best",
            "GET /models/best",
            MODEL | {"promise": BROKEN},
            ["is broken, noticed on 3 Nov"],
        ),
        (
            "models show best",
            "GET /models/best",
            MODEL | {"evaluations": [EVALUATION]},
            ["worst labelled group 61.0", "60 in the smallest group", "of birds"],
        ),
        (
            "models list",
            "GET /models",
            {"data": [MODEL | {"evaluations": [EVALUATION]}]},
            ["0.920", "0.610"],
        ),
        ("models show best", "GET /models/best", MODEL | {"erm": "mdl_1"}, ["that of mdl_1, if it has one"]),
        ("models alias", "GET /aliases", {"data": [ALIAS]}, ["best", "mdl_2"]),
        ("models alias best", "GET /aliases/best", ALIAS, ["best", "2025-11-03"]),
        ("models alias best mdl_2", "PUT /aliases/best", ALIAS, ["mdl_2"]),
        ("models unalias best", "DELETE /aliases/best", {}, ["alias best is deleted; its model stays"]),
        ("models rollback best --version 1", "POST /aliases/best/rollback", ALIAS, ["mdl_2"]),
        (
            "models risk-coverage best --max-risk 0.05",
            "GET /models/best/risk-coverage",
            CURVE,
            ["0.0100 … 0.0400", "dark", "below 0.05?", "too few", "groups 0.500", "only the band holds"],
        ),
        (
            "models risk-coverage best --minority-share 0.3",
            "GET /models/best/risk-coverage",
            CURVE | {"mix": MIX},
            ["30 % without the pattern", "0.1250", "not a certificate"],
        ),
        (
            "models drift best --days 2",
            "GET /models/best/drift",
            DRIFT,
            ["30 inputs in 2 days", "9 of 10 (0.900)", "yes", "not be trusted"],
        ),
        (
            "models acknowledge-drift best",
            "POST /models/best/drift/acknowledge",
            DRIFT | {"status": "too_few", "tests": [], "statement": "acknowledged by user:ann"},
            ["acknowledged by user:ann", "30 inputs in 2 days"],
        ),
        ("models list", "GET /models", {"data": [MODEL | {"drift": DRIFTED}]}, ["inputs drifted"]),
        ("models show best", "GET /models/best", MODEL | {"drift": DRIFTED}, ["inputs drifted"]),
        ("models alias", "GET /aliases", {"data": [ALIAS | {"drift": DRIFTED}]}, ["inputs drifted"]),
        (
            "models alias",
            "GET /aliases",
            {"data": [ALIAS | {"drift": DRIFTED | {"status": "too_few", "acknowledged_at": AT}}]},
            ["too few inputs, acknowledged"],
        ),
        ("models delete mdl_2 --yes", "DELETE /models/mdl_2", {}, ["mdl_2 is deleted"]),
        ("keys list", "GET /keys", {"data": [KEY]}, ["key_1", "line", "alice", "2025-11-03"]),
        (
            "keys create line --scope read --scope predict",
            "POST /keys",
            KEY | {"secret": "mt_x"},
            ["key_1 may read, predict", "mt_x"],
        ),
        (
            "storage",
            "GET /storage",
            STORAGE,
            ["2.0\u00a0GB", "exported to ONNX", "mdl_1", "that no alias needs"],
        ),
        ("datasets list", "GET /datasets", {"data": [DATASET | {"occupies": 5_000}]}, ["5\u00a0kB"]),
        ("jobs list", "GET /jobs", {"data": [JOB | {"dataset": "ds_0"}]}, ["ds_0"]),  # it is not listed
        ("models list", "GET /models", {"data": [MODEL | {"dataset": "ds_1"}]}, ["birds"]),
        ("jobs list", "GET /jobs", {"data": [JOB | {"occupies": 6_000}]}, ["6\u00a0kB"]),
        ("models list", "GET /models", {"data": [MODEL | {"occupies": 7_000}]}, ["7\u00a0kB"]),
        ("audit --object best", "GET /audit", {"data": [CHANGE]}, ["key_1", "set_alias", "192.0.2.7"]),
        ("keys revoke key_1", "DELETE /keys/key_1", {}, ["key_1 is revoked"]),
        (
            "webhooks create https://hooks.example/m --event job.failed",
            "POST /webhooks",
            WEBHOOK | {"secret": "whsec_x"},
            ["whk_1 signs with this secret", "whsec_x"],
        ),
        (
            "webhooks list",
            "GET /webhooks",
            {"data": [WEBHOOK]},
            ["whk_1", "https://hooks.example/m", "job.failed", "chat", "410 Gone"],
        ),
        ("webhooks edit whk_1 --disable", "PATCH /webhooks/whk_1", WEBHOOK, ["whk_1 is changed"]),
        (
            "webhooks rotate whk_1",
            "POST /webhooks/whk_1/rotate",
            WEBHOOK | {"secret": "whsec_y"},
            ["whsec_y"],
        ),
        ("webhooks delete whk_1", "DELETE /webhooks/whk_1", {}, ["whk_1 is deleted"]),
        ("webhooks test whk_1", "POST /webhooks/whk_1/test", DELIVERY, ["msg_1 is waiting"]),
        (
            "webhooks deliveries whk_1",
            "GET /webhooks/whk_1/deliveries",
            {"data": [DELIVERY, DELIVERY | {"delivered_at": AT}, DELIVERY | {"given_up_at": AT}]},
            ["msg_1", "503", "waiting", "delivered", "given up"],
        ),
        (
            "webhooks replay whk_1 msg_1",
            "POST /webhooks/whk_1/deliveries/msg_1/replay",
            DELIVERY,
            ["msg_1 is waiting"],
        ),
        ("keys whoami", "GET /keys/self", KEY, ["key_1 (line) may read, predict"]),
        ("keys whoami", "GET /keys/self", {"scopes": ["admin"]}, ["an operator's key may admin"]),
        ("keys whoami", "GET /keys/self", {"scopes": ["admin"], "open": True}, ["requires no key"]),
        (
            "predict -m best --dataset ds_1 --sample 3 --max-risk 0.05",
            "GET /predict",
            ANSWER,
            ["sample 3", "a 0.90", "certified, threshold 0.700; on 216 calibration samples: 200 answered, 1"],
        ),
    ],
)
def test_a_command_asks_and_shows(
    service: Service, command: str, asked: str, answer: object, shown: list[str]
) -> None:
    service.answers |= {"GET /datasets": (200, {"data": [DATASET]})}
    service.answers[asked] = (204 if asked.startswith("DELETE") else 200, answer)
    result = service.masktune(*command.split())
    assert result.exit_code == 0, result.output
    assert service.asked[0][0].partition("?")[0] == asked
    for text in shown:
        assert text in result.stdout


def test_an_edit_sends_what_it_changes_alone(service: Service) -> None:
    service.answers["PATCH /jobs/job_1"] = (200, JOB)
    for options, sent in (
        (["--name", "night"], {"name": "night"}),
        (["--meta", "site=Bern", "--meta", "lens="], {"metadata": {"site": "Bern", "lens": None}}),
    ):
        assert service.masktune("jobs", "edit", "job_1", *options).exit_code == 0
        assert json.loads(service.asked[-1][1]) == sent
    for options in ([], ["--meta", "site"], ["--meta", "=x"]):
        assert service.masktune("jobs", "edit", "job_1", *options).exit_code == 2


@pytest.mark.parametrize("resource", ["datasets", "jobs", "models"])
def test_a_list_is_filtered_by_name_and_metadata(service: Service, resource: str) -> None:
    service.answers[f"GET /{resource}"] = (200, {"data": []})
    options = ("--name", "night", "--meta", "site=Bern", "--meta", "lens=50 mm", "--search", "x y")
    dates = ("--after", "2025-11-03", "--before", "2025-11-04T12:00:00")
    assert service.masktune(resource, "list", *options, *dates).exit_code == 0
    query = parse_qs(service.asked[-1][0].partition("?")[2])
    assert query == {
        "limit": ["20"],
        "name": ["night"],
        "metadata.site": ["Bern"],
        "metadata.lens": ["50 mm"],
        "q": ["x y"],
        "created_after": [rfc3339(datetime(2025, 11, 3))],  # local, as the terminal's user means it
        "created_before": [rfc3339(datetime(2025, 11, 4, 12))],
    }
    assert service.masktune(resource, "list", "--meta", "site").exit_code == 2


def test_samples_are_filtered_by_subject_metadata_and_text(service: Service) -> None:
    sample = SAMPLE | {
        "id": 3,
        "path": "3.png",
        "subject": "p1",
        "metadata": {"site": "Bern", "age": 63.0, "note": None},
    }
    service.answers["GET /datasets/ds_1/samples"] = (200, {"data": [sample]})
    filters = ("--subject", "p1", "--meta", "site=Bern", "--meta", "age=63", "--search", "left eye")
    result = service.masktune("datasets", "samples", "ds_1", *filters)
    assert result.exit_code == 0, result.output
    assert parse_qs(service.asked[0][0].partition("?")[2]) == {
        "limit": ["20"],
        "subject": ["p1"],
        "metadata.site": ["Bern"],
        "metadata.age": ["63"],
        "q": ["left eye"],
    }
    assert "p1" in result.stdout
    assert "site=Bern, age=63" in result.stdout


def test_samples_are_filtered_by_what_a_job_inferred_and_show_it(service: Service, tmp_path: Path) -> None:
    guess = {"job": "job_1", "pattern": "b", "lacks_pattern": True, "label_doubt": 0.1}
    sample = SAMPLE | {"id": 3, "path": "3.png", "inferred": guess | {"label_looks_wrong": False}}
    service.by_headers["GET /datasets/ds_1/samples"] = lambda request: (
        b"path\r\n" if request["Accept"] == "text/csv" else {"data": [sample]}
    )
    filters = ("--inferred-by", "job_1", "--lacks-pattern", "--no-label-looks-wrong", "--pattern", "b")
    result = service.masktune("datasets", "samples", "ds_1", *filters)
    assert result.exit_code == 0, result.output
    asked = {"inferred_by": ["job_1"], "lacks_pattern": ["true"], "label_looks_wrong": ["false"]}
    asked |= {"pattern": ["b"]}
    assert parse_qs(service.asked[0][0].partition("?")[2]) == asked | {"limit": ["20"]}
    assert "shows the pattern of b · inferred" in " ".join(result.stdout.split())
    file = tmp_path / "list.csv"
    result = service.masktune("datasets", "samples", "ds_1", *filters, "--output", str(file))
    assert result.exit_code == 0, result.output
    assert file.read_bytes() == b"path\r\n"
    assert parse_qs(service.asked[1][0].partition("?")[2]) == asked


def test_a_data_set_says_what_its_columns_were_read_as_and_hold(service: Service) -> None:
    texts = [{"text": f"site {n}", "n": 9 - n} for n in range(6)]
    columns = [
        {"name": "site", "kind": "text", "distinct": 6, "missing": 2, "most_frequent": texts},
        {"name": "age", "kind": "number", "distinct": 40, "missing": 0, "low": 7.0, "high": 63.5},
    ]
    readings = [
        {"column": "path", "read_as": "path", "detail": ""},
        {"column": "patient", "read_as": "subject", "detail": ""},
        {"column": "meta:age", "read_as": "metadata", "detail": ""},
        {"column": "note", "read_as": "ignored", "detail": "rename it to meta:note"},
    ]
    dataset = DATASET | {"subjects": 12, "subject_word": "patient", "metadata_columns": columns}
    dataset["report"] = DATASET["report"] | {"columns": readings}
    service.answers["GET /datasets/ds_1"] = (200, dataset)
    output = service.masktune("datasets", "show", "ds_1").stdout
    for text in (
        "site 0 9, site 1 8, site 2 7, site 3 6, site 4 5, …, none 2",
        "7 to 63.5",
        "path, patient as subject, meta:age",
        "note: rename it to meta:note",
    ):
        assert text in output
    assert re.search(r"patients +12", output)


def test_what_spoils_the_figures_of_a_data_set_is_said_first(service: Service) -> None:
    leak = {"code": "subject_in_two_splits", "detail": "patients in more than one split: 120 of 120"}
    notes = [leak | {"tone": "bad"}, {"code": "small_images", "detail": "a few are small"}]
    service.answers["GET /datasets/ds_1"] = (200, DATASET | {"report": {"notes": notes}})
    output = service.masktune("datasets", "show", "ds_1").stdout
    assert output.count("120 of 120") == 1
    assert output.index("120 of 120") < output.index("state") < output.index("a few are small")


def test_a_data_set_is_downloaded(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    service.answers["GET /datasets/ds_1/download"] = (200, b"PK")
    for options, target in (((), "ds_1.zip"), (("--output", "birds.zip"), "birds.zip")):
        result = service.masktune("datasets", "download", "ds_1", *options)
        assert result.exit_code == 0, result.output
        assert Path(target).read_bytes() == b"PK"
        assert f"the data set is in {target}" in result.stdout


def test_options_say_how_an_archive_is_read(service: Service, tmp_path: Path) -> None:
    (tmp_path / "scans.zip").write_bytes(b"PK\x03\x04")
    service.answers["POST /datasets"] = (202, DATASET | {"state": "importing"})
    named = [
        "--subject-pattern",
        "*/{subject}_*",
        "--hold-out",
        "meta:site=Bern",
        "--hold-out",
        "meta:site=Ulm",
    ]
    named += ["--group", "meta:scanner", "--label", "diagnosis", "--grey-window", "0", "4095"]
    archive = str(tmp_path / "scans.zip")
    result = service.masktune("datasets", "add", archive, *named, "--no-wait")
    assert result.exit_code == 0, result.output
    options = {
        "subject": "*/{subject}_*",
        "hold_out": ["meta:site=Bern", "meta:site=Ulm"],
        "group": "meta:scanner",
        "label": "diagnosis",
        "grey_window": [0, 4095],
    }
    assert json.dumps(options).encode() in service.asked[-1][1]
    assert service.masktune("datasets", "add", archive, "--no-wait").exit_code == 0
    assert b'"options"' not in service.asked[-1][1]


def test_a_job_is_started_with_a_name_metadata_and_a_priority(service: Service) -> None:
    service.answers["POST /jobs/erm"] = (202, JOB)
    options = ("--dataset", "ds_1", "--name", "5", "--meta", "site=Bern", "--priority", "3")
    assert service.masktune("jobs", "start", "erm", *options).exit_code == 0
    named = {"name": "5", "metadata": {"site": "Bern"}, "priority": 3}
    assert json.loads(service.asked[0][1]) == {"dataset": "ds_1"} | named


ODD = "photos[/x] [old] :dog: \x1b[2J\x9b5m\u202e"
"""A name that would be markup, clear the screen, blink, and turn what follows round."""
SPELT = r"photos[/x] [old] :dog: \x1b[2J\x9b5m\u202e"


@pytest.mark.parametrize(
    ("command", "asked", "answer"),
    [
        ("datasets show ds_1", "GET /datasets/ds_1", DATASET | {"name": ODD}),
        ("datasets list", "GET /datasets", {"data": [DATASET | {"name": ODD}]}),
        ("datasets show ds_1", "GET /datasets/ds_1", DATASET | {"classes": [ODD]}),
        ("datasets show ds_1", "GET /datasets/ds_1", DATASET | {"groups": [{"name": ODD, "n": 1}]}),
        (
            "datasets samples ds_1",
            "GET /datasets/ds_1/samples",
            {"data": [SAMPLE | {"id": 1, "path": ODD}]},
        ),
        ("jobs show job_1", "GET /jobs/job_1", FAILED | {"error": {"detail": ODD}}),
        (
            "models show best",
            "GET /models/best",
            MODEL | {"evaluations": [EVALUATION | {"dataset_name": ODD}]},
        ),
        ("keys create line", "POST /keys", KEY | {"secret": ODD}),
        ("models show best", "GET /models/best", MODEL | {"classes": [ODD]}),
        ("models drift best", "GET /models/best/drift", DRIFT | {"statement": ODD}),
        (
            "predict -m best --dataset ds_1 --sample 3",
            "GET /predict",
            ANSWER | {"predictions": [{"decision": "answer", "label": ODD}]},
        ),
    ],
)
def test_names_are_shown_as_text_and_nothing_else(
    service: Service, command: str, asked: str, answer: object
) -> None:
    service.answers[asked] = (200, answer)
    result = service.masktune(*command.split())
    assert result.exit_code == 0, result.output
    assert SPELT in result.stdout
    assert escape_controls(result.stdout) == result.stdout


def test_a_sentence_has_names_as_they_are(service: Service) -> None:
    service.answers |= {"GET /models": (200, {"data": [MODEL]}), "DELETE /models/mdl_2": (204, None)}
    assert service.masktune("models", "delete", "[old]", "--yes").stdout == "model [old] is deleted\n"


def test_machines_get_json(service: Service) -> None:
    service.answers["GET /jobs"] = (200, {"data": [JOB]})
    service.answers["GET /predict"] = (200, ANSWER)
    (job,) = json.loads(service.masktune("jobs", "list", "--json").stdout)
    assert (job["id"], job["models"]) == (JOB["id"], JOB["models"])
    answer = json.loads(
        service.masktune("predict", "-m", "best", "--dataset", "ds_1", "--sample", "3", "--json").stdout
    )
    assert answer["predictions"][0]["label"] == "a"
    service.answers["GET /datasets/ds_1/report"] = (200, FULL_REPORT)
    report = json.loads(service.masktune("datasets", "report", "ds_1", "--json").stdout)
    assert report["rejected"] == FULL_REPORT["rejected"]


def test_a_source_is_named_and_waited_for(service: Service) -> None:
    service.answers["POST /datasets"] = (202, DATASET | {"state": "importing"})
    service.answers["GET /datasets/ds_1"] = (200, DATASET)
    service.answers["GET /jobs/job_9"] = (200, JOB | {"kind": "import"})
    result = service.masktune("datasets", "add", "builtin:biased-digits", "--option", "ratio=0.95")
    assert result.exit_code == 0, result.output
    assert json.loads(service.asked[0][1]) == {
        "name": "biased-digits",
        "source": "builtin:biased-digits",
        "format": "auto",
        "seed": 0,
        "options": {"ratio": 0.95},
    }


def test_an_archive_is_uploaded(service: Service, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "birds.zip", "w") as archive:
        archive.writestr("a/1.png", b"png")
    service.answers["POST /datasets"] = (202, DATASET | {"state": "importing"})
    result = service.masktune("datasets", "add", str(tmp_path / "birds.zip"), "--no-wait", "--json")
    assert json.loads(result.stdout)["state"] == "importing"
    assert (tmp_path / "birds.zip").read_bytes() in service.asked[0][1]
    assert service.masktune("datasets", "add", str(tmp_path / "none.zip")).exit_code == 2


def test_an_empty_folder_is_one_line(service: Service, tmp_path: Path) -> None:
    result = service.masktune("datasets", "add", str(tmp_path))
    assert (result.exit_code, service.asked) == (2, [])
    assert result.stderr.startswith(
        f"masktune: {tmp_path.name} holds neither images nor a table of them: send a"
    )


def test_an_invalid_data_set_is_told_by_the_exit_code(service: Service) -> None:
    service.answers["POST /datasets"] = (202, DATASET | {"state": "importing", "job": None})
    service.answers["GET /datasets/ds_1"] = (200, DATASET | {"state": "invalid"})
    assert service.masktune("datasets", "add", "builtin:digits").exit_code == 4


def test_a_data_set_says_what_its_images_and_its_metadata_tell(service: Service) -> None:
    import_report = DATASET["report"] | {"shortcuts": evidence(REPORT)["properties"]}
    service.answers["GET /datasets/ds_1"] = (200, DATASET | {"report": import_report})
    output = " ".join(service.masktune("datasets", "show", "ds_1").stdout.split())
    assert "shortcuts strong: The look of the top-left corner alone tells 0-4 from 5-9" in output
    assert "metadata strong: The metadata column hospital alone tells 0-4 from 5-9" in output


def test_a_job_is_started_with_its_fields(service: Service) -> None:
    service.answers["POST /jobs/masktune"] = (202, JOB | {"state": "queued"})
    service.answers["GET /jobs/job_1"] = (200, JOB)
    fields = ["--set", "optimizer.learning_rate=0.1", "--set", "optimizer.name=sgd", "--set", "control=false"]
    result = service.masktune(
        "jobs", "start", "masktune", "--dataset", "ds_1", "--preset", "p", *fields, "--watch"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(service.asked[0][1]) == {
        "optimizer": {"learning_rate": 0.1, "name": "sgd"},
        "control": False,
        "dataset": "ds_1",
        "preset": "p",
    }
    assert "Idempotency-Key" in service.headers[0]


def test_a_dry_run_shows_the_fields_and_the_cost(service: Service) -> None:
    service.answers["POST /jobs/erm"] = (
        200,
        {
            "kind": "erm",
            "dataset": "ds_1",
            "params": {"epochs": 15, "optimizer": {"learning_rate": 0.01}},
            "estimate": {
                "seconds": 100.0,
                "source": "guessed",
                "device": None,
                "memory_bytes": 1.25e9,
                "disk_bytes": 2.4e6,
                "stages": [{"stage": "erm", "seconds": 90.0, "source": "guessed", "job": None}],
            },
        },
    )
    result = service.masktune("jobs", "start", "erm", "--dataset", "ds_1", "--dry-run")
    assert result.exit_code == 0, result.output
    assert service.asked[0][0] == "POST /jobs/erm?dry_run=true"
    assert len(service.asked) == 1
    lines = [re.split(" {2,}", line.strip()) for line in result.stdout.splitlines()]
    rows = {line[0]: line[1] for line in lines if len(line) == 2}
    assert rows["optimizer.learning_rate"] == "0.01"
    assert rows["plain training"] == "1 min 30 s, guessed"
    assert rows["time"] == "about 1 min 40 s, guessed"
    assert (rows["memory"], rows["disk"]) == ("about 1.2\u00a0GB", "about 2\u00a0MB")


@pytest.mark.parametrize(
    "fields",
    [
        ["epochs"],
        ["=1"],
        ["a.=1"],
        [".a=1"],
        ["a=1", "a.b=2"],
        ["lr=NaN"],
        ["lr=1e999"],
        [r'name="\ud800"'],
    ],
    ids=" ".join,
)
def test_a_field_that_cannot_be_sent_is_a_usage_error(service: Service, fields: list[str]) -> None:
    result = service.masktune("jobs", "start", "erm", *(word for one in fields for word in ("--set", one)))
    assert (result.exit_code, len(result.stderr.splitlines()), service.asked) == (2, 1, [])


def test_a_failed_job_is_told_by_the_exit_code_and_one_line(service: Service) -> None:
    service.answers["GET /jobs/job_1"] = (200, FAILED)
    result = service.masktune("jobs", "watch", "job_1")
    assert result.exit_code == 4
    assert result.stderr == "masktune: job job_1 failed: the disk is full\n"


def test_events_are_lines_for_machines(service: Service) -> None:
    event = {"id": 1, "type": "state", "at": "2025-11-03T09:30:00.000Z", "data": {"state": "succeeded"}}
    service.answers["GET /jobs/job_1/events"] = (200, f"id: 1\ndata: {json.dumps(event)}\n\n".encode())
    service.answers["GET /jobs/job_1"] = (200, JOB)
    result = service.masktune("jobs", "watch", "job_1", "--json")
    assert [json.loads(line)["data"]["state"] for line in result.stdout.splitlines()] == ["succeeded"]


REPORT: dict[str, Any] = report()


def test_a_report_is_shown_with_its_figures_and_conclusions(service: Service) -> None:
    service.answers["GET /jobs/job_1/report"] = (200, REPORT)
    shown = service.masktune("jobs", "report", "job_1").stdout
    assert f"{REPORT['metrics']['test']['masktune']['accuracy']:.3f} (" in shown
    assert "MaskTune helped. MaskTune is right on" in shown
    assert "This report has not looked for one." in shown
    service.answers["GET /jobs/job_1/report"] = (200, REPORT | {"verdict": None})
    assert "No comparison. " in service.masktune("jobs", "report", "job_1").stdout


def test_a_report_says_that_other_images_say_more(service: Service) -> None:
    service.answers["GET /jobs/job_1/report"] = (200, REPORT)
    service.answers["GET /jobs/job_1"] = (200, JOB | {"current": JUDGEMENT})
    output = " ".join(service.masktune("jobs", "report", "job_1").stdout.split())
    assert "Other images say more than this report. MaskTune helped" in output
    assert "images of birds, 3 Nov 2025, 09:30 UTC. What to do next: masktune jobs report job_3" in output
    service.answers["GET /jobs/job_1"] = (200, JOB | {"current": JUDGEMENT | {"job": "job_1"}})
    assert "Other images" not in service.masktune("jobs", "report", "job_1").stdout


def test_a_report_is_saved(service: Service, tmp_path: Path) -> None:
    service.answers["GET /jobs/job_1/report"] = (200, REPORT)
    assert service.masktune("jobs", "report", "job_1", "--save", str(tmp_path / "r.json")).exit_code == 0
    assert json.loads((tmp_path / "r.json").read_text()) == REPORT
    service.answers["GET /jobs/job_1/report"] = (200, b"<h1>")
    assert service.masktune("jobs", "report", "job_1", "--save", str(tmp_path / "r.html")).exit_code == 0
    assert (tmp_path / "r.html").read_text() == "<h1>"


def test_a_model_is_downloaded(service: Service, tmp_path: Path) -> None:
    service.answers["GET /models/best/download"] = (200, b"weights")
    result = service.masktune(
        "models", "download", "best", "-o", str(tmp_path / "m.onnx"), "--format", "onnx"
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "m.onnx").read_bytes() == b"weights"
    assert service.asked[0][0].endswith("?format=onnx")


def test_a_bundle_is_downloaded_with_its_policy(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    service.answers["GET /models/best/download"] = (200, b"a zip")
    command = "models download best --format bundle --max-risk 0.05 --risk-confidence 0.9 --score product"
    done = service.masktune(*command.split())
    assert "the bundle is in best.zip" in done.stdout
    query = "?format=bundle&max_risk=0.05&risk_confidence=0.9&score=product"
    assert service.asked[0][0].endswith(query)


def test_a_model_of_ones_own_is_added(service: Service, tmp_path: Path) -> None:
    (tmp_path / "own.safetensors").write_bytes(b"weights")
    service.answers["POST /models"] = (201, MODEL)
    command = "models add own.safetensors --backbone small_cnn --class a --class b --image-size 28"
    result = service.masktune(*command.replace("own", str(tmp_path / "own")).split())
    assert result.exit_code == 0, result.output
    assert "mdl_2" in result.stdout
    sent = service.asked[0][1]
    assert (b"weights" in sent, b"small_cnn" in sent, b'["a", "b"]' in sent) == (True, True, True)


def test_the_curve_is_drawn(service: Service, tmp_path: Path) -> None:
    service.answers["GET /models/best/risk-coverage"] = (200, CURVE)
    result = service.masktune("models", "risk-coverage", "best", "--plot", str(tmp_path / "curve.svg"))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "curve.svg").read_text(encoding="utf-8").startswith("<svg xmlns=")
    assert ["points" in asked for asked, _ in service.asked] == [False, True]


def test_images_are_predicted_and_shown(service: Service, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"one")
    abstains = {"decision": "abstain", "label": None, "abstain_reason": "below_threshold", "score": None}
    service.answers["POST /predict"] = (
        200,
        ANSWER | {"predictions": [abstains], "selection": {"status": "none"}},
    )
    service.answers["POST /saliency"] = (200, b"\x89PNG")
    overlay = tmp_path / "o.png"
    options = ["-m", "best", "--subject", "p7", "--overlay", str(overlay)]
    result = service.masktune("predict", str(tmp_path / "one.png"), *options)
    assert result.exit_code == 0, result.output
    assert service.asked[0][0] == "POST /predict?model=best&subject=p7"
    assert "abstains (below the threshold)" in result.stdout
    assert "no policy: every input is answered" in result.stdout
    assert overlay.read_bytes() == b"\x89PNG"


def test_an_image_that_is_unlike_the_training_images_is_told_answered_or_not(
    service: Service, tmp_path: Path
) -> None:
    images = [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"]
    for image in images:
        image.write_bytes(b"png")
    (answered,) = ANSWER["predictions"]
    far = {"distance": 0.61, "threshold": 0.2, "unlike": True}
    abstains = {"decision": "abstain", "label": None, "abstain_reason": "unlike_training", "score": 0.9}
    told = [answered | {"unlike_training": far}, abstains | {"unlike_training": far}]
    near = answered | {"unlike_training": {"distance": 0.1, "threshold": 0.2, "unlike": False}}
    service.answers["POST /predict"] = (200, ANSWER | {"predictions": [*told, near]})
    result = service.masktune("predict", "-m", "best", *map(str, images))
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    assert f"{answered['label']} (unlike the training images)" in words
    assert "abstains (unlike the training images)" in words
    assert words.count("unlike the training images") == 2


def test_each_of_several_images_has_an_overlay_of_its_own(service: Service, tmp_path: Path) -> None:
    images = [tmp_path / "a.png", tmp_path / "b.png"]
    for image in images:
        image.write_bytes(b"png")
    twice = ANSWER["predictions"] * 2
    service.answers["POST /predict"] = (200, ANSWER | {"predictions": twice})
    service.answers["POST /saliency"] = (200, b"\x89PNG")
    result = service.masktune(
        "predict", "-m", "best", *map(str, images), "--overlay", str(tmp_path / "o.png")
    )
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.glob("o*")) == ["o-1.png", "o-2.png"]
    maps = [asked for asked, _ in service.asked if "saliency" in asked]
    assert all("model=mdl_2" in asked for asked in maps), "of the model that answered"
    assert len(maps) == 2


def test_without_a_model_the_newest_tuned_one_is_asked(service: Service, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"png")
    service.answers["GET /models"] = (200, {"data": [MODEL | {"id": "mdl_9"}]})
    service.answers["POST /predict"] = (200, ANSWER)
    result = service.masktune("predict", str(tmp_path / "a.png"))
    assert result.exit_code == 0, result.output
    assert "using the newest model, mdl_9; choose another with --model" in result.stdout
    assert service.asked[0][0] == "GET /models?arm=masktune&limit=1"
    assert service.asked[-1][0] == "POST /predict?model=mdl_9"

    service.answers["GET /models"] = (200, {"data": []})
    result = service.masktune("predict", str(tmp_path / "a.png"))
    assert (result.exit_code, "there is no model yet" in result.stderr) == (1, True)


def test_many_images_go_in_pieces_to_one_model(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masktune.cli.commands.predict._MOST", 1)
    images = [tmp_path / f"{name}.png" for name in "abc"]
    for image in images:
        image.write_bytes(b"png")
    service.answers["POST /predict"] = (200, ANSWER)
    result = service.masktune("predict", "-m", "best", *map(str, images))
    assert result.exit_code == 0, result.output
    assert [asked for asked, _ in service.asked] == [
        f"POST /predict?model={model}" for model in ("best", "mdl_2", "mdl_2")
    ]
    assert all(image.name in result.stdout for image in images)

    def drifting(_: dict[str, str]) -> object:
        drift = {"status": "drifted" if len(service.asked) == 6 else "no_sign_of_drift"}
        return ANSWER | {"selection": ANSWER["selection"] | {"drift": drift}}

    service.by_headers["POST /predict"] = drifting
    result = service.masktune("predict", "-m", "best", *map(str, images))
    assert result.exit_code == 0, result.output
    assert "differ from its calibration split" in result.stdout  # found while the last piece was answered

    def changing(_: dict[str, str]) -> object:
        return ANSWER | {"selection": {"status": "none", "threshold": len(service.asked)}}

    service.by_headers["POST /predict"] = changing
    result = service.masktune("predict", "-m", "best", *map(str, images))
    assert (result.exit_code, "recalibrated" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "a.png --dataset ds_1 --sample 1",
        "--dataset ds_1 --sample 1 --subject p7",
        "--dataset ds_1 --sample 1 --format csv",
        "s3://images s3://more",
        "s3://images --subject p7",
        "s3://images --overlay o.png",
    ],
)
def test_what_to_predict_must_be_clear(service: Service, arguments: str) -> None:
    assert service.masktune("predict", "-m", "best", *arguments.split()).exit_code == 2
    assert service.asked == []


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("mend it", "mend it [/epochs: must be above 0]"),
        ("must be above 0", "must be above 0 [/epochs]"),
        ("/epochs: must be above 0", "/epochs: must be above 0"),
    ],
)
def test_a_problem_is_one_line_with_its_faults(service: Service, detail: str, told: str) -> None:
    fault = {"pointer": "/epochs", "code": "too_small", "detail": "must be above 0"}
    body = {"title": "The request is not valid", "detail": detail, "errors": [fault]}
    service.answers["POST /jobs/erm"] = (422, body)
    result = service.masktune("jobs", "start", "erm", "--dataset", "ds_1")
    assert result.exit_code == 1
    assert result.stderr == f"masktune: The request is not valid: {told}\n"


def test_the_key_is_sent(service: Service) -> None:
    service.answers["GET /jobs"] = (200, {"data": []})
    assert service.masktune("jobs", "list", "--key", "s3cret").exit_code == 0
    assert service.headers[0]["Authorization"] == "Bearer s3cret"


def test_a_key_is_made_with_these_scopes(service: Service) -> None:
    service.answers["POST /keys"] = (201, KEY | {"secret": "mt_x"})
    made = service.masktune("keys", "create", "line", "--json")
    assert json.loads(made.stdout)["secret"] == "mt_x"
    assert json.loads(service.asked[0][1]) == {"name": "line", "scopes": ["read", "predict"]}
    service.masktune("keys", "create", "line", "--owner", "alice")
    assert json.loads(service.asked[1][1])["owner"] == "alice"
    assert service.masktune("keys", "create", "line", "--scope", "root").exit_code == 2


def test_a_secret_that_was_lost_on_its_way_is_told(service: Service) -> None:
    service.answers["POST /keys"] = (201, KEY | {"secret": None})
    result = service.masktune("keys", "create", "line")
    assert (result.exit_code, "revoke the key" in result.stderr) == (1, True)


def test_nothing_there_is_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between its tries
    result = CliRunner().invoke(app, ["jobs", "list", "--url", "http://127.0.0.1:9"])
    assert result.exit_code == 3
    assert "is the service running at http://127.0.0.1:9?" in result.stderr
    assert CliRunner().invoke(app, ["jobs", "list", "--url", "http://a:b"]).exit_code == 2


def test_options_of_all_commands_may_stand_before_a_command(service: Service) -> None:
    service.answers["GET /jobs/-1"] = (200, JOB)
    service.answers["GET /jobs"] = (200, {"data": [JOB | {"id": "-1"}]})
    before = ["--json", "--url", service.url, "--key=k"]
    result = CliRunner().invoke(app, [*before, "jobs", "show", "--", "-1"])
    assert (result.exit_code, json.loads(result.stdout)["id"]) == (0, "job_1")
    assert service.headers[-1]["Authorization"] == "Bearer k"


def test_the_first_key_is_shown_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "first"
    command, env = ["keys", "first"], {"MASKTUNE_FIRST_KEY_FILE": str(file)}
    assert "MASKTUNE_FIRST_KEY_FILE is not set" in CliRunner().invoke(app, command).stderr
    assert "there is no" in CliRunner().invoke(app, command, env=env).stderr
    file.write_text("mt_secret")
    assert CliRunner().invoke(app, command, env=env).stdout == "mt_secret\n"


def test_a_webhook_is_told_of_all_events_unless_some_are_named(service: Service) -> None:
    service.answers["POST /webhooks"] = (201, WEBHOOK | {"secret": "whsec_x"})
    service.answers["PATCH /webhooks/whk_1"] = (200, WEBHOOK)
    assert service.masktune("webhooks", "create", "https://a").exit_code == 0
    assert json.loads(service.asked[-1][1])["events"] == [event.value for event in WebhookEvent]
    options = ("--event", "job.failed", "--event", "model.drifted", "--to", "https://b", "--enable")
    assert service.masktune("webhooks", "edit", "whk_1", *options).exit_code == 0
    events = ["job.failed", "model.drifted"]
    assert json.loads(service.asked[-1][1]) == {"events": events, "url": "https://b", "enabled": True}
    assert service.masktune("webhooks", "create", "https://a", "--event", "job.started").exit_code == 2


def test_a_secret_that_was_lost_on_the_way_is_an_error(service: Service) -> None:
    service.answers["POST /webhooks"] = (201, WEBHOOK | {"secret": None})
    result = service.masktune("webhooks", "create", "https://a")
    assert (result.exit_code, "rotate it" in result.output) == (1, True)
