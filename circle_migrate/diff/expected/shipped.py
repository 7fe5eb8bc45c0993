"""Shipped snapshots: the catalog of each revision, by PostgreSQL major version.

With them, a comparison in production needs only the privilege CONNECT. They are in `snapshots/DATABASE`
beside the folder of the revision files. A snapshot is valid while the files of its revision and all ancestors
are unchanged.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import quote

from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.core.errors import SettingsError, UsageError
from circle_migrate.diff.expected.snapshot_file import FORMAT, read
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.revision_graph.directory import versions_folder

_BASE = "base"
_SUFFIX = re.compile(r"\.pg(?P<major>\d+)\.json\.gz$")


def snapshots_folder(database: Database) -> Path:
    """Return the folder of a database's shipped snapshots."""
    return versions_folder(database.settings.revisions).parent / "snapshots" / database.name


def file_name(revisions: tuple[str, ...], major: int) -> str:
    """Return the file name for these current revisions; `base` for none."""
    return f"{_stem(revisions)}.pg{major}.json.gz"


def source_of(database: Database, revisions: tuple[str, ...]) -> str:
    """Return a digest of the files of these revisions, their ancestors, and the settings they depend on.

    The code of modules that a revision file imports is not part of it.
    """
    graph = database.graph
    checksums = sorted((key, graph[key].checksum) for key in graph.ancestors(revisions))
    settings = database.settings
    parts = [database.name, settings.effective_path, checksums, *settings.x_arguments, *_naming(settings)]
    text = json.dumps(parts + ([settings.version_table_schema] if settings.version_table_schema else []))
    return hashlib.sha256(text.encode()).hexdigest()


def _naming(settings: DatabaseSettings) -> list[tuple[str, str]]:
    """Return the naming convention of the models, if constraints of revisions get names by it."""
    if not settings.names_from_models:
        return []
    from sqlalchemy import MetaData

    from circle_migrate.config.load_objects import naming_metadata

    try:
        convention = naming_metadata(settings).naming_convention
    except SettingsError:  # raised by the operations that need a name
        return []
    if convention == MetaData().naming_convention:
        return []
    return sorted((str(key), getattr(value, "__qualname__", str(value))) for key, value in convention.items())


def read_shipped(database: Database, revisions: tuple[str, ...], major: int) -> Snapshot:
    """Return the shipped snapshot of these current revisions.

    Raises `UsageError` if it is missing, damaged, or of other revision files.
    """
    path = snapshots_folder(database) / file_name(revisions, major)
    stored = read(path)
    if stored.source != source_of(database, revisions):
        raise UsageError(f"{path} was created from other revision files")
    if stored.format != FORMAT or (stored.snapshot.database, stored.snapshot.major) != (database.name, major):
        raise UsageError(
            f"{path} has another format, or is the snapshot of another database or PostgreSQL version"
        )
    return stored.snapshot


def shipped_majors(database: Database, revisions: tuple[str, ...]) -> tuple[int, ...]:
    """Return the major versions with a file for these revisions, valid or not."""
    return majors_in(snapshots_folder(database), _stem(revisions))


def majors_in(folder: Path, stem: str = "*") -> tuple[int, ...]:
    """Return the major versions in the file names of a folder, for all stems or one."""
    pattern = "*" if stem == "*" else glob.escape(stem)
    matches = (_SUFFIX.search(path.name) for path in folder.glob(f"{pattern}.pg*.json.gz"))
    return tuple(sorted({int(match["major"]) for match in matches if match}))


def _stem(revisions: tuple[str, ...]) -> str:
    return "+".join(quote(key, safe="") for key in sorted(revisions)) or _BASE
