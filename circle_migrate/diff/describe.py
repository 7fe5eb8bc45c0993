"""Describe differences in the terms of PostgreSQL's documentation.

A field without a label here has its own name. Texts are as the server printed them; renderers remove control
characters.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from circle_migrate.diff.result import Comparison, Difference
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey, Op, Snapshot
from circle_migrate.postgres.identifier import schema_of

NO_VALUE = "none"
"""The description of a field without a value."""

_MAX_LINE_LENGTH = 100
"""The number of characters of both values in one line; longer values are shown as a diff."""

_LABELS = {
    "acl": "privileges",
    "constraint": "belongs to constraint",
    "identity_sequence": "name of its sequence",
    "local": "declared by the table itself",
    "of": "belongs to",
    "using": "USING",
    "check": "WITH CHECK",
    "rls": "row level security",
    "rls_forced": "row level security for the owner",
    "sequence_acl": "privileges of its sequence",
    "sequence_comment": "comment of its sequence",
    "sequence_persistence": "persistence of its sequence",
    "via_root": "published as the partitioned table",
}
_SWITCHES = frozenset({"rls", "rls_forced"})
_STATES = {
    "not_null": ("nullable", "not null"),
    "valid": ("invalid", "valid"),
    "validated": ("not validated", "validated"),
    "populated": ("not populated", "populated"),
    "permissive": ("restrictive", "permissive"),
    "deterministic": ("not deterministic", "deterministic"),
    "security_definer": ("security invoker", "security definer"),
}
"""Descriptions of boolean fields: for no and for yes."""

_DEFAULT_YES = frozenset({"valid", "validated", "populated", "deterministic"})
"""Boolean fields that mean yes without a value."""

_DEFAULTS = {
    **dict.fromkeys(("compression", "replica_identity", "statistics", "storage", "tablespace"), "default"),
    "access_method": "heap",
    "persistence": "logged",
    "sequence_persistence": "as its table",
}
"""The meaning of fields without a value; `NO_VALUE` for other fields."""

_NOT_DESCRIBED = frozenset({"of", "position", "inherited", "generated_name", "owner", "comment"})
"""Fields left out of the description of an object; so is `acl`, unless the object has no owner."""

_PRIVILEGES = frozenset({"acl", "sequence_acl"})


@dataclass(frozen=True, slots=True)
class FieldDescription:
    """A field with its two values; both are None if the label is the whole description."""

    label: str
    before: str | None = None
    after: str | None = None

    @property
    def fits_in_line(self) -> bool:
        """Whether both values fit in one line."""
        texts = (self.before or "") + (self.after or "")
        return "\n" not in texts and len(texts) <= _MAX_LINE_LENGTH

    @property
    def parts(self) -> tuple[str, ...]:
        """The line in parts: label, value before, arrow, value after; or the label alone."""
        if self.before is None or self.after is None:
            return (self.label,)
        return (f"{self.label} " if self.label else "", self.before, " -> ", self.after)

    def __str__(self) -> str:
        return "".join(self.parts) if self.fits_in_line else f"different {self.label}"


def describe_field(name: str, sides: tuple[str | None, str | None]) -> FieldDescription:
    """Return the label and both values of a field that differs."""
    if name in _SWITCHES:
        state = "off" if sides[1] in (None, "no", "off") else "on"
        return FieldDescription(f"{label(name)} switched {state}")
    if name not in _STATES and set(sides) == {None, "yes"}:
        before, after = (side or "no" for side in sides)
    else:
        before, after = (value(name, side) for side in sides)
    return FieldDescription("" if name in _STATES else label(name), before, after)


def label(name: str) -> str:
    """Return the label of a field."""
    return _LABELS.get(name, name.replace("_", " "))


def value(name: str, text: str | None) -> str:
    """Return the description of a field's value."""
    if name in _STATES:
        return _STATES[name][name in _DEFAULT_YES if text is None else text == "yes"]
    if text is None:
        return _DEFAULTS.get(name, NO_VALUE)
    return text or ("nobody" if name in _PRIVILEGES else "''")


def describe_object(fields: Fields) -> str:
    """Return the definition of an object, or a list of its fields if it has none."""
    definition = fields.get("definition")
    if definition:
        return definition
    omitted = _NOT_DESCRIBED | ({"acl"} if "owner" in fields else set())
    descriptions = []
    for name, text in sorted(fields.items(), key=lambda field: (field[0] != "type", field[0])):
        if text is not None and name not in omitted:
            description = value(name, text)
            description = description.replace("\n", "; " if ", " in description else ", ")
            descriptions.append(description if name in _STATES else f"{label(name)} {description}")
    return ", ".join(descriptions)


def unified_diff(before: str | None, after: str | None, context: int = 2) -> list[str]:
    """Return a unified diff without its header: lines that begin with `-`, `+`, a space or `@@`."""
    old, new = ([] if text in (None, NO_VALUE) else str(text).split("\n") for text in (before, after))
    diff = list(difflib.unified_diff(old, new, lineterm="", n=context))[2:]
    # The position of a single hunk tells nothing.
    return diff[1:] if sum(line.startswith("@@") for line in diff) == 1 else diff


def side_names(comparison: Comparison) -> tuple[str, str]:
    """Return the names of both sides, marked `(from)` and `(to)` if they are the same."""
    before, after = comparison.before.origin, comparison.after.origin
    return (before, after) if before != after else (f"{before} (from)", f"{after} (to)")


def describe_version(snapshot: Snapshot) -> str:
    """Return the revisions of a snapshot, unless its origin names them, and the server's version."""
    heads = ", ".join(snapshot.revisions or ()) or "base"
    known = snapshot.revisions is None or heads in snapshot.origin
    version = f"{snapshot.major}.{snapshot.server_version_num % 10000}"
    return ", ".join(filter(None, ["" if known else f"at {heads}", f"PostgreSQL {version}"]))


def relative_name(key: ObjectKey, root: ObjectKey) -> str:
    """Return the kind and name of an object, without the name or schema of the object it belongs to."""
    for prefix in (f"{root.identity}.", f"{schema_of(root.identity)}."):
        if key.identity.startswith(prefix):
            return f"{key.kind} {key.identity.removeprefix(prefix)}"
    return str(key)


def headline(difference: Difference, name: str, comparison: Comparison) -> str:
    """Return the kind of a difference: extra, missing or changed, and the hint of a rename."""
    before, after = side_names(comparison)
    match difference.change.op:
        case Op.ADDED:
            text, hint = f"{name} is extra in {after}", "perhaps renamed from"
        case Op.REMOVED:
            text, hint = f"{name} is missing in {after}", "perhaps renamed to"
        case Op.CHANGED:
            text, hint = name, f"perhaps, in {before}, "
    return f"{text}, {hint} {difference.renamed.identity}" if difference.renamed else text


def summary(difference: Difference, comparison: Comparison) -> str:
    """Return a difference in one line."""
    change = difference.change
    text = headline(difference, str(change.key), comparison)
    if change.op is not Op.CHANGED:
        return text
    return f"{text}: {'; '.join(str(describe_field(name, both)) for name, both in change.fields.items())}"


def detail(difference: Difference, comparison: Comparison) -> str | None:
    """Return the texts that are too long for `summary`, as unified diffs; None if there are none."""
    change = difference.change
    if change.op is not Op.CHANGED:
        return None
    before, after = side_names(comparison)
    texts = []
    for name, both in change.fields.items():
        field = describe_field(name, both)
        if not field.fits_in_line:
            texts += [f"--- {before}: {field.label}", f"+++ {after}: {field.label}"]
            texts += unified_diff(field.before, field.after)
    return "\n".join(texts) or None


def count_kinds(kinds: Iterable[str]) -> dict[str, int]:
    """Count the objects of each kind, in the order of the kinds' names."""
    return dict(sorted(Counter(kinds).items()))


def format_counts(counts: Mapping[str, int]) -> str:
    """Return counts with their nouns: `9 tables, 1 column`."""
    return ", ".join(f"{count} {noun if count == 1 else plural(noun)}" for noun, count in counts.items())


def plural(noun: str) -> str:
    """Return the plural of a kind's name; some names are plurals already."""
    if noun in ("statistics", "default privileges"):
        return noun
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("x", "s")) else "s")
