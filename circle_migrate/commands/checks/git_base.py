"""Compare the revision files with a base in git.

Two branches that each add a revision on top of the same head have two heads after the merge. The comparison
finds that before the merge.
"""

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import Iterator, Sequence
from os.path import relpath
from pathlib import Path, PurePosixPath

from circle_migrate.commands.checks.database_facts import revision_finding
from circle_migrate.core.errors import ExitCode, MigrateError, UsageError
from circle_migrate.core.findings import Check, Finding, Severity
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.directory import is_revision_file
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.parse_file import read_source
from circle_migrate.revision_graph.revision import Revision

_DEFAULT_BASES = ("origin/main", "main")


async def against_base(deployment: Deployment, base: str) -> list[Check]:
    """Compare the selected trees with those in the git revision `base`.

    Revisions that existed where this branch left the base must be unchanged; the branch's own revisions must
    follow those that the base has now. Raises `UsageError` without git, the repository or the revision.
    """
    unreachable: list[Finding] = []
    edited: list[Finding] = []
    for name in deployment.selected:
        folders = deployment.databases[name].revision_folders
        graph = deployment.graphs[name]
        fork = await _revisions_at_fork(base, graph, folders)
        edited += _edit_findings(base, graph, fork)
        known = fork.keys() | graph.squashes.missing
        added = [graph[key] for key in graph.sorted(graph.revisions) if key not in known]
        unreachable += _unreachable_findings(base, graph, await revisions_at(base, graph, folders), added)
    return [
        Check("unedited-since-base", f"no revision of {base} was edited or removed", tuple(edited)),
        Check("on-top-of-base", f"merging with {base} leaves one head", tuple(unreachable)),
    ]


async def heads_at(deployment: Deployment, base: str) -> dict[str, tuple[str, ...]]:
    """Return the heads of each tree where this branch left the git revision `base`; raises `UsageError`."""
    heads = {}
    for name, graph in deployment.combined_graph.graphs.items():
        fork = await _revisions_at_fork(base, graph, deployment.databases[name].revision_folders)
        heads[name] = graph.version_rows({key for key in fork if key in graph})
    return heads


async def _revisions_at_fork(base: str, graph: Graph, folders: Sequence[Path]) -> dict[str, Revision]:
    fork = (await _git(folders[0], "merge-base", base, "HEAD")).strip()
    return await revisions_at(fork, graph, folders)


async def revisions_at(base: str, graph: Graph, folders: Sequence[Path]) -> dict[str, Revision]:
    """Return the revisions of `base` in the folders; only files that differ from the graph's are read."""
    revisions: dict[str, Revision] = {}
    by_path = {Path(revision.path): revision for revision in graph.revisions.values()}
    for folder in folders:
        root = Path((await _git(folder, "rev-parse", "--show-toplevel")).strip())
        await _git(folder, "rev-parse", "--verify", "--quiet", f"{base}^{{commit}}")
        prefix = (await _git(folder, "rev-parse", "--show-prefix")).strip()
        paths = await _git(folder, "ls-tree", "-z", "--full-tree", "--name-only", base, prefix)
        changed = await _git(folder, "diff", "-z", "--name-only", "--no-renames", base, "--", str(folder))
        changed_paths = set(changed.split("\0"))
        for path in filter(None, paths.split("\0")):
            name = PurePosixPath(path).name
            if not is_revision_file(name):
                continue
            revision = None if path in changed_paths else by_path.get(folder / name)
            if revision is None:
                source = (await _git(folder, "show", f"{base}:{path}")).encode()
                revision = read_source(graph.database, root / path, source)
            revisions[revision.id] = revision
    return revisions


async def default_base(folder: Path) -> str | None:
    """Return `origin/main` or `main`, None where the repository has neither. Raises `UsageError`."""
    names = await _git(
        folder, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes/origin"
    )
    return next((name for name in _DEFAULT_BASES if name in names.splitlines()), None)


async def _git(folder: Path, *arguments: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            "git", "-C", str(folder), *arguments, stdout=PIPE, stderr=PIPE
        )
    except OSError as error:
        raise UsageError("--base needs git, which is not on PATH", detail=error.strerror) from error
    out, err = await process.communicate()
    if process.returncode != 0:
        raise UsageError(
            f"git {arguments[0]} failed in {folder}",
            detail=err.decode(errors="replace").strip()
            or f"{arguments[-1]} is not a revision of this repository",
            hint="fetch the base with its history, for example: git fetch --unshallow origin main",
        )
    return out.decode()


def _edit_findings(base: str, graph: Graph, fork: dict[str, Revision]) -> Iterator[Finding]:
    for key, old in fork.items():
        if key in graph and graph.squashes.is_unchanged(graph[key], old.checksum):
            continue
        change = "was edited" if key in graph else "was removed"
        revision = graph.revisions.get(key, old)
        message = f"revision {key}, which {base} has, {change}"
        remedy = f"git checkout {base} -- {relpath(revision.path)}, and write a new revision"
        yield revision_finding("edited-revision", Severity.ERROR, ExitCode.REFUSED, revision, message, remedy)


def _unreachable_findings(
    base: str, graph: Graph, base_revisions: dict[str, Revision], added: list[Revision]
) -> Iterator[Finding]:
    new = [revision for revision in added if revision.id not in base_revisions]
    try:
        merged = Graph(graph.database, [*base_revisions.values(), *new])
    except MigrateError as error:
        if not added:
            return
        message = error.message
    else:
        heads = merged.heads
        if len(heads) < 2:
            return
        message = f"after merging with {base} the tree has {len(heads)} heads: {', '.join(heads)}"
        added = [revision for revision in new if revision.id in heads]
    first = added[0] if added else None
    yield Finding(
        rule="unreachable-from-base",
        severity=Severity.ERROR,
        message=f"{graph.database}: {message}",
        status=ExitCode.REFUSED,
        database=graph.database,
        revision=first.id if first else None,
        remedy=f"merge or rebase on {base}, then correct down_revision or run circle-migrate merge",
        file=first.path if first else None,
        line=first.line if first else None,
    )
