"""Write a diagram in one of the formats; only the module of that format is imported."""

from __future__ import annotations

from importlib import import_module

from circle_migrate.commands.graph.drawing import Diagram
from circle_migrate.commands.graph.format import DiagramFormat


def write(drawing: Diagram, form: DiagramFormat) -> str:
    """The drawing as text in this form; only the module that writes it is loaded."""
    writer = getattr(import_module(f"circle_migrate.commands.graph.{form}"), str(form))
    return str(writer(drawing))
