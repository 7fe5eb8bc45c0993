"""Diagrams as SVG, drawn by Graphviz from the DOT graph."""

from __future__ import annotations

import subprocess

from circle_migrate.commands.graph.dot import dot
from circle_migrate.commands.graph.drawing import Diagram
from circle_migrate.core.errors import UsageError


def svg(diagram: Diagram) -> str:
    """Convert the DOT graph with `dot -Tsvg`.

    Raises:
        UsageError: `dot` is not on PATH, or it fails.
    """
    try:
        process = subprocess.run(
            ["dot", "-Tsvg"],  # noqa: S607 - the user's own Graphviz
            input=dot(diagram),
            capture_output=True,
            check=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C interrupts this process, which then kills dot
        )
    except OSError as error:
        raise UsageError(
            "SVG needs Graphviz's `dot`, which cannot be started",
            detail=error.strerror,
            hint="install Graphviz (apt install graphviz, brew install graphviz), or use --as mermaid or dot",
        ) from error
    except subprocess.CalledProcessError as error:
        raise UsageError(
            f"Graphviz's `dot` ended with status {error.returncode}",
            detail=error.stderr.strip(),
            hint="use --as mermaid or dot",
        ) from error
    return process.stdout
