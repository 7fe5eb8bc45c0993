"""`serve` as a process: its address, hostile connections, and its end."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest

from tests.api.asgi import BEARER, TOKEN
from tests.api.auth.waiting import until_waiting
from tests.deployments import environment, invoke
from tests.faults.processes import holding
from tests.servers import IMPORT_PATH, Databases, run

_PROGRAM = """
import sys
from circle_migrate.api import server
server._HEAD_SECONDS = 0.5
server._END_SECONDS = %d
sys.argv[0] = "circle-migrate"
from circle_migrate.__main__ import main
main()
"""


class Serve:
    """A running `serve`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stderr is not None
        self.log = [json.loads(process.stderr.readline())]
        found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)", self.log[0]["message"])
        assert found, self.log
        self.port = int(found[1])
        self.connections: list[socket.socket] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.log += map(json.loads, self.process.stderr)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Ask for a path on a connection of its own."""
        return self.ask("GET", path, headers)

    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Send a request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """A connection that says nothing yet."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        self.connections.append(connection)
        return connection

    def end(self) -> int:
        """Wait for the end; return the exit status."""
        status = self.process.wait(30)
        self._reader.join(30)
        return status


@contextmanager
def serving(databases: Databases, folder: Path, *options: str, end: int = 1, **more: str) -> Iterator[Serve]:
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM % end, "serve", "--listen", "127.0.0.1:0", *options],
        cwd=folder,
        env={**os.environ, **environment(databases), "PYTHONPATH": IMPORT_PATH, **more},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            server = Serve(process)
            try:
                yield server
            finally:
                for connection in server.connections:
                    connection.close()
                process.kill()
                server.end()
        finally:
            process.kill()


def test_it_answers_and_ends(migrated_databases: Databases, workdir: Path) -> None:
    settings = {"CIRCLE_MIGRATE_API_TOKEN": TOKEN, "CIRCLE_MIGRATE_API_DRAIN": "0"}
    with serving(migrated_databases, workdir, **settings) as server:
        status, text = server.get("/api/v1/health/ready", {"X-Request-ID": "one"})
        assert (status, json.loads(text)["status"]) == (200, "ready")
        assert server.get("/api/v1/runs")[0] == 401
        assert server.get("/api/v1/runs", BEARER)[0] == 200
        assert "circle_migrate_at_head" in server.get("/metrics", BEARER)[1]
        assert server.get("/", BEARER)[1].startswith("<!doctype html>")
        assert server.get(f"/nowhere?token={TOKEN}", {"X-Forwarded-For": "192.0.2.7"})[0] == 404
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 0
    assert {record["level"] for record in server.log} == {"info"}
    requests = [record for record in server.log if "path" in record]
    assert {record["client"] for record in requests} == {"127.0.0.1"}
    shown = [(record["path"].rpartition("/")[2], record["status"]) for record in requests]
    assert shown == [("runs", 401), ("runs", 200), ("metrics", 200), ("", 200), ("nowhere", 404)]
    assert TOKEN not in json.dumps(server.log)


def test_after_sigterm_it_is_not_ready_first_and_ends_what_runs(
    migrated_databases: Databases, workdir: Path
) -> None:
    with serving(migrated_databases, workdir, CIRCLE_MIGRATE_API_DRAIN="600") as server:
        assert server.get("/api/v1/health/ready")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 30
        while (answer := server.get("/api/v1/health/ready"))[0] == 200 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (answer[0], json.loads(answer[1])["reasons"]) == (503, ["stopping"])
        time.sleep(1)
        assert server.get("/api/v1/health/live")[0] == 200
        assert server.get("/api/v1/health")[0] == 200
        assert server.get("/api/v1/migrations")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 0


def test_sigterm_under_load_loses_no_request(migrated_databases: Databases, workdir: Path) -> None:
    """Clients ask without a pause, and one waits for a database until no connection is accepted any more."""

    async def scenario(server: Serve) -> None:
        async with holding(migrated_databases, "main", "LOCK TABLE circle_migrate.runs"):
            slow = asyncio.create_task(asyncio.to_thread(server.get, "/api/v1/runs"))
            await until_waiting(migrated_databases, 1, "main")
            paths = ["/api/v1/health/ready", *["/api/v1/health/live"] * 4]
            load = [asyncio.create_task(asyncio.to_thread(until_refused, server, path)) for path in paths]
            await asyncio.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            ready, *live = await asyncio.gather(*load)
            assert not slow.done()
        assert (await slow)[0] == 200
        assert [status for status, _ in groupby(ready)] == [200, 503]
        assert [set(statuses) for statuses in live] == [{200}] * 4
        assert server.end() == 0

    with serving(migrated_databases, workdir, end=30, CIRCLE_MIGRATE_API_DRAIN="0.5") as server:
        assert server.get("/api/v1/health/ready")[0] == 200
        run(scenario(server))


def until_refused(server: Serve, path: str) -> list[int]:
    """Ask on one connection after another until none is accepted; return the statuses."""
    statuses = []
    while True:
        try:
            statuses.append(server.get(path)[0])
        except ConnectionError:
            return statuses


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)])
def test_it_ends_while_a_database_never_answers(
    migrated_databases: Databases, workdir: Path, number: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d"
        with serving(migrated_databases, workdir, DATABASE_URL=url, CIRCLE_MIGRATE_API_DRAIN="0") as server:
            waiting = server.connect()
            waiting.sendall(b"GET /api/v1/runs HTTP/1.1\r\nHost: localhost\r\n\r\n")
            (reason,) = json.loads(server.get("/api/v1/health/ready")[1])["reasons"]
            assert reason in {"unreachable", "starting"}
            server.process.send_signal(number)
            assert server.end() == 0
            assert waiting.recv(65536).startswith(b"HTTP/1.1 503")
            assert "traceback" not in json.dumps(server.log)


def test_slow_and_huge_requests_are_ended(migrated_databases: Databases, workdir: Path) -> None:
    with serving(migrated_databases, workdir) as server:
        begun = [server.connect() for _ in range(50)]
        for connection in begun:
            connection.sendall(b"GET /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        kept = server.connect()
        request = b"GET /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
        kept.sendall(request)
        answer = b""
        while not answer.endswith(b"}\n"):
            answer += kept.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        kept.sendall(request[:20])
        for connection in (*begun, kept):
            assert connection.recv(65536) == b""
        huge = server.connect()
        huge.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Huge: " + b"x" * 100_000)
        assert huge.recv(65536).startswith(b"HTTP/1.1 400")
        strange = server.connect()
        strange.sendall(b"GET /\x00\x1b HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert strange.recv(65536).startswith(b"HTTP/1.1 4")
        assert server.get("/api/v1/health/live")[0] == 200


TWO_LENGTHS = b"""GET /api/v1/health/live HTTP/1.1
Host: localhost
Content-Length: 6
Transfer-Encoding: chunked

0

GET /api/v1/runs HTTP/1.1
Host: localhost

"""


def test_request_with_two_lengths_ends_its_connection(migrated_databases: Databases, workdir: Path) -> None:
    """A proxy may take what follows for a part of it, and its answer for that to another request."""
    with serving(migrated_databases, workdir) as server:
        connection = server.connect()
        connection.sendall(TWO_LENGTHS.replace(b"\n", b"\r\n"))
        answer = b""
        while received := connection.recv(65536):
            answer += received
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.count(b"HTTP/1.1") == 1


def test_head_is_get_without_content(migrated_databases: Databases, workdir: Path) -> None:
    with serving(migrated_databases, workdir) as server:
        for path in ("/", "/api/v1/health/live", "/api/v1/health/ready", "/status.css"):
            assert server.ask("HEAD", path) == (200, "")
        assert server.ask("HEAD", "/nowhere") == (404, "")
    assert {record["method"] for record in server.log if "method" in record} == {"HEAD"}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("serve --listen 0.0.0.0:0", "would answer everybody"),
        ("serve --listen [::]:0", "would answer everybody"),
        ("serve --listen 127.0.0.1:99999", "cannot listen"),
        ("serve --listen 192.0.2.1:1 --behind-proxy", "cannot listen"),
        ("serve --listen nonsense", "api-listen"),
    ],
)
def test_an_address_that_is_refused(workdir: Path, line: str, text: str) -> None:
    answer = invoke(line.split())
    assert answer.status == 2, answer
    assert text in answer.stderr.replace("--listen", "api-listen"), answer


def test_all_origins_with_credentials_are_refused(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_API_CORS", "*")
    monkeypatch.setenv("CIRCLE_MIGRATE_API_CORS_CREDENTIALS", "true")
    answer = invoke(["serve", "--listen", "127.0.0.1:0"])
    assert (answer.status, "any site could read" in answer.stderr) == (2, True)


def test_the_extra_that_is_missing(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("circle_migrate.api")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for line in ("serve", "metrics"):
        answer = invoke([line])
        assert (answer.status, "pip install 'circle-migrate[api]'" in answer.stderr) == (2, True), answer
