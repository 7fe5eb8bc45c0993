"""The position and the names of a new revision."""

import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from circle_migrate.core.errors import UsageError
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import MAX_ID_LENGTH

# Targets give @, + and - a meaning, and a file name starts with the id.
_NAME = re.compile(r"\w[\w.]*", re.ASCII)
_RESERVED = ("head", "heads", "base", "current")


@dataclass(frozen=True, slots=True)
class Placement:
    """The position of a new revision in the graph; by default it follows the only head."""

    head: str | None = None
    splice: bool = False
    label: str | None = None
    depends_on: tuple[str, ...] = ()
    id: str | None = None
    version_path: Path | None = None


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
