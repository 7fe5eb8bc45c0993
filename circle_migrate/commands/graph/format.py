"""The forms of a drawing; apart from the drawings, so that the command line need not import those."""

from __future__ import annotations

from enum import StrEnum


class DiagramFormat(StrEnum):
    """How a drawing can be written."""

    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"
