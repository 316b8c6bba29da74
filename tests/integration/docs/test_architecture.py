"""docs/ARCHITECTURE.md: its picture is the code's, and the places that it names are there."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError

import pytest

from docs import package_picture
from docs.package_picture import ROOT, Graph, import_graph, picture, rows, without_detours

PLACES = re.findall(
    r"`(\w+)` in `([\w/]+\.py)`",
    (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Where to change what")[2],
)
DIAMOND: Graph = {
    "launcher": frozenset({"app", "web", "core"}),
    "app": frozenset({"core"}),
    "web": frozenset({"core"}),
    "core": frozenset(),
}


def test_the_picture_is_drawn_from_the_imports() -> None:
    """When this fails: make picture-of-packages"""
    assert (ROOT / "docs/images/packages.svg").read_text(encoding="utf-8") == picture(import_graph())


def test_every_package_that_the_picture_shows_says_what_it_is_for() -> None:
    assert [name for name in package_picture.PACKAGES if not package_picture.purpose(name)] == []


def test_a_package_stands_above_what_it_imports() -> None:
    assert rows(DIAMOND) == [["launcher"], ["app", "web"], ["core"]]


def test_an_import_that_others_stand_for_is_left_out() -> None:
    assert without_detours(DIAMOND)["launcher"] == {"app", "web"}
    assert without_detours(DIAMOND)["app"] == {"core"}


def test_a_circle_has_no_picture() -> None:
    with pytest.raises(CycleError):
        rows({**DIAMOND, "core": frozenset({"app"})})


@pytest.mark.parametrize(("name", "file"), PLACES)
def test_a_place_to_change_something_is_there(name: str, file: str) -> None:
    """A function, a class or a field of this name."""
    defined = {
        node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ast.unparse(node.target)
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AnnAssign)
    }
    assert name in defined


def test_the_page_answers_five_questions() -> None:
    assert len(PLACES) >= 5
