"""Differences in the words of people who look after databases.

What is said of an object comes from its fields; a field that is not listed here is called by its own name.
Texts are as the servers gave them: whoever shows them takes out what no terminal or file should get.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from circle_migrate.diff.result import Comparison, Difference
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey, Op, Snapshot
from circle_migrate.postgres.identifier import schema_of

NOTHING = "none"
"""What is said of a field on the side where it says nothing."""

_LONGEST_IN_LINE = 100
"""Characters of both sides together; what is longer is shown line under line."""

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
"""Fields that are yes or no, and what either is called."""

_YES_UNLESS_SAID = frozenset({"valid", "validated", "populated", "deterministic"})
"""Those of them that are told only where they are not as usual, which is yes."""

_USUAL = {
    "access_method": "heap",
    "compression": "default",
    "persistence": "logged",
    "replica_identity": "default",
    "sequence_persistence": "as its table",
    "statistics": "default",
    "storage": "default",
    "tablespace": "default",
}
"""What a field that says nothing stands for, where that is not nothing."""

_WHERE_IT_STANDS = frozenset({"of", "position", "inherited", "generated_name"})
_WHOSE = frozenset({"owner", "acl", "comment"})
"""What may be said of any object; what nobody owns, as default privileges, has an `acl` for a reason."""

_PRIVILEGES = frozenset({"acl", "sequence_acl"})


@dataclass(frozen=True, slots=True)
class FieldDescription:
    """A field that has two values; where `before` and `after` are None the label says it all."""

    label: str
    before: str | None = None
    after: str | None = None

    @property
    def fits_in_line(self) -> bool:
        """Whether both values can stand in one line."""
        texts = (self.before or "") + (self.after or "")
        return "\n" not in texts and len(texts) <= _LONGEST_IN_LINE

    @property
    def pieces(self) -> tuple[str, ...]:
        """The line as label, value before, arrow and value after; the label alone where it says it all."""
        if self.before is None or self.after is None:
            return (self.label,)
        return (f"{self.label} " if self.label else "", self.before, " -> ", self.after)

    def __str__(self) -> str:
        return "".join(self.pieces) if self.fits_in_line else f"different {self.label}"


def describe_field(name: str, sides: tuple[str | None, str | None]) -> FieldDescription:
    """A field of a changed object: what it is called, and what both sides have."""
    if name in _SWITCHES:
        return FieldDescription(
            f"{label(name)} switched {'off' if sides[1] in (None, 'no', 'off') else 'on'}"
        )
    if name not in _STATES and set(sides) == {None, "yes"}:
        before, after = (side or "no" for side in sides)
    else:
        before, after = (value(name, side) for side in sides)
    return FieldDescription("" if name in _STATES else label(name), before, after)


def label(name: str) -> str:
    """What a field is called."""
    return _LABELS.get(name, name.replace("_", " "))


def value(name: str, text: str | None) -> str:
    """What a field says."""
    if name in _STATES:
        return _STATES[name][name in _YES_UNLESS_SAID if text is None else text == "yes"]
    if text is None:
        return _USUAL.get(name, NOTHING)
    return text or ("nobody" if name in _PRIVILEGES else "''")


def describe_object(fields: Fields) -> str:
    """An object that one side lacks: its definition, or what else is known of it, in one text."""
    definition = fields.get("definition")
    if definition:
        return definition
    told = []
    aside = _WHERE_IT_STANDS | (_WHOSE - {"acl"} if "owner" not in fields else _WHOSE)
    for name, text in sorted(fields.items(), key=lambda field: (field[0] != "type", field[0])):
        if text is None or name in aside:
            continue
        words = _in_one_line(value(name, text))
        told.append(words if name in _STATES else f"{label(name)} {words}")
    return ", ".join(told)


def _in_one_line(text: str) -> str:
    """A list that has its items line by line; those that hold commas are told apart by semicolons."""
    return text.replace("\n", "; " if ", " in text else ", ")


def lines(before: str | None, after: str | None, context: int = 2) -> list[str]:
    """Both texts as a unified diff without its head: lines that begin with `-`, `+`, a space or `@@`."""
    one, other = ([] if text in (None, NOTHING) else str(text).split("\n") for text in (before, after))
    compared = list(difflib.unified_diff(one, other, lineterm="", n=context))[2:]
    # Where all is one hunk, its place says nothing.
    return compared[1:] if sum(line.startswith("@@") for line in compared) == 1 else compared


def sides(comparison: Comparison) -> tuple[str, str]:
    """Both sides by their own words; told apart where they have the same."""
    before, after = comparison.before.origin, comparison.after.origin
    return (before, after) if before != after else (f"{before} (from)", f"{after} (to)")


def place(snapshot: Snapshot) -> str:
    """Where a snapshot belongs: its revisions, unless its origin names them, and the server's version."""
    heads = ", ".join(snapshot.revisions or ()) or "base"
    known = snapshot.revisions is None or heads in snapshot.origin
    version = f"{snapshot.major}.{snapshot.server_version_num % 10000}"
    return ", ".join(filter(None, ["" if known else f"at {heads}", f"PostgreSQL {version}"]))


def short(key: ObjectKey, root: ObjectKey) -> str:
    """The object's kind and its name, as far as it is not that of the object it belongs to."""
    for prefix in (f"{root.identity}.", f"{schema_of(root.identity)}."):
        if key.identity.startswith(prefix):
            return f"{key.kind} {key.identity.removeprefix(prefix)}"
    return str(key)


def headline(difference: Difference, name: str, comparison: Comparison) -> str:
    """What has become of an object of that name, in the words of both sides."""
    before, after = sides(comparison)
    match difference.change.op:
        case Op.ADDED:
            words, hint = f"{name} is extra in {after}", "perhaps renamed from"
        case Op.REMOVED:
            words, hint = f"{name} is missing in {after}", "perhaps renamed to"
        case Op.CHANGED:
            words, hint = name, f"perhaps, in {before}, "
    return f"{words}, {hint} {difference.renamed.identity}" if difference.renamed else words


def summary(difference: Difference, comparison: Comparison) -> str:
    """Describe a difference in one line."""
    change = difference.change
    words = headline(difference, str(change.key), comparison)
    fields = "; ".join(str(describe_field(name, both)) for name, both in change.fields.items())
    return f"{words}{': ' + fields if change.op is Op.CHANGED else ''}"


def detail(difference: Difference, comparison: Comparison) -> str | None:
    """Return the texts that are too long for `summary`, as unified diffs; None where there are none."""
    change = difference.change
    if change.op is not Op.CHANGED:
        return None
    before, after = sides(comparison)
    texts = []
    for name, both in change.fields.items():
        field = describe_field(name, both)
        if not field.fits_in_line:
            texts += [f"--- {before}: {field.label}", f"+++ {after}: {field.label}"]
            texts += lines(field.before, field.after)
    return "\n".join(texts) or None


def tally(kinds: Iterable[str]) -> dict[str, int]:
    """Count the objects of each kind, in the order of the kinds' names."""
    return dict(sorted(Counter(kinds).items()))


def counted(counts: Mapping[str, int]) -> str:
    """How many there are of each: `9 tables, 1 column`."""
    return ", ".join(f"{count} {word if count == 1 else plural(word)}" for word, count in counts.items())


def plural(word: str) -> str:
    """The plural of a kind's name; PostgreSQL's own where it is one already."""
    if word in ("statistics", "default privileges"):
        return word
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("x", "s")) else "s")
