"""The routes of `serve` that have results of commands, and what surrounds every route."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from circle_migrate.api import results
from circle_migrate.api.problem import PROBLEM
from circle_migrate.api.results import ROUTES
from circle_migrate.api.server import create_app
from circle_migrate.api.service import load_deployment
from circle_migrate.commands.json_schema.command_schema import schema
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.load import load
from circle_migrate.core import redaction
from tests.api.asgi import BEARER, TOKEN, Answer, request, running
from tests.api.served import app, get
from tests.deployments import VARIABLES, deployment, environment, execute, invoke
from tests.servers import Databases, Server, any_major, run, start_binaries

COMMANDS = {
    "/migrations": "history -i",
    "/plan": "plan",
    "/runs": "log -n 100",
    "/drift": "diff",
    "/graph": "graph --current",
}


@pytest.mark.parametrize("path", COMMANDS)
def test_a_result_is_what_the_command_writes(
    served: Databases, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_API_TOKEN", TOKEN)
    hostile = f"os_user = E'eve\\x07\\u202e', host = '{TOKEN}'"
    run(execute(served, "main", f"UPDATE circle_migrate.runs SET {hostile}"))
    (answer,) = get(f"/api/v1{path}", headers=BEARER)
    assert TOKEN not in answer.text
    assert not {"\x07", "\u202e"} & set(answer.text)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    expected = json.loads(invoke([*COMMANDS[path].split(), "--format", "json"]).stdout)
    got = answer.json
    assert got.pop("started_at", None) is None or expected.pop("started_at")
    assert got == expected
    jsonschema.Draft202012Validator(schema(ROUTES[path].command)).validate(answer.json)


def test_no_route_writes(served: Databases) -> None:
    """Writing needs a number of the next transaction."""

    async def next_transaction() -> str:
        async with served.connect("main") as connection:
            return str(await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))

    before = run(next_transaction())
    paths = ["/", "/metrics", "/api/v1/health", *(f"/api/v1{path}" for path in ROUTES)]
    assert [answer.status for answer in get(*paths)] == [200] * len(paths)
    assert run(next_transaction()) == before


@pytest.mark.thorough
def test_databases_that_nobody_can_write_to(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are ready at head: nothing has to be written to know what they are at."""
    paths = ["/api/v1/health/ready", "/", "/metrics", *(f"/api/v1{path}" for path in ROUTES)]
    with start_binaries(any_major()) as (cluster, url):
        pair = Databases(Server("own", url, cluster.stop))
        run(pair.create())
        run(upgrade(deployment(pair), ["heads"]))
        for name, variable in VARIABLES.items():
            monkeypatch.setenv(variable, pair.urls[name])
            run(
                execute(
                    pair, name, f"ALTER DATABASE {pair.names[name]} SET default_transaction_read_only = on"
                )
            )
        for access in ("read-only", "standby"):
            ready, page, *others = get(*paths)
            assert (ready.json["status"], access in page.text) == ("ready", True)
            assert {
                path: answer.status for path, answer in zip(paths[2:], others, strict=True)
            } == dict.fromkeys(paths[2:], 200)
            cluster.stop()
            signal = cluster.data / "standby.signal"
            signal.touch()
            shutil.chown(signal, cluster.account.uid)
            cluster.start()


@pytest.mark.thorough
def test_the_safety_of_pending_revisions(
    empty_databases: Databases, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    (answer,) = get("/api/v1/safety")
    assert (answer.status, answer.json["command"], answer.json["ok"]) == (200, "safety-check", True)
    jsonschema.Draft202012Validator(schema("safety-check")).validate(answer.json)


def test_one_run(served: Databases) -> None:
    (runs,) = get("/api/v1/runs")
    key = runs.json["runs"][0]["run"]
    one, none, wrong = get(
        f"/api/v1/runs/{key}", "/api/v1/runs/00000000-0000-0000-0000-000000000000", "/api/v1/runs/x'--"
    )
    assert [entry["run"] for entry in one.json["runs"]] == [key, key]
    assert one.json["runs"] == runs.json["runs"]
    assert (none.status, wrong.status) == (404, 422)
    for answer in (none, wrong):
        assert answer.headers["content-type"] == "application/problem+json"
        jsonschema.validate(answer.json, PROBLEM)


def test_many_requests_for_single_runs_take_turns(served: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    reading: list[int] = [0, 0]
    log = results._log

    async def counted(*arguments: Any, **more: Any) -> Any:
        reading[0] += 1
        reading[1] = max(reading)
        try:
            return await log(*arguments, **more)
        finally:
            reading[0] -= 1

    monkeypatch.setattr(results, "_log", counted)
    path = "/api/v1/runs/00000000-0000-0000-0000-000000000000"

    async def scenario() -> None:
        async with running(app()) as application:
            answers = await asyncio.gather(*(request(application, path) for _ in range(10)))
            assert {answer.status for answer in answers} == {404}

    run(scenario())
    assert reading == [0, 1]


def test_an_error_is_a_problem_with_the_error_of_the_command(
    served: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(
        execute(
            served, "main", "DROP SCHEMA circle_migrate CASCADE; UPDATE alembic_version SET version_num = 'x'"
        )
    )
    (answer,) = get("/api/v1/plan", headers={"X-Request-ID": "from-a-test"})
    assert (answer.status, answer.json["type"]) == (409, "urn:circle-migrate:error:unknown-revision")
    assert answer.json["request_id"] == answer.headers["x-request-id"] == "from-a-test"
    expected = json.loads(invoke(["plan", "--format", "json"]).stdout)
    assert answer.json["error"] == expected["error"]
    monkeypatch.setenv("CIRCLE_MIGRATE_LOCK_WAIT", "soon")
    (answer,) = get_broken("/api/v1/plan")
    assert (answer.status, answer.json["type"]) == (401, "about:blank")


def get_broken(path: str) -> list[Answer]:
    """Ask an application whose settings broke after its start."""

    async def scenario() -> list[Answer]:
        async with running(create_app(load(environ={}), load_deployment)) as application:
            return [await request(application, path)]

    return run(scenario())


def test_an_unexpected_error_shows_nothing(served: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> str:
        raise RuntimeError("Zq-secret-xV")

    monkeypatch.setattr("circle_migrate.api.server.metrics_text", broken)
    (answer,) = get("/metrics")
    assert (answer.status, answer.json["title"]) == (500, "Internal Server Error")
    assert "Zq-secret" not in answer.text


def test_every_result_needs_the_token(served: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_API_TOKEN", TOKEN)
    paths = [*(f"/api/v1{path}" for path in ROUTES), "/api/v1/runs/x", "/metrics", "/"]
    for headers in ({}, {"Authorization": f"Bearer {TOKEN[:-1]}"}, {"Accept": "text/html"}):
        for path, answer in zip(paths, get(*paths, headers=headers), strict=True):
            assert answer.status == 401, path
            assert answer.headers["www-authenticate"].startswith("Basic" if "Accept" in headers else "Bearer")
            assert TOKEN not in answer.text


def test_a_token_that_is_removed_stays_valid(served: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another address than loopback was allowed because of it."""
    monkeypatch.setenv("CIRCLE_MIGRATE_API_TOKEN", TOKEN)

    async def scenario() -> list[int]:
        async with running(app()) as application:
            first = await request(application, "/api/v1/migrations", BEARER)
            monkeypatch.delenv("CIRCLE_MIGRATE_API_TOKEN")
            application.state.service.forget_deployment()
            application.state.service.deployment()
            answers = [await request(application, "/api/v1/graph", headers) for headers in ({}, BEARER)]
            return [answer.status for answer in (first, *answers)]

    assert run(scenario()) == [200, 401, 200]


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc", "/nowhere", "/api/v1/health/"])
def test_other_paths_are_problems(workdir: Path, path: str) -> None:
    (answer,) = get(path)
    assert (answer.status, answer.json["title"]) == (404, "Not Found")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_no_route_takes_another_method_than_get(workdir: Path, method: str) -> None:
    async def scenario() -> set[int]:
        async with running(app()) as application:
            paths = ["/", "/metrics", *(f"/api/v1{path}" for path in (*ROUTES, "/health", "/runs/x"))]
            return {(await request(application, path, method=method)).status for path in paths}

    assert run(scenario()) == {405}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:9", 200),
        ("[::1]:8080", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:8080", 421),
        ("localhost@evil.example", 421),
        ("", 421),
        ("localhost\x00", 421),
    ],
)
def test_a_strange_host_is_refused_without_a_token(workdir: Path, host: str, status: int) -> None:
    """A site can let its own name lead to this machine, and then read what its pages get."""
    forwarded = {"Host": host, "X-Forwarded-Host": "localhost", "X-Forwarded-For": "127.0.0.1"}
    assert get("/api/v1/health/live", headers=forwarded)[0].status == status


def test_any_host_with_a_token_or_behind_a_proxy(served: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    (answer,) = get("/api/v1/migrations", headers={"Host": "a.example"}, api_behind_proxy="true")
    assert answer.status == 200
    monkeypatch.setenv("CIRCLE_MIGRATE_API_TOKEN", TOKEN)
    assert get("/api/v1/migrations", headers={"Host": "a.example", **BEARER})[0].status == 200


def test_openapi_has_the_schemas_of_the_commands(workdir: Path) -> None:
    openapi, docs = get("/openapi.json", "/docs", api_docs="true")
    assert docs.status == 200
    paths = openapi.json["paths"]
    described = {path.removeprefix("/api/v1") for path in paths}
    assert described == {*ROUTES, "/runs/{run}", "/health", "/health/live", "/health/ready", "/metrics"}
    for path, route in {**ROUTES, "/runs/{run}": ROUTES["/runs"]}.items():
        responses = paths[f"/api/v1{path}"]["get"]["responses"]
        shown = responses["200"]["content"]["application/json"]["schema"]
        expected = json.loads(json.dumps(schema(route.command)).replace("#/$defs/", "#/components/schemas/"))
        definitions = expected.pop("$defs")
        assert shown == expected
        assert {name: openapi.json["components"]["schemas"][name] for name in definitions} == definitions
        assert paths[f"/api/v1{path}"]["get"]["security"] == [{"HTTPBearer": []}]
        assert responses["4XX"]["content"]["application/problem+json"]["schema"] == PROBLEM
    for path in paths.values():
        assert path.keys() == {"get"}


def test_cors_is_for_named_origins(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_API_CORS", "https://a.example")
    allowed = "access-control-allow-origin"
    assert get("/api/v1/health/live", headers={"Origin": "https://a.example"})[0].headers[allowed] == (
        "https://a.example"
    )
    for origin in ("https://b.example", "null", "https://a.example.evil.example", "http://a.example"):
        (answer,) = get("/api/v1/health/live", headers={"Origin": origin})
        assert allowed not in answer.headers
    monkeypatch.delenv("CIRCLE_MIGRATE_API_CORS")
    assert allowed not in get("/api/v1/health/live", headers={"Origin": "https://a.example"})[0].headers


def test_the_log_masks_secrets_and_escapes_controls(
    served: Databases, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from circle_migrate.api.log import logging_json

    redaction.register("Zq-secret-xV")
    with logging_json(sys.stderr):
        get("/nowhere/Zq-secret-xV\x1b[31m\x9b", "/api/v1/health/live", headers={"X-Request-ID": "one"})
        logging.getLogger("asyncio").error("Future exception was never retrieved: Zq-secret-xV")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert json.loads(lines[1])["level"] == "error"
    record = json.loads(lines[0])
    assert (record["request_id"], record["status"], record["method"]) == ("one", 404, "GET")
    assert "Zq-secret" not in "".join(lines)
    assert not {"\x1b", "\x9b"} & set(lines[0])
