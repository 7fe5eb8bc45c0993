"""Render and write new revision files."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from circle_migrate.core.atomic_write import write_bytes
from circle_migrate.core.errors import ExitCode, Refused, TreeError, UsageError
from circle_migrate.core.result import Result, json_fields
from circle_migrate.diff.autogenerate.placement import Placement, new_names
from circle_migrate.migrate.alembic_adapter.new_script import NewScript
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.directory import SQUASHED
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.parse_file import read_revision, read_source
from circle_migrate.revision_graph.revision import Revision

_TEMPLATE = Path(__file__).parents[2] / "revisions" / "script.py.mako"
EMPTY_BODY = "    pass"

_PLACEHOLDER = "Why this change is needed, and why it is safe on a live table."
_OF_SQUASHED = "It does at once what the revisions do that it replaces, one after the other."


@dataclass(frozen=True, slots=True)
class RevisionFile:
    """The content of a new revision file; the bodies are indented code, `imports` further lines.

    One that `replaces` others is a squashed revision, and may have `requires` and `irreversible` from them.
    """

    database: Database
    message: str
    down: tuple[str, ...]
    id: str = field(default_factory=lambda: uuid.uuid4().hex[-12:])
    labels: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    upgrade: str = EMPTY_BODY
    downgrade: str = EMPTY_BODY
    version_path: Path | None = None
    imports: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    irreversible: str | None = None


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """A revision file before it is written: its place, its text and the hooks that run after it."""

    draft: RevisionFile
    script: NewScript
    path: Path
    source: bytes


def write_all(drafts: Iterable[RevisionFile]) -> tuple[tuple[Revision, ...], tuple[str, ...]]:
    """Write new files, and return their revisions and notes on post-write hooks that failed.

    The folder, name, text and hooks are those of `alembic revision`. Nothing is written if any file cannot
    be. Raises what `prepare` raises.
    """
    return write_prepared([prepare(draft) for draft in drafts])


def write_prepared(files: Iterable[PreparedFile]) -> tuple[tuple[Revision, ...], tuple[str, ...]]:
    """Write the files, and return their revisions and notes on post-write hooks that failed."""
    revisions, notes = [], []
    files = list(files)
    for path, count in Counter(file.path for file in files).items():
        if count > 1:
            raise UsageError(f"{count} new revisions would be {path}", hint="write %(rev)s in file_template")
    for file in files:
        write_bytes(file.path, file.source, make_folders=True)
        notes += [f"{file.draft.database.name}: {failure}" for failure in file.script.run_hooks(file.path)]
        revisions.append(read_revision(file.draft.database.name, file.path))
    return tuple(revisions), tuple(notes)


def prepare(draft: RevisionFile) -> PreparedFile:
    """Return the file of a draft.

    Raises `Refused` for a read-only folder, `UsageError` if the file exists or would not be the revision that
    it should be, `SettingsError` for options of alembic.ini.
    """
    if not draft.replaces:
        draft = replace(draft, down=tuple(map(draft.database.graph.squashes.as_parent, draft.down)))
    script = NewScript(draft.database.settings)
    path = _path(draft, script)
    source = _source(draft, script, path)
    _ensure_complete(draft, path, source)
    return PreparedFile(draft, script, path, source)


def _path(draft: RevisionFile, script: NewScript) -> Path:
    """Return the path of the file; a squashed revision is in a folder below what it replaces.

    Raises `Refused` for a read-only folder, `UsageError` if the file exists.
    """
    name, graph = draft.database.name, draft.database.graph
    if draft.replaces:
        folder = Path(graph[draft.replaces[0]].path).parent
        folder = (folder.parent if folder.name == SQUASHED else folder) / SQUASHED
    else:
        parents = [Path(graph[key].path) for key in draft.down if key in graph]
        folder = script.folder(parents, draft.version_path)
    is_installed = bool({"site-packages", "dist-packages"}.intersection(folder.parts))
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if is_installed or not os.access(existing, os.W_OK):
        raise Refused(
            f"the revisions of {name} are in {folder}, which is read-only or part of an installed package",
            database=name,
            hint=f"set `revisions` in [tool.circle-migrate.databases.{name}] to a folder of your project",
        )
    path = script.path(folder, draft.id, draft.message)
    if path.exists():
        raise UsageError(f"{path} exists", database=name, hint="use another --rev-id or --message")
    return path


def _source(draft: RevisionFile, script: NewScript, path: Path) -> bytes:
    """Return the content of the file: by the environment's template, or else by ours and formatted."""
    if draft.replaces or not script.is_template_theirs:
        return _formatted(text(draft), path).encode()
    return script.render(
        draft.id,
        draft.message,
        down=draft.down,
        labels=draft.labels,
        depends_on=draft.depends_on,
        content=_content(draft, script),
    )


def _content(draft: RevisionFile, script: NewScript) -> dict[str, str]:
    """Return the variables that Alembic gives a template besides those of every revision."""
    code = f"{draft.upgrade}\n{draft.downgrade}"
    imports = {*draft.imports, *_imports(code, _modules(code) - {"sa", "op"})}
    if draft.upgrade == draft.downgrade == EMPTY_BODY and not imports:
        return {} if len(draft.down) > 1 else script.empty_content
    return {
        "upgrades": draft.upgrade.strip(),
        "downgrades": draft.downgrade.strip(),
        "imports": "\n".join(sorted(imports)),
    }


def _ensure_complete(draft: RevisionFile, path: Path, source: bytes) -> None:
    """Raise `UsageError` unless the text of the file is the revision that it should be."""

    def load(_: object) -> ModuleType:
        module = ModuleType(path.stem)
        exec(compile(source, path, "exec"), vars(module))  # noqa: S102 - as the file will be
        return module

    name = draft.database.name
    try:
        revision = read_source(name, path, source, load)
    except TreeError as error:
        reason = f"{error.message}{f': {error.detail}' if error.detail else ''}"
    else:
        wanted = {
            "revision": (draft.id, revision.id),
            "down_revision": (draft.down, revision.down_revisions),
            "branch_labels": (draft.labels, revision.labels),
            "depends_on": (draft.depends_on, revision.depends_on),
        }
        missing = [key for key, (given, found) in wanted.items() if given != found]
        if not missing:
            return
        reason = f"it has not the given {', '.join(missing)}"
    raise UsageError(
        f"the new revision of {name} would be wrong: {reason}",
        database=name,
        location=str(path),
        state="nothing was written",
        hint="correct script.py.mako, or the message",
    )


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
        imports=sorted({*draft.imports, *_imports(code, names - {"sa", "op"})}),
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


def new_revision(deployment: Deployment, name: str, message: str, position: Placement) -> RevisionFile:
    """Return an empty revision at this position.

    Raises `Refused` if it would create a second head without `splice`, `UsageError` for invalid names.
    """
    graph = deployment.graphs[name]
    if position.head in (None, "head"):
        head = graph.head()
        down = (head,) if head else ()
    elif position.head == "base":
        down = ()
    else:
        down = (_find(graph, str(position.head)),)
        if graph.successors[down[0]] and not position.splice:
            raise Refused(
                f"{down[0]} is not a head of {name}: the new revision would create another head",
                database=name,
                hint="to create a new branch, add --splice",
            )
    key, labels = new_names(graph, position)
    # As in Alembic, a label stays one: it names the newest revision of its branch.
    depends_on = tuple(key if key in graph.labels else _find(graph, key) for key in position.depends_on)
    return RevisionFile(
        deployment.databases[name],
        message,
        down,
        key,
        labels,
        depends_on,
        version_path=position.version_path,
    )


def _find(graph: Graph, name: str) -> str:
    """Return the id of a revision, which may be given with its database or its branch.

    `database@revision` is the first form, `branch@head` the second.
    """
    name = name.removeprefix(f"{graph.database}@")
    branch, _, end = name.partition("@")
    return graph.head(branch) or name if end == "head" and branch in graph.labels else graph.find(name)


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
