"""Fixtures of tests that write revisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.config.load import load
from circle_migrate.config.url.parse import parse
from circle_migrate.postgres.deployment import Deployment
from tests.deployments import environment
from tests.diff.drafts import EMPTY, Deploy, Shop
from tests.servers import Databases


@pytest.fixture
def shop(project_folder: Path) -> Shop:
    """Return two databases without revisions, and models without tables."""
    project = Shop(project_folder)
    project.write_settings()
    settings = project_folder / "pyproject.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("models:Base", "models:metadata"))
    project.model(EMPTY)
    project.model(EMPTY, "secrets")
    return project


@pytest.fixture
def deploy(empty_databases: Databases) -> Deploy:
    """Return the deployment, with or without databases, and scratch databases on the same server."""
    place = parse(empty_databases.server.admin_url, source="the test")

    def made(only: str | None = None, *, live: bool = True) -> Deployment:
        settings = load(environ=environment(empty_databases) if live else {})
        return Deployment(settings.model_copy(update={"scratch_url": place}), only)

    return made
