"""Views and routines."""

from __future__ import annotations

import re
from functools import partial

from circle_migrate.diff.ddl.clauses import optional_clauses, parse_options, storage_parameters
from circle_migrate.diff.ddl.kind import Commands, Hazardous, ObjectChange, ObjectKind, change_options, clause

_SET_OPERATION = re.compile(r"\b(?:UNION|INTERSECT|EXCEPT)\b|^\s*WITH\b")
_WHERE = re.compile(r"\n\s*WHERE\b")


def _query(change: ObjectChange) -> str:
    return (change.after.get("definition") or "").strip().removesuffix(";")


def _with(change: ObjectChange) -> str:
    options = parse_options(change.after.get("options"))
    return f" WITH ({storage_parameters(options)})" if options else ""


def _create_view(change: ObjectChange, verb: str = "CREATE") -> Commands:
    yield f"{verb} VIEW {change.key.identity}{_with(change)} AS\n{_query(change)}"


def _only_where_differs(change: ObjectChange) -> bool:
    """Return whether only the WHERE clause differs, so that CREATE OR REPLACE keeps the columns."""
    before, after = (text or "" for text in change.values("definition"))
    if _SET_OPERATION.search(before) or _SET_OPERATION.search(after):
        return False
    old, new = _WHERE.search(before), _WHERE.search(after)
    return old is not None and new is not None and before[: old.start()] == after[: new.start()]


def _create_materialized_view(change: ObjectChange) -> Commands:
    fields = change.after
    method = optional_clauses(fields, {"access_method": " USING {}"})
    tablespace = optional_clauses(fields, {"tablespace": " TABLESPACE {}"})
    clauses = "".join([*method, _with(change), *tablespace])
    sql = f"CREATE MATERIALIZED VIEW {change.key.identity}{clauses} AS\n{_query(change)}\nWITH "
    yield f"{sql}NO DATA" if fields.get("populated") == "no" else Hazardous(f"{sql}DATA", ("CM066",))


def _populate(change: ObjectChange) -> Commands:
    data = "NO DATA" if change.after.get("populated") == "no" else "DATA"
    yield Hazardous(f"REFRESH MATERIALIZED VIEW {change.key.identity} WITH {data}", ("CM066",))


def _same_signature(change: ObjectChange) -> bool:
    """Return whether the signature is the same, which CREATE OR REPLACE cannot change."""
    before, after = ((text or "").partition("\n LANGUAGE ")[0] for text in change.values("definition"))
    return before == after


def _replace_routine(change: ObjectChange) -> Commands:
    yield change.after.get("definition") or ""


VIEW = ObjectKind(
    "VIEW",
    create=_create_view,
    covers=frozenset({"definition", "options"}),
    alters={"options": change_options},
    grant="TABLE",
    in_place=_only_where_differs,
    rerun=partial(_create_view, verb="CREATE OR REPLACE"),
)
MATERIALIZED_VIEW = ObjectKind(
    "MATERIALIZED VIEW",
    create=_create_materialized_view,
    covers=frozenset({"definition", "options", "populated", "tablespace", "access_method"}),
    alters={
        "options": change_options,
        "populated": _populate,
        "tablespace": clause("tablespace", "SET TABLESPACE {}", "SET TABLESPACE pg_default", "CM069"),
    },
    drop_hazards=("CM014",),
    grant="TABLE",
)


def routine(noun: str) -> ObjectKind:
    """Return the kind of routines that are dropped and altered by this noun."""
    return ObjectKind(
        noun,
        covers=frozenset({"definition", "language", "security_definer"}),
        follows=frozenset({"language", "security_definer"}),
        grant="PROCEDURE" if noun == "PROCEDURE" else "FUNCTION",
        in_place=_same_signature,
        rerun=_replace_routine,
    )


AGGREGATE = ObjectKind("AGGREGATE", follows=frozenset({"language", "security_definer"}), grant="FUNCTION")
