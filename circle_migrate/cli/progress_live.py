"""Progress on a terminal: a row per database, redrawn below the lines of the finished steps."""

import threading

from rich import live
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from circle_migrate.cli.formats.sanitize import visible
from circle_migrate.cli.progress_lines import STYLES, DatabaseProgress, View
from circle_migrate.core.events import EventKind

_SECONDS = 1 / 8
"""Seconds between two redraws."""
_BAR_WIDTH = 16


class Live(View):
    """A view that shows finished, running and pending steps of each database; a thread redraws it."""

    def __init__(self, screen: Console) -> None:
        super().__init__(screen)
        self._live = live.Live(
            console=screen,
            get_renderable=self._table,
            auto_refresh=False,  # a line that rich writes during its own refresh can leave a row behind
            transient=True,
        )
        self._live.start()
        threading.Thread(target=self._redraw, name="progress", daemon=True).start()

    def stop(self) -> None:
        """Remove the view and show the cursor again."""
        with self._lock:
            super().stop()
            self._live.stop()

    def _redraw(self) -> None:
        while not self._stopped.wait(_SECONDS):
            with self._lock:
                if not self._stopped.is_set():
                    self._live.refresh()

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(width=_BAR_WIDTH)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        with self._lock:
            for name, progress in self.databases.items():
                self._add_rows(table, name, progress)
        return table

    def _add_rows(self, table: Table, name: str, progress: DatabaseProgress) -> None:
        done, total = len(progress.done), len(progress.steps)
        state, activity = _state(progress), progress.description
        if progress.kind is EventKind.READING:
            (done, total), state, activity = progress.keys_read, Text(visible(activity)), ""
        seconds = f"{progress.seconds:.0f} s" if progress.running else ""
        if total:
            bar = ProgressBar(total, done, _BAR_WIDTH, complete_style="cyan", finished_style="green")
            table.add_row(name, bar, f"{done:,}/{total:,}", seconds, state)
        else:
            table.add_row(name, "", "", seconds, state)
        if activity:
            table.add_row("", "", "", "", Text(visible(activity), STYLES.get(progress.kind, "")))


def _state(progress: DatabaseProgress) -> Text:
    if progress.running:
        return Text(visible(progress.running))
    if progress.next:
        return Text(f"next: {visible(progress.next)}", "dim")
    if not progress.steps:
        return Text("")
    if progress.committed == len(progress.steps):
        return Text("committed", "green")
    return Text("done, not committed yet", "dim")
