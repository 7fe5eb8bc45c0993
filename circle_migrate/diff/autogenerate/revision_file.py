"""Render and write new revision files."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from circle_migrate.core.atomic_write import write_text
from circle_migrate.core.errors import ExitCode, Refused, UsageError
from circle_migrate.core.result import Result, json_fields
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.directory import SQUASHED
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.parse_file import read_revision
from circle_migrate.revision_graph.revision import MAX_ID_LENGTH, Revision

_TEMPLATE = Path(__file__).parents[2] / "revisions" / "script.py.mako"
_EMPTY_BODY = "    pass"
_SLUG_LENGTH = 50

# Targets give @, + and - a meaning, and a file name starts with the id.
_NAME = re.compile(r"\w[\w.]*", re.ASCII)
_RESERVED = ("head", "heads", "base", "current")
_PLACEHOLDER = "Why this change is needed, and why it is safe on a live table."
_OF_SQUASHED = "It does at once what the revisions do that it replaces, one after the other."


@dataclass(frozen=True, slots=True)
class RevisionFile:
    """The content of a new revision file; the bodies are indented code.

    One that `replaces` others is a squashed revision, and may have `requires` and `irreversible` from them.
    """

    database: Database
    message: str
    down: tuple[str, ...]
    id: str = field(default_factory=lambda: uuid.uuid4().hex[-12:])
    labels: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    upgrade: str = _EMPTY_BODY
    downgrade: str = _EMPTY_BODY
    replaces: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    irreversible: str | None = None


def write(draft: RevisionFile) -> Revision:
    """Write a new file, and read it. Raises what `file_path` raises."""
    from circle_migrate.revision_graph.modules import load_module

    path = file_path(draft)
    path.parent.mkdir(exist_ok=True)
    write_text(path, formatted_text(draft, path))
    return read_revision(draft.database.name, path, load_module)


def file_path(draft: RevisionFile) -> Path:
    """Return the path of a new file: beside its parent, a squashed revision below what it replaces.

    Raises `Refused` for a read-only folder, `UsageError` if the file exists.
    """
    graph = draft.database.graph
    keys = draft.replaces[:1] or tuple(map(graph.squashes.as_parent, draft.down))
    parents = [Path(graph[key].path).parent for key in keys]
    folder = (parents or draft.database.revision_folders)[0]
    if folder.name == SQUASHED:
        folder = folder.parent
    name = draft.database.name
    is_installed = bool({"site-packages", "dist-packages"}.intersection(folder.parts))
    if is_installed or not os.access(folder, os.W_OK):
        raise Refused(
            f"the revisions of {name} are in {folder}, which is read-only or part of an installed package",
            database=name,
            state="nothing was written",
            hint=f"set `revisions` in [tool.circle-migrate.databases.{name}] to a folder of your project",
        )
    if draft.replaces:
        folder /= SQUASHED
    slug = re.sub(r"\W+", "_", draft.message.lower(), flags=re.ASCII).strip("_")
    slug = slug[:_SLUG_LENGTH].rstrip("_") or "revision"
    path = folder / f"{draft.id}_{slug}.py"
    if path.exists():
        raise UsageError(f"{path} exists", database=name, hint="use another --rev-id")
    return path


def formatted_text(draft: RevisionFile, path: Path) -> str:
    """Return the text of the file that is written to the path."""
    squashes = draft.database.graph.squashes
    if not draft.replaces:
        draft = replace(draft, down=tuple(map(squashes.as_parent, draft.down)))
    return _formatted(text(draft), path)


def text(draft: RevisionFile) -> str:
    """Return the text of the file, before formatting."""
    from mako.template import Template

    code = f"{draft.upgrade}\n{draft.downgrade}"
    names = _modules(code)
    rendered: str = Template(filename=str(_TEMPLATE)).render(  # noqa: S702 - Python source, not HTML
        message=draft.message.replace("\\", "\\\\").replace('"""', "'''"),
        revision=(draft.id,),
        down_revision=draft.down,
        branch_labels=draft.labels,
        depends_on=draft.depends_on,
        upgrade=draft.upgrade,
        downgrade=draft.downgrade,
        uses_sqlalchemy="sa" in names,
        imports=_imports(code, names - {"sa", "op"}),
        python_code=_python_code,
    )
    if draft.replaces:
        rendered = rendered.replace(_PLACEHOLDER, _OF_SQUASHED)
    lists = {"replaces": draft.replaces, "requires": draft.requires}
    lines = [f"{name} = ({', '.join(map(json.dumps, ids))},)" for name, ids in lists.items() if ids]
    lines += [f"irreversible = {json.dumps(draft.irreversible)}"] if draft.irreversible else []
    # Not part of the template: a project may have its own one.
    return re.sub(
        r"^depends_on\b.*$", lambda match: "\n".join([match[0], *lines]), rendered, flags=re.MULTILINE
    )


def _python_code(values: tuple[str, ...]) -> str:
    """Return the values as Python code: None, a string or a tuple."""
    strings = [json.dumps(value) for value in values]
    return f"({', '.join(strings)})" if len(strings) > 1 else "".join(strings) or "None"


def _modules(code: str) -> set[str]:
    """Return the names before a dot in the code: modules and aliases."""
    tree = ast.parse("if True:\n" + code)
    return {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }


def _imports(code: str, names: set[str]) -> list[str]:
    """Return the imports for types of the dialect and the models, which Alembic writes with their module."""
    lines = set()
    for name in names:
        if name == "postgresql":
            lines.add("from sqlalchemy.dialects import postgresql")
            continue
        for dotted in re.findall(rf"\b{name}(?:\.\w+)+(?=\()", code):
            lines.add(f"import {dotted.rpartition('.')[0]}")
    return sorted(lines)


def _formatted(source: str, path: Path) -> str:
    """Return the source formatted by the ruff of the project, or unchanged if there is none."""
    scripts = Path(sys.executable).parent
    ruff = shutil.which("ruff", path=f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if ruff is None:
        return source
    command = [ruff, "format", "--stdin-filename", str(path), "-"]
    process = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    return process.stdout if process.returncode == 0 and process.stdout else source


@dataclass(frozen=True, slots=True)
class Placement:
    """The position of a new revision in the graph; by default it follows the only head."""

    head: str | None = None
    splice: bool = False
    label: str | None = None
    depends_on: tuple[str, ...] = ()
    id: str | None = None


def new_names(graph: Graph, position: Placement) -> tuple[str, tuple[str, ...]]:
    """Return the id and labels of a new revision. Raises `UsageError` if they are invalid or in use."""
    length = len(position.id or "")
    if length > MAX_ID_LENGTH:
        raise UsageError(
            f"the id {position.id!r} has {length} characters; alembic_version holds {MAX_ID_LENGTH}",
            database=graph.database,
            hint="give a shorter id with --rev-id",
        )
    names = [name for name in (position.id, position.label) if name is not None]
    for name in names:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise UsageError(
                f"{name!r} cannot be the name of a revision or a branch",
                hint=f"use letters, digits, _ and .; the names {', '.join(_RESERVED)} are reserved",
            )
        owner = name if name in graph else graph.labels.get(name)
        if owner is not None:
            raise UsageError(
                f"{graph.database} already has a revision or branch {name!r}: {graph[owner].location}",
                database=graph.database,
            )
    if len({*names}) < len(names):
        raise UsageError(f"{position.id} cannot be both the id and the label of a revision")
    return position.id or uuid.uuid4().hex[-12:], (position.label,) if position.label else ()


def new_revision(deployment: Deployment, name: str, message: str, position: Placement) -> RevisionFile:
    """Return an empty revision at this position.

    Raises `Refused` if it would create a second head without `splice`, `UsageError` for invalid names.
    """
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
                f"{down[0]} is not a head of {name}: the new revision would create another head",
                database=name,
                hint="to create a new branch, add --splice",
            )
    key, labels = new_names(graph, position)
    depends_on = tuple(_find(graph, key) for key in position.depends_on)
    return RevisionFile(deployment.databases[name], message, down, key, labels, depends_on)


def _find(graph: Graph, name: str) -> str:
    """Return the id of a revision, which may be given with its database: `database@revision`."""
    return graph.find(name.removeprefix(f"{graph.database}@"))


@dataclass(frozen=True, slots=True)
class RevisionFilesResult(Result):
    """The written revision files; `failed` are the databases whose revision failed in a scratch database."""

    revisions: tuple[Revision, ...]
    unchanged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """FAILED if a revision failed."""
        return ExitCode.FAILED if self.failed else ExitCode.DONE

    def to_dict(self) -> dict[str, Any]:
        """Return the new revisions, the unchanged databases and the notes."""
        return json_fields(self, "revisions unchanged notes failed")
