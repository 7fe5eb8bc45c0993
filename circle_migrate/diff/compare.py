"""Compare two snapshots of one database and classify the differences."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from circle_migrate.config.databases import Profile
from circle_migrate.config.ignore_rule import IgnoreRule
from circle_migrate.core.findings import Severity
from circle_migrate.diff import scope
from circle_migrate.diff.describe import count_kinds
from circle_migrate.diff.implied import drop_implied, parents, renames, without_generated_names
from circle_migrate.diff.result import Aspect, Comparison, Difference
from circle_migrate.diff.scope import ChangeSet, EquivalenceAnswers, Models, without_fields
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op, Snapshot, changes_between

_UNCOMPARED_FIELDS = frozenset({"generated_name", "inherited"})
"""Fields that identify an object and do not describe it."""


def today() -> date:
    """Return the date in UTC."""
    return datetime.now(UTC).date()


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """Options of the comparison of one database.

    Under the profile `strict`, differences in privileges and triggers are errors; differences in the fields
    `always_error` are errors under any profile. `models` is the side that comes from models, which cannot
    express everything. Extra partitions of a table on both sides are counted, or compared with `partitions`.
    `leave_out` removes what the project leaves out by functions of its own. Ignore rules that end before
    `today` have expired.
    """

    profile: Profile = "default"
    always_error: frozenset[str] = frozenset()
    models: Models | None = None
    column_order: bool = False
    partitions: bool = False
    ignore: tuple[IgnoreRule, ...] = ()
    leave_out: Callable[[ChangeSet, Snapshot, Snapshot, Models | None], None] | None = None
    today: date = field(default_factory=today)


async def compare(
    before: Snapshot,
    after: Snapshot,
    options: CompareOptions,
    answer: Callable[[ChangeSet], Awaitable[EquivalenceAnswers]] | None = None,
) -> Comparison:
    """Return all differences with their severity, without implied and ignored ones.

    `answer` returns which differing texts are equivalent, and may add to `not_compared`. Raises what `answer`
    raises.
    """
    change_set = _compared_changes(before, after, options)
    answers = await answer(change_set) if answer else {}
    if before.major != after.major:
        scope.drop_version_formatting(change_set, answers)
    changes, equivalent = scope.split_equivalent(change_set.changes, answers)
    changes = drop_implied(changes, before, after)
    tables = {} if options.partitions else _tables_of_extra_partitions(changes, before, after)
    counts = Counter(f"extra partitions of {table}" for table in tables.values())
    valid = [rule for rule in options.ignore if not rule.has_expired(options.today)]
    changes, ignored = scope.without_ignored(changes, after.database, valid)
    reported = [change for change in changes if change.key not in tables]
    return Comparison(
        before,
        after,
        tuple(_differences(reported, before, after, options)),
        partitions=tuple(change for change in changes if change.key in tables),
        equivalent=tuple(equivalent),
        ignored=counts | ignored,
        compared=count_kinds(key.kind for key in before.objects.keys() | after.objects.keys()),
        not_compared=tuple(change_set.not_compared),
    )


def _compared_changes(before: Snapshot, after: Snapshot, options: CompareOptions) -> ChangeSet:
    """Return the changes that the options include and both sides can express."""
    change_set = ChangeSet([])
    change_set.keep(without_fields(change, _UNCOMPARED_FIELDS) for change in changes_between(before, after))
    if options.leave_out is not None:
        options.leave_out(change_set, before, after, options.models)
    if not options.column_order:
        scope.without_order(change_set, before, after)
    if options.models is not None:
        scope.without_not_null(change_set, scope.UNSUPPORTED_BY_MODELS, before, after)
    elif before.major != after.major:
        scope.without_not_null(change_set, "only newer PostgreSQL versions have them", before, after)
    scope.without_new_privileges(change_set, before, after)
    if options.models is not None:
        scope.within_models(change_set, options.models, before, after)
    change_set.keep(without_generated_names(change_set.changes))
    return change_set


def _tables_of_extra_partitions(
    changes: list[Change], before: Snapshot, after: Snapshot
) -> dict[ObjectKey, str]:
    """Return the partitioned tables of the extra partitions, which jobs create and drop."""
    return {
        change.key: table
        for change in changes
        if change.op is Op.ADDED and "partition_bound" in change.fields
        for table in parents(change.key, after)
        if all(side.value(ObjectKey("table", table), "partition_key") for side in (before, after))
    }


def _differences(
    changes: list[Change], before: Snapshot, after: Snapshot, options: CompareOptions
) -> Iterator[Difference]:
    always_error = set(options.always_error)
    if options.models is not None:
        always_error.add("comment")  # a revision without the comment of the models is incomplete
    if options.column_order:
        always_error.add("position")
    renamed = renames(changes, before, after)
    for change in changes:
        aspect, severity = _classify(change, options.profile, always_error)
        yield Difference(change, aspect, severity, renamed.get(change.key))


_KIND_ASPECTS = {
    "policy": Aspect.SECURITY,
    "default privileges": Aspect.SECURITY,
    "setting": Aspect.STATE,
    "statistics": Aspect.STORAGE,
}
"""The aspect of a whole object; DEFINITION for other kinds."""

_STORAGE = ("access_method", "clustered", "compression", "statistics", "storage", "tablespace")
_FIELDS = {
    Aspect.SECURITY: ("owner", "acl", "sequence_acl", "rls", "rls_forced", "security_definer"),
    Aspect.STATE: ("valid", "validated", "populated", "enabled", "triggers", "version"),
    Aspect.STORAGE: ("index_options", "index_tablespace", *_STORAGE),
    Aspect.COMMENT: ("comment", "attribute_comments", "sequence_comment"),
    Aspect.ORDER: ("position",),
}
_FIELD_ASPECTS = {field: aspect for aspect, fields in _FIELDS.items() for field in fields}
"""The aspect of a field; other fields have the aspect of their object."""

_STORED_WITH_OPTIONS = frozenset({"table", "materialized view", "column", "constraint", "index"})
"""Kinds whose options are storage parameters; the options of others (views, servers) define them."""

_NEVER_FAILS = frozenset({Aspect.STORAGE, Aspect.COMMENT, Aspect.ORDER})
_SET_BY_SERVER = frozenset(
    {("extension", "version"), ("collation", "version"), ("materialized view", "populated")}
)
"""Fields that a server upgrade or a restore changes."""

_STRICT_KINDS = frozenset({"trigger", "event trigger", "setting"})
"""Like the aspect SECURITY, errors under the profile `strict` and notes otherwise."""


def _classify(change: Change, profile: Profile, always_error: Collection[str]) -> tuple[Aspect, Severity]:
    """Return the aspect and severity of a change: those of its most severe field."""
    kind = change.key.kind
    if change.op is not Op.CHANGED:
        aspect = _KIND_ASPECTS.get(kind, Aspect.DEFINITION)
        requested = kind == "default privileges" and "acl" in always_error
        return aspect, Severity.ERROR if requested else _severity(kind, None, aspect, profile)
    results = []
    for name in _independent_fields(change):
        aspect = aspect_of(kind, name)
        severity = Severity.ERROR if name in always_error else _severity(kind, name, aspect, profile)
        results.append((aspect, severity))
    aspects = list(Aspect)
    return min(results, key=lambda result: (result[1].rank, aspects.index(result[0])))


def aspect_of(kind: str, field: str) -> Aspect:
    """Return the aspect of a field of an object of that kind."""
    if field == "options" and kind in _STORED_WITH_OPTIONS:
        return Aspect.STORAGE
    return _FIELD_ASPECTS.get(field) or _KIND_ASPECTS.get(kind, Aspect.DEFINITION)


def _severity(kind: str, field: str | None, aspect: Aspect, profile: Profile) -> Severity:
    if aspect in _NEVER_FAILS or (kind, field) in _SET_BY_SERVER:
        return Severity.NOTE
    strict = aspect is Aspect.SECURITY or kind in _STRICT_KINDS or field == "triggers"
    return Severity.NOTE if strict and profile == "default" else Severity.ERROR


def _independent_fields(change: Change) -> list[str]:
    """Return the fields that differ, without a definition that only repeats SECURITY DEFINER."""
    if "security_definer" in change.fields and "definition" in change.fields:
        texts = [(text or "").replace(" SECURITY DEFINER", "") for text in change.fields["definition"]]
        if texts[0].split() == texts[1].split():
            return [name for name in change.fields if name != "definition"]
    return list(change.fields)
