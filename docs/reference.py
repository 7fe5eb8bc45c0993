"""Write docs/commands.md from the declarations of the commands.

./run python docs/reference.py
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer

from circle_migrate.cli.app import app

PAGE = Path(__file__).with_name("commands.md")
_COMMON = 5
"""An option that has the same text in this many commands is described once."""

_HEAD = """\
# Commands

Every command works on all databases of the project, or on those that `-d NAME` selects. `--format json`
writes one object to stdout; progress and errors go to stderr. [operations.md](operations.md#exit-status) has
the exit statuses, [settings.md](settings.md) the settings that replace options.

A TARGET is what Alembic takes (`head`, `base`, `+1`, `-2`, an id or a unique beginning of one, `id+1`,
`label@head`), optionally after the name of a database: `main@head`, `credentials@-1`. An id needs no
database: it belongs to the tree that contains it, and the other databases are not changed unless the revision
requires it.

`./run python docs/reference.py` writes this page from the declarations of the commands.
"""


class Record(NamedTuple):
    """An argument or option as on a help page: its panel, its names and its text."""

    panel: str
    names: str
    text: str


class Page(NamedTuple):
    """The help page of one command."""

    name: str
    panel: str
    usage: str
    text: str
    records: list[Record]


def pages() -> Iterator[Page]:
    """Yield the help page of every command, in the order of `--help`."""
    root: Any = typer.main.get_command(app)
    context = root.make_context("circle-migrate", [], resilient_parsing=True)
    for name in root.list_commands(context):
        yield from _pages(root.get_command(context, name), context, None)


def _pages(command: Any, parent: Any, panel: str | None) -> Iterator[Page]:
    """Yield the page of a command, or those of the commands of a group."""
    panel = panel or command.rich_help_panel
    context = command.context_class(command, parent=parent, info_name=command.name)
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            yield from _pages(command.get_command(context, name), context, panel)
        return
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    records = [_record(param, context) for param in command.get_params(context) if "--help" not in param.opts]
    name = context.command_path.removeprefix("circle-migrate ")
    yield Page(name, panel, usage, _plain(command.help), list(filter(None, records)))


def _record(param: Any, context: Any) -> Record | None:
    names, text = param.get_help_record(context) or ("", "")
    default = "Arguments" if param.param_type_name == "argument" else "Options"
    return Record(param.rich_help_panel or default, names, _plain(text)) if names else None


def _plain(text: str) -> str:
    """Return the text in one line, its default as a sentence."""
    return re.sub(r"\[default: (.+)\]$", r"Default: \1.", " ".join(text.split()))


def render() -> str:
    """Return the page."""
    commands = list(pages())
    counts = Counter(record for page in commands for record in page.records)
    common = [record for record, count in counts.items() if count >= _COMMON]
    panels = dict.fromkeys(page.panel for page in commands)
    parts = [_HEAD]
    for panel in panels:
        parts.append(f"## {panel}\n")
        for page in (page for page in commands if page.panel == panel):
            own = [record for record in page.records if record not in common]
            shared = [record.names for record in page.records if record in common]
            parts.append(f"### {page.name}\n\n{_cell(page.text)}\n\n    {page.usage}\n")
            if own:
                parts.append(_table(own))
            if shared:
                flags = ", ".join(f"`{_flag(names)}`" for names in shared)
                parts.append(f"[Common options](#common-options): {flags}.\n")
    parts.append("## Common options\n\n" + _table(common))
    return "\n".join(parts)


def _table(records: list[Record]) -> str:
    rows = [f"| `{_cell(record.names)}` | {_cell(record.text)} |" for record in records]
    return "\n".join(["| Option | Meaning |", "|---|---|", *rows]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _flag(names: str) -> str:
    """Return the long name of an option."""
    return next((name for name in re.split(r"[ ,]+", names) if name.startswith("--")), names)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
