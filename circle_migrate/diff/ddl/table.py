"""Tables and foreign tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from circle_migrate.diff.ddl.column import change_options, clauses, definition, foreign_options, options, own
from circle_migrate.diff.ddl.identifiers import valued
from circle_migrate.diff.ddl.kind import (
    Commands,
    Hazardous,
    ObjectChange,
    ObjectKind,
    alter,
    clause,
    never,
    optional_clauses,
)
from circle_migrate.postgres.identifier import base_name, split_lines

_COVERED = frozenset(
    {
        "persistence",
        "options",
        "access_method",
        "partition_key",
        "partition_of",
        "partition_bound",
        "inherits",
        "of_type",
        "tablespace",
        "server",
    }
)


def attached(step: ObjectChange) -> bool:
    """Whether a new partition has columns of its own, so that it is made as a table and then attached."""
    columns = step.catalog.parts_of(step.key, "column")
    return any(step.catalog.value(column, "local") for column in columns)


def _create(step: ObjectChange) -> Commands:
    """CREATE TABLE with the columns of its own; constraints and indexes are objects."""
    fields = step.after
    foreign = step.key.kind == "foreign table"
    words = "FOREIGN TABLE" if foreign else "UNLOGGED TABLE" if fields.get("persistence") else "TABLE"
    clauses = [f"CREATE {words} {step.key.identity} {_body(step)}"]
    if fields.get("inherits"):
        clauses.append(f"INHERITS ({', '.join(split_lines(fields['inherits']))})")
    clauses += optional_clauses(
        fields, {"partition_key": "PARTITION BY {}", "server": "SERVER {}", "access_method": "USING {}"}
    )
    named = valued(fields.get("options"))
    if named and foreign:
        clauses.append(foreign_options(named))
    elif named:
        clauses.append(f"WITH ({options(named)})")
    yield "\n".join([*clauses, *optional_clauses(fields, {"tablespace": "TABLESPACE {}"})])
    if fields.get("partition_of") and attached(step):
        yield _attach(step)


def _body(step: ObjectChange) -> str:
    fields = step.after
    if fields.get("of_type"):
        return f"OF {fields['of_type']}{_column_options(step)}"
    if fields.get("partition_of") and not attached(step):
        return f"PARTITION OF {fields['partition_of']} {fields.get('partition_bound')}"
    columns = ",\n".join(
        f"    {definition(step.catalog, column)}"
        for column in step.catalog.parts_of(step.key, "column")
        if own(step.catalog.objects[column])
    )
    return f"(\n{columns}\n)" if columns else "()"


def _column_options(step: ObjectChange) -> str:
    """What the columns of a typed table have besides their type."""
    found = {key: clauses(step.catalog, key) for key in step.catalog.parts_of(step.key, "column")}
    lines = [
        f"    {base_name(key.identity)} WITH OPTIONS {' '.join(words)}"
        for key, words in found.items()
        if words
    ]
    return " (\n" + ",\n".join(lines) + "\n)" if lines else ""


def _attach(step: ObjectChange) -> Hazardous:
    parent, bound = step.after.get("partition_of"), step.after.get("partition_bound")
    return Hazardous(f"ALTER TABLE {parent} ATTACH PARTITION {step.key.identity} {bound}", ("CM067",))


def _change_partition(step: ObjectChange) -> Commands:
    before = step.before.get("partition_of")
    if before:
        yield f"ALTER TABLE {before} DETACH PARTITION {step.key.identity}"
    if step.after.get("partition_of"):
        yield _attach(step)


def _change_parents(step: ObjectChange) -> Iterator[str]:
    before, after = (split_lines(text) for text in step.change("inherits"))
    yield from (f"{alter(step)} NO INHERIT {parent}" for parent in before if parent not in after)
    yield from (f"{alter(step)} INHERIT {parent}" for parent in after if parent not in before)


def _unsupported(step: ObjectChange) -> str | None:
    """Parents can only be added at the end."""
    before, after = (split_lines(text) for text in step.change("inherits"))
    reached = [each for each in before if each in after] + [each for each in after if each not in before]
    return "the order of the parents" if reached != after else None


def _replica_identity(step: ObjectChange) -> Commands:
    """That of an index is said at the index."""
    identity = step.after.get("replica_identity")
    if identity != "index":
        yield f"{alter(step)} REPLICA IDENTITY {(identity or 'default').upper()}"


_ALTERS = {
    "persistence": clause("persistence", "SET UNLOGGED", "SET LOGGED", "CM069"),
    "options": change_options,
    "access_method": clause("access_method", "SET ACCESS METHOD {}", "SET ACCESS METHOD heap", "CM069"),
    "partition_of": _change_partition,
    "partition_bound": _change_partition,
    "inherits": _change_parents,
    "of_type": clause("of_type", "OF {}", "NOT OF"),
    "tablespace": clause("tablespace", "SET TABLESPACE {}", "SET TABLESPACE pg_default", "CM069"),
    "rls": clause("rls", "ENABLE ROW LEVEL SECURITY", "DISABLE ROW LEVEL SECURITY", "CM034"),
    "rls_forced": clause("rls_forced", "FORCE ROW LEVEL SECURITY", "NO FORCE ROW LEVEL SECURITY"),
    "replica_identity": _replica_identity,
}


TABLE = ObjectKind(
    "TABLE",
    create=_create,
    covers=_COVERED,
    alters=_ALTERS,
    grant="TABLE",
    unsupported=_unsupported,
    drop_hazards=("CM013",),
)
FOREIGN_TABLE = replace(TABLE, noun="FOREIGN TABLE", unsupported=never, born={"replica_identity": "nothing"})
