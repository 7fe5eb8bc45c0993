"""A cache of what revision files declare, so that a command does not parse thousands of unchanged files.

One file per database and folder in the user's cache folder: a header line, then two marshalled lists, one of
files and one of their revisions. An entry is valid while name, size, times and inode of the file are the
same. Marshal, the format of Python's bytecode files, is read in half the time of JSON.

A file that changed less than `_GRANULARITY_NS` ago gets no entry, as a second change could leave it with the
same times (git calls that racy: https://git-scm.com/docs/racy-git). Neither does a file that computes
what it declares.

The cache never causes an error: where it is missing, damaged or not writable, the files are read.
"""

import json
import marshal
import os
import sys
import zlib
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from time import time_ns
from typing import Any

from circle_migrate import __version__
from circle_migrate.core.cache import cache_file
from circle_migrate.revision_graph.directory import file_names
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision

_FORMAT = [11, *Revision._fields]
"""Raise the number when `parse_file` reads other values into the same fields."""
_GRANULARITY_NS = 2_000_000_000
"""The coarsest granularity of file times among file systems in use (FAT)."""

File = tuple[str, int | None]
"""Name and a hash of size, mtime_ns, ctime_ns and inode; None where reading the file reports the error."""
Row = tuple[Any, ...]
"""The fields of a `Revision`."""


def read_graph(database: str, folders: Sequence[Path]) -> Graph:
    """Read the revisions, those of unchanged files from the cache. Raises `TreeError` for broken ones."""
    by_folder = (_read_folder(database, folder) for folder in folders)
    return Graph(database, chain.from_iterable(by_folder))


def _read_folder(database: str, folder: Path) -> list[Revision]:
    key = [database, str(folder), os.path.realpath(folder)]
    cache = cache_file(json.dumps(key))
    cached_files, rows = _load((cache and cache.read()) or b"", key)
    files = _list_files(database, folder)
    if files == cached_files:
        return [*map(Revision._make, rows)]
    cached = dict(zip(cached_files, rows, strict=True))
    entries: dict[File, Row] = {}
    revisions = []
    for file in files:
        entry: File | None = file
        if file in cached:
            revision = Revision._make(cached[file])
        else:
            revision, entry = _read(database, folder / file[0])
        revisions.append(revision)
        if entry is not None:
            entries[entry] = tuple(revision)
    if entries != cached and cache is not None:
        body = marshal.dumps(([*entries], [*entries.values()]))
        cache.write(_header(key, body) + b"\n" + body)
    return revisions


def _load(content: bytes, key: Sequence[str]) -> tuple[list[File], list[Row]]:
    """Return files and rows; none where the cache file is missing, damaged or written by other code."""
    header, _, body = content.partition(b"\n")
    if header != _header(key, body):
        return [], []
    files, rows = marshal.loads(body)  # noqa: S302 - the file is private
    return files, rows


def _header(key: Sequence[str], body: bytes) -> bytes:
    """Return what the entries depend on besides the files, and a checksum."""
    code = [_FORMAT, __version__, sys.implementation.cache_tag]
    return json.dumps(["circle-migrate revision cache", *code, *key, zlib.crc32(body)]).encode()


def _read(database: str, path: Path) -> tuple[Revision, File | None]:
    """Return a file's revision and the key of its cache entry, None where it must be read again next time."""
    from circle_migrate.revision_graph.parse_file import load_module, read_file, read_source

    computed = False

    def load(path: Path) -> Any:
        nonlocal computed
        computed = True  # the result may depend on more than the file
        return load_module(path)

    latest = time_ns() - _GRANULARITY_NS
    source, status = read_file(database, path)
    revision = read_source(database, path, source, load)
    if computed or max(status.st_mtime_ns, status.st_ctime_ns) > latest:
        return revision, None
    return revision, (path.name, _identity(status))


def _list_files(database: str, folder: Path) -> list[File]:
    names = file_names(database, folder)
    if not names:
        return []  # the folder may not exist yet
    files: list[File] = []
    descriptor = os.open(folder, os.O_RDONLY)  # names relative to it resolve in half the time of paths
    try:
        for name in names:
            try:
                files.append((name, _identity(os.stat(name, dir_fd=descriptor))))
            except OSError:
                files.append((name, None))
    finally:
        os.close(descriptor)
    return files


def _identity(status: os.stat_result) -> int:
    # The hash of numbers is the same in each process, unlike that of text.
    return hash((status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
