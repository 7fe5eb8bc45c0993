"""All cases of drift, compared with pg_dump.

A case is two schemas that differ in one thing, or in nothing. Snapshots of both have to differ exactly where
the texts of `pg_dump --schema-only` differ. Cases that stay within a schema share one database, each in a
schema of its own, so that two dumps and two snapshots answer for all of them.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

import pytest

from circle_migrate.postgres.catalog.fingerprint import fingerprint
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Op, Snapshot, changes_between
from tests.diff.drift import CASES, LOCAL, Case, Place, apply, beyond_schemas, load, place, take, undone
from tests.servers import Server, run, start_binaries

pytestmark = pytest.mark.thorough

# Differences that a dump does not contain.
UNSEEN_BY_DUMP = {
    "fk_triggers_disabled": "the state of the triggers behind a foreign key",
    "matview_emptied": "a dump of the schema has no rows, and so no populated views",
    "db_search_path": "ALTER DATABASE SET is dumped with --create only",
}

_HEADER = re.compile(r"^--\n-- Name: .*; Type: .*; Schema: (.*); Owner: .*\n--\n", re.MULTILINE)
_NOISE = re.compile(r"^(\\(un)?restrict .*|SET default_.*|-- .*|--|)\n", re.MULTILINE)


def by_schema(snapshot: Snapshot) -> dict[str, dict[ObjectKey, Mapping[str, str | None]]]:
    objects: dict[str, dict[ObjectKey, Mapping[str, str | None]]] = defaultdict(dict)
    for key, fields in snapshot.objects.items():
        objects[key.identity.partition(".")[0]][key] = fields
    return objects


def entries(dump: str) -> dict[str, list[str]]:
    """Return the entries of a dump by schema, without comments and settings."""
    _, *parts = _HEADER.split(dump)
    schemas = defaultdict(list)
    for schema, text in zip(parts[::2], parts[1::2], strict=True):
        schemas[schema].append(_NOISE.sub("", text))
    return {schema: sorted(texts) for schema, texts in schemas.items()}


def differ(before: Snapshot, after: Snapshot) -> bool:
    """Return whether two snapshots differ; both directions must mirror each other."""
    mirrored = {Op.ADDED: Op.REMOVED, Op.REMOVED: Op.ADDED, Op.CHANGED: Op.CHANGED}
    there, back = changes_between(before, after), changes_between(after, before)
    assert [(change.key, mirrored[change.op]) for change in there] == [
        (change.key, change.op) for change in back
    ]
    assert all(change.fields for change in there), "an object that differs in nothing"
    return bool(there)


def disagreements(before: Snapshot, after: Snapshot, dumps: tuple[str, str], cases: list[Case]) -> list[str]:
    """Return the cases in which snapshots and dumps disagree."""
    ours, theirs = [by_schema(before), by_schema(after)], [entries(dump) for dump in dumps]
    wrong = []
    for case in cases:
        sides = [replace(before, objects=side[case.id]) for side in ours]
        seen, dumped = differ(*sides), theirs[0].get(case.id) != theirs[1].get(case.id)
        if seen != (case.kind != "nothing") or dumped != (seen and case.id not in UNSEEN_BY_DUMP):
            wrong.append(f"{case.id}: snapshot {seen}, dump {dumped}")
    return wrong


async def both_sides(here: Place) -> tuple[str, str, list[Case]]:
    cases = [case for case in LOCAL if case.min_pg <= here.major]
    before = await here.create()
    async with here.connect(before) as connection:
        await load(connection, cases)
    after = await here.create(before)
    async with here.connect(after) as connection:
        for case in cases:
            await apply(connection, case)
    return before, after, cases


async def judge(here: Place) -> list[str]:
    before, after, cases = await both_sides(here)
    first, second = await here.take(before), await here.take(after)
    assert not first.unmodelled
    assert not second.unmodelled
    return disagreements(first, second, (here.dump(before), here.dump(after)), cases)


def test_snapshots_differ_exactly_where_dumps_do(server: Server) -> None:
    with place(server.admin_url) as here:
        assert run(judge(here)) == []


@pytest.mark.parametrize("major", [15, 16])
def test_snapshots_differ_exactly_where_dumps_do_on_older_servers(major: int) -> None:
    with start_binaries(major) as (_, url), place(url) as here:
        assert run(judge(here)) == []


async def seen_in_databases(here: Place, cases: list[Case]) -> tuple[set[str], set[str]]:
    """Return the cases of whole databases that snapshots detect, and those that fingerprints detect."""
    seen, marked = set(), set()
    async with here.connect(await here.create()) as connection:
        for case in cases:
            async with undone(connection):
                await connection.execute(case.before or "SELECT")
                before, mark = await take(connection), await fingerprint(connection, "alembic_version")
                await connection.execute(case.after)
                if await fingerprint(connection, "alembic_version") != mark:
                    marked.add(case.id)
                after = await take(connection)
            assert not after.unmodelled
            assert "secret" not in json.dumps(after.to_dict())
            if differ(before, after):
                seen.add(case.id)
    return seen, marked


async def dumped_of_databases(here: Place, cases: list[Case]) -> set[str]:
    """Return the cases of whole databases that dumps detect; cases with the same first side share it."""

    async def dump(name: str, statements: str) -> str:
        async with here.connect(name) as connection:
            await connection.execute(statements)
        return _NOISE.sub("", here.dump(name))

    unnoticed = set()
    for before, alike in groupby(sorted(cases, key=attrgetter("before")), key=attrgetter("before")):
        template = await here.create()
        first = await dump(template, before or "SELECT")
        for case in alike:
            if await dump(await here.create(template), case.after) != first:
                unnoticed.add(case.id)
    return unnoticed


async def judge_databases(here: Place) -> None:
    async with here.connect("postgres") as connection:
        cases = await beyond_schemas(connection, CASES)
    every = {case.id for case in cases}
    assert await seen_in_databases(here, cases) == (every, every)
    assert await dumped_of_databases(here, cases) == every - UNSEEN_BY_DUMP.keys()


def test_snapshots_of_databases_differ_exactly_where_dumps_do(server: Server) -> None:
    with place(server.admin_url) as here:
        run(judge_databases(here))


async def unchanged_fingerprints(here: Place) -> list[str]:
    """Return the cases that a fingerprint misses; few share a database, so that fingerprints stay fast."""
    cases = [case for case in LOCAL if case.min_pg <= here.major and case.kind != "nothing"]
    missed = []
    for start in range(0, len(cases), 40):
        some = cases[start : start + 40]
        async with here.connect(await here.create()) as connection:
            await load(connection, some)
            last = await fingerprint(connection, "alembic_version")
            for case in some:
                await apply(connection, case)
                last, before = await fingerprint(connection, "alembic_version"), last
                if last == before:
                    missed.append(case.id)
    return missed


def test_fingerprint_changes_with_every_case(server: Server) -> None:
    with place(server.admin_url) as here:
        assert run(unchanged_fingerprints(here)) == []


# PostgreSQL parses its own text of IN on a varchar as another, equivalent expression.
REPRINTED = "CREATE TABLE public.r (s varchar(9), CONSTRAINT r_s CHECK (s IN ('a', 'b')))"
# Differences that a restored dump has.
STATE = {"populated", "clustered"}


def test_copies_and_restored_dumps_are_the_same(server: Server) -> None:
    """Repeat the statements, copy with TEMPLATE, restore a dump."""

    async def build(here: Place) -> tuple[Snapshot, Snapshot]:
        cases = [case for case in LOCAL if case.min_pg <= here.major]
        first, again, restored = [await here.create() for _ in range(3)]
        for name in (first, again):
            async with here.connect(name) as connection:
                await load(connection, cases)
                await connection.execute(REPRINTED)
        copy = await here.create(first)
        marks = []
        for name in (first, copy):
            async with here.connect(name) as connection:
                marks.append(await fingerprint(connection, "alembic_version"))
        assert marks[0] == marks[1]
        here.program("psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", here.url(restored), stdin=here.dump(first))
        one, *others = [await here.take(name) for name in (first, again, copy, restored)]
        assert [snapshot.digest for snapshot in others[:2]] == [one.digest] * 2
        return one, others[2]

    with place(server.admin_url) as here:
        one, restored = run(build(here))
        changes = [change for change in changes_between(one, restored) if not change.fields.keys() <= STATE]
        assert [str(change.key) for change in changes] == ["constraint public.r.r_s"]
