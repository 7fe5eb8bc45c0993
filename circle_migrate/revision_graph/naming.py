"""Check the names of new revisions and branches."""

import re

from circle_migrate.core.errors import UsageError
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import MAX_ID_LENGTH

# Targets give @, + and - a meaning, and a file name starts with the id.
_NAME = re.compile(r"\w[\w.]*", re.ASCII)
_RESERVED = ("head", "heads", "base", "current")


def ensure_id(graph: Graph, key: str) -> None:
    """Raise `UsageError` where a new revision cannot have this id."""
    _ensure_form(key)
    if len(key) > MAX_ID_LENGTH:
        raise UsageError(
            f"the id {key!r} has {len(key)} characters; alembic_version holds {MAX_ID_LENGTH}",
            database=graph.database,
            hint="give a shorter id with --rev-id",
        )
    _ensure_free(graph, key)


def ensure_label(graph: Graph, label: str) -> None:
    """Raise `UsageError` where a new branch cannot have this label."""
    _ensure_form(label)
    _ensure_free(graph, label)


def _ensure_form(name: str) -> None:
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise UsageError(
            f"{name!r} cannot be the name of a revision or a branch",
            hint=f"use letters, digits, _ and .; the names {', '.join(_RESERVED)} are reserved",
        )


def _ensure_free(graph: Graph, name: str) -> None:
    owner = name if name in graph else graph.labels.get(name)
    if owner is not None:
        raise UsageError(
            f"{graph.database} already has a revision or branch {name!r}: {graph[owner].location}",
            database=graph.database,
        )
