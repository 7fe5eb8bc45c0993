"""Steps of branches run in Alembic's order, whatever the revision files are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from circle_migrate.commands.downgrade import downgrade
from circle_migrate.commands.upgrade import upgrade
from tests.deployments import agree, deployment, execute
from tests.projects import Project
from tests.servers import Databases, run

TREE: list[tuple[str, str | tuple[str, ...] | None, str | None]] = [
    ("f0", None, None),
    ("a1", "f0", None),
    ("e1", "f0", None),
    ("b2", "e1", None),
    ("0c", None, None),
    ("d2", "0c", "b2"),
    ("a2", "0c", None),
    ("c3", ("a1", "b2"), "a2"),
    ("14", ("c3", "d2"), None),
]


@pytest.mark.parametrize("prefix", ["", "reversed"])
def test_branches_run_in_alembics_order(
    prefix: str, project_folder: Path, empty_databases: Databases
) -> None:
    project = Project(project_folder)
    project.write_settings()
    for number, (key, down, depends_on) in enumerate(TREE):
        path = project.revision(
            "main",
            key,
            down,
            f"op.execute(\"INSERT INTO ran (step) VALUES ('+{key}')\")",
            f"op.execute(\"INSERT INTO ran (step) VALUES ('-{key}')\")",
            depends_on=depends_on,
        )
        if prefix:
            path.rename(path.with_name(f"{len(TREE) - number}_{key}.py"))
    scripts = ScriptDirectory(str(project.versions("main").parent))
    undone = [script.revision for script in scripts.iterate_revisions("heads", "base")]

    async def scenario() -> list[str]:
        await execute(empty_databases, "main", "CREATE TABLE ran (id serial, step text)")
        await upgrade(deployment(empty_databases, "main"), ["heads"])
        await downgrade(deployment(empty_databases, "main"), ["base"], confirm=agree)
        async with empty_databases.connect("main") as connection:
            return [step for (step,) in await connection.fetch("SELECT step FROM ran ORDER BY id")]

    assert run(scenario()) == [f"+{key}" for key in reversed(undone)] + [f"-{key}" for key in undone]
