"""The test split of samples with certain metadata, and splits that are made anew in place of given ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.data.formats import Entry, FormatError, FormatOptions, Manifest, read
from models.data.formats.owner_options import hold_out
from models.data.report import ProblemCode
from tests.unit.models.data.conftest import MakeTree

SITES = ("Berlin", "Ghent", "Oslo")


def manifest(*splits: str | None, subjects: tuple[str | None, ...] = (None,) * 6) -> Manifest:
    """Six images, two at each of three sites, with these splits."""
    own_splits = splits or (None,) * 6
    return Manifest(
        root=Path(),
        format="csv",
        entries=tuple(
            Entry(f"{n}.png", n % 2, split, subject=subject, metadata=(SITES[n // 2], str(n)))
            for n, (split, subject) in enumerate(zip(own_splits, subjects, strict=True))
        ),
        classes=("cat", "dog"),
        metadata_names=("site", "age"),
    )


@pytest.mark.parametrize(
    ("data", "conditions", "expected"),
    [
        (manifest(), ["meta:site=Berlin"], "test test train train train train"),
        (manifest(), ["meta:site=Oslo", "meta:age=0"], "test train train train test test"),
        (manifest(*["train", "val"] * 3), ["meta:site=Ghent"], "train val test test train val"),
        (
            manifest(subjects=("a", "b", "b", "c", "c", None)),
            ["meta:site=Berlin"],
            "test test test train train train",
        ),
    ],
    ids=["a site", "any of two conditions", "other splits stay", "subjects stay whole"],
)
def test_samples_that_meet_a_condition_are_the_test_split(
    data: Manifest, conditions: list[str], expected: str
) -> None:
    held = hold_out(data, conditions)
    assert [entry.split for entry in held.entries] == expected.split()
    assert held.hold_out == tuple(conditions)


def test_a_split_that_is_held_out_whole_is_made_anew() -> None:
    assert hold_out(manifest(), ["meta:site=Berlin"]).splits == ("train", "test")
    with_splits = replace(manifest("val", "val", *["train"] * 4), splits=("train", "val"))
    assert hold_out(with_splits, ["meta:site=Berlin"]).splits == ("train", "test")
    assert hold_out(with_splits, ["meta:age=0"]).splits == ("train", "val", "test")


@pytest.mark.parametrize(
    ("conditions", "detail"),
    [
        (["meta:hospital=Berlin"], "there are: meta:site, meta:age"),
        (["meta:site=berlin"], "there are: 'Berlin', 'Ghent', 'Oslo'"),
        (["site=Berlin"], "write meta:NAME=VALUE"),
        (["meta:site"], "write meta:NAME=VALUE"),
        ([f"meta:site={site}" for site in SITES], "no image is left to train on"),
    ],
)
def test_what_cannot_be_held_out_is_refused(conditions: list[str], detail: str) -> None:
    with pytest.raises(FormatError, match=detail) as refused:
        hold_out(manifest(), conditions)
    assert refused.value.problem.code is ProblemCode.HOLD_OUT


def test_a_second_test_split_is_refused() -> None:
    with pytest.raises(FormatError, match="has a test split already"):
        hold_out(manifest("train", "test", "train", "test", "train", "test"), ["meta:site=Berlin"])


NEW = FormatOptions(new_splits=True)


def test_splits_of_a_list_and_rows_without_one_do_not_count(make_tree: MakeTree) -> None:
    table = "path,label,split\na.png,cat,train\nb.png,dog,first\nc.png,cat,\n"
    tree = make_tree({"labels.csv": table} | dict.fromkeys(("a.png", "b.png", "c.png"), ""))
    manifest = read(tree, options=NEW)
    assert [entry.split for entry in manifest.entries] == [None, None, None]
    assert (manifest.splits, manifest.rejected) == ((), ())
    (reading,) = (one for one in manifest.columns if one.column == "split")
    assert (reading.read_as, reading.detail) == ("ignored", "new splits were asked for")


def test_split_folders_do_not_count(make_tree: MakeTree) -> None:
    tree = make_tree(dict.fromkeys(("train/cat/a.png", "train/dog/b.png", "test/cat/c.png"), ""))
    manifest = read(tree, options=NEW)
    assert {entry.split for entry in manifest.entries} == {None}
    assert (manifest.classes, len(manifest.entries)) == (("cat", "dog"), 3)


def test_a_held_out_site_makes_the_test_split_in_place_of_the_given_one(make_tree: MakeTree) -> None:
    table = "path,label,split,site\na.png,cat,train,A\nb.png,dog,test,A\nc.png,cat,val,B\n"
    tree = make_tree({"labels.csv": table} | dict.fromkeys(("a.png", "b.png", "c.png"), ""))
    with pytest.raises(FormatError, match="new_splits"):
        read(tree, options=FormatOptions(hold_out=("meta:site=B",)))
    with pytest.raises(FormatError, match="has a test split already"):
        read(tree, options=FormatOptions(hold_out=("meta:site=B",), split="test"))
    manifest = read(tree, options=FormatOptions(hold_out=("meta:site=B",), new_splits=True))
    assert [entry.split for entry in manifest.entries] == ["train", "train", "test"]


def test_images_without_their_object_belong_to_no_other_split(make_tree: MakeTree) -> None:
    table = "path,label,split\na.png,cat,train\nb.png,dog,only_bg_t\n"
    with pytest.raises(FormatError, match=r"only_bg_t lost their object"):
        read(make_tree({"labels.csv": table, "a.png": "", "b.png": ""}), options=NEW)
