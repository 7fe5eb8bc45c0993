"""A small project with a tree per database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from circle_migrate.commands.recover import RecoverResult, recover
from circle_migrate.config.load import load
from circle_migrate.core.events import Notify, ignore_event
from circle_migrate.migrate.executor import RunOptions, RunResult, execute
from circle_migrate.migrate.planner import Planner
from circle_migrate.migrate.run import Hooks
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Direction
from tests.deployments import environment
from tests.projects import Project
from tests.servers import NAMES, Databases

HEADS = {"main": ["m1", "m2"], "credentials": ["c1", "c2"]}
TABLES = {"main": "people", "credentials": "secrets"}

_SETTINGS = """
[tool.circle-migrate.databases.main]
revisions = "migrations/main"

[tool.circle-migrate.databases.credentials]
revisions = "migrations/credentials"
"""

Position = dict[str, str | None]
"""The current revision by database, None for base."""

BASE: Position = dict.fromkeys(NAMES)
HEAD: Position = {name: keys[-1] for name, keys in HEADS.items()}


def sql(*statements: str) -> str:
    """Return the body of a revision's function that runs the statements."""
    return "\n".join(f"op.execute({statement!r})" for statement in statements) or "pass"


class Shop(Project):
    """The project, and operations on its databases."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.write_settings(_SETTINGS)

    def add(
        self,
        database: str,
        key: str,
        down: str | None,
        up: Sequence[str],
        undo: Sequence[str],
        more: str = "",
    ) -> Path:
        """Add a revision of SQL statements."""
        return self.revision(database, key, down, sql(*up), sql(*undo), more=more)

    def write_standard_trees(self) -> None:
        """Add a table and a column in both databases; the first revision of credentials requires main's."""
        self.add("main", "m1", None, ["CREATE TABLE people (id integer)"], ["DROP TABLE people"])
        self.add(
            "main", "m2", "m1", ["ALTER TABLE people ADD name text"], ["ALTER TABLE people DROP COLUMN name"]
        )
        self.add(
            "credentials",
            "c1",
            None,
            ["CREATE TABLE secrets (id integer)"],
            ["DROP TABLE secrets"],
            more="requires = ('main@m1',)",
        )
        self.add(
            "credentials",
            "c2",
            "c1",
            ["ALTER TABLE secrets ADD hash text"],
            ["ALTER TABLE secrets DROP COLUMN hash"],
        )

    def deployment(self, databases: Databases, **flags: object) -> Deployment:
        """Return the deployment on a test's databases; `flags` are those of the command line."""
        return Deployment(load(flags, environ=environment(databases), cwd=self.folder))

    async def move(
        self,
        databases: Databases,
        direction: Direction,
        *,
        notify: Notify = ignore_event,
        checkpoint: Any = lambda _name: None,
        hooks: Hooks | None = None,
        **flags: object,
    ) -> RunResult:
        """Upgrade to head or downgrade to base."""
        deployment = self.deployment(databases, **flags)
        targets = ["head" if direction is Direction.UP else "base"]
        command = "upgrade" if direction is Direction.UP else "downgrade"
        options = RunOptions(command, hooks=hooks or Hooks(), checkpoint=checkpoint)
        return await execute(deployment, NAMES, Planner(deployment, targets, direction), notify, options)

    async def upgrade(self, databases: Databases, **how: Any) -> RunResult:
        """Upgrade to head."""
        return await self.move(databases, Direction.UP, **how)

    async def downgrade(self, databases: Databases, **how: Any) -> RunResult:
        """Downgrade to base."""
        return await self.move(databases, Direction.DOWN, **how)

    async def recover(self, databases: Databases, *, dry_run: bool = False) -> RecoverResult:
        """Run `circle-migrate recover`."""
        return await recover(self.deployment(databases), dry_run=dry_run)
