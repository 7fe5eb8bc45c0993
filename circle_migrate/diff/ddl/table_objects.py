"""What belongs to a table: constraints, indexes, triggers, rules, policies, statistics."""

from __future__ import annotations

import re

from circle_migrate.diff.ddl.column import option_changes, own, redeclared
from circle_migrate.diff.ddl.identifiers import listed
from circle_migrate.diff.ddl.kind import (
    ENABLED,
    Commands,
    Hazardous,
    ObjectChange,
    ObjectKind,
    clause,
    name_on_owner,
)
from circle_migrate.diff.ddl.privilege import sql_role
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import IDENTIFIER, base_name, split_identity, split_lines

_ON_ONLY = re.compile(rf"(CREATE (?:UNIQUE )?INDEX {IDENTIFIER} ON )ONLY ")
_CONSTRAINT_HAZARDS = {
    "check": ("CM007", "CM025"),
    "exclusion": ("CM063", "CM025"),
    "foreign key": ("CM009", "CM024"),
    "not null": ("CM007", "CM020"),
    "primary key": ("CM062", "CM023"),
    "unique": ("CM062", "CM023"),
}
_UNCHECKED = (" NOT VALID", " NOT ENFORCED")


def _alter_owner(fields: Fields) -> str:
    owner = ObjectKey.parse(fields.get("of") or "")
    return f"ALTER {owner.kind.upper()} {owner.identity}"


def _add_constraint(step: ObjectChange) -> Commands:
    """What a partition has from its parent comes with it; not-null constraints are not known by name."""
    if own(step.after):
        column = _not_null_column(step.after)
        if column and step.existing.value(ObjectKey("column", f"{step.owner.identity}.{column}"), "not_null"):
            yield f"{_alter_owner(step.after)} ALTER COLUMN {column} DROP NOT NULL"
        name = "" if step.after.get("type") == "not null" else f"CONSTRAINT {base_name(step.key.identity)} "
        sql = f"{_alter_owner(step.after)} ADD {name}{step.after.get('definition')}"
        hazards = _CONSTRAINT_HAZARDS.get(step.after.get("type") or "check", ())  # a domain has no type
        yield sql if sql.endswith(_UNCHECKED) else Hazardous(sql, hazards)


def _drop_constraint(step: ObjectChange) -> Commands:
    """Where a column is to stay NOT NULL, SET NOT NULL puts an ordinary constraint in the place."""
    head, column = _alter_owner(step.before), _not_null_column(step.before)
    if column:
        yield f"{head} ALTER COLUMN {column} DROP NOT NULL"
        if step.catalog.value(ObjectKey("column", f"{step.owner.identity}.{column}"), "not_null"):
            yield Hazardous(f"{head} ALTER COLUMN {column} SET NOT NULL", ("CM007",))
    elif own(step.before):
        yield f"{head} DROP CONSTRAINT {base_name(step.key.identity)}"


def _not_null_column(fields: Fields) -> str | None:
    """The column of a not-null constraint, None for other constraints."""
    definition = fields.get("definition") or ""
    match = re.match(rf"NOT NULL ({IDENTIFIER})", definition) if fields.get("type") == "not null" else None
    return match[1] if match else None


def _only_validates(step: ObjectChange) -> bool:
    """Whether all that a constraint lacks is its validation; that of a not-null constraint goes by column."""
    before, after = (text or "" for text in step.change("definition"))
    return before.removesuffix(" NOT VALID") == after and step.after.get("type") != "not null"


def _validate(step: ObjectChange) -> Commands:
    if not step.after.get("validated"):
        fails = "CM024" if step.after.get("type") == "foreign key" else "CM025"
        yield Hazardous(
            f"{_alter_owner(step.after)} VALIDATE CONSTRAINT {base_name(step.key.identity)}", (fails,)
        )


def _index_of_constraint(step: ObjectChange) -> str:
    return f"ALTER INDEX {split_identity(step.key.identity)[0]}.{base_name(step.key.identity)}"


def _index_options(step: ObjectChange) -> Commands:
    return option_changes(_index_of_constraint(step), *step.change("index_options"))


def _unsupported_constraint(step: ObjectChange) -> str | None:
    return "the state of its triggers" if step.differs("triggers") else redeclared(step)


def _create_index(step: ObjectChange) -> Commands:
    """Nothing for the index of a constraint or of a partitioned index: it comes with that.

    Of a partitioned table PostgreSQL prints ONLY; without it, its partitions get theirs, and the index is
    valid at once.
    """
    if not step.after.get("constraint") and not step.after.get("inherited"):
        definition = step.after.get("definition") or ""
        partitioned = _ON_ONLY.match(definition) and not step.after.get("valid")
        sql = _ON_ONLY.sub(r"\1", definition) if partitioned else definition
        yield Hazardous(sql, ("CM068" if partitioned else "CM008",))


def _partitioned(step: ObjectChange) -> bool:
    return bool(step.catalog.value(step.owner, "partition_key"))


def _drop_index(step: ObjectChange) -> Commands:
    if not step.before.get("constraint") and not step.before.get("inherited"):
        yield Hazardous(f"DROP INDEX {step.key.identity}", ("CM065",))


def _validate_index(step: ObjectChange) -> Commands:
    if not step.after.get("valid") and not _partitioned(step):
        yield Hazardous(f"REINDEX INDEX {step.key.identity}", ("CM058",))


def _cluster(step: ObjectChange) -> Commands:
    verb = (
        f"CLUSTER ON {base_name(step.key.identity)}" if step.after.get("clustered") else "SET WITHOUT CLUSTER"
    )
    yield f"{_alter_owner(step.after)} {verb}"


def _identify(step: ObjectChange) -> Commands:
    """Only to it; from it is said at the table."""
    if step.after.get("replica_identity"):
        yield f"{_alter_owner(step.after)} REPLICA IDENTITY USING INDEX {base_name(step.key.identity)}"


def _index_statistics(step: ObjectChange) -> Commands:
    before, after = (dict(line.split(": ", 1) for line in listed(text)) for text in step.change("statistics"))
    for number in sorted(before.keys() | after.keys()):
        if before.get(number) != after.get(number):
            target = after.get(number, "-1")
            yield f"ALTER INDEX {step.key.identity} ALTER COLUMN {number} SET STATISTICS {target}"


def _unsupported_index(step: ObjectChange) -> str | None:
    if step.differs("valid") and not (_partitioned(step) and step.key not in step.existing):
        if step.after.get("valid"):
            return "the INVALID state"
        if _partitioned(step):
            return "an attached index on each partition"
    new = step.after.get("definition") and step.after.get("inherited")
    return (
        "the name" if new and not step.after.get("generated_name") and step.key not in step.existing else None
    )


def _enable(step: ObjectChange) -> Commands:
    """Of a trigger or a rule."""
    state, noun = ENABLED[step.after.get("enabled") or "origin"], step.key.kind.upper()
    yield f"ALTER TABLE {step.owner.identity} {state} {noun} {base_name(step.key.identity)}"


def _drop_trigger(step: ObjectChange) -> Commands:
    if not step.before.get("inherited"):
        yield f"DROP TRIGGER {name_on_owner(step.key, step.before)}"


def _create_policy(step: ObjectChange) -> Commands:
    """From its fields: the definition has roles as a snapshot names them."""
    fields = step.after
    kind = "PERMISSIVE" if fields.get("permissive") != "no" else "RESTRICTIVE"
    roles = ", ".join(sql_role(role) for role in split_lines(fields.get("roles")) or ["public"])
    yield "".join(
        [
            f"CREATE POLICY {name_on_owner(step.key, fields)} AS {kind}",
            f" FOR {fields.get('command') or 'ALL'} TO {roles}",
            f" USING ({fields['using']})" if fields.get("using") else "",
            f" WITH CHECK ({fields['check']})" if fields.get("check") else "",
        ]
    )


_TABLESPACE = ("SET TABLESPACE {}", "SET TABLESPACE pg_default", "CM058")
_INHERITED = frozenset({"inherited", "local", "generated_name"})

CONSTRAINT = ObjectKind(
    "CONSTRAINT",
    create=_add_constraint,
    drop=_drop_constraint,
    covers=frozenset({"type", "definition", "validated"}),
    alters={
        "validated": _validate,
        "index_options": _index_options,
        "index_tablespace": clause("index_tablespace", *_TABLESPACE, head=_index_of_constraint),
    },
    follows=_INHERITED | {"triggers"},
    name=name_on_owner,
    owned=False,
    in_place=_only_validates,
    unsupported=_unsupported_constraint,
)
INDEX = ObjectKind(
    "INDEX",
    create=_create_index,
    drop=_drop_index,
    covers=frozenset({"definition"}),
    alters={
        "valid": _validate_index,
        "tablespace": clause("tablespace", *_TABLESPACE),
        "clustered": _cluster,
        "replica_identity": _identify,
        "statistics": _index_statistics,
    },
    follows=_INHERITED | {"constraint"},
    owned=False,
    unsupported=_unsupported_index,
)
TRIGGER = ObjectKind(
    "TRIGGER",
    drop=_drop_trigger,
    alters={"enabled": _enable},
    born={"enabled": "origin"},
    follows=_INHERITED,
    name=name_on_owner,
    owned=False,
)
RULE = ObjectKind(
    "RULE", alters={"enabled": _enable}, born={"enabled": "origin"}, name=name_on_owner, owned=False
)
POLICY = ObjectKind(
    "POLICY",
    create=_create_policy,
    drop_hazards=("CM034",),
    covers=frozenset({"definition", "command", "permissive", "roles", "using", "check"}),
    name=name_on_owner,
    owned=False,
)
STATISTICS = ObjectKind(
    "STATISTICS", alters={"target": clause("target", "SET STATISTICS {}", "SET STATISTICS -1")}
)
