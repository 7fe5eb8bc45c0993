"""Snapshots shipped beside a tree: what each of its revisions leads to, by PostgreSQL major version.

With them a comparison in production needs CONNECT and nothing else. They lie in `snapshots/DATABASE` beside
the folder of the revision files, one file per revision and major version, and are believed only as long as
the files of all revisions below are those they were made from.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import quote

from circle_migrate.core.errors import UsageError
from circle_migrate.diff.expected.snapshot_file import FORMAT, read_stored
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.revision_graph.directory import versions_folder

_BASE = "base"
_SUFFIX = re.compile(r"\.pg(?P<major>\d+)\.json\.gz$")


def snapshots_folder(database: Database) -> Path:
    """Where the snapshots of a database's tree lie, or would lie."""
    return versions_folder(database.settings.revisions).parent / "snapshots" / database.name


def file_name(revisions: tuple[str, ...], major: int) -> str:
    """The name of the file for these current revisions; none are `base`."""
    return f"{_stem(revisions)}.pg{major}.json.gz"


def source_of(database: Database, revisions: tuple[str, ...]) -> str:
    """A digest of all that decides what these revisions lead to: the files of those below, the search_path.

    The code of helpers that a revision file imports is not in it.
    """
    graph = database.graph
    below = sorted((key, graph[key].checksum) for key in graph.ancestors(revisions))
    text = json.dumps([database.name, database.settings.search_path, below])
    return hashlib.sha256(text.encode()).hexdigest()


def read_shipped(database: Database, revisions: tuple[str, ...], major: int) -> Snapshot:
    """The shipped snapshot of these current revisions.

    Raises `UsageError` that says why where there is none to be believed: missing, damaged, of other files.
    """
    path = snapshots_folder(database) / file_name(revisions, major)
    stored = read_stored(path)
    if stored.source != source_of(database, revisions):
        raise UsageError(f"{path} was made from other revision files than those that are here")
    if stored.format != FORMAT or (stored.snapshot.database, stored.snapshot.major) != (database.name, major):
        raise UsageError(f"{path} was made by another version of circle-migrate, or for something else")
    return stored.snapshot


def shipped_majors(database: Database, revisions: tuple[str, ...]) -> tuple[int, ...]:
    """The major versions for which there is a file, be it to be believed or not."""
    return majors_in(snapshots_folder(database), _stem(revisions))


def majors_in(folder: Path, stem: str = "*") -> tuple[int, ...]:
    """The major versions in the names of a folder's files; a stem that is no pattern holds for one state."""
    pattern = "*" if stem == "*" else glob.escape(stem)
    matches = (_SUFFIX.search(path.name) for path in folder.glob(f"{pattern}.pg*.json.gz"))
    return tuple(sorted({int(match["major"]) for match in matches if match}))


def _stem(revisions: tuple[str, ...]) -> str:
    return "+".join(quote(key, safe="") for key in sorted(revisions)) or _BASE
