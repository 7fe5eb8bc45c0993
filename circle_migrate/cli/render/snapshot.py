"""Snapshots as they are, or where they were written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from circle_migrate.cli.render.widgets import write_line
from circle_migrate.commands.snapshot_result import SnapshotResult
from circle_migrate.diff.describe import counted
from circle_migrate.diff.expected.snapshot_file import Stored, encoded

if TYPE_CHECKING:
    from rich.console import Console


def snapshot_result(result: SnapshotResult, console: Console) -> None:
    """Write what a file would hold, for one database exactly that; or a line for each file there is."""
    for name, file in result.files.items():
        snapshot = result.snapshots[name]
        write_line(
            console, f"{name}: {counted({'object': len(snapshot.objects)})} of {snapshot.origin} in {file}"
        )
    if result.files:
        return
    texts = [encoded(Stored(each), compress=False).decode() for each in result.snapshots.values()]
    if len(texts) == 1:
        console.file.write(texts[0])
        return
    documents = {name: json.loads(text) for name, text in zip(result.snapshots, texts, strict=True)}
    console.file.write(json.dumps(documents, ensure_ascii=False, indent=1) + "\n")
