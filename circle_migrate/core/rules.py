"""The rules that findings refer to, one record per rule in `rules.toml`.

Reports show the texts (SARIF beside each finding); a rule's remedy stands in for a finding without its own.
A finding made from an error has the error's code as its rule. Hazards of `safety-check` are not listed here.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Rule(NamedTuple):
    """A kind of problem: its title, its effect, and the remedy."""

    id: str
    title: str
    effect: str
    remedy: str


@cache
def known_rules() -> Mapping[str, Rule]:
    """Return every rule by its id."""
    import tomllib

    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {name: Rule(name, **texts) for name, texts in table.items()}
