"""Progress on a terminal: where every database stands, drawn anew below the lines of what is done."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from rich import live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from circle_migrate.cli.progress_lines import STYLES, activity, line, printable
from circle_migrate.cli.progress_state import DatabaseProgress, RunProgress
from circle_migrate.core.events import Event, Kind

if TYPE_CHECKING:
    from rich.console import Console

_PER_SECOND = 8
_BAR = 16


class Live:
    """A row per database with what is done, what runs and what is to come; drawn by a thread of its own."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self._standings = RunProgress()
        self._lock = threading.Lock()
        self._live = live.Live(
            console=screen,
            get_renderable=self._table,
            refresh_per_second=_PER_SECOND,
            transient=True,
            # What a revision prints goes where it belongs: above the view only where both are one terminal.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._live.start()

    def show(self, event: Event) -> None:
        """Follow the event; what is done scrolls away above."""
        with self._lock:
            news = self._standings.take(event)
        text = line(event)
        if text is not None and news:
            self._print(text, STYLES.get(event.kind, ""))

    def say(self, text: str) -> None:
        """Write a line above."""
        self._print(text)

    def stop(self) -> None:
        """Wipe the view away and show the cursor again."""
        self._live.stop()

    def _print(self, text: str, style: str = "") -> None:
        self._screen.print(printable(text), style=style, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(width=_BAR)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        with self._lock:
            for name, standing in self._standings.databases.items():
                self._add(table, name, standing)
        return table

    def _add(self, table: Table, name: str, standing: DatabaseProgress) -> None:
        done, total = len(standing.done), len(standing.steps)
        words, doing = _words(standing), activity(standing)
        if standing.kind is Kind.READING:
            (done, total), words, doing = standing.share, Text(printable(doing)), ""
        seconds = f"{self._standings.elapsed(standing):.0f} s" if standing.running else ""
        if total:
            bar = ProgressBar(total, done, _BAR, complete_style="cyan", finished_style="green")
            table.add_row(name, bar, f"{done:,}/{total:,}", seconds, words)
        else:
            table.add_row(name, "", "", seconds, words)
        if doing:
            table.add_row("", "", "", "", Text(printable(doing), STYLES.get(standing.kind, "")))


def _words(standing: DatabaseProgress) -> Text:
    if standing.running:
        return Text(printable(standing.running))
    if standing.next:
        return Text(f"to come: {printable(standing.next)}", "dim")
    if not standing.steps:
        return Text("")
    if standing.committed == len(standing.steps):
        return Text("committed", "green")
    return Text("done, not committed yet", "dim")
