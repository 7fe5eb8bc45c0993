"""Progress: a live view on a terminal, lines in a log, and nothing with --quiet."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from circle_migrate.cli.progress_lines import Lines, View
from circle_migrate.cli.write import console
from circle_migrate.core.events import Event, EventKind
from tests.cli.terminal import HIDE_CURSOR, SHOW_CURSOR, Piped, Terminal, screen
from tests.deployments import environment
from tests.fork_server import Forked
from tests.projects import Project
from tests.servers import Databases, run

_ROOT = Path(__file__).parent.parent.parent
_STEP = re.compile(r"\[(\d+)/\d+\] (main|credentials)  upgrade \w+ .+  \d+\.\d\d s")
_COLOUR = re.compile(r"\x1b\[[\d;]*3\dm")


def _retry(number: int) -> list[Event]:
    return [Event(EventKind.RETRY, "credentials", "rolled back, attempt 2 in 0.2 s", number, 3)]


@pytest.fixture
def quick(workdir: Path) -> Project:
    """A step in each database."""
    project = Project(workdir)
    project.write_settings()
    project.revision("main", "a1", None, "op.execute('CREATE TABLE orders (id int)')", "pass")
    project.revision("credentials", "b1", None, "op.execute('CREATE TABLE secrets (id int)')", "pass")
    return project


@pytest.fixture
def slow(workdir: Path) -> Project:
    """A fast step, then a step on credentials that takes longer than any test."""
    project = Project(workdir)
    project.write_settings()
    project.revision("main", "a1", None, "op.execute('CREATE TABLE orders (id int)')", "pass")
    project.revision("credentials", "b1", None, "op.execute('SELECT pg_sleep(300)')", "pass")
    return project


@pytest.fixture
def contended(workdir: Path) -> Project:
    """A step on a table that another session can lock."""
    project = Project(workdir)
    project.write_settings()
    project.revision("main", "a1", None, "op.execute('CREATE TABLE orders (id int)')", "pass")
    project.revision("main", "a2", "a1", "op.execute('ALTER TABLE secrets ADD COLUMN note text')", "pass")
    return project


def steps(lines: list[str]) -> list[int]:
    """Return the numbers of the steps in the lines, in order."""
    return [int(match[1]) for line in lines if (match := _STEP.fullmatch(line))]


def test_terminal_shows_every_database_and_leaves_one_line_per_step(empty_databases: Databases) -> None:
    terminal = Terminal("upgrade", env=environment(empty_databases))
    assert terminal.end() == 0
    view, _, result = terminal.written.rpartition(SHOW_CURSOR)
    assert re.search(r"main .* \d+/16 ", view)
    assert re.search(r"credentials.* 0/8 .*next: upgrade 1e978f7e8aa5", view)
    assert "committed" in view
    assert "main: base -> b4fcf60d8659, 16 steps" in result
    seen = screen(terminal.written)
    assert steps(seen) == list(range(1, 24))  # the line of the last one is too long
    assert seen[23].startswith("[24/24] ")
    assert re.fullmatch(r"\d+\.\d\d s", seen[24])
    assert not [line for line in seen if "/16 " in line or "next: " in line or "committed" in line]


@pytest.mark.parametrize(
    ("signals", "statuses", "text"),
    [
        ([signal.SIGINT], {130}, "error: interrupted"),
        pytest.param([signal.SIGTERM], {143}, "error: interrupted", marks=pytest.mark.thorough),
        pytest.param([signal.SIGHUP], {129}, "error: interrupted", marks=pytest.mark.thorough),
        # The kernel does not keep two pending signals in order.
        ([signal.SIGINT, signal.SIGTERM], {130, 143}, "stopped at once"),
    ],
)
def test_interrupted_run_restores_the_terminal_before_its_error(
    slow: Project, empty_databases: Databases, signals: list[int], statuses: set[int], text: str
) -> None:
    terminal = Terminal("upgrade", env=environment(empty_databases))
    terminal.until(lambda text: re.search(r"credentials.*0/1.* s upgrade b1", text) is not None)
    for number in signals:
        terminal.process.send_signal(number)
    assert terminal.end() in statuses
    assert terminal.written.rindex(SHOW_CURSOR) < terminal.written.index(text)
    seen = screen(terminal.written)
    assert any(line.startswith("[1/2] main  upgrade a1") for line in seen)
    assert not [line for line in seen if "0/1" in line]


def test_failed_step_restores_the_terminal_before_its_error(
    slow: Project, empty_databases: Databases
) -> None:
    slow.revision("credentials", "b1", None, "op.execute('SELECT 1/0 FROM pg_sleep(0.5)')", "pass")
    terminal = Terminal("upgrade", env=environment(empty_databases))
    assert terminal.end() == 10
    assert HIDE_CURSOR in terminal.written
    assert terminal.written.rindex(SHOW_CURSOR) < terminal.written.index("error: credentials: upgrade b1")
    assert not [line for line in screen(terminal.written) if "0/1" in line]


@pytest.mark.parametrize("on_terminal", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_waiting_step_names_the_blocker_and_the_time_of_the_retry(
    contended: Project, empty_databases: Databases, on_terminal: bool
) -> None:
    async def scenario() -> tuple[int, str]:
        async with empty_databases.connect("main") as session:
            await session.execute("CREATE TABLE secrets ()")
            await session.execute("BEGIN; LOCK TABLE secrets")
            arguments = ("upgrade", "--lock-timeout", "1.5")
            started = Terminal if on_terminal else Piped
            command = started(*arguments, env=environment(empty_databases))
            await asyncio.to_thread(command.until, lambda text: "retry rolled back" in text)
            pid = session.get_server_pid()
            await session.execute("ROLLBACK")
        assert await asyncio.to_thread(command.end) == 0
        return pid, command.written

    pid, written = run(scenario())
    lines = screen(written) if on_terminal else written.splitlines()
    waiting = [line for line in lines if line.startswith(f"main  waiting for pid {pid} (")]
    retries = [line for line in lines if line.startswith("main  retry rolled back, attempt 2 in ")]
    assert retries
    assert len(waiting) <= len([line for line in lines if " retry " in line])
    assert waiting
    assert "LOCK TABLE secrets" in " ".join(lines)  # a line wraps on the terminal
    assert [line[:5] for line in lines if "upgrade a1" in line] == ["[1/2]"] * (len(retries) + 1)


@pytest.mark.thorough
def test_terminal_shows_the_progress_of_an_index_build(
    contended: Project, empty_databases: Databases
) -> None:
    contended.revision("main", "a2", "a1", "op.execute('CREATE INDEX slow ON orders (slowly(id))')", "pass")
    contended.revision("main", "a1", None, "pass", "pass")

    async def fill() -> None:
        async with empty_databases.connect("main") as connection:
            await connection.execute(
                "CREATE TABLE orders AS SELECT generate_series(1, 15) AS id; "
                "CREATE FUNCTION slowly(int) RETURNS int IMMUTABLE LANGUAGE plpgsql "
                "AS 'BEGIN PERFORM pg_sleep(0.1); RETURN $1; END'"
            )

    run(fill())
    terminal = Terminal("upgrade", env=environment(empty_databases))
    assert terminal.end() == 0
    assert "building the index: building index: scanning table" in terminal.written
    assert not [line for line in screen(terminal.written) if "building" in line]


@pytest.mark.usefixtures("quick")
def test_log_has_one_line_per_step_and_no_control_characters(empty_databases: Databases) -> None:
    upgrade = Forked("upgrade", env=environment(empty_databases))
    stderr = upgrade.communicate()[1]
    assert upgrade.returncode == 0
    lines = stderr.splitlines()
    assert steps(lines) == [1, 2]
    # Other tests use the same server and can lock shared objects for a moment.
    assert [line for line in lines if not _STEP.fullmatch(line) and " waiting for " not in line] == []
    assert [character for character in stderr if not character.isprintable() and character != "\n"] == []


@pytest.mark.usefixtures("quick")
def test_no_progress_hides_steps_but_no_notes(empty_databases: Databases) -> None:
    hidden = Forked("upgrade", "--no-progress", "-v", env=environment(empty_databases))
    stderr = hidden.communicate()[1]
    assert hidden.returncode == 0
    assert steps(stderr.splitlines()) == []
    assert "Running upgrade" in stderr


@pytest.mark.usefixtures("quick")
def test_quiet_silences_it(empty_databases: Databases) -> None:
    quiet = Forked("upgrade", "--quiet", env=environment(empty_databases))
    assert quiet.communicate()[1] == ""
    assert quiet.returncode == 0


@pytest.mark.usefixtures("workdir")
def test_nothing_pending_shows_nothing(migrated_databases: Databases) -> None:
    idle = Forked("upgrade", env=environment(migrated_databases))
    assert idle.communicate()[1] == ""
    assert idle.returncode == 0


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("variables", "term", "live", "colour"),
    [
        ({}, "xterm", True, True),
        ({"NO_COLOR": "1"}, "xterm", True, False),
        ({"TTY_INTERACTIVE": "0"}, "xterm", False, True),
        ({}, "dumb", False, False),
    ],
)
def test_view_depends_on_the_terminal(
    empty_databases: Databases, variables: dict[str, str], term: str, live: bool, colour: bool
) -> None:
    terminal = Terminal("upgrade", env={**environment(empty_databases), **variables}, term=term)
    assert terminal.end() == 0
    assert (HIDE_CURSOR in terminal.written) is live
    assert bool(_COLOUR.search(terminal.written)) is colour
    begun = (line.partition("/24] ")[0] for line in screen(terminal.written) if "/24] " in line)
    assert list(begun) == [f"[{number}" for number in range(1, 25)]


def test_forced_colour_moves_no_cursor_in_a_pipe(contended: Project, empty_databases: Databases) -> None:
    async def scenario() -> str:
        async with empty_databases.connect("main") as session:
            await session.execute("CREATE TABLE secrets ()")
            await session.execute("BEGIN; LOCK TABLE secrets")
            command = Piped("upgrade", env={**environment(empty_databases), "FORCE_COLOR": "1"})
            await asyncio.to_thread(command.until, lambda text: "waiting for" in text)
            await session.execute("ROLLBACK")
        assert await asyncio.to_thread(command.end) == 0
        return command.written

    written = run(scenario())
    assert _COLOUR.search(written)
    assert not re.search(r"\x1b(?!\[[\d;]*m)|\r", written)


@pytest.mark.parametrize(
    ("command", "closed", "status"),
    [("heads", (0, 2), 0), ("heads", (0, 1, 2), 2), ("nonsense", (0, 1, 2), 2)],
)
def test_closed_streams(workdir: Path, command: str, closed: tuple[int, ...], status: int) -> None:
    """A result that cannot be written is an error, also where its message cannot be written either."""

    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    done = subprocess.run(
        [sys.executable, "-m", "circle_migrate", command],
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        preexec_fn=close,
        check=False,
    )
    assert done.returncode == status


@pytest.mark.usefixtures("quick")
def test_closed_pipe_does_not_stop_the_run(empty_databases: Databases) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "circle_migrate", "upgrade"],
        stdout=subprocess.PIPE,
        stderr=writing,
        env={**os.environ, "PYTHONPATH": str(_ROOT), **environment(empty_databases)},
        check=False,
        text=True,
    )
    os.close(writing)
    assert done.returncode == 0
    assert "main: base -> a1, 1 step" in done.stdout


def test_heartbeat_repeats_the_running_step_and_its_blocker() -> None:
    log = StringIO()
    lines = Lines(console(log), heartbeat=0.01)
    lines.show(Event(EventKind.STARTED, "main", "upgrade a1", 1, 1))
    _until(lambda: "running for" in log.getvalue())
    assert log.getvalue().splitlines()[0] == "main  upgrade a1  running for 0 s"
    lines.show(Event(EventKind.BUILDING, "main", "the index: scanning, 3 of 9 blocks"))
    _until(lambda: "s, building the index: scanning, 3 of 9 blocks" in log.getvalue())
    lines.show(Event(EventKind.DONE, "main", "upgrade a1", 1, 1, 0.5))
    lines.stop()
    assert log.getvalue().splitlines()[-1] == "[1/1] main  upgrade a1  0.50 s"


def test_heartbeat_is_silent_without_a_running_step_and_after_its_end() -> None:
    log = StringIO()
    lines = Lines(console(log), heartbeat=0.001)
    lines.show(Event(EventKind.PLANNED, "main", "serial", steps=("upgrade a1",)))
    time.sleep(0.05)
    assert log.getvalue() == ""
    lines.stop()
    lines.show(Event(EventKind.STARTED, "main", "upgrade a1", 1, 1))
    time.sleep(0.05)
    assert log.getvalue() == ""


def test_statements_of_other_sessions_cannot_move_the_cursor() -> None:
    log = StringIO()
    Lines(console(log)).say("LOCK \x1b[2J\x07 t\n;")
    assert log.getvalue() == "LOCK \\x1b[2J\\x07 t ;\n"


_PLANNED = [
    Event(EventKind.PLANNED, "main", "serial", steps=("a1", "a2")),
    Event(EventKind.PLANNED, "credentials", "serial", steps=("b1",)),
]
_FIRST = [Event(EventKind.STARTED, "main", "a1", 1, 3), Event(EventKind.DONE, "main", "a1", 1, 3, 0.1)]
_SECOND = [
    Event(EventKind.STARTED, "credentials", "b1", 2, 3),
    Event(EventKind.DONE, "credentials", "b1", 2, 3, 0.1),
]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (_PLANNED, {"main": (0, 0, "", "a1"), "credentials": (0, 0, "", "b1")}),
        ([*_PLANNED, *_FIRST[:1]], {"main": (0, 0, "a1", "a1"), "credentials": (0, 0, "", "b1")}),
        ([*_PLANNED, *_FIRST, *_SECOND], {"main": (1, 0, "", "a2"), "credentials": (1, 0, "", "")}),
        (
            [*_PLANNED, *_FIRST, Event(EventKind.COMMITTED, "main", "segment 1"), *_SECOND, *_retry(1)],
            {"main": (1, 1, "", "a2"), "credentials": (0, 0, "", "b1")},
        ),
        (
            [*_PLANNED, *_FIRST, *_PLANNED],
            {"main": (0, 0, "", "a1"), "credentials": (0, 0, "", "b1")},
        ),
        (
            [*_PLANNED, *_FIRST, *_SECOND[:1], *_retry(0)],
            {"main": (0, 0, "", "a1"), "credentials": (0, 0, "", "b1")},
        ),
    ],
)
def test_state_follows_the_events(
    events: list[Event], expected: dict[str, tuple[int, int, str, str]]
) -> None:
    progress = View(console(StringIO()))
    for event in events:
        progress.update(event)
    state = {
        name: (len(database.done), database.committed, database.running, database.next)
        for name, database in progress.databases.items()
    }
    assert state == expected


def test_only_the_beginning_of_a_wait_is_news() -> None:
    progress = View(console(StringIO()))
    kinds = [EventKind.STARTED, EventKind.WAITING, EventKind.WAITING, EventKind.WORKING, EventKind.WAITING]
    assert [progress.update(Event(kind, "main", "x")) for kind in kinds] == [True, True, False, True, True]


def _until(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("width", [60, 80])
def test_lines_wrap_between_words_on_a_terminal(width: int) -> None:
    file = StringIO()
    view = View(Console(file=file, force_terminal=True, width=width, color_system=None))
    text = "upgrade c2a0b3d4e5f6 Add the column that has the preferred language of each customer"
    view.show(Event(EventKind.DONE, "customer_accounts", text, 2, 8, 12.34))
    words = file.getvalue().split()
    assert words == ["[2/8]", "customer_accounts", *text.split(), "12.34", "s"]
