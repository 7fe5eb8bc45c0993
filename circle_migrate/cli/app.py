"""The application: its help page and its groups of commands."""

import sys
from functools import cache
from importlib import import_module
from inspect import Parameter, Signature
from typing import Any

import typer

from circle_migrate import __version__
from circle_migrate.cli.command import Declarations
from circle_migrate.cli.help import Command, CommandGroup
from circle_migrate.cli.options import BEFORE_COMMAND, COMMON, Format, flag
from circle_migrate.cli.streams import end_stdout
from circle_migrate.cli.write import discard, failure, show_usage_error
from circle_migrate.core.errors import ExitCode, UsageError

_COMMANDS = {
    "migrate": ("init", "upgrade", "downgrade", "plan", "recover"),
    "inspect": ("status", "check", "wait", "current", "log", "history", "heads", "branches", "show"),
    "compare": ("diff", "snapshot", "consistency", "graph"),
    "safety": ("safety-check", "stats"),
    "serve": ("serve", "metrics"),
    "revision": ("revision", "merge", "squash", "rebase", "stamp"),
    "keep": ("backup", "restore", "kept", "protect", "unprotect", "accept-drift"),
    "set_up": ("adopt", "config", "schema", "help", "dev"),
}
"""The modules that declare commands, in the order of the help page, with the names of their commands."""

_EPILOG = """\
Examples:
  circle-migrate upgrade --embedded # on a private PostgreSQL
  circle-migrate upgrade --dry-run # show the plan
  circle-migrate upgrade credentials@+1 # one step, one database
  circle-migrate downgrade -1 -d main # show the losses, then ask
  circle-migrate revision --autogenerate -m "add a table"
Environment:
  NAME_DATABASE_URL # for each database; or …_FILE, .env, pyproject.toml
  DATABASE_URL, CREDS_DATABASE_URL # for main and credentials
  CIRCLE_MIGRATE_EMBEDDED=1 # like --embedded
  CIRCLE_MIGRATE_ENV=NAME # like --env NAME
  NO_COLOR, FORCE_COLOR # no colours, or colours in a pipe too
Exit status, explained by `help exit-codes`:
"""

_ARGUMENTS = f"{__name__}.arguments"
"""The key by which the arguments of the whole command line are kept in the context."""


@cache
def _declared(module: str) -> Declarations:
    """Return the commands of a module."""
    declarations: Declarations = []
    import_module(f"circle_migrate.cli.groups.{module}").register(declarations)
    return declarations


class _Commands(CommandGroup):
    """All commands, created on demand: creating every command takes longer than running one."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's signature
        """Return the names of all commands, in the order of the help page."""
        return [name for names in _COMMANDS.values() for name in names]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - Typer's signature
        """Return the command of that name, or None."""
        modules = [module for module, names in _COMMANDS.items() if cmd_name in names]
        for module in () if cmd_name in self.commands else modules or _COMMANDS:
            for declaration in _declared(module):
                if not modules or declaration.name == cmd_name:
                    self.commands[declaration.name] = declaration.create()
        return self.commands.get(cmd_name)

    def main(self, *arguments: Any, **extra: Any) -> None:
        """Run the command line and end the process with its exit status."""
        try:
            status = super().main(*arguments, **{**extra, "standalone_mode": False})
        except typer.TyperException as error:
            show_usage_error(error)
            status = error.exit_code
        except SystemExit:  # Typer's, where the reader of --help has closed the pipe
            discard(sys.stdout)
            status = 0
        except OSError as error:  # of --help and --version; errors of commands do not come here
            discard(sys.stdout)
            usage_error = UsageError(f"the text cannot be written to stdout: {error.strerror}")
            failure(usage_error, "help", Format.TABLE)
            status = usage_error.status
        end_stdout()
        sys.exit(status)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page that lists all commands."""
        for module in _COMMANDS:
            for name, text, panel, _ in _declared(module):
                self.commands.setdefault(name, Command(name, help=text, rich_help_panel=panel))
        names = [f"{status} {status.meaning.partition(':')[0]}" for status in sorted(ExitCode)]
        lines = map(" · ".join, (names[:6], names[6:10], names[10:]))
        self.epilog = _EPILOG + "".join(f"  {line}\n" for line in lines)
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments."""
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command; options before it are its own, `help COMMAND` is `COMMAND --help`."""
        given = ctx.meta[_ARGUMENTS]
        before = given[: len(given) - len(args)]
        if args == ["help"]:
            typer.echo(self.get_help(ctx), color=ctx.color)
            raise typer.Exit
        if args[0] == "help" and args[1] not in ("exit-codes", "-h", "--help"):
            args = [*args[1:], "--help"]
        place = 2 if isinstance(self.get_command(ctx, args[0]), CommandGroup) else 1
        return super().resolve_command(ctx, [*args[:place], *before, *args[place:]])


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer's callback
    if wanted:
        typer.echo(f"circle-migrate {__version__}")
        raise typer.Exit


@app.callback()
def root(**_: object) -> None:
    """Plan, check and apply the Alembic revisions of one or more PostgreSQL databases together.

    The options below can also stand after the command.
    """


_VERSION = flag("--version", "Show the version.", "-V", callback=_version, is_eager=True)
_parameters = [Parameter("version", Parameter.KEYWORD_ONLY, default=_VERSION, annotation=bool)]
_parameters += [COMMON[name] for name in BEFORE_COMMAND]
root.__signature__ = Signature(_parameters)  # type: ignore[attr-defined]
root.__annotations__ = {parameter.name: parameter.annotation for parameter in _parameters}
