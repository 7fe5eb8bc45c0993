"""The pages of commands and settings agree with the program."""

from __future__ import annotations

import ast
import importlib
import re
import runpy
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from circle_migrate.config import fields

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_commands_page_is_current() -> None:
    render = runpy.run_path(str(DOCS / "reference.py"))["render"]
    assert (DOCS / "commands.md").read_text(encoding="utf-8") == render(), "./run python docs/reference.py"


def defaults(table: str) -> dict[str, str]:
    """Return the settings of a table of docs/settings.md with their defaults, the last cell but one."""
    text = (DOCS / "settings.md").read_text(encoding="utf-8").partition(f"| `[{table}]` |")[2]
    rows = re.findall(
        r"^\| `([a-z-]+)` \|(?:.*\|)? ([^|]*)\| [^|]+ \|$", text.partition("\n\n")[0], re.MULTILINE
    )
    return {name: default.strip(" `") for name, default in rows}


def texts(declared: Mapping[str, Any]) -> dict[str, str]:
    values = {name.replace("_", "-"): value for name, value in declared.items()}
    return {
        name: "" if value is None else "[]" if value == () else str(value).removesuffix(".0")
        for name, value in values.items()
    }


def test_settings_page_has_every_setting_with_its_default() -> None:
    described = {"embedded-data": ".circle-migrate/postgres", "secrets-dir": "/run/secrets"}
    shared = texts(fields.SHARED) | described
    assert defaults("tool.circle-migrate") == {
        name: text.lower() if text in ("True", "False") else text for name, text in shared.items()
    }


def test_settings_page_has_every_setting_of_a_database() -> None:
    names = fields.Fields((fields.KnownDatabase("orders", "ORDERS_DATABASE_URL"),))
    own = {name: names.defaults[f"orders_{name}"] for name in fields.DATABASE_FIELDS}
    assert defaults("tool.circle-migrate.databases.NAME") == {
        **texts(own),
        "url-env": "NAME_DATABASE_URL",
        "revisions": "alembic.ini",
    }


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_benchmarks_import_existing_names(path: Path) -> None:
    """No other test runs the benchmarks that the documentation names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("circle_migrate"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}")
