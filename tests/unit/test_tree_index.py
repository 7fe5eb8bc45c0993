"""The index of a tree never tells anything but what the files say, and never fails."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from circle_migrate import cache, revision_files, revision_folder, stored_graph, tree_index
from circle_migrate.core.revisions import Graph, Revision
from circle_migrate.errors import TreeError
from circle_migrate.revision_folder import is_revision_file
from circle_migrate.tree_index import Tree as IndexedTree

ROOT = Path(__file__).parent.parent.parent
TEXT = '"""{message}\n\nMore."""\nrevision = {key!r}\ndown_revision = {down!r}\n{more}\ndef upgrade(): ...\n'
OLD = 3600
LAST_CHANGE = tree_index._last_change


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
        return IndexedTree("main", folder or self.folder).graph(self.load)

    def load(self, path: Path) -> ModuleType:
        module = ModuleType(path.stem)
        exec(path.read_text(encoding="utf-8"), module.__dict__)
        return module

    def truth(self) -> dict[str, Revision]:
        """The revisions as the files tell them."""
        files = sorted(path for path in self.folder.iterdir() if is_revision_file(path.name))
        found = [revision_files.read_source("main", path, path.read_bytes(), self.load) for path in files]
        return {each.id: each for each in found}


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
    read_revision = revision_files.read_revision

    def noted(database: str, path: Path, load: revision_files.ModuleLoader) -> Revision:
        tree.read.append(path.stem)
        return read_revision(database, path, load)

    monkeypatch.setattr(revision_files, "read_revision", noted)
    # The time at which a file was created or renamed cannot be set back, as that of its last change can.
    monkeypatch.setattr(tree_index, "_last_change", lambda state: state.st_mtime_ns)
    tree.age(folder, OLD)
    return tree


def index_file() -> Path:
    (found,) = Path(os.environ["HOME"], ".cache", "circle-migrate").iterdir()
    return found


def test_nothing_is_read_twice(tree: Tree) -> None:
    first = tree.ask()
    assert tree.read == ["a", "b", "c"]
    again = tree.ask()
    assert tree.read == []
    assert first == again == tree.truth()
    assert list(first) == list(again)


def test_the_stored_graph_answers_as_one_that_was_built(tree: Tree) -> None:
    built, stored = tree.graph(), tree.graph()
    assert type(stored.revisions) is not type(built.revisions)
    for name in ("heads", "real_heads", "bases", "branch_points", "labels", "order", "successors", "digest"):
        assert getattr(stored, name) == getattr(built, name), name
    assert stored.no_way_back == built.no_way_back == ("a", "c")
    for name in ("parents", "down", "requires"):
        links = getattr(built, name)
        assert {key: tuple(each) for key, each in getattr(stored, name).items()} == links, name
    assert stored.children == built.children
    assert stored.ancestors(["c"]) == {"a", "b", "c"}
    assert stored.find("x") == "b"
    assert "d" not in stored
    assert len(stored) == 3


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


@pytest.mark.parametrize("recent", [False, True], ids=["old-folder", "recent-folder"])
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
    tree: Tree, change: Callable[[Tree], None], read: list[str], recent: bool
) -> None:
    tree.age(tree.folder, 0 if recent else OLD)
    tree.ask()
    change(tree)
    changed = tree.ask()
    assert tree.read == read
    assert changed == tree.truth()
    assert tree.ask() == changed
    assert tree.read == []


@pytest.fixture
def one_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that does not move on between two changes: of a state only what can be set back is left."""
    for module in (revision_folder, tree_index):
        monkeypatch.setattr(
            module, "state_of", lambda state: hash((state.st_size, state.st_mtime_ns, state.st_ino))
        )


@pytest.mark.usefixtures("one_tick")
def test_a_file_that_was_changed_just_now_is_read_again(tree: Tree) -> None:
    path = tree.write("b", "a", age=0)
    before = path.stat()
    tree.ask()
    path.write_text(path.read_text().replace("Text", "Test"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tree.ask()["b"].message == "Test"
    assert tree.read == ["b"]


@pytest.mark.usefixtures("one_tick")
def test_a_folder_that_was_changed_just_now_is_listed_again(tree: Tree) -> None:
    tree.age(tree.folder, 0)
    before = tree.folder.stat()
    for _ in range(2):
        tree.ask()
    tree.write("d", "c")
    os.utime(tree.folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert sorted(tree.ask()) == ["a", "b", "c", "d"]


@pytest.mark.usefixtures("one_tick")
def test_a_new_name_is_seen_where_nothing_else_is_new(tree: Tree) -> None:
    tree.ask()
    rename(tree)
    assert tree.ask()["c"].path == str(tree.folder / "cc.py")


def test_a_folder_is_not_listed_while_it_is_as_it_was(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = tree.truth()
    listed: list[object] = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda of: listed.append(of) or listdir(of))

    def lists() -> bool:
        listed.clear()
        assert tree.ask() == truth
        return bool(listed)

    tree.age(tree.folder, 0)
    assert [lists(), lists()] == [True, True], "its time may not be its last"
    tree.age(tree.folder, OLD)
    assert [lists(), lists(), lists()] == [True, False, False]


@pytest.mark.parametrize("linked", ["folder", "file", "dangling"])
def test_what_was_looked_at_and_what_was_read_are_not_taken_for_the_same(
    tree: Tree, tmp_path: Path, linked: str
) -> None:
    """Releases switched by a link, and back, between looking at files and reading them."""
    other = Tree(tmp_path / "other")
    other.folder.mkdir()
    other.write("a", None, message="Other")
    place = tmp_path / "place"
    if linked == "folder":
        first, second, link = tree.folder, other.folder, place
    else:
        place.mkdir()
        first, second, link = tree.folder / "a.py", other.folder / "a.py", place / "a.py"
    for key in ("b", "c"):
        (tree.folder / f"{key}.py").unlink()
    if linked == "dangling":
        first = tmp_path / "nowhere"
    link.symlink_to(first)
    for folder in (tree.folder, other.folder, place):
        tree.age(folder, OLD)
    indexed = IndexedTree("main", place)
    while indexed.look():
        pass
    link.unlink()
    link.symlink_to(second)
    assert indexed.graph(tree.load)["a"].message == "Other"
    link.unlink()
    link.symlink_to(first)
    tree.age(place, OLD)
    if linked == "dangling":
        with pytest.raises(TreeError, match="cannot be read"):
            tree.ask(place)
    else:
        assert tree.ask(place)["a"].message == "Text"


def test_setting_the_time_of_a_change_back_does_not_hide_that_it_is_recent(tree: Tree) -> None:
    assert time.time_ns() - LAST_CHANGE((tree.folder / "a.py").stat()) < OLD * 10**9 / 2


def test_a_file_from_the_future_is_always_read(tree: Tree) -> None:
    tree.write("b", "a", age=-OLD)
    for _ in range(2):
        tree.ask()
        assert "b" in tree.read


def test_what_a_module_computes_is_never_stored(tree: Tree) -> None:
    tree.write("d", "c", more='import os\nlabel = os.environ["LABEL"]\nbranch_labels = (label,)')
    for label in ("one", "two"):
        os.environ["LABEL"] = label
        assert tree.ask()["d"].labels == (label,)
    assert tree.read == ["d"]
    del os.environ["LABEL"]


def test_a_broken_file_is_an_error_until_it_is_mended(tree: Tree) -> None:
    tree.ask()
    path = tree.write("b", "a", more="((")
    for _ in range(2):
        with pytest.raises(TreeError) as caught:
            tree.ask()
        assert caught.value.location == f"{path}:6"
        assert tree.read == ["b"]
    tree.write("b", "a")
    assert tree.ask()["b"].down == ("a",)
    assert tree.read == ["b"]


def test_an_empty_tree_has_an_index_too(tree: Tree, tmp_path: Path) -> None:
    empty = Tree(tmp_path / "empty")
    empty.folder.mkdir()
    for _ in range(2):
        assert empty.ask() == {}
        assert empty.graph().heads == empty.graph().real_heads == ()
    empty.write("first", None)
    assert list(empty.ask()) == ["first"]
    (empty.folder / "first.py").unlink()
    assert empty.ask() == {}


@pytest.mark.parametrize(
    ("key", "down", "words"),
    [("d", "gone", "no file with that revision"), ("a", "c", "circle"), ("d" * 33, "c", "33 characters")],
)
def test_files_that_form_no_tree_are_an_error_each_time(tree: Tree, key: str, down: str, words: str) -> None:
    tree.ask()
    path = tree.write(key, down)
    for _ in range(2):
        with pytest.raises(TreeError, match=words) as caught:
            tree.ask()
        assert (caught.value.location or "").startswith(str(path))


def test_what_most_questions_are_about_is_told_without_decoding_the_rest(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = tree.graph()
    monkeypatch.setattr(stored_graph.StoredGraph, "_links", property(lambda _: pytest.fail("decoded")))
    stored = tree.graph()
    assert stored.heads == stored.real_heads == ("c",)
    assert "c" in stored
    assert stored["c"] == built["c"]
    assert stored["b"] == built["b"], "it requires something"
    assert stored.pending(["c"]) == set()
    assert stored.requires == {"b": ["other@z"]}
    assert (len(stored), stored.digest, stored.no_way_back) == (3, built.digest, built.no_way_back)


@pytest.mark.parametrize("current", [(), ("a",), ("c",)])
def test_pending_is_what_is_not_below(tree: Tree, current: tuple[str, ...]) -> None:
    for graph in (tree.graph(), tree.graph()):
        assert graph.pending(current) == set(graph.revisions) - graph.ancestors(current)


@pytest.mark.parametrize("name", ["gone", "n" * 300])
def test_a_folder_that_is_missing_or_cannot_be_asked_for_is_an_error(tree: Tree, name: str) -> None:
    with pytest.raises(TreeError, match="cannot be read"):
        IndexedTree("main", tree.folder / name).graph(tree.load)


def test_what_cannot_be_read_is_said_to_everybody_who_asks(tree: Tree) -> None:
    tree.ask()
    indexed = IndexedTree("main", tree.folder)
    tree.folder.rename(tree.folder.with_name("away"))
    for ask in (indexed.look, indexed.look, lambda: indexed.graph(tree.load)):
        with pytest.raises(TreeError, match="cannot be read"):
            ask()


@pytest.mark.parametrize("pieces", [0, 1, 2, 3])
def test_files_can_be_looked_at_in_pieces(tree: Tree, monkeypatch: pytest.MonkeyPatch, pieces: int) -> None:
    monkeypatch.setattr(revision_folder, "_PIECE", 1)
    for _ in range(2):
        indexed = IndexedTree("main", tree.folder)
        assert [indexed.look() for _ in range(pieces)] == [True] * pieces
        assert dict(indexed.graph(tree.load).revisions) == tree.truth()
        assert not indexed.look()


def test_paths_are_those_of_the_folder_that_was_asked_for(tree: Tree, tmp_path: Path) -> None:
    tree.ask()
    (tmp_path / "link").symlink_to(tree.folder)
    assert tree.ask(tmp_path / "link")["a"].path == str(tmp_path / "link" / "a.py")
    assert tree.read == []


def test_two_databases_may_have_one_folder(tree: Tree) -> None:
    tree.ask()
    assert IndexedTree("other", tree.folder).graph(tree.load)["a"].database == "other"
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
        lambda path: damage(path, b'"message": "Text"', b'"message": "Lies"'),
        lambda path: damage(path, b'tree index", 4', b'tree index", 5'),
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
    monkeypatch.setattr(tree_index, "__version__", "999")
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
    assert [each.name for each in path.parent.iterdir()] == [path.name]


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
from circle_migrate.tree_index import Tree
for _ in range(30):
    assert Tree("main", Path(sys.argv[1])).graph(None).heads == ("c",)
"""


def test_processes_that_read_and_write_at_once_do_not_disturb_each_other(tree: Tree) -> None:
    for key, down in (("a", None), ("b", "a"), ("c", "b")):
        tree.write(key, down, age=-OLD if key == "c" else OLD)  # so that each of them writes each time
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
    assert [each.suffix for each in index_file().parent.iterdir()] == [""]
