"""What people type as a target, and what it means for one tree.

The words are Alembic's: full ids, unique prefixes, branch labels, `head`, `heads`, `base`, `+1`, `-2`,
`id+1`, `label@head`. In front of all of them may stand a database: `main@head`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from circle_migrate.core.errors import UsageError
from circle_migrate.revision_graph.graph import Graph

_FORM = re.compile(r"^(?:(?P<label>[^@]+)@)?(?P<symbol>[^@+]*?)(?P<steps>[+-]\d+)?$")
_SYMBOLS = ("head", "heads", "base")


@dataclass(frozen=True, slots=True)
class Target:
    """A target as typed, taken apart. `database` is None where it was not named."""

    text: str
    database: str | None
    label: str | None
    symbol: str
    steps: int

    @property
    def is_symbolic(self) -> bool:
        """Whether the target means something in every tree (`head`, `base`, `+1`), not in one (an id)."""
        return self.label is None and (self.symbol in _SYMBOLS or not self.symbol)


def parse(text: str, databases: Collection[str]) -> Target:
    """Take a target apart. Raises `UsageError` where it has no known form."""
    rest = text.strip()
    database = None
    head, at, tail = rest.partition("@")
    if at and head in databases:
        database, rest = head, tail
    match = _FORM.match(rest)
    if match is None or not rest or (match["label"] and not (match["symbol"] or match["steps"])):
        raise UsageError(
            f"{text!r} is not a target",
            hint="type an id or a unique beginning of one, head, base, +1, -2 or id+1; "
            "or database@ followed by one of them",
        )
    return Target(text, database, match["label"], match["symbol"], int(match["steps"] or 0))


def assign(texts: Sequence[str], graphs: Mapping[str, Graph]) -> dict[str, Target]:
    """Which target holds for which database, in the order of `graphs`.

    An id belongs to the tree that knows it; the other databases are then left out. Raises `UsageError` for
    a target no tree or more than one tree knows, and where two targets ask for the same database.
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
    if target.is_symbolic:
        return list(graphs)
    names: dict[str, str] = {}
    failures: dict[str, UsageError] = {}
    for name, graph in graphs.items():
        try:
            names[name] = graph.find(target.label or target.symbol)
        except UsageError as error:
            failures[name] = error
    exact = [name for name, found in names.items() if found in (target.label, target.symbol)]
    owners = exact or ([] if any("fits" in error.message for error in failures.values()) else list(names))
    if len(owners) == 1:
        return owners
    if owners:
        raise UsageError(
            f"{target.text!r} is a target in {' and in '.join(owners)}",
            hint=f"say which: {owners[0]}@{target.text}",
        )
    raise _unknown(target, failures)


def _unknown(target: Target, failures: Mapping[str, UsageError]) -> UsageError:
    from difflib import get_close_matches

    errors = list(failures.values())
    ambiguous = [error for error in errors if "fits" in error.message]
    if ambiguous or len(errors) == 1:
        return (ambiguous or errors)[0]
    near = [error.hint for error in errors if error.hint and error.hint.startswith("did you mean")]
    meant = get_close_matches(target.label or "", failures, n=1)
    near += [f"did you mean {name}@{target.text.partition('@')[2]}?" for name in meant]
    return UsageError(
        f"no database has a revision {target.label or target.symbol!r}",
        hint=" or ".join(near) or "see `circle-migrate history`",
    )


def is_top(graph: Graph, target: Target) -> bool:
    """Whether the target is everything there is in the tree."""
    if target.label is not None or target.steps:
        return False
    return target.symbol == "heads" or (target.symbol == "head" and len(graph.heads) == 1)


def upgrade_set(graph: Graph, current: Collection[str], target: Target) -> set[str]:
    """The revisions that must be applied for an upgrade to `target`; includes those already applied.

    Raises `UsageError` for a target that is not above `current`, `SeveralHeads` where `head` is not one.
    """
    if not target.symbol:
        if target.steps < 0:
            raise UsageError(
                f"{target.text} leads down", hint=f"type `circle-migrate downgrade {target.text}`"
            )
        if not target.steps:
            raise UsageError(f"{target.text!r} names no revision")
        return graph.ancestors([_step_up(graph, _start(graph, current, target), target)])
    if target.symbol == "base" and not target.steps:
        raise UsageError("base lies below every revision", hint="type `circle-migrate downgrade base`")
    if target.symbol == "heads" and not target.steps:
        return graph.ancestors(_heads_of(graph, target.label))
    found = _absolute(graph, target)
    return graph.ancestors([found] if found else [])


def downgrade_set(graph: Graph, current: Collection[str], target: Target) -> set[str]:
    """The applied revisions a downgrade to `target` undoes.

    Raises `UsageError` for a target that is not applied, or fewer steps than asked for.
    """
    applied = graph.ancestors(current)
    if target.symbol == "base" and not target.steps:
        return (
            graph.descendants(_within_branch(graph, graph.bases, _branch(graph, current, target))) & applied
        )
    floor = _floor(graph, current, target)
    if floor is not None and floor not in applied:
        raise UsageError(
            f"{graph.database} is not above {floor}: that revision is not applied",
            database=graph.database,
            hint=f"`circle-migrate upgrade {floor}` leads there" if current else "the database is empty",
        )
    roots = graph.bases if floor is None else graph.successors[floor]
    branch = _branch(graph, current, target)
    return graph.descendants(_within_branch(graph, roots, branch)) & applied


def _branch(graph: Graph, current: Collection[str], target: Target) -> str | None:
    """The revision whose branch a downgrade keeps to: the label's, or the current one for `-1`."""
    if target.label is not None:
        return graph.find(target.label)
    return None if target.symbol else _start(graph, current, target)


def _within_branch(graph: Graph, roots: Sequence[str], branch: str | None) -> Sequence[str]:
    if branch is None or len(roots) < 2:
        return roots
    lineage = graph.down_ancestors(branch)
    return [key for key in roots if key in lineage]


def _heads_of(graph: Graph, label: str | None) -> tuple[str, ...]:
    return graph.effective_heads if label is None else graph.sorted(set(graph.heads) & graph.branch(label))


def _start(graph: Graph, current: Collection[str], target: Target) -> str | None:
    tips = graph.version_rows(graph.ancestors(current))
    if target.label is not None:
        tips = graph.version_rows(graph.ancestors(current) & graph.related(graph.find(target.label)))
    if len(tips) > 1:
        raise UsageError(
            f"{target.text} is ambiguous: {graph.database} is at {', '.join(tips)}",
            database=graph.database,
            hint=f"say from which: {tips[0]}{target.steps:+d}",
        )
    return tips[0] if tips else None


def _absolute(graph: Graph, target: Target) -> str | None:
    """The revision `symbol`, or so many steps from it; None is base."""
    if target.symbol in ("head", "heads"):
        found = graph.head(target.label)
    elif target.symbol == "base":
        found = None
    else:
        found = graph.find(target.symbol)
    if target.steps > 0:
        return _step_up(graph, found, target)
    return _step_down(graph, found, target) if target.steps else found


def _floor(graph: Graph, current: Collection[str], target: Target) -> str | None:
    if target.symbol:
        return _absolute(graph, target)
    if target.steps > 0:
        raise UsageError(f"{target.text} leads up", hint=f"type `circle-migrate upgrade {target.text}`")
    return _step_down(graph, _start(graph, current, target), target)


def _step_up(graph: Graph, start: str | None, target: Target) -> str:
    key = start
    for done in range(target.steps):
        above = list(graph.bases if key is None else graph.successors[key])
        if target.label is not None:
            kin = graph.related(graph.find(target.label))
            above = [each for each in above if each in kin]
        key = _only(graph, above, target, done)
    if key is None:
        raise UsageError(f"{target.text!r} names no revision", database=graph.database)
    return key


def _step_down(graph: Graph, start: str | None, target: Target) -> str | None:
    key = start
    for done in range(-target.steps):
        if key is None:
            raise _too_many_steps_error(graph, target, done)
        below = graph[key].down_revisions
        key = _only(graph, below, target, done) if below else None
    return key


def _only(graph: Graph, keys: Sequence[str], target: Target, done: int) -> str:
    if not keys:
        raise _too_many_steps_error(graph, target, done)
    if len(keys) > 1:
        raise UsageError(
            f"{target.text} is ambiguous in {graph.database}: the way leads to {', '.join(keys)}",
            database=graph.database,
            hint="name the revision",
        )
    return keys[0]


def _too_many_steps_error(graph: Graph, target: Target, done: int) -> UsageError:
    asked = f"{abs(target.steps)} step{'s' if abs(target.steps) > 1 else ''}"
    choose = f"or say which database is meant: DATABASE@{target.text}"
    return UsageError(
        f"{target.text} asks for {asked}; {graph.database} has {done or 'none'}",
        database=graph.database,
        hint="see `circle-migrate history`" + ("" if target.database or target.symbol else f"; {choose}"),
    )


def stamp_set(graph: Graph, current: Collection[str], target: Target) -> set[str]:
    """The revisions that count as applied once `target` is stamped, up or down."""
    if target.symbol == "heads" and not target.steps:
        return graph.ancestors(_heads_of(graph, target.label))
    if not target.symbol and target.steps > 0:
        return upgrade_set(graph, current, target) | graph.ancestors(current)
    if not target.symbol:
        return graph.ancestors(current) - downgrade_set(graph, current, target)
    found = _absolute(graph, target)
    return graph.ancestors([found] if found else [])
