"""Text without parameters: several statements in one run, and rows still come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres.sql_text import split_last_rows, split_statements, without_comments_and_literals
from circle_migrate.revision_graph.plan import TransactionMode
from tests.deployments import project_folder
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import Databases, run

__all__ = ["project_folder"]

SPLIT = {
    "a; b;": ["a", "b"],
    " ; -- x;\n a /* ; /* ; */ ; */ ;; b ": ["a /* ; /* ; */ ; */ ", "b "],
    "select ';', E'\\';', \";\", 'it''s;'; b": ["select ';', E'\\';', \";\", 'it''s;'", "b"],
    "do $$ a; b $$; do $t$ $$; $t$; select a$1; b": ["do $$ a; b $$", "do $t$ $$; $t$", "select a$1", "b"],
    "create rule r as on delete to t do (a; b); c": ["create rule r as on delete to t do (a; b)", "c"],
    "create function f() begin atomic select case when a then b end; c; end; d": [
        "create function f() begin atomic select case when a then b end; c; end",
        "d",
    ],
    "begin; select case when a then b end; end": ["begin", "select case when a then b end", "end"],
    "-- nothing": [],
    "": [],
}


@pytest.mark.parametrize("text", SPLIT)
def test_statements_of_a_text(text: str) -> None:
    assert split_statements(text) == SPLIT[text]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("create table t (a int)", ("create table t (a int)", "")),
        ("update t set a = 1", ("update t set a = 1", "")),
        ("update t set a = 1 returning a", ("", "update t set a = 1 returning a")),
        ("set a = 1; /* x */ (select 1)", ("set a = 1; /* x */ ", "(select 1)")),
        ("select 1; drop table t;", ("select 1; drop table t;", "")),
        ("-- nothing", ("", "-- nothing")),
    ],
)
def test_only_the_last_statement_may_return_rows(text: str, parts: tuple[str, str]) -> None:
    assert split_last_rows(text) == parts


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a /* /* 'b */ */ c -- 'd", "a   c"),
        ("E'a\\'b' \"c'\" $$d'$$ e$f$ $1 U&'g'", "'' \"c'\" '' e$f$ $1 U&''"),
        ("/* " * 40_000, ""),  # that no comment ends is searched for once
        (" ".join(f"$t{number}$" for number in range(20_000)), "''"),
    ],
    ids=range(4),
)
def test_code_of_a_text(text: str, code: str) -> None:
    assert without_comments_and_literals(text) == code


def test_several_statements_run_and_rows_and_counts_come_back(
    project_folder: Path, empty_databases: Databases
) -> None:
    shop = Shop(project_folder)
    body = """
bind = op.get_bind()
bind.exec_driver_sql("CREATE TABLE t (a int, b text); CREATE INDEX t_a ON t (a); COMMENT ON TABLE t IS ';'")
assert bind.exec_driver_sql("INSERT INTO t VALUES (1, '%'), (2, ';')").rowcount == 2
assert bind.execute(sa.text("INSERT INTO t VALUES (3); UPDATE t SET a = a + 1 WHERE a > 1")).rowcount == 2
assert bind.execute(sa.text("SET LOCAL work_mem = '1MB'; SELECT a FROM t ORDER BY a")).fetchall() == [
    (1,), (3,), (4,)]
assert bind.exec_driver_sql("DELETE FROM t WHERE a = 4 RETURNING a").fetchall() == [(4,)]
assert bind.execute(sa.text("SELECT b FROM t WHERE a = :a").bindparams(a=1)).scalar() == "%"
assert bind.exec_driver_sql("CREATE TABLE u AS SELECT * FROM t").rowcount == 2
"""
    shop.revision("main", "m1", None, body, "op.execute('DROP TABLE t; DROP TABLE u')")
    run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT a FROM t ORDER BY a")) == [(1,), (3,)]
    assert run(rows(empty_databases, "main", "SELECT to_regclass('t_a')::text")) == [("t_a",)]
    run(shop.downgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT to_regclass('t')")) == [(None,)]


@pytest.mark.parametrize("mode", TransactionMode)
def test_error_of_the_first_statement_fails_its_transaction(
    project_folder: Path, empty_databases: Databases, mode: TransactionMode
) -> None:
    """The server reads a text before it runs its first statement, so that BEGIN does not run either."""
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE t (a int)"], [])
    body = """
try:
    op.execute("CREATE TABLE u (a int")
except sa.exc.DBAPIError:
    pass
op.execute("CREATE TABLE u (a int)")
"""
    shop.revision("main", "m2", "m1", body, "pass")
    with pytest.raises(MigrateError, match="upgrade m2"):
        run(shop.upgrade(empty_databases, transaction=mode))
    assert run(rows(empty_databases, "main", "SELECT to_regclass('u')")) == [(None,)]


@pytest.mark.parametrize("text", ["SELECT 1; COMMIT", "CREATE TABLE t (a int); /* x */ ROLLBACK; SELECT 1"])
def test_no_statement_of_a_text_ends_the_transaction(
    project_folder: Path, empty_databases: Databases, text: str
) -> None:
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE people (id integer)", text], [])
    with pytest.raises(MigrateError, match="ends its transaction"):
        run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT to_regclass('people')")) == [(None,)]


def test_same_query_before_and_after_a_change_of_what_it_reads(
    project_folder: Path, empty_databases: Databases
) -> None:
    shop = Shop(project_folder)
    body = """
op.execute("CREATE TYPE pair AS (a int); CREATE TABLE t (id int, v int, p pair)")
op.execute("INSERT INTO t VALUES (1, 2, ROW(3))")
bind = op.get_bind()
query = sa.text("SELECT * FROM t WHERE id = :id").bindparams(id=1)
assert bind.execute(query).fetchall() == [(1, 2, (3,))]
op.alter_column("t", "v", type_=sa.Text, postgresql_using="v::text")
assert bind.execute(query).fetchall() == [(1, "2", (3,))]
op.execute("ALTER TYPE pair ADD ATTRIBUTE b int")
assert bind.execute(query).fetchall() == [(1, "2", (3, None))]
op.drop_column("t", "v")
assert bind.execute(query).fetchall() == [(1, (3, None))]
"""
    shop.revision("main", "m1", None, body, "pass")
    run(shop.upgrade(empty_databases))
