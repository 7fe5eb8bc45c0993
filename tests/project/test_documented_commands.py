"""Every command and option in the documentation and the recipes exists, and so does every link target."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from circle_migrate.cli.app import app
from circle_migrate.core.errors import ExitCode
from tests.deployments import RUNS, STEPS

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "docs" / "recipes"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILES = [HOOKS, *sorted(path for end in ("yml", "yaml") for path in RECIPES.rglob(f"*.{end}"))]

VERSION = r"(?:\[\w+\])?(?:(?:==|@)[\w.]+)?"
STARTERS = {"run", "./run", "uvx", "exec", "&&", "||", ";", "$"}
WITHOUT_COMMANDS = {"action.yml", "service-monitor.yaml"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def is_tool(words: list[str], place: int) -> bool:
    """Return whether the word starts circle-migrate, by its name or as the entry point of its image."""
    word, before = words[place], words[place - 1] if place else "$"
    if re.fullmatch(rf"circle-migrate{VERSION}", word):
        return before in STARTERS or before.startswith("circle-migrate[")
    image = word.startswith("mens-circle/migrate:") or (word == "migrate" and "compose" in words)
    return image and before == "--rm"


def calls(shell: str) -> Iterator[list[str]]:
    """Yield the arguments of every call of circle-migrate in shell code."""
    text = re.sub(r"\$\{\{.*?\}\}", "main", shell.replace("\\\n", " "))
    for line in text.splitlines():
        if not re.search(r"\bmigrate\b", line):
            continue
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        for place in range(len(words)):
            if is_tool(words, place):
                rest = words[place + 1 :]
                end = next((at for at, word in enumerate(rest) if re.fullmatch(r"[();<>|&]+", word)), None)
                yield rest[:end]


def page_calls(text: str) -> Iterator[list[str]]:
    """Yield the calls in the console blocks and the inline code of a page."""
    parts = re.split(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    for prose, language, block in zip(parts[::3], [*parts[1::3], ""], [*parts[2::3], ""], strict=True):
        for code in re.findall(r"`([^`]+)`", prose):
            yield from calls(" ".join(code.split()))
        if language == "console":
            yield from calls("\n".join(line for line in block.splitlines() if line.startswith("$ ")))


def file_calls(tree: Any) -> Iterator[list[str]]:
    """Yield the calls in a YAML file: in shell code, or as arguments of the image, the action or the hook."""
    match tree:
        case str():
            yield from calls(tree)
        case {"image": str(image), "args": list(words)} | {"image": str(image), "command": list(words)}:
            if "migrat" in image:
                yield words
        case {"uses": "./.github/actions/circle-migrate", "with": {"arguments": str(words)}}:
            yield from calls(f"circle-migrate {words}")
        case {"id": "circle-migrate-check", "args": list(words)}:
            yield from calls(shlex.join([*shlex.split(load(HOOKS)[0]["entry"]), *words]))
        case dict():
            yield from (call for item in tree.values() for call in file_calls(item))
        case list():
            yield from (call for item in tree for call in file_calls(item))


@functools.cache
def command_at(path: tuple[str, ...]) -> Any:
    """Return the command or group of that path, or None."""
    if not path:
        return typer.main.get_command(app)
    group = command_at(path[:-1])
    return group.get_command(group.make_context(group.name, [], resilient_parsing=True), path[-1])


def parse(words: list[str]) -> None:
    """Parse a call without running it. Raises the errors of the command line."""
    path: tuple[str, ...] = ()
    while hasattr(command_at(path), "commands") and words and not words[0].startswith("-"):
        default = getattr(command_at(path), "default", None)
        if default and not command_at((*path, words[0])):
            break
        path, words = (*path, words[0]), words[1:]
    if default := getattr(command_at(path), "default", None):
        path = (*path, default)
    command = command_at(path)
    assert command, f"there is no command {' '.join(path)}"
    known = {"--help", "-h"}.union(*((*param.opts, *param.secondary_opts) for param in command.params))
    unknown = {word for word in words if re.match(r"--?[a-zA-Z]", word)} - known
    assert not unknown, f"{' '.join(path)} has no option {unknown}"
    if not hasattr(command, "commands"):
        command.make_context(command.name, list(words))


DOCUMENTED = [(path, call) for path in PAGES for call in page_calls(path.read_text(encoding="utf-8"))]
HELP = ROOT / "tests" / "cli" / "snapshots" / "help.txt"
EXAMPLES = [
    (HELP, call)
    for line in HELP.read_text(encoding="utf-8").splitlines()
    if line.startswith("  circle-migrate ")
    for call in calls(line.strip().partition(" #")[0])
]
COPIED = [(path, call) for path in FILES for call in file_calls(load(path))]


@pytest.mark.parametrize(
    ("path", "call"),
    [
        pytest.param(*pair, id=f"{name(pair[0])}: {' '.join(pair[1])}")
        for pair in DOCUMENTED + COPIED + EXAMPLES
    ],
)
def test_every_command_in_the_documentation_exists(path: Path, call: list[str]) -> None:
    parse(call)


@pytest.mark.parametrize(
    "call", ["chek", "check --file-only", "check --format xml", "wait --timeout long", "downgrade --al"]
)
def test_a_command_that_does_not_exist_is_noticed(call: str) -> None:
    with pytest.raises((typer.TyperException, AssertionError)):
        parse(shlex.split(call))


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("```console\n$ circle-migrate plan -o FILE > out\nmain  up\n```\n", ["plan -o FILE"]),
        ("as `uvx --from 'circle-migrate[embedded]' circle-migrate status`,", ["status"]),
        ("`pipx run 'circle-migrate[embedded]' upgrade --embedded`", ["upgrade --embedded"]),
        ("`pipx run circle-migrate==0.1.0 status`, `uvx circle-migrate@0.1.0 wait`", ["status", "wait"]),
        (
            "```console\n$ docker compose run --rm migrate status && circle-migrate wait\n```\n",
            ["status", "wait"],
        ),
        ("`pip install circle-migrate==0.1.0`, `-t mens-circle/migrate:0.1.0 .`", []),
    ],
)
def test_commands_are_found_in_pages(text: str, commands: list[str]) -> None:
    assert [" ".join(call) for call in page_calls(text)] == commands


def test_every_recipe_that_runs_a_command_was_read() -> None:
    assert {path for path, call in COPIED if call} == {
        path for path in FILES if path.name not in WITHOUT_COMMANDS
    }
    assert {"README.md", "docs/install.md", "docs/operations.md"} <= {name(path) for path, _ in DOCUMENTED}


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("recipe", sorted(path for path in RECIPES.rglob("*") if path.is_file()), ids=name)
def test_every_recipe_is_linked_from_its_page(recipe: Path) -> None:
    page = RECIPES / "README.md" if recipe.name == "README.md" else recipe.parent / "README.md"
    links = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    assert recipe in {RECIPES / "README.md", RECIPES / "docker" / "Dockerfile.dockerignore"} | {
        (page.parent / link).resolve() for link in links
    }


def test_operations_says_what_to_do_about_every_exit_status() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = text.partition("\n## Exit status\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\d, ]+) \| (.+?) \| .+ \|$", table, re.MULTILINE)
    states = {int(code): state for codes, state in rows for code in codes.split(",")}
    assert sorted(states) == sorted(ExitCode)
    assert [status for status in ExitCode if status.meaning not in states[status]] == []
    assert f"GRANT SELECT ON alembic_version, {RUNS}, {STEPS} TO" in text
