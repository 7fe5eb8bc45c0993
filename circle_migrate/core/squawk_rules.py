"""What squawk's rules are worth on the statements of Alembic, and which hazard each one speaks of.

squawk (https://squawkhq.com) judges text. Measured on 132 operations against what PostgreSQL 15, 16 and 18
did, some of its rules are right, some are superseded by a trace, some are artefacts or matters of style.
Rules that are not listed are kept and belong to no hazard.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Use(StrEnum):
    """When a rule's findings count."""

    ALWAYS = "always"
    ONLY_STATIC = "only where nothing was traced"
    OPTED_IN = "always, and asked for as squawk leaves it out by default"
    OFF = "never"


@dataclass(frozen=True, slots=True)
class SquawkRule:
    """One rule: the hazard it speaks of, None where there is none, and why it is used as it is."""

    name: str
    hazard: str | None
    use: Use = Use.ALWAYS
    why: str = ""


@dataclass(frozen=True, slots=True)
class SquawkFinding:
    """One finding of squawk. `statement` counts the linted statements from 0, `line` its lines from 1."""

    rule: str
    message: str
    help: str | None = None
    hazard: str | None = None
    only_static: bool = False
    statement: int = 0
    line: int = 1

    @property
    def url(self) -> str:
        """squawk's page about the rule."""
        return f"https://squawkhq.com/docs/{self.rule}"


_BY_TRACE = "a trace sees what the text can only suspect"
_TIMEOUTS = "the run sets its own timeouts; squawk says it once per text whatever the text"
_MODELS = "style of the models: sa.String(n), sa.Integer and sa.DateTime always trip it"
_RENDERED = "an artefact of how the statements were written down, not of the revision"
_TASTE = "style, or a policy of the application"

_ALL = (
    SquawkRule("adding-field-with-default", "CM001", Use.ONLY_STATIC, f"{_BY_TRACE}: whether it rewrites"),
    SquawkRule("adding-not-nullable-field", "CM007", Use.ONLY_STATIC, f"{_BY_TRACE}: whether it scans"),
    SquawkRule("adding-required-field", "CM028", Use.ONLY_STATIC, f"{_BY_TRACE}: whether there are rows"),
    SquawkRule(
        "changing-column-type", "CM061", Use.ONLY_STATIC, f"{_BY_TRACE}: most changes rewrite nothing"
    ),
    SquawkRule("syntax-error", "CM060", Use.ONLY_STATIC, "PostgreSQL has run what squawk cannot read"),
    SquawkRule("adding-foreign-key-constraint", "CM009"),
    SquawkRule("adding-serial-primary-key-field", "CM062"),
    SquawkRule("constraint-missing-not-valid", "CM007", why="CM009, CM062 or CM063 by kind of constraint"),
    SquawkRule("disallowed-unique-constraint", "CM062"),
    SquawkRule("require-concurrent-index-creation", "CM008", why="CM068 where the table is partitioned"),
    SquawkRule("require-concurrent-index-deletion", "CM065"),
    SquawkRule("require-concurrent-reindex", "CM058"),
    SquawkRule("require-concurrent-partition-detach", "CM059"),
    SquawkRule("prefer-repack", "CM069"),
    SquawkRule("ban-concurrent-index-creation-in-transaction", "CM021"),
    SquawkRule("ban-alter-domain-with-add-constraint", "CM007"),
    SquawkRule("renaming-table", "CM030"),
    SquawkRule("renaming-column", "CM030"),
    SquawkRule("renaming-object", "CM030", why="left out for indexes and constraints, which nobody names"),
    SquawkRule("ban-set-schema", "CM030"),
    SquawkRule("ban-drop-column", "CM010"),
    SquawkRule("ban-drop-generated-expression", "CM036"),
    SquawkRule("ban-drop-table", "CM013"),
    SquawkRule("ban-drop-schema", "CM013"),
    SquawkRule("ban-drop-database", "CM013"),
    SquawkRule("ban-drop-sequence", "CM014"),
    SquawkRule("ban-drop-type", "CM014"),
    SquawkRule("ban-drop-domain", "CM014"),
    SquawkRule("ban-drop-view", "CM035"),
    SquawkRule("ban-drop-function", "CM035"),
    SquawkRule("ban-drop-trigger", "CM035"),
    SquawkRule("ban-drop-extension", "CM035"),
    SquawkRule("ban-drop-constraint", "CM037"),
    SquawkRule("ban-truncate-cascade", "CM006"),
    SquawkRule("identifier-too-long", "CM047"),
    SquawkRule("ban-disable-trigger", "CM034", Use.OPTED_IN),
    SquawkRule("ban-alter-row-level-security", "CM034", Use.OPTED_IN),
    SquawkRule("ban-alter-sequence-values", "CM032", Use.OPTED_IN),
    SquawkRule("ban-replica-identity", "CM033", Use.OPTED_IN),
    SquawkRule("require-lock-timeout", None, Use.OFF, _TIMEOUTS),
    SquawkRule("require-statement-timeout", None, Use.OFF, _TIMEOUTS),
    SquawkRule("require-timeout-settings", None, Use.OFF, _TIMEOUTS),
    SquawkRule("prefer-text-field", "CM090", Use.OFF, _MODELS),
    SquawkRule("prefer-bigint-over-int", "CM090", Use.OFF, _MODELS),
    SquawkRule("prefer-bigint-over-smallint", "CM090", Use.OFF, _MODELS),
    SquawkRule("prefer-timestamp-tz", "CM090", Use.OFF, _MODELS),
    SquawkRule("prefer-identity", "CM090", Use.OFF, _MODELS),
    SquawkRule("ban-char-field", "CM090", Use.OFF, _MODELS),
    SquawkRule(
        "prefer-robust-stmts",
        "CM040",
        Use.OFF,
        "the version table keeps a revision from running twice; outside a transaction CM040 looks",
    ),
    SquawkRule("ban-uncommitted-transaction", None, Use.OFF, _RENDERED),
    SquawkRule("transaction-nesting", None, Use.OFF, _RENDERED),
    SquawkRule("require-enum-value-ordering", None, Use.OFF, _TASTE),
    SquawkRule("ban-drop-not-null", "CM037", Use.OFF, _TASTE),
    SquawkRule("ban-drop-default", "CM036", Use.OFF, _TASTE),
)

SQUAWK_RULES: dict[str, SquawkRule] = {rule.name: rule for rule in _ALL}
"""Every rule there is something to say about, by its name."""
