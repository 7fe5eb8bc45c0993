"""DDL that was tried on a scratch copy and claims to be complete leads from one schema to the other."""

from __future__ import annotations

import json
from pathlib import Path

import asyncpg
import pytest

from circle_migrate.config.load import load
from circle_migrate.diff.compare import CompareOptions, compare
from circle_migrate.diff.ddl.script import generate
from circle_migrate.diff.expected.trial import run_trial
from circle_migrate.postgres.catalog.snapshot import Snapshot, changes_between
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch import pool
from circle_migrate.postgres.scratch.pool import ScratchServers
from tests.deployments import environment, execute, invoke
from tests.diff.drift import Case, take
from tests.servers import Databases, Server, run

_ROWS = Path(__file__).with_name("sketch_cases.jsonl").read_text(encoding="utf-8").splitlines()
CASES = [Case(**json.loads(line)) for line in _ROWS]
OPTIONS = CompareOptions(partitions=True)

INCOMPLETE = {
    "trig_states": "a function of another role is not tried",
    "aggregate_all_changes": "an aggregate of another role is not tried",
    "change_parent_keep": "a column that was inherited stays declared",
    "parent_goes_child_stays": "a declared column becomes inherited only",
    "composite_attr_in_table": "rows of a type with fewer attributes",
    "two_parents_type": "the type of a column with two parents",
    "grandparent_goes": "a declared column becomes inherited only",
    "parent_goes_other_stays": "a parent comes last",
    "child_local_notnull": "a constraint that was inherited stays declared",
    "not_null_comment": "the names of NOT NULL constraints",
    "not_null_comment_changed": "the names of NOT NULL constraints",
    "mapping_options": "secrets",
    "server_password_changed": "secrets",
    "server_secret_added": "secrets",
    "server_secret_new": "secrets",
    "opclass": "members of an operator class",
    "opfamily": "members of an operator family",
    "fk_trigger_disabled": "state of the triggers behind a foreign key",
}
"""Cases with a difference that no statement removes, in one direction at least, and the reason."""


NOT_COMPARED = {"db_acl", "db_connlimit", "lang_acl", "ext_comment", "comment_domain_notnull"}
"""Cases of the database itself, of extensions, and of names that NOT NULL of a domain has."""


@pytest.mark.thorough
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_sketch_leads_there_and_back(case: Case, empty_databases: Databases) -> None:
    run(_there_and_back(case, empty_databases))


@pytest.mark.thorough
def test_sketch_says_why_it_was_not_tried(
    empty_databases: Databases, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = ("old.json", "CREATE OPERATOR FAMILY f USING btree"), ("new.json", "CREATE TABLE t (a int)")
    monkeypatch.setenv("DATABASE_URL", empty_databases.urls["main"])
    for file, sql in sides:
        run(execute(empty_databases, "main", sql))
        assert invoke(["snapshot", "live", "-d", "main", "-o", str(workdir / file)]).status == 0
    arguments = ["diff", *(str(workdir / file) for file, _ in sides), "-d", "main", "--format"]
    scratch = ["--scratch-url", empty_databases.server.admin_url]
    upgrade, downgrade = invoke([*arguments, "alembic", *scratch]).stdout.split("def downgrade")
    for text in (upgrade, downgrade):
        assert "    # NOT TRIED: no scratch copy can be made of " in text
        assert "operator family public.f USING btree" in text
    monkeypatch.setattr(pool, "available_providers", none)
    assert "\n-- NOT TRIED: there is no server for scratch databases" in invoke([*arguments, "sql"]).stdout


@pytest.mark.thorough
def test_sketch_of_revisions_has_the_version_of_a_server(server: Server) -> None:
    arguments = ["diff", "revisions@base", "revisions", "-d", "main", "--format", "sql", "--scratch-url"]
    tried = invoke([*arguments, server.admin_url]).stdout
    assert "CREATE TABLE public." in tried
    assert "NOT TRIED" not in tried
    assert "NOT EXPRESSED" not in tried
    untried = invoke([*arguments, "postgresql://postgres@127.0.0.1:1/postgres"]).stdout
    assert "CREATE TABLE public." in untried
    assert "\n-- NOT TRIED: " in untried


async def none(_: Deployment) -> tuple[pool.ServerProvider, ...]:
    return ()


async def _there_and_back(case: Case, databases: Databases) -> None:
    async with databases.connect("main") as first, databases.connect("credentials") as second:
        if first.get_server_version().major < case.min_pg:
            pytest.skip(f"needs PostgreSQL {case.min_pg}")
        await first.execute("DO $$BEGIN CREATE ROLE o; EXCEPTION WHEN duplicate_object THEN END$$")
        for connection, sql in ((first, case.before), (second, case.after)):
            await connection.execute(sql or "SELECT 1")
        sides = [await take(first), await take(second)]
        assert bool(changes_between(*sides)) == (case.id not in NOT_COMPARED)
        wrong = [
            await _problem(databases, connection, start, goal)
            for connection, start, goal in ((first, *sides), (second, *reversed(sides)))
        ]
    incomplete = any(text.startswith("NOT EXPRESSED") for text in filter(None, wrong))
    assert not any(wrong) or (incomplete and case.id in INCOMPLETE), "\n".join(map(str, wrong))
    assert incomplete == (case.id in INCOMPLETE)


async def _problem(
    databases: Databases, connection: asyncpg.Connection, start: Snapshot, goal: Snapshot
) -> str | None:
    """Return what the tried DDL leaves, or does wrong; None if it leads from one side to the other."""
    settings = {"environ": environment(databases), "flags": {"scratch_url": databases.server.admin_url}}
    deployment = Deployment(load(**settings), "main")
    start, goal = (
        Snapshot("main", side.origin, side.server_version_num, side.objects) for side in (start, goal)
    )
    comparison = await compare(start, goal, OPTIONS)
    async with ScratchServers(deployment) as servers:
        trial = await run_trial(servers, comparison, undo=False)
    comparison.trials[False] = trial
    script = generate(comparison)
    if script.untried or script.incomplete:
        return f"NOT EXPRESSED: {script.untried or script.incomplete}"
    sql = ";\n".join(statement.sql for statement in script.statements)
    try:
        await connection.execute(sql or "SELECT 1")
    except asyncpg.PostgresError as error:
        return f"{error}\n{sql}"
    left = (await compare(await take(connection), goal, OPTIONS)).differences
    return f"{left}\n{sql}" if left else None
