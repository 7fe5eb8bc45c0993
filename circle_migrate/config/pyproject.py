"""Read the table [tool.circle-migrate] of a pyproject.toml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from circle_migrate.config.databases import DATABASES
from circle_migrate.config.fields import DATABASE_FIELDS, SHARED
from circle_migrate.config.provenance import Provenance

_TABLE = "tool.circle-migrate"
_DATABASES_KEY = "databases"


def flatten(
    table: Mapping[str, Any], file: str, record: Provenance
) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
    """Return the values, and their keys and tables, by field name; unknown keys become problems."""
    values: dict[str, Any] = {}
    locations: dict[str, tuple[str, str]] = {}

    def add(entries: Mapping[str, Any], names: Iterable[str], header: str, prefix: str) -> None:
        fields = {name.replace("_", "-"): f"{prefix}{name}" for name in names}
        for key, value in entries.items():
            if key in fields:
                values[fields[key]] = value
                locations[fields[key]] = (key, header)
            else:
                allowed = tuple(fields) if prefix else (*fields, _DATABASES_KEY)
                _add_unknown_key(key, allowed, f"{file} [{header}]", record)

    add({key: value for key, value in table.items() if key != _DATABASES_KEY}, SHARED, _TABLE, "")
    header = f"{_TABLE}.{_DATABASES_KEY}"
    names = tuple(known.name for known in DATABASES)
    for name, entries in _table(table.get(_DATABASES_KEY, {}), header, file, record).items():
        if name in names:
            nested = f"{header}.{name}"
            add(_table(entries, nested, file, record), DATABASE_FIELDS, nested, f"{name}_")
        else:
            _add_unknown_key(name, names, f"{file} [{header}]", record)
    return values, locations


def _table(value: object, header: str, file: str, record: Provenance) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    record.problem(f"{header} in {file} is not a table", hint=f"write [{header}] and its keys below")
    return {}


def _add_unknown_key(key: str, allowed: tuple[str, ...], table: str, record: Provenance) -> None:
    if key.replace("-", "_").lower() in {known.url_field for known in DATABASES}:
        record.problem(
            f"{table} has {key}: a URL with a password does not belong in a file under version control",
            hint=f"set {key.replace('-', '_').upper()} in the environment or in .env",
        )
        return
    nearest = get_close_matches(key.lower(), allowed, n=1)
    record.problem(
        f"{table} has the unknown key {key}{f'; did you mean {nearest[0]}?' if nearest else ''}",
        hint=f"write {nearest[0]}" if nearest else f"the keys are {', '.join(sorted(allowed))}",
    )
