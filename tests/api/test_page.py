"""The status page: what it shows, and how much of it."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import asyncpg
import pytest

from circle_migrate.api.page.verdicts import SafetyChecks, Verdicts
from circle_migrate.api.results import Answer as Read
from circle_migrate.api.snapshot import Snapshot
from circle_migrate.commands.status import DatabaseStatus
from circle_migrate.core.errors import MigrateError, UsageError
from circle_migrate.core.findings import Check
from circle_migrate.postgres.deployer_lock import KEY
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.safety.result import SafetyReport
from tests.api.asgi import Answer, request, running
from tests.api.served import app, get
from tests.deployments import VARIABLES, environment, execute
from tests.projects import Project
from tests.servers import Databases, run

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"


@pytest.fixture
def pending(empty_databases: Databases, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty databases that the settings of this process name, and no server for scratch databases."""
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", "postgresql://u@127.0.0.1:9/nowhere")


async def until(text: str) -> Answer:
    """Ask for the page until it shows a text."""
    async with running(app()) as application, asyncio.timeout(30):
        while text not in (page := await request(application, "/")).text:  # noqa: ASYNC110 - a thread's work
            await asyncio.sleep(0.05)
    return page


def test_texts_of_strangers_are_shown_as_text(served: Databases) -> None:
    literal = "E'" + HOSTILE.replace("\x1b", "\\x1b") + "'"
    for name in served.names:
        run(execute(served, name, f"UPDATE circle_migrate.runs SET command = {literal}"))
    page, style, script = get("/", "/status.css", "/status.js")
    assert (page.status, style.status, script.status) == (200, 200, 200)
    assert page.text.count("<script") == page.text.count('<script src="status.js" defer></script>') == 1
    assert "&lt;script&gt;" in page.text
    assert not {"\x1b", "\u202e"} & set(page.text)
    assert " style=" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert (page.headers["cache-control"], style.headers["content-type"][:8]) == ("no-store", "text/css")
    assert script.headers["content-type"].startswith("text/javascript")


REVISION = """
revision = "0001"
down_revision = None


def upgrade():
    pass


def downgrade():
    pass
"""


def test_names_and_messages_of_strangers_are_text_everywhere(
    empty_databases: Databases, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message of a pending revision, a role that holds the lock, its application, and an error."""
    role = f"<script>{secrets.token_hex(4)}</script>"
    tables = [f'[tool.circle-migrate.databases.{name}]\nrevisions = "{name}"\n' for name in VARIABLES]
    (project_folder / "pyproject.toml").write_text("".join(tables), encoding="utf-8")
    for name in VARIABLES:
        (project_folder / name).mkdir()
        (project_folder / name / "0001.py").write_text(f'"""{HOSTILE}"""\n{REVISION}', encoding="utf-8")
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CREDS_DATABASE_URL", "postgresql://u@127.0.0.1:9/%3Cscript%3E%1B")

    async def scenario() -> list[Answer]:
        await execute(empty_databases, "main", f'CREATE ROLE "{role}" LOGIN')
        url, name = empty_databases.urls["main"], {"application_name": "circle-migrate <script>"}
        stranger = await asyncpg.connect(url, user=role, server_settings=name)
        assert await stranger.fetchval("SELECT pg_try_advisory_lock($1)", KEY)
        names = ("health", "migrations", "plan", "runs", "graph")
        paths = ["/", "/metrics", *(f"/api/v1/{name}" for name in names)]
        async with running(app()) as application:
            answers = [await request(application, path) for path in paths]
        await stranger.close()
        await execute(empty_databases, "main", f'DROP ROLE "{role}"')
        return answers

    page, *others = run(scenario())
    assert page.text.count("<script") == page.text.count('<script src="status.js" defer></script>') == 1
    for text in ("&lt;script&gt;alert(1)", "circle-migrate &lt;script&gt;", role[8:16]):
        assert text in page.text, text
    for answer in (page, *others):
        assert not {"\x1b", "\u202e"} & set(answer.text)
        assert answer.headers["content-type"].startswith(("text/", "application/")), answer
    assert [answer.headers["x-content-type-options"] for answer in others] == ["nosniff"] * len(others)


@pytest.mark.usefixtures("pending")
def test_both_databases_and_what_is_pending() -> None:
    (page,) = get("/")
    for text in ("dca7825748db", "1e978f7e8aa5", "16 pending", "not ready: pending", "is being checked"):
        assert text in page.text, text


def test_broken_settings_are_named(served: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    (page,) = get("/")
    assert page.status == 200
    assert "no URL is set for the database main" in page.text


@pytest.mark.usefixtures("pending")
def test_revisions_that_were_not_traced_are_not_called_safe() -> None:
    page = run(until("only its text was checked"))
    assert "no danger found" not in page.text


def test_a_large_tree_makes_no_large_page(
    pending: None, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(project_folder)
    project.write_settings()
    for number in range(500):
        down = f"m{number - 1}" if number else None
        project.revision("main", f"m{number}", down, "pass", "pass")
    project.revision("credentials", "c1", None, "pass", "pass")
    page = run(until("500 revisions"))
    for text in (
        "500 pending",
        "and 460 more",
        "40 of 500 revisions are shown",
        "<title id=",
        "460 more</text>",
    ):
        assert text in page.text, text
    assert 'Revision m498 <strong>(pending)</strong> <span class="quiet">after m497</span></li>' in page.text
    assert page.text.count("</code> Revision m") == 80, "40 in the list of pending ones, 40 in that of all"
    assert len(page.text) < 50_000


def database(*revisions: Revision) -> list[DatabaseStatus]:
    """A database with these revisions pending."""
    return [DatabaseStatus("main", pending=revisions)]


def test_verdicts_are_kept_while_the_same_files_are_pending() -> None:
    answers: list[Check | MigrateError] = []

    async def read() -> Read:
        await asyncio.sleep(0)
        if isinstance(answer := answers.pop(), MigrateError):
            raise answer
        return Read(SafetyReport("safety-check", (answer,)), "")

    async def awaited(checks: SafetyChecks, revision: Revision) -> Verdicts:
        async with asyncio.timeout(10):
            while (verdicts := checks.verdicts(database(revision))).is_awaited:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return verdicts

    one, two = (Revision("main", "m1", checksum=text) for text in ("one", "two"))
    first, second = (Check("main-m1", "", skipped=text) for text in ("one", "two"))

    async def scenario() -> None:
        snapshot = Snapshot(read, 0.2, in_thread=False)
        checks = SafetyChecks(snapshot)
        assert checks.verdicts([]) == Verdicts()
        answers.append(first)
        assert (await awaited(checks, one)).checks == {"main@m1": first}
        await asyncio.sleep(0.3)  # longer than the snapshot keeps it
        assert checks.verdicts(database(one)).checks == {"main@m1": first}
        assert checks.verdicts([]) == Verdicts()
        answers.append(second)
        assert checks.verdicts(database(two)).is_awaited, "not those on the file as it was"
        assert (await awaited(checks, two)).checks == {"main@m1": second}
        answers.append(UsageError("no server"))
        assert (await awaited(checks, one)).missing == "could not be checked: no server"
        await snapshot.close()

    run(scenario())
