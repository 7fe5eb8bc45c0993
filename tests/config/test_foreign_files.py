"""A pyproject.toml or .env that another user could have put above the current folder is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from circle_migrate.config.load import load
from circle_migrate.core.errors import SettingsError
from tests.deployments import invoke

EVE = 4711
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

TABLE = "[tool.circle-migrate]\nlock-wait = 7\n"
VARIABLE = "CIRCLE_MIGRATE_LOCK_WAIT=7\n"
FILES = [("pyproject.toml", TABLE), (".env", VARIABLE)]


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    (folder / "mine").mkdir(parents=True)
    return folder


def lock_wait(cwd: Path, **environ: str) -> float:
    return load(environ=environ, cwd=cwd).lock_wait


@only_root
@pytest.mark.parametrize(
    ("name", "text", "given_away"), [(*FILES[0], "file"), (*FILES[0], "folder"), (*FILES[1], "file")]
)
def test_file_above_the_current_folder(shared: Path, name: str, text: str, given_away: str) -> None:
    (shared / "pyproject.toml").touch()
    (shared / name).write_text(text, encoding="utf-8")
    os.chown(shared / name if given_away == "file" else shared, EVE, -1)
    with pytest.raises(SettingsError, match=rf"shared/{name} is not read.*uid {EVE}") as caught:
        lock_wait(shared / "mine")
    assert f"CIRCLE_MIGRATE_SAFE_FOLDERS={shared}" in str(caught.value.hint)
    for folders in (str(shared), "*", f"/nowhere:{shared}"):
        assert lock_wait(shared / "mine", CIRCLE_MIGRATE_SAFE_FOLDERS=folders) == 7
    assert lock_wait(shared / "mine", SUDO_UID=str(EVE)) == 7
    with pytest.raises(SettingsError):
        lock_wait(shared / "mine", CIRCLE_MIGRATE_SAFE_FOLDERS=f"{shared.parent}:")


@only_root
@pytest.mark.parametrize(("name", "text"), FILES)
def test_link_to_a_file_of_this_user(shared: Path, name: str, text: str) -> None:
    (shared / "pyproject.toml").touch()
    (shared / "mine" / "real").write_text(text, encoding="utf-8")
    (shared / name).unlink(missing_ok=True)
    (shared / name).symlink_to(shared / "mine" / "real")
    assert lock_wait(shared / "mine") == 7
    os.chown(shared / name, EVE, -1, follow_symlinks=False)
    with pytest.raises(SettingsError, match="is not read"):
        lock_wait(shared / "mine")


@only_root
@pytest.mark.parametrize(("name", "text"), FILES)
def test_current_folder(shared: Path, name: str, text: str) -> None:
    (shared / name).write_text(text, encoding="utf-8")
    os.chown(shared / name, EVE, -1)
    with pytest.raises(SettingsError, match="is not read"):
        lock_wait(shared)
    os.chown(shared, EVE, -1)
    assert lock_wait(shared) == 7


@only_root
def test_file_without_our_table_is_no_project(shared: Path) -> None:
    (shared / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    os.chown(shared / "pyproject.toml", EVE, -1)
    settings = load(environ={}, cwd=shared / "mine")
    assert settings.project_root == shared / "mine"


@only_root
def test_command_ends_with_2(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shared / "pyproject.toml").write_text(TABLE, encoding="utf-8")
    os.chown(shared / "pyproject.toml", EVE, -1)
    monkeypatch.chdir(shared / "mine")
    answer = invoke(["heads"])
    assert answer.status == 2
    assert "CIRCLE_MIGRATE_SAFE_FOLDERS=" in answer.stderr
    monkeypatch.setenv("CIRCLE_MIGRATE_SAFE_FOLDERS", str(shared))
    answer = invoke(["config", "show"])
    assert answer.status == 0
    assert "SAFE_FOLDERS" not in answer.everything


REVISIONS = '[tool.circle-migrate.databases.main]\nrevisions = "mine/versions"\n'
INI = "[alembic]\nscript_location = mine\nversion_locations = mine/versions theirs\n"


@only_root
@pytest.mark.parametrize("found", ["beside the revisions", "above them", "by default"])
def test_alembic_ini(shared: Path, found: str) -> None:
    """It is refused if it is found; if the revisions belong to its owner, their code is run anyway."""
    for name in ("mine/versions", "theirs"):
        (shared / name).mkdir(exist_ok=True)
    settings = (
        REVISIONS if found != "by default" else "[tool.circle-migrate.databases.main]\nmodels = 'os:path'\n"
    )
    (shared / "pyproject.toml").write_text(settings, encoding="utf-8")
    file = shared / ("mine" if found == "beside the revisions" else "") / "alembic.ini"
    file.write_text(INI.replace("mine", "%(here)s") if file.parent != shared else INI, encoding="utf-8")
    load(environ={}, cwd=shared)
    os.chown(file, EVE, -1)
    for cwd in (shared, shared / "mine"):
        with pytest.raises(SettingsError, match=rf"alembic.ini is not read.*uid {EVE}"):
            load(environ={}, cwd=cwd)
    load(environ={"CIRCLE_MIGRATE_SAFE_FOLDERS": str(file.parent)}, cwd=shared)
    if found != "by default":
        os.chown(shared / "mine" / "versions", EVE, -1)
        load(environ={}, cwd=shared)
        os.chown(shared / "mine" / "versions", 0, -1)
    named = REVISIONS.replace("mine/versions", str(file.relative_to(shared)))
    (shared / "pyproject.toml").write_text(named, encoding="utf-8")
    load(environ={}, cwd=shared)
