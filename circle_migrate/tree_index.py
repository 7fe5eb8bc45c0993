"""The persistent index of a tree: what its revision files said when they were last read.

Kept in one file per tree under the user's cache folder (the XDG Base Directory Specification says where),
so that a command which only looks need not parse thousands of files. Its lines are text and JSON:

    header      format, the code that read the files, folder, checksum of all that follows
    summary     heads and the like of a graph that was found sound
    digest      of the states of its files
    details     compressed, and read only when somebody asks for them:
                ids and parents; a line per file with name and state on disk, and an empty one; a `Revision`
                per file

A file is read again unless name, size, both times and inode are as they were. That is not enough for a file
that was changed in the moment in which it was read: it could change once more within the same tick of the
clock. Such a file is put down without a state, as git does, and so read again next time.

The index never fails: where it is missing, damaged, not ours, or cannot be written, files are read.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circle_migrate import __version__
from circle_migrate.cache import cache_file
from circle_migrate.core.revisions import Graph, Revision
from circle_migrate.revision_folder import list_files, versions_folder
from circle_migrate.stored_graph import StoredGraph, decode, links, row, summary

if TYPE_CHECKING:
    from circle_migrate.revision_files import ModuleLoader

_FORMAT = 3
_END = b"\n\n"
_RACY_NS = 2_000_000_000
"""Nanoseconds within which a file system may give two changes of a file the same time (FAT counts in 2 s)."""


def read_graph(database: str, folder: Path, load_module: ModuleLoader) -> Graph:
    """The graph of all revision files in a folder. Raises `TreeError` with file and line for a broken one."""
    folder = versions_folder(folder)
    now = time.time_ns()
    files = list_files(database, folder)
    index = _Index(database, folder)
    lines = [_line(name, state) for name, state in files]
    stored = index.load()
    if stored is not None and stored.is_of(lines):
        return stored.graph()
    known = stored.by_line() if stored is not None else {}
    unsure = {name for name, state in files if state is None or _racy(state, now)}

    from circle_migrate.revision_files import read_revision

    def load(path: Path) -> Any:
        unsure.add(path.name)  # What a module computes can change without its file.
        return load_module(path)

    revisions = {
        name: known.get(line) or read_revision(database, folder / name, load)
        for (name, _), line in zip(files, lines, strict=True)
    }
    graph = Graph(database, revisions.values())
    sure = [name if name in unsure else line for (name, _), line in zip(files, lines, strict=True)]
    index.store(graph, sure, stored)
    return graph


def _line(name: str, state: os.stat_result | None) -> str:
    """A file's name and state, or the name alone, which never equals a line with a state."""
    if state is None:
        return name
    return f"{name}/{state.st_size}/{state.st_mtime_ns}/{state.st_ctime_ns}/{state.st_ino}"


def _racy(state: os.stat_result, now: int) -> bool:
    return max(state.st_mtime_ns, state.st_ctime_ns) > now - _RACY_NS


class _Stored:
    """An index as it was read from disk: of the graph and its revisions only as much as is asked for."""

    def __init__(self, database: str, folder: Path, body: bytes) -> None:
        self._database, self._folder = database, folder
        self.body = body
        self._summary, self._digest, self._packed = body.split(b"\n", 2)

    def is_of(self, lines: list[str]) -> bool:
        """Whether it was made from files with these lines."""
        return self._digest == _digest(_states(lines))

    def graph(self) -> Graph:
        """The graph, which was found to be sound before it was stored."""
        return StoredGraph(self._database, self._folder, self._summary, lambda: self._details[0], self._rows)

    def by_line(self) -> dict[str, Revision]:
        """The revisions by the line of their file, those without a state left out."""
        states = self._details[1].partition(_END)[0].split(b"\n")
        return {
            line.decode(errors="surrogateescape"): decode(self._database, self._folder, row)
            for line, row in zip(states, self._rows(), strict=False)  # without files there is an empty line
            if b"/" in line
        }

    @cached_property
    def _details(self) -> tuple[bytes, bytes]:
        """The links; the states and the rows."""
        found, _, rest = zlib.decompress(self._packed).partition(b"\n")
        return found, rest

    def _rows(self) -> list[bytes]:
        return self._details[1].partition(_END)[2].splitlines()


def _states(lines: list[str]) -> bytes:
    return "\n".join(lines).encode(errors="surrogateescape") + _END


def _digest(states: bytes) -> bytes:
    from hashlib import sha256

    return sha256(states).hexdigest().encode()


class _Index:
    """The index file of one tree."""

    def __init__(self, database: str, folder: Path) -> None:
        self._database, self._folder = database, folder
        self._tree = [database, os.path.realpath(folder)]
        self._file = cache_file(json.dumps(self._tree))

    def load(self) -> _Stored | None:
        """What is stored; None where there is nothing that can be relied on."""
        content = self._file.read() if self._file else None
        if content is None:
            return None
        head, _, body = content.partition(b"\n")
        if head != self._header(body):
            return None
        return _Stored(self._database, self._folder, body)

    def store(self, graph: Graph, lines: list[str], stored: _Stored | None) -> None:
        """Put down the graph with its files' lines, in the order of its revisions."""
        if self._file is None or any("\n" in line for line in lines):
            return
        try:
            rows = [row(revision) for revision in graph.revisions.values()]
        except TypeError:  # a file gave a name a value that is no text
            return
        states = _states(lines)
        details = f"{links(graph)}\n".encode() + states + "\n".join(rows).encode()
        body = b"\n".join([summary(graph).encode(), _digest(states), zlib.compress(details, 1)])
        if stored is None or stored.body != body:
            self._file.write(self._header(body) + b"\n" + body)

    def _header(self, body: bytes) -> bytes:
        """The first line: whatever the content depends on besides the files, and a checksum of the rest."""
        reader = Path(__file__).with_name("revision_files.py").stat()
        code = [__version__, reader.st_size, reader.st_mtime_ns, sys.implementation.cache_tag]
        kind = "circle-migrate tree index"
        return json.dumps([kind, _FORMAT, *code, *self._tree, zlib.crc32(body)]).encode()
