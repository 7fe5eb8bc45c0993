"""Databases at head, made once and copied; a folder for another project."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.deployments import head_template, project_folder
from tests.servers import Databases

__all__ = ["head_template", "project_folder"]


@pytest.fixture
def migrated_databases(create_databases: Callable[..., Databases], head_template: Databases) -> Databases:
    """A main and a credentials database at head, without rows."""
    return create_databases(head_template)
