"""Live facts: for each question a table that breaks it and one that keeps it, and what stays unknown."""

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
from circle_migrate.safety.live_database.blockers import CONFLICTS, blockers
from circle_migrate.safety.live_database.catalog import invalid_indexes, object_usage, published
from circle_migrate.safety.live_database.probes import probes
from circle_migrate.safety.live_database.query import run_probes
from circle_migrate.safety.live_database.question import LIMIT, counted
from circle_migrate.safety.live_database.record import (
    Answer,
    Blocker,
    InvalidIndex,
    Probe,
    ProbeKind,
    Published,
    Size,
)
from circle_migrate.safety.live_database.row_estimates import expected_rows
from circle_migrate.safety.live_database.sizes import sizes
from circle_migrate.safety.trace.record import Lock, Task, TracedStatement, Work
from tests.deployments import VARIABLES, deployment, environment, execute
from tests.safety.live_cases import CASES, Case
from tests.servers import Databases, Server, run

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
    """A live and a scratch database for all tests here, which empty them first."""
    databases = Databases(server)
    run(databases.create())
    yield databases
    run(databases.drop())


@pytest.fixture
def live(pair: Databases) -> Database:
    """The empty live database."""
    run(reset(pair, _LIVE))
    return deployment(pair).databases[_LIVE]


async def reset(pair: Databases, name: str, *statements: str) -> None:
    """Empty a database, then run statements in it."""
    async with pair.connect(name) as connection:
        await connection.execute(_EMPTY)
        for each in filter(None, statements):
            await connection.execute(each)


async def captured(connection: asyncpg.Connection) -> Snapshot:
    return await read_catalog(
        connection, _LIVE, "scratch", version_table="alembic_version", version_table_schema=None
    )


def inside(case: Case, text: str) -> str:
    """Statements that run in a case's own schema."""
    return f"SET search_path = {case.schema}; {text}"


def belongs(name: str, case: Case) -> bool:
    return split_identity(name)[0] in case.schemas


async def known(pair: Databases) -> list[Case]:
    """The cases for the server's version."""
    async with pair.connect(_LIVE) as connection:
        major = connection.get_server_version().major
    return [case for case in CASES if case.since <= major]


async def traces(pair: Databases, cases: list[Case]) -> dict[str, list[TracedStatement]]:
    """What each case's plan does, the first statements of all, then the second ones: a look is dear."""
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
                own = tuple(each for each in changes if belongs(each.key.identity, case))
                traced[case.id].append(TracedStatement(_LIVE, 1, f"r{turn}", case.plan[turn], changes=own))
            before = after
    return traced


async def answered(
    pair: Databases, cases: list[Case], traced: dict[str, list[TracedStatement]], *, clean: bool
) -> dict[str, list[Answer]]:
    """What live answers for each case with these rows."""
    rows = {case.id: case.clean if clean else case.broken for case in cases}
    setups = [
        f"CREATE SCHEMA {case.schema}; {inside(case, f'{case.setup}; {rows[case.id]}')}" for case in cases
    ]
    await reset(pair, _LIVE, *setups)
    database = deployment(pair).databases[_LIVE]
    used = await object_usage(database)
    asked = {}
    for case in cases:
        sequences = {name: column for name, column in used.sequences.items() if belongs(name, case)}
        asked[case.id] = probes(traced[case.id], {_LIVE: replace(used, sequences=sequences)})
    found = await run_probes(database, [each for one in asked.values() for each in one])
    return {name: [each for each in found if each.probe in one] for name, one in asked.items()}


Answers = dict[str, list[Answer]]


@pytest.fixture(scope="module")
def all_answers(pair: Databases) -> tuple[Answers, Answers]:
    """What live says to each case with rows in its way, and without."""
    cases = run(known(pair))
    traced = run(traces(pair, cases))
    return run(answered(pair, cases, traced, clean=False)), run(answered(pair, cases, traced, clean=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_rows_in_the_way_are_counted(case: Case, all_answers: tuple[Answers, Answers]) -> None:
    if case.id not in all_answers[0]:
        pytest.skip(f"PostgreSQL {case.since} and newer")
    broken, clean = (answers[case.id] for answers in all_answers)
    shown = [(each.probe.kind.value, each.probe.relation, each.probe.subject, each.count) for each in broken]
    assert shown == case.expected, [each.why for each in broken]
    assert all((each.count is None) == bool(each.why) for each in broken)
    if case.clean:
        assert {each.count for each in clean if each.probe.query} <= {0}, [each.why for each in clean]


BIG = "public.big"
COUNT = Probe(ProbeKind.ROWS, BIG, BIG, counted(BIG, ""))
READ = Probe(ProbeKind.NULLS, BIG, f"{BIG}.n", f"SELECT count(*) FROM {BIG} WHERE n IS NULL")
MAKE_BIG = f"CREATE TABLE {BIG} AS SELECT g AS n, 'secret' || g AS word FROM generate_series(1, 200000) g"


@asynccontextmanager
async def other(pair: Databases, *statements: str) -> AsyncIterator[asyncpg.Connection]:
    """A second session, in a transaction that has run these."""
    async with pair.connect(_LIVE) as connection:
        await connection.execute("SET application_name = 'report'")
        await connection.execute("BEGIN")
        for each in statements:
            await connection.execute(each)
        yield connection
        await connection.execute("ROLLBACK")


async def one(database: Database, probe: Probe, **limits: float) -> Answer:
    [answer] = await run_probes(database, [probe], **limits)
    return answer


def test_no_more_is_counted_than_needed(pair: Databases, live: Database) -> None:
    run(reset(pair, _LIVE, MAKE_BIG))
    assert run(one(live, COUNT)) == Answer(COUNT, LIMIT, more=True)


def test_an_answer_that_takes_too_long_is_unknown_and_the_next_one_is_had(
    pair: Databases, live: Database
) -> None:
    run(reset(pair, _LIVE, MAKE_BIG))
    slow = replace(READ, query=f"SELECT count(pg_sleep(1)) FROM {BIG}")
    late, early = run(run_probes(live, [slow, COUNT], seconds=0.1))
    assert (late.count, late.why) == (None, "no answer within 0.1 s")
    assert early.count == LIMIT


def test_what_there_is_no_time_for_is_unknown(pair: Databases, live: Database) -> None:
    answer = run(one(live, COUNT, total=0))
    assert answer.count is None
    assert "took all the time" in answer.why


def test_a_locked_table_is_unknown(pair: Databases, live: Database) -> None:
    async def locked() -> Answer:
        await reset(pair, _LIVE, f"CREATE TABLE {BIG} (n int)")
        async with other(pair, f"LOCK TABLE {BIG} IN ACCESS EXCLUSIVE MODE"):
            return await one(live, READ)

    answer = run(locked())
    assert (answer.count, answer.why) == (None, "another session has locked the table")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT count(*) FROM public.missing", 'relation "public.missing" does not exist'),
        ("SELECT public.pg_input_is_valid('', '')", "PostgreSQL 16"),
        ("SELECT word::int FROM public.big", "a value made the question fail (SQLSTATE 22P02)"),
        ("DO $$ BEGIN RAISE EXCEPTION 'secret'; END $$", "the query failed (SQLSTATE P0001)"),
        ("CREATE TABLE public.made ()", "read-only transaction"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "connection"),
    ],
)
def test_a_failure_is_unknown_and_quotes_no_value(
    pair: Databases, live: Database, query: str, words: str
) -> None:
    run(reset(pair, _LIVE, f"CREATE TABLE {BIG} AS SELECT 'secret' AS word"))
    answer = run(one(live, replace(READ, query=query)))
    assert answer.count is None
    assert words in answer.why
    assert "secret" not in answer.why


@asynccontextmanager
async def seen_as(pair: Databases, *grants: str) -> AsyncIterator[Database]:
    """The live database as a role without rights but these, in which `visitor` is its name."""
    role = f"visitor_{secrets.token_hex(4)}"
    async with pair.connect(_LIVE) as connection:
        await connection.execute(f"CREATE ROLE {role}")
        try:
            for each in grants:
                await connection.execute(each.replace("visitor", role))
            query = "&" if "?" in pair.urls[_LIVE] else "?"
            url = f"{pair.urls[_LIVE]}{query}options=-crole%3D{role}"
            yield Deployment(load(environ={**environment(pair), VARIABLES[_LIVE]: url})).databases[_LIVE]
        finally:
            await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_what_the_role_may_not_read_is_unknown(pair: Databases) -> None:
    """Neither a table without SELECT nor one whose rows a policy hides is empty."""
    allowed = replace(COUNT, relation="public.policed", query="SELECT count(*) FROM public.policed")

    async def asked() -> tuple[Answer, ...]:
        policed = "CREATE TABLE policed AS SELECT 1 AS n; ALTER TABLE policed ENABLE ROW LEVEL SECURITY"
        await reset(pair, _LIVE, f"CREATE TABLE {BIG} (n int)", policed)
        grants = "GRANT USAGE ON SCHEMA public TO visitor; GRANT SELECT ON policed TO visitor"
        async with seen_as(pair, grants) as database:
            return await run_probes(database, [COUNT, allowed])

    denied, policed = run(asked())
    assert denied.count is None
    assert "permission denied for table big" in denied.why
    assert policed.count is None
    assert "row-level security" in policed.why


def test_partitions_are_asked_with_their_parent_alone(pair: Databases, live: Database) -> None:
    schema = "CREATE TABLE t (a int) PARTITION BY LIST (a); CREATE TABLE s PARTITION OF t FOR VALUES IN (1)"

    async def asked() -> tuple[int, list[str]]:
        await reset(pair, _SCRATCH, schema)
        async with pair.connect(_SCRATCH) as connection:
            before = await captured(connection)
            await connection.execute("ALTER TABLE t ALTER a SET NOT NULL")
            changes = changes_between(before, await captured(connection))
        await reset(pair, _LIVE, schema)
        wanted = probes(
            [TracedStatement(_LIVE, 1, "r", "ALTER TABLE t ALTER a SET NOT NULL", changes=changes)]
        )
        return len(wanted), [each.probe.relation for each in await run_probes(live, wanted)]

    assert run(asked()) == (2, ["public.t"])


def test_work_of_the_trace_counts() -> None:
    emptied = TracedStatement(_LIVE, 1, "r", "SELECT f()", work=(Work(Task.TRUNCATE, "public.t"),))
    assert [(each.kind, each.relation) for each in probes([emptied])] == [(ProbeKind.ROWS, "public.t")]


def test_probes_say_where_they_come_from(pair: Databases) -> None:
    traced = run(traces(pair, [case for case in CASES if case.id == "mended"]))["mended"]
    elsewhere = replace(traced[0], database="another")
    [probe] = probes([elsewhere, *traced])
    assert (probe.database, probe.statement, probe.fixed_by) == (_LIVE, 2, "r0")
    [probe] = probes([elsewhere, traced[1]])
    assert probe.fixed_by == ""


def test_rows_changed_under_a_lock_are_recognised(pair: Databases) -> None:
    """Where the text does not say what is written, the lock or the work of the trace does."""
    [_, last] = run(traces(pair, [case for case in CASES if case.id == "mended"]))["mended"]
    silent = TracedStatement(_LIVE, 1, "r0", "SELECT mend()")
    table = "in_mended.t"
    for hint in ({"locks": {table: Lock.RowExclusive}}, {"work": (Work(Task.UPDATE, table),)}):
        assert probes([replace(silent, **hint), last])[0].fixed_by == "r0"
    assert probes([silent, last])[0].fixed_by == ""


def test_without_the_catalogue_of_live_its_users_are_unknown(pair: Databases) -> None:
    cases = [case for case in CASES if case.id in {"domain", "domain-not-null", "restarted"}]
    for traced in run(traces(pair, cases)).values():
        [probe] = probes(traced)
        assert probe.query == ""
        assert "not known" in probe.unknown


def test_attached_rows_that_are_read_may_lie_out_of_bounds(pair: Databases) -> None:
    [traced] = run(traces(pair, [case for case in CASES if case.id == "attached"]))["attached"]
    read = replace(traced, work=(Work(Task.SCAN, "in_attached.s"),))
    extra = set(probes([read])) - set(probes([traced]))
    assert {(each.kind, each.relation, bool(each.unknown)) for each in extra} == {
        (ProbeKind.VIOLATIONS, "in_attached.s", True)
    }


def test_rows_of_a_default_partition_may_belong_to_a_new_one() -> None:
    fields = {"partition_of": (None, "public.t"), "partition_bound": (None, "FOR VALUES IN (1)")}
    made = Change(Op.ADDED, ObjectKey("table", "public.s"), fields)
    read = Work(Task.SCAN, "public.d")
    [probe] = probes([TracedStatement(_LIVE, 1, "r0", "CREATE TABLE s ...", changes=(made,), work=(read,))])
    assert (probe.kind, probe.relation) == (ProbeKind.VIOLATIONS, "public.d")
    assert "default partition" in probe.unknown
    unread = TracedStatement(_LIVE, 1, "r0", "CREATE TABLE s ...", changes=(made,))
    assert probes([unread]) == ()


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


def test_the_planner_says_how_many_rows_are_written_and_nothing_is(pair: Databases, live: Database) -> None:
    """One that cannot be planned does not spoil the others."""
    made = "DROP TABLE IF EXISTS planned; CREATE TABLE planned (id int, note text)"
    filled = "INSERT INTO planned SELECT g, 'x' FROM generate_series(1, 4000) g"
    run(execute(pair, "main", made, filled, "ANALYZE planned"))
    statements = {
        1: "DELETE FROM planned WHERE id > 0",
        2: "DELETE FROM not_made_yet",
        3: "UPDATE planned SET note = 'y'",
        4: "SELECT 1",
        5: "UPDATE planned SET note = $1 WHERE id <> $2",
        6: "UPDATE planned SET note = $1::text WHERE id = $2",
        7: "UPDATE planned SET note = 'z'; COMMIT; DELETE FROM planned",
    }
    found = run(expected_rows(live, statements))
    assert set(found) == {1, 3, 5, 6}
    assert (found[3], found[6]) == (4000, 1)
    assert 3000 < found[5] <= 4000
    assert 3000 < found[1] <= 4000
    assert run(sizes(live, ["public.planned"]))["public.planned"].rows == 4000


def test_sizes(pair: Databases, live: Database) -> None:
    run(reset(pair, _LIVE, PARTS))
    before = run(sizes(live, [PARTED, PART, ODD, "public.nothing", "public.missing"]))
    assert before.keys() == {PARTED, PART, ODD, "public.nothing"}
    assert before["public.nothing"] == Size("public.nothing", 0, 0)
    assert before[ODD].rows in (None, 2000)  # the rows written are counted a moment later
    assert before[ODD].bytes >= 2000 * 28
    assert before[ODD].index_bytes > 0
    run(execute(pair, _LIVE, "ANALYZE"))
    after = run(sizes(live))
    assert after.keys() == before.keys() | {"public.part2"}
    assert (after[ODD].rows, after[PARTED].rows, after[PART].rows) == (2000, 3000, 1500)
    assert after[PARTED].bytes == after[PART].bytes + after["public.part2"].bytes
    assert run(sizes(live, [])) == {}


def test_estimates_grow_with_the_table(pair: Databases, live: Database) -> None:
    run(reset(pair, _LIVE, PARTS))
    run(execute(pair, _LIVE, "ANALYZE", f"INSERT INTO {ODD} SELECT generate_series(2001, 20000)"))
    assert run(sizes(live, [ODD]))[ODD].rows == pytest.approx(20000, rel=0.05)


def test_sizes_wait_for_no_lock(pair: Databases, live: Database) -> None:
    """What was never analysed cannot be told then; what was, as it was."""

    async def locked() -> dict[str, Size]:
        await reset(pair, _LIVE, PARTS, f"ANALYZE {PARTED}")
        async with other(pair, f"LOCK TABLE {PARTED}, {ODD} IN ACCESS EXCLUSIVE MODE"):
            return await sizes(live, [PARTED, ODD])

    found = run(locked())
    assert found.keys() == {PARTED}
    assert found[PARTED].rows == 3000


def short(found: tuple[Blocker, ...]) -> list[tuple[str, Lock | None]]:
    return [(each.relation, each.held) for each in found]


def test_sessions_that_hold_a_lock(pair: Databases, live: Database) -> None:
    async def asked() -> list[tuple[Blocker, ...]]:
        await reset(pair, _LIVE, PARTS)
        async with other(pair, f"SELECT * FROM {ODD} LIMIT 1"):
            return [
                await blockers(live, {ODD: mode, PARTED: mode})
                for mode in (Lock.AccessExclusive, Lock.ShareUpdateExclusive)
            ]

    strong, weak = run(asked())
    assert weak == ()
    assert short(strong) == [(ODD, Lock.AccessShare)]
    assert "report" in strong[0].who
    assert "idle in transaction" in strong[0].who
    assert "SELECT" not in strong[0].who
    assert strong[0].since_seconds >= 0


def test_prepared_transactions(pair: Databases, live: Database) -> None:
    async def asked() -> tuple[Blocker, ...]:
        await reset(pair, _LIVE, PARTS)
        async with pair.connect(_LIVE) as connection:
            await connection.execute(
                f"BEGIN; INSERT INTO {PARTED} VALUES (1); PREPARE TRANSACTION 'late one'"
            )
            try:
                return await blockers(live, {PARTED: Lock.Share, ODD: Lock.AccessExclusive})
            finally:
                await connection.execute("ROLLBACK PREPARED 'late one'")

    found = run(asked())
    assert short(found) == [(PARTED, Lock.RowExclusive)]
    assert found[0].who.startswith("prepared transaction late one of role ")


def test_a_concurrent_build_waits_for_writers_and_old_snapshots(pair: Databases, live: Database) -> None:
    async def asked() -> list[tuple[Blocker, ...]]:
        await reset(pair, _LIVE, PARTS)
        locks = {ODD: Lock.ShareUpdateExclusive}
        async with (
            other(pair, f"INSERT INTO {ODD} VALUES (0)"),
            other(pair, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1"),
        ):
            return [await blockers(live, locks), await blockers(live, locks, [ODD])]

    without, concurrent = run(asked())
    assert without == ()
    assert short(concurrent) == [(ODD, Lock.RowExclusive), (ODD, None)]


def test_what_other_roles_do_is_said_to_be_hidden(pair: Databases) -> None:
    async def asked() -> tuple[Blocker, ...]:
        await reset(pair, _LIVE, PARTS)
        async with other(pair, f"SELECT * FROM {ODD}"), seen_as(pair) as database:
            return await blockers(database, {ODD: Lock.AccessExclusive})

    [found] = run(asked())
    assert "hidden" in found.who
    assert found.since_seconds == 0


def test_locks_conflict_as_the_server_has_it(pair: Databases) -> None:
    async def refused() -> dict[Lock, set[Lock]]:
        found: dict[Lock, set[Lock]] = {mode: set() for mode in Lock}
        await reset(pair, _LIVE, "CREATE TABLE t ()")
        for held in Lock:
            async with other(pair, f"LOCK TABLE t IN {held.sql} MODE"), other(pair) as second:
                for wanted in Lock:
                    await second.execute("SAVEPOINT before")
                    try:
                        await second.execute(f"LOCK TABLE t IN {wanted.sql} MODE NOWAIT")
                    except asyncpg.LockNotAvailableError:
                        found[wanted].add(held)
                    await second.execute("ROLLBACK TO before")
        return found

    assert run(refused()) == CONFLICTS


def test_other_conditions(pair: Databases, live: Database) -> None:
    async def asked() -> tuple[object, ...]:
        await reset(
            pair,
            _LIVE,
            "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1); CREATE TABLE k (a int PRIMARY KEY)",
            "CREATE PUBLICATION p FOR TABLE t, k",
        )
        async with pair.connect(_LIVE) as connection:
            with pytest.raises(asyncpg.UniqueViolationError):
                await connection.execute('CREATE UNIQUE INDEX CONCURRENTLY "I" ON t (a)')
        names = ["public.t", "public.k"]
        found = (
            await invalid_indexes(live, names),
            await published(live, names),
        )
        await execute(pair, _LIVE, "DROP PUBLICATION p")
        return found

    invalid, sent = run(asked())
    assert invalid == (InvalidIndex("public.t", 'public."I"'),)
    assert sent == (
        Published("public.k", "p", "primary key", updates_or_deletes=True),
        Published("public.t", "p", "nothing", updates_or_deletes=True),
    )
