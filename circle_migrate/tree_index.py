"""The persistent index of a tree: what its revision files said when they were last read.

Kept in one file per tree under the user's cache folder (the XDG Base Directory Specification says where),
so that a command which only looks need not parse thousands of files. Its lines are text and JSON:

    header      format, the code that read the files, folder, checksum of all that follows
    graph       ids, parents, labels and requirements, checked already
    states      one line per file: name and state on disk
    revisions   one line per file: a `Revision`, decoded only when somebody asks for it

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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circle_migrate import __version__
from circle_migrate.cache import cache_file
from circle_migrate.core.revisions import Graph, Revision
from circle_migrate.revision_folder import list_files, versions_folder

if TYPE_CHECKING:
    from circle_migrate.revision_files import ModuleLoader

_FORMAT = 1
_RACY_NS = 2_000_000_000
"""Nanoseconds within which a file system may give two changes of a file the same time (FAT counts in 2 s)."""


def read_graph(database: str, folder: Path, load_module: ModuleLoader) -> Graph:
    """The graph of all revision files in a folder. Raises `TreeError` with file and line for a broken one."""
    folder = versions_folder(folder)
    now = time.time_ns()
    files = list_files(database, folder)
    index = _Index(database, folder)
    lines = [_line(name, state) for name, state in files.items()]
    stored = index.load()
    if stored is not None and stored.lines == lines:
        return stored.graph()
    known = stored.by_line() if stored is not None else {}
    unsure = {name for name, state in files.items() if state is None or _racy(state, now)}

    from circle_migrate.revision_files import read_revision

    def load(path: Path) -> Any:
        unsure.add(path.name)  # What a module computes can change without its file.
        return load_module(path)

    revisions = {
        name: known.get(line) or read_revision(database, folder / name, load)
        for name, line in zip(files, lines, strict=True)
    }
    graph = Graph(database, revisions.values())
    index.store(
        graph, [name if name in unsure else line for name, line in zip(files, lines, strict=True)], stored
    )
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

    def __init__(self, database: str, folder: Path, text: str) -> None:
        self._database, self._folder = database, folder
        self.text = text
        self._graph, *rest = text.split("\n")
        count = len(rest) // 2
        self.lines, self._rows = rest[:count], rest[count:]

    def graph(self) -> Graph:
        """The graph, which was found to be sound before it was stored."""
        shape = json.loads(self._graph)
        rows = dict(zip(shape.pop("ids"), self._rows, strict=True))
        return Graph.restored(self._database, _Revisions(rows, self._revision), **shape)

    def by_line(self) -> dict[str, Revision]:
        """The revisions by the line of their file, those without a state left out."""
        pairs = zip(self.lines, self._rows, strict=True)
        return {line: self._revision(row) for line, row in pairs if "/" in line}

    def _revision(self, row: str) -> Revision:
        values = json.loads(row)
        path = str(self._folder / values.pop("file"))
        exact: dict[str, Any] = {
            key: tuple(each) if isinstance(each, list) else each for key, each in values.items()
        }
        return Revision(self._database, path=path, **exact)


class _Revisions(Mapping[str, Revision]):
    """Revisions by id, each decoded when it is first asked for."""

    def __init__(self, rows: dict[str, str], decode: Callable[[str], Revision]) -> None:
        self._rows = rows
        self._decode = decode
        self._decoded: dict[str, Revision] = {}

    def __getitem__(self, key: str) -> Revision:
        found = self._decoded.get(key)
        if found is None:
            found = self._decoded[key] = self._decode(self._rows[key])
        return found

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


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
        return _Stored(self._database, self._folder, body.decode(errors="surrogateescape"))

    def store(self, graph: Graph, lines: list[str], stored: _Stored | None) -> None:
        """Put down the graph with its files' lines, in the order of its revisions."""
        if self._file is None or any("\n" in line for line in lines):
            return
        try:
            rows = [_row(revision) for revision in graph.revisions.values()]
        except TypeError:  # a file gave a name a value that is no text
            return
        shape = {"ids": list(graph.revisions), "order": list(graph.order)}
        shape |= {key: getattr(graph, key) for key in ("parents", "down", "labels", "requires")}
        text = "\n".join([json.dumps(shape), *lines, *rows])
        if stored is None or stored.text != text:
            body = text.encode(errors="surrogateescape")
            self._file.write(self._header(body) + b"\n" + body)

    def _header(self, body: bytes) -> bytes:
        """The first line: whatever the content depends on besides the files, and a checksum of the rest."""
        reader = Path(__file__).with_name("revision_files.py").stat()
        code = [__version__, reader.st_size, reader.st_mtime_ns, sys.implementation.cache_tag]
        kind = "circle-migrate tree index"
        return json.dumps([kind, _FORMAT, *code, *self._tree, zlib.crc32(body)]).encode()


_FIELDS = [field for field in fields(Revision) if field.name not in {"database", "path"}]


def _row(revision: Revision) -> str:
    values = {field.name: getattr(revision, field.name) for field in _FIELDS}
    told = {field.name: values[field.name] for field in _FIELDS if values[field.name] != field.default}
    return json.dumps({"file": Path(revision.path).name, **told})
