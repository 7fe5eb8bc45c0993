"""Write docs/commands.md and the tables of docs/settings.md from the declarations of commands and settings.

./run python docs/reference.py
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer

from circle_migrate.cli.app import app
from circle_migrate.config.settings import DatabaseSettings, Settings

PAGE = Path(__file__).with_name("commands.md")
SETTINGS = Path(__file__).with_name("settings.md")
_DATABASE_TABLE = "tool.circle-migrate.databases.NAME"
_LINK = re.compile(r"\b([a-z-]+\.md)(#[a-z-]+)?")
"""A page of this folder in a description, perhaps with the anchor of a section."""

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


class Call(NamedTuple):
    """A command, the context of a call, and the panel in which `--help` lists it or its group."""

    command: Any
    context: Any
    panel: str


def calls() -> Iterator[Call]:
    """Yield every command, in the order of `--help`."""
    root: Any = typer.main.get_command(app)
    context = root.make_context("circle-migrate", [], resilient_parsing=True)
    for name in root.list_commands(context):
        yield from _calls(root.get_command(context, name), context, None)


def _calls(command: Any, parent: Any, panel: str | None) -> Iterator[Call]:
    """Yield a command, or those of a group."""
    panel = panel or command.rich_help_panel
    context = command.context_class(command, parent=parent, info_name=command.name)
    if not hasattr(command, "list_commands"):
        yield Call(command, context, panel)
        return
    for name in command.list_commands(context):
        yield from _calls(command.get_command(context, name), context, panel)


def _page(command: Any, context: Any, panel: str) -> Page:
    """Return the help page of a command."""
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    records = [_record(param, context) for param in command.get_params(context) if "--help" not in param.opts]
    name = context.command_path.removeprefix("circle-migrate ")
    return Page(name, panel, usage, _plain(command.help), records)


def _record(param: Any, context: Any) -> Record:
    names, text = param.get_help_record(context)
    default = "Options"
    if param.param_type_name == "argument":
        default, names = "Arguments", param.metavar
    return Record(param.rich_help_panel or default, names, _plain(text))


def _plain(text: str) -> str:
    """Return the text in one line, its environment variable and default as sentences."""
    text = re.sub(r"; x>=[\d.]+|\[x>=[\d.]+\]", "", " ".join(text.split())).strip()
    text = re.sub(r"\[env: (\w+)(?:; (default: .+?))?\]", r"Environment: `\1`. [\2]", text)
    return re.sub(r"\[default: (.+?)\]", r"Default: \1.", text).replace(" []", "")


def render() -> str:
    """Return the page."""
    commands = [_page(*call) for call in calls()]
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


def render_settings() -> str:
    """Return the page of settings with its two tables."""
    flags: dict[str, str] = {}
    for command, context, _ in calls():
        for param in command.get_params(context):
            names = [name for name in (*param.opts, *param.secondary_opts) if name.startswith("--")]
            flags.setdefault(param.name, ", ".join(f"`{name}`" for name in names))
    text = SETTINGS.read_text(encoding="utf-8")
    for model, header in ((Settings, "tool.circle-migrate"), (DatabaseSettings, _DATABASE_TABLE)):
        rows = [(f"`[{header}]`", "Flag", "Default", "Meaning"), ("---",) * 4]
        for name, field in model.model_fields.items():
            if not field.exclude and name != "databases":
                meaning = _LINK.sub(r"[\1](\1\2)", str(field.description))
                rows.append((f"`{field.alias}`", flags.get(name, ""), _default(field.default), meaning))
        lines = []
        for key, flag, default, meaning in rows:
            cells = (key, default, meaning) if model is DatabaseSettings else (key, flag, default, meaning)
            lines.append(
                "|" + "|".join(cells) + "|" if key == "---" else re.sub(" +", " ", f"| {' | '.join(cells)} |")
            )
        old = text[text.index(f"| `[{header}]` |") :].partition("\n\n")[0]
        text = text.replace(old, "\n".join(lines))
    return text


def _default(value: object) -> str:
    """Return a default as in TOML; no text for none."""
    if isinstance(value, float):
        value = int(value)
    text = "[]" if value == () else str(value).lower() if isinstance(value, bool) else str(value)
    return "" if value is None else f"`{text}`"


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
    SETTINGS.write_text(render_settings(), encoding="utf-8")
