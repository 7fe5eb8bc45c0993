"""The application: its help page and its groups of commands."""

import sys
from collections.abc import MutableMapping
from importlib import import_module
from inspect import Parameter, Signature
from typing import Any

import typer
from typer._click import Command, Context, HelpFormatter
from typer.main import get_group

from circle_migrate import __version__
from circle_migrate.cli.help import CommandGroup
from circle_migrate.cli.options import BEFORE_COMMAND, COMMON, flag
from circle_migrate.cli.streams import end_stdout

_COMMANDS = {
    "migrate": ("init", "upgrade", "downgrade", "plan", "recover"),
    "inspect": ("status", "check", "wait", "current", "log", "history", "heads", "branches", "show"),
    "compare": ("diff", "snapshot", "consistency", "graph"),
    "safety": ("safety-check", "stats"),
    "revision": ("revision", "merge", "stamp"),
    "keep": ("backup", "restore", "kept", "protect", "unprotect"),
    "set_up": ("config", "schema", "help", "dev"),
}
"""The modules that declare commands, in the order of the help page, with the names of their commands."""

_EPILOG = """\
[bold]Examples[/bold]
circle-migrate upgrade --embedded [dim]# on a private PostgreSQL[/dim]
circle-migrate upgrade --dry-run [dim]# show the plan[/dim]
circle-migrate upgrade credentials@+1 [dim]# one step, one database[/dim]
circle-migrate downgrade -1 -d main [dim]# show the losses, then ask[/dim]
circle-migrate revision --autogenerate -m "add a table"
[bold]Environment[/bold]
NAME_DATABASE_URL [dim]# for each database; or …_FILE, .env, pyproject.toml[/dim]
DATABASE_URL, CREDS_DATABASE_URL [dim]# for main and credentials[/dim]
CIRCLE_MIGRATE_EMBEDDED=1 [dim]# like --embedded[/dim]
NO_COLOR, FORCE_COLOR [dim]# no colours, or colours in a pipe too[/dim]
[bold]Exit status, explained by `help exit-codes`[/bold]

""".replace("\n", "\n\n")


class _Commands(CommandGroup):
    """All commands, created on demand: creating every command takes longer than running one."""

    _complete = False

    @property
    def commands(self) -> MutableMapping[str, Command]:
        if not self._complete:
            self._complete = True
            for module in _COMMANDS:
                self._add(module, typer.Typer(rich_markup_mode="rich"))
        return self._created

    @commands.setter
    def commands(self, created: MutableMapping[str, Command]) -> None:
        self._created, self._complete = created, False

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:  # noqa: ARG002 - Typer's signature
        if cmd_name not in self._created:
            from circle_migrate.cli.command import SingleCommandApp

            for module, names in _COMMANDS.items():
                if cmd_name in names:
                    self._add(module, SingleCommandApp(cmd_name))
        return self._created.get(cmd_name) or self.commands.get(cmd_name)

    def main(self, *arguments: Any, **extra: Any) -> None:
        """Run the command line and end the process with its exit status."""
        try:
            status = super().main(*arguments, **{**extra, "standalone_mode": False})
        except typer.TyperException as error:
            from circle_migrate.cli.write import show_usage_error

            show_usage_error(error)
            status = error.exit_code
        except SystemExit:  # Typer's, where the reader of --help has closed the pipe
            from circle_migrate.cli.write import discard

            discard(sys.stdout)
            status = 0
        except OSError as error:  # of --help and --version; errors of commands do not come here
            from circle_migrate.cli.options import Format
            from circle_migrate.cli.write import discard, failure
            from circle_migrate.core.errors import UsageError

            discard(sys.stdout)
            usage_error = UsageError(f"the text cannot be written to stdout: {error.strerror}")
            failure(usage_error, "help", Format.TABLE)
            status = usage_error.status
        end_stdout()
        sys.exit(status)

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the page that lists all commands."""
        from circle_migrate.cli.command import CommandListing
        from circle_migrate.core.errors import ExitCode

        listing = CommandListing()
        for module in _COMMANDS:
            _declare(module, listing)
        self._created, self._complete = dict(listing.declared), True
        names = [f"{status} {status.meaning.partition(':')[0]}" for status in sorted(ExitCode)]
        self.epilog = _EPILOG + "\n\n".join(map(" · ".join, (names[:6], names[6:10], names[10:])))
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse the arguments; options before a command are its own, `help COMMAND` is `COMMAND --help`."""
        super().parse_args(ctx, list(args))
        words = [*ctx._protected_args, *ctx.args]
        if words[:1] == ["help"] and words[1:2] not in (["exit-codes"], ["-h"], ["--help"]):
            return self.parse_args(ctx, [*words[1:], "--help"])
        if words and len(words) < len(args):
            place = 2 if isinstance(self.get_command(ctx, words[0]), CommandGroup) else 1
            words[place:place] = args[: -len(words)]
            ctx.args = words[1:]
        return ctx.args

    def _add(self, module: str, part: typer.Typer) -> None:
        _declare(module, part)
        self._created.update(get_group(part).commands)


def _declare(module: str, part: typer.Typer) -> None:
    import_module(f"circle_migrate.cli.groups.{module}").register(part)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
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
