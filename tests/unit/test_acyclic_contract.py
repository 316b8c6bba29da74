"""The contract that `make imports` holds: no circle of imports."""

from __future__ import annotations

from grimp import ImportGraph

from tests.support.acyclic_contract import AcyclicModules


def _graph(*imports: tuple[str, str]) -> ImportGraph:
    graph = ImportGraph()
    for importer, imported in imports:
        graph.add_import(importer=importer, imported=imported)
    return graph


def _contract(*packages: str) -> AcyclicModules:
    return AcyclicModules("no circle", {}, {"packages": list(packages)})


def test_a_circle_through_several_modules_is_broken() -> None:
    graph = _graph(("app.a", "app.b"), ("app.b", "core.c"), ("core.c", "app.a"), ("app.a", "core.d"))
    check = _contract("app", "core").check(graph, False)
    assert not check.kept
    assert set(check.metadata["circle"]) == {"app.a", "app.b", "core.c"}


def test_imports_in_one_direction_are_kept() -> None:
    graph = _graph(("app.a", "app.b"), ("app.b", "core.c"), ("app.a", "core.c"))
    assert _contract("app", "core").check(graph, False).kept


def test_other_packages_do_not_count() -> None:
    graph = _graph(("tests.a", "tests.b"), ("tests.b", "tests.a"), ("app.a", "core.c"))
    assert _contract("app", "core").check(graph, False).kept
