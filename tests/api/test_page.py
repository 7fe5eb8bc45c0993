"""The page for people."""

from __future__ import annotations

import secrets
from pathlib import Path

import asyncpg
import pytest

from circle_migrate.postgres.deployer_lock import KEY
from tests.api.asgi import Answer, request, running
from tests.api.served import app, get
from tests.deployments import VARIABLES, environment, execute
from tests.servers import Databases, run

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"


def test_the_page_shows_texts_of_strangers_as_text(served: Databases) -> None:
    literal = "E'" + HOSTILE.replace("\x1b", "\\x1b") + "'"
    for name in served.names:
        run(execute(served, name, f"UPDATE circle_migrate.runs SET command = {literal}"))
    page, style = get("/", "/status.css")
    assert (page.status, style.status) == (200, 200)
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
    assert not {"\x1b", "\u202e"} & set(page.text)
    assert " style=" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert (page.headers["cache-control"], style.headers["content-type"][:8]) == ("no-store", "text/css")


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
    assert "<script" not in page.text
    for text in ("&lt;script&gt;alert(1)", "circle-migrate &lt;script&gt;", role[8:16]):
        assert text in page.text, text
    for answer in (page, *others):
        assert not {"\x1b", "\u202e"} & set(answer.text)
        assert answer.headers["content-type"].startswith(("text/", "application/")), answer
    assert [answer.headers["x-content-type-options"] for answer in others] == ["nosniff"] * len(others)


def test_the_page_shows_both_databases_and_what_is_pending(
    empty_databases: Databases, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", "postgresql://u@127.0.0.1:9/nowhere")
    (page,) = get("/")
    for text in ("dca7825748db", "1e978f7e8aa5", "16 pending", "not ready: pending", "is being checked"):
        assert text in page.text, text


def test_the_page_of_broken_settings_says_so(served: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    (page,) = get("/")
    assert page.status == 200
    assert "no URL is set for the database main" in page.text
