"""What a report says by metadata: the worst slice, only where it is surely worse, and how far to trust it."""

from __future__ import annotations

from app.reports.service import render
from masktune.cli.report import render as render_terminal
from masktune.cli.terminal import Terminal
from masktune.contract.report import Report
from masktune.contract.report.text.metadata import metadata_note, metadata_sentences, value_name
from masktune.contract.vocabulary import Arm
from tests.support.reports import evidence, report
from web.shell import render as render_dashboard

TOLD = Report.model_validate(evidence(report()))


def test_the_worst_slice_of_a_model_is_named_only_if_it_is_surely_worse() -> None:
    before, after = metadata_sentences(TOLD)
    erm = evidence(report())["metadata_slices"]["slices"][0]["accuracies"]["erm"]
    of_slice, of_rest = (f"{100 * one['low']:.1f} – {100 * one['high']:.1f}" for one in (erm, erm["rest"]))
    assert before == (
        "Of 2 slices by metadata, ERM is least accurate on images with scanner X1: it is right on "
        f"60.0\u00a0% of them ({of_slice}), and on 95.0\u00a0% of the others ({of_rest}). The intervals "
        "allow for how many slices were looked at."
    )
    assert after == (
        "Of 2 slices by metadata, there is none on which MaskTune is surely less accurate than on the other "
        "images of the test split."
    )


def test_how_many_slices_are_surely_worse_is_said() -> None:
    value = evidence(report())
    first, second = value["metadata_slices"]["slices"]
    second["accuracies"]["erm"] = first["accuracies"]["erm"] | {"accuracy": 0.61}
    sentence = metadata_sentences(Report.model_validate(value))[0]
    assert "scanner X1" in sentence
    assert sentence.endswith("It is surely lower on 1 more.")


def test_images_without_a_value_are_named_as_such() -> None:
    value = evidence(report())
    value["metadata_slices"]["slices"][0]["value"] = None
    without_value = Report.model_validate(value)
    assert "is least accurate on images without scanner: it is right" in metadata_sentences(without_value)[0]
    assert without_value.metadata_slices is not None
    assert value_name(without_value.metadata_slices.slices[0]) == "no value"


def test_page_dashboard_and_terminal_say_the_same() -> None:
    assert TOLD.metadata_slices is not None
    sentences, note = metadata_sentences(TOLD), metadata_note(TOLD.metadata_slices)
    page = render(TOLD, lambda name: f"data:image/png;base64,{name}")
    dashboard = render_dashboard(
        "report_metadata", sliced=TOLD.metadata_slices, sentences=sentences, note=note, value_name=value_name
    )
    for text in (page, dashboard):
        assert "exploratory" in text
        assert all(sentence in text for sentence in (*sentences, note))
        assert "&lt;b&gt;X2&lt;/b&gt;" in text
        assert text.count("120 subjects") == 2
    console = Terminal(width=1000)
    with console.capture() as terminal_text:
        console.print(render_terminal(TOLD))
    assert all(sentence in terminal_text.get() for sentence in sentences)


def test_the_note_says_how_many_comparisons_hold_together() -> None:
    assert TOLD.metadata_slices is not None
    note = metadata_note(TOLD.metadata_slices)
    assert f"that all {2 * len(TOLD.models)} hold together with 95\u00a0% confidence" in note
    assert note.endswith("file: none of its 400 values has 10 images.")
    assert Arm.ERM in TOLD.models
