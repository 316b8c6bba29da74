"""Splits of the files that are left out, so that the import cuts its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from models.data.formats import FormatError, FormatOptions, read

MakeTree = Callable[[Mapping[str, bytes | str]], Path]
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
    manifest = read(tree, options=FormatOptions(hold_out=("meta:site=B",), new_splits=True))
    assert [entry.split for entry in manifest.entries] == ["train", "train", "test"]


def test_images_without_their_object_belong_to_no_other_split(make_tree: MakeTree) -> None:
    table = "path,label,split\na.png,cat,train\nb.png,dog,only_bg_t\n"
    with pytest.raises(FormatError, match=r"only_bg_t lost their object"):
        read(make_tree({"labels.csv": table, "a.png": "", "b.png": ""}), options=NEW)
