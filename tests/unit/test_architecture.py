"""The rules of the house, read from the syntax trees: who may import, print and name what."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import circle_migrate

_PACKAGE = Path(circle_migrate.__file__).parent
_MOST_LINES = 350
_VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}

# Who may name a database: its settings, its models, its revisions; and shell completion, which must answer
# before anything else is loaded.
_MAY_NAME_DATABASES = ("settings/", "models/", "revisions/")
_NAMED_FOR_COMPLETION = {("cli/call.py", "main"), ("cli/call.py", "credentials")}


@dataclass(frozen=True)
class Module:
    """A file of the package; `name` is its path within it."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text, self.name)

    @property
    def package(self) -> list[str]:
        """The package its relative imports start from."""
        return ["circle_migrate", *Path(self.name).parent.parts]

    def imports(self) -> Iterator[tuple[str, ast.stmt]]:
        """Every imported module by its full name, wherever in the file it is imported."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                start = self.package[: len(self.package) + 1 - node.level] if node.level else []
                name = ".".join(filter(None, [*start, node.module]))
                yield from ((f"{name}.{alias.name}", node) for alias in node.names)

    def for_type_checkers(self) -> set[ast.AST]:
        """Everything below an `if TYPE_CHECKING`."""
        return {
            inner
            for node in ast.walk(self.tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for each in node.body
            for inner in ast.walk(each)
        }


_MODULES = [
    Module(path.relative_to(_PACKAGE).as_posix(), path.read_text(encoding="utf-8"))
    for path in sorted(_PACKAGE.rglob("*.py"))
]


def within(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of the packages or lies in one."""
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def outside(*folders: str) -> list[Module]:
    """The modules that are not in these folders of the package."""
    return [module for module in _MODULES if not module.name.startswith(folders)]


def test_modules_are_found() -> None:
    assert {"errors.py", "core/plan.py", "cli/app.py"} <= {module.name for module in _MODULES}


def test_core_imports_the_standard_library_and_itself() -> None:
    foreign = [
        (module.name, name)
        for module in _MODULES
        if module.name.startswith("core/")
        for name, _ in module.imports()
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not within(name, "circle_migrate.core", "circle_migrate.errors")
    ]
    assert foreign == []


def test_only_tree_imports_alembic() -> None:
    imported = [
        (module.name, name)
        for module in outside("tree/", "revisions/")
        for name, node in module.imports()
        if within(name, "alembic") and node not in module.for_type_checkers()
    ]
    assert imported == []


def test_only_cli_prints_or_asks() -> None:
    written = [
        (module.name, node.lineno, ast.unparse(node))
        for module in outside("cli/")
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Name) and node.id in {"print", "input"})
        or (isinstance(node, ast.Attribute) and ast.unparse(node) in {"sys.stdout", "sys.stderr"})
    ]
    assert written == []
    speaking = ("typer", "click", "getpass.getpass", "sys.stdout", "sys.stderr")
    imported = [
        (module.name, name)
        for module in outside("cli/")
        for name, _ in module.imports()
        if within(name, *speaking)
    ]
    assert imported == []


def test_only_settings_models_and_revisions_name_a_database() -> None:
    named = {
        (module.name, node.value)
        for module in outside(*_MAY_NAME_DATABASES)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and node.value in {"main", "credentials"}
    }
    assert named <= _NAMED_FOR_COMPLETION


def test_every_module_can_be_read_in_one_sitting() -> None:
    lengths = {module.name: len(module.text.splitlines()) for module in _MODULES}
    assert {name: length for name, length in lengths.items() if length > _MOST_LINES} == {}


def test_every_module_is_named_for_what_it_does() -> None:
    parts = {module.name: Path(module.name).with_suffix("").parts for module in _MODULES}
    assert [name for name, each in parts.items() if _VAGUE & {part.strip("_") for part in each}] == []
