"""The settings a session starts with: `options` of libpq, `server_settings` of asyncpg."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from circle_migrate.config.url.keywords import InvalidUrl, unescape

_OPTION = r"(?s:(?:-c\s*|--)(?P<name>[A-Za-z_][\w.-]*)=(?P<value>(?:\\.|[^\s\\])*)(?:\s+|$))"
# Neon's way to name the branch for clients without SNI, which asyncpg has.
_NEON_OPTION = r"(?:endpoint|project)=\S*(?:\s+|$)"
_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?"
_HINT = "options=-c%20name%3Dvalue"


def read(parameters: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The settings by name, and notes. Raises InvalidUrl for anything but settings."""
    settings: dict[str, str] = {}
    notes: list[str] = []
    rest = parameters.get("options", "").strip()
    while rest:
        if match := re.match(_NEON_OPTION, rest):
            notes.append("endpoint in options is ignored: the driver names the host by SNI")
        elif match := re.match(_OPTION, rest):
            # The server reads a dash in a name as an underscore.
            settings[match["name"].replace("-", "_")] = unescape(match["value"])
        else:
            raise InvalidUrl("has options other than -c name=value", hint=_HINT)
        rest = rest[match.end() :]
    settings |= _server_settings(parameters.get("server_settings", "{}"))
    if not all(re.fullmatch(_NAME, name) for name in settings):
        raise InvalidUrl("sets something that is not the name of a setting", hint=_HINT)
    return settings, tuple(notes)


def to_options(settings: Mapping[str, str]) -> str:
    """The settings as a value of `options`."""
    return " ".join(f"-c {name}=" + re.sub(r"([\s\\])", r"\\\1", value) for name, value in settings.items())


def _server_settings(text: str) -> dict[str, str]:
    try:
        settings = json.loads(text)
    except ValueError:
        settings = None
    if not isinstance(settings, dict) or not all(isinstance(value, str) for value in settings.values()):
        raise InvalidUrl("has server_settings that are not a JSON object of texts", hint=f"use {_HINT}")
    return settings
