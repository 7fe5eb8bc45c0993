"""What schemathesis makes of the OpenAPI, sent to real servers over real databases."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.api.asgi import TOKEN
from tests.api.auth.people import tokens
from tests.api.mounted import mounted
from tests.api.test_server import serving
from tests.servers import Databases

pytestmark = pytest.mark.thorough
CONFIG = Path(__file__).with_name("schemathesis.toml")


def check(port: int, bearer: str) -> None:
    """Send what the OpenAPI allows, and what it does not, and hold the answers against it."""
    url = f"http://127.0.0.1:{port}/openapi.json"
    line = "--seed 1 --checks all --request-timeout 60 --no-color --output-truncate false"
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(CONFIG),
        "run",
        url,
        *line.split(),
    ]
    done = subprocess.run(
        [*command, "-H", f"Authorization: Bearer {bearer}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mounted_routers(migrated_databases: Databases, workdir: Path) -> None:
    with mounted(migrated_databases, workdir) as server:
        check(server.port, tokens().issue(1, uuid4()))


def test_serve(migrated_databases: Databases, workdir: Path) -> None:
    settings = {
        "CIRCLE_MIGRATE_API_TOKEN": TOKEN,
        "CIRCLE_MIGRATE_SCRATCH_URL": migrated_databases.server.admin_url,
    }
    with serving(migrated_databases, workdir, "--docs", **settings) as server:
        check(server.port, TOKEN)
        assert "error" not in {record["level"] for record in server.log}
