"""What an env.py says, read from its syntax tree: no env.py is run."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from circle_migrate.commands.adopt.source_files import Binding, Modules, Reference, SourceFile

_OWN = {"alembic", "sqlalchemy", "logging", "circle_migrate", "dotenv"}
_READS = re.compile(r"(?:\w+\.)?(?:environ\.get|getenv)|config|decouple\.config|env(?:\.\w+)?|\w*Config")
_ENVIRON = re.compile(r"(?:os\.)?environ")
_URL_NAME = re.compile(r"ur[il]$|dsn$|database|sqlalchemy|postgres|^pg", re.IGNORECASE)
_URL_CALLS = re.compile(r"(?:.*\.)?(?:set_main_option|set_section_option|create_(?:async_)?engine)")
_KNOWN_CALLS = re.compile(
    r"(?:.*\.)?(?:set_main_option|set_section_option|fileConfig|dictConfig|basicConfig|load_dotenv|run\w*"
    r"|getLogger|setLevel|addHandler|info|debug|warning|disable_existing_loggers|configure|print)"
    r"|logg(?:ing|er)\..*|sys\.path\..*|asyncio\..*|warnings\..*"
)


class Keyword(NamedTuple):
    """A value of an option that env.py passes to `context.configure`."""

    value: ast.expr
    line: int


class Statement(NamedTuple):
    """The text of a statement that env.py sends, or its code; {} is a part that follows from running it."""

    text: str
    line: int


class EnvFile:
    """The facts of one env.py."""

    def __init__(self, path: Path, modules: Modules) -> None:
        self.path, self._modules = path, modules
        self.source = SourceFile(path)

    @cached_property
    def calls(self) -> list[tuple[str, ast.Call]]:
        """All calls with the text of their function."""
        nodes = (node for node in ast.walk(self.source.tree) if isinstance(node, ast.Call))
        return sorted(((ast.unparse(node.func), node) for node in nodes), key=lambda pair: pair[1].lineno)

    @cached_property
    def configure_calls(self) -> list[ast.Call]:
        """The calls of `context.configure`."""
        return [call for name, call in self.calls if re.fullmatch(r"(?:.*\.)?context\.configure", name)]

    @cached_property
    def options(self) -> dict[str, list[Keyword]]:
        """The options of all calls of `context.configure`, also of dictionaries that are passed by **."""
        found: dict[str, list[Keyword]] = {}
        for call in self.configure_calls:
            for keyword in call.keywords:
                if keyword.arg is not None:
                    found.setdefault(keyword.arg, []).append(Keyword(keyword.value, keyword.value.lineno))
                else:
                    for name, value in self._dictionary(keyword.value):
                        found.setdefault(name, []).append(Keyword(value, value.lineno))
        return found

    @cached_property
    def unknown_options(self) -> list[Keyword]:
        """What is passed by ** and only follows from running the file."""
        given = (
            keyword.value for call in self.configure_calls for keyword in call.keywords if not keyword.arg
        )
        return [Keyword(value, value.lineno) for value in given if not self._dictionary(value)]

    def _dictionary(self, value: ast.expr) -> list[tuple[str, ast.expr]]:
        node: ast.AST | None = value
        if isinstance(value, ast.Name) and (binding := self.source.binding(value.id)):
            node = binding.node
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return [(str(key.value), item) for key, item in pairs if isinstance(key, ast.Constant)]
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict":
            return [(item.arg, item.value) for item in node.keywords if item.arg]
        return []

    def function(self, value: ast.expr) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """Return the function of this file that a value names."""
        binding = self.source.binding(value.id) if isinstance(value, ast.Name) else None
        node = binding.node if binding else None
        return node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None

    def constant(self, value: ast.expr) -> object:
        """Return a constant, also one that a name of the file or of the project stands for; else the node."""
        if isinstance(value, ast.Constant):
            return value.value
        binding = self.source.binding(value.id) if isinstance(value, ast.Name) else None
        if binding and isinstance(binding.node, ast.Constant):
            return binding.node.value
        reference = self._modules.resolve(value, self.source)
        defined = reference and self._modules.definition(reference)
        if defined and isinstance(defined[1], ast.Constant) and not defined[2]:
            return defined[1].value
        return value

    @cached_property
    def imported_for_effect(self) -> dict[str, int]:
        """The modules that the file imports without using their names, with the lines."""
        nodes = list(ast.walk(self.source.tree))
        used = {node.id for node in nodes if isinstance(node, ast.Name)}
        dotted = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
        found = dict(self.source.stars)
        for name, binding in self.source.names.items():
            if binding.node is None and binding.attribute and name not in used:
                found.setdefault(self._module(binding), binding.line)
        for node in self.source.tree.body:
            for alias in node.names if isinstance(node, ast.Import) else ():
                if alias.name not in dotted and (alias.asname or alias.name) not in used:
                    found.setdefault(alias.name, node.lineno)
        known = _OWN | set(sys.stdlib_module_names)
        inner = {name for name in found if any(other.startswith(f"{name}.") for other in found)}
        return {
            name: line
            for name, line in found.items()
            if name and name.partition(".")[0] not in known and name not in inner
        }

    def _module(self, binding: Binding) -> str:
        if binding.attribute and self._modules.find(f"{binding.module}.{binding.attribute}"):
            return f"{binding.module}.{binding.attribute}"
        return binding.module

    @cached_property
    def url_variables(self) -> dict[str, int]:
        """The environment variables that seem to have the URL, with lines of this file."""
        found = {name: line for name, line in _variables(self.source.tree) if _URL_NAME.search(name)}
        for expression in () if found else self.url_expressions:
            found |= dict.fromkeys(self._variables_of(expression), expression.lineno)
        return found

    @cached_property
    def url_expressions(self) -> list[ast.expr]:
        """The values that the file gives to `sqlalchemy.url` or to an engine, unless they are options."""
        found: list[ast.expr] = []
        for name, call in self.calls:
            if _URL_CALLS.fullmatch(name) and call.args:
                found.append(call.args[-1] if "option" in name else call.args[0])
        for node in ast.walk(self.source.tree):
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if isinstance(node, ast.Assign) and isinstance(target, ast.Subscript):
                key = target.slice
                if isinstance(key, ast.Constant) and str(key.value).endswith("url"):
                    found.append(node.value)
        found += [keyword.value for keyword in self.options.get("url", ())]
        return found

    def _variables_of(self, expression: ast.expr) -> set[str]:
        """Return the variables from which names in an expression get their values, in other modules too."""
        found: set[str] = set()
        for node in ast.walk(expression):
            if not isinstance(node, ast.Name | ast.Attribute):
                continue
            function = self.function(node)
            for inner in ast.walk(function) if function else ():
                if isinstance(inner, ast.Return) and inner.value is not None:
                    found |= self._variables_of(inner.value)
            reference = self._modules.resolve(node, self.source)
            defined = reference and self._modules.definition(reference)
            if defined:
                found |= _variables_of_definition(*defined, self._modules)
        return found

    @cached_property
    def statements(self) -> list[Statement]:
        """The SQL that the file sends itself."""
        found = []
        for name, call in self.calls:
            if call.args and name.rpartition(".")[2] in ("execute", "exec_driver_sql", "scalar"):
                found.append(Statement(self._text(call.args[0]), call.lineno))
        return found

    def _text(self, value: ast.expr) -> str:
        if isinstance(value, ast.Call) and value.args and ast.unparse(value.func).endswith("text"):
            return self._text(value.args[0])
        if isinstance(value, ast.JoinedStr):
            return "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in value.values
            )
        binding = self.source.binding(value.id) if isinstance(value, ast.Name) else None
        if binding and isinstance(binding.node, ast.Call | ast.JoinedStr):
            return self._text(binding.node)
        constant = self.constant(value)
        return constant if isinstance(constant, str) else outline(value)

    @cached_property
    def loops(self) -> list[int]:
        """The lines of loops that configure or run migrations in each round."""
        found = []
        for node in ast.walk(self.source.tree):
            if isinstance(node, ast.For | ast.AsyncFor):
                names = {ast.unparse(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}
                if any(re.search(r"run_\w*migrations|context\.configure", name) for name in names):
                    found.append(node.lineno)
        return found

    @cached_property
    def unknown_calls(self) -> list[Statement]:
        """Calls at the top of the file that do more than to set up Alembic and logging."""
        own = {name for name, binding in self.source.names.items() if binding.node is not None}
        found = []
        for statement in self.source.tree.body:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Call):
                name = ast.unparse(value.func)
                if not _KNOWN_CALLS.fullmatch(name) and name not in own:
                    found.append(Statement(name, statement.lineno))
            elif isinstance(statement, ast.For | ast.While) and statement.lineno not in self.loops:
                found.append(Statement("a loop", statement.lineno))
        return found

    def reference(self, value: ast.AST) -> Reference | None:
        """Return the object outside of this file that a value names, if nothing has to be run to know it."""
        reference = self._modules.resolve(value, self.source)
        return reference if reference and reference.attributes else None


def outline(value: ast.expr) -> str:
    """Return an expression as text, without texts in it: they may be passwords."""
    copy = ast.parse(ast.unparse(value), mode="eval")
    for node in ast.walk(copy):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = "…"
    return ast.unparse(copy)


def _variables(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the environment variables that code reads, with their lines."""
    for node in ast.walk(tree):
        key: ast.AST | None = None
        if isinstance(node, ast.Subscript) and _ENVIRON.fullmatch(ast.unparse(node.value)):
            key = node.slice
        elif isinstance(node, ast.Call) and node.args and _READS.fullmatch(ast.unparse(node.func)):
            key = node.args[0]
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and key.value.isidentifier():
            yield key.value, getattr(node, "lineno", 1)


def _variables_of_definition(
    file: SourceFile, node: ast.AST, attributes: tuple[str, ...], modules: Modules
) -> set[str]:
    """Return the variables of a value: those that it reads, or that of a field of a class of settings."""
    direct = {name for name, _ in _variables(node)} if not isinstance(node, ast.ClassDef) else set()
    if direct or not attributes:
        return direct
    function = node.func if isinstance(node, ast.Call) else node
    settings = file.binding(function.id) if isinstance(function, ast.Name) else None
    definition = settings.node if settings else node
    if settings and settings.node is None:
        reference = modules.resolve(function, file)
        defined = reference and modules.definition(reference)
        definition = defined[1] if defined else None
    if not isinstance(definition, ast.ClassDef):
        return set()
    prefix = ""
    for inner in ast.walk(definition):
        if (
            isinstance(inner, ast.keyword)
            and inner.arg == "env_prefix"
            and isinstance(inner.value, ast.Constant)
        ):
            prefix = str(inner.value.value)
        elif isinstance(inner, ast.Assign) and ast.unparse(inner.targets[0]) == "env_prefix":
            prefix = str(getattr(inner.value, "value", ""))
        elif isinstance(inner, ast.Dict):
            pairs = zip(inner.keys, inner.values, strict=True)
            values = [item for key, item in pairs if getattr(key, "value", None) == "env_prefix"]
            prefix = str(getattr(values[0], "value", "")) if values else prefix
    for statement in definition.body:
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == attributes[0]:
            names = {
                str(keyword.value.value)
                for keyword in ast.walk(statement)
                if isinstance(keyword, ast.keyword)
                and keyword.arg in ("env", "alias", "validation_alias")
                and isinstance(keyword.value, ast.Constant)
            }
            return names or {f"{prefix}{attributes[0]}".upper()}
    return set()
