"""Snapshots and fingerprints: omitted objects, privileges, and concurrent changes."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from circle_migrate.config.load import load as load_settings
from circle_migrate.core.errors import ExitCode, LockNotObtained, MigrateError
from circle_migrate.migrate.journal import Journal
from circle_migrate.postgres.catalog import queries, read_live
from circle_migrate.postgres.catalog.fingerprint import fingerprint
from circle_migrate.postgres.catalog.read import format_acl
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Snapshot, changes_between
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.embedded.cluster import Postmaster
from circle_migrate.postgres.journal_tables import OWN_TABLES
from tests.deployments import deployment, environment, execute
from tests.diff.drift import LOCAL, load, take
from tests.servers import Databases, any_major, run, start_binaries

SHOP = """
CREATE TABLE grp (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code varchar(8) NOT NULL UNIQUE);
CREATE TABLE usr (
    id serial PRIMARY KEY, grp_id int REFERENCES grp, a int CHECK (a > 0), b int, note text DEFAULT 'none',
    CHECK (a < b), UNIQUE (a, b), CONSTRAINT named CHECK (b < 9)
);
CREATE INDEX ON usr (lower(note), b);
CREATE INDEX usr_a ON usr (a) WHERE b > 0;
CREATE VIEW named_users AS SELECT id, note FROM usr;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM usr;
"""


def main_of(databases: Databases) -> Database:
    return deployment(databases).databases["main"]


@pytest.fixture
def shop(empty_databases: Databases) -> Databases:
    run(execute(empty_databases, "main", SHOP))
    return empty_databases


def names(snapshot: Snapshot, kind: str) -> set[str]:
    return {key.identity for key, _ in snapshot.of_kind(kind)}


def test_the_version_table_is_found_on_the_settings_search_path(empty_databases: Databases) -> None:
    schema = "CREATE SCHEMA app; CREATE TABLE app.alembic_version (version_num text)"
    run(execute(empty_databases, "main", schema, "CREATE TABLE app.usr (id int)"))
    run(execute(empty_databases, "main", "INSERT INTO app.alembic_version VALUES ('abc')"))
    urls = environment(empty_databases) | {"CIRCLE_MIGRATE_MAIN_SEARCH_PATH": "app"}
    snapshot = run(read_live_catalog(Deployment(load_settings(environ=urls)).databases["main"]))
    assert snapshot.revisions == ("abc",)
    assert names(snapshot, "table") == {"app.usr"}


def test_everything_of_a_small_schema(shop: Databases) -> None:
    snapshot = run(read_live_catalog(main_of(shop)))
    assert snapshot.origin == "live"
    assert snapshot.revisions == ()
    assert not snapshot.unmodelled
    assert names(snapshot, "table") == {"public.grp", "public.usr"}
    kinds = [fields["type"] for _, fields in snapshot.of_kind("constraint")]
    assert sorted(kinds) == ["check"] * 3 + ["foreign key"] + ["primary key"] * 2 + ["unique"] * 2
    assert names(snapshot, "sequence") == {"public.usr_id_seq"}
    assert snapshot.objects[ObjectKey("sequence", "public.usr_id_seq")]["owned_by"] == "public.usr.id"
    assert snapshot.objects[ObjectKey("column", "public.grp.id")] == {
        "of": "table public.grp",
        "type": "integer",
        "not_null": "yes",
        "identity": "always",
        "position": "1",
    }
    assert snapshot.objects[ObjectKey("index", "public.usr_a")]["definition"] == (
        "CREATE INDEX usr_a ON public.usr USING btree (a) WHERE (b > 0)"
    )
    owners = {
        fields.get("owner") for key, fields in snapshot.objects.items() if key.kind in {"table", "view"}
    }
    assert owners == {"<owner>"}
    assert all(value is not None for fields in snapshot.objects.values() for value in fields.values())


_NUMBER_COLUMNS = """
UPDATE pg_attribute SET attoptions = NULLIF(array_remove({options}, NULL), '{{}}')
WHERE attrelid IN ('usr'::regclass, 'named_users'::regclass) AND attnum > 0
"""


def test_numbers_that_newer_servers_keep_at_columns_are_omitted(shop: Databases) -> None:
    option = "(SELECT option FROM unnest(attoptions) option WHERE option LIKE 'n_distinct=%')"
    added = "'pg_attver=' || attrelid::int + attnum"
    forms = [f"ARRAY[{option}]", f"ARRAY[{added}, {option}]", f"ARRAY[{option}, {added}]"]

    async def scenario() -> list[tuple[Any, ...]]:
        states = []
        async with shop.connect("main") as connection:
            await connection.execute("ALTER TABLE usr ALTER note SET (n_distinct = 5)")
            for options in forms:
                await connection.execute(_NUMBER_COLUMNS.format(options=options))
                snapshot = await read_live_catalog(main_of(shop))
                note = snapshot.value(ObjectKey("column", "public.usr.note"), "options")
                number = await fingerprint(connection, "alembic_version")
                states.append((dict(snapshot.objects), number, note))
        return states

    states = run(scenario())
    assert states[0][-1] == "n_distinct=5"
    assert states == states[:1] * 3


def test_names_postgresql_made_up_are_marked(shop: Databases) -> None:
    long = "a_table_with_a_name_of_nearly_as_many_bytes_as_there_can_be"
    run(execute(shop, "main", f"CREATE TABLE {long} (a_column_with_a_long_name int UNIQUE REFERENCES grp)"))
    snapshot = run(read_live_catalog(main_of(shop)))
    given = {
        key.identity.removeprefix("public.")
        for kind in ("constraint", "index")
        for key, fields in snapshot.of_kind(kind)
        if "generated_name" not in fields and "constraint" not in fields
    }
    assert given == {"usr.named", "usr_a"}


def test_ours_and_extensions_are_left_out(shop: Databases) -> None:
    database = main_of(shop)

    async def scenario() -> tuple[Snapshot, Snapshot, Snapshot]:
        before = await read_live_catalog(database)
        async with shop.connect("main") as connection:
            marked = await fingerprint(connection, "alembic_version")
            await Journal(database, await database.state()).ensure(connection)
            assert await fingerprint(connection, "alembic_version") == marked
            await connection.execute(
                "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY, n serial);"
                "INSERT INTO alembic_version VALUES ('abc');"
                "COMMENT ON TABLE alembic_version IS 'ours'; GRANT SELECT ON alembic_version TO PUBLIC;"
                "CREATE TEMPORARY TABLE passing (a serial PRIMARY KEY);"
                "CREATE TABLE parts (id int PRIMARY KEY); CREATE SEQUENCE loose; CREATE TYPE mood AS ENUM ();"
                "ALTER EXTENSION plpgsql ADD TABLE parts; ALTER EXTENSION plpgsql ADD SEQUENCE loose;"
                "ALTER EXTENSION plpgsql ADD TYPE mood"
            )
            during = await read_live_catalog(database)
            await connection.execute("CREATE SCHEMA other; ALTER TABLE alembic_version SET SCHEMA other")
        return before, during, await read_live_catalog(database)

    before, during, elsewhere = run(scenario())
    assert changes_between(before, during) == ()
    assert during.revisions == ("abc",)
    assert "other.alembic_version" in names(elsewhere, "table")


def test_parts_of_partitions_are_marked(empty_databases: Databases) -> None:
    statements = """
    CREATE TABLE other (id int PRIMARY KEY);
    CREATE TABLE e (id int REFERENCES other, d date CHECK (d > '2000-01-01'), PRIMARY KEY (id, d))
        PARTITION BY RANGE (d);
    CREATE INDEX ON e (d);
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER t AFTER INSERT ON e FOR EACH ROW EXECUTE FUNCTION f();
    CREATE TABLE e1 PARTITION OF e FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE TABLE refers (id int, d date, FOREIGN KEY (id, d) REFERENCES e);
    """
    run(execute(empty_databases, "main", statements))
    snapshot = run(read_live_catalog(main_of(empty_databases)))
    parts = {key: fields for key, fields in snapshot.objects.items() if fields.get("of") == "table public.e1"}
    assert {key.kind for key in parts} == {"column", "constraint", "index", "trigger"}
    assert all(fields.get("inherited") == "yes" for fields in parts.values())
    assert names(snapshot, "constraint") >= {"public.refers.refers_id_d_fkey"}
    assert [name for name in names(snapshot, "constraint") if name.startswith("public.refers")] == [
        "public.refers.refers_id_d_fkey"
    ]


def test_what_cannot_be_described_is_counted(empty_databases: Databases) -> None:
    statements = """
    CREATE TYPE blob2;
    CREATE FUNCTION blob2_in(cstring) RETURNS blob2 LANGUAGE internal IMMUTABLE STRICT AS 'textin';
    CREATE FUNCTION blob2_out(blob2) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
    CREATE TYPE blob2 (INPUT = blob2_in, OUTPUT = blob2_out);
    """
    run(execute(empty_databases, "main", statements))
    assert run(read_live_catalog(main_of(empty_databases))).unmodelled == {"base type": 1}


def test_secrets_among_a_servers_options_are_hidden(shop: Databases) -> None:
    statements = """
    CREATE FOREIGN DATA WRAPPER w;
    CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'h', "my-Password" E'hush\\nhush', port '1');
    """
    run(execute(shop, "main", statements))
    server = run(read_live_catalog(main_of(shop))).objects["foreign server", "s"]
    assert re.fullmatch(r"host=h\nmy-Password=<hidden [0-9a-f]{2}>\nport=1", server["options"] or "")


def test_what_is_hidden_by_another_object_of_its_name_is_counted(
    shop: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(*arguments: Any) -> queries.Statements:
        statements = catalog(*arguments)
        columns = statements.tables[0]
        again = f"SELECT kind, object, 'another' AS type FROM ({columns}) c WHERE object = 'public.usr.a'"
        return statements._replace(tables=(*statements.tables, again))

    catalog = queries.catalog
    monkeypatch.setattr(queries, "catalog", twice)
    snapshot = run(read_live_catalog(main_of(shop)))
    assert snapshot.unmodelled == {"namesake of column public.usr.a": 1}


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (
            "app=arwdDxtm/app",
            "<owner>: INSERT, SELECT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER, MAINTAIN",
        ),
        ("=r/app", "public: SELECT"),
        ("reader=r*w/app", "reader: SELECT*, UPDATE"),
        ("reader=r/other", "reader: SELECT by other"),
        ('"o""dd=/ name"=X/app', '"o""dd=/ name": EXECUTE'),
    ],
)
def test_privileges_in_words(item: str, words: str) -> None:
    assert format_acl([item], "app", "app") == words


async def _rich(url: str) -> None:
    """Compare objects of every kind in the cases, read by roles with few privileges."""
    connection = await asyncpg.connect(url)
    try:
        await load(connection, [case for case in LOCAL if case.min_pg <= 15])
        await connection.execute(
            "CREATE ROLE visitor LOGIN; GRANT SELECT (age) ON grant_column.acct TO visitor;"
            "CREATE TABLE printed (i interval DEFAULT '1 day 2 hours',"
            "t timestamptz DEFAULT '2024-01-01 00:00+00',"
            "f float8 DEFAULT '0.30000000000000004', b bytea DEFAULT '\\xff');"
            "CREATE TABLE public.alembic_version (version_num text); REVOKE ALL ON SCHEMA public FROM PUBLIC;"
            "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
            "CREATE USER MAPPING FOR visitor SERVER s OPTIONS (password 'secret')"
        )
    finally:
        await connection.close()


async def _taken(url: str, **settings: str) -> Snapshot:
    connection = await asyncpg.connect(url, server_settings=settings)
    try:
        return await take(connection)
    finally:
        await connection.close()


HOSTILE = {
    "search_path": "col_add, pg_catalog",
    "datestyle": "SQL, DMY",
    "intervalstyle": "iso_8601",
    "timezone": "Asia/Tokyo",
    "extra_float_digits": "0",
    "bytea_output": "escape",
    "quote_all_identifiers": "on",
    "default_transaction_read_only": "on",
    "standard_conforming_strings": "on",
}


def test_everybody_everywhere_sees_the_same() -> None:
    """A superuser, a role that may only connect, other session settings, and a standby."""
    with start_binaries(any_major()) as (cluster, url):
        run(_rich(url))
        mine = run(_taken(url))
        assert len(mine.objects) > 1000
        assert "secret" not in repr(mine)
        assert changes_between(mine, run(_taken(url, **HOSTILE))) == ()
        assert changes_between(mine, run(_taken(url.replace("postgres@", "visitor@")))) == ()
        cluster.stop()
        (cluster.data / "standby.signal").touch()
        shutil.chown(cluster.data / "standby.signal", cluster.account.uid)
        cluster.start()
        assert changes_between(mine, run(_taken(url))) == ()


@pytest.mark.thorough
def test_a_lock_that_a_standby_replays_is_nobody_to_terminate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A primary that crashed in a migration continues as a standby with the same WAL."""
    monkeypatch.setattr(read_live, "ATTEMPTS", 1)

    async def crash_within_a_migration(url: str, pid: int) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE held (a int CHECK (a > 0))")
        await connection.execute("BEGIN; ALTER TABLE held ADD COLUMN b int; SELECT pg_switch_wal()")
        os.kill(pid, signal.SIGQUIT)
        with suppress(asyncpg.PostgresError, OSError):
            await connection.fetch("SELECT pg_sleep(60)")
        connection.terminate()

    with start_binaries(any_major()) as (cluster, url):
        postmaster = Postmaster.on(cluster.data)
        assert postmaster is not None
        run(crash_within_a_migration(url, postmaster.pid))
        cluster.stop()
        (cluster.data / "standby.signal").touch()
        shutil.chown(cluster.data / "standby.signal", cluster.account.uid)
        cluster.start()
        deployed = Deployment(load_settings(environ={"DATABASE_URL": url}), "main")
        with pytest.raises(LockNotObtained, match="of its primary") as caught:
            run(read_live_catalog(deployed.databases["main"]))
    assert "pg_terminate_backend" not in (caught.value.hint or "")


def test_capturing_leaves_the_session_as_it_was(shop: Databases) -> None:
    async def scenario() -> None:
        async with shop.connect("main") as connection:
            asked = "SELECT current_setting('search_path'), current_setting('jit')"
            before = await connection.fetchrow(asked)
            alone = await take(connection)
            async with connection.transaction():
                await connection.execute("CREATE TABLE fresh (a int)")
                within = await take(connection)
                assert await connection.fetchrow(asked) == before
                await connection.execute("DROP TABLE fresh")
            assert await connection.fetchrow(asked) == before
            held = "SELECT count(*) FROM pg_locks WHERE relation = 'usr'::regclass AND pid = pg_backend_pid()"
            assert await connection.fetchval(held) == 0
        assert [str(change.key) for change in changes_between(alone, within)] == [
            "column public.fresh.a",
            "table public.fresh",
        ]

    run(scenario())


def test_ddl_in_the_middle_never_mixes_two_states(shop: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another session commits between the transaction snapshot and the printing of definitions."""
    database = main_of(shop)
    captured = read_live.read_catalog
    remaining = [1]

    async def interrupted(*arguments: Any, **options: Any) -> Snapshot:
        if remaining[0]:
            remaining[0] -= 1
            column = ("b", "bb") if remaining[0] % 2 == 0 else ("bb", "b")
            await execute(shop, "main", f"ALTER TABLE usr RENAME COLUMN {column[0]} TO {column[1]}")
        return await captured(*arguments, **options)

    monkeypatch.setattr(read_live, "read_catalog", interrupted)
    monkeypatch.setattr(read_live, "PAUSE", 0)
    once = run(read_live_catalog(database))
    monkeypatch.setattr(read_live, "read_catalog", captured)
    assert changes_between(once, run(read_live_catalog(database))) == ()
    assert "public.usr.bb" in names(once, "column")
    monkeypatch.setattr(read_live, "read_catalog", interrupted)
    remaining[0] = 100
    with pytest.raises(LockNotObtained, match="could not compare"):
        run(read_live_catalog(database))


def test_ddl_alongside_never_yields_a_wrong_snapshot(
    shop: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = main_of(shop)
    monkeypatch.setattr(read_live, "PAUSE", 0.01)

    async def scenario() -> None:
        right = [await read_live_catalog(database)]
        await execute(shop, "main", "ALTER TABLE usr RENAME COLUMN b TO bb")
        right.append(await read_live_catalog(database))
        stop = asyncio.Event()

        async def loop() -> None:
            async with shop.connect("main") as connection:
                while not stop.is_set():
                    for old, new in (("bb", "b"), ("b", "bb")):
                        await connection.execute(f"ALTER TABLE usr RENAME COLUMN {old} TO {new}")
                        await asyncio.sleep(0.1)

        ddl = asyncio.create_task(loop())
        try:
            for _ in range(6):
                try:
                    snapshot = await read_live_catalog(database)
                except LockNotObtained:
                    continue
                assert snapshot.objects in [expected.objects for expected in right]
        finally:
            stop.set()
            await ddl

    run(scenario())


def test_rows_written_alongside_are_no_reason_to_give_up(
    shop: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = read_live.read_catalog

    async def interrupted(*arguments: Any, **options: Any) -> Snapshot:
        await execute(shop, "main", "INSERT INTO grp (code) VALUES ('x')", "DELETE FROM grp")
        await others[0].execute("CREATE TEMPORARY TABLE t (a serial PRIMARY KEY)")
        return await captured(*arguments, **options)

    async def scenario() -> Snapshot:
        async with shop.connect("main") as connection:
            others.append(connection)
            return await read_live_catalog(main_of(shop))

    others: list[asyncpg.Connection] = []
    monkeypatch.setattr(read_live, "read_catalog", interrupted)
    monkeypatch.setattr(read_live, "ATTEMPTS", 1)
    assert run(scenario()).objects


@pytest.mark.thorough
def test_an_open_migration_is_named_and_not_waited_for(
    shop: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_live, "ATTEMPTS", 2)

    async def scenario() -> tuple[MigrateError, int]:
        async with shop.connect("main") as connection:
            async with connection.transaction():
                await connection.execute("ALTER TABLE usr ADD COLUMN later int")
                with pytest.raises(LockNotObtained) as caught:
                    async with asyncio.timeout(30):
                        await read_live_catalog(main_of(shop))
            return caught.value, connection.get_server_pid()

    error, pid = run(scenario())
    assert error.status is ExitCode.LOCKED
    assert error.database == "main"
    assert f"pid {pid} " in error.message
    assert "public.usr" in error.message
    assert "55P03" in (error.detail or "")
    assert "2 times" in (error.state or "")


INDEXED = """
CREATE SCHEMA "Odd one"; CREATE DOMAIN code AS text; CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE "select" (
    id int, "User" varchar(9), t text, c text COLLATE "C", d code, m mood, n numeric(9, 2), at timestamptz,
    j jsonb, tags text[], name name, ch char(3), few varchar[]
);
CREATE TABLE "Odd one".plain (id int, t text);
CREATE TABLE parts (id int, t varchar) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (9);
CREATE OPERATOR CLASS backwards FOR TYPE int USING btree AS
    OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 btint4cmp(int, int);
CREATE INDEX ON "Odd one".plain (t, id);
CREATE INDEX ON parts (t);
CREATE INDEX ON ONLY parts (id);
CREATE INDEX ON parts_1 (id, t);
CREATE UNIQUE INDEX "Unique" ON "select" (id);
"""
# What is behind CREATE INDEX ON "select".
INDEXES = """
(id)
("User")
(t, "User" DESC, id DESC NULLS LAST, at NULLS FIRST)
(m)
(d)
(name)
(ch)
(tags)
(few)
(n, at)
(id, id)
(c)
(c COLLATE "POSIX")
(t COLLATE "C")
(t text_pattern_ops)
("User" varchar_pattern_ops)
(id backwards)
(lower(t))
(id, (id + 1))
(id) WHERE id > 3
(t) WHERE t IN ('a', 'b') AND "User" <> 'x'
(id) INCLUDE (t)
(id) WITH (fillfactor = 70)
USING hash (t)
USING gin (j)
USING gin (tags)
USING brin (at)
"""


def test_definitions_of_indexes_are_those_that_postgresql_prints(empty_databases: Databases) -> None:
    """The definitions that the query composes equal those of pg_get_indexdef."""
    statements = [f'CREATE INDEX ON "select" {columns}' for columns in INDEXES.strip().splitlines()]
    run(execute(empty_databases, "main", INDEXED, *statements))

    async def printed() -> dict[str, str]:
        async with empty_databases.connect("main") as connection:
            await connection.execute("SET search_path = pg_catalog")
            asked = "SELECT format('%I.%I', schemaname, indexname), indexdef FROM pg_indexes "
            return dict(await connection.fetch(asked + "WHERE schemaname IN ('public', 'Odd one')"))

    snapshot = run(read_live_catalog(main_of(empty_databases)))
    assert {key.identity: fields["definition"] for key, fields in snapshot.of_kind("index")} == run(printed())


NO_CHANGE = [
    "VACUUM (FULL) usr",
    "VACUUM (FREEZE, ANALYZE)",
    "ANALYZE",
    "INSERT INTO usr (a, b) VALUES (1, 2); DELETE FROM usr",
    "SELECT nextval('usr_id_seq')",
    "TRUNCATE usr",
    "REINDEX TABLE usr",
    "REINDEX TABLE CONCURRENTLY usr",
    "REFRESH MATERIALIZED VIEW totals",
    "CREATE TEMPORARY TABLE t (id serial PRIMARY KEY, a int DEFAULT 3 CHECK (a > 0))",
    "COMMENT ON TABLE t IS 'temporary'",
    "CREATE INDEX passing ON usr (b); DROP INDEX passing",
]


CHANGES = [
    "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int)",
    'CREATE COLLATION plain FROM "C"',
    "CREATE CAST (point AS bool) WITH INOUT",
    "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
    "CREATE OPERATOR FAMILY family USING btree",
    "ALTER OPERATOR FAMILY family USING btree ADD OPERATOR 1 < (int, int), FUNCTION 1 btint4cmp(int, int)",
    "CREATE OPERATOR CLASS sorted FOR TYPE int USING btree AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int, int)",
    "CREATE CONVERSION latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
    "CREATE ACCESS METHOD pile TYPE TABLE HANDLER heap_tableam_handler",
    "CREATE TEXT SEARCH CONFIGURATION words (COPY = simple)",
    "ALTER TEXT SEARCH CONFIGURATION words DROP MAPPING FOR email",
    "CREATE TEXT SEARCH DICTIONARY dictionary (TEMPLATE = simple)",
    (
        "CREATE TEXT SEARCH PARSER parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, "
        "LEXTYPES = prsd_lextype)"
    ),
    "CREATE TEXT SEARCH TEMPLATE template (LEXIZE = dsimple_lexize)",
    "CREATE TYPE span AS RANGE (SUBTYPE = int)",
]


def test_a_fingerprint_changes_with_each_kind_of_object(empty_databases: Databases) -> None:
    async def scenario() -> list[str]:
        missed = []
        async with empty_databases.connect("main") as connection:
            everything = queries.fingerprint(connection.get_server_version().major)
            last = await fingerprint(connection, "alembic_version")
            for statement in CHANGES:
                await connection.execute(statement)
                now = await fingerprint(connection, "alembic_version")
                # Catalogs without such rows are left out, which changes nothing.
                async with queries.read_transaction(connection, queries.PINS):
                    whole = await connection.fetchval(everything, ["alembic_version", *OWN_TABLES])
                if now == last or now != whole:
                    missed.append(statement)
                last = now
        return missed

    assert run(scenario()) == []


def test_a_fingerprint_is_of_the_schema_alone(shop: Databases) -> None:
    async def scenario() -> list[str]:
        changed = []
        async with shop.connect("main") as connection:
            await connection.execute(
                "COMMENT ON INDEX usr_a IS 'partial'; ALTER TABLE usr ADD t text DEFAULT 'quick';"
                "CREATE POLICY everybody ON usr; CREATE TYPE mood AS ENUM ('fine')"
            )
            first = await fingerprint(connection, "alembic_version")
            for statement in NO_CHANGE:
                await connection.execute(statement)
                if await fingerprint(connection, "alembic_version") != first:
                    changed.append(statement)
            async with connection.transaction(readonly=True):
                assert await fingerprint(connection, "alembic_version") == first
            # Empty catalogs are left out, which changes nothing.
            everything = queries.fingerprint(connection.get_server_version().major)
            assert await connection.fetchval(everything, ["alembic_version", *OWN_TABLES]) == first
        return changed

    assert run(scenario()) == []
