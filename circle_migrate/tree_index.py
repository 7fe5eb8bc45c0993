"""The persistent index of a tree: what its revision files said when they were last read.

Kept in one file per tree under the user's cache folder (the XDG Base Directory Specification says where),
so that a command which only looks need not parse thousands of files. Its lines are text and JSON:

    header      format, the code that read the files, folder, checksum of all that follows
    states      that of the folder, and one for those of all files
    names       of the files, with slashes between them
    summary     heads and the like of a graph that was found sound
    details     compressed, and read only when somebody asks for them:
                ids and parents; the states of the files; a `Revision` per file

A file is read again unless name, size, both times and inode are as they were. That is not enough for a file
that was changed in the moment in which it was read: it could change once more within the same tick of the
clock. Such a file is put down without its state, as git does, and so read again next time; and so is the
folder, whose files are then listed again.

The index never fails: where it is missing, damaged, not ours, or cannot be written, files are read.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circle_migrate import __version__
from circle_migrate.cache import cache_file
from circle_migrate.core.revisions import Graph, Revision
from circle_migrate.revision_folder import Listing, state_of, versions_folder
from circle_migrate.stored_graph import StoredGraph, decode, links, row, summary

if TYPE_CHECKING:
    from circle_migrate.revision_files import ModuleLoader

_FORMAT = 4
_UNSURE = -1
"""In place of a state that is not to be relied on: no `hash` is -1."""
_RACY_NS = 2_000_000_000
"""Nanoseconds within which a file system may give two changes of a file the same time (FAT counts in 2 s)."""


class Tree:
    """The revision files of one database, with an index of what they said."""

    def __init__(self, database: str, folder: Path) -> None:
        self._database, self._folder = database, versions_folder(folder)
        self._index = _Index(database, self._folder)
        self._stored = self._index.load()
        self._begun = time.time_ns()
        known = (self._stored.folder, self._stored.names) if self._stored is not None else (_UNSURE, [])
        self._listing = Listing(database, self._folder, *known)

    def look(self) -> bool:
        """Look whether some more files are as they were; whether there may be others.

        Whoever waits for a server does well to call this meanwhile. Raises `TreeError` for a folder that
        cannot be read.
        """
        return self._listing.look()

    def graph(self, load_module: ModuleLoader) -> Graph:
        """The graph of all revisions. Raises `TreeError` with file and line for a broken one."""
        stored, listing = self._stored, self._listing
        listing.finish()
        if stored is None or not stored.is_of(listing):
            return self._read(load_module)
        if stored.folder != listing.folder and self._stays(self._folder, listing.folder):
            self._index.store(listing.folder, stored.files, stored.rest)
        return stored.graph()

    def _read(self, load_module: ModuleLoader) -> Graph:
        """Read the files that are not as they were, and put down what all of them say."""
        from circle_migrate.revision_files import read_revision

        names, states = self._listing.names, self._listing.states
        known = self._stored.by_file() if self._stored is not None else {}
        paths = [self._folder / os.fsdecode(name) for name in names]
        computed: set[Path] = set()

        def load(path: Path) -> Any:
            computed.add(path)  # What a module computes can change without its file.
            return load_module(path)

        files = zip(names, states, paths, strict=True)
        found = [known.get(each[:2]) or read_revision(self._database, each[2], load) for each in files]
        graph = Graph(self._database, found)
        folder = self._listing.folder if self._stays(self._folder, self._listing.folder) else _UNSURE
        sure = [
            state if path not in computed and self._stays(path, state) else _UNSURE
            for path, state in zip(paths, states, strict=True)
        ]
        rest = _rest(graph, names, sure)
        if rest is not None:
            self._index.store(folder, _one(sure), rest)
        return graph

    def _stays(self, path: Path, state: int) -> bool:
        """Whether what was read is still in this state, and cannot change any more without leaving it."""
        try:
            now = path.stat()
        except OSError:
            return False
        return state_of(now) == state and _last_change(now) <= self._begun - _RACY_NS


def _last_change(state: os.stat_result) -> int:
    return max(state.st_mtime_ns, state.st_ctime_ns)


def _one(states: Sequence[int]) -> int:
    """One state for those of all files."""
    return hash(tuple(states))


class _Stored:
    """An index as it was read from disk: of the graph and its revisions only as much as is asked for."""

    def __init__(self, database: str, path: Path, content: bytes, begin: int) -> None:
        self._database, self._path = database, path
        # To copy the details, which are long, takes longer than to find the lines before them.
        self._content = content
        first, self._rest = _line(content, begin)
        self.folder, self.files = map(int, first.split())
        names, behind = _line(content, self._rest)
        self.names = names.split(b"/") if names else []
        self._summary, self._packed = _line(content, behind)

    @property
    def rest(self) -> bytes:
        """What follows the line with the states."""
        return self._content[self._rest :]

    def is_of(self, listing: Listing) -> bool:
        """Whether it was made from these files."""
        return self.names == listing.names and self.files == _one(listing.states)

    def graph(self) -> Graph:
        """The graph, which was found to be sound before it was stored."""
        return StoredGraph(self._database, self._path, self._summary, lambda: self._details[0], self._rows)

    def by_file(self) -> dict[tuple[bytes, int], Revision]:
        """The revisions by name and state of their file."""
        files = zip(self.names, json.loads(self._details[1]), strict=True)
        return {
            file: decode(self._database, self._path, row)
            for file, row in zip(files, self._rows(), strict=True)
        }

    @cached_property
    def _details(self) -> list[bytes]:
        """The links; the states; row after row."""
        return zlib.decompress(self._content[self._packed :]).split(b"\n")

    def _rows(self) -> list[bytes]:
        return self._details[2:]


def _line(content: bytes, begin: int) -> tuple[bytes, int]:
    """The line that begins there, and where the next one does."""
    end = content.index(b"\n", begin)
    return content[begin:end], end + 1


def _rest(graph: Graph, names: Sequence[bytes], states: Sequence[int]) -> bytes | None:
    """What follows the line with the states; None for what cannot be put down.

    Revisions, names and states have the same order.
    """
    if any(b"\n" in name for name in names):
        return None
    try:
        rows = [row(revision) for revision in graph.revisions.values()]
    except TypeError:  # a file gave a name a value that is no text
        return None
    details = "\n".join([links(graph), json.dumps(states), *rows])
    return b"\n".join([b"/".join(names), summary(graph).encode(), zlib.compress(details.encode(), 1)])


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
        begin = content.find(b"\n") + 1
        if content[:begin] != self._header(memoryview(content)[begin:]):
            return None
        return _Stored(self._database, self._folder, content, begin)

    def store(self, folder: int, files: int, rest: bytes) -> None:
        """Put down the states and what follows them."""
        body = f"{folder} {files}\n".encode() + rest
        content = self._header(body) + body
        if self._file is not None and content != self._file.read():
            self._file.write(content)

    def _header(self, body: bytes | memoryview) -> bytes:
        """The first line: whatever the content depends on besides the files, and a checksum of the rest."""
        reader = Path(__file__).with_name("revision_files.py").stat()
        code = [__version__, reader.st_size, reader.st_mtime_ns, sys.implementation.cache_tag]
        kind = "circle-migrate tree index"
        return json.dumps([kind, _FORMAT, *code, *self._tree, zlib.crc32(body)]).encode() + b"\n"
