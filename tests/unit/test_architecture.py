"""The rules of the package, read from the syntax trees: who may import, print and name what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import circle_migrate

_PACKAGE = Path(circle_migrate.__file__).parent
_MOST_LINES = 350
_VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}

# Shell completion must answer before anything else is loaded.
_MAY_NAME_DATABASES = ("config/", "settings/", "models/", "revisions/")
_NAMED_FOR_COMPLETION = {
    (f"cli/{module}.py", name) for module in ("call", "command") for name in ("main", "credentials")
}


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
    def dotted(self) -> str:
        """Its full name as an import spells it."""
        parts = ["circle_migrate", *Path(self.name).with_suffix("").parts]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def package(self) -> str:
        """The package at the top of the project that it belongs to."""
        return Path(self.name).with_suffix("").parts[0]

    def imports(self) -> Iterator[tuple[str, ast.stmt]]:
        """Yield every imported name in full, wherever in the file it is imported."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}:{node.lineno}: relative import"
                yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)

    def imported_modules(self) -> set[str]:
        """The modules of the package that it imports, also in functions and under TYPE_CHECKING."""
        modules = set()
        for name, _ in self.imports():
            while name and name not in _BY_NAME:
                name = name.rpartition(".")[0]  # noqa: PLW2901 - the module that defines the name
            modules |= {name} - {"", "circle_migrate", self.dotted}
        return modules

    def for_type_checkers(self) -> set[ast.AST]:
        """Every node below an `if TYPE_CHECKING`."""
        return {
            inner
            for node in ast.walk(self.tree)
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
    """Whether a dotted name is one of the packages or lies in one."""
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def outside(*folders: str) -> list[Module]:
    """The modules that are not in these folders of the package."""
    return [module for module in _MODULES if not module.name.startswith(folders)]


def test_only_cli_prints_or_asks() -> None:
    written = [
        (module.name, node.lineno, ast.unparse(node))
        for module in outside("cli/")
        for node in ast.walk(module.tree)
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
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and node.value in {"main", "credentials"}
    }
    assert named <= _NAMED_FOR_COMPLETION


def test_every_module_can_be_read_in_one_sitting() -> None:
    lengths = {module.name: len(module.text.splitlines()) for module in _MODULES}
    assert {name: length for name, length in lengths.items() if length > _MOST_LINES} == {}


def test_module_names_say_what_they_hold() -> None:
    vague = [
        module.name
        for module in _MODULES
        if _VAGUE & {part.strip("_") for part in Path(module.name).with_suffix("").parts}
    ]
    assert vague == []
