"""Tables, foreign tables and views."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from circle_migrate.diff.ddl.column import constraint_clauses, definition, is_local
from circle_migrate.diff.ddl.kind import (
    Commands,
    Hazardous,
    ObjectChange,
    ObjectKind,
    alter,
    change_options,
    clause,
)
from circle_migrate.diff.ddl.statement import optional_clauses, with_options
from circle_migrate.postgres.identifier import base_name, split_lines

_SET_OPERATION = re.compile(r"\b(?:UNION|INTERSECT|EXCEPT)\b|^\s*WITH\b")
_WHERE = re.compile(r"\n\s*WHERE\b")
_PARTITIONING = {"partition_key", "partition_of", "partition_bound"}
_PROPERTIES = {"persistence", "options", "access_method", "inherits", "of_type", "tablespace", "server"}


def _has_local_columns(change: ObjectChange) -> bool:
    """Return whether a new partition declares columns, so that it is created as a table and then attached."""
    columns = change.catalog.parts_of(change.key, "column")
    return any(change.catalog.value(column, "local") for column in columns)


def _create(change: ObjectChange) -> Commands:
    """Write CREATE TABLE with the local columns; constraints and indexes are objects of their own."""
    fields = change.after
    foreign = change.key.kind == "foreign table"
    noun = "FOREIGN TABLE" if foreign else "UNLOGGED TABLE" if fields.get("persistence") else "TABLE"
    clauses = [f"CREATE {noun} {change.key.identity} {_body(change)}"]
    if fields.get("inherits"):
        clauses.append(f"INHERITS ({', '.join(split_lines(fields['inherits']))})")
    clauses += optional_clauses(
        fields, {"partition_key": "PARTITION BY {}", "server": "SERVER {}", "access_method": "USING {}"}
    )
    clauses += with_options(fields, foreign=foreign)
    if any(change.catalog.value(table, "tablespace") for table in change.catalog.ancestors(change.key)):
        fields = {"tablespace": "pg_default", **fields}  # else the partition gets that of its table
    yield "\n".join([*clauses, *optional_clauses(fields, {"tablespace": "TABLESPACE {}"})])
    if fields.get("partition_of") and _has_local_columns(change):
        yield _attach(change)


def _body(change: ObjectChange) -> str:
    fields = change.after
    if fields.get("of_type"):
        return f"OF {fields['of_type']}{_typed_table_columns(change)}"
    if fields.get("partition_of") and not _has_local_columns(change):
        return f"PARTITION OF {fields['partition_of']} {fields.get('partition_bound')}"
    columns = ",\n".join(
        f"    {definition(change.catalog, column, inherits=bool(fields.get('inherits')))}"
        for column in change.catalog.parts_of(change.key, "column")
        if is_local(change.catalog.objects[column])
    )
    return f"(\n{columns}\n)" if columns else "()"


def _typed_table_columns(change: ObjectChange) -> str:
    """Return the column list of a typed table: the columns with more than their type."""
    lines = [
        f"    {base_name(column.identity)} WITH OPTIONS {' '.join(clauses)}"
        for column in change.catalog.parts_of(change.key, "column")
        if (clauses := constraint_clauses(change.catalog, column))
    ]
    return " (\n" + ",\n".join(lines) + "\n)" if lines else ""


def _attach(change: ObjectChange) -> Hazardous:
    parent, bound = change.after.get("partition_of"), change.after.get("partition_bound")
    return Hazardous(f"ALTER TABLE {parent} ATTACH PARTITION {change.key.identity} {bound}", ("CM067",))


def _change_partition(change: ObjectChange) -> Commands:
    before, after = change.values("partition_of")
    if before:
        yield f"ALTER TABLE {before} DETACH PARTITION {change.key.identity}"
    if after:
        yield _attach(change)


def _change_parents(change: ObjectChange) -> Iterator[str]:
    before, after = (split_lines(text) for text in change.values("inherits"))
    yield from (f"{alter(change)} NO INHERIT {parent}" for parent in before if parent not in after)
    yield from (f"{alter(change)} INHERIT {parent}" for parent in after if parent not in before)


def _unsupported(change: ObjectChange) -> str | None:
    """INHERIT adds a parent after the others."""
    before, after = (split_lines(text) for text in change.values("inherits"))
    kept = [parent for parent in before if parent in after]
    return "order of the parents" if after[: len(kept)] != kept else None


def _set_replica_identity(change: ObjectChange) -> Commands:
    """The index writes REPLICA IDENTITY USING INDEX."""
    identity = change.after.get("replica_identity")
    if identity != "index":
        yield f"{alter(change)} REPLICA IDENTITY {(identity or 'default').upper()}"


def _query(change: ObjectChange) -> str:
    return (change.after.get("definition") or "").strip().removesuffix(";")


def _create_view(change: ObjectChange, verb: str = "CREATE") -> Commands:
    head = " ".join([f"{verb} VIEW {change.key.identity}", *with_options(change.after), "AS"])
    yield f"{head}\n{_query(change)}"


def _only_where_differs(change: ObjectChange) -> bool:
    """Return whether only the WHERE clause differs, so that CREATE OR REPLACE keeps the columns."""
    before, after = (text or "" for text in change.values("definition"))
    if _SET_OPERATION.search(before) or _SET_OPERATION.search(after):
        return False
    old, new = _WHERE.search(before), _WHERE.search(after)
    return old is not None and new is not None and before[: old.start()] == after[: new.start()]


def _create_materialized_view(change: ObjectChange) -> Commands:
    fields = change.after
    clauses = optional_clauses(fields, {"access_method": "USING {}"})
    clauses += [*with_options(fields), *optional_clauses(fields, {"tablespace": "TABLESPACE {}"}), "AS"]
    head = " ".join([f"CREATE MATERIALIZED VIEW {change.key.identity}", *clauses])
    sql = f"{head}\n{_query(change)}\nWITH "
    yield f"{sql}NO DATA" if fields.get("populated") == "no" else Hazardous(f"{sql}DATA", ("CM066",))


def _refresh(change: ObjectChange) -> str:
    return f"REFRESH MATERIALIZED VIEW {change.key.identity}"


def _drop(change: ObjectChange) -> Commands:
    """Detach a partition first if a foreign key may need it."""
    tables = [*change.existing.ancestors(change.key)]
    if not change.catalog.objects.keys().isdisjoint(tables[:1]) and any(
        f" REFERENCES {table.identity}(" in (fields.get("definition") or "")
        for fields in change.existing.objects.values()
        for table in tables
    ):
        yield f"ALTER TABLE {tables[0].identity} DETACH PARTITION {change.key.identity}"
    yield Hazardous(f"DROP {change.key.kind.upper()} {change.key.identity}", ("CM013",))


TABLE = ObjectKind(
    "TABLE",
    create=_create,
    covers=_PARTITIONING | _PROPERTIES,
    alters={
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
        "replica_identity": _set_replica_identity,
    },
    grant="TABLE",
    unsupported=_unsupported,
    drop=_drop,
)
FOREIGN_TABLE = replace(
    TABLE, noun="FOREIGN TABLE", unsupported=None, defaults={"replica_identity": "nothing"}
)
VIEW = ObjectKind(
    "VIEW",
    create=_create_view,
    covers={"definition", "options"},
    alters={"options": change_options},
    grant="TABLE",
    in_place=_only_where_differs,
    rerun=partial(_create_view, verb="CREATE OR REPLACE"),
)
MATERIALIZED_VIEW = ObjectKind(
    "MATERIALIZED VIEW",
    create=_create_materialized_view,
    covers={"definition", "options", "populated", "tablespace", "access_method"},
    alters={
        "options": change_options,
        "populated": clause("populated", "WITH NO DATA", "WITH DATA", "CM066", head=_refresh),
        "tablespace": clause("tablespace", "SET TABLESPACE {}", "SET TABLESPACE pg_default", "CM069"),
    },
    drop_hazards=("CM014",),
    grant="TABLE",
)
