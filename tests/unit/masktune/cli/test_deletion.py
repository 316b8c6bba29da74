"""What is asked before something is deleted, and what happens where nobody can be asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import pytest
import typer

import masktune
from masktune.cli.output import REFUSED, console
from masktune.cli.session import Session
from masktune.contract.deletion import Dependents, deletion_question
from tests.unit.masktune.cli.conftest import Service

NEEDED = {"of": "mdl_1", "models": ["mdl_2"], "jobs": [f"job_{n}" for n in range(7)], "aliases": ["best"]}


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The descriptor through which one types at the terminal that standard input is."""
    typed, terminal = os.openpty()
    with os.fdopen(terminal) as screen:
        monkeypatch.setattr("sys.stdin", screen)
        yield typed
    os.close(typed)


def delete_model(service: Service) -> None:
    with masktune.Client(service.url) as client:
        session = Session(client, console(), json=False)
        session.ask_and_delete("model", "mdl_1", client.models.delete, yes=False)


def test_a_person_at_a_terminal_is_asked_with_what_needs_it(
    service: Service, keyboard: int, capsys: pytest.CaptureFixture[str]
) -> None:
    service.answers["GET /dependents"] = (200, NEEDED)
    service.answers["DELETE /models/mdl_1"] = (204, None)
    os.write(keyboard, b"n\ny\n")
    with pytest.raises(typer.Exit) as refusal:
        delete_model(service)
    assert (refusal.value.exit_code, len(service.asked)) == (REFUSED, 1)
    assert capsys.readouterr().err.endswith("masktune: nothing was deleted\n")
    delete_model(service)
    assert [asked for asked, _ in service.asked[1:]] == ["GET /dependents?of=mdl_1", "DELETE /models/mdl_1"]
    shown = capsys.readouterr()
    assert (
        "needed by: models mdl_2; jobs job_0, job_1, job_2, job_3, job_4 and 2 more; aliases best"
        in shown.err
    )
    assert shown.out.endswith("model mdl_1 is deleted\n")


@pytest.mark.parametrize("keep_dataset", [False, True])
def test_a_job_takes_images_without_labels_along_unless_they_are_kept(
    service: Service, keyboard: int, capsys: pytest.CaptureFixture[str], keep_dataset: bool
) -> None:
    service.answers["GET /dependents"] = (200, {"of": "job_1", "datasets": ["ds_1"]})
    service.answers["DELETE /jobs/job_1"] = (204, None)
    os.write(keyboard, b"y\n")
    with masktune.Client(service.url) as client:
        delete = partial(client.jobs.delete, keep_dataset=keep_dataset)
        session = Session(client, console(), json=False)
        session.ask_and_delete("job", "job_1", delete, yes=False, keep_dataset=keep_dataset)
    assert ("The images of data set ds_1 go with it." in capsys.readouterr().err) is not keep_dataset
    service.masktune("jobs", "delete", "job_1", "--yes", *["--keep-dataset"] * keep_dataset)
    query = "?keep_dataset=true" if keep_dataset else ""
    assert [asked for asked, _ in service.asked[1:]] == [f"DELETE /jobs/job_1{query}"] * 2


@pytest.mark.parametrize("what", ["datasets delete ds_1", "jobs delete job_1", "models delete mdl_1"])
def test_without_a_terminal_a_script_must_say_yes(service: Service, what: str) -> None:
    refused = service.masktune(*what.split())
    assert (refused.exit_code, refused.stdout, service.asked) == (2, "", [])
    assert refused.stderr == (
        "masktune: there is no terminal to ask at: add --yes to delete it without a question\n"
    )


@pytest.mark.parametrize(
    ("of", "name", "begins"),
    [
        ("ds_1", "“birds”", "Delete data set “birds”? Its images go. Its models and jobs stay, "),
        ("mdl_1", "", "Delete model mdl_1? Its weights go. "),
        ("job_1", "", "Delete job job_1? Its checkpoints, masks, report, predictions, log and "),
    ],
)
def test_the_question_says_what_goes_and_what_stays(of: str, name: str, begins: str) -> None:
    question = deletion_question(Dependents(of=of), name)
    assert question.startswith(begins)
    assert question.endswith(". This cannot be undone.")
    assert "needed by" not in question
