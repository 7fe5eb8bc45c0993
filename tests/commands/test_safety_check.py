"""safety-check: our own trees, what decides the exit status, baselines, gates, judging without a server."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from circle_migrate.commands.json_schema.command_schema import schema
from circle_migrate.commands.safety_check import safety_check
from circle_migrate.config.load import load
from circle_migrate.core.errors import ExitCode
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.safety.result import SafetyReport
from tests import old_script
from tests.deployments import Answer, environment, execute, invoke, versions
from tests.faults.states import rows
from tests.projects import Project
from tests.servers import Databases, run

pytestmark = pytest.mark.thorough

_NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
_TABLES = """
op.execute("CREATE TABLE users (id bigint PRIMARY KEY, name text, age int)")
op.execute("CREATE TABLE parked (id int)")
""".strip()
_RETYPE = 'op.alter_column("users", "age", type_=sa.BigInteger())'
_DROP = 'op.drop_table("parked")'
_MAKE = 'op.execute("CREATE TABLE parked (id int)")'
_RETYPE_BACK = 'op.alter_column("users", "age", type_=sa.Integer())'
_HARMLESS = 'op.add_column("users", sa.Column("note", sa.Text()))'


@pytest.fixture
def shop(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose first revisions are applied, with a table that counts as large from 100 rows on."""
    project = Project(project_folder)
    project.write_settings()
    project.revision("main", "m1", None, _TABLES, "pass")
    project.revision("credentials", "c1", None, "pass", "pass")
    given = {
        **environment(empty_databases),
        "CIRCLE_MIGRATE_SCRATCH_URL": empty_databases.server.admin_url,
        "CIRCLE_MIGRATE_SAFETY_ROWS": "100",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert invoke(["upgrade"]).status == 0
    rows = "INSERT INTO users SELECT i, 'n', i FROM generate_series(1, 200) i"
    run(execute(empty_databases, "main", rows, "INSERT INTO parked VALUES (1)", "ANALYZE"))
    return project


def check(*arguments: str) -> Answer:
    return invoke(["safety-check", "-q", *arguments])


def judged(*arguments: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(check("--format", "json", *arguments).stdout)
    return report


def dangers(report: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [
        (verdict["hazard"], verdict["revision"], verdict["line"])
        for verdict in report["verdicts"]
        if verdict["verdict"] == "danger"
    ]


PAIRS = list(zip_longest(*old_script.REVISIONS.values()))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "-".join(str(part)[:4] for part in pair))
def test_our_own_revisions_endanger_no_database_of_the_field(
    empty_databases: Databases, pair: tuple[str | None, str | None]
) -> None:
    async def scenario() -> SafetyReport:
        for name, revision in zip(old_script.REVISIONS, pair, strict=True):
            if revision is not None:
                async with empty_databases.connect(name) as connection:
                    await old_script.build(connection, name, revision)
                    await connection.execute("ANALYZE")
        # One row makes a table large: there are no more than a few in any.
        flags = {"scratch_url": empty_databases.server.admin_url, "safety_rows": 1}
        return await safety_check(Deployment(load(flags, environ=environment(empty_databases))))

    safety = run(scenario())
    assert safety.coverage.traced == safety.coverage.revisions > 0
    # The field has circles whose capacity the new rule refuses; what they should hold, people have to decide.
    endangered = [
        danger for danger in safety.dangers() if danger.subject != "public.circles.ck_circles_capacity"
    ]
    assert [(danger.rule, danger.revision, danger.message) for danger in endangered] == []
    # They can be run again where they were cut off, are rendered as they run, and lead back.
    assert [
        finding.message for finding in safety.hazard_findings if finding.rule in ("CM040", "CM044", "CM045")
    ] == []


_ROWS = 'rows = op.get_bind().execute(sa.text("SELECT age FROM users")).fetchall()'
_COUNT = 'op.get_bind().scalar(sa.text("SELECT count(*) FROM users"))'
_ORM = """
from sqlalchemy.orm import Session, declarative_base
class User(declarative_base()):
    __tablename__ = "users"
    id = sa.Column(sa.BigInteger, primary_key=True)
with Session(op.get_bind()) as session:
    for user in session.query(User):
        session.delete(user)
"""
_CODE = {
    f'if {_COUNT}:\n    op.execute("DELETE FROM users")': "danger",
    f'{_ROWS}\nfor row in rows:\n    op.execute(f"DELETE FROM users WHERE age = {{row.age}}")': "danger",
    _ORM: "danger",
    f'{_ROWS}\nfor row in rows:\n    op.execute(f"UPDATE users SET age = {{row.age}}")': "note",
    'op.execute("SELECT max(age) FROM users")': None,
    "op.get_bind().execute(sa.text(\"SELECT setval('s', max(age)) FROM users\"))": None,
    _COUNT.replace("users", "empty"): None,
}


def test_code_that_gets_rows_is_not_seen_as_a_whole(shop: Project, empty_databases: Databases) -> None:
    shop.revision("main", "m2", "m1", 'op.execute("CREATE SEQUENCE s; CREATE TABLE empty (id int)")', "pass")
    assert invoke(["upgrade", "--safety", "off"]).status == 0
    run(execute(empty_databases, "main", "ANALYZE"))
    for number, code in enumerate(_CODE, 3):
        shop.revision("main", f"m{number}", f"m{number - 1}", code, "pass")
    verdicts = judged()["verdicts"]
    found = {item["revision"]: item["verdict"] for item in verdicts if item["hazard"] == "CM060"}
    assert found == {f"m{n}": verdict for n, verdict in enumerate(_CODE.values(), 3) if verdict}


def test_danger_decides_the_exit_status(shop: Project) -> None:
    shop.revision("main", "m2", "m1", _HARMLESS, "pass")
    assert check().status == 0
    path = shop.revision("main", "m3", "m2", f"{_RETYPE}\n{_DROP}", 'op.drop_column("users", "name")')
    line = path.read_text(encoding="utf-8").split("\n").index(f"    {_RETYPE}") + 1
    answer = check()
    assert answer.status == 5
    for text in ("CM061", "ALTER TABLE users ALTER COLUMN age TYPE BIGINT", "reads and writes wait", "m3.py"):
        assert text in answer.stdout
    assert dangers(judged()) == [("CM061", "m3", line), ("CM013", "m3", line + 1)]
    assert dangers(judged("--rows", "1000")) == [("CM013", "m3", line + 1)]
    assert dangers(judged("m2")) == []


def test_condition_on_a_tiny_table_is_no_danger(shop: Project, empty_databases: Databases) -> None:
    run(execute(empty_databases, "main", "INSERT INTO parked VALUES (2), (3)", "ANALYZE"))
    delete = 'op.execute("DELETE FROM parked WHERE id {}")'
    shop.revision("main", "m2", "m1", f"{delete.format('= 7')}\n{delete.format('> 1')}", "pass")
    report = judged()
    verdicts = [(verdict["hazard"], verdict["verdict"]) for verdict in report["verdicts"]]
    assert verdicts == [("CM015", "danger"), ("CM015", "warning")]
    assert "a large part of the rows" in report["findings"][0]["message"]


def test_a_downgrade_is_judged_too(shop: Project) -> None:
    assert invoke(["upgrade", "-q"]).status == 0
    shop.revision("main", "m0", "m1", _HARMLESS, 'op.drop_column("users", "name")')
    assert invoke(["upgrade", "-q"]).status == 0
    report = judged("--down", "main@-1")
    assert [danger[:2] for danger in dangers(report)] == [("CM010", "m0")]


_MECHANISMS: list[tuple[str, set[tuple[str, str, str]]]] = [
    ("ALTER SEQUENCE tickets_id_seq AS smallint", {("CM025", "danger", "public.tickets_id_seq")}),
    ("ALTER TABLE numbered ALTER id DROP DEFAULT", set()),
    (
        "ALTER TABLE numbered ALTER id ADD GENERATED BY DEFAULT AS IDENTITY",
        {("CM032", "danger", "public.numbered.id")},
    ),
    ("ALTER TABLE stamped ALTER at DROP DEFAULT", {("CM036", "danger", "public.stamped.at")}),
    (
        "CREATE OR REPLACE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 3'",
        {("CM039", "warning", "public.ix_twice"), ("CM039", "warning", "public.stamped.twice_is_even")},
    ),
    (
        "CREATE RULE away AS ON INSERT TO stamped DO INSTEAD NOTHING",
        {("CM034", "note", "public.stamped.away")},
    ),
    ("DROP INDEX one_a_day", {("CM037", "warning", "public.one_a_day")}),
    ("DROP INDEX one_n", set()),
    ("ALTER TABLE tickets SET SCHEMA attic", {("CM030", "danger", "public.tickets")}),
    ("ALTER TABLE numbered OWNER TO pg_monitor", {("CM038", "warning", "public.numbered")}),
    ("CREATE EXTENSION no_such_extension", {("CM060", "danger", "main@m3")}),
]
_MECHANISMS_SETUP = """
CREATE SCHEMA attic;
CREATE TABLE tickets (id serial PRIMARY KEY);
CREATE TABLE numbered (id serial PRIMARY KEY);
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE TABLE stamped (
    n int, at date NOT NULL DEFAULT '2024-01-01', CONSTRAINT twice_is_even CHECK (twice(n) % 2 = 0)
);
CREATE INDEX ix_twice ON stamped (twice(n));
CREATE UNIQUE INDEX one_a_day ON stamped (at) WHERE n > 0;
CREATE UNIQUE INDEX one_n ON stamped (n);
ALTER TABLE stamped ADD UNIQUE (n);
"""
_MECHANISMS_ROWS = (
    "SELECT setval('tickets_id_seq', 40000)",
    "INSERT INTO numbered SELECT generate_series(1, 10)",
)


def test_what_becomes_of_the_catalog_and_the_rows_decides(shop: Project, empty_databases: Databases) -> None:
    """One plan of many statements: each brings its own hazards and none of what others mend or cause."""
    setup = [f"op.execute({text!r})" for text in _MECHANISMS_SETUP.split(";\n") if text.strip()]
    shop.revision("main", "m2", "m1", "\n".join(setup), "pass")
    assert invoke(["upgrade"]).status == 0
    run(execute(empty_databases, "main", *_MECHANISMS_ROWS))
    body = "\n".join(f"op.execute({sql!r})" for sql, _ in _MECHANISMS)
    shop.revision("main", "m3", "m2", body, "pass")
    verdicts = judged()["verdicts"]
    kinds = {hazard for _, expected in _MECHANISMS for hazard, _, _ in expected}
    for sql, expected in _MECHANISMS:
        of_statement = [
            verdict for verdict in verdicts if verdict["statement"] == sql and verdict["hazard"] in kinds
        ]
        assert {
            (verdict["hazard"], verdict["verdict"], verdict["subject"]) for verdict in of_statement
        } == expected, sql


_FIXED = [
    ("ALTER TABLE users ALTER name SET NOT NULL", "CM007", 3),
    ("ALTER TABLE users ADD CONSTRAINT adult CHECK (age >= 0 AND name <> ' :b')", "CM007", 2),
    ('CREATE INDEX "ix 1" ON users (lower(name)) WHERE age > 5', "CM008", 1),
    ("ALTER TABLE users ADD CONSTRAINT fk FOREIGN KEY (age) REFERENCES users (id)", "CM009", 2),
    ("ALTER TABLE users ADD CONSTRAINT uq UNIQUE (age) DEFERRABLE", "CM062", 2),
    ("ALTER TABLE users DROP COLUMN name", "CM010", 1),
    ("CREATE INDEX CONCURRENTLY late ON users (age)", "CM021", 1),
]


def executed(sql: str) -> str:
    """The statement as a revision has to write it: Alembic reads `:word` as a parameter."""
    return f"op.execute({sql.replace(' :', ' ' + chr(92) + ':')!r})"


def fixes(shop: Project, sqls: list[str]) -> dict[tuple[str, str], str]:
    """The code for a revision of these statements, by hazard and statement."""
    shop.revision("main", "m2", "m1", "\n".join(map(executed, sqls)), "pass")
    return {(verdict["hazard"], verdict["statement"]): verdict["fix"] for verdict in judged()["verdicts"]}


def test_what_to_write_instead_is_of_no_danger_and_runs(shop: Project) -> None:
    *others, failing = [sql for sql, _, _ in _FIXED]
    code = fixes(shop, others) | fixes(shop, [failing])
    (shop.versions("main") / "m2.py").unlink()
    head = "m1"
    for number, (sql, hazard, revisions) in enumerate(_FIXED):
        fix = code[hazard, sql]
        texts = [text for text in re.split(r"^# revision .*\n", fix, flags=re.MULTILINE) if text.strip()]
        assert len(texts) == revisions, sql
        for part, text in enumerate(texts):
            key, below = f"f{number}{part}", "" if "def downgrade" in text else "def downgrade():\n    pass\n"
            lines = f"revision = {key!r}\ndown_revision = {head!r}\n{text}\n{below}"
            shop.write(f"migrations/main/versions/{key}.py", lines)
            head = key
    assert dangers(judged()) == []
    assert invoke(["upgrade", "--safety", "off"]).status == 0


def test_where_nothing_is_pending_nothing_is_started(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", _NOWHERE)
    report = judged()
    assert (report["exit_code"], report["coverage"]["postgresql"]) == (0, None)
    assert invoke(["upgrade", "--safety", "require"]).stderr == ""


@pytest.mark.parametrize("refusal", ["no server", "no role", "no privilege"])
def test_what_cannot_be_traced_is_never_fine(
    shop: Project, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    role = f"scratch_{empty_databases.names['main']}"
    as_role = re.sub("//[^@]*@", f"//{role}:x@", empty_databases.server.admin_url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", _NOWHERE if refusal == "no server" else as_role)
    shop.revision("main", "m2", "m1", f'op.execute("ALTER TABLE users RENAME age TO {"a" * 64}")', "pass")
    if refusal == "no privilege":
        run(execute(empty_databases, "main", f"CREATE ROLE {role} LOGIN PASSWORD 'x'"))
    report = judged()
    run(execute(empty_databases, "main", f"DROP ROLE IF EXISTS {role}"))
    assert report["exit_code"] == 5
    (error,) = [finding for finding in report["findings"] if finding["severity"] == "error"]
    assert error["rule"] == "not-traced"
    assert "--scratch-url" in error["remedy"]
    outcomes = {check["name"]: check["outcome"] for check in report["checks"]}
    assert outcomes == {"trace": "failed", "main-m2": "skipped"}
    assert [(verdict["hazard"], verdict["confidence"]) for verdict in report["verdicts"]] == [
        ("CM047", "static")
    ]
    assert judged("--allow-unknown")["exit_code"] == 0


def test_a_step_that_depends_on_rows_is_not_known(shop: Project) -> None:
    looks = 'assert op.get_bind().scalar(sa.text("SELECT count(*) FROM users")) > 0'
    shop.revision("main", "m2", "m1", looks, "pass")
    assert check().status == 5
    assert check("--allow-unknown").status == 0


_UNAVAILABLE = 'op.execute("CREATE EXTENSION no_such_extension")'
_TOLERATED = f"""try:
    with op.get_bind().begin_nested():
        {_UNAVAILABLE}
except sa.exc.DBAPIError:
    pass"""


@pytest.mark.parametrize("body", [_UNAVAILABLE, _TOLERATED])
@pytest.mark.parametrize("more", [None, _DROP])
def test_what_only_the_scratch_server_refuses_is_not_known(
    shop: Project, body: str, more: str | None
) -> None:
    shop.revision("main", "m2", "m1", body, "pass")
    if more:
        shop.revision("main", "m3", "m2", more, "pass")
    report = judged()
    assert report["exit_code"] == 5
    assert {verdict["hazard"] for verdict in report["verdicts"] if verdict["revision"] == "m2"} == {"CM060"}
    for finding in report["findings"]:
        if finding["rule"] != "CM060":
            continue
        assert 'scratch server does not have the extension "no_such_extension"' in finding["message"]
        assert "--scratch-url" in finding["message"]
    refused = invoke(["upgrade", "--safety", "require"])
    assert refused.status == 5, refused
    assert "CM060" in refused.stderr
    assert "m2.py" in refused.stderr


def test_extension_of_an_applied_revision_that_the_scratch_server_lacks(
    shop: Project, empty_databases: Databases
) -> None:
    shop.revision("main", "m2", "m1", _UNAVAILABLE, "pass")
    run(execute(empty_databases, "main", "UPDATE alembic_version SET version_num = 'm2'"))
    for command in (["downgrade", "main@m1", "--no-backup"], ["diff", "live", "revisions@current"]):
        told = invoke(command).everything
        assert "upgrade m2 Revision m2 failed on a scratch database" in told
        assert 'scratch server does not have the extension "no_such_extension"' in told
        assert "--scratch-url URL" in told
        assert "is at base" not in told


def test_deferred_constraint_that_does_not_hold_is_not_known(shop: Project) -> None:
    table = "CREATE TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)"
    body = f'op.execute("{table}"); op.execute("INSERT INTO late VALUES (1), (1)")'
    shop.revision("main", "m2", "m1", body, "pass")
    report = judged()
    assert report["exit_code"] == 5
    assert [(verdict["hazard"], verdict["verdict"]) for verdict in report["verdicts"]] == [
        ("CM060", "danger")
    ]
    assert "(id)=(1)" not in str(report)


def test_the_way_back_is_tried(shop: Project) -> None:
    drop = 'op.drop_column("users", "{}")'
    add = 'op.add_column("users", sa.Column("{}", sa.Text()))'
    shop.revision("main", "m2", "m1", add.format("one"), "pass")
    shop.revision("main", "m3", "m2", add.format("two"), drop.format("two"))
    shop.revision("main", "m4", "m3", 'op.drop_index("ix", "users", if_exists=True)', "raise ValueError(1)")
    warned = [(verdict["hazard"], verdict["revision"]) for verdict in judged()["verdicts"]]
    assert warned == [("CM045", "m4")]  # beneath a step that fails nothing is tried
    shop.revision("main", "m4", "m3", add.format("four"), "pass", more='irreversible = "it is kept"')
    assert judged()["verdicts"] == []
    default = 'op.alter_column("users", "name", server_default={})'
    # As PostgreSQL prints the list, and reads it back as another one that means the same.
    kept = "(ARRAY['a'::character varying, 'b'::character varying])::text[]"
    chosen = default.format(f"""sa.text("('a'::varchar::text = ANY ({kept}))::text")""")
    listed = default.format("""sa.text("('a'::varchar IN ('a', 'b'))::text")""")
    shop.revision("main", "m3", "m2", listed, default.format("None"))
    shop.revision("main", "m4", "m3", default.format("None"), chosen)
    (finding,) = judged()["findings"]
    assert (finding["rule"], finding["severity"]) == ("CM045", "warning")
    assert "main@m2: after upgrade and downgrade, column public.users.one remains" in finding["message"]
    shop.revision("main", "m4", "m3", add.format("four"), drop.format("four"))
    shop.revision("main", "m3", "m2", add.format("two"), 'op.execute("DROP ROLE nobody_here")')
    assert judged()["findings"] == []  # roles are not of the scratch database alone


@pytest.mark.parametrize(
    "deallocate",
    [
        "op.execute('DEALLOCATE ALL')",
        "op.get_bind().connection.run_async(lambda driver: driver.execute('DEALLOCATE ALL'))",
    ],
)
def test_way_back_may_deallocate_prepared_statements(shop: Project, deallocate: str) -> None:
    add, drop = 'op.add_column("users", sa.Column("{}", sa.Text()))', 'op.drop_column("users", "{}")'
    for number in range(2, 6):
        back = f"{drop.format(f'c{number}')}\n{deallocate if number == 3 else ''}"
        shop.revision("main", f"m{number}", f"m{number - 1}", add.format(f"c{number}"), back)
    assert judged()["findings"] == []


def test_rendered_sql_is_compared_with_what_runs(shop: Project) -> None:
    guarded = f"if not op.get_context().as_sql:\n    {_HARMLESS}"
    create = "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM 1;\n\nEND;'"
    create += "; COMMENT ON FUNCTION f() IS 'f'"
    body = f"op.execute({create!r})"
    back = 'op.drop_column("users", "note")'
    shop.revision("main", "m2", "m1", guarded, back)
    shop.revision("main", "m3", "m2", body, 'op.execute("DROP FUNCTION f()")')
    (verdict,) = judged()["verdicts"]
    assert (verdict["hazard"], verdict["revision"], verdict["verdict"]) == ("CM044", "m2", "note")
    shop.revision("main", "m2", "m1", f"op.get_bind().scalar(sa.text('SELECT 1')) + 1\n{_HARMLESS}", back)
    assert judged()["verdicts"] == []


def test_suppressions_of_every_place(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    comment = "# circle: ignore[CM013] reason=nobody uses it until=2100-01-01"
    shop.revision("main", "m2", "m1", f"{comment}\n{_DROP}", "pass")
    shop.revision(
        "main",
        "m3",
        "m2",
        'op.drop_column("users", "name")',
        "pass",
        more='safety = {"ignore": {"CM010": "it was never shown"}, "assume": {"users": "small"}}',
    )
    shop.revision("main", "m4", "m3", _RETYPE, "pass")
    report = judged()
    assert report["exit_code"] == 0
    assert [
        (suppression["rule"], suppression["by"], suppression["reason"])
        for suppression in report["suppressed"]
    ] == [
        ("CM013", "comment", "nobody uses it"),
        ("CM010", "revision", "it was never shown"),
    ]
    shop.revision("main", "m3", "m2", 'op.drop_column("users", "name")', "pass")
    assert [danger[0] for danger in dangers(judged())] == ["CM010", "CM061"]
    monkeypatch.setenv("CIRCLE_MIGRATE_SAFETY_IGNORE", "CM010 main@public.users.name # never shown")
    monkeypatch.setenv("CIRCLE_MIGRATE_SAFETY_TABLES", "main@users = small")
    assert judged()["exit_code"] == 0
    monkeypatch.setenv("CIRCLE_MIGRATE_SAFETY_IGNORE", "CM010 until 2020-01-01 # never shown")
    expired = judged()
    assert [check["name"] for check in expired["checks"]][:2] == ["safety-ignore", "trace"]
    assert [verdict["hazard"] for verdict in expired["verdicts"] if not verdict["revision"]] == ["CM082"]
    jsonschema.Draft202012Validator(schema("safety-check")).validate(expired)


def test_a_baseline_hides_what_it_knows_and_nothing_else(shop: Project) -> None:
    shop.revision("main", "m2", "m1", _DROP, _MAKE)
    assert check("--baseline", "known.json", "--write-baseline").status == 0
    shop.revision("main", "m2", "m1", f"# circle: ignore[CM001]\n\n{_DROP}", _MAKE)
    said = judged("--baseline", "other.json", "--write-baseline")
    assert [verdict["hazard"] for verdict in said["verdicts"]] == ["CM080"]
    shop.revision("main", "m2", "m1", f"# moved down\n\n{_DROP}", _MAKE)
    known = judged("--baseline", "known.json")
    assert (known["exit_code"], [suppression["by"] for suppression in known["suppressed"]]) == (
        0,
        ["baseline"],
    )
    shop.revision("main", "m3", "m2", _RETYPE, "pass")
    assert [danger[0] for danger in dangers(judged("--baseline", "known.json"))] == ["CM061"]
    (shop.folder / "known.json").write_text("{}", encoding="utf-8")
    assert check("--baseline", "known.json").status == 2


def test_a_gate_refuses_what_is_not_allowed(shop: Project, empty_databases: Databases) -> None:
    shop.revision("main", "m2", "m1", f"{_RETYPE}\n{_DROP}", f"{_MAKE}\n{_RETYPE_BACK}")
    before = run(versions(empty_databases))
    for allowed, left in ([], "table-rewrite, data-loss"), (["data-loss"], "(table-rewrite)"):
        options = [part for name in allowed for part in ("--allow", name)]
        answer = invoke(["upgrade", "--safety", "require", *options])
        assert (answer.status, run(versions(empty_databases))) == (5, before)
        assert left in answer.stderr
    answer = invoke(["upgrade", "--safety", "require", "--allow", "data-loss", "--allow", "table-rewrite"])
    assert answer.status == 0
    assert "danger" not in answer.stderr
    log = json.loads(invoke(["log", "--format", "json"]).stdout)
    notes = log["runs"][0]["notes"]["safety"]
    assert (notes["gate"], notes["allowed"]) == ("require", ["data-loss", "table-rewrite"])
    assert [finding["hazard"] for finding in notes["found"]] == ["CM061", "CM013"]
    assert "in spite of CM013, CM061; allowed: data-loss, table-rewrite" in invoke(["log"]).stdout


def test_by_default_danger_is_said_and_stops_nothing(shop: Project) -> None:
    shop.revision("main", "m2", "m1", _DROP, "pass")
    answer = invoke(["upgrade", "-q"])
    assert answer.status == 0
    assert "CM013 danger" in answer.stderr
    assert "CM013" not in answer.stdout


@pytest.mark.parametrize(("gate", "status"), [("warn", 0), ("require", 5)])
def test_a_gate_that_cannot_judge(
    shop: Project, monkeypatch: pytest.MonkeyPatch, gate: str, status: int
) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", _NOWHERE)
    shop.revision("main", "m2", "m1", _HARMLESS, "pass")
    answer = invoke(["upgrade", "--safety", gate])
    assert answer.status == status
    assert "could not be traced" in answer.stderr


@pytest.mark.parametrize("options", [["--safety", "off"], ["--safety", "require"]])
def test_a_gate_has_nothing_to_do_where_no_row_is(
    shop: Project, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", _NOWHERE)
    run(execute(empty_databases, "main", "TRUNCATE users, parked"))
    shop.revision("main", "m2", "m1", _DROP, "pass")
    answer = invoke(["upgrade", "-q", *options])
    assert (answer.status, answer.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        "upgrade --allow data-los",
        "upgrade --safety off --allow data-loss",
        "safety-check --profile ci",
        "safety-check --stats stats.json",
        "safety-check --write-baseline",
        "safety-check --down",
        "safety-check --explain CM999",
        "safety-check --profile ci base:head --stats none.json",
    ],
)
def test_what_makes_no_sense_is_refused(shop: Project, arguments: str) -> None:
    assert invoke(arguments.split()).status == 2


def test_without_databases_a_file_has_the_sizes(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke(["stats", "-o", "stats.json"]).status == 0
    for name in ("DATABASE_URL", "CREDS_DATABASE_URL"):
        monkeypatch.delenv(name)
    shop.revision("main", "m2", "m1", _RETYPE, "pass")
    span = ("--profile", "ci", "main@m1:head")
    measured = (*span, "--stats", "stats.json")
    assert [danger[:2] for danger in dangers(judged(*measured))] == [("CM061", "m2")]
    assert dangers(judged(*measured, "--rows", "1000")) == []
    assert [danger[:2] for danger in dangers(judged(*span, "--rows", "1000"))] == [("CM061", "m2")]
    assert dangers(judged("--profile", "ci", "main@base:head")) == []
    monkeypatch.setenv("CIRCLE_MIGRATE_SAFETY_TABLES", "users = small")
    assert dangers(judged(*span)) == []


def test_a_branch_is_judged_from_where_it_left_its_base(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    for line in ("init -q -b trunk", "add .", "-c user.name=a -c user.email=a@b commit -q -m one"):
        subprocess.run(["git", *line.split()], check=True)
    for name in ("DATABASE_URL", "CREDS_DATABASE_URL"):
        monkeypatch.delenv(name)
    shop.revision("main", "m2", "m1", _DROP, "pass")
    report = judged("--profile", "ci", "--base", "trunk")
    assert (report["coverage"]["revisions"], [danger[:2] for danger in dangers(report)]) == (
        1,
        [("CM013", "m2")],
    )
    files = json.loads(
        invoke(["check", "--files-only", "--base", "trunk", "--safety", "--format", "json"]).stdout
    )
    assert [finding["rule"] for finding in files["findings"] if finding["severity"] == "error"] == ["CM013"]


def test_the_gate_for_pipelines_judges_too(shop: Project) -> None:
    shop.revision("main", "m2", "m1", _DROP, "pass")
    answer = invoke(["check", "--no-pending", "--safety"])
    assert answer.status == 5
    assert "Table or schema is dropped with its rows: public.parked" in answer.stdout
    assert invoke(["check", "--no-pending"]).status == 0


def test_every_format_says_what_is_dangerous(shop: Project, create_databases: Callable[..., Any]) -> None:
    shop.revision("main", "m2", "m1", _DROP, "pass")
    said = {
        output_format: check("--format", output_format)
        for output_format in ("json", "junit", "sarif", "github", "gitlab", "markdown")
    }
    assert {answer.status for answer in said.values()} == {5}
    report = json.loads(said["json"].stdout)
    jsonschema.Draft202012Validator(schema("safety-check")).validate(report)
    prints = {verdict["fingerprint"] for verdict in report["verdicts"]}
    assert prints == {finding["fingerprint"] for finding in report["findings"]}
    cases = ET.fromstring(said["junit"].stdout).findall("testsuite/testcase")
    assert [case.get("classname", "").rpartition(".")[2] for case in cases] == ["trace", "main-m2"]
    assert cases[1].find("failure") is not None
    (result,) = (
        result
        for result in json.loads(said["sarif"].stdout)["runs"][0]["results"]
        if result["ruleId"] == "CM013"
    )
    assert result["level"] == "error"
    assert "CM013" in {issue["check_name"] for issue in json.loads(said["gitlab"].stdout)}
    assert "::error file=" in said["github"].stdout
    assert "**CM013**" in said["markdown"].stdout
    assert said["markdown"].stdout.count("<details>") == said["markdown"].stdout.count("</details>")


def test_live_server_keeps_its_roles(
    shop: Project, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    roles = "SELECT rolname FROM pg_roles WHERE rolname IN ('circle_new', 'circle_old')"
    run(execute(empty_databases, "main", "CREATE ROLE circle_old"))
    try:
        drop, create = "DROP ROLE circle_old", "DO $$ BEGIN CREATE ROLE circle_new; END $$"
        bodies = [f'op.execute("{sql}")' for sql in (drop, create)]
        for body in (*bodies, f"with op.get_context().autocommit_block():\n    {bodies[0]}"):
            shop.revision("main", "m2", "m1", body, "pass")
            told = invoke(["safety-check"])
            assert told.status == ExitCode.REFUSED
            assert "the step changes roles, databases or tablespaces" in told.everything
            refused = invoke(["diff", "live", "revisions", "-d", "main"])
            assert refused.status == ExitCode.REFUSED
            assert "circle-migrate[embedded]" in refused.everything
            assert run(rows(empty_databases, "main", roles)) == [("circle_old",)]
        url = empty_databases.server.admin_url
        if folder := re.search("host=([^&]+)", url):
            (tmp_path / ".s.PGSQL.6000").symlink_to(Path(unquote(folder[1])) / ".s.PGSQL.5432")
            url = f"postgresql://postgres@/postgres?host={tmp_path}&port=6000"
        monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", re.sub("@[^:/]+:", "@127.1:", url))
        assert invoke(["safety-check"]).status == ExitCode.REFUSED
        assert run(rows(empty_databases, "main", roles)) == [("circle_old",)]
        shop.revision("main", "m2", "m1", 'op.execute("CREATE TABLE more ()")', "pass")
        assert invoke(["safety-check"]).status == 0
    finally:
        run(execute(empty_databases, "main", "DROP ROLE circle_old"))
