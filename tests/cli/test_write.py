"""Everything that a command writes to stderr passes through redaction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from circle_migrate.cli import write
from circle_migrate.cli.boundary import run_command
from circle_migrate.cli.confirm import confirm_reset
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import Format
from circle_migrate.cli.progress import Progress
from circle_migrate.core import redaction
from circle_migrate.core.errors import Refused
from circle_migrate.core.events import Event, EventKind
from circle_migrate.core.result import Result

SECRET = "Sesame 7"
TEXT = f"the password is {SECRET}"


def refuse(_progress: Progress) -> None:
    raise Refused(TEXT, detail=TEXT, state=TEXT, hint=TEXT, location=TEXT)


def fail(_progress: Progress) -> None:
    raise ValueError(TEXT)


def warn(progress: Progress) -> None:
    progress.warn(TEXT)


def say(progress: Progress) -> None:
    progress.say(TEXT)


def finish_step(progress: Progress) -> None:
    progress(Event(EventKind.DONE, "main", TEXT))
    progress.say(TEXT)


def ask(_progress: Progress) -> None:
    confirm_reset(TEXT, yes=True)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("action", [refuse, fail, warn, say, finish_step, ask])
def test_stderr_has_no_secret(
    action: Callable[[Progress], None],
    debug: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(redaction, "_secrets", {SECRET})
    progress = Progress(quiet=False)

    def run() -> Result:
        action(progress)
        raise typer.Exit

    with pytest.raises(typer.Exit):
        run_command(CommandContext("upgrade", None, {}, Format.TABLE, progress, debug), run)
    progress.stop()
    stderr = capsys.readouterr().err
    assert ("Traceback" in stderr) is (debug and action in (refuse, fail))
    assert f"the password is {redaction.MASK}" in stderr
    assert SECRET not in stderr


def test_stderr_is_written_in_one_place() -> None:
    """Progress has views of its own, and the loss report a console; both redact what they print."""
    modules = Path(write.__file__).parent.rglob("*.py")
    names = {path.name for path in modules if "sys.stderr" in path.read_text(encoding="utf-8")}
    assert names == {"write.py", "progress.py", "streams.py", "confirm.py"}
