"""Revision files in the shapes that Python has for them; unusual files are refused with their name."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path
from typing import Any, NoReturn

import pytest
from alembic.script import Script as AlembicScript
from alembic.script.revision import Revision as AlembicRevision
from alembic.script.revision import RevisionError

from circle_migrate.core.errors import ExitCode, TreeError
from circle_migrate.revision_graph import parse_file
from circle_migrate.revision_graph.modules import load_module
from circle_migrate.revision_graph.parse_file import read_revision

FUNCTIONS = "\ndef upgrade(): ...\ndef downgrade(): ...\n"
STATIC = [
    'revision, down_revision = "a", "b"',
    '(revision, (down_revision, [depends_on])) = ("a", ("b", ["c"]))',
    '[revision, *_] = "a", "x", "y"; revision: str = "a"; down_revision = None',
    'revision = other = "a"; down_revision: "str | None" = "b"',
    'revision: str\nrevision = "x"\nrevision = "a"',
    'revision = "a"\ndef requires(): ...\nclass irreversible: ...',
]
COMPUTED = [
    'revision = "a"\nif __name__:\n    down_revision = "b"\nelse:\n    down_revision = "c"',
    'try:\n    import nothing_like_it\nexcept ImportError:\n    revision = "a"',
    'revision, *rest = "a", "x"',
    'revision = "a"\ndepends_on = ("b",)\ndepends_on += ("c",)',
    'revision, down_revision = reversed(("b", "a"))',
    'revision = "a"\nfor down_revision in ("b",): ...\ndown_revision = str(down_revision)',
    'with open(__file__) as file:\n    revision = "a"',
    'match 1:\n    case 1:\n        revision = "a"',
    'revision = "a"; depends_on = {[]} if False else None',
    "revision = " + " + ".join(['"a"'] + ['""'] * 90),
]


def never_load(path: Path) -> NoReturn:
    raise AssertionError(path)


def names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


@pytest.mark.parametrize("text", STATIC + COMPUTED)
def test_values_are_those_that_python_finds(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.py"
    path.write_text(f"down_revision = None\n{text}{FUNCTIONS}", encoding="utf-8")
    result = read_revision("main", path, never_load if text in STATIC else load_module)
    module = runpy.run_path(str(path))
    assert result.id == module["revision"] == "a"
    assert result.down_revisions == names(module.get("down_revision"))
    assert result.depends_on == names(module.get("depends_on"))
    assert result.has_downgrade


@pytest.mark.parametrize(
    "text",
    [
        "if True:\n    def upgrade(): ...\n    def downgrade(): ...",
        "try:\n    import nothing\nexcept ImportError:\n    def upgrade(): ...\n    downgrade = upgrade",
        "import sys\nif sys.version_info > (2,):\n    from shutil import copy as upgrade, move as downgrade",
        "upgrade, downgrade = print, print",
        "upgrade = downgrade = lambda: None",
        "with open(__file__):\n    for _ in 'x':\n        def upgrade(): ...\n        def downgrade(): ...",
    ],
)
def test_definitions_in_other_places_are_found(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.py"
    path.write_text(f"revision, down_revision = 'a', None\n{text}\n", encoding="utf-8")
    assert read_revision("main", path, never_load).has_downgrade


def test_names_from_a_star_import_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shared_steps.py").write_text(
        "def upgrade(): ...\nrevision, down_revision = 'a', None\n", encoding="utf-8"
    )
    path = tmp_path / "versions.py"
    path.write_text("from shared_steps import *\n", encoding="utf-8")
    result = read_revision("main", path)
    assert (result.id, result.has_downgrade) == ("a", False)
    path.write_text(
        "from sqlalchemy import *\nrevision, down_revision = 'b', 'a'\n" + FUNCTIONS, encoding="utf-8"
    )
    assert read_revision("main", path, never_load).id == "b"


@pytest.mark.parametrize("key", ["a-b", "a+1", "main@a", "a:b", "a+b-c"])
def test_id_that_alembic_refuses_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(RevisionError):
        AlembicRevision(key, None)
    path = tmp_path / "a.py"
    path.write_text(f"\nrevision = {key!r}{FUNCTIONS}", encoding="utf-8")
    with pytest.raises(TreeError, match=re.escape(repr(key))) as caught:
        read_revision("main", path, never_load)
    assert caught.value.location == f"{path}:2"


@pytest.mark.parametrize("key", ["it's", "a\0b"])
def test_id_that_cannot_be_a_literal_is_refused(tmp_path: Path, key: str) -> None:
    path = tmp_path / "a.py"
    path.write_text(f"revision, down_revision = {key!r}, None{FUNCTIONS}", encoding="utf-8")
    with pytest.raises(TreeError, match=re.escape(repr(key))):
        read_revision("main", path, never_load)


@pytest.mark.parametrize("text", ["", "down_revision: str | None", "def f():\n    down_revision = None"])
def test_without_down_revision(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.py"
    path.write_text(f"revision = 'a'\n{text}{FUNCTIONS}", encoding="utf-8")
    with pytest.raises(AttributeError, match="down_revision"):  # so does Alembic
        AlembicScript(load_module(path), "a", str(path))
    with pytest.raises(TreeError, match="a has no `down_revision`") as caught:
        read_revision("main", path)
    assert caught.value.location == f"{path}:1"


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    path.write_text("revision = 'a'\n", encoding="utf-8")
    os.truncate(path, parse_file._MAX_BYTES + 1)


def huge_line(path: Path) -> None:
    path.write_text("revision = 'a' " + "x" * 3_000_000, encoding="utf-8")


def deep_text(path: Path) -> None:
    path.write_text("revision = " + "(" * 5_000 + "'a'" + ")" * 5_000, encoding="utf-8")


def deep_sum(path: Path) -> None:
    path.write_text("revision = 'a'" + " + ''" * 50_000 + FUNCTIONS, encoding="utf-8")


def deep_calls(path: Path) -> None:
    path.write_text("revision = " + "str" + "()" * 100_000 + FUNCTIONS, encoding="utf-8")


def latin(path: Path) -> None:
    path.write_bytes(b"'''caf\xe9'''\nrevision = 'a'\n" + FUNCTIONS.encode())


def utf16(path: Path) -> None:
    path.write_bytes(("revision = 'a'" + FUNCTIONS).encode("utf-16"))


@pytest.mark.parametrize(
    "make", [pipe, device, huge, huge_line, deep_text, deep_sum, deep_calls, latin, utf16]
)
def test_unusual_file_is_refused_with_its_name(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "a1.py"
    make(path)
    with pytest.raises(TreeError) as caught:
        read_revision("main", path)
    assert caught.value.status == ExitCode.REFUSED
    assert str(path) in (caught.value.location or "")
    assert caught.value.detail
    assert len(str(caught.value.to_dict())) < 1500


def test_declared_encoding_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(
        b"# coding: latin-1\n'''caf\xe9'''\nrevision, down_revision = 'a', None\n" + FUNCTIONS.encode()
    )
    assert read_revision("main", path, never_load).message == "café"
