"""Folders of revisions from alembic.ini and [tool.alembic], as Alembic reads them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from alembic.config import Config

from circle_migrate.config.load import load
from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.core.errors import SettingsError

TABLE = "[tool.circle-migrate.databases.main]\nrevisions = {revisions}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in ("db/env/versions/old", "db/one", "db/two", "db/other"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "db/env/env.py").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def main(folder: Path, revisions: str = "'db/env'", *, toml: str = "") -> DatabaseSettings:
    (folder / "pyproject.toml").write_text(TABLE.format(revisions=revisions) + toml, encoding="utf-8")
    return load(environ={}, cwd=folder).databases["main"]


def names(settings: DatabaseSettings, folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in settings.revisions.folders]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:alembic")
@pytest.mark.parametrize(
    "options",
    [
        "version_locations = %(here)s/one %(here)s/two",
        "version_locations = %(here)s/one, %(here)s/two",
        "version_locations = %(here)s/one:%(here)s/two\npath_separator = os",
        "version_locations = %(here)s/one;%(here)s/two\nversion_path_separator = ;",
        "version_locations =\n  %(here)s/one\n  %(here)s/two\npath_separator = newline",
    ],
)
def test_version_locations_are_alembics(folder: Path, options: str) -> None:
    file = folder / "db/alembic.ini"
    file.write_text(
        f"[alembic]\nscript_location = %(here)s/env\n{options}\nkey = %(name)s\n", encoding="utf-8"
    )
    settings = main(folder)
    assert names(settings, folder) == ["db/one", "db/two"]
    assert [str(path) for path in settings.revisions.folders] == [
        item for item in Config(file).get_version_locations_list() or () if item
    ]


@pytest.mark.parametrize(("text", "recursive"), [("true", True), ("1", True), ("false", False), ("", False)])
@pytest.mark.parametrize("place", ["alembic.ini", "db/alembic.ini", "db/env/alembic.ini"])
@pytest.mark.parametrize("revisions", ["'db/env'", "'db/env/versions'"])
def test_recursive_version_locations(
    folder: Path, text: str, place: str, revisions: str, *, recursive: bool
) -> None:
    (folder / place).write_text(
        f"[alembic]\nscript_location = {folder}/db/env\nrecursive_version_locations = {text}\n",
        encoding="utf-8",
    )
    settings = main(folder, revisions)
    assert settings.revisions.recursive is recursive
    assert names(settings, folder) == [revisions.strip("'")]


def test_section_of_the_environment_is_used(folder: Path) -> None:
    (folder / "db/alembic.ini").write_text(
        "[DEFAULT]\nprepend_sys_path = .\n[first]\nscript_location = other\nversion_locations = gone\n"
        "[second]\nscript_location = env\nversion_locations = two\nrecursive_version_locations = yes\n"
        "[logger_root]\nformat = %(message)s\n",
        encoding="utf-8",
    )
    settings = main(folder)
    assert (names(settings, folder), settings.revisions.recursive) == (["db/two"], True)


def test_table_of_pyproject(folder: Path) -> None:
    toml = (
        "[tool.alembic]\nscript_location = '%(here)s/db/env'\nrecursive_version_locations = true\n"
        "version_locations = ['%(here)s/db/one', 'db/two']\n"
    )
    settings = main(folder, toml=toml)
    assert (names(settings, folder), settings.revisions.recursive) == (["db/one", "db/two"], True)


def test_several_folders_in_settings_and_in_the_environment(folder: Path) -> None:
    settings = main(folder, "['db/one', 'db/two', 'db/one']")
    assert names(settings, folder) == ["db/one", "db/two"]
    environ = {"CIRCLE_MIGRATE_MAIN_REVISIONS": "db/two\ndb/one"}
    assert names(load(environ=environ, cwd=folder).databases["main"], folder) == ["db/two", "db/one"]


@pytest.mark.parametrize("revisions", ["3", "[]", "['']", "[3]", "''"])
def test_wrong_value_is_refused_once(folder: Path, revisions: str) -> None:
    with pytest.raises(SettingsError, match="should be a folder or a list of folders") as caught:
        main(folder, revisions)
    assert "settings are wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("password = hunter2\n", "MissingSectionHeaderError, line 1"),
        ("[alembic]\nscript_location = %(nothing)s/env\n", "Error, option script_location"),
        ("[alembic]\nscript_location = env\n[alembic]\n", "DuplicateSectionError, line 3"),
        ("[alembic]\nscript_location = env\nhunter2\n", "ParsingError, line 3"),
        ("[alembic]\nscript_location = env\nversion_locations = gone\n", "version_locations in"),
        ("[alembic]\nscript_location = env\nversion_locations = one\npath_separator = |\n", "path_separator"),
        (b"[alembic]\nscript_location = \xff\n", "cannot be read"),
    ],
)
def test_unusable_file_is_named_without_its_text(folder: Path, text: str | bytes, words: str) -> None:
    file = folder / "db/alembic.ini"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SettingsError) as caught:
        main(folder)
    assert str(file) in str(caught.value)
    assert words in f"{caught.value} {caught.value.detail}"
    assert "hunter2" not in str(caught.value.to_dict())


@pytest.mark.parametrize(
    ("options", "added"),
    [
        ("prepend_sys_path = .", ["db"]),
        ("prepend_sys_path = one:two\npath_separator = os", ["db/one", "db/two"]),
        ("prepend_sys_path = one, %(here)s/two", ["db/one", "db/two"]),
        ("", []),
    ],
)
def test_prepend_sys_path_is_relative_to_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: str, added: list[str]
) -> None:
    """Its modules are found by every setting that names one."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (folder / "db/alembic.ini").write_text(f"[alembic]\nscript_location = env\n{options}\n", encoding="utf-8")
    (folder / added[-1] / "shop_tools.py").write_text("", encoding="utf-8") if added else None
    imports = '[tool.circle-migrate]\nimports = ["shop_tools"]\n' if added else ""
    main(folder, toml=imports)
    assert sys.path[: len(added)] == [str(folder / path) for path in added]


PYPROJECT_TEMPLATE = "[tool.alembic]\nscript_location = '%(here)s/db/env'\n"


@pytest.mark.parametrize("revisions", ["'alembic.ini'", "'db/env'"])
def test_table_of_pyproject_beside_an_ini_for_the_url(folder: Path, revisions: str) -> None:
    """`alembic init --template pyproject` writes both."""
    (folder / "alembic.ini").write_text("[alembic]\nsqlalchemy.url = driver://\n", encoding="utf-8")
    place = main(folder, revisions, toml=PYPROJECT_TEMPLATE).revisions
    assert place.folders == (folder / "db/env",)
    assert (place.ini, place.toml, place.section) == (
        folder / "alembic.ini",
        folder / "pyproject.toml",
        "alembic",
    )


@pytest.mark.parametrize("place", ["m1.pyc", "__pycache__/m1.cpython-311.pyc"])
def test_compiled_revision_without_source_is_refused(folder: Path, place: str) -> None:
    ini = folder / "db/alembic.ini"
    compiled = folder / "db/env/versions" / place
    compiled.parent.mkdir(exist_ok=True)
    compiled.touch()
    ini.write_text("[alembic]\nscript_location = env\n", encoding="utf-8")
    main(folder)
    ini.write_text("[alembic]\nscript_location = env\nsourceless = true\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"without its source m1\.py"):
        main(folder)
    (folder / "db/env/versions/m1.py").touch()
    main(folder)
