"""Generate projects: the same linear trees for every contender, and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

DATABASES = {"main": "DATABASE_URL", "credentials": "CREDS_DATABASE_URL"}

_SETTINGS = """
[tool.circle-migrate.databases.main]
revisions = "main"

[tool.circle-migrate.databases.credentials]
revisions = "credentials"
"""

_ALEMBIC_INI = """
[alembic]
script_location = %(here)s
"""

# The asynchronous template of Alembic, without offline mode, logging and autogenerate.
_ENV_PY = """
import asyncio
import os

from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool


def run_migrations(connection):
    each = bool(os.environ.get("TRANSACTION_PER_MIGRATION"))
    context.configure(connection=connection, transaction_per_migration=each)
    with context.begin_transaction():
        context.run_migrations()


async def run():
    url = os.environ["{variable}"].replace("postgresql:", "postgresql+asyncpg:", 1)
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run_migrations)
    await engine.dispose()


asyncio.run(run())
"""

_REVISION = '''"""Step {number}

Revision ID: {key}
Revises: {down}
Create Date: 2024-01-01 00:00:00.000000
"""

from alembic import op

revision = {key!r}
down_revision = {down!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute({up!r})


def downgrade() -> None:
    op.execute({down_sql!r})
'''

_TABLES = 2
"""Created by the first revisions; the others change a default, so that the schema does not grow."""

# The minimum that a Python process has to do to read the current revisions of both databases.
_FLOOR = """
import asyncio
import os

import asyncpg


async def version(url):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch("SELECT version_num FROM alembic_version")
    finally:
        await connection.close()


async def both():
    urls = os.environ["DATABASE_URL"], os.environ["CREDS_DATABASE_URL"]
    for rows in await asyncio.gather(*map(version, urls)):
        print(rows[0][0])


asyncio.run(both())
"""


def key(number: int) -> str:
    """Return the id of the revision with this number, counted from 1."""
    return f"{number:012x}"


def statements(size: int) -> list[tuple[str, str]]:
    """Return the statements of the upgrades and downgrades of `size` revisions."""
    tables = [
        (f"CREATE TABLE t{number} (id bigint PRIMARY KEY, name text NOT NULL)", f"DROP TABLE t{number}")
        for number in range(1, _TABLES + 1)
    ]
    change = "ALTER TABLE t{} ALTER name SET DEFAULT '{}'"
    changes = [
        (change.format(number % _TABLES + 1, number), change.format(number % _TABLES + 1, number - _TABLES))
        for number in range(_TABLES + 1, size + 1)
    ]
    return (tables + changes)[:size]


def generate(folder: Path, revisions: Sequence[tuple[str, str]]) -> None:
    """Write a project with two trees of revisions, each given by its upgrade and its downgrade."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(_SETTINGS)
    (folder / "floor.py").write_text(_FLOOR)
    for database, variable in DATABASES.items():
        versions = folder / database / "versions"
        versions.mkdir(parents=True)
        (versions.parent / "alembic.ini").write_text(_ALEMBIC_INI)
        (versions.parent / "env.py").write_text(_ENV_PY.replace("{variable}", variable))
        for number, (up, down_sql) in enumerate(revisions, 1):
            down = key(number - 1) if number > 1 else None
            text = _REVISION.format(number=number, key=key(number), down=down, up=up, down_sql=down_sql)
            (versions / f"{key(number)}_step_{number}.py").write_text(text)
