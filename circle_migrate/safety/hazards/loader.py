"""Read hazards and SQLSTATEs from the TOML files in data/, each file when it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from circle_migrate.safety.hazards.hazard import ExampleRevision, Hazard, HazardClass

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

T = TypeVar("T")


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
def _data() -> Traversable:
    from importlib.resources import files

    return files(__package__) / "data"


@cache
def _read(name: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads((_data() / f"{name}.toml").read_text(encoding="utf-8"))


@cache
def _ids() -> tuple[str, ...]:
    names = sorted(file.name for file in _data().iterdir())
    return tuple(name.removesuffix(".toml") for name in names if name.startswith("CM"))


def _hazard(key: str) -> Hazard:
    return parse_hazard(key, _read(key), _read("tables"))


def _sqlstate(code: str) -> SqlState:
    return SqlState(code, **{key: _joined(text) for key, text in _read("sqlstates")[code].items()})


def _joined(text: str) -> str:
    """Return prose without its line breaks."""
    return " ".join(text.split())


HAZARDS: Mapping[str, Hazard] = _Records(_ids, _hazard)
"""Every hazard by its id, which is the name of its file, in the order of the ids."""

SQLSTATES: Mapping[str, SqlState] = _Records(lambda: _read("sqlstates"), _sqlstate)
"""Every SQLSTATE with a remedy of its own, by its code."""
