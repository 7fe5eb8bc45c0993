"""Models are one MetaData or several; what is none is not left out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from circle_migrate.config.load import load
from circle_migrate.config.object_reference import load_models
from circle_migrate.core.errors import SettingsError

MODULE = """
from sqlalchemy import Column, Integer, MetaData, Table

one, two = MetaData(), MetaData()
Table("a", one, Column("id", Integer))
Table("b", two, Column("id", Integer))
class Base:
    metadata = one
nested = [Base, (two,)]
misspelt = [one, "shop.models:two"]
values = lambda: (one, {"two": two}.values())
"""
TABLES = {"nested": ["a", "b"], "two": ["b"], "misspelt": None, "values": None}


@pytest.mark.parametrize("name", TABLES)
def test_models_are_complete_or_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "complete_models", raising=False)
    (tmp_path / "complete_models.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        f"[tool.circle-migrate.databases.main]\nrevisions = '.'\nmodels = 'complete_models:{name}'\n",
        encoding="utf-8",
    )
    settings = load(environ={}, cwd=tmp_path).databases["main"]
    if TABLES[name] is None:
        with pytest.raises(SettingsError, match="is not a SQLAlchemy MetaData"):
            load_models(settings)
    else:
        assert [table for metadata in load_models(settings) for table in metadata.tables] == TABLES[name]


def test_imports_are_imported_before_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("models_base", "models_tables"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    base = "from sqlalchemy import MetaData\nmetadata = MetaData()\n"
    (tmp_path / "models_base.py").write_text(base, encoding="utf-8")
    table = "from models_base import metadata\nfrom sqlalchemy import Table\nTable('a', metadata)\n"
    (tmp_path / "models_tables.py").write_text(table, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        "[tool.circle-migrate]\nimports = ['models_tables']\n"
        "databases.main = {revisions = '.', models = 'models_base:metadata'}\n",
        encoding="utf-8",
    )
    (metadata,) = load_models(load(environ={}, cwd=tmp_path).databases["main"])
    assert list(metadata.tables) == ["a"]
