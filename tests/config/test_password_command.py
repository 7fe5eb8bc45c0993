"""The setting `password-command`: its forms and sources, and passwords that contradict it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from circle_migrate.config.load import load
from circle_migrate.config.settings import DatabaseSettings, Settings
from circle_migrate.core.errors import SettingsError

URL = "postgresql://ada@db/app"
WITH_PASSWORD = "postgresql://ada:Zq-secret-xV@db/app"
VARIABLE = "CIRCLE_MIGRATE_MAIN_PASSWORD_COMMAND"
TABLE = "[tool.circle-migrate.databases.main]\npassword-command = "
EVE = 4711


def read(folder: Path, command: str = '["token", "a b"]', flags: Any = None, **environ: str) -> Settings:
    """Load the settings of a project whose main database has the command."""
    (folder / "pyproject.toml").write_text(TABLE + command if command else "", encoding="utf-8")
    return load(flags, environ={"HOME": str(folder), **environ}, cwd=folder)


def main(settings: Settings) -> DatabaseSettings:
    return settings.databases["main"]


@pytest.mark.parametrize(
    ("command", "environ", "argv", "text"),
    [
        ('["token", "a b", "$X"]', {}, ("token", "a b", "$X"), "token 'a b' '$X'"),
        ('" token $X | tail -1 "', {}, ("/bin/sh", "-c", "token $X | tail -1"), "token $X | tail -1"),
        ('["token"]', {VARIABLE: "other | x"}, ("/bin/sh", "-c", "other | x"), "other | x"),
        ("", {VARIABLE: "one\ntwo"}, ("/bin/sh", "-c", "one\ntwo"), "one\ntwo"),
    ],
)
def test_a_list_is_run_without_a_shell(
    tmp_path: Path, command: str, environ: dict[str, str], argv: tuple[str, ...], text: str
) -> None:
    settings = read(tmp_path, command, DATABASE_URL=URL, **environ)
    found = main(settings).address.password_command
    assert found is not None
    assert (found.argv, found.folder) == (argv, tmp_path)
    shown = next(value for value in settings.values if value.key == "databases.main.password-command")
    assert shown.shown == text
    assert main(settings).address.password is None


@pytest.mark.parametrize("command", ["''", "[]", "[1]", "['']", "3", "{a = 'b'}", "[['a']]"])
def test_what_is_no_command(tmp_path: Path, command: str) -> None:
    with pytest.raises(SettingsError, match="should be a program and its arguments") as caught:
        read(tmp_path, command)
    assert "databases.main]" in caught.value.message


@pytest.mark.parametrize(
    ("flags", "environ", "password", "is_used"),
    [
        ({}, {"DATABASE_URL": URL, "PGPASSWORD": "weak"}, None, True),
        ({}, {"DATABASE_URL": URL}, None, True),  # .pgpass has one, too
        ({"database_url": URL}, {"DATABASE_URL": WITH_PASSWORD}, None, True),
        ({"database_url": WITH_PASSWORD}, {"DATABASE_URL": URL}, "Zq-secret-xV", False),
        ({"url": [f"main={WITH_PASSWORD}"]}, {}, "Zq-secret-xV", False),
    ],
)
def test_which_password_precedes_the_other(
    tmp_path: Path, flags: dict[str, Any], environ: dict[str, str], password: str | None, *, is_used: bool
) -> None:
    (tmp_path / ".pgpass").write_text("*:*:*:*:of-the-file")
    (tmp_path / ".pgpass").chmod(0o600)
    address = main(read(tmp_path, flags=flags, **environ)).address
    assert (address.password, address.password_command is not None) == (password, is_used)


def test_password_in_the_url_contradicts_a_command(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, DATABASE_URL=WITH_PASSWORD)
    for words in ("DATABASE_URL in the environment has a password", "password-command in", "another one"):
        assert words in caught.value.message
    assert "Zq-secret-xV" not in str(caught.value.to_dict())
    embedded = read(tmp_path, flags={"embedded": True}, DATABASE_URL=WITH_PASSWORD)
    assert main(embedded).url is None


def test_other_servers_get_no_password_of_it(tmp_path: Path) -> None:
    settings = read(tmp_path, DATABASE_URL=URL, CREDS_DATABASE_URL=URL, CIRCLE_MIGRATE_SCRATCH_URL=URL)
    assert settings.scratch_url is not None
    assert settings.scratch_url.password_command is None
    assert settings.databases["credentials"].address.password_command is None


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform == "win32", reason="only root can give files away")
@pytest.mark.parametrize("name", ["pyproject.toml", ".env", "circle_migrate_main_password_command"])
def test_file_of_another_user_is_not_run(tmp_path: Path, name: str) -> None:
    command = '["token"]' if name == "pyproject.toml" else ""
    read(tmp_path, command, DATABASE_URL=URL)
    file = tmp_path / name
    if name != "pyproject.toml":
        file.write_text(f"{VARIABLE}=token" if name == ".env" else "token", encoding="utf-8")
    environ = {"CIRCLE_MIGRATE_SECRETS_DIR": str(tmp_path), "DATABASE_URL": URL}
    assert main(load(environ=environ, cwd=tmp_path)).address.password_command
    os.chown(file, EVE, -1)
    with pytest.raises(SettingsError, match=rf"{name} is not read: .*uid {EVE}"):
        load(environ=environ, cwd=tmp_path)
