"""`graph`: diagrams of revisions and tables. The command line imports the formats at start-up."""

from enum import StrEnum


class DiagramFormat(StrEnum):
    """A text format of diagrams."""

    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"
