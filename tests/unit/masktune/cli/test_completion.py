"""What the shell offers after a Tab, asked as bash asks it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from masktune.cli import completion
from masktune.cli.main import app
from masktune.contract.vocabulary import Arm, JobKind
from tests.support.answers import ALIAS, DATASET, JOB, KEY, MODEL
from tests.unit.masktune.cli.conftest import Service

PRESET = {"name": "cifar10", "title": "CIFAR-10"}


def offered(line: str, url: str = "http://127.0.0.1:9") -> list[str]:
    """The words that a Tab at the end of this line brings."""
    words = line.split(" ")
    environment = {
        "_MASKTUNE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "MASKTUNE_URL": url,
    }
    result = CliRunner().invoke(app, [], prog_name="masktune", env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("masktune jobs wa", ["watch"]),
        ("masktune jobs start mask", ["masktune", "mask"]),
        ("masktune jobs list --state suc", ["succeeded"]),
        ("masktune jobs start erm --set optimizer.w", ["optimizer.weight_decay="]),
        ("masktune jobs start retrain_head --set head.f", ["head.folds="]),
        ("masktune datasets add . --format c", ["csv", "celeba", "coco", "cvat"]),
        ("masktune models list --arm e", ["erm"]),
        ("masktune models backbones --weights pa", ["packaged"]),
        ("masktune keys create line --scope a", ["admin"]),
    ],
)
def test_words_need_no_service(line: str, words: list[str]) -> None:
    assert offered(line) == words


@pytest.mark.parametrize(
    ("line", "asked", "entry", "words"),
    [
        ("masktune datasets show ", "GET /datasets", DATASET, ["ds_1"]),
        ("masktune jobs watch job", "GET /jobs", JOB, ["job_1"]),
        ("masktune jobs start erm --preset ", "GET /presets", PRESET, ["cifar10"]),
        ("masktune predict --model m", "GET /models", MODEL, ["mdl_2"]),
        ("masktune models rollback ", "GET /aliases", ALIAS, ["best"]),
        ("masktune keys revoke ", "GET /keys", KEY, ["key_1"]),
    ],
)
def test_ids_come_from_the_service(
    service: Service, line: str, asked: str, entry: dict[str, object], words: list[str]
) -> None:
    service.answers |= {"GET /aliases": (200, {"data": []}), asked: (200, {"data": [entry]})}
    assert offered(line, service.url) == words


def test_a_name_beside_an_id_is_shown_as_it_is(service: Service) -> None:
    service.answers["GET /datasets"] = (200, {"data": [DATASET | {"name": "photos[/x] [old]"}]})
    environment = {
        "_MASKTUNE_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_ARGS": "masktune datasets show ",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "MASKTUNE_URL": service.url,
    }
    result = CliRunner().invoke(app, [], prog_name="masktune", env=environment)
    assert result.stdout == "ds_1\tphotos[/x] [old]\n"


def test_a_service_that_is_away_or_says_no_offers_nothing(service: Service) -> None:
    assert offered("masktune jobs watch ") == []
    service.answers["GET /jobs"] = (401, {"title": "A valid key is required"})
    assert offered("masktune jobs watch ", service.url) == []


def test_an_address_before_the_command_is_asked(service: Service) -> None:
    service.answers["GET /jobs"] = (200, {"data": [JOB]})
    assert offered(f"masktune --url {service.url} jobs watch ") == ["job_1"]
    assert offered("masktune --json jobs wa") == ["watch"]


def test_only_what_is_of_no_use_is_left_out() -> None:
    assert set(JobKind) - set(completion.KINDS) == {JobKind.IMPORT}  # begins with its data set
    assert set(Arm) - set(completion.ARMS) == {Arm.BASELINE}  # of which no model is
