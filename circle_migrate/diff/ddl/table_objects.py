"""Objects of a table: constraints, indexes, triggers, rules, policies, statistics."""

import re

from circle_migrate.diff.ddl.attributes import sql_role
from circle_migrate.diff.ddl.column import is_local, keeps_parents, unsupported_declaration
from circle_migrate.diff.ddl.kind import (
    Commands,
    Hazardous,
    ObjectChange,
    ObjectKind,
    alter_owner,
    clause,
    name_on_owner,
)
from circle_migrate.diff.ddl.statement import ENABLED, option_changes, optional_clauses
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import IDENTIFIER, base_name, schema_of, split_lines

_ON_ONLY = re.compile(rf"(CREATE (?:UNIQUE )?INDEX {IDENTIFIER} ON )ONLY ")
_CONSTRAINT_HAZARDS = {
    "check": ("CM007", "CM025"),
    "exclusion": ("CM063", "CM025"),
    "foreign key": ("CM009", "CM024"),
    "not null": ("CM007", "CM020"),
    "primary key": ("CM062", "CM023"),
    "unique": ("CM062", "CM023"),
}
_NOT_CHECKED = (" NOT VALID", " NOT ENFORCED")


def _add_constraint(change: ObjectChange) -> Commands:
    """An inherited constraint is added with its parent's; a not-null constraint has no known name."""
    if not is_local(change.after) and _comes_with_parent(change):
        return
    head, column = alter_owner(change), _not_null_column(change.after)
    existing = change.existing.value(ObjectKey("column", f"{change.owner.identity}.{column}"), "not_null")
    if column and existing and not change.after.get("inherited"):
        yield f"{head} ALTER COLUMN {column} DROP NOT NULL"
    type_ = change.after.get("type") or "check"  # a domain constraint has no type
    name = "" if type_ == "not null" else f"CONSTRAINT {base_name(change.key.identity)} "
    sql = f"{head} ADD {name}{change.after.get('definition')}"
    yield sql if sql.endswith(_NOT_CHECKED) else Hazardous(sql, _CONSTRAINT_HAZARDS.get(type_, ()))


def _drop_constraint(change: ObjectChange) -> Commands:
    """A column that stays NOT NULL gets an unnamed constraint by SET NOT NULL."""
    head, column = alter_owner(change), _not_null_column(change.before)
    if column:
        yield f"{head} ALTER COLUMN {column} DROP NOT NULL"
        if change.catalog.value(ObjectKey("column", f"{change.owner.identity}.{column}"), "not_null"):
            yield Hazardous(f"{head} ALTER COLUMN {column} SET NOT NULL", ("CM007",))
    elif is_local(change.before) or not keeps_parents(change):
        yield f"{head} DROP CONSTRAINT {base_name(change.key.identity)}"


def _not_null_column(fields: Fields) -> str | None:
    """Return the column of a not-null constraint, None for other constraints."""
    definition = fields.get("definition") or ""
    match = re.match(rf"NOT NULL ({IDENTIFIER})", definition) if fields.get("type") == "not null" else None
    return match[1] if match else None


def _only_validates(change: ObjectChange) -> bool:
    """Return whether the change is VALIDATE CONSTRAINT alone; a not-null constraint has no known name."""
    before, after = (text or "" for text in change.values("definition"))
    return before.removesuffix(" NOT VALID") == after and change.after.get("type") != "not null"


def _validate_constraint(change: ObjectChange) -> Commands:
    if not change.after.get("validated"):
        failure = "CM024" if change.after.get("type") == "foreign key" else "CM025"
        name = base_name(change.key.identity)
        yield Hazardous(f"{alter_owner(change)} VALIDATE CONSTRAINT {name}", (failure,))


def _alter_index_of_constraint(change: ObjectChange) -> str:
    return f"ALTER INDEX {schema_of(change.key.identity)}.{base_name(change.key.identity)}"


def _create_index(change: ObjectChange) -> Commands:
    """The index of a constraint or of a partitioned index is created with that.

    PostgreSQL prints ON ONLY for an index of a partitioned table. Without ONLY, the command creates the
    indexes of the partitions too, and the index is valid at once.
    """
    if not change.after.get("constraint") and not _comes_with_parent(change):
        definition = change.after.get("definition") or ""
        partitioned = _ON_ONLY.match(definition) and not change.after.get("valid")
        sql = _ON_ONLY.sub(r"\1", definition) if partitioned else definition
        yield Hazardous(sql, ("CM068" if partitioned else "CM008",))


def _comes_with_parent(change: ObjectChange) -> bool:
    """Return whether a part is created with that of the parent; one with its own name comes before."""
    parents = change.catalog.merged_into(change.key) - change.existing.objects.keys()
    return bool(change.after.get("inherited")) and not parents


def _drop_index(change: ObjectChange) -> Commands:
    """The index of a constraint or partitioned index is dropped with that, unless its table is detached."""
    stays = change.before.get("inherited") and keeps_parents(change)
    if not change.before.get("constraint") and not stays:
        yield Hazardous(f"DROP INDEX {change.key.identity}", ("CM065",))


def _is_partitioned(change: ObjectChange) -> bool:
    return bool(change.catalog.value(change.owner, "partition_key"))


def _rebuild_invalid_index(change: ObjectChange) -> Commands:
    if not change.after.get("valid") and not _is_partitioned(change):
        yield Hazardous(f"REINDEX INDEX {change.key.identity}", ("CM058",))


def _cluster(change: ObjectChange) -> Commands:
    clustered = change.after.get("clustered")
    action = f"CLUSTER ON {base_name(change.key.identity)}" if clustered else "SET WITHOUT CLUSTER"
    yield f"{alter_owner(change)} {action}"


def _set_replica_identity(change: ObjectChange) -> Commands:
    """The table writes any other replica identity."""
    if change.after.get("replica_identity"):
        yield f"{alter_owner(change)} REPLICA IDENTITY USING INDEX {base_name(change.key.identity)}"


def _set_index_statistics(change: ObjectChange) -> Commands:
    for column, target in change.changed_entries("statistics"):
        yield f"ALTER INDEX {change.key.identity} ALTER COLUMN {column} SET STATISTICS {target or -1}"


def _unsupported_index(change: ObjectChange) -> str | None:
    new, partitioned = change.key not in change.existing, _is_partitioned(change)
    if change.differs("valid") and not (partitioned and new):
        if change.after.get("valid"):
            return "INVALID state"
        if partitioned:
            return "attached indexes of the partitions"
    named = change.after.get("definition") and not change.after.get("generated_name")
    return "name" if new and named and _comes_with_parent(change) else None


def _enable(change: ObjectChange) -> Commands:
    state, noun = ENABLED[change.after.get("enabled") or "origin"], change.key.kind.upper()
    yield f"ALTER TABLE {change.owner.identity} {state} {noun} {base_name(change.key.identity)}"


def _create_policy(change: ObjectChange) -> Commands:
    """The definition has the role names of a snapshot, so the command is written from the other fields."""
    fields = change.after
    kind = "PERMISSIVE" if fields.get("permissive") != "no" else "RESTRICTIVE"
    roles = ", ".join(sql_role(role) for role in split_lines(fields.get("roles")) or ["public"])
    head = f"CREATE POLICY {name_on_owner(change.key, fields)} AS {kind}"
    expressions = optional_clauses(fields, {"using": "USING ({})", "check": "WITH CHECK ({})"})
    yield " ".join([head, f"FOR {fields.get('command') or 'ALL'} TO {roles}", *expressions])


_TABLESPACE = ("SET TABLESPACE {}", "SET TABLESPACE pg_default", "CM058")
_DEFAULTS = {"enabled": "origin"}
_INHERITED = frozenset({"inherited", "local", "generated_name"})

CONSTRAINT = ObjectKind(
    "CONSTRAINT",
    create=_add_constraint,
    drop=_drop_constraint,
    covers={"type", "definition", "validated"},
    alters={
        "validated": _validate_constraint,
        "index_options": lambda change: option_changes(
            _alter_index_of_constraint(change), *change.values("index_options")
        ),
        "index_tablespace": clause("index_tablespace", *_TABLESPACE, head=_alter_index_of_constraint),
    },
    follows=_INHERITED | {"triggers"},
    name=name_on_owner,
    in_place=_only_validates,
    rerun=lambda _change: [],
    unsupported=lambda change: (
        "state of the triggers" if change.differs("triggers") else unsupported_declaration(change)
    ),
)
INDEX = ObjectKind(
    "INDEX",
    create=_create_index,
    drop=_drop_index,
    alters={
        "valid": _rebuild_invalid_index,
        "tablespace": clause("tablespace", *_TABLESPACE),
        "clustered": _cluster,
        "replica_identity": _set_replica_identity,
        "statistics": _set_index_statistics,
    },
    follows=_INHERITED | {"constraint"},
    unsupported=_unsupported_index,
)
TRIGGER = ObjectKind(
    "TRIGGER", alters={"enabled": _enable}, defaults=_DEFAULTS, follows=_INHERITED, name=name_on_owner
)
RULE = ObjectKind("RULE", alters={"enabled": _enable}, defaults=_DEFAULTS, name=name_on_owner)
POLICY = ObjectKind(
    "POLICY",
    create=_create_policy,
    drop_hazards=("CM034",),
    covers={"definition", "command", "permissive", "roles", "using", "check"},
    name=name_on_owner,
)
STATISTICS = ObjectKind(
    "STATISTICS", alters={"target": clause("target", "SET STATISTICS {}", "SET STATISTICS -1")}
)
