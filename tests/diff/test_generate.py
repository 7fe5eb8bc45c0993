"""Migration scripts without a server: order, quoting, hazards, selected differences."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from circle_migrate.core.findings import Severity
from circle_migrate.diff import ddl
from circle_migrate.diff.compare import CompareOptions, compare
from circle_migrate.diff.ddl.alembic_ops import string, text, type_code
from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.ddl.render import render, render_sql
from circle_migrate.diff.ddl.script import MigrationScript, generate
from circle_migrate.diff.result import Aspect, Comparison, Difference, Trial
from circle_migrate.diff.scope import ChangeSet, without_new_privileges
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey, Snapshot, changes_between
from circle_migrate.revision_graph.traversal import topological
from circle_migrate.safety.hazards.hazard import HAZARDS
from tests.servers import run

OWNED = {"owner": "<owner>"}


def table(name: str, *columns: str, **fields: str) -> dict[ObjectKey, Fields]:
    """Return a table with columns given as `name type`."""
    objects: dict[ObjectKey, Fields] = {ObjectKey("table", name): {**OWNED, **fields}}
    for position, column in enumerate(columns, 1):
        own, _, type_ = column.partition(" ")
        key = ObjectKey("column", f"{name}.{own}")
        objects[key] = {"of": f"table {name}", "type": type_, "position": str(position)}
    return objects


def foreign_key(of: str, name: str, definition: str) -> dict[ObjectKey, Fields]:
    fields = {"of": f"table {of}", "type": "foreign key", "definition": definition}
    return {ObjectKey("constraint", f"{of}.{name}"): fields}


def snapshot(objects: Mapping[ObjectKey, Fields], database: str = "db") -> Snapshot:
    return Snapshot(database, "live", 180004, objects)


def compared(
    before: Mapping[ObjectKey, Fields],
    after: Mapping[ObjectKey, Fields],
    *only: ObjectKey,
    database: str = "db",
) -> Comparison:
    """Return the comparison of two catalogs, or of some objects only."""
    one, other = snapshot(before, database), snapshot(after, database)
    told = tuple(
        Difference(change, Aspect.DEFINITION, Severity.ERROR)
        for change in changes_between(one, other)
        if not only or change.key in only
    )
    return Comparison(one, other, told)


def statements(
    before: Mapping[ObjectKey, Fields], after: Mapping[ObjectKey, Fields], *only: ObjectKey
) -> list[str]:
    return [statement.sql for statement in generate(compared(before, after, *only)).statements]


VIEW = {ObjectKey("view", "app.v"): {**OWNED, "definition": " SELECT a FROM app.t;"}}
VIEW_OF_VIEW = {ObjectKey("view", "app.a"): {**OWNED, "definition": " SELECT a FROM app.v;"}}


def bodies(script: MigrationScript) -> tuple[str, str]:
    """Return the bodies of upgrade() and downgrade()."""
    upgrade, downgrade = render(script, HAZARDS).split("def downgrade() -> None:")
    return upgrade, downgrade


def test_views_on_a_column_go_before_it_changes_and_come_back_after() -> None:
    before = table("app.t", "a integer") | VIEW | VIEW_OF_VIEW
    after = table("app.t", "a bigint") | VIEW | VIEW_OF_VIEW
    assert statements(before, after) == [
        "DROP VIEW app.a",
        "DROP VIEW app.v",
        "ALTER TABLE app.t ALTER COLUMN a TYPE bigint",
        "CREATE VIEW app.v AS\nSELECT a FROM app.t",
        "CREATE VIEW app.a AS\nSELECT a FROM app.v",
    ]


def test_users_of_a_function_stay_when_another_one_of_its_name_goes() -> None:
    kept, dropped = (
        {ObjectKey("function", f"app.f({arguments})"): {"definition": f"CREATE FUNCTION app.f({arguments})"}}
        for arguments in ("text", "text, integer")
    )
    view = {ObjectKey("view", "app.v"): {"definition": " SELECT app.f(a) AS f FROM app.t;"}}
    assert statements(kept | dropped | view, kept | view) == ["DROP FUNCTION app.f(text, integer)"]


def test_a_partition_has_no_part_in_the_tablespace_of_its_table() -> None:
    parent = table("app.p", "a integer", tablespace="fast", partition_key="LIST (a)")
    partition = table("app.p1", partition_of="app.p", partition_bound="DEFAULT")
    [sql] = statements(parent, parent | partition)
    assert sql == "CREATE TABLE app.p1 PARTITION OF app.p DEFAULT\nTABLESPACE pg_default"


def test_a_view_that_does_not_read_the_column_stays() -> None:
    before = table("app.t", "a integer", "b integer") | VIEW
    after = table("app.t", "a integer", "b bigint") | VIEW
    assert statements(before, after) == ["ALTER TABLE app.t ALTER COLUMN b TYPE bigint"]


def test_tables_that_reference_each_other_get_their_keys_last_and_lose_them_first() -> None:
    tables = table("app.a", "id integer", "b integer") | table("app.b", "id integer", "a integer")
    keys = foreign_key("app.a", "to_b", "FOREIGN KEY (b) REFERENCES app.b(id)")
    keys |= foreign_key("app.b", "to_a", "FOREIGN KEY (a) REFERENCES app.a(id)")
    for name in ("app.a", "app.b"):
        fields = {"of": f"table {name}", "type": "primary key", "definition": "PRIMARY KEY (id)"}
        keys[ObjectKey("constraint", f"{name}.pk")] = fields
    made = [sql.split("(")[0].split("\n")[0] for sql in statements({}, tables | keys)]
    assert made[:2] == ["CREATE TABLE app.a ", "CREATE TABLE app.b "]
    assert {" ".join(sql.split()[-3:]) for sql in made[2:4]} == {"pk PRIMARY KEY"}
    assert all("FOREIGN KEY" in sql for sql in made[4:])
    gone = statements(tables | keys, {})
    assert ["DROP CONSTRAINT" in sql for sql in gone] == [True, True, False, False]


def test_a_default_goes_before_the_sequence_it_uses() -> None:
    before = table("app.t", "id integer") | {ObjectKey("sequence", "app.s"): {**OWNED, "start": "1"}}
    column = ObjectKey("column", "app.t.id")
    before[column] = {**before[column], "default": "nextval('app.s'::regclass)"}
    assert statements(before, table("app.t", "id integer")) == [
        "ALTER TABLE app.t ALTER COLUMN id DROP DEFAULT",
        "DROP SEQUENCE app.s",
    ]


def test_a_new_sequence_continues_the_old_one_before_that_is_dropped() -> None:
    column, sequence = ObjectKey("column", "app.t.id"), ObjectKey("sequence", "app.t_id_seq")
    serial = table("app.t", "id integer") | {sequence: {**OWNED, "increment": "1"}}
    serial[column] = {**serial[column], "default": "nextval('app.t_id_seq'::regclass)"}
    identity = table("app.t", "id integer")
    identity[column] = {**identity[column], "identity": "by default"}
    set_value = (
        "SELECT setval('app.t_id_seq', last_value, is_called) FROM app.t_id_seq__old "
        "WHERE last_value >= (SELECT last_value FROM app.t_id_seq)"
    )
    rename = "ALTER SEQUENCE app.t_id_seq RENAME TO t_id_seq__old"
    assert statements(serial, identity) == [
        "ALTER TABLE app.t ALTER COLUMN id DROP DEFAULT",
        rename,
        "ALTER TABLE app.t ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY",
        set_value,
        "DROP SEQUENCE app.t_id_seq__old",
    ]
    assert statements(identity, serial) == [
        rename,
        "CREATE SEQUENCE app.t_id_seq INCREMENT BY 1",
        set_value,
        "ALTER TABLE app.t ALTER COLUMN id DROP IDENTITY",
        "ALTER TABLE app.t ALTER COLUMN id SET DEFAULT nextval('app.t_id_seq'::regclass)",
    ]
    assert statements(table("app.t", "id integer"), identity)[-1] == (
        "SELECT setval('app.t_id_seq', max(id)) FROM app.t "
        "HAVING max(id) >= (SELECT last_value FROM app.t_id_seq)"
    )


def test_a_rename_is_a_drop_and_a_create_with_a_hazard() -> None:
    made = generate(compared(table("app.t", "a integer"), table("app.t", "b integer"))).statements
    assert [statement.sql for statement in made] == [
        "ALTER TABLE app.t DROP COLUMN a",
        "ALTER TABLE app.t ADD COLUMN b integer",
    ]
    assert made[0].hazards == ("CM010",)


def test_only_what_is_asked_for_is_done() -> None:
    before = table("app.t", "a integer")
    after = table("app.t", "a bigint", "b text") | VIEW
    assert statements(before, after, ObjectKey("column", "app.t.b")) == [
        "ALTER TABLE app.t ADD COLUMN b text"
    ]


def test_what_follows_from_a_difference_is_done_with_it() -> None:
    after = table("app.t", "a integer") | {
        ObjectKey("constraint", "app.t.u"): {
            "of": "table app.t",
            "type": "unique",
            "definition": "UNIQUE (a)",
        }
    }
    assert statements({}, after, ObjectKey("table", "app.t")) == [
        "CREATE TABLE app.t (\n    a integer\n)",
        "ALTER TABLE app.t ADD CONSTRAINT u UNIQUE (a)",
    ]


def test_extra_partitions_are_created_though_they_are_no_difference() -> None:
    bound = {"partition_of": "app.t", "partition_bound": "FOR VALUES IN (1)"}
    before = table("app.t", "a integer", partition_key="LIST (a)")
    one, other = snapshot(before), snapshot(before | table("app.p", **bound))
    comparison = run(compare(one, other, CompareOptions()))
    assert comparison.differences == ()
    there, back = (generate(comparison, undo=undo).statements for undo in (False, True))
    assert [statement.sql for statement in (*there, *back)] == [
        "CREATE TABLE app.p PARTITION OF app.t FOR VALUES IN (1)",
        "DROP TABLE app.p",
    ]


def test_an_order_of_columns_nobody_can_make_is_admitted() -> None:
    made = generate(
        compared(table("app.t", "a integer", "b text"), table("app.t", "c date", "a integer", "b text"))
    )
    assert made.incomplete == ("column order of table app.t",)


def test_an_unknown_field_is_admitted() -> None:
    made = generate(compared(table("app.t"), table("app.t", colour="red")))
    assert made.statements == ()
    assert made.incomplete == ("colour of table app.t",)


def test_there_and_back_again_is_nothing_new() -> None:
    comparison = compared(table("app.t", "a integer"), table("app.t", "a integer", "b text") | VIEW)
    back = generate(comparison, undo=True)
    assert [statement.sql for statement in back.statements] == [
        "DROP VIEW app.v",
        "ALTER TABLE app.t DROP COLUMN b",
    ]


def test_a_label_that_is_used_at_once_has_to_be_committed_first() -> None:
    enum = ObjectKey("enum", "app.e")
    before = table("app.t", "a app.e") | {enum: {**OWNED, "labels": "x"}}
    after = before | {enum: {**OWNED, "labels": "x\ny"}}
    made = generate(compared(before, after)).statements
    assert [(statement.sql, statement.transactional) for statement in made] == [
        ("ALTER TYPE app.e ADD VALUE 'y'", True)
    ]
    column = ObjectKey("column", "app.t.a")
    for default in ("'y'::app.e", "'{x,y}'::app.e[]"):
        after |= {column: {**after[column], "default": default}} | table("app.a", "a integer")
        made = generate(compared(before, after)).statements
        assert [statement.transactional for statement in made] == [False, True, True]
        assert made[0].sql == "ALTER TYPE app.e ADD VALUE IF NOT EXISTS 'y'"
    after |= {enum: {**OWNED, "labels": "new\ny\nx"}}
    made = generate(compared(before, after)).statements
    assert [statement.sql.partition("EXISTS ")[2] for statement in made[:2]] == [
        "'new' BEFORE 'x'",
        "'y' BEFORE 'x'",
    ]
    assert "with op.get_context().autocommit_block():" in render(generate(compared(before, after)), HAZARDS)


def test_references_are_found_by_quoted_names_only_where_they_are_meant() -> None:
    tables = table('app."T 1"', "a integer") | table("app.t", "a integer")
    catalog = Catalog(tables | {ObjectKey("view", "app.v"): {"definition": ' SELECT a FROM app."T 1"'}})
    needs = catalog.needs(ObjectKey("view", "app.v"))
    assert ObjectKey("table", 'app."T 1"') in needs
    assert ObjectKey("table", "app.t") not in needs


@given(st.dictionaries(st.integers(0, 9), st.sets(st.integers(0, 9))))
def test_order_keeps_every_wish_that_is_no_circle(earlier: dict[int, set[int]]) -> None:
    wishes = {node: {other for other in others if other < node} for node, others in earlier.items()}
    done = topological(range(10), wishes, lambda node: -node, cut_cycles=True)
    assert sorted(done) == list(range(10))
    assert all(done.index(other) < done.index(node) for node, others in wishes.items() for other in others)


def test_a_circle_is_cut_and_nothing_is_lost() -> None:
    wishes = {"a": ["b"], "b": ["a"], "c": ["b"]}
    assert topological(["a", "b", "c"], wishes, str, cut_cycles=True) == ["a", "b", "c"]


def column(**fields: str) -> dict[ObjectKey, Fields]:
    """Return a table with one column."""
    return table("app.t") | {
        ObjectKey("column", "app.t.a"): {"of": "table app.t", "type": "integer", **fields}
    }


def constraint(type_: str, definition: str) -> dict[ObjectKey, Fields]:
    fields = {"of": "table app.t", "type": type_, "definition": definition}
    return column() | {ObjectKey("constraint", "app.t.c"): fields}


def index(of: dict[ObjectKey, Fields], definition: str, **fields: str) -> dict[ObjectKey, Fields]:
    return of | {ObjectKey("index", "app.i"): {"of": "table app.t", "definition": definition, **fields}}


def sequence(start: str, low: str) -> dict[ObjectKey, Fields]:
    return {ObjectKey("sequence", "app.s"): {**OWNED, "start": start, "minimum": low}}


def extension(**fields: str) -> dict[ObjectKey, Fields]:
    return {ObjectKey("extension", "e"): {"version": "1", "schema": "app", **fields}}


_CHECK = "CHECK ((a > 0))"
_DOMAIN = {ObjectKey("domain", "app.d"): {**OWNED, "type": "integer"}}
_DOMAIN_CHECK = {
    ObjectKey("domain constraint", "app.d.c"): {"of": "domain app.d", "definition": "CHECK ((VALUE > 0))"}
}
_FOREIGN = "FOREIGN KEY (a) REFERENCES app.u(a)"
_BTREE = "CREATE INDEX i ON app.t USING btree (a)"
_PARTITIONED = table("app.t", "a integer", partition_key="RANGE (a)")
_TYPED = {ObjectKey("composite type", "app.c"): {**OWNED, "attributes": "a integer"}}


@pytest.mark.parametrize(
    ("before", "after", "hazards"),
    [
        (column(), {}, ["CM013"]),
        (column(), table("app.t"), ["CM010"]),
        (column(), column(type="text"), ["CM061", "CM027"]),
        (column(type="text"), column(), ["CM061", "CM026"]),
        (column(), column(not_null="yes"), ["CM007", "CM020"]),
        (column(identity="always"), column(), ["CM036"]),
        (table("app.t"), column(), []),
        (table("app.t"), column(default="0", not_null="yes"), []),
        (table("app.t"), column(not_null="yes"), ["CM028"]),
        (table("app.t"), column(default="gen_random_uuid()", not_null="yes"), ["CM001"]),
        (table("app.t"), column(identity="always", not_null="yes"), ["CM001"]),
        (table("app.t"), column(generated="GENERATED ALWAYS AS (1) STORED"), ["CM001"]),
        (table("app.t"), column(generated="GENERATED ALWAYS AS (f(1)) VIRTUAL"), []),
        (column(), constraint("check", _CHECK), ["CM007", "CM025"]),
        (column(), constraint("check", f"{_CHECK} NOT VALID"), []),
        (_DOMAIN, _DOMAIN | _DOMAIN_CHECK, ["CM007", "CM025"]),
        (column(), constraint("foreign key", _FOREIGN), ["CM009", "CM024"]),
        (column(), constraint("foreign key", f"{_FOREIGN} NOT ENFORCED"), []),
        (column(), constraint("primary key", "PRIMARY KEY (a)"), ["CM062", "CM023"]),
        (column(), constraint("exclusion", "EXCLUDE USING gist (a WITH &&)"), ["CM063", "CM025"]),
        (column(), index(column(), _BTREE), ["CM008"]),
        (_PARTITIONED, index(_PARTITIONED, _BTREE.replace(" app", " ONLY app")), ["CM068"]),
        (index(column(), _BTREE), column(), ["CM065"]),
        (index(column(), _BTREE), index(column(), _BTREE, tablespace="fast"), ["CM058"]),
        (table("app.t"), table("app.t", persistence="unlogged"), ["CM069"]),
        (table("app.t", rls="yes"), table("app.t"), ["CM034"]),
        (sequence("1", "1"), {}, ["CM014"]),
        (sequence("1", "1"), sequence("5", "5"), ["CM032"]),
        (sequence("5", "1"), sequence("5", "5"), []),
        (extension(), {}, ["CM035"]),
        (_TYPED, {ObjectKey("composite type", "app.c"): {**OWNED, "attributes": "a text"}}, ["CM016"]),
        (_TYPED, {ObjectKey("composite type", "app.c"): {**OWNED, "attributes": "b text"}}, ["CM010"]),
        ({}, column(not_null="yes"), []),
    ],
)
def test_statement_names_its_hazards(
    before: dict[ObjectKey, Fields], after: dict[ObjectKey, Fields], hazards: list[str]
) -> None:
    made = generate(compared(before, after)).statements
    assert [hazard for statement in made for hazard in statement.hazards] == hazards


def test_hazards_of_statements_are_in_the_catalog() -> None:
    texts = [path.read_text(encoding="utf-8") for path in Path(ddl.__file__).parent.glob("*.py")]
    assert set(re.findall(r'"(CM\d{3})"', "".join(texts))) <= HAZARDS.keys()


def test_script_of_one_database_is_sql_alone_with_its_hazards() -> None:
    script = render_sql([generate(compared(table("app.t", "a integer"), {}))], HAZARDS)
    lines = [line for line in script.splitlines() if line and not line.startswith("--")]
    assert lines == ["DROP TABLE app.t;"]
    assert "-- HAZARD: CM013 Table or schema is dropped with its rows\nDROP TABLE app.t;" in script


def test_trial_decides_on_the_order_and_names_the_gaps() -> None:
    comparison = compared({}, table("app.t") | table("app.u") | table("app.v"))
    tried = replace(comparison, trials={False: Trial((2, 0), ("CREATE TABLE app.u ():\nno",))})
    script = render_sql([generate(tried)], HAZARDS)
    assert (
        "\n-- NOT EXPRESSED: CREATE TABLE app.u (): no\nCREATE TABLE app.v ();\n\nCREATE TABLE app.t ()"
        in script
    )
    assert "NOT EXPRESSED" not in bodies(generate(comparison))[1]
    without = replace(comparison, trials={True: Trial(untried="no\nserver")})
    assert "# NOT TRIED: no server\n" in bodies(generate(without))[1]


def test_what_is_part_of_a_new_table_blocks_nobody() -> None:
    new = table("app.t", "a integer") | foreign_key("app.t", "f", "FOREIGN KEY (a) REFERENCES app.u(a)")
    definition = "CREATE INDEX i ON app.t USING btree (a)"
    new |= {ObjectKey("index", "app.i"): {"of": "table app.t", "definition": definition}}
    other = table("app.u", "a integer")
    made = generate(compared(other, other | new)).statements
    assert [bool(statement.hazards) for statement in made] == [False, True, False]
    assert [bool(statement.hazards) for statement in generate(compared(other | new, other)).statements] == [
        True
    ]


def test_script_of_two_databases_connects_to_each() -> None:
    one, other = (generate(compared({}, table("app.t"), database=name)) for name in ("one", "two"))
    script = render_sql([one, other], HAZARDS)
    assert script.index("\\connect :one") < script.index("CREATE TABLE") < script.index("\\connect :two")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_strings_of_python_say_what_they_are_given(value: str) -> None:
    assert ast.literal_eval(string(value)) == value


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'a:b', ':c', x::int, '12:30', a[1:2], '\\:d', E'\\\\:e', ':f:'",
        "DO $$BEGIN x := 1; END$$",
        "SELECT '::' || ':a' || '\\::b'",
        "SELECT 100 % 3, '%s'",
    ],
)
def test_sql_reaches_the_server_as_it_is(sql: str) -> None:
    dialect = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]
    assert str(sqlalchemy.text(text(sql)).compile(dialect=dialect)) == sql


@pytest.mark.parametrize(
    "type_",
    [
        "integer",
        "bigint",
        "text",
        "character varying",
        "character varying(50)",
        "numeric(10,2)",
        "timestamp with time zone",
        "timestamp(3) without time zone",
        "jsonb",
        "uuid",
        "boolean",
        "double precision",
        "integer[]",
    ],
)
def test_types_of_sqlalchemy_are_those_of_postgresql(type_: str) -> None:
    code = type_code(type_)
    assert code is not None
    made = eval(code, {"sa": sqlalchemy, "postgresql": postgresql})
    written = made.compile(dialect=postgresql.dialect()).lower()  # type: ignore[no-untyped-call]
    spelled = {"varchar": "character varying", "float": "double precision"}
    for short, long in spelled.items():
        written = written.replace(short, long)
    assert written.replace(", ", ",") == type_


def test_a_type_of_the_database_is_left_to_sql() -> None:
    assert type_code("app.mood") is None
    upgrade, downgrade = bodies(generate(compared({}, table("app.t", "a app.mood"))))
    assert "op.execute(" in upgrade
    assert 'op.drop_table("t", schema="app")' in downgrade


def test_operations_leave_out_the_schema_they_work_in() -> None:
    told = replace(compared(table("app.t", "a integer"), {}), default_schema="app")
    upgrade, downgrade = bodies(generate(told))
    assert 'op.drop_table("t")' in upgrade
    assert "schema=" not in downgrade


FULL = "INSERT, SELECT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER"


@pytest.mark.parametrize(
    ("majors", "before", "after", "expected"),
    [
        ((18, 15), f"{FULL}, MAINTAIN", FULL, []),
        ((18, 15), f"{FULL}, MAINTAIN\napp: {FULL}, MAINTAIN", f"{FULL}\napp: SELECT, INSERT", ["app"]),
        ((18, 15), "SELECT, MAINTAIN*\napp: MAINTAIN", "SELECT", ["app"]),
        ((18, 15), None, f"{FULL}\napp: SELECT", ["app"]),
        ((18, 15), "SELECT, MAINTAIN", "", ["CURRENT_USER"]),
        ((15, 18), FULL, f"{FULL}, MAINTAIN\napp: SELECT, MAINTAIN", ["app"]),
        ((15, 18), FULL, f"{FULL}, MAINTAIN\napp: MAINTAIN by other", []),
        ((18, 18), f"{FULL}, MAINTAIN", FULL, ["CURRENT_USER"]),
    ],
)
def test_maintain_is_only_taken_or_given_where_both_servers_know_it(
    majors: tuple[int, int], before: str | None, after: str, expected: list[str]
) -> None:
    def side(acl: str | None, major: int) -> Snapshot:
        acl = f"<owner>: {acl}" if acl else acl
        objects = {} if acl is None else table("app.t", "a integer", acl=acl)
        return Snapshot("db", "live", major * 10000, objects)

    one, other = side(before, majors[0]), side(after, majors[1])
    change_set = ChangeSet([*changes_between(one, other)])
    without_new_privileges(change_set, one, other)
    told = tuple(Difference(change, Aspect.SECURITY, Severity.ERROR) for change in change_set.changes)
    made = generate(Comparison(one, other, told))
    commands = [statement.sql for statement in made.statements if "CREATE TABLE" not in statement.sql]
    assert [command.split()[-1] for command in commands] == expected
    assert any("MAINTAIN" in difference for difference in made.incomplete) == (after.endswith("by other"))


def test_options_of_foreign_data_are_quoted_and_may_have_several_lines() -> None:
    server = ObjectKey("foreign server", "s")
    before = {server: {**OWNED, "wrapper": "w", "options": "host=h\nOd d=x'y\nnote=one\ntwo"}}
    after = {server: {**OWNED, "wrapper": "w", "options": "host=h\nnote=one\nthree"}}
    assert statements(before, after) == ["ALTER SERVER s OPTIONS (DROP \"Od d\", SET note 'one\nthree')"]
    [create] = statements({}, before)
    assert create.endswith("OPTIONS (host 'h', \"Od d\" 'x''y', note 'one\ntwo')")
