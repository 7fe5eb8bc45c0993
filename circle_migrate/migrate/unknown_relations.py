"""What can be known of a database before its first revision: its relations, and nothing of swapped URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused
from circle_migrate.postgres.journal_tables import OWN_SCHEMAS, OWN_TABLES

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.database import State
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.revision_graph.graph import Graph
    from circle_migrate.revision_graph.plan import Plan

# Without partitions and sequences of columns, which go with their table.
_RELATIONS = f"""
SELECT n.nspname AS schema, c.relname AS name
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT c.relispartition
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname NOT IN {OWN_SCHEMAS}
  AND NOT (n.nspname = $1::text AND c.relname = ANY ($2::text[]))
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend d
      WHERE d.deptype = 'e' AND (d.classid, d.objid) IN (
          ('pg_catalog.pg_class'::regclass, c.oid), ('pg_catalog.pg_namespace'::regclass, n.oid)
      ) OR c.relkind = 'S' AND d.deptype IN ('a', 'i') AND d.objid = c.oid
          AND d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
  )
ORDER BY n.nspname, c.relname
"""  # noqa: S608 - a constant
_SHOWN = 5

_HAS_RUN = """
SELECT EXISTS (
    SELECT FROM {journal.steps} step JOIN {journal.runs} run USING (run)
    WHERE step.direction <> 'stamp' OR run.command = 'stamp'
)
"""


async def user_relations(connection: asyncpg.Connection, state: State) -> list[tuple[str, str]]:
    """Return schema and name of the relations that are neither ours nor of an extension."""
    rows = await connection.fetch(_RELATIONS, state.schema, [state.version_table, *OWN_TABLES])
    return [(row["schema"], row["name"]) for row in rows]


async def ensure_not_foreign(deployment: Deployment, states: Mapping[str, State], plan: Plan) -> None:
    """Raise `Refused` for relations of no revision in a database without a current revision."""
    if foreign := await foreign_relations(deployment, states, plan):
        stamps = " ".join(f"{name}@REVISION" for name in foreign)
        raise Refused(
            "; ".join(foreign.values()),
            database=next(iter(foreign)) if len(foreign) == 1 else None,
            hint="if it is another application's, correct the URL: `circle-migrate config show`; "
            "to upgrade beside these relations, add --into-existing; "
            f"if revisions made them: circle-migrate stamp {stamps}",
        )


async def foreign_relations(
    deployment: Deployment, states: Mapping[str, State], plan: Plan
) -> dict[str, str]:
    """Return a sentence for each database of the plan without a current revision that has foreign relations.

    One in whose journal a revision has been current is left out; one that was only protected is not.
    """
    sentences = {}
    for name in plan.databases:
        state, database = states[name], deployment.databases[name]
        if state.current or state.is_empty:
            continue
        from circle_migrate.migrate.journal import Journal

        async with database.reading() as connection:
            has_run = _HAS_RUN.format(journal=Journal(database, state))
            if state.journal_of is not None and await connection.fetchval(has_run):
                continue
            foreign = _unnamed(await user_relations(connection, state), database.graph)
        if foreign:
            more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
            sentences[name] = (
                f"{name}: the version table is missing or empty, but the database {state.name} has relations"
                f" that no revision file names: {', '.join(foreign[:_SHOWN])}{more}"
            )
    return sentences


def indistinct_databases(deployment: Deployment, states: Mapping[str, State], plan: Plan) -> tuple[str, ...]:
    """Return a note on several new databases of a plan, as nothing tells which is which before the first run.

    The addresses of the embedded server cannot be confused.
    """
    new = [name for name in plan.databases if not states[name].current and states[name].journal_of is None]
    if len(new) < 2 or deployment.settings.embedded:
        return ()
    lines = [f"{name}: {deployment.databases[name].address.display()}" for name in new]
    names = f"{', '.join(new[:-1])} and {new[-1]}"
    text = f"{names} are new, so it cannot be known whether their URLs are swapped:"
    marks = "the first run records the name of each in its journal, and swapped URLs are refused from then on"
    return ("\n  ".join([text, *lines, marks]),)


def _unnamed(relations: list[tuple[str, str]], graph: Graph) -> list[str]:
    """Return the relations whose name is no word in the text of any revision file."""
    if not relations:
        return []
    text = "\n".join(revision.read_source() for revision in graph.revisions.values())
    words = set(re.findall(r"\w+", text))
    return [
        f"{schema}.{name}"
        for schema, name in relations
        if name not in words and not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)
    ]
