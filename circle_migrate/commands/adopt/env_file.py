"""What an env.py says, read from its syntax tree: no env.py is run."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from circle_migrate.commands.adopt.source_files import Modules, Reference, SourceFile

_OWN = {"alembic", "sqlalchemy", "logging", "circle_migrate", "dotenv"}
_VARIABLE = re.compile(
    r"(?:(?:os\.)?environ\[|(?:(?:\w+\.)?(?:environ\.get|getenv)|config|decouple\.config|env(?:\.\w+)?|\w*Config)\()"
    r"'([^\W\d]\w*)'"
)
"""The beginning of an expression that reads an environment variable."""

_URL_NAME = re.compile(r"ur[il]$|dsn$|database|sqlalchemy|postgres|^pg", re.IGNORECASE)
_URL_CALLS = re.compile(r"(?:.*\.)?(?:set_main_option|set_section_option|create_(?:async_)?engine)")
_KNOWN_CALLS = re.compile(
    r"(?:.*\.)?(?:set_main_option|set_section_option|fileConfig|dictConfig|basicConfig|load_dotenv|run\w*"
    r"|getLogger|setLevel|addHandler|info|debug|warning|disable_existing_loggers|configure|print)"
    r"|logg(?:ing|er)\..*|sys\.path\..*|asyncio\..*|warnings\..*"
)


class EnvFile:
    """The facts of one env.py.

    `calls` are all calls with the text of their function. `options` are the values that `context.configure`
    gets for each option, also from dictionaries that are passed by **; `unknown_options` only follow from
    running the file.
    """

    def __init__(self, path: Path, modules: Modules) -> None:
        self.path, self._modules = path, modules
        self.source = SourceFile(path)
        self._nodes = list(ast.walk(self.source.tree))
        calls = [(ast.unparse(node.func), node) for node in self._nodes if isinstance(node, ast.Call)]
        self.calls = sorted(calls, key=lambda pair: pair[1].lineno)
        self.options: dict[str, list[ast.expr]] = {}
        self.unknown_options: list[ast.expr] = []
        configure = (call for name, call in self.calls if re.fullmatch(r"(?:.*\.)?context\.configure", name))
        for keyword in (keyword for call in configure for keyword in call.keywords):
            given = [(keyword.arg, keyword.value)] if keyword.arg else self._dictionary(keyword.value)
            for name, value in given:
                self.options.setdefault(name, []).append(value)
            self.unknown_options += [] if given else [keyword.value]

    def _dictionary(self, value: ast.expr) -> list[tuple[str, ast.expr]]:
        node = self.bound(value) or value
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return [(str(key.value), item) for key, item in pairs if isinstance(key, ast.Constant)]
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict":
            return [(item.arg, item.value) for item in node.keywords if item.arg]
        return []

    def bound(self, value: ast.AST | None) -> ast.AST | None:
        """Return the node of this file to which a name is bound."""
        binding = self.source.binding(value.id) if isinstance(value, ast.Name) else None
        return binding.node if binding else None

    def function(self, value: ast.AST) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """Return the function of this file that a value names."""
        node = self.bound(value)
        return node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None

    def constant(self, value: ast.expr) -> object:
        """Return a constant, also one that a name of the file or of the project stands for; else the node."""
        defined = self._modules.definition(self._modules.resolve(value, self.source))
        outside = defined[1] if defined and not defined[2] else None
        constants = (node for node in (value, self.bound(value), outside) if isinstance(node, ast.Constant))
        return next((node.value for node in constants), value)

    @cached_property
    def imported_for_effect(self) -> dict[str, int]:
        """The modules that the file imports without using their names, with the lines."""
        used = {ast.unparse(node) for node in self._nodes if isinstance(node, ast.Name | ast.Attribute)}
        found = dict(self.source.stars)
        for node in self.source.statements:
            for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
                name = alias.name
                if used.isdisjoint({name, alias.asname or name}) and name != "*":
                    if isinstance(node, ast.ImportFrom):
                        name = self._modules.member(Reference(self.source.absolute(node)), name).module
                    found.setdefault(name, node.lineno)
        known = _OWN | set(sys.stdlib_module_names) | {""}
        packages = {name for name in found if any(other.startswith(f"{name}.") for other in found)}
        return {
            name: line
            for name, line in found.items()
            if name.partition(".")[0] not in known and name not in packages
        }

    @cached_property
    def url_variables(self) -> dict[str, int]:
        """The environment variables that seem to have the URL, with lines of this file."""
        found = {name: line for name, line in _variables(self._nodes) if _URL_NAME.search(name)}
        for expression in () if found else self.url_expressions:
            found |= dict.fromkeys(self._variables_of(expression), expression.lineno)
        return found

    @cached_property
    def url_expressions(self) -> list[ast.expr]:
        """The values that the file gives to `sqlalchemy.url` or to an engine, unless they are options."""
        found = [
            call.args[-1] if "option" in name else call.args[0]
            for name, call in self.calls
            if _URL_CALLS.fullmatch(name) and call.args
        ]
        assignments = (node for node in self._nodes if isinstance(node, ast.Assign))
        found += [
            node.value for node in assignments if re.search(r"\['[^']*url'\]$", ast.unparse(node.targets[0]))
        ]
        return [*found, *self.options.get("url", ())]

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
            if defined := self._modules.definition(self._modules.resolve(node, self.source)):
                found |= _variables_of_definition(*defined, self._modules)
        return found

    @cached_property
    def statements(self) -> list[tuple[str, int]]:
        """The SQL that the file sends itself, with lines; {} is a part that follows from running it."""
        return [
            (self._text(call.args[0]), call.lineno)
            for name, call in self.calls
            if call.args and name.rpartition(".")[2] in ("execute", "exec_driver_sql", "scalar")
        ]

    def _text(self, value: ast.AST) -> str:
        if isinstance(value, ast.Call) and value.args and ast.unparse(value.func).endswith("text"):
            return self._text(value.args[0])
        if isinstance(value, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in value.values)
            return "".join(map(str, parts))
        node = self.bound(value)
        if isinstance(node, ast.Call | ast.JoinedStr):
            return self._text(node)
        constant = self.constant(value) if isinstance(value, ast.expr) else value
        return constant if isinstance(constant, str) else outline(value)

    @cached_property
    def loops(self) -> list[int]:
        """The lines of loops that configure or run migrations in each round."""
        return [
            node.lineno
            for node in self._nodes
            if isinstance(node, ast.For | ast.AsyncFor)
            and re.search(r"(?:run_\w*migrations|context\.configure)\(", ast.unparse(node))
        ]

    @cached_property
    def unknown_calls(self) -> list[tuple[str, int]]:
        """Calls at the top of the file that do more than to set up Alembic and logging."""
        found = []
        for statement in self.source.tree.body:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Call):
                name = ast.unparse(value.func)
                if not _KNOWN_CALLS.fullmatch(name) and self.bound(value.func) is None:
                    found.append((name, statement.lineno))
            elif isinstance(statement, ast.For | ast.While) and statement.lineno not in self.loops:
                found.append(("a loop", statement.lineno))
        return found

    def reference(self, value: ast.AST) -> Reference | None:
        """Return the object outside of this file that a value names, if nothing has to be run to know it."""
        reference = self._modules.resolve(value, self.source)
        return reference if reference and reference.attributes else None


def outline(value: ast.AST) -> str:
    """Return an expression as text, without texts in it: they may be passwords."""
    copy = ast.parse(ast.unparse(value), mode="eval")
    for node in ast.walk(copy):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = "…"
    return ast.unparse(copy)


def _variables(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, int]]:
    """Yield the environment variables that code reads, with their lines."""
    for node in nodes:
        if isinstance(node, ast.Subscript | ast.Call) and (match := _VARIABLE.match(ast.unparse(node))):
            yield match[1], node.lineno


def _variables_of_definition(
    file: SourceFile, node: ast.AST, attributes: tuple[str, ...], modules: Modules
) -> set[str]:
    """Return the variables of a value: those that it reads, or that of a field of a class of settings."""
    direct = set() if isinstance(node, ast.ClassDef) else {name for name, _ in _variables(ast.walk(node))}
    if direct or not attributes:
        return direct
    function = node.func if isinstance(node, ast.Call) else node
    binding = file.binding(function.id) if isinstance(function, ast.Name) else None
    definition = binding.node if binding else node
    if binding and definition is None and (defined := modules.definition(modules.resolve(function, file))):
        definition = defined[1]
    if not isinstance(definition, ast.ClassDef):
        return set()
    for statement in definition.body:
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == attributes[0]:
            names = set(re.findall(r"\b(?:env|alias|validation_alias)='(\w+)'", ast.unparse(statement)))
            prefix = re.findall(r"\benv_prefix'?(?: = |=|: )'(\w*)'", ast.unparse(definition))
            return names or {f"{''.join(prefix[-1:])}{attributes[0]}".upper()}
    return set()
