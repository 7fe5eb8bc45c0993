"""Options, arguments and output formats: as defaults of a command's parameters, and shared by commands."""

import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import typer

from circle_migrate.config.databases import PLATFORM, PREFIX, DriftMode, SafetyMode, Transaction


class Format(StrEnum):
    """A format in which a result is written to stdout."""

    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"
    SARIF = "sarif"
    GITHUB = "github"
    GITLAB = "gitlab"
    SQL = "sql"
    ALEMBIC = "alembic"
    PATCH = "patch"
    MARKDOWN = "markdown"


ANY_RESULT = (Format.TABLE, Format.JSON)
MARKDOWN = (*ANY_RESULT, Format.MARKDOWN)
CHECKS = (*MARKDOWN, Format.JUNIT, Format.SARIF, Format.GITHUB, Format.GITLAB)
COMPARISONS = (*CHECKS, Format.SQL, Format.ALEMBIC, Format.PATCH)
"""The formats of a command, by what its result is."""


Color = StrEnum("Color", ["AUTO", "ALWAYS", "NEVER"])
"""When the output has colours; `auto` is on a terminal."""


def option(
    metavar: str | None, text: str, *names: str, default: Any = None, panel: str | None = None, **details: Any
) -> Any:
    """Return an option with a value; its names follow from the parameter if none are given."""
    details = _with_default(text, **details)
    return typer.Option(default, *names, metavar=metavar, rich_help_panel=panel, **details)


def flag(name: str, text: str, *names: str, default: Any = False, **details: Any) -> Any:
    """Return an option without a value."""
    return option(None, text, name, *names, default=default, **details)


def argument(metavar: str, text: str, *, default: Any = None, **details: Any) -> Any:
    """Return an argument; the default `...` makes it mandatory."""
    return typer.Argument(default, metavar=metavar, **_with_default(text, **details))


def _with_default(text: str, *, show_default: str | bool = True, **details: Any) -> dict[str, Any]:
    """Return details of a parameter; Typer would write a text for the default in parentheses."""
    if isinstance(show_default, str):
        return {"help": f"{text}  [default: {show_default}]", "show_default": False, **details}
    return {"help": text, "show_default": show_default, **details}


def revisions(incomplete: str) -> list[tuple[str, str]]:
    """Return the targets that begin with the text, with their messages, for a shell that completes them."""
    try:
        from circle_migrate.config.load import load
        from circle_migrate.postgres.deployment import Deployment

        graphs = Deployment(load()).graphs
    except Exception:  # noqa: BLE001 - a completing shell cannot show an error
        return []
    targets = [("head", "the newest revision"), ("base", "before the first revision")]
    for name, graph in graphs.items():
        for revision in reversed(graph.sorted(graph.revisions.keys() - graph.squashes.missing)):
            message = graph[revision].message
            targets += [(revision, f"{name}: {message}"), (f"{name}@{revision}", message)]
    return [target for target in targets if target[0].startswith(incomplete)]


def _names(setting: str) -> Callable[[str], list[str]]:
    """Return a function that returns the names in a setting that begin with a text, for a shell as above."""

    def complete(incomplete: str) -> list[str]:
        try:
            from circle_migrate.config.load import load

            return [name for name in getattr(load(), setting) if name.startswith(incomplete)]
        except Exception:  # noqa: BLE001 - a completing shell cannot show an error
            return []

    return complete


def ensure_no_option(ctx: typer.Context, targets: list[str] | None) -> list[str] | None:
    """Return the targets. Raises `TyperException` for a misspelt option; `-1` is a target."""
    for text in targets or ():
        if text.startswith("-") and not text[1:].isdigit():
            options = [name for param in ctx.command.params for name in (*param.opts, *param.secondary_opts)]
            possible = ", ".join(sorted(get_close_matches(text, options)))
            ctx.fail(f"No such option: {text}{f' (Possible options: {possible})' if possible else ''}")
    return targets


def targets(text: str = "Go to this revision", **details: Any) -> Any:
    """Return the argument TARGET, which takes several; `text` says what happens to one."""
    return argument(
        "TARGET",
        f"{text}: head, base, +1, -2, an id or its beginning; main@head is for main only.",
        autocompletion=revisions,
        callback=ensure_no_option,
        **details,
    )


def _set_color(color: Color) -> Color:
    """Set the environment variables that Rich and Typer honour; with `auto` the user's are valid."""
    if color is not Color.AUTO:
        os.environ.pop("NO_COLOR" if color is Color.ALWAYS else "FORCE_COLOR", None)
        os.environ["FORCE_COLOR" if color is Color.ALWAYS else "NO_COLOR"] = "1"
    return color


safety_option = partial(option, panel="Safety")
safety_flag = partial(flag, panel="Safety")

DOWN = flag("--down", "Take TARGET as the target of a downgrade.")
DRY_RUN = flag("--dry-run", "Show what would be done; change nothing.")
SQL = flag("--sql", "Write a script for psql and run nothing; a range FROM:TO needs no server.")
YES = safety_flag("--yes", "Do not ask for confirmation.", "-y")
INTO_EXISTING = safety_flag("--into-existing", "Upgrade a database although it has relations of no revision.")
PLAN_FILE = option("FILE", "Run this saved plan if nothing has changed since.", "--plan")
CASCADE = flag("--cascade", "Also undo revisions of other databases that require the undone ones.")
OVERRIDE_PROTECTION = safety_option("NAME", "Run although this database is protected. Repeatable.")
ENCRYPT_TO = safety_option(
    "RECIPIENT",
    "Encrypt with `age` the dump of a database whose profile is strict (credentials): "
    "age1…, ssh-…, or a file of recipients.",
)

_run = partial(option, panel="Run")
_choice = partial(_run, None)
_connection = partial(option, panel="Connection")
_size = partial(safety_option, "N", min=0)
_output = partial(flag, panel="Output")
_output_file = partial(option, panel="Output")
_output_choice = partial(option, None, panel="Output")


def _common(
    *,
    database: list[str] | None = option(
        "NAME",
        "Use only this database. Repeatable.",
        "--database",
        "-d",
        autocompletion=_names("databases"),
    ),
    env: str | None = option(
        "NAME",
        "Use the settings of this environment in pyproject.toml.",
        autocompletion=_names("environments"),
    ),
    url: list[str] | None = _connection("NAME=URL", "Connect to this database at this URL. Repeatable."),
    database_url: str | None = _connection("URL", "Connect to main at this URL."),
    creds_database_url: str | None = _connection("URL", "Connect to credentials at this URL."),
    embedded: bool | None = _connection(
        None,
        "Use a private PostgreSQL in this project.",
        "--embedded",
        show_default=False,
    ),
    embedded_data: Path | None = _connection("FOLDER", "Keep the data of the private PostgreSQL here."),
    format: Format = _output_choice(  # noqa: A002 - the name of the option
        "Write the result in this format.", default=Format.TABLE
    ),
    color: Color = _output_choice(
        "Use colours on a terminal, always, or never.", default=Color.AUTO, callback=_set_color, is_eager=True
    ),
    no_progress: bool = _output("--no-progress", "Show no steps and waits; notes and logs remain."),
    quiet: bool = _output("--quiet", "Show no progress.", "-q"),
    verbose: bool = _output("--verbose", "Show statements, server notices and Alembic's log, too.", "-v"),
    debug: bool = _output("--debug", "Show the traceback of an error, without secrets."),
) -> None: ...


def _specific(
    *,
    atomic: bool | None = _choice(
        "Commit all databases by one decision (two-phase commit), or one after the other.",
        "--atomic/--serial",
        show_default="serial",
    ),
    transaction: Transaction | None = _choice(
        "Run as many steps in a transaction as can share one, or one revision in each.", show_default="all"
    ),
    lock_wait: str | None = _run(
        "SECONDS", "Wait at most this long for other deployers and for locks.", show_default="60"
    ),
    lock_timeout: str | None = _run(
        "SECONDS",
        "Let a statement wait at most this long for a lock, then roll back and retry.",
        show_default="4",
    ),
    statement_timeout: str | None = _run(
        "SECONDS", "Let a statement of a revision take at most this long; 0 is no limit.", show_default="0"
    ),
    scratch_url: str | None = _connection("URL", "Create scratch databases on this server."),
    scratch_on_target: bool | None = _connection(
        None,
        "Allow scratch databases on the servers of the live ones; the role needs CREATEDB.",
        "--scratch-on-target",
        show_default=False,
    ),
    api_listen: str | None = _connection(
        "ADDRESS:PORT", "Answer at this address.", "--listen", show_default="127.0.0.1:8080"
    ),
    api_behind_proxy: bool | None = _connection(
        None,
        "Need no token: a proxy in front decides who sees it.",
        "--behind-proxy",
        show_default=False,
    ),
    api_docs: bool | None = _connection(
        None, "Serve the OpenAPI and its page, for development.", "--docs", show_default=False
    ),
    pg_bin: Path | None = _run("FOLDER", "Use pg_dump and pg_restore of this folder."),
    x_arguments: list[str] | None = _run(
        "KEY=VALUE",
        "Pass an argument to revisions, which read it with context.get_x_argument(). Repeatable.",
        "-x",
        "--x-arguments",
    ),
    report: list[str] | None = _output_file(
        "FORMAT=FILE", "Write the result to this file, too, in this format. Repeatable."
    ),
    events: Path | None = _output_file("FILE", "Write each event of the run to this file as a line of JSON."),
    safety: SafetyMode | None = safety_option(
        None,
        "Check pending revisions for hazards first: report dangers, or refuse them.",
        show_default="warn",
    ),
    drift: DriftMode | None = safety_option(
        None,
        "Report a schema that was changed by hand, or refuse to run, which is the default where protected.",
        show_default="warn",
    ),
    safety_rows: int | None = _size(
        "Treat a table with at least this many rows as large.", "--rows", show_default="10000"
    ),
    safety_bytes: int | None = _size(
        "Treat a table with at least this many bytes as large.", "--bytes", show_default="52428800"
    ),
) -> None: ...


NO_SETTINGS = ("database", "format", "color", "no_progress", "quiet", "verbose", "debug")
"""The options of every command that override no setting; others do."""

BEFORE_COMMAND = (*NO_SETTINGS, "env")
"""The options of every command that may also stand before it."""

FILES = ("report", "events")
"""The options that name files for the result and the events; they override no setting."""


def _declared(function: Callable[..., None]) -> Mapping[str, Parameter]:
    """Return the options of a function; help names the variable of the setting that one overrides."""
    variables = {known.url_variable.lower(): known.url_variable for known in PLATFORM}
    variables["url"] = "NAME_DATABASE_URL"
    parameters = signature(function, eval_str=True).parameters
    for name in parameters.keys() - {*NO_SETTINGS, *FILES}:
        details = parameters[name].default
        text, _, default = details.help.partition("  [")
        variable = variables.get(name, f"{PREFIX}{name}".upper())
        details.help = f"{text}  [env: {variable}{f'; {default}' if default else ']'}"
    return parameters


COMMON = _declared(_common)
"""The options of every command."""

OPTIONS = _declared(_specific)
"""The options of some commands; both by the name of the parameter that receives the value."""

SCRATCH = ("scratch_url", "scratch_on_target", "x_arguments")
"""The options of commands that may run revisions in a scratch database."""

_RUN_LIMITS = ("lock_wait", "lock_timeout", "statement_timeout")
RUN = ("atomic", "transaction", *_RUN_LIMITS, "drift", "events", *SCRATCH)
"""The options of commands that run revisions."""

API = ("api_listen", "api_behind_proxy", "api_docs")
"""The options of the server."""

SIZES = ("safety_rows", "safety_bytes")
"""The options of commands that tell large tables from small ones."""
