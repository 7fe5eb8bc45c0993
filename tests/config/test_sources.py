"""Variables with our prefix that set nothing are reported, with the name that was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.config.databases import PLATFORM
from circle_migrate.config.load import load
from circle_migrate.config.sources import variables
from tests.deployments import invoke

MISSPELT = {
    "CIRCLE_MIGRATE_LOCK_WIAT": "CIRCLE_MIGRATE_LOCK_WAIT",
    "CIRCLE_MIGRATE_LOCKTIMEOUT": "CIRCLE_MIGRATE_LOCK_TIMEOUT",
    "circle_migrate_atomc": "CIRCLE_MIGRATE_ATOMIC",
    "CIRCLE_MIGRATE_DATABSE_URL": "DATABASE_URL",
    "CIRCLE_MIGRATE_CREDS_DATABASE_URL_FILE": "CREDS_DATABASE_URL_FILE",
    "CIRCLE_MIGRATE_MAIN_REVISION": "CIRCLE_MIGRATE_MAIN_REVISIONS",
}
# What Kubernetes sets in every container beside a service that is called circle-migrate.
OF_OTHERS = (
    "CIRCLE_MIGRATE_SERVICE_HOST",
    "CIRCLE_MIGRATE_SERVICE_PORT",
    "CIRCLE_MIGRATE_PORT",
    "CIRCLE_MIGRATE_PORT_5432_TCP_ADDR",
)


@pytest.mark.parametrize(("written", "meant"), MISSPELT.items())
def test_the_nearest_setting_is_named(tmp_path: Path, written: str, meant: str) -> None:
    settings = load(environ={written: "hunter2"}, cwd=tmp_path)
    assert settings.warnings == (f"{written} in the environment sets nothing; did you mean {meant}?",)
    assert settings.notes == ()


def test_its_place_in_env_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("\nCIRCLE_MIGRATE_LOCK_WIAT=3\n", encoding="utf-8")
    (warning,) = load(environ={}, cwd=tmp_path).warnings
    assert warning.startswith("CIRCLE_MIGRATE_LOCK_WIAT on line 2 of .env sets nothing")


@pytest.mark.parametrize("name", OF_OTHERS)
def test_what_resembles_no_setting_is_only_noted(tmp_path: Path, name: str) -> None:
    settings = load(environ={name: "tcp://10.0.0.1:80"}, cwd=tmp_path)
    assert settings.warnings == ()
    assert settings.notes == (f"{name} in the environment sets nothing: there is no such setting",)


def test_nothing_is_said_about_settings_empty_variables_and_others(tmp_path: Path) -> None:
    ours = {name for names in variables(PLATFORM).values() for name in names} - {"CIRCLE_MIGRATE_EMBEDDED"}
    texts = dict.fromkeys(ours, " ") | {
        "CIRCLE_MIGRATE_LOCK_WIAT": "",
        "CIRCLE_MIGRATION": "x",
        "PATH": "/bin",
    }
    given = {"CIRCLE_MIGRATE_ATOMIC": "1", "circle_migrate_lock_wait": "3"}
    settings = load(environ=texts | given, cwd=tmp_path)
    assert settings.warnings + settings.notes == ()


@pytest.mark.parametrize(
    ("arguments", "noted"),
    [
        (["history"], False),
        (["history", "--quiet"], False),
        (["history", "--debug"], True),
        (["config", "show"], True),
    ],
    ids=["plain", "quiet", "debug", "config show"],
)
def test_commands_say_it_once_and_go_on(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], noted: bool
) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_LOCK_WIAT", "hunter2")
    monkeypatch.setenv("CIRCLE_MIGRATE_PORT", "hunter2")
    answer = invoke(arguments)
    assert answer.status == 0
    assert answer.stderr.count("warning: CIRCLE_MIGRATE_LOCK_WIAT in the environment sets nothing;") == 1
    assert answer.stderr.count("CIRCLE_MIGRATE_PORT") == noted
    assert "hunter2" not in answer.everything
