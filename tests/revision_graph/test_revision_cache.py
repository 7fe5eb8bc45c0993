"""The cache of revisions never returns anything but what the files declare, and never fails."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from circle_migrate.core import cache
from circle_migrate.core.errors import TreeError
from circle_migrate.revision_graph import parse_file, revision_cache
from circle_migrate.revision_graph.directory import is_revision_file
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.revision_graph.revision_cache import read_graph

ROOT = Path(__file__).parent.parent.parent
TEXT = '"""{message}\n\nMore."""\nrevision = {key!r}\ndown_revision = {down!r}\n{more}\ndef upgrade(): ...\n'
OLD = 3600
"""Seconds, far more than any file system's granularity of times."""


class Tree:
    """A folder of revisions a, b, c, and which of its files were read since the last question."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read: list[str] = []

    def write(self, key: str, down: Any, *, message: str = "Text", more: str = "", age: float = OLD) -> Path:
        """A revision file as it would be, had it been written `age` seconds ago."""
        path = self.folder / f"{key}.py"
        path.write_text(TEXT.format(key=key, down=down, message=message, more=more), encoding="utf-8")
        self.age(path, age)
        return path

    def age(self, path: Path, seconds: float) -> None:
        """Set the file's time of change back."""
        then = time.time() - seconds
        os.utime(path, (then, then))

    def ask(self, folder: Path | None = None) -> dict[str, Revision]:
        """The revisions, after `read` was emptied."""
        self.read.clear()
        return dict(self.graph(folder).revisions)

    def graph(self, folder: Path | None = None) -> Graph:
        return read_graph("main", [folder or self.folder])

    def truth(self) -> dict[str, Revision]:
        """The revisions as the files tell them."""
        files = sorted(path for path in self.folder.iterdir() if is_revision_file(path.name))
        result = [parse_file.read_source("main", path, path.read_bytes()) for path in files]
        return {revision.id: revision for revision in result}


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins without an index, in the cache folder of a home of its own."""
    monkeypatch.delenv("XDG_CACHE_HOME")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    folder = tmp_path / "tree"
    folder.mkdir()
    tree = Tree(folder)
    tree.write("a", None)
    tree.write("b", "a", more="branch_labels = ('x',)\nrequires = ('other@z',)\nirreversible = 'no way back'")
    tree.write("c", "b", more="depends_on = ('a',)\ntransactional = False")
    read_file = parse_file.read_file

    def noted(database: str, path: Path) -> tuple[bytes, os.stat_result]:
        tree.read.append(path.stem)
        return read_file(database, path)

    monkeypatch.setattr(parse_file, "read_file", noted)
    return tree


@pytest.fixture(autouse=True)
def later(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read files an hour after the test writes them, as their ctime cannot be set back."""
    if "now" not in request.fixturenames:
        monkeypatch.setattr(revision_cache, "time_ns", lambda: time.time_ns() + OLD * 10**9)


@pytest.fixture
def now() -> None:
    """Read files when the test writes them."""


def index_file() -> Path:
    (result,) = Path(os.environ["HOME"], ".cache", "circle-migrate").iterdir()
    return result


def test_nothing_is_read_twice(tree: Tree) -> None:
    first = tree.ask()
    assert tree.read == ["a", "b", "c"]
    again = tree.ask()
    assert tree.read == []
    assert first == again == tree.truth()
    assert list(first) == list(again)


# What may happen to files, and which are read again.


def edit(tree: Tree) -> None:
    tree.write("b", "a", message="Other", more="depends_on = None")


def edit_with_same_size(tree: Tree) -> None:
    path = tree.folder / "b.py"
    before = path.stat()
    path.write_text(path.read_text().replace("Text", "Test"))
    assert path.stat().st_size == before.st_size
    tree.age(path, OLD - 60)


def edit_with_same_size_and_time(tree: Tree) -> None:
    path = tree.folder / "b.py"
    before = path.stat()
    path.write_text(path.read_text().replace("Text", "Test"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def touch(tree: Tree) -> None:
    tree.age(tree.folder / "b.py", OLD - 60)


def replace(tree: Tree) -> None:
    path = tree.folder / "b.py"
    other = tree.folder / "b.new"
    other.write_text(path.read_text().replace("Text", "Test"))
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def delete(tree: Tree) -> None:
    (tree.folder / "c.py").unlink()


def add(tree: Tree) -> None:
    tree.write("d", "c")


def rename(tree: Tree) -> None:
    (tree.folder / "c.py").rename(tree.folder / "cc.py")


def exchange(tree: Tree) -> None:
    (tree.folder / "a.py").rename(tree.folder / "x")
    (tree.folder / "c.py").rename(tree.folder / "a.py")
    (tree.folder / "x").rename(tree.folder / "c.py")


def link(tree: Tree) -> None:
    (tree.folder / "c.py").rename(tree.folder / "c.txt")
    (tree.folder / "c.py").symlink_to("c.txt")


def strangers(tree: Tree) -> None:
    for name in ("notes.txt", "__init__.py", ".#c.py", ".hidden.py"):
        (tree.folder / name).write_text("")


@pytest.mark.parametrize(
    ("change", "read"),
    [
        (edit, ["b"]),
        (edit_with_same_size, ["b"]),
        (edit_with_same_size_and_time, ["b"]),
        (touch, ["b"]),
        (replace, ["b"]),
        (delete, []),
        (add, ["d"]),
        (rename, ["cc"]),
        (exchange, ["a", "c"]),
        (link, ["c"]),
        (strangers, []),
    ],
)
def test_changed_files_alone_are_read_again(
    tree: Tree, change: Callable[[Tree], None], read: list[str]
) -> None:
    tree.ask()
    change(tree)
    changed = tree.ask()
    assert tree.read == read
    assert changed == tree.truth()
    assert tree.ask() == changed
    assert tree.read == []


@pytest.mark.usefixtures("now")
def test_a_file_that_changes_twice_within_a_clock_tick_is_read_again(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        revision_cache, "_identity", lambda status: (status.st_size, status.st_mtime_ns, 0, status.st_ino)
    )
    path = tree.write("b", "a", age=0)
    before = path.stat()
    tree.ask()
    path.write_text(path.read_text().replace("Text", "Test"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tree.ask()["b"].message == "Test"


@pytest.mark.usefixtures("now")
def test_a_recent_change_is_not_hidden_by_setting_its_time_back(tree: Tree) -> None:
    for _ in range(2):
        assert tree.ask() == tree.truth()
        assert tree.read == ["a", "b", "c"]


def test_a_file_from_the_future_is_always_read(tree: Tree) -> None:
    tree.write("b", "a", age=-2 * OLD)
    tree.ask()
    tree.ask()
    assert tree.read == ["b"]


@pytest.mark.parametrize("linked", ["folder", "file", "dangling"])
def test_a_link_switched_between_status_and_read_mixes_no_releases(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: str
) -> None:
    """The link leads to another release while a file is read, and back to the first afterwards."""
    other = Tree(tmp_path / "other")
    other.folder.mkdir()
    other.write("a", None, message="Other")
    for key in ("b", "c"):
        (tree.folder / f"{key}.py").unlink()
    place = tmp_path / "place"
    if linked == "folder":
        first, second, link = tree.folder, other.folder, place
    else:
        place.mkdir()
        first, second, link = tree.folder / "a.py", other.folder / "a.py", place / "a.py"
    if linked == "dangling":
        first = tmp_path / "nowhere"
    link.symlink_to(first)
    read_file = parse_file.read_file

    def switched(database: str, path: Path) -> tuple[bytes, os.stat_result]:
        link.unlink()
        link.symlink_to(second)
        try:
            return read_file(database, path)
        finally:
            link.unlink()
            link.symlink_to(first)

    with monkeypatch.context() as context:
        context.setattr(parse_file, "read_file", switched)
        assert tree.ask(place)["a"].message == "Other"
    if linked == "dangling":
        with pytest.raises(TreeError, match="cannot be read"):
            tree.ask(place)
    else:
        assert tree.ask(place)["a"].message == "Text"


def test_what_a_module_computes_is_never_stored(tree: Tree) -> None:
    tree.write("d", "c", more='import os\nlabel = os.environ["LABEL"]\nbranch_labels = (label,)')
    for label in ("one", "two"):
        os.environ["LABEL"] = label
        assert tree.ask()["d"].labels == (label,)
    assert tree.read == ["d"]
    del os.environ["LABEL"]


@pytest.mark.parametrize("value", ["{1}", "b'x'"])
def test_a_value_without_a_json_type_is_cached(tree: Tree, value: str) -> None:
    tree.write("d", "c", more=f"irreversible = {value}")
    tree.ask()
    cached = tree.ask()
    assert tree.read == []
    assert cached == tree.truth()


def test_a_name_with_a_line_feed_or_bytes_of_no_text_is_cached(tree: Tree) -> None:
    path = tree.write("d", "c")
    path.rename(tree.folder / os.fsdecode(b"d\n\xff.py"))
    first = tree.ask()
    assert tree.ask() == first == tree.truth()
    assert tree.read == []


def test_a_broken_file_is_an_error_until_it_is_mended(tree: Tree) -> None:
    tree.ask()
    path = tree.write("b", "a", more="((")
    for _ in range(2):
        with pytest.raises(TreeError) as caught:
            tree.ask()
        assert caught.value.location == f"{path}:6"
        assert tree.read == ["b"]
    tree.write("b", "a")
    assert tree.ask()["b"].down_revisions == ("a",)
    assert tree.read == ["b"]


def test_an_empty_folder_is_an_empty_graph(tree: Tree, tmp_path: Path) -> None:
    empty = Tree(tmp_path / "empty")
    empty.folder.mkdir()
    for _ in range(2):
        assert empty.ask() == {}
        assert empty.graph().heads == empty.graph().effective_heads == ()
    empty.write("first", None)
    assert list(empty.ask()) == ["first"]
    (empty.folder / "first.py").unlink()
    assert empty.ask() == {}


@pytest.mark.parametrize(
    ("key", "down", "words"),
    [
        ("d", "gone", "which no revision file has"),
        ("a", "c", "cycle"),
        ("d-3", "c", "Alembic refuses"),
        ("heads", "c", "another meaning as a target"),
    ],
)
def test_files_that_form_no_tree_are_an_error_each_time(tree: Tree, key: str, down: str, words: str) -> None:
    tree.ask()
    path = tree.write(key, down)
    for _ in range(2):
        with pytest.raises(TreeError, match=words) as caught:
            tree.ask()
        assert (caught.value.location or "").startswith(str(path))


@pytest.mark.parametrize("current", [(), ("a",), ("c",)])
def test_pending_is_what_is_not_below(tree: Tree, current: tuple[str, ...]) -> None:
    for graph in (tree.graph(), tree.graph()):
        assert graph.pending(current) == set(graph.revisions) - graph.ancestors(current)


@pytest.mark.parametrize("name", ["gone", "n" * 300])
def test_a_folder_that_is_missing_or_cannot_be_asked_for_is_an_error(tree: Tree, name: str) -> None:
    with pytest.raises(TreeError, match="cannot be read"):
        tree.ask(tree.folder / name)


def test_paths_are_those_of_the_folder_that_was_asked_for(tree: Tree, tmp_path: Path) -> None:
    tree.ask()
    (tmp_path / "link").symlink_to(tree.folder)
    for _ in range(2):
        assert tree.ask(tmp_path / "link")["a"].path == str(tmp_path / "link" / "a.py")
        assert tree.ask()["a"].path == str(tree.folder / "a.py")


def test_two_databases_may_have_one_folder(tree: Tree) -> None:
    tree.ask()
    assert read_graph("other", [tree.folder])["a"].database == "other"
    assert tree.ask()["a"].database == "main"
    assert tree.read == []


# What may happen to the index.


def damage(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff\xfe\n\n"),
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: path.write_bytes(path.read_bytes() + b"\n"),
        lambda path: damage(path, b"Text", b"Lies"),
        lambda path: damage(path, b'cache", [11', b'cache", [12'),
        lambda path: damage(path, b'"main"', b'"fake"'),
        lambda path: path.chmod(0o666),
        lambda path: path.unlink(),
    ],
    ids=["empty", "foreign", "truncated", "longer", "edited", "newer", "other", "for-all-to-write", "gone"],
)
def test_an_index_that_cannot_be_relied_on_is_made_anew(tree: Tree, spoil: Callable[[Path], None]) -> None:
    tree.ask()
    spoil(index_file())
    assert tree.ask() == tree.truth()
    assert tree.read == ["a", "b", "c"]
    assert tree.ask() == tree.truth()
    assert tree.read == []


def test_an_index_of_another_version_is_not_used(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.ask()
    monkeypatch.setattr(revision_cache, "__version__", "999")
    tree.ask()
    assert tree.read == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_nothing_is_read_through_what_is_no_file(tree: Tree, tmp_path: Path, kind: str) -> None:
    tree.ask()
    path = index_file()
    if kind == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.unlink()
        os.mkfifo(path) if kind == "pipe" else path.mkdir()
    assert tree.ask() == tree.truth()
    assert tree.read == ["a", "b", "c"]
    if kind == "link":
        assert not path.is_symlink()


def test_the_index_is_for_its_owner_alone(tree: Tree) -> None:
    tree.ask()
    path = index_file()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def no_home(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.delenv("HOME")


def home_that_is_missing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HOME", str(folder / "missing"))


def cache_that_is_a_file(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "file"))


def cache_of_somebody_else(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setattr(cache.os, "geteuid", lambda: os.getuid() + 1)


def full_disk(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "replace", refuse)


@pytest.mark.parametrize(
    "surroundings", [no_home, home_that_is_missing, cache_that_is_a_file, cache_of_somebody_else, full_disk]
)
def test_without_a_place_for_the_index_files_are_read(
    tree: Tree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    surroundings: Callable[[pytest.MonkeyPatch, Path], None],
) -> None:
    home = Path(os.environ["HOME"])
    surroundings(monkeypatch, tmp_path)
    for _ in range(2):
        assert tree.ask() == tree.truth()
        assert tree.read == ["a", "b", "c"]
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "missing").exists()


def test_the_cache_folder_is_where_the_environment_says(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    tree.ask()
    assert len(list((tmp_path / "caches" / "circle-migrate").iterdir())) == 1
    assert not Path(os.environ["HOME"], ".cache").exists()


def test_a_relative_cache_folder_counts_as_none(
    tree: Tree, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "caches")
    tree.ask()
    assert list(workdir.iterdir()) == []
    assert index_file().is_file()


READER = """
import sys
from pathlib import Path
from circle_migrate.revision_graph.revision_cache import read_graph
for _ in range(30):
    assert read_graph("main", [Path(sys.argv[1])]).heads == ("c",)
"""


def test_processes_that_read_and_write_at_once_do_not_disturb_each_other(tree: Tree) -> None:
    for key, down in (("a", None), ("b", "a"), ("c", "b")):
        tree.write(key, down, age=-2 * OLD if key == "c" else OLD)  # so that each of them writes each time
    arguments = [sys.executable, "-c", READER, str(tree.folder)]
    readers = [
        subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for number in range(30):
        # As editors do it: a reader must never see half a file, which would be a broken one.
        draft = tree.folder / ".draft"
        draft.write_text(
            TEXT.format(key="b", down="a", message=f"Number {number}", more=""), encoding="utf-8"
        )
        draft.replace(tree.folder / "b.py")
        assert tree.ask()["b"].message == f"Number {number}"
    for reader in readers:
        _, said = reader.communicate(timeout=60)
        assert reader.returncode == 0, said
    assert [item.suffix for item in index_file().parent.iterdir()] == [""]
