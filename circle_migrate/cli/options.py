"""Arguments and options that several commands have."""

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


def no_option(ctx: typer.Context, targets: list[str] | None) -> list[str] | None:
    """Refuse what is no target but a misspelt option; `-1` is a target."""
    for text in targets or ():
        if text.startswith("-") and not text[1:].isdigit():
            known = [name for param in ctx.command.params for name in (*param.opts, *param.secondary_opts)]
            raise NoSuchOption(text, possibilities=get_close_matches(text, known), ctx=ctx)
    return targets


Targets = Annotated[
    list[str],
    typer.Argument(metavar="TARGET", help=TARGET, autocompletion=revisions, callback=no_option),
]
OptionalTargets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET", help=TARGET, autocompletion=revisions, show_default="head", callback=no_option
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan; change nothing.")]
Sql = Annotated[bool, typer.Option("--sql", help="Write a script for psql instead; FROM:TO needs no server.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

DownTargets = Annotated[
    list[str] | None,
    typer.Argument(metavar="TARGET", help=TARGET, autocompletion=revisions, callback=no_option),
]
PlanFile = Annotated[
    Path | None,
    typer.Option("--plan", metavar="FILE", help="Run the plan saved there, if nothing has changed since."),
]
Cascade = Annotated[bool, typer.Option("--cascade", help="Undo what requires it in the other database too.")]

Overridden = Annotated[
    list[str] | None,
    typer.Option(
        "--override-protection", metavar="NAME", help="Although this database is protected; once for each."
    ),
]

EncryptTo = Annotated[
    str | None,
    typer.Option(
        metavar="RECIPIENT",
        help="Encrypt the dump of a database whose profile is strict (credentials) by `age`: "
        "age1…, ssh-…, or a file with recipients.",
    ),
]
