"""downgrade: what it refuses, and that only the confirmed plan runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from circle_migrate.core.errors import (
    Refused,
)
from circle_migrate.revision_graph.plan import Plan
from tests.commands.shortcuts import MAIN, down
from tests.deployments import (
    contents,
    versions,
)
from tests.servers import Databases, run


def test_downgrade_does_not_strand_the_other_database(migrated_databases: Databases) -> None:
    async def scenario() -> None:
        before = await contents(migrated_databases)
        with pytest.raises(Refused, match="credentials@1e978f7e8aa5") as caught:
            await down(migrated_databases, "main@base")
        assert "--cascade" in str(caught.value.hint)
        assert await contents(migrated_databases) == before

    run(scenario())


def test_what_was_confirmed_is_what_is_done(migrated_databases: Databases) -> None:
    """Somebody moves the databases while the question is on the screen."""

    async def scenario() -> None:
        def meanwhile(_plan: Plan) -> None:
            with ThreadPoolExecutor() as pool:
                pool.submit(run, down(migrated_databases, "main@-1")).result()

        with pytest.raises(Refused, match="have changed since the plan was made"):
            await down(migrated_databases, "main@-1", confirm=meanwhile)
        assert (await versions(migrated_databases))["main"] == [MAIN[-2]]

    run(scenario())
