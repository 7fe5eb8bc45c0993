"""New revision files: empty, from the models, or merging heads."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circle_migrate.core.listings import Written
from circle_migrate.core.revisions import Graph, Revision
from circle_migrate.database import Database
from circle_migrate.deployment import Deployment
from circle_migrate.errors import CircleError, Refused, SettingsError, UsageError
from circle_migrate.revision_files import read_revision, versions_folder

if TYPE_CHECKING:
    from sqlalchemy import MetaData

_TEMPLATE = Path(__file__).with_name("revisions") / "script.py.mako"
_EMPTY_BODY = "    pass"
_SLUG_LENGTH = 50


@dataclass(frozen=True, slots=True)
class Draft:
    """What a new revision file is to say; the bodies are indented code."""

    database: Database
    message: str
    down: tuple[str, ...]
    id: str = field(default_factory=lambda: uuid.uuid4().hex[-12:])
    labels: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    upgrade: str = _EMPTY_BODY
    downgrade: str = _EMPTY_BODY


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the tree a new revision goes, where that is not simply after the head."""

    head: str | None = None
    splice: bool = False
    label: str | None = None
    depends_on: tuple[str, ...] = ()
    id: str | None = None


def revision(deployment: Deployment, message: str, position: Position) -> Written:
    """Write an empty revision for the one selected database. Raises `UsageError` where it is not one."""
    if len(deployment.selected) != 1:
        raise UsageError(
            "an empty revision belongs to one database",
            hint="say which with --database, or let --autogenerate find out",
        )
    return Written("revision", (_write(_draft(deployment, deployment.selected[0], message, position)),))


async def autogenerate(deployment: Deployment, message: str, position: Position) -> Written:
    """Write a revision for each selected database whose models have changed; nothing where none has.

    Compares the models with the databases, which must be at head. Nothing is written before all have been
    compared. Raises `Refused` where a database is not at head, `SettingsError` where models cannot be loaded.
    """
    current = deployment.recognise(await deployment.states())
    for name in deployment.selected:
        _refuse_behind(deployment.graphs[name], current[name])
    drafts, unchanged = [], []
    for name in deployment.selected:
        bodies = await _changes(deployment.databases[name])
        if bodies is None:
            unchanged.append(name)
        else:
            drafts.append(_draft(deployment, name, message, position, bodies))
    return Written("revision", tuple(_write(draft) for draft in drafts), tuple(unchanged))


def merge(deployment: Deployment, names: Sequence[str], message: str | None, position: Position) -> Written:
    """Write a revision that joins heads: those named, else all of each selected database with several."""
    written, unchanged = [], []
    for name, graph in deployment.graphs.items():
        keys = _to_merge(deployment, graph, names)
        if len(keys) < 2:
            unchanged.append(name)
            continue
        text = message or f"merge {' and '.join(keys)}"
        labels = (position.label,) if position.label else ()
        key = position.id or uuid.uuid4().hex[-12:]
        written.append(_write(Draft(deployment.databases[name], text, keys, key, labels)))
    if names and not written:
        raise UsageError("a merge needs two revisions of one database", hint="see `circle-migrate heads`")
    return Written("merge", tuple(written), tuple(unchanged))


def _to_merge(deployment: Deployment, graph: Graph, names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return graph.heads
    found = []
    for text in names:
        database, at, key = text.rpartition("@")
        if at and database != graph.database:
            continue
        try:
            found.append(graph.find(key))
        except UsageError:
            if len(deployment.selected) == 1:
                raise
    return tuple(dict.fromkeys(found))


def _draft(
    deployment: Deployment,
    name: str,
    message: str,
    position: Position,
    bodies: Mapping[str, str] | None = None,
) -> Draft:
    graph = deployment.graphs[name]
    if position.head is None:
        head = graph.head()
        down = (head,) if head else ()
    elif position.head == "base":
        down = ()
    else:
        down = (graph.find(position.head),)
        if graph.successors[down[0]] and not position.splice:
            raise Refused(
                f"{down[0]} is not a head of {name}: this would make a second one",
                database=name,
                hint="add --splice if a new branch is wanted",
            )
    if position.id is not None and position.id in graph:
        raise UsageError(f"{name} has a revision {position.id} already: {graph[position.id].location}")
    return Draft(
        deployment.databases[name],
        message,
        down,
        position.id or uuid.uuid4().hex[-12:],
        (position.label,) if position.label else (),
        tuple(graph.find(each) for each in position.depends_on),
        **(bodies or {}),
    )


def _refuse_behind(graph: Graph, current: tuple[str, ...]) -> None:
    graph.head()
    pending = graph.ancestors(graph.real_heads) - graph.ancestors(current)
    if pending:
        raise Refused(
            f"{graph.database} is {len(pending)} revisions behind; "
            "the models must be compared with a database at head",
            database=graph.database,
            state="nothing was written",
            hint="`circle-migrate upgrade` first, or compare with a fresh one: --embedded",
        )


async def _changes(database: Database) -> Mapping[str, str] | None:
    from circle_migrate.tree import VersionTable, as_code, compare

    metadata = load_models(database)
    settings = database.settings
    table = VersionTable(settings.version_table, settings.version_table_schema)
    read_only = {"default_transaction_read_only": "on"}
    async with database.working("circle-migrate autogenerate", read_only) as connection:
        script = await connection.run_sync(compare, metadata, table)
    if script.upgrade_ops is None or script.upgrade_ops.is_empty():
        return None
    return as_code(script)


def load_models(database: Database) -> MetaData:
    """The metadata the setting `models` names. Raises `SettingsError` where it cannot be had."""
    from importlib import import_module

    from sqlalchemy import MetaData

    module_name, _, attribute = database.settings.models.partition(":")
    hint = f'models = "package.module:metadata" in [tool.circle-migrate.databases.{database.name}]'
    try:
        found: Any = import_module(module_name)
        for part in (attribute or "metadata").split("."):
            found = getattr(found, part)
    except Exception as error:
        raise SettingsError(
            f"the models of {database.name} cannot be loaded from {database.settings.models}",
            database=database.name,
            detail=f"{type(error).__name__}: {error}",
            hint=hint,
        ) from error
    metadata = getattr(found, "metadata", found)
    if not isinstance(metadata, MetaData):
        raise SettingsError(
            f"{database.settings.models} is no SQLAlchemy MetaData", database=database.name, hint=hint
        )
    return metadata


def _write(draft: Draft) -> Revision:
    from circle_migrate.tree import load_module

    folder = versions_folder(draft.database.settings.revisions)
    _refuse_unwritable(folder, draft.database.name)
    path = folder / f"{draft.id}_{_slug(draft.message)}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_formatted(_text(draft), path))
    except OSError as error:
        raise CircleError(
            f"{path} cannot be written", database=draft.database.name, detail=error.strerror
        ) from error
    return read_revision(draft.database.name, path, load_module)


def _refuse_unwritable(folder: Path, name: str) -> None:
    installed = {"site-packages", "dist-packages"} & set(folder.parts)
    if installed or not os.access(folder, os.W_OK):
        raise Refused(
            f"the revisions of {name} are in {folder}, where no file should be written",
            database=name,
            state="nothing was written",
            hint=f"point [tool.circle-migrate.databases.{name}] revisions at a folder of your project",
        )


def _slug(message: str) -> str:
    slug = re.sub(r"\W+", "_", message.lower(), flags=re.ASCII).strip("_")
    return slug[:_SLUG_LENGTH].rstrip("_") or "revision"


def _text(draft: Draft) -> str:
    from mako.template import Template

    code = f"{draft.upgrade}\n{draft.downgrade}"
    names = _roots(code)
    text = Template(filename=str(_TEMPLATE)).render(  # noqa: S702 - Python source, not HTML
        message=draft.message.replace("\\", "\\\\").replace('"""', "'''"),
        revision=draft.id,
        down_revision=_scalar(draft.down),
        branch_labels=_scalar(draft.labels),
        depends_on=_scalar(draft.depends_on),
        upgrade=draft.upgrade,
        downgrade=draft.downgrade,
        uses_sqlalchemy="sa" in names,
        imports=_imports(code, names - {"sa", "op"}),
        quoted=_quoted,
    )
    return str(text)


def _scalar(values: tuple[str, ...]) -> str | tuple[str, ...] | None:
    return (values[0] if len(values) == 1 else values) if values else None


def _quoted(value: str | tuple[str, ...] | None) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(json.dumps(each) for each in value) + ")"
    return "None" if value is None else json.dumps(value)


def _roots(code: str) -> set[str]:
    """The names the bodies use at the left of a dot."""
    tree = ast.parse("if True:\n" + code)
    return {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }


def _imports(code: str, roots: set[str]) -> list[str]:
    """Import lines for the dialect's and the models' own types, which Alembic writes with their module."""
    lines = set()
    for root in roots:
        if root == "postgresql":
            lines.add("from sqlalchemy.dialects import postgresql")
            continue
        for dotted in re.findall(rf"\b{root}(?:\.\w+)+(?=\()", code):
            lines.add(f"import {dotted.rpartition('.')[0]}")
    return sorted(lines)


def _formatted(text: str, path: Path) -> str:
    """The file as the project's ruff would write it, where there is one; else as the template has it."""
    ruff = shutil.which("ruff")
    if ruff is None:
        return text
    done = subprocess.run(
        [ruff, "format", "--stdin-filename", str(path), "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 and done.stdout else text
