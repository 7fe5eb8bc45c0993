"""The JSON output and the help page of every command.

`UPDATE_SNAPSHOTS=1 pytest tests/cli/test_contract.py` writes the snapshots; review their diff.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from circle_migrate import __version__
from circle_migrate.cli.app import app
from circle_migrate.core.errors import ExitCode
from tests.conftest import Cli
from tests.deployments import environment, execute, invoke
from tests.projects import Project
from tests.servers import Databases, run

ROOT = Path(__file__).parents[2]
SNAPSHOTS = Path(__file__).parent / "snapshots"
# Read once: tests do not see the developer's environment.
UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))

# Snapshot and command line, in the order in which they run on one pair of databases.
PACKAGE = [
    ("init", "init"),
    ("snapshot", "snapshot -o snapshots"),
    ("current", "current"),
    ("downgrade-dry-run", "downgrade --dry-run -- -1"),
    ("downgrade", "downgrade --yes -- -1"),
    ("diff", "diff snapshots live"),
    ("status", "status --exit-code"),
    ("check", "check"),
    ("consistency", "consistency"),
    ("wait", "wait --timeout 0"),
    ("plan", "plan"),
    ("upgrade-dry-run", "upgrade --dry-run"),
    ("upgrade", "upgrade"),
    ("upgrade-nothing", "upgrade"),
    ("stamp", "stamp --yes credentials@c4b0"),
    ("stamp-back", "stamp --yes head"),
    ("protect", "protect -d main --reason text"),
    ("error-protected", "downgrade --yes -- -1"),
    ("unprotect", "unprotect -d main --override-protection main"),
    ("accept-drift", "accept-drift -d main --yes"),
    ("recover", "recover"),
    ("backup", "backup create"),
    ("backup-list", "backup list"),
    ("backup-prune", "backup prune --keep-last 1"),
    ("error-backup-verify", "backup verify backups"),
    ("error-backup", "restore backups"),
    ("kept-list", "kept list --all"),
    ("error-kept-restore", "kept restore main/1"),
    ("error-kept-drop", "kept drop --yes main/1"),
    ("log", "log"),
    ("history", "history dca7:b37f"),
    ("history-current", "history -i c4198e875dd0:"),
    ("heads", "heads"),
    ("branches", "branches"),
    ("show", "show f4e7 c4b0"),
    ("graph", "graph revisions c4b0: --current"),
    ("stats", "stats -o stats.json"),
    ("metrics", "metrics -o metrics.prom"),
    ("safety-check", "safety-check"),
    ("upgrade-sql", "upgrade --sql base:dca7"),
    ("config-show", "config show --all"),
    ("config-show-set", "config show"),
    ("config-schema", "config schema"),
    ("schema", "schema status"),
    ("dev-status", "dev status"),
    ("error-usage", "upgrade nonsense"),
    ("error-unconfirmed", "downgrade -d main -- -1"),
]
PROJECT = [
    ("revision", "revision -m text -d main --rev-id m3"),
    ("rebase", "rebase m3b --dry-run"),
    ("merge", "merge --rev-id m4"),
    ("merge-nothing", "merge"),
    ("squash", "squash m1:m2 -d main --rev-id s5"),
    ("error-tree", "upgrade"),
    ("adopt", "adopt"),
]
# They start, stop or replace processes; their results are those of `dev status` and of `check`.
# `help` writes text only, and `serve` does not end.
WITHOUT_SNAPSHOT = {"help", "serve", "dev start", "dev stop", "dev psql", "dev reset", "dev snapshots"}


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every command, without groups."""
    command = command or typer.main.get_command(app)
    if not hasattr(command, "list_commands"):
        yield path
        return
    for name in command.list_commands(None):
        yield from commands(command.get_command(None, name), (*path, name))


COMMANDS = sorted(" ".join(words) for words in commands())


class Normalised:
    """A function that replaces values that differ between runs and machines by names."""

    def __init__(self, folder: Path, databases: Databases | None = None) -> None:
        names = databases.names if databases else {}
        socket = re.search(r"host=([^&]*)", databases.server.admin_url) if databases else None
        self._texts = {
            str(ROOT): "ROOT",
            str(folder): "WORK",
            **{name: key for key, name in names.items()},
            **({socket[1]: "SOCKET"} if socket else {}),
        }

    def __call__(self, value: Any, key: str = "") -> Any:  # noqa: PLR0911 - a case each
        match value:
            case dict() if key in ("compared", "objects"):
                return "COUNTS"  # a newer server has more of some kinds
            case dict() if key == "relations":
                return sorted(value)  # sizes, which are estimates
            case dict():
                return {name: self(item, name) for name, item in value.items()}
            case list():
                # This note appears if there is no scratch server of the databases' version.
                return [self(item) for item in value if "because no server of version" not in str(item)]
            case float():
                return "SECONDS"
            case str():
                return self._text(value, key)
        varies = key in ("pid", "server_version_num", "bytes", "database_bytes") and value is not None
        return f"<{key}>" if varies else value

    def _text(self, text: str, key: str) -> str:
        if key in (
            "by",
            "fingerprint",
            "role",
            "db_role",
            "host",
            "user",
            "os_user",
            "account",
            "server_version",
            "dump_version",
            "folder",
            "started_by",
        ):
            return f"<{key}>"
        for original, name in self._texts.items():
            text = text.replace(original, name)
        text = re.sub(r"\S+@\S+ \(role \S+\)", "WHO", text)
        text = text.replace(", MAINTAIN", "")  # a privilege since PostgreSQL 17
        text = re.sub(r"\b[0-9a-f]{64}\b", "CHECKSUM", text)
        text = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b", "RUN", text)
        text = re.sub(r"\bpostgres(ql)?(\+asyncpg)?://[^\s…\"]+", "URL", text)
        text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*([+-]\d\d:?\d\d|Z)?", "TIME", text)
        return re.sub(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])", "VERSION", text)


def compare(line: str, name: str, normalised: Normalised) -> str | None:
    """Run a command and compare its JSON with the snapshot. Returns the problem, or None."""
    answer = invoke(
        [*line.replace(" -- ", " --format json -- ").split()]
        + ([] if " -- " in line else ["--format", "json"])
    )
    try:
        output = json.loads(answer.stdout)
    except json.JSONDecodeError:
        return f"{name}: stdout is not one JSON document:\n{answer.everything}"
    if (output["exit_code"], output["ok"]) != (answer.status, answer.status == 0):
        return f"{name}: exit_code and ok contradict the exit status {answer.status}"
    if output["ok"] != (output["error"] is None) and not output.get("findings"):
        return f"{name}: ok and error contradict each other, and no finding explains it"
    text = json.dumps(normalised(output), indent=2, ensure_ascii=False) + "\n"
    path = SNAPSHOTS / f"{name}.json"
    if UPDATE:
        path.write_text(text, encoding="utf-8")
    expected = path.read_text(encoding="utf-8") if path.exists() else ""
    return None if text == expected else f"{name}: not as in {path.name}:\n{text}"


@pytest.mark.thorough
def test_json_of_the_packages_own_trees(
    empty_databases: Databases, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    normalised, wrong = Normalised(workdir, empty_databases), []
    for name, line in PACKAGE:
        if name == "downgrade-dry-run":  # losses are sought where there is data
            run(execute(empty_databases, "main", "SELECT lo_create(1)"))
        wrong.append(compare(line, name, normalised))
        if name == "downgrade-dry-run":
            run(execute(empty_databases, "main", "SELECT lo_unlink(1)"))
    assert [problem for problem in wrong if problem] == []


def test_json_of_a_project(project_folder: Path) -> None:
    project = Project(project_folder)
    project.write_settings()
    project.revision("main", "m1", None, "pass", "pass")
    project.revision("main", "m2", "m1", "pass", "pass")
    project.revision("credentials", "c1", None, "pass", "pass")
    normalised = Normalised(project_folder)
    wrong = [compare(*PROJECT[0][::-1], normalised)]
    project.revision("main", "m3b", "m2", "pass", "pass")
    wrong += [compare(line, name, normalised) for name, line in PROJECT[1:5]]
    (project.versions("main") / "broken.py").write_text("def upgrade(:\n", encoding="utf-8")
    project.write("alembic.ini", "[alembic]\nscript_location = migrations/main\n")
    wrong += [compare(line, name, normalised) for name, line in PROJECT[5:]]
    assert [problem for problem in wrong if problem] == []


def test_every_command_has_a_snapshot() -> None:
    lines = [line for _, line in (*PACKAGE, *PROJECT)]
    missing = [
        command for command in COMMANDS if not any(f"{line} ".startswith(f"{command} ") for line in lines)
    ]
    assert set(missing) == WITHOUT_SNAPSHOT


def test_every_snapshot_belongs_to_a_command() -> None:
    assert {path.stem for path in SNAPSHOTS.glob("*.json")} == {name for name, _ in (*PACKAGE, *PROJECT)}


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize("name", ["", "backup", "config", "dev", *COMMANDS])
def test_help_page(name: str) -> None:
    page = invoke([*name.split(), "--help"])
    assert page.status == 0
    assert page.stderr == ""
    assert f"Usage: circle-migrate {name}".rstrip() in page.stdout
    assert invoke([*name.split(), "-h"]).stdout == page.stdout


@pytest.mark.usefixtures("workdir")
def test_every_help_page_is_as_in_its_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages of all commands and groups, 80 columns wide, as a pipe receives them."""
    monkeypatch.setenv("COLUMNS", "80")
    names = ["", "backup", "config", "dev", "kept", *COMMANDS]
    pages = [invoke([*name.split(), "--help"]).stdout.strip("\n") for name in names]
    text = f"\n\n{'-' * 80}\n\n".join(pages) + "\n"
    path = SNAPSHOTS / "help.txt"
    if UPDATE:
        path.write_text(text, encoding="utf-8")
    assert text.splitlines() == path.read_text(encoding="utf-8").splitlines()
    assert max(map(len, text.splitlines())) <= 80
    panels = ["Arguments", "Options", "Safety", "Run", "Connection", "Output"]
    for page in pages[5:]:
        titles = re.findall(r"^(\w+):$", page, re.MULTILINE)
        assert titles == [name for name in [*panels, "Examples"] if name in titles]


@pytest.mark.usefixtures("workdir")
def test_help_page_has_examples_environment_and_exit_status() -> None:
    page = invoke(["--help"]).stdout
    for text in ("Examples", "Environment", "DATABASE_URL", "CREDS_DATABASE_URL", "NO_COLOR", "Exit status"):
        assert text in page
    for line in re.findall(r"circle-migrate .*?(?= #|$)", page, re.MULTILINE):
        words = line.replace('"', " ").split()[1:]
        if words and words[0] in COMMANDS:
            answer = invoke([*words, "--help"])
            assert answer.status == 0, line


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize(
    ("line", "page"),
    [("help", "--help"), ("help upgrade", "upgrade --help"), ("help kept list", "kept list --help")],
)
def test_help_of_a_command_is_its_page(line: str, page: str) -> None:
    answer = invoke(line.split())
    assert answer.status == 0
    assert answer.stdout == invoke(page.split()).stdout


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize(
    ("line", "same"),
    [
        ("--format json heads", "heads --format json"),
        ("-d main -q heads -d credentials", "heads -q -d main -d credentials"),
        ("--format=json -dmain -v config show", "config show --format=json -dmain -v"),
        ("--debug --format json show f4e7 c4b0", "show f4e7 c4b0 --debug --format json"),
        ("-q help heads", "heads --help"),
        ("-d main schema heads", "schema heads -d main"),
        ("--format xml heads", "heads --format xml"),
        ("-d nowhere heads", "heads -d nowhere"),
    ],
)
def test_options_of_every_command_can_stand_before_it(line: str, same: str) -> None:
    answer, expected = invoke(line.split()), invoke(same.split())
    assert (answer.status, answer.stdout) == (expected.status, expected.stdout)
    if " xml " not in line:
        assert answer.stderr == expected.stderr


@pytest.mark.parametrize(
    ("line", "variable", "colours"),
    [
        ("heads", None, False),
        pytest.param("heads --color always", None, True, marks=pytest.mark.thorough),
        ("--color always heads", "NO_COLOR", True),
        ("heads --color never", "FORCE_COLOR", False),
        pytest.param("--color auto heads", "FORCE_COLOR", True, marks=pytest.mark.thorough),
        ("--color=always --help", None, True),
        ("heads --color never -h", "FORCE_COLOR", False),
    ],
)
def test_color_precedes_the_environment(cli: Cli, line: str, variable: str | None, *, colours: bool) -> None:
    answer = cli(*line.split(), env={variable: "1"} if variable else {})
    assert answer.returncode == 0
    assert ("\x1b[" in answer.stdout) is colours


@pytest.mark.usefixtures("workdir")
def test_help_explains_every_exit_status() -> None:
    lines = invoke(["help", "exit-codes"]).stdout.splitlines()
    assert lines == [f"{status:>3}  {status.meaning}" for status in sorted(ExitCode)]
    assert max(map(len, lines)) <= 80
    page = " ".join(invoke(["--help"]).stdout.split())
    assert all(f"{status} {status.meaning.partition(':')[0]}" in page for status in ExitCode)
    assert invoke(["help", "upgrad"]).stderr.startswith("error: no such command 'upgrad'. Did you mean")


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize("line", ["downgrade -1", "downgrade -d main -2 --yes", "stamp -1 --dry-run"])
def test_steps_down_are_targets_not_options(line: str) -> None:
    """Without a URL the settings are wrong, not the command line."""
    answer = invoke(line.split())
    assert answer.status == 2
    assert "DATABASE_URL" in answer.stderr
    assert "No such option" not in answer.stderr


@pytest.mark.usefixtures("workdir")
def test_version() -> None:
    assert invoke(["--version"]).stdout == f"circle-migrate {__version__}\n"
