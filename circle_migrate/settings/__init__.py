"""Settings: flags > environment > .env > pyproject.toml [tool.circle-migrate] > secrets > defaults.

`load` reads them all, reports every problem at once, and remembers where each value came from.
pydantic-settings is imported only inside `load`.
"""

from __future__ import annotations

from circle_migrate.settings.databases import DATABASES, KnownDatabase
from circle_migrate.settings.loading import load
from circle_migrate.settings.result import DatabaseSettings, Settings, Value

__all__ = ["DATABASES", "DatabaseSettings", "KnownDatabase", "Settings", "Value", "load"]
