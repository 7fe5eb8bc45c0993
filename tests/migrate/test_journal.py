"""The digest of applied files: the server and the graph compute the same."""

from __future__ import annotations

from circle_migrate.commands.downgrade import downgrade
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.migrate.journal import Journal
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.revision import files_digest
from tests.deployments import agree, deployment, execute
from tests.servers import NAMES, Databases, run


async def digests(on: Deployment, name: str) -> tuple[str, str, str]:
    """Return the digests by the server, of the journal's checksums, and of the graph."""
    database = on.databases[name]
    async with database.reading() as connection:
        journal = Journal(database, (await database.read_state(connection)).schema)
        checksums = await journal.checksums(connection)
        return await journal.digest(connection), files_digest(checksums.items()), database.graph.digest


def test_server_and_graph_compute_the_same_digest(empty_databases: Databases) -> None:
    on = deployment(empty_databases)
    run(upgrade(on))
    for name in NAMES:
        assert len(set(run(digests(on, name)))) == 1
    run(downgrade(on, ["main@-1"], confirm=agree, cascade=True))
    by_server, by_rows, of_tree = run(digests(on, "main"))
    assert by_server == by_rows != of_tree, "what was undone is not applied"
    run(upgrade(on))
    assert len(set(run(digests(on, "main")))) == 1, "the last time counts"
    run(execute(empty_databases, "main", "UPDATE circle_migrate_steps SET checksum = 'other' WHERE id = 1"))
    by_server, by_rows, of_tree = run(digests(on, "main"))
    assert by_server == by_rows != of_tree
