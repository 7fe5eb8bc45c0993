"""An application with both routers, and a real server that runs it in several processes."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response

from circle_migrate.api import Message, auth_router, migration_router
from circle_migrate.api.auth import connections
from tests.api.asgi import BEARER, TOKEN, Answer
from tests.api.auth.people import tokens
from tests.deployments import environment
from tests.servers import IMPORT_PATH, Databases

_SENT = "sent.jsonl"


async def send(message: Message) -> None:
    """Append a message to a file of the working directory."""
    with Path(_SENT).open("a", encoding="utf-8") as file:  # noqa: ASYNC230 - short, and a test's
        file.write(json.dumps({"kind": message.kind, "to": message.to, "secret": message.secret}) + "\n")


def create_app() -> FastAPI:
    """Return the application; each response names the process that made it."""
    connections.LIMIT = 60.0  # a busy machine stands still for seconds
    app = FastAPI()
    app.include_router(migration_router(), prefix="/api/v1")
    app.include_router(auth_router(tokens(), send, bcrypt_rounds=4), prefix="/auth")

    @app.middleware("http")
    async def name_process(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["X-Process"] = str(os.getpid())
        return response

    return app


class Client:
    """A connection to one process, which it keeps."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.process = int(self.get("/api/v1/health/live").headers["x-process"])

    def get(self, path: str) -> Answer:
        """Ask with the token of the settings."""
        return self._ask("GET", path, None, BEARER)

    def post(self, path: str, body: object, bearer: str | None = None) -> Answer:
        """Send JSON to a route of sign-in."""
        headers = {"Content-Type": "application/json"}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        return self._ask("POST", f"/auth{path}", json.dumps(body).encode(), headers)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        text = response.read().decode()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, text)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class Server:
    """A running server, and its address."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        assert process.stderr is not None
        self._folder, self.log = folder, ""
        while not (found := re.search(r"running on http://127\.0\.0\.1:(\d+)", self.log)):
            self.log += (line := process.stderr.readline())
            assert line, self.log
        self.port = int(found[1])
        deadline = time.monotonic() + 30
        while not self._answers():  # uvicorn says so before its processes listen
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            Client(self.port).close()
        except ConnectionRefusedError:
            return False
        return True

    @property
    def sent(self) -> list[dict[str, str]]:
        """The messages that were sent."""
        return [json.loads(line) for line in (self._folder / _SENT).read_text(encoding="utf-8").splitlines()]

    @contextmanager
    def clients(self, processes: int) -> Iterator[list[Client]]:
        """Yield a client for each process; which one takes a connection is up to the kernel."""
        clients: dict[int, Client] = {}
        try:
            while len(clients) < processes:
                client = Client(self.port)
                if clients.setdefault(client.process, client) is not client:
                    client.close()
            yield list(clients.values())
        finally:
            for client in clients.values():
                client.close()


@contextmanager
def mounted(databases: Databases, folder: Path, processes: int = 1) -> Iterator[Server]:
    """Run the application under uvicorn."""
    line = "uvicorn --factory tests.api.mounted:create_app --port 0 --timeout-keep-alive 60 --no-access-log"
    variables = {"CIRCLE_MIGRATE_API_TOKEN": TOKEN, "PYTHONPATH": IMPORT_PATH}
    with subprocess.Popen(
        [sys.executable, "-m", *line.split(), "--workers", str(processes)],
        cwd=folder,
        env={**os.environ, **environment(databases), **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Server(process, folder)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
