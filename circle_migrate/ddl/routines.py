"""Views and routines: what is defined by a text."""

from __future__ import annotations

import re

from circle_migrate.ddl.columns import option_changes, options
from circle_migrate.ddl.kind import Commands, Hazardous, Kind, Step
from circle_migrate.ddl.names import valued

_SETS = re.compile(r"\b(?:UNION|INTERSECT|EXCEPT)\b|^\s*WITH\b")
_CONDITION = re.compile(r"\n\s*WHERE\b")


def _query(step: Step) -> str:
    return (step.after.get("definition") or "").strip().removesuffix(";")


def _with(step: Step) -> str:
    named = valued(step.after.get("options"))
    return f" WITH ({options(named)})" if named else ""


def _create_view(step: Step) -> Commands:
    yield f"CREATE VIEW {step.key.identity}{_with(step)} AS\n{_query(step)}"


def _same_columns(step: Step) -> bool:
    """Whether only the condition differs, so that CREATE OR REPLACE is sure to be accepted."""
    before, after = (text or "" for text in step.change("definition"))
    if _SETS.search(before) or _SETS.search(after):
        return False
    one, other = _CONDITION.search(before), _CONDITION.search(after)
    return one is not None and other is not None and before[: one.start()] == after[: other.start()]


def _replace_view(step: Step) -> Commands:
    yield f"CREATE OR REPLACE VIEW {step.key.identity}{_with(step)} AS\n{_query(step)}"


def _change_options(step: Step) -> Commands:
    return option_changes(f"ALTER {step.key.kind.upper()} {step.key.identity}", *step.change("options"))


def _create_materialized_view(step: Step) -> Commands:
    fields = step.after
    method = f" USING {fields['access_method']}" if fields.get("access_method") else ""
    tablespace = f" TABLESPACE {fields['tablespace']}" if fields.get("tablespace") else ""
    head = f"CREATE MATERIALIZED VIEW {step.key.identity}{method}{_with(step)}{tablespace}"
    sql = f"{head} AS\n{_query(step)}\nWITH "
    yield f"{sql}NO DATA" if fields.get("populated") == "no" else Hazardous(f"{sql}DATA", ("CM066",))


def _populate(step: Step) -> Commands:
    data = "NO DATA" if step.after.get("populated") == "no" else "DATA"
    yield Hazardous(f"REFRESH MATERIALIZED VIEW {step.key.identity} WITH {data}", ("CM066",))


def _move_view(step: Step) -> Commands:
    space = step.after.get("tablespace") or "pg_default"
    yield Hazardous(f"ALTER MATERIALIZED VIEW {step.key.identity} SET TABLESPACE {space}", ("CM069",))


def _same_signature(step: Step) -> bool:
    """Whether what callers see is the same: PostgreSQL replaces only the rest."""
    before, after = ((text or "").partition("\n LANGUAGE ")[0] for text in step.change("definition"))
    return before == after


def _replace_routine(step: Step) -> Commands:
    yield step.after.get("definition") or ""


VIEW = Kind(
    "VIEW",
    create=_create_view,
    covers=frozenset({"definition", "options"}),
    alters={"options": _change_options},
    grant="TABLE",
    in_place=_same_columns,
    rerun=_replace_view,
)
MATERIALIZED_VIEW = Kind(
    "MATERIALIZED VIEW",
    create=_create_materialized_view,
    covers=frozenset({"definition", "options", "populated", "tablespace", "access_method"}),
    alters={"options": _change_options, "populated": _populate, "tablespace": _move_view},
    drop_hazards=("CM014",),
    grant="TABLE",
)


def routine(noun: str) -> Kind:
    """A kind of routine that is dropped and altered under a noun."""
    return Kind(
        noun,
        covers=frozenset({"definition", "language", "security_definer"}),
        follows=frozenset({"language", "security_definer"}),
        grant="PROCEDURE" if noun == "PROCEDURE" else "FUNCTION",
        in_place=_same_signature,
        rerun=_replace_routine,
    )


AGGREGATE = Kind("AGGREGATE", follows=frozenset({"language", "security_definer"}), grant="FUNCTION")
