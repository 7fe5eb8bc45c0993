"""How much a difference matters: what it is about, and how severe that is under a database's profile."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from circle_migrate.core.catalog import Change, Op
from circle_migrate.core.differences import Aspect
from circle_migrate.core.findings import Severity


class Profile(StrEnum):
    """How a database is judged: STRICT where who may do what matters as much as what there is."""

    DEFAULT = "default"
    STRICT = "strict"


_OF_KIND = {
    "policy": Aspect.SECURITY,
    "default privileges": Aspect.SECURITY,
    "setting": Aspect.STATE,
    "statistics": Aspect.STORAGE,
}
"""What an object is about as a whole; anything else is DEFINITION."""

_OF_FIELD = {
    "owner": Aspect.SECURITY,
    "acl": Aspect.SECURITY,
    "sequence_acl": Aspect.SECURITY,
    "rls": Aspect.SECURITY,
    "rls_forced": Aspect.SECURITY,
    "security_definer": Aspect.SECURITY,
    "valid": Aspect.STATE,
    "validated": Aspect.STATE,
    "populated": Aspect.STATE,
    "enabled": Aspect.STATE,
    "triggers": Aspect.STATE,
    "version": Aspect.STATE,
    "access_method": Aspect.STORAGE,
    "clustered": Aspect.STORAGE,
    "compression": Aspect.STORAGE,
    "index_options": Aspect.STORAGE,
    "index_tablespace": Aspect.STORAGE,
    "statistics": Aspect.STORAGE,
    "storage": Aspect.STORAGE,
    "tablespace": Aspect.STORAGE,
    "comment": Aspect.COMMENT,
    "attribute_comments": Aspect.COMMENT,
    "sequence_comment": Aspect.COMMENT,
    "position": Aspect.ORDER,
}
"""What a field is about, whatever object has it; any other is about what its object is."""

_STORED_WITH_OPTIONS = frozenset({"table", "materialized view", "column", "constraint", "index"})
"""Kinds whose options say how they are stored; those of others (views, servers) say what they are."""

_NEVER_FAILS = frozenset({Aspect.STORAGE, Aspect.COMMENT, Aspect.ORDER})
_OF_THE_SERVER = frozenset(
    {("extension", "version"), ("collation", "version"), ("materialized view", "populated")}
)
"""What a server or a restore leaves behind, and not a person."""

_STRICT_KINDS = frozenset({"trigger", "event trigger", "setting"})
_STRICT_FIELDS = frozenset({"triggers"})
"""What fails under STRICT and is a note otherwise, beside all of SECURITY."""

_WEIGHT = (Severity.ERROR, Severity.WARNING, Severity.NOTE)


@dataclass(frozen=True, slots=True)
class Weight:
    """How one change is judged."""

    aspect: Aspect
    severity: Severity


def weigh(change: Change, profile: Profile, firm: Collection[str] = ()) -> Weight:
    """The aspect and severity of a change: those of the field that weighs most.

    Fields in `firm` fail under any profile: people asked for them.
    """
    kind = change.key.kind
    if change.op is not Op.CHANGED:
        aspect = _OF_KIND.get(kind, Aspect.DEFINITION)
        asked = kind == "default privileges" and "acl" in firm
        return Weight(aspect, Severity.ERROR if asked else _severity(kind, None, aspect, profile))
    weights = []
    for field in _telling(change):
        aspect = aspect_of(kind, field)
        severity = Severity.ERROR if field in firm else _severity(kind, field, aspect, profile)
        weights.append(Weight(aspect, severity))
    order = list(Aspect)
    return min(weights, key=lambda each: (_WEIGHT.index(each.severity), order.index(each.aspect)))


def aspect_of(kind: str, field: str) -> Aspect:
    """What a field of an object of that kind is about."""
    if field == "options" and kind in _STORED_WITH_OPTIONS:
        return Aspect.STORAGE
    return _OF_FIELD.get(field) or _OF_KIND.get(kind, Aspect.DEFINITION)


def _severity(kind: str, field: str | None, aspect: Aspect, profile: Profile) -> Severity:
    if aspect in _NEVER_FAILS or (kind, field) in _OF_THE_SERVER:
        return Severity.NOTE
    strict = aspect is Aspect.SECURITY or kind in _STRICT_KINDS or field in _STRICT_FIELDS
    return Severity.NOTE if strict and profile is Profile.DEFAULT else Severity.ERROR


def _telling(change: Change) -> list[str]:
    """The fields that differ, without a definition that only repeats that SECURITY DEFINER does."""
    fields = list(change.fields)
    if "security_definer" in fields and "definition" in fields:
        before, after = (_without_security(text) for text in change.fields["definition"])
        if before == after:
            fields.remove("definition")
    return fields


def _without_security(definition: str | None) -> str:
    return " ".join((definition or "").replace(" SECURITY DEFINER", "").split())
