"""The connection keywords we know, what becomes of each, and the error for one we do not."""

from __future__ import annotations

import re
from difflib import get_close_matches

from circle_migrate.errors import SettingsError

# keyword -> the variable that fills it when it is not given. PGDATABASE is left out on purpose: one
# variable for two databases would quietly send both trees to the same place. PGSERVICE and
# PGSERVICEFILE come before all others and are read by circle_migrate.urls.libpq.
UNDERSTOOD: dict[str, str | None] = {
    "host": "PGHOST",
    "hostaddr": None,
    "port": "PGPORT",
    "dbname": None,
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "service": None,
    "servicefile": None,
    "options": "PGOPTIONS",
    "server_settings": None,
    "application_name": "PGAPPNAME",
    "fallback_application_name": None,
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslpassword": None,
    "sslcrl": "PGSSLCRL",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
}

# Spellings of drivers for what libpq calls otherwise.
ALIASES = {"database": "dbname", "username": "user", "ssl": "sslmode", "timeout": "connect_timeout"}

_NOT_IN_DRIVER = "the driver has no such setting"
_OURS = "circle-migrate chooses it for its own connections"
IGNORED: dict[str, str] = {
    **dict.fromkeys(
        (
            "channel_binding",
            "gssdelegation",
            "gssencmode",
            "keepalives",
            "keepalives_count",
            "keepalives_idle",
            "keepalives_interval",
            "load_balance_hosts",
            "sslcertmode",
            "sslcompression",
            "sslsni",
            "tcp_user_timeout",
        ),
        _NOT_IN_DRIVER,
    ),
    **dict.fromkeys(
        (
            "async_fallback",
            "client_encoding",
            "command_timeout",
            "max_cacheable_statement_size",
            "max_cached_statement_lifetime",
            "prepared_statement_cache_size",
            "prepared_statement_name_func",
            "statement_cache_size",
        ),
        _OURS,
    ),
}

# What cannot be ignored, because the connection would be less safe than the text asks for.
REFUSED: dict[str, str] = {
    "replication": "a replication connection cannot run revisions",
    "require_auth": "the driver cannot restrict the ways to authenticate",
    "requirepeer": "the driver cannot check the server's operating system user",
    "sslcrldir": "the driver reads revocation lists from one file: use sslcrl",
}

_KNOWN = sorted({*UNDERSTOOD, *ALIASES, *IGNORED, *REFUSED})
_PRINTABLE_KEY = r"[A-Za-z][A-Za-z_.-]{1,39}"

SECRET = frozenset({"password", "sslpassword"})


def is_known(keyword: str) -> bool:
    """Whether the keyword means anything to libpq, asyncpg or SQLAlchemy."""
    return keyword in _KNOWN


def unknown(keyword: str, source: str, *, may_be_secret: bool) -> SettingsError:
    """The error for an unknown keyword, which is named only where it cannot be a piece of a password."""
    if may_be_secret or "pass" in keyword.lower() or not re.fullmatch(_PRINTABLE_KEY, keyword):
        return SettingsError(
            f"{source} has an unknown parameter; it is not shown, as it could be a piece of a password",
            hint="percent-quote & and = in values of a URL; put values of a keyword string in single quotes",
        )
    nearest = get_close_matches(keyword.lower(), _KNOWN, n=1)
    suggestion = f"; did you mean {nearest[0]}?" if nearest else ""
    return SettingsError(
        f"{source} has the unknown parameter {keyword}{suggestion}",
        hint=f"write {nearest[0]}, or take {keyword} out" if nearest else f"take {keyword} out",
    )
