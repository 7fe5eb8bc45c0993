"""Databases at head that the settings of the process name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.auth.people import use
from tests.servers import Databases


@pytest.fixture
def databases(migrated_databases: Databases, monkeypatch: pytest.MonkeyPatch, workdir: Path) -> Databases:
    """Both databases at head."""
    use(monkeypatch, migrated_databases)
    return migrated_databases
