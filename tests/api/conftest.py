"""Databases at head that the settings of the process name."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.core import redaction
from tests.deployments import environment
from tests.servers import Databases


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", set())


@pytest.fixture
def served(migrated_databases: Databases, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Databases:
    """Databases at head that the settings of this process name."""
    for name, url in environment(migrated_databases).items():
        monkeypatch.setenv(name, url)
    return migrated_databases
