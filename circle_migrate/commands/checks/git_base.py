"""Against a base in git: what a merge would do to the trees.

Two branches that each add a revision on top of the same head are both fine alone and have two heads
together. Comparing with the branch one merges into finds that before the merge.
"""

from __future__ import annotations

import asyncio
from os.path import relpath
from pathlib import Path, PurePosixPath

from circle_migrate.core.errors import ExitCode, MigrateError, UsageError
from circle_migrate.core.findings import Check, Finding, Severity
from circle_migrate.postgres.database import load_module
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.directory import is_revision_file, versions_folder
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.parse_file import read_source
from circle_migrate.revision_graph.revision import Revision


async def against_base(deployment: Deployment, base: str) -> list[Check]:
    """Compare the selected trees with those in the git revision `base`.

    Nothing may be edited that was there when this branch left the base; what it adds must be on top of what
    the base has by now.
    Raises `UsageError` where git, the repository or the revision is missing.
    """
    moved: list[Finding] = []
    edited: list[Finding] = []
    for name in deployment.selected:
        folder = versions_folder(deployment.databases[name].settings.revisions)
        here = deployment.graphs[name]
        fork = (await _git(folder, "merge-base", base, "HEAD")).strip()
        known = await _revisions_at(fork, here, folder)
        edited += _edited(base, here, known)
        added = [here[key] for key in here.sorted(here.revisions) if key not in known]
        moved += _apart(base, here, await _revisions_at(base, here, folder), added)
    return [
        Check("unedited-since-base", f"nothing that {base} has was edited or removed", tuple(edited)),
        Check("on-top-of-base", f"merging with {base} leaves one head", tuple(moved)),
    ]


async def heads_at(deployment: Deployment, base: str) -> dict[str, tuple[str, ...]]:
    """The revisions each tree ended in where this branch left the git revision `base`.

    Raises `UsageError` where git, the repository or the revision is missing.
    """
    heads = {}
    for name, graph in deployment.forest.graphs.items():
        folder = versions_folder(deployment.databases[name].settings.revisions)
        fork = (await _git(folder, "merge-base", base, "HEAD")).strip()
        known = await _revisions_at(fork, graph, folder)
        heads[name] = graph.version_rows({key for key in known if key in graph})
    return heads


async def _revisions_at(base: str, here: Graph, folder: Path) -> dict[str, Revision]:
    """The revisions that `base` has; only files that differ from ours are read from git."""
    top = Path((await _git(folder, "rev-parse", "--show-toplevel")).strip())
    await _git(folder, "rev-parse", "--verify", "--quiet", f"{base}^{{commit}}")
    inside = (await _git(folder, "rev-parse", "--show-prefix")).strip()
    listed = await _git(folder, "ls-tree", "-z", "--full-tree", "--name-only", base, inside)
    differing = await _git(folder, "diff", "-z", "--name-only", "--no-renames", base, "--", str(folder))
    changed = set(differing.split("\0"))
    ours = {Path(revision.path).name: revision for revision in here.revisions.values()}
    revisions: dict[str, Revision] = {}
    for path in filter(None, listed.split("\0")):
        name = PurePosixPath(path).name
        if not is_revision_file(name):
            continue
        if path in changed or name not in ours:
            source = (await _git(folder, "show", f"{base}:{path}")).encode()
            revision = read_source(here.database, top / path, source, load_module)
        else:
            revision = ours[name]
        revisions[revision.id] = revision
    return revisions


async def _git(folder: Path, *arguments: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            "git",
            "-C",
            str(folder),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise UsageError("--base needs git, which is not on PATH", detail=error.strerror) from error
    out, err = await process.communicate()
    if process.returncode != 0:
        raise UsageError(
            f"git {arguments[0]} failed in {folder}",
            detail=err.decode(errors="replace").strip()
            or f"{arguments[-1]} is not a revision of this repository",
            hint="fetch the base with its history first, for example: git fetch --unshallow origin main",
        )
    return out.decode()


def _edited(base: str, here: Graph, there: dict[str, Revision]) -> list[Finding]:
    findings = []
    for key, old in there.items():
        if key in here and here[key].checksum == old.checksum:
            continue
        what = "was edited" if key in here else "was removed"
        now = here.revisions.get(key, old)
        findings.append(
            Finding(
                rule="edited-revision",
                severity=Severity.ERROR,
                message=f"{here.database}: revision {key}, which {base} has, {what}",
                status=ExitCode.REFUSED,
                database=here.database,
                revision=key,
                remedy=f"git checkout {base} -- {relpath(now.path)}, and write a new revision",
                file=now.path,
                line=now.line,
            )
        )
    return findings


def _apart(base: str, here: Graph, there: dict[str, Revision], added: list[Revision]) -> list[Finding]:
    new = [revision for revision in added if revision.id not in there]
    try:
        merged = Graph(here.database, [*there.values(), *new])
    except MigrateError as error:
        return [_off(base, here, added, error.message)] if added else []
    if len(merged.heads) < 2:
        return []
    ours = [revision for revision in new if revision.id in merged.heads]
    heads = ", ".join(merged.heads)
    return [_off(base, here, ours, f"together with {base} there would be {len(merged.heads)} heads: {heads}")]


def _off(base: str, here: Graph, ours: list[Revision], message: str) -> Finding:
    first = ours[0] if ours else None
    return Finding(
        rule="unreachable-from-base",
        severity=Severity.ERROR,
        message=f"{here.database}: {message}",
        status=ExitCode.REFUSED,
        database=here.database,
        revision=first.id if first else None,
        remedy=f"merge or rebase on {base}, then correct down_revision or run circle-migrate merge",
        file=first.path if first else None,
        line=first.line if first else None,
    )
