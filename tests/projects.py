"""Other people's projects: two Alembic environments of the usual layout, made in a folder for one test."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tests.servers import NAMES

# Alembic's template, as far as it matters: whoever runs it is told.
_ENV_PY = 'raise AssertionError("env.py was run")\n'

_SETTINGS = """
[project]
name = "shop"
version = "1"

[tool.circle-migrate.databases.main]
revisions = "migrations/main"
models = "shop.models:Base"

[tool.circle-migrate.databases.credentials]
revisions = "migrations/credentials"
models = "shop.secrets:metadata"
"""

_REVISION = '''"""{message}

Revision ID: {key}
Create Date: 2024-01-01 00:00:00.000000
"""
from alembic import op
import sqlalchemy as sa
{imports}
revision = {key!r}
down_revision = {down}
branch_labels = {labels!r}
depends_on = {depends_on!r}
{more}

def upgrade():
{upgrade}


def downgrade():
{downgrade}
'''


@dataclass(frozen=True)
class Project:
    """A folder with `migrations/main` and `migrations/credentials` beside a package `shop`."""

    folder: Path

    def __post_init__(self) -> None:
        """Make both environments, without any revision or table."""
        for name in NAMES:
            self.versions(name).mkdir(parents=True)
            (self.versions(name).parent / "env.py").write_text(_ENV_PY, encoding="utf-8")
        self.write("shop/__init__.py", "")
        for name, metadata in (("models", "Base"), ("secrets", "metadata")):
            self.write(f"shop/{name}.py", f"from sqlalchemy import MetaData\n\n{metadata} = MetaData()\n")

    def versions(self, database: str) -> Path:
        """Where the revision files of a database lie."""
        return self.folder / "migrations" / database / "versions"

    def write_settings(self, text: str = _SETTINGS) -> None:
        """The project's pyproject.toml."""
        (self.folder / "pyproject.toml").write_text(text, encoding="utf-8")

    def write(self, path: str, text: str) -> Path:
        """A file of the project."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
        return file

    def revision(
        self,
        database: str,
        key: str,
        down: str | tuple[str, ...] | None,
        upgrade: str,
        downgrade: str,
        *,
        computed: str | None = None,
        imports: str = "",
        labels: str | None = None,
        depends_on: str | None = None,
        more: str = "",
    ) -> Path:
        """A revision file; `computed` is an expression in the place of the plain `down`."""
        text = _REVISION.format(
            message=f"Revision {key}",
            key=key,
            down=computed or repr(down),
            labels=labels,
            depends_on=depends_on,
            imports=imports,
            more=more,
            upgrade=textwrap.indent(upgrade, "    "),
            downgrade=textwrap.indent(downgrade, "    "),
        )
        path = self.versions(database) / (re.sub(r"\W", "_", key) + ".py")
        path.write_text(text, encoding="utf-8")
        return path
