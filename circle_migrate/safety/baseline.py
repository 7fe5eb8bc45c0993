"""Read and write baselines: files of known findings, so that only new ones are reported.

A finding is identified by its hazard, revision, statement and subject, not by its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from circle_migrate import __version__
from circle_migrate.core.atomic_write import write_text
from circle_migrate.core.errors import UsageError
from circle_migrate.core.json_file import parse_json, read_bounded
from circle_migrate.safety.result import HazardFinding

_FORMAT = 1
_KIND = "circle-migrate safety baseline"


def write(path: Path, findings: Iterable[HazardFinding]) -> None:
    """Write the findings, sorted. Raises `UsageError` if the file cannot be written."""
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
        "format": _FORMAT,
        "tool": __version__,
        "findings": [entries[key] for key in sorted(entries)],
    }
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    write_text(path, text, hint="choose another file with --baseline", make_folders=True)


def read(path: Path) -> frozenset[str]:
    """Return the fingerprints in a file. Raises `UsageError` if it cannot be read or is no baseline."""
    hint = f"write it again: circle-migrate safety-check --baseline {path} --write-baseline"
    try:
        content: Any = parse_json(read_bounded(path))
        if content["kind"] != _KIND or content["format"] != _FORMAT:
            raise UsageError(f"{path} is a baseline of another format", hint=hint)
        return frozenset(str(finding["fingerprint"]) for finding in content["findings"])
    except OSError as error:
        raise UsageError(f"{path} cannot be read", detail=error.strerror, hint=hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not a baseline", detail=f"{type(error).__name__}: {error}", hint=hint
        ) from error
