"""A baseline: findings there were before anybody looked, kept in a file so that only new ones are reported.

A finding is known by its hazard, revision, statement and subject, wherever the statement stands in its file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from circle_migrate import __version__
from circle_migrate.core.errors import UsageError
from circle_migrate.safety.result import HazardFinding

_FORM = 1
_KIND = "circle-migrate safety baseline"


def write(path: Path, findings: Iterable[HazardFinding]) -> None:
    """Write the findings, the same bytes for the same ones. Raises `UsageError` for a bad place."""
    entries = {
        finding.fingerprint: {
            "fingerprint": finding.fingerprint,
            "hazard": finding.rule,
            "database": finding.database,
            "revision": finding.revision,
            "subject": finding.subject,
        }
        for finding in findings
    }
    content = {
        "kind": _KIND,
        "format": _FORM,
        "tool": __version__,
        "findings": [entries[key] for key in sorted(entries)],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written", detail=error.strerror, hint="name another place"
        ) from error


def read(path: Path) -> frozenset[str]:
    """The fingerprints in a file. Raises `UsageError` for one that is missing, damaged or of another form."""
    hint = f"write it anew: circle-migrate safety-check --baseline {path} --write-baseline"
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        if found["kind"] != _KIND or found["format"] != _FORM:
            raise UsageError(f"{path} is a baseline of another form", hint=hint)
        return frozenset(str(each["fingerprint"]) for each in found["findings"])
    except OSError as error:
        raise UsageError(f"{path} cannot be read", detail=error.strerror, hint=hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no baseline", detail=repr(error), hint=hint) from error
