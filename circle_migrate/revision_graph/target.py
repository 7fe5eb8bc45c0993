"""Targets of upgrades, downgrades and stamps: parse them and resolve them in a graph.

The forms are Alembic's: full ids, unique prefixes, branch labels, `head`, `heads`, `base`, `+1`, `-2`,
`id+1`, `label@head`; all with an optional database: `main@head`.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from circle_migrate.core.counted import counted
from circle_migrate.core.errors import UsageError
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.traversal import closure

_FORM = re.compile(r"^(?:(?P<label>[^@]+)@)?(?P<symbol>[^@+]*?)(?P<steps>[+-]\d+)?$")
_SYMBOLS = ("", "head", "heads", "base")
"""What has a meaning in every graph, unlike an id; +1 has no symbol."""


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a target; `database` is None where it is not given."""

    text: str
    database: str | None
    label: str | None
    symbol: str
    steps: int


def parse(text: str, databases: Collection[str]) -> Target:
    """Parse a target. Raises `UsageError` where it has no known form."""
    rest = text.strip()
    database = None
    prefix, at, tail = rest.partition("@")
    if at and prefix in databases:
        database, rest = prefix, tail
    match = _FORM.match(rest)
    if match is None or not rest or (match["label"] and not (match["symbol"] or match["steps"])):
        raise UsageError(
            f"{text!r} is not a target",
            hint="type an id or its first characters, head, base, +1, -2 or id+1, "
            "or database@ followed by one of them",
        )
    return Target(text, database, match["label"], match["symbol"], int(match["steps"] or 0))


def assign(texts: Sequence[str], graphs: Mapping[str, Graph]) -> dict[str, Target]:
    """Return the targets by database, in the order of `graphs`.

    An id or label belongs to the database whose graph has it; databases without a target are left out. Raises
    `UsageError` for a target of no or several databases, and for two targets of one database.
    """
    assigned: dict[str, Target] = {}
    for text in texts:
        target = parse(text, graphs)
        for name in _owners(target, graphs):
            if name in assigned:
                raise UsageError(
                    f"{name} has two targets: {assigned[name].text!r} and {text!r}", database=name
                )
            assigned[name] = target
    return {name: assigned[name] for name in graphs if name in assigned}


def _owners(target: Target, graphs: Mapping[str, Graph]) -> Iterable[str]:
    if target.database is not None:
        return [target.database]
    if target.label is None and target.symbol in _SYMBOLS:
        return list(graphs)
    keys: dict[str, str] = {}
    errors: dict[str, UsageError] = {}
    for name, graph in graphs.items():
        try:
            keys[name] = graph.find(target.label or target.symbol)
        except UsageError as error:
            errors[name] = error
    ambiguous = [error for error in errors.values() if "fits" in error.message]
    exact = [name for name, key in keys.items() if key in (target.label, target.symbol)]
    owners = exact or ([] if ambiguous else list(keys))
    if len(owners) == 1:
        return owners
    if owners:
        raise UsageError(
            f"{target.text!r} is a target in {' and in '.join(owners)}",
            hint=f"give the database too: {owners[0]}@{target.text}",
        )
    if ambiguous or len(errors) == 1:
        raise (ambiguous or list(errors.values()))[0]
    from difflib import get_close_matches

    hints = [error.hint for error in errors.values() if error.hint and error.hint.startswith("did you mean")]
    databases = get_close_matches(target.label or "", errors, n=1)
    hints += [f"did you mean {name}@{target.text.partition('@')[2]}?" for name in databases]
    raise UsageError(
        f"no database has a revision {target.label or target.symbol!r}",
        hint=" or ".join(hints) or "see `circle-migrate history`",
    )


def is_top(graph: Graph, target: Target) -> bool:
    """Return whether the target includes every revision of the graph."""
    if target.label is not None or target.steps:
        return False
    return target.symbol == "heads" or (target.symbol == "head" and len(graph.heads) == 1)


def upgrade_set(graph: Graph, current: Collection[str], target: Target) -> set[str]:
    """Return the revisions that must be applied for an upgrade to `target`, applied ones included.

    Raises `UsageError` for a target that is not above `current`, `SeveralHeads` where `head` is ambiguous.
    """
    if target.symbol == "base" and not target.steps:
        raise UsageError("base is below every revision", hint="type `circle-migrate downgrade base`")
    if target.symbol:
        return _with_ancestors(graph, target)
    if target.steps < 0:
        raise UsageError(
            f"{target.text} is a downgrade", hint=f"type `circle-migrate downgrade {target.text}`"
        )
    return graph.ancestors(filter(None, [_step_up(graph, _start(graph, current, target), target)]))


def downgrade_set(graph: Graph, current: Collection[str], target: Target) -> set[str]:
    """Return the applied revisions to undo. Raises `UsageError` if the target is not applied or too far."""
    applied = graph.applied(current)
    if target.symbol:
        key = _resolve(graph, target)
    elif target.steps > 0:
        raise UsageError(f"{target.text} is an upgrade", hint=f"type `circle-migrate upgrade {target.text}`")
    else:
        key = _step_down(graph, _start(graph, current, target), target)
    if key is not None and key not in applied:
        raise UsageError(
            f"{graph.database} cannot be downgraded to {key}: that revision is not applied",
            database=graph.database,
            hint=f"type `circle-migrate upgrade {key}`" if current else "the version table has no revision",
        )
    roots = graph.bases if key is None else graph.successors[key]
    if target.symbol:
        branch = None if target.label is None else graph.find(target.label)
    else:  # the current revision limits -1
        branch = _start(graph, current, target)
    if branch is not None and len(roots) > 1:
        ancestors = closure([branch], graph.down_revisions.__getitem__)
        roots = [root for root in roots if root in ancestors]
    return graph.descendants(roots) & applied


def stamp_set(graph: Graph, current: Collection[str], target: Target) -> set[str]:
    """Return the revisions that count as applied after `target` is stamped."""
    if target.symbol:
        return _with_ancestors(graph, target)
    if target.steps > 0:
        return upgrade_set(graph, current, target) | graph.applied(current)
    return graph.applied(current) - downgrade_set(graph, current, target)


def _with_ancestors(graph: Graph, target: Target) -> set[str]:
    if target.symbol == "heads" and not target.steps:
        if target.label is None:
            return graph.ancestors(graph.effective_heads)
        return graph.ancestors(set(graph.heads) & graph.branch(target.label))
    key = _resolve(graph, target)
    if key and target.label is not None and key not in graph.related(graph.find(target.label)):
        raise UsageError(
            f"{key} is not a revision of the branch {target.label}",
            database=graph.database,
            hint=f"type {key} for the revision, or {target.label}@head for the branch",
        )
    return graph.ancestors(filter(None, [key]))


def _start(graph: Graph, current: Collection[str], target: Target) -> str | None:
    """Return the current revision from which relative steps count, None for base."""
    applied = graph.applied(current)
    if target.label is not None:
        lineage, branch = graph.related(graph.find(target.label)), graph.branch(target.label)
        is_above = lineage.isdisjoint(current)  # then a step down would undo what other branches share
        applied &= branch if target.steps < 0 and (is_above or branch & applied) else lineage
    rows = graph.version_rows(applied)
    if len(rows) > 1:
        raise UsageError(
            f"{target.text} is ambiguous: {graph.database} is at {', '.join(rows)}",
            database=graph.database,
            hint=f"give the start too: {rows[0]}{target.steps:+d}",
        )
    return rows[0] if rows else None


def _resolve(graph: Graph, target: Target) -> str | None:
    """Return the revision of a target with a symbol, None for base."""
    if target.symbol in ("head", "heads"):
        key = graph.head(target.label)
    elif target.symbol == "base":
        key = None
    else:
        key = graph.find(target.symbol)
    step = _step_up if target.steps > 0 else _step_down
    return step(graph, key, target)


def _step_up(graph: Graph, start: str | None, target: Target) -> str | None:
    key = start
    squashes = graph.squashes
    for step in range(target.steps):
        successors = list(graph.bases if key is None else graph.successors[key])
        if key is None or squashes.missing.intersection(successors):
            successors = [squashes.squashed_by.get(successor, successor) for successor in successors]
        if target.label is not None:
            related = graph.related(graph.find(target.label))
            successors = [successor for successor in successors if successor in related]
        key = squashes.current(_single(graph, successors, target, step))
    return key


def _step_down(graph: Graph, start: str | None, target: Target) -> str | None:
    key = start
    for step in range(-target.steps):
        if key is None:
            raise _too_many_steps_error(graph, target, step)
        parents = graph[key].down_revisions
        key = _single(graph, parents, target, step) if parents else None
    return key


def _single(graph: Graph, keys: Sequence[str], target: Target, step: int) -> str:
    if not keys:
        raise _too_many_steps_error(graph, target, step)
    if len(keys) > 1:
        raise UsageError(
            f"{target.text} is ambiguous in {graph.database}: it leads to {', '.join(keys)}",
            database=graph.database,
            hint="type the id of the revision",
        )
    return keys[0]


def _too_many_steps_error(graph: Graph, target: Target, available: int) -> UsageError:
    steps = counted(abs(target.steps), "step")
    database_hint = f"; or give the database too: DATABASE@{target.text}"
    return UsageError(
        f"{target.text} means {steps}; {graph.database} has {available or 'none'}",
        database=graph.database,
        hint="see `circle-migrate history`" + ("" if target.database or target.symbol else database_hint),
    )
