"""Fields of a catalogue that hold lists."""

from __future__ import annotations


def listed(text: str | None) -> list[str]:
    """The lines of a field that holds a list."""
    return text.split("\n") if text else []


def valued(text: str | None) -> dict[str, str]:
    """The lines of a field that holds `name=value`; one without `=` goes on with the value before it."""
    found: dict[str, str] = {}
    for line in listed(text):
        name, equals, value = line.partition("=")
        if equals or not found:
            found[name] = value
        else:
            found[next(reversed(found))] += f"\n{line}"
    return found
