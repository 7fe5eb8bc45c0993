"""The routes about health, as an application includes them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI

from circle_migrate.api import migration_router, service
from circle_migrate.api.health import Check, Checks
from circle_migrate.api.service import load_deployment
from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from tests.api.asgi import BEARER, TOKEN, Answer, request, running
from tests.deployments import environment, execute
from tests.servers import Databases, run

READY, HEALTH = "/api/v1/health/ready", "/api/v1/health"


def application(**checks: Check) -> FastAPI:
    app = FastAPI()
    app.include_router(migration_router(checks), prefix="/api/v1")
    return app


def get(path: str, headers: dict[str, str] | None = None, **checks: Check) -> Answer:
    async def scenario() -> Answer:
        async with running(application(**checks)) as app:
            return await request(app, path, headers)

    return run(scenario())


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> Callable[[Databases], None]:
    """Let the settings of this process name databases and have a token."""

    def set_variables(databases: Databases) -> None:
        monkeypatch.setenv("CIRCLE_MIGRATE_API_TOKEN", TOKEN)
        for name, url in environment(databases).items():
            monkeypatch.setenv(name, url)

    return set_variables


Use = Callable[[Databases], None]


def test_live_asks_no_database(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_LOCK_WAIT", "soon")
    answer = get("/api/v1/health/live")
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert answer.headers["cache-control"] == "no-store"


def test_ready_at_head(migrated_databases: Databases, use: Use) -> None:
    use(migrated_databases)
    answer = get(READY)
    assert (answer.status, answer.json["status"], answer.json["reasons"]) == (200, "ready", [])
    assert answer.json["checked_at"].endswith("+00:00")
    assert "retry-after" not in answer.headers


def test_not_ready_without_details_where_revisions_are_pending(empty_databases: Databases, use: Use) -> None:
    use(empty_databases)
    answer = get(READY, BEARER)
    assert (answer.status, answer.json["reasons"]) == (503, ["pending"])
    assert answer.headers["retry-after"] == "5"
    assert "main" not in answer.text


def test_pending_revisions_degrade(empty_databases: Databases, use: Use) -> None:
    """All works as long as nobody needs them; 503 of `/health` is for what does not work."""
    use(empty_databases)
    answer = get(HEALTH, BEARER)
    assert (answer.status, answer.json["status"], answer.json["reasons"]) == (200, "degraded", ["pending"])
    main = answer.json["dependencies"]["main"]
    assert (main["status"], main["reasons"]) == ("degraded", ["pending"])


def test_ready_where_a_database_is_ahead(
    migrated_databases: Databases, use: Use, project_folder: Path
) -> None:
    """The next release has applied a revision that this one does not have."""
    use(migrated_databases)
    run(execute(migrated_databases, "main", AHEAD))
    answer = get(HEALTH, BEARER)
    assert answer.json["dependencies"]["main"]["reasons"] == ["unknown-revision"]
    assert answer.json["status"] == "degraded"
    assert (get(READY).status, answer.status) == (200, 200)


AHEAD = """
WITH head AS (UPDATE alembic_version SET version_num = 'newer' RETURNING version_num)
INSERT INTO circle_migrate.steps (run, segment, direction, duration_ms, started_at, elsewhere,
                                  revision, message, checksum, source)
SELECT run, segment, 'up', 1, clock_timestamp(), '{}', 'newer', 'Newer', 'x', (
    SELECT $$revision = 'newer'
down_revision = '$$ || (SELECT version_num FROM alembic_version) || $$'
def upgrade() -> None: ...
$$) FROM circle_migrate.steps ORDER BY id DESC LIMIT 1
"""


NO_JOURNAL = "DROP SCHEMA circle_migrate CASCADE"


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (f"{NO_JOURNAL}; UPDATE alembic_version SET version_num = 'nowhere'", "unknown-revision"),
        (f"{NO_JOURNAL}; INSERT INTO alembic_version VALUES (E'x\\x1b[31m<script>')", "unknown-revision"),
        ("DROP TABLE alembic_version; CREATE TABLE alembic_version (n int)", "refused"),
        ("DELETE FROM alembic_version", "in-doubt"),
        ("ALTER TABLE circle_migrate.steps RENAME TO gone", "refused"),
    ],
)
def test_reason_of_a_damaged_database(
    migrated_databases: Databases, use: Use, statement: str, reason: str
) -> None:
    use(migrated_databases)
    run(execute(migrated_databases, "main", statement))
    answer, health = get(READY), get(HEALTH, BEARER)
    assert (answer.status, answer.json["reasons"]) == (503, [reason]), health.text
    assert (health.status, health.json["status"]) == (503, "failed")
    assert "\x1b" not in health.text


def test_unreachable_at_first_and_ready_later(
    migrated_databases: Databases, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application starts before the databases do."""
    use(migrated_databases)
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:Zq-secret-xV@127.0.0.1:9/d")

    async def scenario() -> None:
        async with running(application()) as app:
            answer = await request(app, READY)
            assert (answer.status, answer.json["reasons"]) == (503, ["unreachable"])
            answer = await request(app, HEALTH, BEARER)
            main, credentials = answer.json["dependencies"].values()
            assert (main["status"], main["latency_ms"], credentials["status"]) == ("failed", None, "ok")
            assert credentials["latency_ms"] > 0
            assert "Zq-secret" not in answer.text
            monkeypatch.setenv("DATABASE_URL", migrated_databases.urls["main"])
            await until(lambda: request(app, READY), 200)

    run(scenario())


@pytest.mark.parametrize(
    ("variable", "value"),
    [("CIRCLE_MIGRATE_LOCK_WAIT", "soon"), ("DATABASE_URL", "nonsense"), ("DATABASE_URL", "")],
)
def test_broken_settings_are_a_state(
    migrated_databases: Databases, use: Use, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    use(migrated_databases)
    monkeypatch.setenv(variable, value)
    assert (get(READY).status, get(READY).json["reasons"]) == (503, ["settings"])
    assert get(HEALTH).status == 503


def test_a_broken_revision_file_is_a_state(
    empty_databases: Databases, use: Use, project_folder: Path
) -> None:
    use(empty_databases)
    (project_folder / "versions").mkdir()
    (project_folder / "versions/broken.py").write_text("def upgrade(:\n", encoding="utf-8")
    table = '[tool.circle-migrate.databases.main]\nrevisions = "versions"\n'
    (project_folder / "pyproject.toml").write_text(table, encoding="utf-8")
    assert (get(READY).status, get(READY).json["reasons"]) == (503, ["refused"])


def test_details_only_with_the_token(migrated_databases: Databases, use: Use) -> None:
    use(migrated_databases)
    basic = base64.b64encode(f"any:{TOKEN}".encode()).decode()
    for headers in (BEARER, {"Authorization": f"basic {basic}"}):
        assert get(HEALTH, headers).json["dependencies"].keys() == {"main", "credentials"}
    for value in ("", "Bearer", "Bearer x", f"Bearer {TOKEN} ", f"Digest {TOKEN}", "Basic !", "Bearer \xff"):
        answer = get(HEALTH, {"Authorization": value})
        assert (answer.status, answer.json.keys()) == (200, {"status", "reasons", "checked_at"})


def test_nobody_sees_details_where_no_token_is_set(
    migrated_databases: Databases, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(migrated_databases)
    monkeypatch.delenv("CIRCLE_MIGRATE_API_TOKEN")
    for headers in (BEARER, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
        assert "dependencies" not in get(HEALTH, headers).json


def test_a_storm_of_probes_makes_one_refresh(
    migrated_databases: Databases, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(migrated_databases)
    connections: list[str] = []
    connect = Database.connect

    async def counted(self: Database, *arguments: Any, **more: Any) -> asyncpg.Connection:
        connections.append(self.name)
        assert "READ ONLY" in more["begin"]
        return await connect(self, *arguments, **more)

    monkeypatch.setattr(Database, "connect", counted)

    async def scenario() -> None:
        async with running(application()) as app:
            answers = await asyncio.gather(*(request(app, READY) for _ in range(1000)))
            assert {answer.status for answer in answers} == {200}

    run(scenario())
    assert sorted(connections) == ["credentials", "main"]


def test_settings_and_files_are_read_once_while_all_is_well(
    migrated_databases: Databases, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a cache folder, large trees take seconds, which no limit of a database may count."""
    use(migrated_databases)
    opened: list[int] = []
    monkeypatch.setattr(service, "_LIMIT", 1.0)

    def slowly() -> Deployment:
        opened.append(1)
        time.sleep(1.2)
        return load_deployment()

    async def scenario() -> None:
        served = service.Service(slowly)
        for _ in range(3):
            taken = await served.state._take()
            assert not isinstance(taken.value, MigrateError)
        await served.close()

    run(scenario())
    assert len(opened) == 1


def test_a_database_that_never_answers_is_unreachable(
    migrated_databases: Databases, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(migrated_databases)

    async def scenario() -> None:
        server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("DATABASE_URL", f"postgresql://u@127.0.0.1:{port}/d?sslmode=disable")
        async with running(application()) as app:
            answer = await request(app, HEALTH, BEARER)
            assert answer.json["reasons"] == ["unreachable"]
            states = {name: item["status"] for name, item in answer.json["dependencies"].items()}
            assert states == {"main": "failed", "credentials": "ok"}
            server.close()

    run(scenario())


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while await reader.read(1024):
            pass
    writer.close()


async def works() -> None: ...


async def fails() -> None:
    raise ConnectionError("no route")


async def hangs() -> None:
    await asyncio.sleep(3600)


def test_other_dependencies_degrade(migrated_databases: Databases, use: Use) -> None:
    use(migrated_databases)
    answer = get(HEALTH, BEARER, redis=works, queue=fails, mail=hangs)
    found = answer.json["dependencies"]
    assert (answer.status, answer.json["status"], answer.json["reasons"]) == (200, "degraded", [])
    states = {name: (item["status"], item["reasons"]) for name, item in found.items()}
    assert states == {
        "main": ("ok", []),
        "credentials": ("ok", []),
        "redis": ("ok", []),
        "queue": ("degraded", ["failed"]),
        "mail": ("degraded", ["timeout"]),
    }
    assert found["queue"]["message"] == "ConnectionError: no route"
    assert get(READY, mail=hangs).status == 200


def test_a_finding_that_does_not_matter_for_readiness_degrades(
    migrated_databases: Databases, use: Use
) -> None:
    use(migrated_databases)
    run(execute(migrated_databases, "main", "UPDATE pg_index SET indisvalid = false WHERE indexrelid = "
        "'users_pkey'::regclass"))  # fmt: skip
    answer = get(HEALTH, BEARER)
    assert answer.json["dependencies"]["main"]["status"] == "degraded"
    assert "invalid-index" in answer.json["dependencies"]["main"]["reasons"]
    assert (answer.status, get(READY).status) == (200, 200)


@pytest.mark.parametrize(
    ("given", "taken"),
    [("abc-1.2_3", True), ("", False), ("a b", False), ("x" * 65, False), ("\x1b[", False)],
)
def test_the_id_of_a_request(workdir: Path, given: str, taken: bool) -> None:
    answer = get("/api/v1/health/live", {"X-Request-ID": given})
    assert (answer.headers["x-request-id"] == given) is taken
    assert answer.headers["x-request-id"].isascii()


def test_an_edited_file_does_not_stop_a_release(migrated_databases: Databases, use: Use) -> None:
    use(migrated_databases)
    run(execute(migrated_databases, "main", "UPDATE circle_migrate.steps SET checksum = 'other'"))
    answer = get(HEALTH, BEARER)
    assert (answer.status, answer.json["status"]) == (200, "degraded")
    assert answer.json["dependencies"]["main"]["reasons"] == ["edited-revision"]


def test_a_check_that_ignores_its_end_is_begun_once() -> None:
    begun: list[int] = []
    ends = asyncio.Event()

    async def clings() -> None:
        begun.append(1)
        while not ends.is_set():
            with suppress(asyncio.CancelledError):
                await ends.wait()

    async def scenario() -> None:
        checks = Checks({"search": clings}, 0.01)
        for _ in range(3):
            (found,) = await checks.run()
            assert (found.state, found.reasons) == ("degraded", ("timeout",))
        assert len(begun) == 1
        ends.set()
        (found,) = await checks.run()
        assert found.state == "ok"

    run(scenario())


async def until(ask: Callable[[], Awaitable[Answer]], status: int) -> None:
    """Ask until the status is as expected."""
    async with asyncio.timeout(30):
        while (await ask()).status != status:  # noqa: ASYNC110 - the state of another process
            await asyncio.sleep(0.05)
