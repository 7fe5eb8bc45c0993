"""consistency: what stands alone is found, whatever the keys are, and nothing that only seems to."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from circle_migrate.cli.progress_live import Live
from circle_migrate.commands.check import check
from circle_migrate.commands.consistency.consistency import consistency
from circle_migrate.commands.consistency.result import ConsistencyResult
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.load import load
from circle_migrate.config.relation import Side
from circle_migrate.core.errors import ExitCode
from circle_migrate.core.events import Event, EventKind
from circle_migrate.core.findings import Outcome, Report
from circle_migrate.postgres.bounded_read import bounded_read
from circle_migrate.postgres.deployment import Deployment
from tests.deployments import VARIABLES, deployment, environment, execute, invoke
from tests.servers import NAMES, Databases, run

_USERS = "INSERT INTO users (id, email, first_name, last_name) SELECT g, g || '@x.org', 'A', 'B' FROM {} g"
_CREDENTIALS = "INSERT INTO user_credentials (user_id, password_hash, salt) SELECT g, 'h', 's' FROM {} g"


@pytest.fixture
def at_head(create_databases: Callable[..., Databases], head_template: Databases) -> Databases:
    """Both databases at head, without rows."""
    return create_databases(head_template)


async def fill(databases: Databases, users: str, credentials: str) -> None:
    """Users and credentials of these numbers, each a set of integers as SQL."""
    await execute(databases, "main", _USERS.format(users))
    await execute(databases, "credentials", _CREDENTIALS.format(credentials))


def looked(databases: Databases, **options: object) -> ConsistencyResult:
    return run(consistency(deployment(databases), pause=0, **options))  # type: ignore[arg-type]


def findings(report: Report) -> set[tuple[str | None, str, str | None]]:
    return {(finding.database, finding.rule, finding.detail) for finding in report.findings}


def test_what_stands_alone_is_found_on_both_sides(at_head: Databases) -> None:
    assert looked(at_head).exit_code == ExitCode.DONE
    run(fill(at_head, "generate_series(1, 9)", "generate_series(1, 9)"))
    assert looked(at_head).exit_code == ExitCode.DONE
    run(fill(at_head, "generate_series(10, 30)", "unnest(ARRAY[9000, 10, 11])"))
    report = looked(at_head, limit=2)
    assert report.exit_code == ExitCode.DRIFT
    assert findings(report) == {
        ("main", "orphan", "12, 13 and 17 more"),
        ("credentials", "orphan", "9000"),
    }
    assert findings(looked(at_head, limit=0)) == {("main", "orphan", None), ("credentials", "orphan", None)}


# Types: what stands on each side, and the keys that stand alone; the last is what is said of the types.


@dataclass(frozen=True)
class Case:
    types: tuple[str, str]
    values: tuple[str, str]
    alone: tuple[tuple[str, ...], tuple[str, ...]]
    said: str | None = None


_ONE, _TWO = (f"{digit * 8}-0000-4000-8000-00000000000{digit}" for digit in "1f")
CASES = [
    Case(("integer", "integer"), ("(-3), (2), (10), (NULL), (2)", "(9), (10), (10)"), (("-3", "2"), ("9",))),
    Case(("smallint", "bigint"), ("(1), (2)", "(2), (99999999999)"), (("1",), ("99999999999",)), "note"),
    Case(("number", "bigint"), ("(1), (2)", "(2)"), (("1",), ())),
    Case(("uuid", "uuid"), (f"('{_ONE}'), ('{_TWO}')", f"('{_TWO}')"), ((_ONE,), ())),
    Case(
        ("text", "text"),
        (r"(''), ('a'), ('B'), ('ü'), (E'\n'), (E'a\tb'), ('\.')", r"('a'), ('ü'), ('\.'), ('😀'), ('z')"),
        (("", "\n", "B", "a\tb"), ("z", "😀")),
    ),
    Case(("varchar(9)", "char(9)"), ("('a'), ('b')", "('b'), ('c')"), (("a",), ("c",)), "note"),
    Case(
        ("bytea", "bytea"),
        (r"('\x00'), ('\x5c'), ('\xff')", r"('\xff'), ('')"),
        (("\\x00", "\\x5c"), ("\\x",)),
    ),
    Case(("integer", "text"), ("(9), (10)", "('10'), ('x')"), (("9",), ("x",)), "error"),
    Case(("uuid", "text"), (f"('{_ONE}')", f"('{_ONE}')"), ((), ()), "error"),
    Case(("text", "bytea"), ("('6162'), ('x')", "('ab')"), (("x",), ()), "error"),
]


def test_keys_of_every_type_are_compared(
    project_folder: Path, empty_databases: Databases, subtests: pytest.Subtests
) -> None:
    declare(
        project_folder, *(f'"r{n}", "main.apart.T{n}.Key", "credentials.T{n}.Key"' for n in range(len(CASES)))
    )
    statements: dict[str, list[str]] = {name: ["CREATE DOMAIN number AS bigint"] for name in NAMES}
    statements["main"] += ["CREATE SCHEMA apart", "SET search_path = apart, public"]
    for number, case in enumerate(CASES):
        for name, kind, values in zip(NAMES, case.types, case.values, strict=True):
            statements[name] += [
                f'CREATE TABLE "T{number}" ("Key" {kind})',
                f'INSERT INTO "T{number}" SELECT v::{kind} FROM (VALUES {values}) AS given (v)',
            ]
    for name in NAMES:
        run(execute(empty_databases, name, *statements[name]))
    report = looked(empty_databases)
    assert [check.skipped for check in report.checks] == [None] * len(CASES)
    for number, case in enumerate(CASES):
        with subtests.test(types=case.types):
            compared, made = report.relations[number], report.checks[number]
            assert tuple(keys.samples for keys in compared.sides.values()) == case.alone
            assert tuple(keys.unmatched for keys in compared.sides.values()) == tuple(map(len, case.alone))
            said = [str(finding.severity) for finding in made.findings if finding.rule == "key-types-differ"]
            assert said == ([case.said] if case.said else [])
            assert compared.as_text == (case.said == "error")


def declare(folder: Path, *relations: str) -> None:
    """A project with relations of its own."""
    lines = ["from circle_migrate.config.relation import Relation", "LINKS = ("]
    (folder / "links.py").write_text(
        "\n".join([*lines, *(f"Relation({relation})," for relation in relations), ")"])
    )
    (folder / "pyproject.toml").write_text("[tool.circle-migrate]\nrelations = 'links:LINKS'\n")


def test_types_that_are_no_keys_are_refused(project_folder: Path, empty_databases: Databases) -> None:
    declare(project_folder, '"r", "main.t.id", "credentials.t.id"')
    for name in NAMES:
        run(execute(empty_databases, name, "CREATE TABLE t (id numeric)"))
    report = looked(empty_databases)
    assert report.exit_code == ExitCode.USAGE
    assert "numeric" in report.findings[0].message


async def major(databases: Databases) -> int:
    async with databases.connect("main") as connection:
        return int(connection.get_server_version().major)


def test_encodings_may_differ(project_folder: Path, empty_databases: Databases) -> None:
    declare(project_folder, '"r", "main.t.id", "credentials.t.id"')
    latin = f"{empty_databases.names['credentials']}_latin"
    provider = " LOCALE_PROVIDER libc" if run(major(empty_databases)) >= 15 else ""
    run(
        execute(
            empty_databases,
            "main",
            f"CREATE DATABASE {latin} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'{provider}",
        )
    )
    both = replace(empty_databases, names={"main": empty_databases.names["main"], "credentials": latin})
    try:
        run(execute(both, "main", "CREATE TABLE t (id text)", "INSERT INTO t VALUES ('ÿ'), ('é'), ('😀')"))
        run(
            execute(
                both, "credentials", "CREATE TABLE t (id text)", "INSERT INTO t VALUES ('é'), ('ÿ'), ('µ')"
            )
        )
        (compared,) = looked(both).relations
        assert [keys.samples for keys in compared.sides.values()] == [("😀",), ("µ",)]
    finally:
        run(execute(empty_databases, "main", f"DROP DATABASE {latin}"))


@pytest.mark.parametrize(
    ("left_alone", "right_alone", "status", "outcome"),
    [
        ("None", "None", ExitCode.DONE, Outcome.OK),
        ("Severity.WARNING", "None", ExitCode.DONE, Outcome.WARNING),
        ("None", "Severity.ERROR", ExitCode.DRIFT, Outcome.FAILED),
    ],
)
def test_how_bad_it_is_is_declared(
    project_folder: Path,
    at_head: Databases,
    left_alone: str,
    right_alone: str,
    status: ExitCode,
    outcome: Outcome,
) -> None:
    ends = '"main.users.id", "credentials.user_credentials.user_id"'
    declare(project_folder, f'"r", {ends}, {left_alone}, {right_alone}')
    module = project_folder / "links.py"
    module.write_text("from circle_migrate.core.findings import Severity\n" + module.read_text())
    run(fill(at_head, "generate_series(1, 2)", "generate_series(2, 3)"))
    report = looked(at_head)
    assert (report.exit_code, report.checks[0].outcome) == (status, outcome)
    assert [str(finding.severity) for finding in report.findings] == {
        Outcome.OK: [],
        Outcome.WARNING: ["warning"],
        Outcome.FAILED: ["error"],
    }[outcome]
    assert [keys.unmatched for keys in report.relations[0].sides.values()] == [1, 1]


# Not there, not the right one, not to be read


def test_what_is_not_there_yet_is_skipped(empty_databases: Databases) -> None:
    for targets in ([], ["main@head"]):
        run(upgrade(deployment(empty_databases), targets)) if targets else None
        (made,) = looked(empty_databases).checks
        assert made.outcome is Outcome.SKIPPED
        assert "credentials has no table user_credentials" in str(made.skipped)
        assert "credentials at base" in str(made.skipped)


def test_what_is_not_there_at_the_head_is_found(at_head: Databases) -> None:
    run(execute(at_head, "credentials", "ALTER TABLE user_credentials RENAME COLUMN user_id TO uid"))
    report = looked(at_head)
    assert report.exit_code == ExitCode.DRIFT
    assert [finding.rule for finding in report.findings] == ["missing-column"]
    assert "no column user_credentials.user_id" in report.findings[0].message


def test_swapped_databases_are_not_passed_over(at_head: Databases) -> None:
    main, credentials = (at_head.names[name] for name in NAMES)
    report = looked(replace(at_head, names={"main": credentials, "credentials": main}))
    assert report.exit_code == ExitCode.REFUSED
    assert {finding.rule for finding in report.findings} == {"wrong-database"}


def test_everything_that_prevents_it_is_said(at_head: Databases) -> None:
    names = {name: f"{at_head.names[name]}_gone" for name in NAMES}
    report = looked(replace(at_head, names=names))
    assert report.exit_code == ExitCode.UNREACHABLE
    assert [finding.database for finding in report.findings] == [*NAMES]


def test_the_hints_give_a_role_what_it_lacks(at_head: Databases) -> None:
    """And nothing more is needed: no other table, no other column."""
    role = f"looker_{at_head.names['main']}"
    run(fill(at_head, "generate_series(1, 3)", "generate_series(1, 2)"))
    run(execute(at_head, "main", f"CREATE ROLE {role} LOGIN", "REVOKE USAGE ON SCHEMA public FROM PUBLIC"))
    run(
        execute(
            at_head,
            "credentials",
            "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
            "ALTER TABLE user_credentials ENABLE ROW LEVEL SECURITY",
        )
    )
    urls = {name: url.replace("postgres@", f"{role}@", 1) for name, url in at_head.urls.items()}
    looker = Deployment(load(environ={VARIABLES[name]: url for name, url in urls.items()}))
    try:
        hints = []
        while (report := run(consistency(looker, pause=0))).exit_code == ExitCode.UNREACHABLE:
            for finding in report.findings:
                assert (finding.rule, finding.database) not in hints[:-2]
                hints.append(finding.remedy_text)
                run(execute(at_head, finding.database or "", finding.remedy_text))
        assert len(hints) == len(set(hints)) + 1
        assert findings(report) == {("main", "orphan", "3")}
    finally:
        for name in NAMES:
            run(execute(at_head, name, f"DROP OWNED BY {role}"))
        run(execute(at_head, "main", f"DROP ROLE {role}"))


def test_a_lock_is_not_waited_for_longer_than_is_said(at_head: Databases) -> None:
    settings = load(environ=environment(at_head)).model_copy(update={"lock_timeout": 0.05})

    async def while_locked() -> Report:
        async with at_head.connect("main") as connection, connection.transaction():
            await connection.execute("LOCK TABLE users")
            return await consistency(Deployment(settings), pause=0)

    report = run(while_locked())
    assert (report.exit_code, [finding.database for finding in report.findings]) == (
        ExitCode.LOCKED,
        ["main"],
    )


def test_a_look_writes_nothing_and_waits_for_locks_alone(at_head: Databases) -> None:
    names = ("lock_timeout", "statement_timeout", "transaction_read_only", "transaction_isolation")

    async def look() -> list[str]:
        database = deployment(at_head).databases["main"]
        async with bounded_read(database, seconds=None, lock_seconds=0.25) as connection:
            return [await connection.fetchval(f"SHOW {name}") for name in names]

    assert run(look()) == ["250ms", "0", "on", "repeatable read"]


# Looking again


def test_what_came_meanwhile_does_not_count(at_head: Databases) -> None:
    run(fill(at_head, "generate_series(1, 5)", "generate_series(2, 6)"))
    ended: list[str] = []

    async def both() -> ConsistencyResult:
        read = asyncio.Event()

        def notify(event: Event) -> None:
            ended.extend([event.database] if event.kind is EventKind.WORKING else [])
            if len(ended) == len(NAMES):
                read.set()

        looked_at = asyncio.create_task(consistency(deployment(at_head), notify=notify, pause=1))
        async with asyncio.timeout(30):
            await read.wait()
        await execute(at_head, "credentials", _CREDENTIALS.format("generate_series(1, 1)"))
        await execute(at_head, "credentials", "DELETE FROM user_credentials WHERE user_id = 6")
        await execute(at_head, "main", "DELETE FROM users WHERE id = 3")
        return await looked_at

    report = run(both())
    assert report.exit_code == ExitCode.DONE
    assert [relation.settled for relation in report.relations] == [2]


def test_no_more_are_looked_at_again_than_said(at_head: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circle_migrate.commands.consistency.consistency.MAX_RECHECKED", 2)
    run(fill(at_head, "generate_series(1, 5)", "generate_series(6, 7)"))
    report = looked(at_head)
    assert findings(report) == {
        ("main", "orphan", "1, 2 and 3 more\nonly 2 keys were checked a second time"),
        ("credentials", "orphan", "6, 7"),
    }
    left = report.relations[0].sides[Side.LEFT]
    assert (left.unmatched, left.not_rechecked) == (5, 3)


def test_progress_says_how_far_each_side_is(at_head: Databases) -> None:
    run(fill(at_head, "generate_series(1, 90)", "generate_series(1, 90)"))
    for name, table in (("main", "users"), ("credentials", "user_credentials")):
        run(execute(at_head, name, f"ANALYZE {table}"))
    told: list[Event] = []
    looked(at_head, notify=told.append)
    for name in NAMES:
        *reading, last = (event for event in told if event.database == name)
        shares = [(event.number, event.total) for event in reading]
        assert shares == sorted(shares)
        assert shares[-1] == (90, 90)
        assert ("90 of about 90 keys" in reading[-1].text, last.kind) == (True, EventKind.WORKING)


def test_progress_is_a_bar_on_a_terminal() -> None:
    screen = Console(file=StringIO(), force_terminal=True, width=100)
    live = Live(screen)
    try:
        live.show(Event(EventKind.READING, "main", "users.id: 2,500 of about 10,000 keys", 2500, 10000))
    finally:
        live.stop()
    shown = cast("StringIO", screen.file).getvalue()
    assert "2,500/10,000" in shown
    assert "━" in shown


@pytest.mark.thorough
def test_memory_does_not_grow_with_the_tables(project_folder: Path, empty_databases: Databases) -> None:
    declare(project_folder, '"r", "main.t.id", "credentials.t.id"')
    rows = 500_000
    for name in NAMES:
        run(execute(empty_databases, name, f"CREATE TABLE t AS SELECT generate_series(1, {rows}) AS id"))
    looked(empty_databases)  # what is imported stays
    tracemalloc.start()
    try:
        (compared,) = looked(empty_databases).relations
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [keys.rows for keys in compared.sides.values()] == [rows, rows]
    assert peak < 40 * rows, "as much as one side alone would take"


# The commands


def test_the_command_is_a_gate(at_head: Databases, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, url in environment(at_head).items():
        monkeypatch.setenv(name, url)
    assert invoke(["consistency"]).status == 0
    run(fill(at_head, "generate_series(1, 2)", "generate_series(2, 3)"))
    answer = invoke(["consistency", "--relation", "user-credentials", "--limit", "1"])
    assert answer.status == 4
    assert "main: 1 key of users.id is not in credentials.user_credentials.user_id" in answer.stdout
    assert "user-credentials  main.users.id" in answer.stdout
    shown = json.loads(invoke(["check", "--consistency", "--format", "json"]).stdout)
    assert shown["exit_code"] == 4
    assert {finding["check"] for finding in shown["findings"]} == {"relation-user-credentials"}
    assert invoke(["consistency", "--relation", "other"]).status == 2
    assert invoke(["check", "--consistency", "--files-only"]).status == 2


def test_a_check_says_once_what_cannot_be_read(at_head: Databases) -> None:
    names = {**at_head.names, "credentials": "gone"}
    report = run(check(deployment(replace(at_head, names=names)), consistency=True))
    assert [finding.database for finding in report.findings] == ["credentials"]
    assert report.checks[-1].skipped == "credentials cannot be compared"
