"""Our own queries run with `pg_catalog` as search_path, so that objects of other roles are never called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from circle_migrate.postgres.search_path import FIRST_SCHEMA, pin
from tests.deployments import environment, execute, invoke
from tests.projects import Project
from tests.servers import NAMES, Databases, run

_SETTINGS = """
[project]
name = "shop"
version = "1"

[tool.circle-migrate]
relations = "shop.relations:RELATIONS"

[tool.circle-migrate.databases.main]
revisions = "migrations/main"

[tool.circle-migrate.databases.credentials]
revisions = "migrations/credentials"

"""

_COMMANDS = (
    ("status",),
    ("check",),
    ("upgrade",),
    ("diff",),
    ("log",),
    ("protect", "--database", "main"),
    ("unprotect", "--database", "main", "--override-protection", "main"),
    ("consistency",),
    ("downgrade", "main@-1", "-y", "--no-backup", "--keep"),
    ("upgrade",),
    ("kept", "list"),
    ("stats",),
    ("stamp", "main@m1", "-y"),
    ("downgrade", "main@-1", "-y", "--no-backup"),
    ("status",),
)

# The index helper sends the third for a revision; the fourth estimates the rows of one of its statements; the
# last has qualified names only, as `test_better_fitting_objects_of_others_are_never_called` shows.
_OF_STEPS = ("people", "logins", "AS on_expected_table", "circle_migrate_estimate", "condeferrable")
# They contain no name that a search_path resolves.
_WITHOUT_NAMES = re.compile(r"BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET|SHOW", re.IGNORECASE)


@pytest.fixture
def project(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two trees, with a constraint trigger whose function names its table without a schema."""
    project = Project(project_folder)
    project.write_settings(_SETTINGS)
    project.write(
        "shop/relations.py",
        """
        from circle_migrate.config.relation import Relation
        RELATIONS = (Relation("people-logins", left="main.people.id", right="credentials.logins.id"),)
        """,
    )
    project.revision(
        "main",
        "m1",
        None,
        'op.execute("CREATE TABLE people (id varchar(9) PRIMARY KEY, name varchar(9))")\n'
        'op.execute("CREATE TABLE people_seen (id text)")\n'
        'op.execute("CREATE FUNCTION people_see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "\n'
        '           "INSERT INTO people_seen VALUES (NEW.id); RETURN NEW; END $$")\n'
        'op.execute("CREATE CONSTRAINT TRIGGER people_see AFTER INSERT OR UPDATE ON people "\n'
        '           "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION people_see()")',
        'op.execute("DROP TABLE people, people_seen")\nop.execute("DROP FUNCTION people_see")',
    )
    project.revision(
        "main",
        "m2",
        "m1",
        'op.execute("ALTER TABLE people ADD COLUMN nick varchar(9)")\n'
        "op.execute(\"INSERT INTO people VALUES ('a', 'A', 'x') ON CONFLICT (id) DO UPDATE SET nick = 'x'\")",
        'op.execute("SET CONSTRAINTS ALL IMMEDIATE; ")\nop.execute("ALTER TABLE people DROP COLUMN nick")',
    )
    project.revision(
        "main",
        "m3",
        "m2",
        "with op.get_context().autocommit_block():\n"
        '    op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS people_nick ON people (nick)")\n'
        "op.execute(\"UPDATE people SET name = 'B'\")",
        'op.execute("DROP INDEX people_nick")',
        more="transactional = False",
    )
    project.revision(
        "credentials",
        "c1",
        None,
        'op.execute("CREATE TABLE logins (id varchar(9))")',
        'op.execute("DROP TABLE logins")',
    )
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    return project


@pytest.fixture
def paths(empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The search_path before each statement that is sent to the live databases, with the statement."""
    seen: list[tuple[str, str]] = []
    live = set(empty_databases.names.values())
    asking = False

    def wrap(name: str) -> None:
        send = getattr(asyncpg.Connection, name)

        async def ask_and_send(self: asyncpg.Connection, query: str, *arguments: Any, **options: Any) -> Any:
            nonlocal asking
            is_first = "circle_migrate.search_path" in query and "BEGIN" in query[:5] + query[:6]
            if not asking and self._params.database in live and not is_first:
                asking = True
                try:
                    value = await self.fetchval("SELECT pg_catalog.current_setting('search_path')")
                    seen.append((value, query))
                except asyncpg.InFailedSQLTransactionError:
                    pass
                finally:
                    asking = False
            return await send(self, query, *arguments, **options)

        monkeypatch.setattr(asyncpg.Connection, name, ask_and_send)

    for name in ("execute", "_execute", "_prepare", "copy_from_query"):
        wrap(name)
    return seen


@pytest.mark.thorough
def test_every_query_of_ours_runs_under_pg_catalog(project: Project, paths: list[tuple[str, str]]) -> None:
    answers = {arguments: invoke(arguments) for arguments in _COMMANDS}
    assert not [answer for answer in answers.values() if answer.status in (1, 2, 8, 9, 10)], answers
    assert len(paths) > 200
    # The first message of a connection sets the path, and so do the first of a step and the reset after it.
    pinning = re.compile("set_config|RESET ALL;.* SET search_path = 'pg_catalog'", re.DOTALL)
    others = [(path, query) for path, query in paths if path != "pg_catalog" and not pinning.search(query)]
    named = [query for _, query in others if not _WITHOUT_NAMES.match(query)]
    assert [query for query in named if not any(word in query for word in _OF_STEPS)] == []
    assert {path for path, _ in others} == {"public"}
    assert any("CREATE TABLE people_seen" in query for _, query in others)


_TRAP = """
CREATE FUNCTION public.trap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'trap %', 'called'; END $$
"""
_FUNCTIONS = {
    "format": ("text, name, text", "text, text, text", "text, name, name"),
    "has_table_privilege": ("regclass, text",),
    "has_schema_privilege": ("oid, unknown", "oid, text"),
    "to_regclass": ("varchar",),
    "quote_ident": ("name", "varchar"),
    "convert_to": ("text, text",),
    "left": ("name, int", "text, bigint"),
    "length": ("varchar", "name"),
    "string_agg": (),
    "concat_ws": ("text, text", "text, text, text"),
    "starts_with": ("name, text",),
    "replace": ("name, text, text",),
    "btrim": ("name, text",),
    "md5": ("varchar",),
    "json_build_object": ("text, bigint",),
    "to_json": ("circle_migrate.protection",),
    "pg_try_advisory_lock": ("int",),
}
_OPERATORS = [
    (operator, left, right)
    for operator in ("=", "<>", "||", "<", "~")
    for left, right in (("varchar", "varchar"), ("name", "varchar"), ("name", "char"), ("oid", "regclass"))
]


def _shadows() -> Iterator[str]:
    yield _TRAP
    for name, signatures in _FUNCTIONS.items():
        for types in signatures:
            yield (
                f'CREATE FUNCTION public."{name}"({types}) RETURNS text LANGUAGE plpgsql AS '
                "$$ BEGIN PERFORM public.trap(); END $$"
            )
    for number, (operator, left, right) in enumerate(_OPERATORS):
        yield (
            f"CREATE FUNCTION public.shadow_{number}({left}, {right}) RETURNS boolean LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM public.trap(); END $$"
        )
        yield (
            f"CREATE OPERATOR public.{operator} "
            f"(FUNCTION = public.shadow_{number}, LEFTARG = {left}, RIGHTARG = {right})"
        )


async def _create_shadows(databases: Databases) -> None:
    for name in NAMES:
        async with databases.connect(name) as connection:
            created = 0
            for statement in _shadows():
                try:
                    await connection.execute(statement)
                except asyncpg.PostgresError:  # a type that this database does not have
                    continue
                created += 1
            assert created > 40


@pytest.mark.thorough
def test_better_fitting_objects_of_others_are_never_called(
    project: Project, empty_databases: Databases
) -> None:
    assert invoke(["upgrade", "main@m1", "credentials@c1"]).status == 0
    run(execute(empty_databases, "main", "INSERT INTO people VALUES ('a', 'A')"))
    run(_create_shadows(empty_databases))
    for arguments in (*_COMMANDS, ("downgrade", "main@base", "-y", "--no-backup")):
        answer = invoke(arguments)
        assert "trap called" not in answer.everything, arguments
        assert answer.status not in (1, 10), (arguments, answer)


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("public", "public"),
        ('missing, "a, b", public', "a, b"),
        ('"$user", "Q""x"', 'Q"x'),
        ("'Quoted Name'", "Quoted Name"),
        ("missing", None),
    ],
)
def test_first_schema_is_that_of_the_server(
    empty_databases: Databases, path: str, schema: str | None
) -> None:
    async def read() -> tuple[Any, Any]:
        async with empty_databases.connect("main") as connection:
            for name in ("a, b", 'Q""x', "Quoted Name"):
                await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{name}"')
            await connection.execute(pin(path))
            ours = await connection.fetchval(f"SELECT {FIRST_SCHEMA}")
            await connection.execute(f"SET search_path = {path}")
            return ours, await connection.fetchval("SELECT current_schema()")

    assert run(read()) == (schema, schema)
