"""Results that show something: revisions, settings, the embedded server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from circle_migrate.cli.render.widgets import relative, revisions, table, write_line
from circle_migrate.commands.graph.drawing import DiagramResult
from circle_migrate.commands.listing_results import (
    ConfigurationResult,
    CurrentResult,
    DatabasePosition,
    ListedRevision,
    RevisionList,
    SchemaResult,
    ServerResult,
)
from circle_migrate.diff.autogenerate.result import RevisionFilesResult

if TYPE_CHECKING:
    from rich.console import Console


def current_result(result: CurrentResult, console: Console) -> None:
    """Where each database is."""
    rows = [
        (
            database_position.database,
            revisions(tuple(revision.id for revision in database_position.current))
            if not _unread(database_position)
            else "?",
            ", ".join(revision.message for revision in database_position.current),
            _standing_words(database_position),
        )
        for database_position in result.standings
    ]
    table(console, ("database", "current", "message", "state"), rows)
    for database_position in result.standings:
        if database_position.error is not None:
            write_line(console, database_position.error.message, style="red")
            if database_position.error.detail:
                write_line(console, f"  detail {database_position.error.detail}")
            if database_position.error.hint:
                write_line(console, f"  hint   {database_position.error.hint}")


def _unread(standing: DatabasePosition) -> bool:
    return standing.error is not None and not standing.current


def _standing_words(standing: DatabasePosition) -> str:
    if standing.error is not None:
        return standing.error.code
    return f"{standing.pending} pending" if standing.pending else "head"


def revision_list(result: RevisionList, console: Console) -> None:
    """Revisions as a table, or one by one for `show`."""
    if result.command == "show":
        for listed in result.listed.values():
            for listed_revision in listed:
                _one(listed_revision, console)
        return
    rows = [
        (
            name,
            listed_revision.revision.id,
            ", ".join(listed_revision.revision.down_revisions) or "base",
            listed_revision.revision.message,
            _marks(listed_revision),
        )
        for name, listed in result.listed.items()
        for listed_revision in listed
    ]
    table(console, ("database", "revision", "follows", "message", ""), rows)
    for name, listed in result.listed.items():
        if not listed:
            write_line(console, f"{name}: none")


def _marks(listed: ListedRevision) -> str:
    revision = listed.revision
    words = [*listed.marks, *(f"label {label}" for label in revision.labels)]
    words += [f"requires {need}" for need in revision.requires]
    return ", ".join(words)


def _one(listed: ListedRevision, console: Console) -> None:
    revision = listed.revision
    facts = [
        ("revision", f"{revision.qualified}{' (' + ', '.join(listed.marks) + ')' if listed.marks else ''}"),
        ("follows", ", ".join(revision.down_revisions) or "base"),
        ("depends on", ", ".join(revision.depends_on)),
        ("requires", ", ".join(revision.requires)),
        ("labels", ", ".join(revision.labels)),
        (
            "transaction",
            f"none: {revision.non_transactional_reason}" if revision.non_transactional_reason else "",
        ),
        ("irreversible", revision.irreversible or ""),
        ("file", relative(revision.location)),
    ]
    for key, value in facts:
        if value:
            write_line(console, f"{key:<12} {value}")
    write_line(
        console, "\n" + "\n".join("    " + line if line else "" for line in revision.doc.splitlines()) + "\n"
    )


def revision_files_result(result: RevisionFilesResult, console: Console) -> None:
    """The files that were written."""
    for revision in result.revisions:
        write_line(console, f"{revision.database}: {relative(revision.path)}", style="green")
    for name in result.unchanged:
        words = "nothing has changed" if result.command == "revision" else "one head, nothing to merge"
        write_line(console, f"{name}: {words}")
    for note in result.notes:
        write_line(console, f"note: {note}")


def configuration_result(result: ConfigurationResult, console: Console) -> None:
    """The settings."""
    table(console, ("setting", "value", "from"), result.values)


def server_result(result: ServerResult, console: Console) -> None:
    """The embedded server."""
    state = "running" if result.facts.get("running") else "stopped"
    write_line(console, f"embedded PostgreSQL: {state}", style="green" if state == "running" else "")
    for key, value in result.facts.items():
        if key != "running" and value is not None:
            write_line(console, f"  {key:<8} {value}")
    for key, value in result.urls.items():
        write_line(console, f"  {key}={value}")


def schema_result(result: SchemaResult, console: Console) -> None:
    """Write the schema as it is, for a validator to read."""
    console.file.write(json.dumps(result.schema, indent=2) + "\n")


def diagram_result(result: DiagramResult, console: Console) -> None:
    """Write the drawing as it is, or where it was saved."""
    if result.file is None:
        console.file.write(result.text)
    else:
        write_line(console, result.file, style="green")
