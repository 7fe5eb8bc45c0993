"""Render and write new revision files."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from circle_migrate.core.errors import MigrateError, Refused
from circle_migrate.postgres.database import Database
from circle_migrate.revision_graph.parse_file import read_revision
from circle_migrate.revision_graph.revision import Revision

_TEMPLATE = Path(__file__).parents[2] / "revisions" / "script.py.mako"
_EMPTY_BODY = "    pass"
_SLUG_LENGTH = 50


@dataclass(frozen=True, slots=True)
class RevisionFile:
    """The content of a new revision file; the bodies are indented code."""

    database: Database
    message: str
    down: tuple[str, ...]
    id: str = field(default_factory=lambda: uuid.uuid4().hex[-12:])
    labels: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    upgrade: str = _EMPTY_BODY
    downgrade: str = _EMPTY_BODY


def write(draft: RevisionFile) -> Revision:
    """Write a new file beside that of its parent.

    Raises `Refused` if the folder is not writable, `MigrateError` on other errors.
    """
    from circle_migrate.revision_graph.modules import load_module

    parents = [Path(draft.database.graph[key].path).parent for key in draft.down]
    folder = (parents or draft.database.revision_folders)[0]
    _ensure_writable(folder, draft.database.name)
    path = folder / f"{draft.id}_{_slug(draft.message)}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_formatted(text(draft), path))
    except OSError as error:
        raise MigrateError(
            f"{path} cannot be written", database=draft.database.name, detail=error.strerror
        ) from error
    return read_revision(draft.database.name, path, load_module)


def _ensure_writable(folder: Path, name: str) -> None:
    installed = {"site-packages", "dist-packages"} & set(folder.parts)
    if installed or not os.access(folder, os.W_OK):
        raise Refused(
            f"the revisions of {name} are in {folder}, which is read-only or part of an installed package",
            database=name,
            state="nothing was written",
            hint=f"Set `revisions` in [tool.circle-migrate.databases.{name}] to a folder of your project.",
        )


def _slug(message: str) -> str:
    slug = re.sub(r"\W+", "_", message.lower(), flags=re.ASCII).strip("_")
    return slug[:_SLUG_LENGTH].rstrip("_") or "revision"


def text(draft: RevisionFile) -> str:
    """Return the text of the file, before formatting."""
    from mako.template import Template

    code = f"{draft.upgrade}\n{draft.downgrade}"
    names = _modules(code)
    rendered = Template(filename=str(_TEMPLATE)).render(  # noqa: S702 - Python source, not HTML
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
    return str(rendered)


def _scalar(values: tuple[str, ...]) -> str | tuple[str, ...] | None:
    return (values[0] if len(values) == 1 else values) if values else None


def _quoted(value: str | tuple[str, ...] | None) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(json.dumps, value)) + ")"
    return "None" if value is None else json.dumps(value)


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
    process = subprocess.run(
        [ruff, "format", "--stdin-filename", str(path), "-"],
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )
    return process.stdout if process.returncode == 0 and process.stdout else source
