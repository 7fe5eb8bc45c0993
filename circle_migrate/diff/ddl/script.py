"""Generate the DDL that changes the first side of a comparison into the second."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from circle_migrate.diff.ddl import attributes
from circle_migrate.diff.ddl.attributes import LINE, parse_acl
from circle_migrate.diff.ddl.column import VIEWS, detach, table_of
from circle_migrate.diff.ddl.dependencies import ROUTINES, Catalog
from circle_migrate.diff.ddl.kind import Commands, Hazardous
from circle_migrate.diff.ddl.kinds import KINDS
from circle_migrate.diff.ddl.plan import ChangePlan
from circle_migrate.diff.ddl.position import continue_sequences
from circle_migrate.diff.ddl.statement import Statement, Verb, old_name
from circle_migrate.diff.implied import drop_implied
from circle_migrate.diff.result import Comparison
from circle_migrate.diff.scope import MAINTAIN_ITEM, MAINTAIN_SINCE
from circle_migrate.postgres.catalog.snapshot import Change, Fields, ObjectKey, Op, changes_between
from circle_migrate.postgres.identifier import base_name, schema_of, split_lines

_ADD_VALUE = re.compile(r"(ALTER TYPE .*? ADD VALUE) E?'((?:[^']|'')*)'")
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_QUOTED_BODY = re.compile(r"^CREATE .*\nAS \$", re.DOTALL)
_MAINTAIN = "MAINTAIN"
_WITHOUT_COMMAND = frozenset({"of", "generated_name", "position"})


@dataclass(frozen=True, slots=True)
class MigrationScript:
    """The DDL that changes one side of a comparison into the other.

    `incomplete` names the differences that the statements leave. `plan` has the operations behind them.
    `untried` is the reason why the statements did not run on a scratch copy.
    """

    comparison: Comparison
    statements: tuple[Statement, ...]
    incomplete: tuple[str, ...]
    plan: ChangePlan
    untried: str | None = None


def generate(comparison: Comparison, *, undo: bool = False) -> MigrationScript:
    """Return the DDL for the differences of a comparison, or to undo it; a rename is a DROP and a CREATE."""
    catalogs = [Catalog(comparison.before.objects), Catalog(_target(comparison))]
    before, after = reversed(catalogs) if undo else catalogs
    plan = ChangePlan(before, after, comparison.before.major)
    changed = sorted(plan.created | plan.altered | plan.replaced | plan.renamed)
    differences = (f"{difference} of {key}" for key in changed for difference in _unsupported(plan, key))
    incomplete = dict.fromkeys([*differences, *_column_orders(plan), *_unsupported_privileges(comparison)])
    renamed = {difference.change.key: difference.renamed for difference in comparison.differences}
    script = MigrationScript(comparison, _statements(plan, renamed), tuple(incomplete), plan)
    trial = comparison.trials.get(undo)
    if trial is None or trial.untried:
        return replace(script, untried=trial.untried if trial else None)
    statements = tuple(script.statements[index] for index in trial.order)
    return replace(script, statements=statements, incomplete=script.incomplete + trial.gaps)


def _statements(plan: ChangePlan, renamed: Mapping[ObjectKey, ObjectKey | None]) -> tuple[Statement, ...]:
    written = []
    for verb, key in plan.nodes():
        owner = plan.after.owner_of(key)
        # A new owner has no rows and no sessions; but a foreign key also locks the table that it references.
        is_harmless = owner and plan.is_created(owner) and plan.after.value(key, "type") != "foreign key"
        for command in _commands(plan, verb, key):
            sql, hazards = (command, ()) if isinstance(command, str) else command
            written.append(Statement(sql, key, () if is_harmless else hazards))
    continue_sequences(written, plan, renamed)
    routines = [item.key for item in written if item.key.kind in ROUTINES and _QUOTED_BODY.search(item.sql)]
    if routines:  # a body may name objects that are created later; pg_dump disables the check, too
        written.insert(0, Statement("SET check_function_bodies = off", routines[0]))
        written.append(Statement("RESET check_function_bodies", routines[-1]))
    return tuple(_used_labels_first(written))


def _used_labels_first(statements: list[Statement]) -> list[Statement]:
    """Put the new labels of an enum first if others use one: they must be committed before.

    If a later statement fails, they stay, so they are written to be run again.
    """
    labels = {item: match for item in statements if (match := _ADD_VALUE.match(item.sql))}
    others = "\n".join(item.sql for item in statements if item not in labels)
    literals = "\n".join(_LITERAL.findall(others))
    used = {
        item.key
        for item, match in labels.items()
        if re.search(rf"(?<!\w){re.escape(match[2])}(?!\w)", literals)
    }
    first = []
    for item, match in labels.items():
        if item.key in used:
            sql = f"{match[1]} IF NOT EXISTS{item.sql[match.end(1) :]}"
            first.append(replace(item, sql=sql, transactional=False, hazards=("CM040",)))
    return [*first, *(item for item in statements if item not in labels or item.key not in used)]


def _commands(plan: ChangePlan, verb: Verb, key: ObjectKey) -> Commands:
    kind = KINDS[key.kind]
    match verb:
        case Verb.DETACH | Verb.ATTACH if key.kind == "sequence":
            column = "NONE" if verb is Verb.DETACH else plan.after.value(key, "owned_by")
            return [f"ALTER SEQUENCE {key.identity} OWNED BY {column}"]
        case Verb.DETACH:
            return detach(plan.full_change(key))
        case Verb.RENAME | Verb.DROP_OLD:
            return _replace_used_type(plan, verb, key)
        case Verb.DROP:
            change = plan.drop_change(key)
            if key.kind != "column" or change.owner.kind not in VIEWS:
                return kind.drop_commands(change)
            # The column of a view is not dropped: its default, privileges and comment are.
            change = replace(change, after={"of": change.before.get("of")})
        case _:
            change = plan.change(key)
    new = verb is Verb.CREATE
    owner = plan.after.owner_of(key) if key.kind == "column" else None
    # The columns of a new table are in its CREATE.
    in_create = owner and owner.kind not in VIEWS and plan.is_created(owner)
    create = kind.create_commands(change) if new and not in_create else []
    return [*create, *kind.alter_commands(change), *attributes.commands(kind, change, new=new)]


def _replace_used_type(plan: ChangePlan, verb: Verb, key: ObjectKey) -> Commands:
    """Yield a rename, and later the drop. A range is dropped at once: its constructors keep their names."""
    noun, old = KINDS[key.kind].noun, old_name(key.identity)
    if key.kind != "range type":
        drop = Hazardous(f"DROP {noun} {schema_of(key.identity)}.{old}", ("CM014",))
        yield f"ALTER {noun} {key.identity} RENAME TO {old}" if verb is Verb.RENAME else drop
    elif verb is Verb.RENAME:
        for column in sorted(plan.retyped & plan.before.needed_by[key]):
            if not plan.before.value(column, "inherited"):
                alter = f"ALTER TABLE {table_of(column)} ALTER COLUMN {base_name(column.identity)}"
                yield Hazardous(f"{alter} TYPE text", ("CM061",))
        yield Hazardous(f"DROP TYPE {key.identity}", ("CM014",))


def _target(comparison: Comparison) -> dict[ObjectKey, Fields]:
    """Return the objects of the first side after the changes of the comparison and the implied ones."""
    objects = dict(comparison.before.objects)
    for change in _with_implied(comparison):
        if change.op is Op.REMOVED:
            objects.pop(change.key, None)
        else:
            current = objects.get(change.key)
            fields = {**(current or {}), **{name: after for name, (_, after) in change.fields.items()}}
            objects[change.key] = _adapted(comparison, fields, current)
    # No difference in itself, but commands on the parent of a partition include these objects.
    for key in objects.keys() & comparison.after.objects.keys():
        if key.kind in {"column", "index", "trigger"}:
            inherited = comparison.after.objects[key].get("inherited")
            objects[key] = {**objects[key], "inherited": inherited}
    return objects


def _with_implied(comparison: Comparison) -> list[Change]:
    """Return the differences, and the changes that `drop_implied` removed because of them."""
    before, after = comparison.before, comparison.after
    reported = [*(difference.change for difference in comparison.differences), *comparison.partitions]
    keys = {change.key for change in reported}
    changes = changes_between(before, after)
    independent = keys | {change.key for change in drop_implied(changes, before, after)}
    implied = [change for change in changes if change.key not in independent]
    # A change that only an unreported change implies is left out, then those that depend on it.
    while independent := {change.key for change in drop_implied([*reported, *implied], before, after)} - keys:
        implied = [change for change in implied if change.key not in independent]
    return [*reported, *implied]


def _unsupported(plan: ChangePlan, key: ObjectKey) -> list[str]:
    kind, change = KINDS[key.kind], plan.change(key)
    if not kind.can_create and plan.is_created(key):
        return ["definition"]
    supported = kind.covers | kind.follows | kind.alters.keys() | attributes.FIELDS | _WITHOUT_COMMAND
    fields = sorted((change.before.keys() | change.after.keys()) - supported)
    names = [name.replace("_", " ") for name in fields if change.differs(name)]
    others = [kind.unsupported(change) if kind.unsupported else None, attributes.unsupported_grants(change)]
    return [*names, *filter(None, others)]


def _column_orders(plan: ChangePlan) -> Iterator[str]:
    """Yield the tables whose columns end in another order; gaps in the positions mean any order will do."""
    for table in sorted(plan.before.objects.keys() & plan.after.objects.keys() - plan.replaced):
        columns = plan.after.parts_of(table, "column")
        positions = [int(plan.after.value(key, "position") or 0) for key in columns]
        kept = [key for key in plan.before.parts_of(table, "column") if not plan.is_dropped(key)]
        new = [key for key in columns if plan.is_created(key)]
        if positions == list(range(1, len(columns) + 1)) and columns != [*kept, *new]:
            yield f"column order of {table}"


def _adapted(comparison: Comparison, target: Fields, current: Fields | None) -> Fields:
    """Return an object of the second side with MAINTAIN only if the first side's server has it.

    An older server cannot grant it; a script for a newer server must not revoke it because the older side
    lacks it: roles with any privilege keep it, and the owner of a new object gets it. `current` is the object
    on the first side.
    """
    supported, known = (side.major >= MAINTAIN_SINCE for side in (comparison.before, comparison.after))
    if not target.get("acl") or supported == known:
        return target
    granted = parse_acl((current or {}).get("acl"))
    owner = target.get("owner") or target.get("role")
    lines = []
    for line in split_lines(target.get("acl")):
        match = LINE.fullmatch(line)
        role, privileges = match.group(1, 2) if match else ("", "")
        option = granted.get(role, {}).get(_MAINTAIN, False if current is None and role == owner else None)
        if not supported and privileges.rstrip("*") != _MAINTAIN:
            lines.append(MAINTAIN_ITEM.sub("", line))
        elif supported and match and option is not None:
            lines.append(f"{line[: match.end(2)]}, {_MAINTAIN}{'*' * option}{line[match.end(2) :]}")
        elif supported:
            lines.append(line)
    return {**target, "acl": "\n".join(lines)}


def _unsupported_privileges(comparison: Comparison) -> Iterator[str]:
    """Yield the privileges that the first side's server does not have."""
    for difference in comparison.differences if comparison.before.major < MAINTAIN_SINCE else ():
        acl = difference.change.fields.get("acl", (None, None))[1]
        if any(list(granted) == [_MAINTAIN] for granted in parse_acl(acl).values()):
            yield f"privilege {_MAINTAIN}, since PostgreSQL {MAINTAIN_SINCE}, of {difference.change.key}"
