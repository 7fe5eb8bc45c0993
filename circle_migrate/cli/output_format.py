"""Output formats and which commands have them."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """A format in which a result is written to stdout."""

    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"
    SARIF = "sarif"
    GITHUB = "github"
    GITLAB = "gitlab"
    SQL = "sql"
    ALEMBIC = "alembic"
    PATCH = "patch"
    MARKDOWN = "markdown"


ANY_RESULT = (Format.TABLE, Format.JSON)
CHECKS = (*ANY_RESULT, Format.JUNIT, Format.SARIF, Format.GITHUB, Format.GITLAB)
COMPARISONS = (*CHECKS, Format.SQL, Format.ALEMBIC, Format.PATCH)
LOSSES = (*ANY_RESULT, Format.MARKDOWN)
SAFETY = (*CHECKS, Format.MARKDOWN)
