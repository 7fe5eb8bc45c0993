"""Initial settings of a session: `options` of libpq, `server_settings` of asyncpg."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from circle_migrate.config.url.keywords import InvalidUrl, unescape

_OPTION = r"(?s:(?:-c\s*|--)(?P<name>[A-Za-z_][\w.-]*)=(?P<value>(?:\\.|[^\s\\])*)(?:\s+|$))"
# Neon names the branch so for clients without SNI; asyncpg supports SNI.
_NEON_OPTION = r"(?:endpoint|project)=\S*(?:\s+|$)"
_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?"
_HINT = "write options=-c%20name%3Dvalue"


def read(parameters: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the settings by name, and notes. Raises InvalidUrl for other options."""
    settings: dict[str, str] = {}
    notes: list[str] = []
    rest = parameters.get("options", "").strip()
    while rest:
        if match := re.match(_NEON_OPTION, rest):
            notes.append("endpoint in options is ignored: the driver names the host by SNI")
        elif match := re.match(_OPTION, rest):
            # The server converts a dash in a name to an underscore.
            settings[match["name"].replace("-", "_")] = unescape(match["value"])
        else:
            raise InvalidUrl("has options other than -c name=value", hint=_HINT)
        rest = rest[match.end() :]
    settings |= _server_settings(parameters.get("server_settings", "{}"))
    if not all(re.fullmatch(_NAME, name) for name in settings):
        raise InvalidUrl("has an invalid name of a setting in its options or server_settings", hint=_HINT)
    return settings, tuple(notes)


def to_options(settings: Mapping[str, str]) -> str:
    """Return the settings as a value of `options`."""
    return " ".join(f"-c {name}=" + re.sub(r"([\s\\])", r"\\\1", value) for name, value in settings.items())


def _server_settings(text: str) -> dict[str, str]:
    try:
        settings = json.loads(text)
    except ValueError:
        settings = None
    if not isinstance(settings, dict) or not all(isinstance(value, str) for value in settings.values()):
        raise InvalidUrl("has server_settings that are not a JSON object of strings", hint=_HINT)
    return settings
