"""Hazards with revisions that show and avoid them, and SQLSTATEs, read from data/ when they are wanted."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from textwrap import indent
from typing import Any, TypeVar

T = TypeVar("T")

_DATA = Path(__file__).parent / "data"
# In the order of the template of new revisions.
_IMPORTS = (
    (r"\bsa\.", "import sqlalchemy as sa"),
    (r"\bop\b", "from alembic import op"),
    (r"\bpostgresql\.", "from sqlalchemy.dialects import postgresql"),
)
_HELPERS = ("drop_index_concurrently", "ensure_index_concurrently")


class HazardClass(StrEnum):
    """The kind of harm. Operators allow hazards by class, so there are few."""

    DATA_LOSS = "data-loss"
    INDEX_BUILD = "index-build"
    TABLE_REWRITE = "table-rewrite"
    BLOCKING_SCAN = "blocking-scan"
    APP_BREAK = "app-break"
    WILL_FAIL = "will-fail"
    LOCK = "lock"
    CORRECTNESS = "correctness"
    STYLE = "style"


@dataclass(frozen=True, slots=True)
class ExampleRevision:
    """One revision of an example.

    `requires_previous` makes it require the revision before it, of the other database. `setup` is SQL that
    prepares its database, `meanwhile` SQL that another session has run in a transaction that is still open.
    `fails`, of the last revision, is the SQLSTATE or the name of the error that it fails with.
    """

    upgrade: str
    downgrade: str = ""
    transactional: bool = True
    requires_previous: bool = False
    second_database: bool = False
    setup: str = ""
    meanwhile: str = ""
    fails: str = ""

    @property
    def source(self) -> str:
        """The text of the revision's file below its docstring, without the revision identifiers."""
        functions = {"upgrade": self.upgrade, "downgrade": self.downgrade}
        texts = {name: indent(body.strip(), "    ") for name, body in functions.items() if body}
        body = "\n\n\n".join(f"def {name}() -> None:\n{text}" for name, text in texts.items())
        declared = "" if self.transactional else "transactional = False"
        return "\n\n".join(filter(None, ["\n".join(_imports(body)), declared])) + f"\n\n\n{body}\n"


def render_revisions(revisions: Sequence[ExampleRevision]) -> str:
    """Return the files of revisions as one text; a comment numbers them where they are several."""
    if len(revisions) == 1:
        return revisions[0].source.strip() + "\n"
    texts = []
    for number, revision in enumerate(revisions, 1):
        database = " (second database)" if revision.second_database else ""
        texts.append(f"# revision {number} of {len(revisions)}{database}\n{revision.source.strip()}\n")
    return "\n\n".join(texts)


def _imports(body: str) -> Iterator[str]:
    yield from (line for pattern, line in _IMPORTS if re.search(pattern, body))
    helpers = ", ".join(name for name in _HELPERS if f"{name}(" in body)
    if helpers:
        yield f"from circle_migrate.indexes import {helpers}"


@dataclass(frozen=True, slots=True)
class Hazard:
    """A hazard of migrations.

    `condition` says when it occurs, `effect` who waits or what is lost, `remedy` what to do instead.
    `bad` are revisions that show it, `good` revisions that avoid it, in the order in which they run: in one
    transaction with `one_transaction`, else in one each. `setup` is SQL that prepares the first database.
    """

    id: str
    title: str
    kind: HazardClass
    condition: str
    effect: str
    remedy: str
    bad: tuple[ExampleRevision, ...]
    good: tuple[ExampleRevision, ...]
    setup: str = ""
    one_transaction: bool = False

    @property
    def fix(self) -> str:
        """The revisions of the good example, ready to paste."""
        return render_revisions(self.good)


@dataclass(frozen=True, slots=True)
class SqlState:
    """An SQLSTATE: the name of its condition, when revisions meet it, and what to do."""

    code: str
    name: str
    meaning: str
    remedy: str


class _Records(Mapping[str, T]):
    """Records by key; each is loaded when it is first wanted."""

    def __init__(self, keys: Callable[[], Collection[str]], load: Callable[[str], T]) -> None:
        self._keys, self._load = keys, cache(load)

    def __getitem__(self, key: str) -> T:
        if key not in self._keys():
            raise KeyError(key)
        return self._load(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())


def parse_hazard(key: str, record: Mapping[str, Any], tables: Mapping[str, str]) -> Hazard:
    """Return the hazard of a file; `tables` has the SQL of the tables that examples name.

    Raises `TypeError`, `KeyError` or `ValueError` where a key is unknown or missing, or has no valid value.
    """
    fields = dict(record)
    try:
        return Hazard(
            key,
            kind=HazardClass(fields.pop("class")),
            setup="\n".join([*(tables[name] for name in fields.pop("tables", ())), fields.pop("setup", "")]),
            one_transaction=fields.pop("one_transaction", False),
            bad=tuple(ExampleRevision(**revision) for revision in fields.pop("bad")),
            good=tuple(ExampleRevision(**revision) for revision in fields.pop("good")),
            **{name: _joined(text) for name, text in fields.items()},
        )
    except (TypeError, KeyError, ValueError) as error:
        error.add_note(f"in {key}.toml")
        raise


@cache
def _read(name: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads((_DATA / f"{name}.toml").read_text(encoding="utf-8"))


@cache
def _ids() -> tuple[str, ...]:
    names = sorted(file.name for file in _DATA.iterdir())
    return tuple(name.removesuffix(".toml") for name in names if name.startswith("CM"))


def _sqlstate(code: str) -> SqlState:
    return SqlState(code, **{key: _joined(text) for key, text in _read("sqlstates")[code].items()})


def _joined(text: str) -> str:
    """Return prose without its line breaks."""
    return " ".join(text.split())


HAZARDS: Mapping[str, Hazard] = _Records(_ids, lambda key: parse_hazard(key, _read(key), _read("tables")))
"""Every hazard by its id, which is the name of its file, in the order of the ids."""

SQLSTATES: Mapping[str, SqlState] = _Records(lambda: _read("sqlstates"), _sqlstate)
"""Every SQLSTATE with a remedy of its own, by its code."""


def render_hazard(hazard: Hazard) -> str:
    """Return a hazard as Markdown, without its heading."""
    class_ = f"Class `{hazard.kind}`. {hazard.condition}\n"
    texts = f"**Effect.** {hazard.effect}\n", f"**Remedy.** {hazard.remedy}\n"
    examples = _example("Bad", hazard, hazard.bad), _example("Good", hazard, hazard.good)
    return "\n".join((class_, *texts, *examples))


def _example(title: str, hazard: Hazard, revisions: Sequence[ExampleRevision]) -> str:
    circumstances = "; ".join(_circumstances(hazard, revisions))
    heading = f"{title} ({circumstances})" if circumstances else title
    return f"{heading}:\n\n```python\n{render_revisions(revisions)}```\n"


def _circumstances(hazard: Hazard, revisions: Sequence[ExampleRevision]) -> Iterator[str]:
    """Yield what the code does not show."""
    if hazard.one_transaction and all(revision.transactional for revision in revisions):
        yield "all in one transaction"
    for revision in revisions:
        if revision.meanwhile:
            yield f"while another session has run `{revision.meanwhile}` and not committed"
        if revision.fails:
            yield f"fails with `{revision.fails}`"
