"""Views and routines: what is defined by a text."""

from __future__ import annotations

import re
from functools import partial

from circle_migrate.diff.ddl.column import change_options, options
from circle_migrate.diff.ddl.identifiers import valued
from circle_migrate.diff.ddl.kind import Commands, Hazardous, ObjectChange, ObjectKind, clause

_SETS = re.compile(r"\b(?:UNION|INTERSECT|EXCEPT)\b|^\s*WITH\b")
_CONDITION = re.compile(r"\n\s*WHERE\b")


def _query(step: ObjectChange) -> str:
    return (step.after.get("definition") or "").strip().removesuffix(";")


def _with(step: ObjectChange) -> str:
    named = valued(step.after.get("options"))
    return f" WITH ({options(named)})" if named else ""


def _create_view(step: ObjectChange, verb: str = "CREATE") -> Commands:
    yield f"{verb} VIEW {step.key.identity}{_with(step)} AS\n{_query(step)}"


def _same_columns(step: ObjectChange) -> bool:
    """Whether only the condition differs, so that CREATE OR REPLACE is sure to be accepted."""
    before, after = (text or "" for text in step.change("definition"))
    if _SETS.search(before) or _SETS.search(after):
        return False
    one, other = _CONDITION.search(before), _CONDITION.search(after)
    return one is not None and other is not None and before[: one.start()] == after[: other.start()]


def _create_materialized_view(step: ObjectChange) -> Commands:
    fields = step.after
    method = f" USING {fields['access_method']}" if fields.get("access_method") else ""
    tablespace = f" TABLESPACE {fields['tablespace']}" if fields.get("tablespace") else ""
    head = f"CREATE MATERIALIZED VIEW {step.key.identity}{method}{_with(step)}{tablespace}"
    sql = f"{head} AS\n{_query(step)}\nWITH "
    yield f"{sql}NO DATA" if fields.get("populated") == "no" else Hazardous(f"{sql}DATA", ("CM066",))


def _populate(step: ObjectChange) -> Commands:
    data = "NO DATA" if step.after.get("populated") == "no" else "DATA"
    yield Hazardous(f"REFRESH MATERIALIZED VIEW {step.key.identity} WITH {data}", ("CM066",))


def _same_signature(step: ObjectChange) -> bool:
    """Whether what callers see is the same: PostgreSQL replaces only the rest."""
    before, after = ((text or "").partition("\n LANGUAGE ")[0] for text in step.change("definition"))
    return before == after


def _replace_routine(step: ObjectChange) -> Commands:
    yield step.after.get("definition") or ""


VIEW = ObjectKind(
    "VIEW",
    create=_create_view,
    covers=frozenset({"definition", "options"}),
    alters={"options": change_options},
    grant="TABLE",
    in_place=_same_columns,
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
    """A kind of routine that is dropped and altered under a noun."""
    return ObjectKind(
        noun,
        covers=frozenset({"definition", "language", "security_definer"}),
        follows=frozenset({"language", "security_definer"}),
        grant="PROCEDURE" if noun == "PROCEDURE" else "FUNCTION",
        in_place=_same_signature,
        rerun=_replace_routine,
    )


AGGREGATE = ObjectKind("AGGREGATE", follows=frozenset({"language", "security_definer"}), grant="FUNCTION")
