"""Upgrade, downgrade and stamp test databases by the package's own revisions."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from circle_migrate.commands.downgrade import downgrade
from circle_migrate.commands.stamp import stamp
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.migrate.result import MigrationResult
from circle_migrate.revision_graph.plan import Plan
from tests import alembic_driver
from tests.deployments import (
    agree,
    deployment,
)
from tests.servers import Databases

MAIN = alembic_driver.revisions("main")
CREDENTIALS = alembic_driver.revisions("credentials")
HEADS = {"main": [MAIN[-1]], "credentials": [CREDENTIALS[-1]]}


async def up(
    databases: Databases, *targets: str, only: str | None = None, dry_run: bool = False
) -> MigrationResult:
    return await upgrade(deployment(databases, only), targets or ("head",), dry_run=dry_run)


async def down(
    databases: Databases,
    *targets: str,
    only: str | None = None,
    cascade: bool = False,
    dry_run: bool = False,
    confirm: Callable[[Plan], None] = agree,
) -> MigrationResult:
    target = deployment(databases, only)
    return await downgrade(target, targets, confirm=confirm, cascade=cascade, dry_run=dry_run)


async def claim(
    databases: Databases,
    *targets: str,
    only: str | None = None,
    purge: bool = False,
    dry_run: bool = False,
    confirm: Callable[[Plan], None] = agree,
) -> MigrationResult:
    return await stamp(deployment(databases, only), targets, confirm=confirm, purge=purge, dry_run=dry_run)


Command = Callable[..., Coroutine[Any, Any, MigrationResult]]
