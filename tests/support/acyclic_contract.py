"""A contract for import-linter: no module imports itself through others.

Its own `acyclic_siblings` asks for more: that the packages of a package form no circle either.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class AcyclicModules(Contract):
    """Imports inside functions and for type checking count as well."""

    packages = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        packages = cast("set[str]", self.packages)  # the field's type is that of its declaration
        modules = {module for module in graph.modules if module.partition(".")[0] in packages}
        imports = {module: graph.find_modules_directly_imported_by(module) & modules for module in modules}
        try:
            TopologicalSorter(imports).prepare()
        except CycleError as error:
            return ContractCheck(kept=False, metadata={"circle": error.args[1]})
        return ContractCheck(kept=True)

    def render_broken_contract(self, check: ContractCheck) -> None:
        output.print_error(" is imported by ".join(check.metadata["circle"]))
