"""A linter's opinion of the statements of a plan, from the squawk binary of the `safety` extra.

squawk reads each transaction as a whole, with its BEGIN and COMMIT: it knows tables born in it, and what a
transaction forbids. Its output format is documented nowhere; the facts here were measured with 2.70: lines
and columns count from 0, columns are bytes of UTF-8, the exit status is 1 where anything was found, and a
syntax error hides every other finding of its input.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from circle_migrate.core.squawk_rules import SQUAWK_RULES, SquawkFinding, SquawkRule, Use
from circle_migrate.core.traces import Traced

MOST_SECONDS = 20.0
"""For all texts together; one takes about ten milliseconds."""

_TIMEOUTS = "SET lock_timeout = '4s';\nSET statement_timeout = '1h';\n"
_SYNTAX_ERROR = "syntax-error"
_LINE_END = re.compile(r"\r\n?")  # squawk counts each of them as one line
_UNNAMED_BY_QUERIES = re.compile(r"^\s*ALTER\s+INDEX\b|\bRENAME\s+CONSTRAINT\b", re.IGNORECASE)
_CONSTRAINTS = (
    # The kind of constraint a finding is about, and the hazard that this kind is; None where another rule
    # of squawk says it better: NOT VALID does not exist for it.
    (re.compile(r"\bFOREIGN\s+KEY\b", re.IGNORECASE), "CM009"),
    (re.compile(r"\bEXCLUDE\b", re.IGNORECASE), "CM063"),
    (re.compile(r"\bUNIQUE\b|\bPRIMARY\s+KEY\b", re.IGNORECASE), None),
)

Note = Callable[[str], None]


class _Unusable(Exception):
    """squawk did not answer; the text says why."""


def lint(
    batches: Sequence[Sequence[Traced]],
    server_version_num: int,
    note: Note = lambda _text: None,
) -> tuple[SquawkFinding, ...]:
    """What squawk finds in the statements, each batch being one transaction or statements outside of any.

    `SquawkFinding.statement` counts over all batches. Rules that are wrong or noise for Alembic are left out,
    see SQUAWK_RULES. Where squawk is not installed, fails or takes too long, `note` is told and what was
    found until then is returned.
    """
    program = find()
    if program is None:
        note("squawk is not installed, so its opinion is missing: pip install 'circle-migrate[safety]'")
        return ()
    squawk = _Squawk(program, server_version_num, time.monotonic() + MOST_SECONDS)
    findings: list[SquawkFinding] = []
    first = 0
    try:
        for batch in batches:
            findings += _lint_batch(squawk, batch, first)
            first += len(batch)
    except _Unusable as problem:
        note(f"squawk's opinion is incomplete: {problem}")
    return tuple(sorted(findings, key=lambda each: (each.statement, each.line)))


def find() -> str | None:
    """The squawk binary: beside this Python's own programs, or on PATH."""
    folders = (sysconfig.get_path("scripts"), os.environ.get("PATH"))
    return shutil.which("squawk", path=os.pathsep.join(filter(None, folders)))


@dataclass(frozen=True, slots=True)
class _Squawk:
    """The binary with the options that are the same for every text."""

    program: str
    server_version_num: int
    deadline: float

    def read(self, text: str) -> list[dict[str, Any]]:
        """Its findings in a text. Raises `_Unusable`; never quotes the text, which may hold secrets."""
        major, minor = divmod(self.server_version_num, 10000)
        opted_in = ",".join(name for name, rule in SQUAWK_RULES.items() if rule.use is Use.OPTED_IN)
        # The null device for a configuration: a project's own would decide what is found.
        options = ["--reporter", "json", "--config", os.devnull, "--include", opted_in]
        try:
            done = subprocess.run(
                [self.program, *options, "--pg-version", f"{major}.{minor}"],
                input=text.encode("utf-8", "replace"),
                capture_output=True,
                timeout=max(self.deadline - time.monotonic(), 0.01),
                check=False,
            )
            answer = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            raise _Unusable(f"it took longer than {MOST_SECONDS:.0f} s") from None
        except OSError as error:
            raise _Unusable(f"{self.program} cannot be run ({error.strerror})") from None
        except ValueError:
            raise _Unusable(f"{self.program} ended with status {done.returncode}, without findings") from None
        return list(answer)


@dataclass(frozen=True, slots=True)
class _Text:
    """Statements as one text, each on lines of its own: `starts` has the first line of each, from 0."""

    text: str
    starts: tuple[int, ...]

    @classmethod
    def of(cls, statements: Sequence[str], *, transactional: bool) -> _Text:
        """The statements between BEGIN and COMMIT, or as they are."""
        begin, commit = ("BEGIN;\n", "COMMIT;\n") if transactional else ("", "")
        parts = [_TIMEOUTS + begin]
        starts, line = [], parts[0].count("\n")
        for statement in statements:
            # A line of its own for the semicolon, as the statement may end in a comment.
            parts.append(_LINE_END.sub("\n", statement).rstrip("; \t\n") + "\n;\n")
            starts.append(line)
            line += parts[-1].count("\n")
        return cls("".join(parts) + commit, tuple(starts))

    def locate(self, line: int) -> tuple[int, int]:
        """The statement on a line, and which of its lines that is, from 1."""
        statement = max(bisect_right(self.starts, line) - 1, 0)
        return statement, line - self.starts[statement] + 1

    def span(self, found: dict[str, Any]) -> str:
        """What a finding points at."""
        lines = self.text.encode().split(b"\n")[found["line"] : found["line_end"] + 1]
        lines[-1] = lines[-1][: found["column_end"]]
        lines[0] = lines[0][found["column"] :]
        return b"\n".join(lines).decode(errors="replace")


def _lint_batch(squawk: _Squawk, batch: Sequence[Traced], first: int) -> Iterator[SquawkFinding]:
    """The findings of one batch; statements that squawk cannot read are left out until it reads the rest."""
    transactional = all(statement.transactional for statement in batch)
    left = list(range(len(batch)))
    while left:
        text = _Text.of([batch[index].sql for index in left], transactional=transactional)
        located = [(*text.locate(found["line"]), found) for found in squawk.read(text.text)]
        errors = {at: (at, line, found) for at, line, found in located if found["rule_name"] == _SYNTAX_ERROR}
        for at, line, found in errors.values() or located:
            judged = _judged(found, text.span(found), batch[left[at]].sql)
            if judged is not None:
                yield replace(judged, statement=first + left[at], line=line)
        if not errors:
            return
        left = [index for at, index in enumerate(left) if at not in errors]


def _judged(found: dict[str, Any], span: str, sql: str) -> SquawkFinding | None:
    """The finding with the hazard it speaks of; None where it is known to be wrong or noise."""
    name = found["rule_name"]
    rule = SQUAWK_RULES.get(name, SquawkRule(name, None))
    hazard, advice = rule.hazard, found["help"]
    if rule.use is Use.OFF or (name == "renaming-object" and _UNNAMED_BY_QUERIES.search(sql)):
        return None
    if name == "constraint-missing-not-valid":
        hazard = next((hazard for kind, hazard in _CONSTRAINTS if kind.search(span)), hazard)
        if hazard is None:
            return None
        advice = None if hazard == "CM063" else advice
    static = rule.use is Use.ONLY_STATIC
    return SquawkFinding(name, found["message"], advice, hazard, only_static=static)
