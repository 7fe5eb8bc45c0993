"""Limits of the sessions that read live databases."""

from __future__ import annotations

import pytest

from circle_migrate.config.load import load
from circle_migrate.postgres.bounded_read import bounded_read
from circle_migrate.postgres.deployment import Deployment
from tests.servers import Databases, run


@pytest.mark.parametrize(("seconds", "limit"), [(None, "0"), (7, "7s")])
def test_limit_of_the_role_does_not_hold(
    empty_databases: Databases, seconds: float | None, limit: str
) -> None:
    url = empty_databases.urls["main"]
    url += f"{'&' if '?' in url else '?'}options=-c%20statement_timeout%3D9s%20-c%20lock_timeout%3D9s"
    database = Deployment(load(environ={"DATABASE_URL": url})).databases["main"]

    async def shown() -> tuple[str, str]:
        async with bounded_read(database, seconds) as connection:
            query = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
            return tuple(await connection.fetchrow(query))

    assert run(shown()) == (limit, "500ms")
