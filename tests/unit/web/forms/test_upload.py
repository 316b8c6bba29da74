"""The form of an upload: what it offers."""

from __future__ import annotations

from masktune.contract.datasets import FormatOptions
from masktune.contract.hyperparameters import DatasetFormat
from web.forms.upload import COMMON, FORMATS, RARE
from web.shell import render


def test_every_option_of_an_upload_is_offered_and_described() -> None:
    fields = {field.name: field for field in (*COMMON, *RARE)}
    assert fields.keys() == {f"options/{name}" for name in FormatOptions.model_fields} | {"seed"}
    assert all(field.description for field in fields.values())


def test_every_format_is_offered_detection_first() -> None:
    assert set(FORMATS) == set(DatasetFormat)
    assert next(iter(FORMATS)) is DatasetFormat.AUTO


def test_a_field_has_its_description_with_code_in_it() -> None:
    page = render("upload_fields", fields=COMMON, link=str)
    assert 'aria-describedby="dataset-subject-hint"' in page
    assert 'id="dataset-subject-hint">Which part of a file&#39;s path' in page
    assert "<code>*/{subject}_*</code>" in page
