"""Values that `collect` accepts without pydantic equal those that pydantic returns."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.config.fields import Fields
from circle_migrate.config.provenance import Origin, Provenance
from circle_migrate.config.schema import declare, validate
from circle_migrate.config.sources import _is_plain, _validate


def record(name: str, value: object) -> Provenance:
    record = Provenance()
    record.add(name, value, Origin("here", "here", Path()))
    return record


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "postgresql://ada@db/app"),
        ("creds_database_url", " \n"),
        ("embedded", True),
        ("embedded", False),
        ("atomic", True),
        ("main_revisions", "/srv/" + "long/" * 40),
        ("main_models", "app.models:Base"),
        ("credentials_search_path", '"$user", public'),
        ("main_version_table", "v" * 63),
        ("credentials_version_table_schema", "ledger"),
    ],
)
def test_plain_values_are_those_of_pydantic(name: str, value: object) -> None:
    assert _is_plain(Fields(), name, value)
    assert (
        _validate(record(name, value)) == validate(record(name, value)) == Fields().defaults | {name: value}
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("embedded", "1"),
        ("embedded", 1),
        ("atomic", "yes"),
        ("transaction", "all"),
        ("lock_wait", 3),
        ("lock_timeout", True),
        ("secrets_dir", "/run/secrets"),
        ("embedded_data", Path("pg")),
        ("main_version_table", "v" * 64),
        ("main_version_table_schema", ""),
        ("main_search_path", " public"),
        ("main_search_path", "public\n"),
        ("main_models", 3),
        ("database_url", 3),
        ("unheard_of", "x"),
        ("main_profile", "strict"),
        ("credentials_profile", "lax"),
        ("protected", "1"),
        ("main_protected", 1),
        ("diff_ignore", ["index *"]),
        ("diff_ignore", "index *"),
    ],
)
def test_other_values_are_validated_by_pydantic(name: str, value: object) -> None:
    assert not _is_plain(Fields(), name, value)


def test_pydantic_has_the_same_settings_and_defaults() -> None:
    assert {
        name: field.default for name, field in declare(Fields()).model_fields.items()
    } == Fields().defaults
