"""Tables and foreign tables."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.core.identifier import base_name, split_lines
from circle_migrate.ddl.columns import clauses, definition, foreign_options, option_changes, options, own
from circle_migrate.ddl.kind import Commands, Hazardous, Kind, Step
from circle_migrate.ddl.names import valued

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


def attached(step: Step) -> bool:
    """Whether a new partition has columns of its own, so that it is made as a table and then attached."""
    columns = step.catalog.parts_of(step.key, "column")
    return any(step.catalog.value(column, "local") for column in columns)


def _create(step: Step) -> Commands:
    """CREATE TABLE with the columns of its own; constraints and indexes are objects."""
    fields = step.after
    foreign = step.key.kind == "foreign table"
    words = "FOREIGN TABLE" if foreign else "UNLOGGED TABLE" if fields.get("persistence") else "TABLE"
    clauses = [f"CREATE {words} {step.key.identity} {_body(step)}"]
    if fields.get("inherits"):
        clauses.append(f"INHERITS ({', '.join(split_lines(fields['inherits']))})")
    if fields.get("partition_key"):
        clauses.append(f"PARTITION BY {fields['partition_key']}")
    clauses += [
        f"{word} {fields[name]}"
        for word, name in (("SERVER", "server"), ("USING", "access_method"))
        if fields.get(name)
    ]
    named = valued(fields.get("options"))
    if named and foreign:
        clauses.append(foreign_options(named))
    elif named:
        clauses.append(f"WITH ({options(named)})")
    if fields.get("tablespace"):
        clauses.append(f"TABLESPACE {fields['tablespace']}")
    yield "\n".join(clauses)
    if fields.get("partition_of") and attached(step):
        yield _attach(step)


def _body(step: Step) -> str:
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


def _column_options(step: Step) -> str:
    """What the columns of a typed table have besides their type."""
    found = {key: clauses(step.catalog, key) for key in step.catalog.parts_of(step.key, "column")}
    lines = [
        f"    {base_name(key.identity)} WITH OPTIONS {' '.join(words)}"
        for key, words in found.items()
        if words
    ]
    return " (\n" + ",\n".join(lines) + "\n)" if lines else ""


def _attach(step: Step) -> Hazardous:
    parent, bound = step.after.get("partition_of"), step.after.get("partition_bound")
    return Hazardous(f"ALTER TABLE {parent} ATTACH PARTITION {step.key.identity} {bound}", ("CM067",))


def _change_partition(step: Step) -> Commands:
    before = step.before.get("partition_of")
    if before:
        yield f"ALTER TABLE {before} DETACH PARTITION {step.key.identity}"
    if step.after.get("partition_of"):
        yield _attach(step)


def _change_parents(step: Step) -> Iterator[str]:
    before, after = (split_lines(text) for text in step.change("inherits"))
    yield from (f"{_alter(step)} NO INHERIT {parent}" for parent in before if parent not in after)
    yield from (f"{_alter(step)} INHERIT {parent}" for parent in after if parent not in before)


def _lacking(step: Step) -> str | None:
    """Parents can only be added at the end."""
    before, after = (split_lines(text) for text in step.change("inherits"))
    reached = [each for each in before if each in after] + [each for each in after if each not in before]
    return "the order of the parents" if reached != after else None


def _alter(step: Step) -> str:
    return f"ALTER {step.key.kind.upper()} {step.key.identity}"


def _change_options(step: Step) -> Commands:
    return option_changes(_alter(step), *step.change("options"), foreign=step.key.kind == "foreign table")


def _change_persistence(step: Step) -> Commands:
    logged = "UNLOGGED" if step.after.get("persistence") else "LOGGED"
    yield Hazardous(f"{_alter(step)} SET {logged}", ("CM069",))


def _change_access_method(step: Step) -> Commands:
    method = step.after.get("access_method") or "heap"
    yield Hazardous(f"{_alter(step)} SET ACCESS METHOD {method}", ("CM069",))


def _change_tablespace(step: Step) -> Commands:
    tablespace = step.after.get("tablespace") or "pg_default"
    yield Hazardous(f"{_alter(step)} SET TABLESPACE {tablespace}", ("CM069",))


def _change_type(step: Step) -> Commands:
    type_ = step.after.get("of_type")
    yield f"{_alter(step)} OF {type_}" if type_ else f"{_alter(step)} NOT OF"


def _row_security(step: Step) -> Commands:
    verb = "ENABLE" if step.after.get("rls") else "DISABLE"
    yield Hazardous(f"{_alter(step)} {verb} ROW LEVEL SECURITY", ("CM034",))


def _force_row_security(step: Step) -> Commands:
    yield f"{_alter(step)} {'FORCE' if step.after.get('rls_forced') else 'NO FORCE'} ROW LEVEL SECURITY"


def _replica_identity(step: Step) -> Commands:
    """That of an index is said at the index."""
    identity = step.after.get("replica_identity")
    if identity != "index":
        yield f"{_alter(step)} REPLICA IDENTITY {(identity or 'default').upper()}"


_ALTERS = {
    "persistence": _change_persistence,
    "options": _change_options,
    "access_method": _change_access_method,
    "partition_of": _change_partition,
    "partition_bound": _change_partition,
    "inherits": _change_parents,
    "of_type": _change_type,
    "tablespace": _change_tablespace,
    "rls": _row_security,
    "rls_forced": _force_row_security,
    "replica_identity": _replica_identity,
}


TABLE = Kind(
    "TABLE",
    create=_create,
    covers=_COVERED,
    alters=_ALTERS,
    grant="TABLE",
    lacks=_lacking,
    drop_hazards=("CM013",),
)
FOREIGN_TABLE = Kind(
    "FOREIGN TABLE",
    create=_create,
    covers=_COVERED,
    alters=_ALTERS,
    grant="TABLE",
    born={"replica_identity": "nothing"},
    drop_hazards=("CM013",),
)
