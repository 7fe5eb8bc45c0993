"""history, heads, branches and show: revisions without a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.commands.history import branches, heads, history, show
from circle_migrate.config.load import load
from circle_migrate.core.errors import (
    UsageError,
)
from circle_migrate.postgres.deployment import Deployment
from tests.commands.shortcuts import CREDENTIALS, HEADS, MAIN


def test_trees_are_listed_without_any_database(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Deployment(load(environ={}))
    listed = {name: [entry.revision.id for entry in rows] for name, rows in history(files).revisions.items()}
    assert listed == {"main": MAIN[::-1], "credentials": CREDENTIALS[::-1]}
    assert {
        name: [entry.revision.id for entry in rows] for name, rows in heads(files).revisions.items()
    } == HEADS
    assert not any(branches(files).revisions.values())
    (shown,) = show(files, ["f4e7"]).revisions["main"]
    assert shown.revision.message == "Add meeting and attendance tracking tables"
    assert Path(shown.revision.path).is_file()


# Both ends belong to a span, as in `alembic history -r`.
SPANS: list[tuple[str, dict[str, list[str]]]] = [
    ("dca7825748db:a930217cd080", {"main": MAIN[2::-1]}),
    (":b37f", {"main": MAIN[1::-1]}),
    (f"{MAIN[-3]}:", {"main": MAIN[:-4:-1]}),
    ("c4b0e5c7784e:head", {"credentials": CREDENTIALS[:-6:-1]}),
    ("head-1:head", {"main": MAIN[:-3:-1], "credentials": CREDENTIALS[:-3:-1]}),
    ("base:base+1", {"main": MAIN[:1], "credentials": CREDENTIALS[:1]}),
    ("main@base:main@base+1", {"main": MAIN[:1]}),
]


@pytest.mark.parametrize(("span", "expected"), SPANS)
def test_history_of_a_span(span: str, expected: dict[str, list[str]]) -> None:
    revisions = history(Deployment(load(environ={})), span).revisions
    assert {
        name: [entry.revision.id for entry in rows] for name, rows in revisions.items() if rows
    } == expected


@pytest.mark.parametrize("span", ["dca7", "dca7:c4b0", "nonsense:head", "head:base"])
def test_what_is_no_span_is_refused(span: str) -> None:
    with pytest.raises(UsageError):
        history(Deployment(load(environ={})), span)
