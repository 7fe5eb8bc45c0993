"""Probes of live rows, with rows that violate them and rows that do not; sizes, blockers and estimates."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from circle_migrate.config.load import load
from circle_migrate.postgres.catalog.read import read_catalog
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op, Snapshot, changes_between
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import split_identity
from circle_migrate.safety.live_database.catalog import (
    CONFLICTS,
    find_blockers,
    object_usage,
    relation_sizes,
)
from circle_migrate.safety.live_database.probe_context import LIMIT, count_query
from circle_migrate.safety.live_database.probes import derive_probes, run_probes, write_plans
from circle_migrate.safety.live_database.record import (
    Answer,
    Blocker,
    ObjectUsage,
    Probe,
    ProbeKind,
    Size,
)
from circle_migrate.safety.trace.record import Lock, Task, TracedStatement, Work
from tests.deployments import VARIABLES, deployment, environment, execute
from tests.safety.live_cases import CASES, Case
from tests.servers import Databases, Server, created_pair, run

pytestmark = pytest.mark.thorough

_LIVE, _SCRATCH = "main", "credentials"

_EMPTY = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT quote_ident(nspname) FROM pg_namespace
                WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    LOOP EXECUTE 'DROP SCHEMA ' || name || ' CASCADE'; END LOOP;
END $$;
CREATE SCHEMA public;
"""


@pytest.fixture(scope="module")
def pair(server: Server) -> Iterator[Databases]:
    """A live and a scratch database, which the tests empty before use."""
    with created_pair(server) as databases:
        yield databases


@pytest.fixture
def live(pair: Databases) -> Database:
    """The empty live database."""
    run(reset(pair, _LIVE))
    return deployment(pair).databases[_LIVE]


async def reset(pair: Databases, name: str, *statements: str) -> None:
    """Empty a database, then run statements in it."""
    async with pair.connect(name) as connection:
        await connection.execute(_EMPTY)
        for statement in filter(None, statements):
            await connection.execute(statement)


async def captured(connection: asyncpg.Connection) -> Snapshot:
    return await read_catalog(
        connection, _LIVE, "scratch", version_table="alembic_version", version_table_schema=None
    )


def inside(case: Case, text: str) -> str:
    """Return statements that run in the schema of a case."""
    return f"SET search_path = {case.schema}; {text}"


def belongs(name: str, case: Case) -> bool:
    return split_identity(name)[0] in case.schemas


async def known(pair: Databases) -> list[Case]:
    """Return the cases for the server's version."""
    async with pair.connect(_LIVE) as connection:
        major = connection.get_server_version().major
    return [case for case in CASES if case.since <= major]


async def traces(pair: Databases, cases: list[Case]) -> dict[str, list[TracedStatement]]:
    """Return the traced plans of the cases. All first statements share a snapshot, as snapshots are slow."""
    setups = [f"CREATE SCHEMA {case.schema}; {inside(case, case.setup)}" for case in cases]
    await reset(pair, _SCRATCH, *setups)
    traced: dict[str, list[TracedStatement]] = {case.id: [] for case in cases}
    async with pair.connect(_SCRATCH) as connection:
        before = await captured(connection)
        for turn in range(max(len(case.plan) for case in cases)):
            running = [case for case in cases if turn < len(case.plan)]
            for case in running:
                await connection.execute(inside(case, case.plan[turn]))
            after = await captured(connection)
            changes = changes_between(before, after)
            for case in running:
                own = tuple(change for change in changes if belongs(change.key.identity, case))
                traced[case.id].append(TracedStatement(_LIVE, 1, f"r{turn}", case.plan[turn], changes=own))
            before = after
    return traced


async def answered(
    pair: Databases, cases: list[Case], traced: dict[str, list[TracedStatement]], *, clean: bool
) -> dict[str, list[Answer]]:
    """Return the answers of the live database for the cases with broken or clean rows."""
    rows = {case.id: case.clean if clean else case.broken for case in cases}
    setups = [
        f"CREATE SCHEMA {case.schema}; {inside(case, f'{case.setup}; {rows[case.id]}')}" for case in cases
    ]
    await reset(pair, _LIVE, *setups)
    database = deployment(pair).databases[_LIVE]
    usage = await object_usage(database)
    derived = {}
    for case in cases:
        sequences = {name: column for name, column in usage.sequences.items() if belongs(name, case)}
        derived[case.id] = derive_probes(traced[case.id], {_LIVE: replace(usage, sequences=sequences)})
    answers = await run_probes(database, [probe for of_case in derived.values() for probe in of_case])
    return {
        name: [answer for answer in answers if answer.probe in of_case] for name, of_case in derived.items()
    }


Answers = dict[str, list[Answer]]


@pytest.fixture(scope="module")
def all_answers(pair: Databases) -> tuple[Answers, Answers]:
    """Return the answers with broken rows, and with clean rows."""
    cases = run(known(pair))
    traced = run(traces(pair, cases))
    return run(answered(pair, cases, traced, clean=False)), run(answered(pair, cases, traced, clean=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_broken_rows_are_counted(case: Case, all_answers: tuple[Answers, Answers]) -> None:
    if case.id not in all_answers[0]:
        pytest.skip(f"PostgreSQL {case.since} and newer")
    broken, clean = (answers[case.id] for answers in all_answers)
    counts = [
        (answer.probe.kind.value, answer.probe.relation, answer.probe.subject, answer.count)
        for answer in broken
    ]
    assert counts == case.expected, [answer.why for answer in broken]
    assert all((answer.count is None) == bool(answer.why) for answer in broken)
    if case.clean:
        assert {answer.count for answer in clean if answer.probe.query} <= {0}, [
            answer.why for answer in clean
        ]


BIG = "public.big"
COUNT = Probe(ProbeKind.ROWS, BIG, BIG, count_query(BIG, ""))
READ = Probe(ProbeKind.NULLS, BIG, f"{BIG}.n", f"SELECT count(*) FROM {BIG} WHERE n IS NULL")
MAKE_BIG = f"CREATE TABLE {BIG} AS SELECT g AS n, 'secret' || g AS word FROM generate_series(1, 200000) g"


@asynccontextmanager
async def second_session(pair: Databases, *statements: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a second session, in a transaction that has run these statements."""
    async with pair.connect(_LIVE) as connection:
        await connection.execute("SET application_name = 'report'")
        await connection.execute("BEGIN")
        for statement in statements:
            await connection.execute(statement)
        yield connection
        await connection.execute("ROLLBACK")


async def run_probe(database: Database, probe: Probe, **limits: float) -> Answer:
    [answer] = await run_probes(database, [probe], **limits)
    return answer


def test_counting_stops_at_the_limit(pair: Databases, live: Database) -> None:
    run(reset(pair, _LIVE, MAKE_BIG))
    assert run(run_probe(live, COUNT)) == Answer(COUNT, LIMIT, more=True)


def test_a_slow_probe_is_unknown_and_the_next_one_is_answered(pair: Databases, live: Database) -> None:
    run(reset(pair, _LIVE, MAKE_BIG))
    slow = replace(READ, query=f"SELECT count(pg_sleep(1)) FROM {BIG}")
    late, early = run(run_probes(live, [slow, COUNT], seconds=0.1))
    assert (late.count, late.why) == (None, "no answer within 0.1 s")
    assert early.count == LIMIT


def test_probes_after_the_total_time_are_unknown(pair: Databases, live: Database) -> None:
    answer = run(run_probe(live, COUNT, total=0))
    assert answer.count is None
    assert "took all of the time" in answer.why


def test_a_locked_table_is_unknown(pair: Databases, live: Database) -> None:
    async def locked() -> Answer:
        await reset(pair, _LIVE, f"CREATE TABLE {BIG} (n int)")
        async with second_session(pair, f"LOCK TABLE {BIG} IN ACCESS EXCLUSIVE MODE"):
            return await run_probe(live, READ)

    answer = run(locked())
    assert (answer.count, answer.why) == (None, "another session has locked the table")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT count(*) FROM public.missing", 'relation "public.missing" does not exist'),
        ("SELECT public.pg_input_is_valid('', '')", "PostgreSQL 16"),
        ("SELECT word::int FROM public.big", "a value made the query fail (SQLSTATE 22P02)"),
        ("DO $$ BEGIN RAISE EXCEPTION 'secret'; END $$", "the query failed (SQLSTATE P0001)"),
        ("CREATE TABLE public.made ()", "read-only transaction"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "connection"),
    ],
)
def test_a_failure_is_unknown_and_quotes_no_value(
    pair: Databases, live: Database, query: str, message: str
) -> None:
    run(reset(pair, _LIVE, f"CREATE TABLE {BIG} AS SELECT 'secret' AS word"))
    answer = run(run_probe(live, replace(READ, query=query)))
    assert answer.count is None
    assert message in answer.why
    assert "secret" not in answer.why


@asynccontextmanager
async def as_role(pair: Databases, *grants: str) -> AsyncIterator[Database]:
    """Open the live database as a role with these grants only, in which `visitor` is its name."""
    role = f"visitor_{secrets.token_hex(4)}"
    async with pair.connect(_LIVE) as connection:
        await connection.execute(f"CREATE ROLE {role}")
        try:
            for grant in grants:
                await connection.execute(grant.replace("visitor", role))
            query = "&" if "?" in pair.urls[_LIVE] else "?"
            url = f"{pair.urls[_LIVE]}{query}options=-crole%3D{role}"
            yield Deployment(load(environ={**environment(pair), VARIABLES[_LIVE]: url})).databases[_LIVE]
        finally:
            await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_probes_without_privilege_are_unknown(pair: Databases) -> None:
    """A table without SELECT is not empty, nor one whose rows a policy hides."""
    allowed = replace(COUNT, relation="public.policed", query="SELECT count(*) FROM public.policed")

    async def scenario() -> tuple[Answer, ...]:
        policed = "CREATE TABLE policed AS SELECT 1 AS n; ALTER TABLE policed ENABLE ROW LEVEL SECURITY"
        await reset(pair, _LIVE, f"CREATE TABLE {BIG} (n int)", policed)
        grants = "GRANT USAGE ON SCHEMA public TO visitor; GRANT SELECT ON policed TO visitor"
        async with as_role(pair, grants) as database:
            return await run_probes(database, [COUNT, allowed])

    denied, policed = run(scenario())
    assert denied.count is None
    assert "permission denied for table big" in denied.why
    assert policed.count is None
    assert "row-level security" in policed.why


def test_partitions_are_probed_with_their_parent_only(pair: Databases, live: Database) -> None:
    schema = "CREATE TABLE t (a int) PARTITION BY LIST (a); CREATE TABLE s PARTITION OF t FOR VALUES IN (1)"

    async def scenario() -> tuple[int, list[str]]:
        await reset(pair, _SCRATCH, schema)
        async with pair.connect(_SCRATCH) as connection:
            before = await captured(connection)
            await connection.execute("ALTER TABLE t ALTER a SET NOT NULL")
            changes = changes_between(before, await captured(connection))
        await reset(pair, _LIVE, schema)
        statement = TracedStatement(_LIVE, 1, "r", "ALTER TABLE t ALTER a SET NOT NULL", changes=changes)
        derived = derive_probes([statement])
        return len(derived), [answer.probe.relation for answer in await run_probes(live, derived)]

    assert run(scenario()) == (2, ["public.t"])


def test_truncate_in_the_trace_is_probed() -> None:
    emptied = TracedStatement(_LIVE, 1, "r", "SELECT f()", work=(Work(Task.TRUNCATE, "public.t"),))
    assert [(probe.kind, probe.relation) for probe in derive_probes([emptied])] == [
        (ProbeKind.ROWS, "public.t")
    ]


def test_probes_have_their_database_and_statement(pair: Databases) -> None:
    traced = run(traces(pair, [case for case in CASES if case.id == "fixed-earlier"]))["fixed-earlier"]
    elsewhere = replace(traced[0], database="another")
    [probe] = derive_probes([elsewhere, *traced])
    assert (probe.database, probe.statement, probe.fixed_by) == (_LIVE, 2, "r0")
    [probe] = derive_probes([elsewhere, traced[1]])
    assert probe.fixed_by == ""


def test_rows_changed_under_a_lock_are_recognised(pair: Databases) -> None:
    """A lock or the work in the trace shows a write that the text does not show."""
    [_, last] = run(traces(pair, [case for case in CASES if case.id == "fixed-earlier"]))["fixed-earlier"]
    silent = TracedStatement(_LIVE, 1, "r0", "SELECT fix()")
    table = "in_fixed_earlier.t"
    for hint in ({"locks": {table: Lock.RowExclusive}}, {"work": (Work(Task.UPDATE, table),)}):
        assert derive_probes([replace(silent, **hint), last])[0].fixed_by == "r0"
    assert derive_probes([silent, last])[0].fixed_by == ""


def test_without_the_live_catalog_columns_of_domains_and_sequences_are_unknown(pair: Databases) -> None:
    cases = [case for case in CASES if case.id in {"domain", "domain-not-null", "restarted"}]
    for traced in run(traces(pair, cases)).values():
        [probe] = derive_probes(traced)
        assert probe.query == ""
        assert "not known" in probe.unknown


def test_scanned_rows_of_an_attached_table_may_be_out_of_bounds(pair: Databases) -> None:
    [traced] = run(traces(pair, [case for case in CASES if case.id == "attached"]))["attached"]
    read = replace(traced, work=(Work(Task.SCAN, "in_attached.s"),))
    extra = set(derive_probes([read])) - set(derive_probes([traced]))
    assert {(probe.kind, probe.relation, bool(probe.unknown)) for probe in extra} == {
        (ProbeKind.VIOLATIONS, "in_attached.s", True)
    }


def test_rows_of_a_default_partition_may_belong_to_a_new_one() -> None:
    fields = {"partition_of": (None, "public.t"), "partition_bound": (None, "FOR VALUES IN (1)")}
    created = Change(Op.ADDED, ObjectKey("table", "public.s"), fields)
    read = Work(Task.SCAN, "public.d")
    [probe] = derive_probes(
        [TracedStatement(_LIVE, 1, "r0", "CREATE TABLE s ...", changes=(created,), work=(read,))]
    )
    assert (probe.kind, probe.relation) == (ProbeKind.VIOLATIONS, "public.d")
    assert "default partition" in probe.unknown
    unread = TracedStatement(_LIVE, 1, "r0", "CREATE TABLE s ...", changes=(created,))
    assert derive_probes([unread]) == ()


PARTS = """
CREATE TABLE parted (n int) PARTITION BY LIST (n);
CREATE TABLE part1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE part2 PARTITION OF parted FOR VALUES IN (2);
CREATE TABLE "Odd ""name" (n int PRIMARY KEY);
INSERT INTO parted SELECT 1 + g % 2 FROM generate_series(1, 3000) g;
INSERT INTO "Odd ""name" SELECT generate_series(1, 2000);
CREATE TABLE nothing (n int);
"""
PART, PARTED, ODD = "public.part1", "public.parted", 'public."Odd ""name"'


def test_written_rows_are_estimated_and_nothing_is_written(pair: Databases, live: Database) -> None:
    """A statement that cannot be planned does not affect the others."""
    created = "DROP TABLE IF EXISTS planned; CREATE TABLE planned (id int, note text)"
    filled = "INSERT INTO planned SELECT g, 'x' FROM generate_series(1, 4000) g"
    run(execute(pair, "main", created, filled, "ANALYZE planned"))
    statements = [
        "DELETE FROM planned WHERE id > 0",
        "DELETE FROM not_made_yet",
        "UPDATE planned SET note = 'y'",
        "SELECT 1",
        "UPDATE planned SET note = $1 WHERE id <> $2",
        "UPDATE planned SET note = $1::text WHERE id = $2",
        "UPDATE planned SET note = 'z'; COMMIT; DELETE FROM planned",
    ]
    result = run(write_plans(live, statements))
    rows = [plan and plan.rows for plan in (result.get((live.name, sql)) for sql in statements)]
    assert result[live.name, statements[0]].scanned == {"planned"}
    assert (rows[1], rows[2], rows[3], rows[5], rows[6]) == (None, 4000, None, 1, None)
    assert all(3000 < (rows[index] or 0) <= 4000 for index in (0, 4))
    assert run(relation_sizes(live, ["public.planned"]))["public.planned"].rows == 4000


def test_sizes(pair: Databases, live: Database) -> None:
    run(reset(pair, _LIVE, PARTS))
    before = run(relation_sizes(live, [PARTED, PART, ODD, "public.nothing", "public.missing"]))
    assert before.keys() == {PARTED, PART, ODD, "public.nothing"}
    assert before["public.nothing"] == Size("public.nothing", 0, 0)
    assert before[ODD].rows in (None, 2000)  # the rows written are counted a moment later
    assert before[ODD].bytes >= 2000 * 28
    assert before[ODD].index_bytes > 0
    run(execute(pair, _LIVE, "ANALYZE"))
    after = run(relation_sizes(live))
    assert after.keys() == before.keys() | {"public.part2"}
    assert (after[ODD].rows, after[PARTED].rows, after[PART].rows) == (2000, 3000, 1500)
    assert after[PARTED].bytes == after[PART].bytes + after["public.part2"].bytes
    assert run(relation_sizes(live, [])) == {}


def test_estimates_grow_with_the_table(pair: Databases, live: Database) -> None:
    run(reset(pair, _LIVE, PARTS))
    run(execute(pair, _LIVE, "ANALYZE", f"INSERT INTO {ODD} SELECT generate_series(2001, 20000)"))
    assert run(relation_sizes(live, [ODD]))[ODD].rows == pytest.approx(20000, rel=0.05)


def test_sizes_wait_for_no_lock(pair: Databases, live: Database) -> None:
    """A locked table has its size of the last ANALYZE, or none."""

    async def locked() -> dict[str, Size]:
        await reset(pair, _LIVE, PARTS, f"ANALYZE {PARTED}")
        async with second_session(pair, f"LOCK TABLE {PARTED}, {ODD} IN ACCESS EXCLUSIVE MODE"):
            return await relation_sizes(live, [PARTED, ODD])

    known = run(locked())
    assert known.keys() == {PARTED}
    assert known[PARTED].rows == 3000


def locks_of(blocking: tuple[Blocker, ...]) -> list[tuple[str, Lock | None]]:
    return [(blocker.relation, blocker.held) for blocker in blocking]


def test_sessions_that_hold_a_lock(pair: Databases, live: Database) -> None:
    async def scenario() -> list[tuple[Blocker, ...]]:
        await reset(pair, _LIVE, PARTS)
        async with second_session(pair, f"SELECT * FROM {ODD} LIMIT 1"):
            return [
                await find_blockers(live, {ODD: mode, PARTED: mode})
                for mode in (Lock.AccessExclusive, Lock.ShareUpdateExclusive)
            ]

    strong, weak = run(scenario())
    assert weak == ()
    assert locks_of(strong) == [(ODD, Lock.AccessShare)]
    assert "report" in strong[0].who
    assert "idle in transaction" in strong[0].who
    assert "SELECT" not in strong[0].who
    assert strong[0].since_seconds >= 0


def test_prepared_transactions(pair: Databases, live: Database) -> None:
    async def scenario() -> tuple[Blocker, ...]:
        await reset(pair, _LIVE, PARTS)
        async with pair.connect(_LIVE) as connection:
            await connection.execute(
                f"BEGIN; INSERT INTO {PARTED} VALUES (1); PREPARE TRANSACTION 'late one'"
            )
            try:
                return await find_blockers(live, {PARTED: Lock.Share, ODD: Lock.AccessExclusive})
            finally:
                await connection.execute("ROLLBACK PREPARED 'late one'")

    blocking = run(scenario())
    assert locks_of(blocking) == [(PARTED, Lock.RowExclusive)]
    assert blocking[0].who.startswith("prepared transaction late one of role ")


def test_a_concurrent_build_waits_for_writers_and_old_snapshots(pair: Databases, live: Database) -> None:
    async def scenario() -> list[tuple[Blocker, ...]]:
        await reset(pair, _LIVE, PARTS)
        locks = {ODD: Lock.ShareUpdateExclusive}
        async with (
            second_session(pair, f"INSERT INTO {ODD} VALUES (0)"),
            second_session(pair, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1"),
        ):
            return [await find_blockers(live, locks), await find_blockers(live, locks, [ODD])]

    without, concurrent = run(scenario())
    assert without == ()
    assert locks_of(concurrent) == [(ODD, Lock.RowExclusive), (ODD, None)]


def test_details_of_other_roles_are_hidden(pair: Databases) -> None:
    async def scenario() -> tuple[Blocker, ...]:
        await reset(pair, _LIVE, PARTS)
        async with second_session(pair, f"SELECT * FROM {ODD}"), as_role(pair) as database:
            return await find_blockers(database, {ODD: Lock.AccessExclusive})

    [blocker] = run(scenario())
    assert "hidden" in blocker.who
    assert blocker.since_seconds == 0


def test_lock_conflicts_are_those_of_the_server(pair: Databases) -> None:
    async def conflicts() -> dict[Lock, set[Lock]]:
        conflicting: dict[Lock, set[Lock]] = {mode: set() for mode in Lock}
        await reset(pair, _LIVE, "CREATE TABLE t ()")
        for held in Lock:
            async with (
                second_session(pair, f"LOCK TABLE t IN {held.sql} MODE"),
                second_session(pair) as second,
            ):
                for mode in Lock:
                    await second.execute("SAVEPOINT before")
                    try:
                        await second.execute(f"LOCK TABLE t IN {mode.sql} MODE NOWAIT")
                    except asyncpg.LockNotAvailableError:
                        conflicting[mode].add(held)
                    await second.execute("ROLLBACK TO before")
        return conflicting

    assert run(conflicts()) == CONFLICTS


def test_invalid_indexes_and_publications(pair: Databases, live: Database) -> None:
    async def scenario() -> ObjectUsage:
        await reset(
            pair,
            _LIVE,
            "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1); CREATE TABLE k (a int PRIMARY KEY)",
            "CREATE TABLE i (a int); CREATE PUBLICATION p FOR TABLE t, k",
            "CREATE PUBLICATION only_inserts FOR TABLE i WITH (publish = 'insert')",
        )
        async with pair.connect(_LIVE) as connection:
            with pytest.raises(asyncpg.UniqueViolationError):
                await connection.execute('CREATE UNIQUE INDEX CONCURRENTLY "I" ON t (a)')
        names = ["public.t", "public.k", "public.i"]
        usage = await object_usage(live, names, ["pg_monitor", "gone"])
        await execute(pair, _LIVE, "DROP PUBLICATION p, only_inserts")
        return usage

    usage = run(scenario())
    assert usage.invalid_indexes == (("public.t", 'public."I"'),)
    assert usage.published == {"public.k", "public.t"}
    assert list(usage.inherited_roles or ()) == ["pg_monitor"]
