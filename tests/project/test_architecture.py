"""Rules about imports, output and names, checked on the syntax trees of the package."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import circle_migrate

_PACKAGE = Path(circle_migrate.__file__).parent
_ARCHITECTURE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
_MOST_LINES = 350
_VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}

_ORDER = (
    "cli",
    "commands",
    "safety",
    "backup",
    "diff",
    "migrate",
    "postgres",
    "revision_graph",
    "config",
    "core",
)
"""A package imports only itself and packages to its right."""
_BESIDE = {"__init__", "__main__", "indexes", "models", "revisions"}
"""The entry points and the data of the platform's two databases."""

_PURE = ("core/", "revision_graph/", "diff/", "safety/rules/", "safety/hazards/")
_IMPURE = ("diff/autogenerate/", "diff/expected/")
_MAY_IMPORT_ALEMBIC = (
    "migrate/alembic_adapter/",
    "revision_graph/modules.py",
    "diff/autogenerate/alembic_",
    "revisions/",
)
# Shell completion must answer before anything else is loaded.
_MAY_NAME_DATABASES = ("config/", "models/", "revisions/")
_NAMED_FOR_COMPLETION = {("cli/options.py", name) for name in ("main", "credentials")}
_NAMED_AS_BRANCH = {("commands/checks/git_base.py", "main")}


@dataclass(frozen=True)
class Module:
    """A file of the package; `name` is its path within it."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, self.name)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """The nodes of the tree."""
        return list(ast.walk(self.tree))

    @property
    def dotted(self) -> str:
        """The full name, as in an import."""
        parts = ["circle_migrate", *Path(self.name).with_suffix("").parts]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def package(self) -> str:
        """The top-level package of the module."""
        return Path(self.name).with_suffix("").parts[0]

    def imports(self) -> Iterator[tuple[str, ast.stmt]]:
        """Yield the full name of every import in the file, at any depth."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((alias.name, node) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}:{node.lineno}: relative import"
                yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)

    def imported_modules(self) -> set[str]:
        """Return the imported modules of the package, also those in functions and under TYPE_CHECKING."""
        modules = set()
        for name, _ in self.imports():
            while name and name not in _BY_NAME:
                name = name.rpartition(".")[0]  # noqa: PLW2901 - the module that defines the name
            modules |= {name} - {"", "circle_migrate", self.dotted}
        return modules

    def for_type_checkers(self) -> set[ast.AST]:
        """Return every node below an `if TYPE_CHECKING`."""
        return {
            inner
            for node in self.nodes
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for statement in node.body
            for inner in ast.walk(statement)
        }


_MODULES = [
    Module(path.relative_to(_PACKAGE).as_posix(), path.read_text(encoding="utf-8"))
    for path in sorted(_PACKAGE.rglob("*.py"))
]
_BY_NAME = {module.dotted: module for module in _MODULES}


def within(name: str, *packages: str) -> bool:
    """Return whether a dotted name is one of the packages or is inside one."""
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def outside(*folders: str) -> list[Module]:
    """Return the modules outside of these folders."""
    return [module for module in _MODULES if not module.name.startswith(folders)]


def test_the_top_holds_the_planned_packages_and_nothing_else() -> None:
    assert {module.package for module in _MODULES} == {*_ORDER, *_BESIDE}


@pytest.mark.parametrize("package", _ORDER)
def test_a_package_imports_only_packages_to_its_right(package: str) -> None:
    allowed = {*_ORDER[_ORDER.index(package) :], "indexes"}
    upward = [
        (module.name, name)
        for module in _MODULES
        if module.package == package
        for name in module.imported_modules()
        if _BY_NAME[name].package not in allowed
    ]
    assert upward == []


def test_indexes_imports_only_core() -> None:
    imported = _BY_NAME["circle_migrate.indexes"].imported_modules()
    assert {_BY_NAME[name].package for name in imported} == {"core"}


def test_there_is_no_import_cycle() -> None:
    graph = {module.dotted: module.imported_modules() for module in _MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_package_inits_hold_a_sentence_and_no_code() -> None:
    for module in _MODULES:
        if module.name.endswith("/__init__.py") and not module.name.startswith("models/"):
            assert ast.get_docstring(module.tree), module.name
            assert len(module.tree.body) == 1, module.name


def test_core_imports_the_standard_library_and_itself() -> None:
    foreign = [
        (module.name, name)
        for module in _MODULES
        if module.package == "core"
        for name, _ in module.imports()
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not within(name, "circle_migrate.core", "circle_migrate.__version__")
    ]
    assert foreign == []


@pytest.mark.parametrize("library", ["alembic", "asyncpg", "sqlalchemy"])
def test_planning_and_judging_import_no_driver(library: str) -> None:
    imported = [
        (module.name, name)
        for module in _MODULES
        if module.name.startswith(_PURE) and not module.name.startswith(_IMPURE)
        for name, node in module.imports()
        if within(name, library) and node not in module.for_type_checkers()
    ]
    assert [pair for pair in imported if not pair[0].startswith(_MAY_IMPORT_ALEMBIC)] == []


def test_only_the_adapter_imports_alembic() -> None:
    imported = [
        (module.name, name)
        for module in outside(*_MAY_IMPORT_ALEMBIC)
        for name, node in module.imports()
        if within(name, "alembic") and node not in module.for_type_checkers()
    ]
    assert imported == []


def test_only_cli_prints_or_asks() -> None:
    written = [
        (module.name, node.lineno, ast.unparse(node))
        for module in outside("cli/")
        for node in module.nodes
        if (isinstance(node, ast.Name) and node.id in {"print", "input"})
        or (isinstance(node, ast.Attribute) and ast.unparse(node) in {"sys.stdout", "sys.stderr"})
    ]
    assert written == []
    terminal = ("typer", "click", "getpass.getpass", "sys.stdout", "sys.stderr")
    imported = [
        (module.name, name)
        for module in outside("cli/")
        for name, _ in module.imports()
        if within(name, *terminal)
    ]
    assert imported == []


def test_only_settings_models_and_revisions_name_a_database() -> None:
    named = {
        (module.name, node.value)
        for module in outside(*_MAY_NAME_DATABASES)
        for node in module.nodes
        if isinstance(node, ast.Constant) and node.value in {"main", "credentials"}
    }
    assert named <= _NAMED_FOR_COMPLETION | _NAMED_AS_BRANCH


def test_no_module_has_too_many_lines() -> None:
    lengths = {module.name: len(module.text.splitlines()) for module in _MODULES}
    assert {name: length for name, length in lengths.items() if length > _MOST_LINES} == {}


def test_no_module_has_a_vague_name() -> None:
    vague = [
        module.name
        for module in _MODULES
        if _VAGUE & {part.strip("_") for part in Path(module.name).with_suffix("").parts}
    ]
    assert vague == []


def test_documentation_maps_the_imports_between_packages() -> None:
    graph: dict[str, set[str]] = {module.package: set() for module in _MODULES}
    for module in _MODULES:
        imported = {_BY_NAME[name].package for name in module.imported_modules()}
        graph[module.package] |= imported - {module.package, "__init__"}
    reachable = {package: _reachable(package, graph) for package in graph}
    direct = {
        (package, imported)
        for package, targets in graph.items()
        if package not in {"__init__", "__main__"}
        for imported in targets
        if not any(imported in reachable[other] for other in targets - {imported})
    }
    drawn = re.search(r"```mermaid\n(.*?)```", _ARCHITECTURE, re.S)
    assert drawn is not None
    assert set(re.findall(r"(\w+) --> (\w+)", drawn[1])) == direct


def _reachable(package: str, graph: dict[str, set[str]]) -> set[str]:
    packages: set[str] = set()
    waiting = [package]
    while waiting:
        waiting += graph[waiting.pop()] - packages
        packages |= set(waiting)
    return packages


@pytest.mark.parametrize(
    ("heading", "most"),
    [
        ("A revision id, from the command line to COMMIT", 18),
        ("A statement, from its revision to a safety finding", 16),
        ("A catalog row, from the server to a line of `diff`", 14),
        ("A lost column, from the scratch database to the question at the terminal", 14),
        ("An error, from the server to the exit status", 14),
    ],
)
def test_documented_walks_pass_few_modules_that_exist(heading: str, most: int) -> None:
    section = _ARCHITECTURE.partition(f"### {heading}\n")[2].partition("\n#")[0]
    walk = re.findall(r"^\d+\. `([\w/]+)`", section, re.M)
    assert 0 < len(walk) <= most
    modules = [_BY_NAME[f"circle_migrate.{name.replace('/', '.')}"] for name in walk]
    imports = {module.dotted: module.imported_modules() for module in modules}
    for module in modules:
        others = {name for name in imports if module.dotted in imports[name]} | imports[module.dotted]
        # It names the other modules in texts.
        assert others & imports.keys() or module.name == "cli/write.py", module.name
