"""What include-object and its companions leave out, compared with Alembic under the same functions."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from circle_migrate.commands.diff import DRIFT, MISSING, diff
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.diff.autogenerate.filters import Filters
from circle_migrate.diff.compare import CompareOptions, compare
from circle_migrate.diff.result import Comparison
from circle_migrate.diff.scope import Models
from tests import alembic_driver
from tests.deployments import execute
from tests.diff.drafts import HEAD, Deploy, Shop, only_one, statements, write
from tests.servers import Databases, run

MODELS = f"""{HEAD}
Table("a", metadata, key(), Column("n", BigInteger), Column("d", Integer, server_default="7"),
    Column("added", Text, info={{"skip": True}}), Column("parent", ForeignKey("a.id", name="a_parent")),
    UniqueConstraint("d", name="a_d"), Index("a_n_new", "n"))
Table("new", metadata, key())
Table("view_like", metadata, key(), info={{"skip": True}})
Table("user", metadata, key(), Column("Odd Name", Integer, nullable=False))
"""
LIVE = (
    """CREATE TABLE a (id serial PRIMARY KEY, n int, d int DEFAULT 1, gone text, parent int,
    CONSTRAINT a_gone UNIQUE (gone), CONSTRAINT a_self FOREIGN KEY (d) REFERENCES a (id))""",
    "CREATE INDEX a_n_old ON a (n)",
    "CREATE INDEX a_lower ON a (lower(gone))",
    'CREATE TABLE "user" (id serial PRIMARY KEY, "Odd Name" int)',
    "CREATE TABLE shadow_a (id int)",
    "CREATE SCHEMA audit",
    "CREATE TABLE audit.log (id int)",
)
OBJECTS = {
    "none": "return True",
    "tables of others": "return not (type_ == 'table' and reflected and compare_to is None)",
    "info": "return not getattr(item, 'info', {}).get('skip')",
    "name": "return not (name or '').startswith('shadow_')",
    "schema": "return type_ != 'table' or item.schema is None",
    "columns": "return type_ != 'column' or (item.table.name, name) != ('a', 'gone')",
    "both sides": "return not (compare_to is not None and str(compare_to.type) == 'INTEGER') "
    "if type_ == 'column' else True",
    "columns of an index": "return type_ != 'index' or [c.name for c in item.columns] != ['n']",
    "unique": "return type_ != 'unique_constraint' or [c.name for c in item.columns] != ['gone']",
    "foreign keys": "return type_ != 'foreign_key_constraint' or reflected",
    "target of a foreign key": "return type_ != 'foreign_key_constraint' "
    "or item.elements[0].target_fullname != 'a.id' or item.column_keys != ['d']",
    "odd names": "return name not in ('user', 'Odd Name')",
}
NAMES = {
    "none": "return True",
    "tables": "return type_ != 'table' or not name.startswith('shadow_')",
    "qualified": "return parents.get('schema_qualified_table_name') != 'audit.log'",
    "columns": "return type_ != 'column' or (parents['table_name'], name) != ('a', 'gone')",
    "indexes": "return type_ != 'index' or name != 'a_n_old'",
    "constraints": "return type_ != 'unique_constraint' or name != 'a_gone'",
    "schemas": "return type_ != 'schema' or name is None",
    "tables of a schema": "return type_ != 'table' or parents['schema_name'] != 'audit'",
}
SETTINGS = """
[tool.circle-migrate.databases.main]
revisions = "migrations/main"
models = "shop.models:metadata"
{0}

[tool.circle-migrate.databases.credentials]
revisions = "migrations/credentials"
models = "shop.secrets:metadata"
"""


@pytest.fixture
def live(shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.syspath_prepend(shop.folder)
    shop.model(MODELS)
    run(execute(empty_databases, "main", *LIVE))
    return shop


def configure(shop: Shop, name: str, body: str, *, more: str = "") -> Any:
    """Set a function of the project, and return it."""
    arguments = (
        "item, name, type_, reflected, compare_to" if name == "include_object" else "name, type_, parents"
    )
    shop.model(f"def {name}({arguments}):\n    {body}\n", "filters")
    shop.write_settings(SETTINGS.format(f'{name.replace("_", "-")} = "shop.filters:{name}"\n{more}'))
    return getattr(import_module("shop.filters"), name) if str(shop.folder) in sys.path else None


def of_alembic(shop: Shop, databases: Databases, *choices: dict[str, Any]) -> list[set[str]]:
    """The objects that Alembic finds to differ, for each choice of options."""
    metadata = import_module("shop.models").metadata

    def found(connection: Connection) -> list[set[str]]:
        contexts = (
            MigrationContext.configure(connection, opts={"include_schemas": True, **options})
            for options in choices
        )
        return [set(map(described, flat(compare_metadata(context, metadata)))) for context in contexts]

    return run(alembic_driver.on_connection(databases.urls["main"], found))


def flat(operations: Any) -> Any:
    for operation in operations:
        yield from operation if isinstance(operation, list) else [operation]


def described(operation: tuple[Any, ...]) -> str:
    """An operation of Alembic as an object of ours."""
    name, *rest = operation
    if name.startswith("modify_"):
        return f"column {rest[0] or 'public'}.{rest[1]}.{rest[2]}"
    if name.endswith("_column"):
        return f"column {rest[0] or 'public'}.{rest[1]}.{rest[2].name}"
    (item,) = rest
    if name.endswith("_table"):
        return f"table {item.schema or 'public'}.{item.name}"
    if name.endswith("_index"):
        return f"index public.{item.name}"
    return f"constraint public.{item.table.name}.{item.name}"


def of_ours(deploy: Deploy, *sides: str) -> set[str]:
    report = run(diff(deploy("main"), sides or ("models", "live")))
    assert len(report.comparisons) == 1, report.findings
    return differing(report.comparisons[0])


def differing(comparison: Comparison) -> set[str]:
    keys = (difference.change.key for difference in comparison.differences)
    return {str(key).replace('"', "") for key in keys if key.kind != "schema"}


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection")
def test_as_alembic(live: Shop, deploy: Deploy, empty_databases: Databases) -> None:
    (comparison,) = run(diff(deploy("main"), ("models", "live"))).comparisons
    # Alembic does not look at the columns of indexes with expressions.
    unknown = {"index public.a_lower"}
    cases = [("include_object", case) for case in OBJECTS] + [("include_name", case) for case in NAMES]
    ours, choices = {}, []
    for name, case in cases:
        body = (OBJECTS if name == "include_object" else NAMES)[case]
        choices.append({"compare_server_default": True, name: configure(live, name, body)})
        filters = Filters(deploy("main").databases["main"].settings)
        options = CompareOptions(models=Models.BEFORE, leave_out=filters.leave_out)
        result = run(compare(comparison.before, comparison.after, options))
        ours[name, case] = differing(result) - unknown
    found = of_alembic(live, empty_databases, *choices)
    assert ours == {case: names - unknown for case, names in zip(cases, found, strict=True)}
    assert [case for (_, case), names in zip(cases, found, strict=True) if names == found[0]] == ["none"] * 2


COMPARED = {
    "compare-type = false": {"column public.a.n"},
    "compare-server-default = false": {"column public.a.d"},
    'compare-type = "shop.filters:types"': {"column public.a.n"},
    'compare-server-default = "shop.filters:defaults"': {"column public.a.d"},
    "include-schemas = false": {"table audit.log"},
}
FUNCTIONS = """
calls = []

def types(context, inspected_column, metadata_column, inspected_type, metadata_type):
    calls.append((context.dialect.name, inspected_column.name, metadata_column.table.name,
        str(inspected_type), str(metadata_type), metadata_column.table.metadata is not None))
    return False

def defaults(context, inspected_column, metadata_column, inspected_default, metadata_default, rendered):
    calls.append((context.dialect.name, inspected_column.name, metadata_column.name,
        inspected_default, str(metadata_default.arg), rendered))
    return False
"""


@pytest.mark.thorough
def test_options_of_the_comparison_with_models(
    live: Shop, deploy: Deploy, empty_databases: Databases
) -> None:
    everything = of_ours(deploy)
    live.model(FUNCTIONS, "filters")
    left_out = {}
    for setting in COMPARED:
        live.write_settings(SETTINGS.format(setting))
        left_out[setting] = everything - of_ours(deploy)
        key, _, value = setting.partition(" = ")
        if "shop" in value:
            filters = import_module("shop.filters")
            (ours,) = filters.calls
            filters.calls.clear()
            function = getattr(filters, value.strip('"').partition(":")[2])
            of_alembic(live, empty_databases, {key.replace("-", "_"): function})
            assert ours in filters.calls
            filters.calls.clear()
    assert left_out == COMPARED
    live.model(FUNCTIONS.replace("return False", "return None"), "filters")
    live.write_settings(SETTINGS.format('compare-type = "shop.filters:types"'))
    assert of_ours(deploy) == everything


def test_drift_leaves_out_what_is_of_others(shop: Shop, deploy: Deploy, empty_databases: Databases) -> None:
    """Options that only concern models do not hide manual changes."""
    statements(shop, *LIVE[:4])
    run(upgrade(deploy("main")))
    manual = "ALTER TABLE a ALTER n TYPE bigint"
    run(execute(empty_databases, "main", *LIVE[4:], manual))
    by_hand = {"table public.shadow_a", "table audit.log", "column public.a.n"}
    options = "compare-type = false\ninclude-schemas = false"
    configure(shop, "include_name", "return type_ != 'table' or name != 'shadow_a'", more=options)
    assert of_ours(deploy, *DRIFT) == by_hand - {"table public.shadow_a"}
    configure(shop, "include_object", "return not (reflected and compare_to is None)", more=options)
    assert of_ours(deploy, *DRIFT) == {"column public.a.n"}


@pytest.mark.parametrize(
    ("body", "words"),
    [("return item.nothing", "AttributeError"), (None, "has no attribute")],
)
def test_failing_function_is_named(live: Shop, deploy: Deploy, body: str | None, words: str) -> None:
    configure(live, "include_object", body or "return True")
    if body is None:
        live.model("", "filters")
    (finding,) = run(diff(deploy("main"), ("models", "live"))).findings
    assert "include-object of main" in finding.message
    assert words in str(finding.detail)


def test_new_revision_lacks_what_is_left_out(shop: Shop, deploy: Deploy) -> None:
    shop.model(MODELS)
    configure(shop, "include_object", OBJECTS["info"])
    _, text = only_one(write(deploy("main"), "first"))
    assert "a_parent" in text
    assert "view_like" not in text
    assert run(diff(deploy("main"), MISSING)).findings == ()
    shop.write_settings(SETTINGS.format(""))
    assert of_ours(deploy, *MISSING) == {"table public.view_like"}
