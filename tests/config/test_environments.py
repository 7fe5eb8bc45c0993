"""Environments: [tool.circle-migrate.env.NAME] overrides settings, where --env or a variable names it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from circle_migrate.config.json_schema import settings_schema
from circle_migrate.config.load import load
from circle_migrate.config.settings import Settings
from circle_migrate.core.errors import SettingsError
from tests.deployments import environment, invoke
from tests.servers import Databases

TABLES = """
[tool.circle-migrate]
lock-wait = 1
safety = "off"
[tool.circle-migrate.databases.main]
search-path = "app"
[tool.circle-migrate.env.production]
lock-wait = 2
protected = true
safety = "require"
[tool.circle-migrate.env.production.databases.main]
search-path = "live"
url-env = "LIVE_URL"
[tool.circle-migrate.env.production.databases.credentials]
protected = false
[tool.circle-migrate.env.ci]
"""
URL = "postgresql://u@h/d"
PRODUCTION = "pyproject.toml [tool.circle-migrate.env.production]"


def read(folder: Path, text: str = TABLES, flags: Any = None, **environ: str) -> Settings:
    """Load the settings of a project in the folder."""
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return load(flags, environ=environ, cwd=folder)


def shown(settings: Settings, key: str) -> tuple[str, str]:
    """Return value and source of a setting as in `config show`."""
    return next((value.shown, value.source) for value in settings.values if value.key == key)


FLAG = {"env": "production"}


@pytest.mark.parametrize(
    ("flags", "environ", "dotenv", "name", "source"),
    [
        ({}, {}, "", "not set", "default"),
        (FLAG, {}, "", "production", "flag --env"),
        ({}, {"CIRCLE_MIGRATE_ENV": "production"}, "", "production", "environment CIRCLE_MIGRATE_ENV"),
        ({}, {"circle_migrate_env": " ci "}, "", "ci", "environment circle_migrate_env"),
        ({}, {}, "A=1\nCIRCLE_MIGRATE_ENV=production", "production", "file .env line 2"),
        ({}, {}, "S=prod\nCIRCLE_MIGRATE_ENV=${S}uction", "production", "file .env line 2"),
        (FLAG, {"CIRCLE_MIGRATE_ENV": "ci"}, "CIRCLE_MIGRATE_ENV=x", "production", "flag --env"),
        ({}, {"CIRCLE_MIGRATE_ENV": "ci"}, "CIRCLE_MIGRATE_ENV=x", "ci", "environment CIRCLE_MIGRATE_ENV"),
        ({}, {"CIRCLE_MIGRATE_ENV": " "}, "CIRCLE_MIGRATE_ENV=ci", "ci", "file .env line 1"),
    ],
)
def test_the_first_source_names_the_environment(
    tmp_path: Path, flags: dict[str, str], environ: dict[str, str], dotenv: str, name: str, source: str
) -> None:
    (tmp_path / ".env").write_text(dotenv, encoding="utf-8")
    settings = read(tmp_path, flags=flags, **environ)
    assert shown(settings, "env") == (name, source)
    assert settings.lock_wait == (2 if name == "production" else 1)
    assert settings.warnings + settings.notes == ()


def test_an_environment_overrides_settings_also_of_databases(tmp_path: Path) -> None:
    settings = read(tmp_path, flags=FLAG, LIVE_URL=URL)
    main = f"{PRODUCTION[:-1]}.databases.main]"
    for key, value, source in (
        ("lock-wait", "2 s", PRODUCTION),
        ("safety", "require", PRODUCTION),
        ("protected", "true", PRODUCTION),
        ("databases.main.protected", "true", PRODUCTION),
        ("databases.main.search-path", "live", main),
        ("databases.main.url-env", "LIVE_URL", main),
        ("databases.main.url", URL, "environment LIVE_URL"),
        ("databases.credentials.protected", "false", main.replace("main", "credentials")),
        ("lock-timeout", "4 s", "default"),
    ):
        assert shown(settings, key) == (value, source)
    assert settings.databases["main"].protected_by == PRODUCTION
    other = read(tmp_path, flags=FLAG, DATABASE_URL=URL)  # of another environment
    assert (other.databases["main"].url, other.warnings) == (None, ())
    base = read(tmp_path, DATABASE_URL=URL)
    assert shown(base, "databases.main.search-path")[0] == "app"
    assert shown(base, "databases.main.url") == (URL, "environment DATABASE_URL")
    assert not base.databases["main"].protected


@pytest.mark.parametrize("place", ["flag", "variable", ".env", "secrets"])
def test_flags_and_variables_override_an_environment(tmp_path: Path, place: str) -> None:
    flags: dict[str, str] = {**FLAG}
    environ = {"CIRCLE_MIGRATE_SECRETS_DIR": str(tmp_path)}
    if place == "flag":
        flags["lock_wait"] = "9"
    elif place == "variable":
        environ["CIRCLE_MIGRATE_LOCK_WAIT"] = "9"
    else:
        name = ".env" if place == ".env" else "circle_migrate_lock_wait"
        text = "CIRCLE_MIGRATE_LOCK_WAIT=9" if place == ".env" else "9"
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert read(tmp_path, flags=flags, **environ).lock_wait == (2 if place == "secrets" else 9)


def test_secrets_name_no_environment(tmp_path: Path) -> None:
    (tmp_path / "circle_migrate_env").write_text("ci", encoding="utf-8")
    assert read(tmp_path, CIRCLE_MIGRATE_SECRETS_DIR=str(tmp_path)).env is None


@pytest.mark.parametrize(
    ("text", "flags", "message", "hint"),
    [
        (TABLES, {"env": "prod"}, "flag --env: there is no environment 'prod'", "are production, ci"),
        (TABLES, {"env": ""}, "flag --env: should be the name of an environment", "flag --env"),
        ("", {"env": "ci"}, "there is no environment 'ci'", "[tool.circle-migrate.env.ci]"),
        (TABLES + "lock_wait = 3", {}, "env.ci] has the unknown key lock_wait; did you mean", "lock-wait"),
        (TABLES + "env = 'ci'", {}, "env.ci] has the unknown key env", "the keys are"),
        (TABLES + "[tool.circle-migrate.env.ci.databases.mian]", {}, "no database 'mian'", "main, cred"),
        (TABLES + "databases.main.url-evn = 'X'", {}, "env.ci.databases.main] has the unknown", "url-env"),
        (TABLES + "databases.main.url-env = '?'", {"env": "ci"}, "env.ci.databases.main] is not", "url-env"),
        (TABLES + "lock-wait = 'soon'", {"env": "ci"}, "lock-wait in ", "env.ci]"),
        ("[tool.circle-migrate]\nenv = 'ci'", {}, "tool.circle-migrate.env in ", "is not"),
        ("[tool.circle-migrate.env]\nci = 'x'", {}, "tool.circle-migrate.env.ci in ", "is not"),
        ("[tool.circle-migrate.evn.ci]", {}, "unknown key evn; did you mean env?", "write env"),
    ],
)
def test_wrong_environments(
    tmp_path: Path, text: str, flags: dict[str, str], message: str, hint: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text, flags)
    assert message in caught.value.message
    assert hint in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.status == 2


def test_an_environment_names_no_database(tmp_path: Path) -> None:
    table = "[tool.circle-migrate.env.ci.databases.main]\nrevisions = '.'\n"
    settings = read(tmp_path, table, {"env": "ci"})
    assert list(settings.databases) == ["main", "credentials"]
    assert settings.databases["main"].revisions.folders == (tmp_path,)


@pytest.mark.parametrize(
    ("line", "valid"),
    [
        ("env.ci = {lock-wait = 1, databases.main.protected = true}", True),
        ("env.ci.lock_wait = 1", False),
        ("env.ci.databases.main.url = 'x'", False),
        ("env.ci.env.x = {}", False),
        ("env = 'ci'", False),
    ],
)
def test_schema_of_the_table(line: str, *, valid: bool) -> None:
    assert Draft202012Validator(settings_schema()).is_valid(tomllib.loads(line)) is valid
    assert Draft202012Validator(settings_schema()).is_valid(tomllib.loads(TABLES)["tool"]["circle-migrate"])


@pytest.fixture
def project(workdir: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the settings, on empty databases of the platform."""
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    tables = TABLES.replace('url-env = "LIVE_URL"\n', "").replace("live", "public").replace("app", "public")
    (workdir / "pyproject.toml").write_text(tables, encoding="utf-8")
    return workdir


@pytest.mark.thorough
@pytest.mark.usefixtures("project")
def test_commands_say_in_which_environment_they_act(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "environment: production\n"
    for words in ("status --env production", "--env production plan"):
        assert invoke(words.split()).stdout.startswith(line), words
    monkeypatch.setenv("CIRCLE_MIGRATE_ENV", "production")
    dry_run = invoke(["upgrade", "--dry-run"])
    assert (dry_run.stdout.startswith(line), dry_run.stderr.startswith(line)) == (True, True)
    for words in ("status", "plan", "upgrade --dry-run", "downgrade base --dry-run"):
        assert json.loads(invoke([*words.split(), "--format", "json"]).stdout)["environment"] == "production"
        assert "production" not in invoke([*words.split(), "--env", "ci"]).everything
    assert "production" in invoke(["plan", "--format", "markdown"]).stdout
    refused = invoke(["stamp", "head", "--yes"])
    assert (refused.status, f"is protected by a setting ({PRODUCTION})" in refused.stderr) == (5, True), (
        refused
    )
    assert invoke(["stamp", "head", "--yes", "--env", "ci", "--dry-run"]).status == 0
    for words in ("upgrade --env ci", "downgrade base --env ci --yes --no-backup"):
        assert invoke(words.split()).everything.count("environment: ") == 1
    past = invoke(["downgrade", "--to-time", "2000-01-01", "--dry-run"])
    assert past.stderr.count(line) == 1
    unknown = invoke(["upgrade", "--env", "prod"])
    assert (unknown.status, "the environments are production, ci" in unknown.stderr) == (2, True)


@pytest.mark.usefixtures("project")
def test_commands_in_hints_have_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = invoke(["downgrade", "credentials@-1", "--env", "production"])
    assert "\n           circle-migrate --env production history\n" in wrong.stderr, wrong
    wrong = invoke(["downgrade", "credentials@-1", "--env", "production", "--format", "json"])
    assert "circle-migrate --env production history" in json.loads(wrong.stdout)["error"]["hint"]
    check = ["check", "--format"]
    for output_format in ("table", "junit", "json", "markdown"):
        flag = invoke([*check, output_format, "--env", "ci"]).stdout
        assert "circle-migrate --env ci upgrade" in flag, flag
    monkeypatch.setenv("CIRCLE_MIGRATE_ENV", "ci")
    variable = invoke([*check, "table"]).stdout
    assert ("circle-migrate upgrade" in variable, "--env" in variable) == (True, False), variable


@pytest.mark.usefixtures("project")
def test_a_saved_plan_is_of_its_environment() -> None:
    assert invoke(["plan", "-o", "plan.json", "--env", "ci"]).status == 0
    refused = invoke(["upgrade", "--plan", "plan.json", "--env", "production", "--dry-run"])
    assert refused.status == 5
    assert "the environment changed after it was saved" in refused.stderr
    assert 'saved "ci", now "production"' in refused.stderr
    refused = invoke(["upgrade", "--plan", "plan.json", "--dry-run"])
    assert 'saved "ci", now "no environment"' in refused.stderr
    assert invoke(["upgrade", "--plan", "plan.json", "--env", "ci", "--dry-run"]).status == 0
