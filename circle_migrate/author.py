"""New revision files: empty, from the models, or merging heads."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circle_migrate.core import targets
from circle_migrate.core.listings import Written
from circle_migrate.core.naming import refuse_id, refuse_label
from circle_migrate.core.revisions import Graph, Revision
from circle_migrate.database import Database
from circle_migrate.deployment import Deployment
from circle_migrate.errors import CircleError, Refused, SettingsError, UsageError
from circle_migrate.revision_files import read_revision
from circle_migrate.revision_folder import versions_folder

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
        bodies = await changes(deployment.databases[name])
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
        key, labels = _names(graph, position)
        written.append(_write(Draft(deployment.databases[name], text, keys, key, labels)))
    if names and not written:
        _refuse_unknown(deployment, names)
        raise UsageError("a merge needs two revisions of one database", hint="see `circle-migrate heads`")
    return Written("merge", tuple(written), tuple(unchanged))


def _to_merge(deployment: Deployment, graph: Graph, names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return graph.heads
    found = dict.fromkeys(key for name in names if (key := _known(deployment, graph, name)) is not None)
    for key in found:
        above = [other for other in found if other != key and key in graph.ancestors([other])]
        if above:
            raise Refused(
                f"{above[0]} follows {key} already: there is nothing to merge",
                database=graph.database,
                state="nothing was written",
                hint="see `circle-migrate heads`",
            )
    return tuple(found)


def _known(deployment: Deployment, graph: Graph, name: str) -> str | None:
    """The id a name stands for in this tree; None where it is another database's."""
    database, at, key = name.partition("@")
    if at and database in deployment.databases:
        return graph.find(key) if database == graph.database else None
    try:
        return graph.find(name)
    except UsageError:
        if len(deployment.selected) == 1:
            raise
        return None


def _refuse_unknown(deployment: Deployment, names: Sequence[str]) -> None:
    for name in names:
        targets.assign([name], deployment.graphs)


def _names(graph: Graph, position: Position) -> tuple[str, tuple[str, ...]]:
    """The new revision's id and labels. Raises `UsageError` for those it cannot have."""
    if position.id is not None:
        refuse_id(graph, position.id)
    if position.label is not None:
        refuse_label(graph, position.label)
        if position.label == position.id:
            raise UsageError(f"{position.id!r} cannot be both the id and the label of a revision")
    return position.id or uuid.uuid4().hex[-12:], (position.label,) if position.label else ()


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
        down = (_find(graph, position.head),)
        if graph.successors[down[0]] and not position.splice:
            raise Refused(
                f"{down[0]} is not a head of {name}: this would make a second one",
                database=name,
                hint="add --splice if a new branch is wanted",
            )
    key, labels = _names(graph, position)
    depends_on = tuple(_find(graph, each) for each in position.depends_on)
    return Draft(deployment.databases[name], message, down, key, labels, depends_on, **(bodies or {}))


def _find(graph: Graph, name: str) -> str:
    """The id a name stands for, which may be written with its database in front."""
    return graph.find(name.removeprefix(f"{graph.database}@"))


def _refuse_behind(graph: Graph, current: tuple[str, ...]) -> None:
    graph.head()
    pending = graph.ancestors(graph.real_heads) - graph.ancestors(current)
    if pending:
        raise Refused(
            f"{graph.database} is {len(pending)} revision{'s' if len(pending) > 1 else ''} behind; "
            "the models must be compared with a database at head",
            database=graph.database,
            state="nothing was written",
            hint="`circle-migrate upgrade` first, or compare with a fresh one: --embedded",
        )


async def changes(database: Database) -> Mapping[str, str] | None:
    """The bodies of upgrade() and downgrade() that lead the database to its models; None where it is."""
    from circle_migrate.tree import VersionTable
    from circle_migrate.tree.autogenerate import as_code, compare

    metadata = load_models(database)
    settings = database.settings
    table = VersionTable(settings.version_table, settings.version_table_schema)
    read_only = {"default_transaction_read_only": "on"}
    async with database.working("circle-migrate autogenerate", read_only) as connection:
        script = await connection.run_sync(compare, metadata, table)
    if script.upgrade_ops is None or script.upgrade_ops.is_empty():
        return None
    return {side: _body(code) for side, code in as_code(script).items()}


def _body(code: str) -> str:
    """Alembic's code as a function's body: without its markers, of which the first has lost its indent."""
    lines = [line for line in code.splitlines() if not line.strip().startswith("# ###")]
    return "\n".join(lines) or _EMPTY_BODY


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
    beside_us = Path(sys.executable).parent
    ruff = shutil.which("ruff", path=f"{beside_us}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
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
