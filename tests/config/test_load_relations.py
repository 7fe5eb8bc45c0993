"""Relations of a project: valid declarations, and errors before any server is queried."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.config.load import load
from circle_migrate.config.object_reference import load_relations
from circle_migrate.config.relation import ColumnReference, Relation, Side
from circle_migrate.config.settings import Settings
from circle_migrate.core.errors import SettingsError, UsageError
from circle_migrate.models.credentials import metadata as credentials
from circle_migrate.models.main.base import metadata as main
from circle_migrate.models.relations import RELATIONS
from tests.projects import Project

_HEAD = "from circle_migrate.config.relation import Relation\n"
_ONE = 'Relation("{}", "main.users.id", "credentials.u.id")'


def settings(environ: dict[str, str] | None = None) -> Settings:
    return load(environ={"HOME": "/nonexistent", **(environ or {})})


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
@pytest.mark.parametrize("side", Side)
def test_the_packages_own_are_over_its_models(relation: Relation, side: Side) -> None:
    column = relation.columns[side]
    metadata = {"main": main, "credentials": credentials}[column.database]
    assert column.name in metadata.tables[column.table].columns


def test_the_packages_own_hold_for_its_own_revisions_only(project_folder: Path) -> None:
    assert load_relations(settings()) == RELATIONS
    Project(project_folder).write_settings()
    assert load_relations(settings()) == ()


def test_a_project_declares_its_own(project_folder: Path) -> None:
    Project(project_folder).write(
        "shop/links.py", _HEAD + f"LINKS = ({_ONE.format('a')}, {_ONE.format('b')})\n"
    )
    (project_folder / "pyproject.toml").write_text("[tool.circle-migrate]\nrelations = 'shop.links:LINKS'\n")
    assert [relation.name for relation in load_relations(settings())] == ["a", "b"]
    assert [relation.name for relation in load_relations(settings(), ["b"])] == ["b"]
    with pytest.raises(UsageError, match="no relation 'c'") as caught:
        load_relations(settings(), ["c"])
    assert caught.value.hint == "relations: a, b"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("LINKS = (1,)", "not a tuple of"),
        ("OTHER = ()", "AttributeError"),
        ("1 / 0", "ZeroDivisionError"),
        (f"LINKS = ({_ONE.format('a')}, {_ONE.format('a')})", "2 relations are called a"),
        ('LINKS = (Relation("a", "main.t.id", "shop.t.id"),)', "names shop, which is no database"),
        (f"LINKS = ({_ONE.format('A b')},)", "'A b' is not a kebab-case name"),
        ('LINKS = (Relation("a", "main.t", "credentials.t.id"),)', "not of the form database.table.column"),
        ('LINKS = (Relation("a", "main.t.id", "main.u.id"),)', "within one database"),
    ],
)
def test_invalid_relations_are_refused(project_folder: Path, text: str, why: str) -> None:
    Project(project_folder).write("shop/links.py", f"{_HEAD}{text}\n")
    given = settings({"CIRCLE_MIGRATE_RELATIONS": "shop.links:LINKS"})
    with pytest.raises(SettingsError, match="cannot be used") as caught:
        load_relations(given)
    assert why in (caught.value.detail or "")


def test_a_missing_module_is_refused() -> None:
    with pytest.raises(SettingsError, match="no package nowhere"):
        settings({"CIRCLE_MIGRATE_RELATIONS": "nowhere.links:LINKS"})


@pytest.mark.parametrize("text", ["main.users.id", "main.public.users.id"])
def test_a_column_is_written_as_it_is_read(text: str) -> None:
    assert str(ColumnReference.parse(text)) == text
