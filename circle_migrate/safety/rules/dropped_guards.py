"""Rules that hold no longer: constraints, triggers, policies, privileges, replica identities."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.postgres.sql_text import matcher, own_name
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.timeline import CatalogState, StatementContext, Timeline

_NOT_NULL = matcher(r'CHECK \(\(("(?:[^"]|"")+"|\w+) IS NOT NULL\)\)(?: NO INHERIT)?(?: NOT VALID)?')
_REFERENCE = matcher(r"FOREIGN KEY \(.*?\) REFERENCES .*?\(.*?\)")
_COLUMNS = matcher(r"(?:PRIMARY KEY|UNIQUE(?: NULLS NOT DISTINCT)?) (?P<columns>\(.*?\))")
_UNIQUE = matcher(r"CREATE UNIQUE INDEX .*? USING btree (?P<columns>\(.*\).*)")
_REPLICATION_ROLE = matcher(r"\bsession_replication_role\b")
_REWRITING = {"rule": "what runs for a statement changes", "policy": "which rows a role sees changes"}
_EVERYBODY = "public"
"""The role of everybody, as snapshots print access control lists."""


def check_dropped_guards(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about constraints, triggers, policies and privileges that go or are switched."""
    if scene.statement.error is not None:
        return
    for change in scene.dropped:
        definition = change.fields.get("definition", (None, None))[0] or ""
        if change.key.kind == "constraint":
            yield from _constraint(story, scene, change, definition)
        elif change.key.kind == "index" and (unique := _UNIQUE.fullmatch(definition)):
            yield from _constraint(story, scene, change, f"UNIQUE {unique['columns']}")
    for change in scene.changes(Op.CHANGED, "column"):
        if change.fields.get("not_null", ("", ""))[1] is None and scene.existed(change.owner):
            yield story.finding(
                scene, "CM037", Severity.NOTE, change.key.identity, "the column takes null from now on"
            )
    yield from _switched(story, scene)
    yield from _privileges(story, scene)


def _constraint(
    story: Timeline, scene: StatementContext, change: Change, definition: str
) -> Iterator[HazardFinding]:
    owner = change.owner
    if owner is None or owner in scene.gone or any(change.fields.get("inherited", ())):
        return
    world = story.last.get(scene.statement.database, scene.after)
    lost_columns = {own_name(key.identity) for key in scene.gone if key.kind == "column"}
    if any(name in definition for name in lost_columns) or _still_holds(definition, owner, scene, world):
        return
    yield story.finding(
        scene,
        "CM037",
        Severity.WARNING,
        change.key.identity,
        f"nothing that is left says {definition}",
        relation=scene.live_relation(owner),
    )


def _still_holds(definition: str, owner: ObjectKey, scene: StatementContext, last: CatalogState) -> bool:
    """Whether what a constraint said is said by something else, by the end of the plan at the latest."""
    rule = definition.removesuffix(" NOT VALID")
    match = _NOT_NULL.fullmatch(definition)
    column = scene.after.get(ObjectKey("column", f"{owner.identity}.{match[1]}"), {}) if match else {}
    if column.get("not_null"):
        return True
    others = [
        fields.get("definition") or ""
        for key, fields in (*scene.after.items(), *last.items())
        if fields.get("of") == str(owner) and key.kind in ("constraint", "index")
    ]
    if any(other.removesuffix(" NOT VALID") == rule for other in others):
        return True
    reference, unique = _REFERENCE.match(rule), _COLUMNS.match(rule)
    if reference is not None:
        return any(other.startswith(reference[0]) for other in others)
    return unique is not None and any(
        other.startswith(("CREATE UNIQUE", "UNIQUE", "PRIMARY")) and unique["columns"] in other
        for other in others
    )


def _switched(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    if _REPLICATION_ROLE.search(scene.statement.sql):
        yield story.finding(
            scene,
            "CM034",
            Severity.WARNING,
            "session_replication_role",
            "triggers and foreign keys do not fire",
        )
    for change in scene.statement.changes:
        what = _switch(scene, change)
        owner = change.key if change.key.kind == "table" else change.owner
        if what and (scene.existed(owner) or change.op is Op.REMOVED) and owner not in scene.gone:
            yield story.finding(
                scene,
                "CM034",
                Severity.NOTE if change.key.kind == "rule" else Severity.WARNING,
                change.key.identity,
                what,
                relation=scene.live_relation(owner),
            )


def _switch(scene: StatementContext, change: Change) -> str:
    """What was switched; empty where nothing was."""
    kind, fields = change.key.kind, change.fields
    if kind in _REWRITING and change.key not in scene.renamed:
        return _REWRITING[kind] if kind == "rule" or _is_guarded(scene, change) else ""
    if change.op is not Op.CHANGED:
        return ""
    if kind == "table" and fields.keys() & {"rls", "rls_forced"}:
        return (
            "all rows are hidden without a policy"
            if fields.get("rls", ("", ""))[1]
            else "who sees rows changes"
        )
    off = ("disabled", "replica")
    if kind == "trigger" and fields.get("enabled", ("", ""))[1] in off:
        return "the trigger does not fire"
    if kind == "constraint" and any(word in (fields.get("triggers", ("", ""))[1] or "") for word in off):
        return "the foreign key is not looked at"
    return ""


def _is_guarded(scene: StatementContext, change: Change) -> bool:
    """Whether the policies of the table count; without a catalogue they are taken to."""
    owner = change.owner
    if owner is None or owner not in scene.after:
        return True
    return scene.after[owner].get("rls") == "enabled"


def _privileges(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    changed = {each.key for each in scene.changes(Op.CHANGED) if "owner" in each.fields}
    for change in scene.changes(Op.CHANGED):
        if not scene.existed(change.key):
            continue
        owner = change.fields.get("owner")
        before, after = (set(_entries(side)) for side in change.fields.get("acl", (None, None)))
        if owner is not None or before - after:
            if owner is not None and change.owner in changed:
                continue  # a sequence belongs to whom its table belongs
            why = f"it belongs to {owner[1]} now" if owner else "privileges were taken away"
            yield story.finding(scene, "CM038", Severity.WARNING, change.key.identity, why)
        elif any(role == _EVERYBODY for role, _ in after - before):
            yield story.finding(
                scene, "CM038", Severity.NOTE, change.key.identity, "every role of the cluster may use it"
            )


def _entries(acl: str | None) -> Iterator[tuple[str, str]]:
    """Each privilege of each role in an access control list, as snapshots print it."""
    for line in (acl or "").split("\n"):
        role, _, privileges = line.rpartition(": ")
        yield from ((role, privilege) for privilege in privileges.split(", ") if role)


def check_replication(story: Timeline, scenes: tuple[StatementContext, ...]) -> Iterator[HazardFinding]:
    """Published tables that have no replica identity any more when a transaction ends."""
    first, last = scenes[0], scenes[-1]
    database = first.statement.database
    if any(scene.statement.error for scene in scenes):
        return
    sent = _published(story, last)
    for table in sorted(sent):
        key = ObjectKey("table", table)
        if key not in last.after or not last.existed(key):
            continue
        scene = next(
            (statement_context for statement_context in scenes if _loses_identity(statement_context, key)),
            None,
        )
        if scene is not None and not _has_identity(last.after, key):
            yield story.finding(
                scene,
                "CM033",
                Severity.ERROR,
                table,
                f"{table} is published, and nothing says any more which row an UPDATE or DELETE means",
                relation=story.root(database, table),
            )
    yield from _newly_published(story, scenes, sent)


def _newly_published(
    story: Timeline, scenes: tuple[StatementContext, ...], sent: set[str]
) -> Iterator[HazardFinding]:
    for scene in scenes:
        for change in scene.statement.changes:
            if change.key.kind != "publication" or change.op is Op.REMOVED:
                continue
            before, after = (set((side or "").split("\n")) for side in change.fields.get("tables", ("", "")))
            for table in sorted((after - before) & sent):
                key = ObjectKey("table", table)
                if scene.existed(key) and key in scene.after and not _has_identity(scenes[-1].after, key):
                    why = f"{table} is published without a replica identity"
                    yield story.finding(scene, "CM033", Severity.ERROR, table, why)


def _published(story: Timeline, scene: StatementContext) -> set[str]:
    live = {
        published.relation
        for published in story.evidence.published.get(scene.statement.database, ())
        if published.updates_or_deletes
    }
    everything = any(
        fields.get("all_tables") for key, fields in scene.after.items() if key.kind == "publication"
    )
    listed = {
        table
        for key, fields in scene.after.items()
        if key.kind == "publication"
        for table in str(fields.get("tables") or "").split("\n")
    }
    tables = {key.identity for key in scene.after if key.kind == "table"} if everything else set()
    return (live | listed | tables) - {""}


def _loses_identity(scene: StatementContext, table: ObjectKey) -> bool:
    return _has_identity(scene.before, table) and not _has_identity(scene.after, table)


def _has_identity(world: CatalogState, table: ObjectKey) -> bool:
    """Whether rows of a table can be told from each other by subscribers."""
    said = world.get(table, {}).get("replica_identity")
    if said in ("full", "nothing"):
        return said == "full"
    of_table = [(key, fields) for key, fields in world.items() if fields.get("of") == str(table)]
    if said == "index":
        return any(fields.get("replica_identity") == "yes" for _, fields in of_table)
    return any(fields.get("type") == "primary key" for key, fields in of_table if key.kind == "constraint")
