"""`rebase`: let a revision that nobody has applied follow the new head, with all that follows it."""

from contextlib import suppress
from dataclasses import dataclass
from difflib import unified_diff
from os.path import relpath
from pathlib import Path
from stat import S_IMODE
from typing import Any

from circle_migrate.commands.checks.git_base import default_base, revisions_at
from circle_migrate.core.atomic_write import write_bytes
from circle_migrate.core.errors import MigrateError, Refused, UsageError
from circle_migrate.core.result import Result, json_fields
from circle_migrate.diff.autogenerate.parent_in_file import with_parent
from circle_migrate.migrate.journal import Journal
from circle_migrate.postgres.database import Database, State
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph import target as targets
from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.parse_file import read_file, read_source
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.revision_graph.traversal import closure


@dataclass(frozen=True, slots=True)
class RebaseResult(Result):
    """The revision after it was moved, what it followed `before`, and the revisions that `follow` it.

    `diff` shows the change of its file, which `dry_run` has not written; it is empty if it follows the head
    already.
    """

    revision: Revision
    before: tuple[str, ...]
    follow: tuple[str, ...] = ()
    diff: str = ""
    dry_run: bool = False
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the revision, its former parents, what follows it, the diff and the notes."""
        return json_fields(self, "revision before follow diff dry_run notes")


async def rebase(
    deployment: Deployment,
    name: str,
    *,
    onto: str | None = None,
    base: str | None = None,
    dry_run: bool = False,
) -> RebaseResult:
    """Rewrite `down_revision` of a revision to the head `onto`, by default the only other head.

    Raises `Refused` where a database that answers, or the git revision `base` (by default `origin/main` or
    `main`, if there is one), knows the revision or one that follows it, and for a file that cannot be
    rewritten; `UsageError` for a wrong revision or head.
    """
    graph, key = _find(deployment, name)
    moved = closure([key], graph.successors.__getitem__)
    revision, follow = graph[key], graph.sorted(moved - {key})
    before = revision.down_revisions
    if onto is None and len(graph.heads) == 1:
        note = "there is one head; if the new one is not here yet, merge or rebase with git first"
        return RebaseResult("rebase", revision, before, follow, dry_run=dry_run, notes=(note,))
    head = _new_parent(graph, key, moved, onto)
    if before == (head,):
        return RebaseResult("rebase", revision, before, follow, dry_run=dry_run)
    notes = await _ensure_unknown_to_databases(deployment, graph, key, moved)
    notes += await _ensure_unknown_to_base(deployment.databases[graph.database], graph, moved, base)
    path = Path(revision.path)
    content, status = read_file(graph.database, path)
    new = with_parent(content, revision, before, graph.squashes.as_parent(head))
    rebased = read_source(graph.database, path, new)
    _ensure_valid_trees(deployment, graph, rebased)
    if not dry_run:
        _replace(path, new, S_IMODE(status.st_mode))
    return RebaseResult("rebase", rebased, before, follow, _diff(path, content, new), dry_run, notes)


def _find(deployment: Deployment, name: str) -> tuple[Graph, str]:
    """Return the graph and the id of the revision. Raises `UsageError`, or `Refused` for a merge."""
    assigned = targets.assign([name], deployment.graphs)
    (database, target), *others = assigned.items()
    if others or not target.symbol or target.symbol in ("head", "heads", "base") or target.steps:
        raise UsageError(f"{name} does not name one revision", hint="give the id of the revision to move")
    graph = deployment.graphs[database]
    key = graph.find(target.symbol)
    problem = None
    if len(graph[key].down_revisions) > 1:
        problem = f"is a merge of {' and '.join(graph[key].down_revisions)}"
    elif graph[key].replaces or key in graph.squashes.squashed_by:
        problem = "is or belongs to a squashed revision"
    if problem:
        raise Refused(
            f"{database}: {key} {problem}, and stays where it is",
            database=database,
            location=graph[key].location,
            hint="write a new revision instead",
        )
    return graph, key


def _new_parent(graph: Graph, key: str, moved: set[str], onto: str | None) -> str:
    """Return the head to follow. Raises `UsageError` where there is none or more than one."""
    if joined := [
        other for other in graph.sorted(moved) if not moved.issuperset(graph[other].down_revisions)
    ][1:]:
        raise Refused(
            f"{graph.database}: {joined[0]}, which follows {key}, joins it with another branch",
            database=graph.database,
            location=graph[joined[0]].location,
            hint=f"if it is not applied anywhere, delete {relpath(graph[joined[0]].path)} and try again",
        )
    heads = [head for head in graph.heads if head not in moved]
    if onto is None and len(heads) == 1:
        return heads[0]
    if onto is None:
        message = (
            f"{graph.database} has no other head than that of {key}"
            if not heads
            else (f"{graph.database} has several other heads: {', '.join(heads)}")
        )
        hint = "name one with --onto" if heads else "name the first revision of one branch"
        raise UsageError(message, database=graph.database, hint=hint)
    head = graph.find(onto.removeprefix(f"{graph.database}@"))
    if head not in heads and graph[key].down_revisions != (head,):
        reason = f"follows {key}" if head in moved else "is not a head"
        raise UsageError(
            f"{head} {reason}", database=graph.database, hint=f"other heads: {', '.join(heads) or 'none'}"
        )
    return head


async def _ensure_unknown_to_databases(
    deployment: Deployment, graph: Graph, key: str, moved: set[str]
) -> tuple[str, ...]:
    """Return notes on databases that were not asked, or have undone a revision; raises `Refused`."""
    notes: list[str] = []
    for name, database in deployment.databases.items():
        if key not in deployment.combined_graph.graphs[name]:
            continue
        if database.settings.url is None:
            notes.append(f"{name} was not asked: {database.settings.url_env} is not set")
            continue
        try:
            applied, undone = await _applied(database, moved)
        except Refused:
            raise
        except MigrateError as error:
            notes.append(f"{name} was not asked: {error.message}")
            continue
        if applied:
            first = graph.sorted(applied)[0]
            raise Refused(
                f"{name}: {', '.join(graph.sorted(applied))} is applied (or half applied), so it stays",
                database=name,
                location=graph[first].location,
                hint=f"type `circle-migrate merge -d {name}`, or undo it first: "
                f"`circle-migrate downgrade {name}@{first}-1`",
            )
        notes += [f"{name} has applied and undone {revision}" for revision in graph.sorted(undone)]
    return tuple(notes)


async def _applied(database: Database, moved: set[str]) -> tuple[set[str], set[str]]:
    """Return those of the revisions that are applied, by version table or journal, and those once applied.

    A step without transaction that a run left unfinished counts as applied.
    """
    async with database.reading() as connection:
        state: State = await database.read_state(connection)
        known = [key for key in state.current if key in database.graph]
        applied = database.graph.ancestors(known) & moved
        applied |= {step.revision for step in state.unfinished} & moved
        if state.journal_of is None:
            return applied, set()
        journal = Journal(database, state)
        with journal.reading_as(state.role):
            applied |= (await journal.checksums(connection)).keys() & moved
            once = await journal.applied(connection, sorted(moved))
        return applied, once.keys() - applied


async def _ensure_unknown_to_base(
    database: Database, graph: Graph, moved: set[str], base: str | None
) -> tuple[str, ...]:
    """Return a note if there is no base branch. Raises `Refused` for a revision that it has."""
    folders = database.revision_folders
    given = base
    if base is None:
        with suppress(UsageError):
            base = await default_base(folders[0])
    if base is None:
        return ("no base branch was compared: the folder is in no git repository with origin/main or main",)
    known = (await revisions_at(base, graph, folders)).keys() & moved
    if known:
        first = graph.sorted(known)[0]
        raise Refused(
            f"{graph.database}: {base} has {', '.join(graph.sorted(known))}, so others may have applied it",
            database=graph.database,
            location=graph[first].location,
            hint=f"type `circle-migrate merge -d {graph.database}`"
            + ("" if given else ", or name another base branch with --base"),
        )
    return ()


def _ensure_valid_trees(deployment: Deployment, graph: Graph, rebased: Revision) -> None:
    """Raise `TreeError` where the trees with the moved revision are broken."""
    files = {key: revision for key, revision in graph.revisions.items() if key not in graph.squashes.missing}
    new = Graph(graph.database, (files | {rebased.id: rebased}).values())
    CombinedGraph({**deployment.combined_graph.graphs, graph.database: new})


def _replace(path: Path, content: bytes, mode: int) -> None:
    write_bytes(path, content)
    path.chmod(mode)


def _diff(path: Path, before: bytes, after: bytes) -> str:
    old, new = (content.decode(errors="replace").splitlines(keepends=True) for content in (before, after))
    name = relpath(path)
    return "".join(unified_diff(old, new, f"a/{name}", f"b/{name}", n=1))
