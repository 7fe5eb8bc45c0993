"""Arguments and options of several commands, as annotations of their parameters."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer
from typer._click.exceptions import NoSuchOption

from circle_migrate.cli.completion import revisions

TARGET = (
    "head, base, +1, -2, a revision id or the beginning of one; main@… or credentials@… for one database."
)


def ensure_no_option(ctx: typer.Context, targets: list[str] | None) -> list[str] | None:
    """Return the targets. Raises `NoSuchOption` for a misspelt option; `-1` is a target."""
    for text in targets or ():
        if text.startswith("-") and not text[1:].isdigit():
            options = [name for param in ctx.command.params for name in (*param.opts, *param.secondary_opts)]
            raise NoSuchOption(text, possibilities=get_close_matches(text, options), ctx=ctx)
    return targets


Targets = Annotated[
    list[str],
    typer.Argument(metavar="TARGET", help=TARGET, autocompletion=revisions, callback=ensure_no_option),
]
OptionalTargets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET",
        help=TARGET,
        autocompletion=revisions,
        show_default="head",
        callback=ensure_no_option,
    ),
]
TargetsWithoutDefault = Annotated[
    list[str] | None,
    typer.Argument(metavar="TARGET", help=TARGET, autocompletion=revisions, callback=ensure_no_option),
]
Down = Annotated[bool, typer.Option("--down", help="Take TARGET as the target of a downgrade.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan; change nothing.")]
Sql = Annotated[
    bool,
    typer.Option("--sql", help="Write a script for psql and run nothing; a range FROM:TO needs no server."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
PlanFile = Annotated[
    Path | None,
    typer.Option("--plan", metavar="FILE", help="Run this saved plan if nothing has changed since."),
]
Cascade = Annotated[
    bool, typer.Option("--cascade", help="Also undo the revisions of the other database that require it.")
]
OverrideProtection = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Run although this database is protected. Repeatable."),
]
EncryptTo = Annotated[
    str | None,
    typer.Option(
        metavar="RECIPIENT",
        help="Encrypt with `age` the dump of a database whose profile is strict (credentials): "
        "age1…, ssh-…, or a file of recipients.",
    ),
]
