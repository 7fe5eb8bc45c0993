"""The declared model: keys, variables and the JSON Schema follow from it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from circle_migrate.cli.options import COMMON, FILES, NO_SETTINGS, OPTIONS
from circle_migrate.config.databases import PLATFORM
from circle_migrate.config.json_schema import settings_schema
from circle_migrate.config.load import load
from circle_migrate.config.settings import DatabaseSettings, Settings
from circle_migrate.config.sources import variables

ROOT = Path(__file__).parents[2]


def test_every_setting_has_a_description() -> None:
    for model in (Settings, DatabaseSettings):
        for name, field in model.model_fields.items():
            assert field.exclude or re.fullmatch(r"[A-Z`].*\.", field.description or ""), name


def test_help_of_every_flag_names_its_variable_and_the_default_of_the_setting() -> None:
    keys = {known.url_variable.lower(): f"{known.key}url" for known in PLATFORM}
    for name in {*COMMON, *OPTIONS} - {*NO_SETTINGS, *FILES, "url"}:
        text = {**COMMON, **OPTIONS}[name].default.help
        (shown,) = re.findall(r"  \[env: (\w+)(?:; default: (\S+))?\]$", text)
        assert shown[0] == variables(PLATFORM)[keys.get(name, name.replace("_", "-"))][0]
        assert not shown[1] or shown[1] == shown_default(Settings.model_fields[name].default)


def shown_default(default: object) -> str:
    """Return a default as help shows it."""
    return "serial" if default is False else str(default).removesuffix(".0")


def test_every_variable_sets_the_setting_of_its_key(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.circle-migrate.env.7]", encoding="utf-8")
    for key, names in variables(PLATFORM).items():
        for name in names:
            values = load(environ={name: value_of(key)}, cwd=tmp_path).values
            inherited = ["databases.main.protected", "databases.credentials.protected"]
            expected = [key, *(inherited if key == "protected" else ())]
            assert [value.key for value in values if value.source != "default"] == expected


def value_of(key: str) -> str:
    """Return a valid value that is written as in a variable."""
    if key.endswith("url"):
        return "postgresql://u@h/d"
    name = key.rpartition(".")[2].replace("-", "_")
    return {
        "transaction": "per-revision",
        "safety": "off",
        "drift": "off",
        "safety_ignore": "CM012 # why",
        "safety_tables": "t = large",
        "diff_ignore": "view *",
        "x_arguments": "a=b",
        "relations": "json:x",
        "models": "json:x",
        "include_object": "json:x",
        "include_name": "json:x",
        "include_schemas": "0",
        "compare_type": "false",
        "compare_server_default": "json:x",
        "process_revision_directives": "json:x",
        "imports": "json",
        "revisions": str(ROOT),
        "profile": "strict",
        "driver": "psycopg",
        "api_token": "0123456789abcdef",
        "api_listen": "0.0.0.0:80",
        "api_behind_proxy": "0",
        "api_cors": "https://a.example",
        "api_cors_credentials": "0",
        "api_docs": "0",
        "embedded": "0",
        "atomic": "0",
        "protected": "0",
        "scratch_on_target": "0",
        "pg_bin": "bin",
        "embedded_data": "data",
        "secrets_dir": str(ROOT),
    }.get(name, "7")


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("lock-wait = '2min'\nlock-timeout = 3\ndiff-ignore = ['view *']", True),
        ("databases.main.revisions = ['a', 'b']\ndatabases.main.protected = true", True),
        ("databases.a-b = {revisions = 'x', models = 'a.b:c', url-env = 'X'}", True),
        ("lock_wait = 3", False),
        ("lock-wait = [3]", False),
        ("safety = 'perhaps'", False),
        ("diff-ignore = 'view *'", False),
        ("databases.main.url = 'postgresql://u@h/d'", False),
        ("databases.main.name = 'x'", False),
        ("databases.main.x-arguments = []", False),
    ],
)
def test_schema_of_the_table(text: str, valid: bool) -> None:
    schema = settings_schema()
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(tomllib.loads(text)) == valid


def test_schema_accepts_the_examples_of_the_documentation() -> None:
    text = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(examples) > 1
    for example in examples:
        table: dict[str, Any] = tomllib.loads(example)["tool"]["circle-migrate"]
        assert Draft202012Validator(settings_schema()).is_valid(table)


PLUGIN = """
class Plugin:
    def new_schema_validator(self, schema, schema_type, schema_type_path, *_):
        print("seen", schema_type_path.name)
        return None, None, None


plugin = Plugin()
"""
LOADS = """
from circle_migrate.config.plugins import load_plugins_on_demand
load_plugins_on_demand()  # as at the start of a command
import circle_migrate.config.settings  # before `load`, as commands do
from circle_migrate.config.load import load
load(environ={})
from pydantic import BaseModel
class Own(BaseModel): pass
"""


def test_plugins_of_pydantic_see_the_projects_models_only(tmp_path: Path) -> None:
    (tmp_path / "plug.py").write_text(PLUGIN)
    info = tmp_path / "plug-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pydantic]\nplug = plug:plugin\n")
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    done = subprocess.run(
        [sys.executable, "-c", LOADS], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert (done.stdout.split(), done.stderr) == (["seen", "Own"], "")
