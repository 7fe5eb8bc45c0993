"""Formats of a diagram, in a module of their own because the command line imports it at start-up."""

from enum import StrEnum


class DiagramFormat(StrEnum):
    """A text format of diagrams."""

    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"
