"""Projects whose models are edited, and what `revision --autogenerate` writes for them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from circle_migrate.commands.diff import diff
from circle_migrate.diff.autogenerate.autogenerate import autogenerate
from circle_migrate.diff.autogenerate.placement import Placement
from circle_migrate.diff.autogenerate.revision_file import RevisionFilesResult
from circle_migrate.diff.compare import CompareOptions, compare
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.safety.hazards.hazard import HAZARDS
from tests.projects import Project
from tests.servers import run

HEAD = """
from sqlalchemy import (
    BigInteger, DDL, CheckConstraint, Column, Computed, Date, DateTime, ForeignKey, ForeignKeyConstraint,
    Identity, Index, Integer, MetaData, Numeric, Sequence, event, String, Table, Text, UniqueConstraint, text,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOMAIN, ENUM, ExcludeConstraint, INT4RANGE, JSON, TIMESTAMP

metadata = MetaData()
key = lambda: Column("id", Integer, primary_key=True)
"""

EMPTY = "from sqlalchemy import MetaData\n\nmetadata = MetaData()\n"

Deploy = Callable[..., Deployment]


class Shop(Project):
    """A project whose models are edited."""

    def model(self, text: str, name: str = "models") -> None:
        """Write the models and remove the imported modules."""
        self.write(f"shop/{name}.py", text)
        for module in [module for module in sys.modules if module.partition(".")[0] == "shop"]:
            del sys.modules[module]


def statements(shop: Shop, *texts: str) -> None:
    """Write the first revision of main, which runs these statements."""
    shop.revision("main", "m1", None, "\n".join(f"op.execute({text!r})" for text in texts), "pass")


def write(deployment: Deployment, message: str = "changes") -> RevisionFilesResult:
    return run(autogenerate(deployment, message, Placement(), HAZARDS))


def only_one(written: RevisionFilesResult) -> tuple[Revision, str]:
    """Return the only written revision, which has no notes, and its text."""
    (revision,) = written.revisions
    assert written.notes == ()
    return revision, Path(revision.path).read_text(encoding="utf-8")


def look(deployment: Deployment) -> Snapshot:
    return run(read_live_catalog(deployment.databases["main"]))


def same(one: Snapshot, other: Snapshot) -> list[str]:
    """Return the differences, without the order of columns."""
    told = run(compare(one, other, CompareOptions())).differences
    return [f"{change.change.op} {change.change.key} {dict(change.change.fields)}" for change in told]


def left(deployment: Deployment) -> list[str]:
    """Return the findings of `diff models live`."""
    report = run(diff(deployment, ("models", "live")))
    assert len(report.comparisons) == 1
    return [f"{finding.message} {finding.detail}" for finding in report.findings]
