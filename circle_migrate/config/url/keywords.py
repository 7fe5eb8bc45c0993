"""Connection keywords of libpq: supported, ignored and refused ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

# Keyword -> environment variable. PGDATABASE is omitted on purpose: one variable would name the same database
# for both URLs.
VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "application_name": "PGAPPNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
}
# Keywords without a variable; `libpq_defaults` reads PGSERVICE and PGSERVICEFILE first.
_SERVICE = ("service", "servicefile")
_OTHERS = ("dbname", "fallback_application_name", "hostaddr", "server_settings", "sslpassword")

# Keywords of other drivers -> keywords of libpq.
ALIASES = {"database": "dbname", "username": "user", "ssl": "sslmode", "timeout": "connect_timeout"}

_KEEPALIVES = ("keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout")
_SECURITY = ("channel_binding", "gssdelegation", "gssencmode", "sslcertmode", "sslcompression", "sslsni")
_CACHES = ("max_cacheable_statement_size", "max_cached_statement_lifetime", "statement_cache_size")
_PREPARED = ("prepared_statement_cache_size", "prepared_statement_name_func")
_FIXED = (*_CACHES, *_PREPARED, "async_fallback", "client_encoding", "command_timeout")
IGNORED = {
    **dict.fromkeys((*_KEEPALIVES, *_SECURITY, "load_balance_hosts"), "the driver does not support it"),
    **dict.fromkeys(_FIXED, "circle-migrate sets it for its own connections"),
}

# Ignoring these would make the connection less secure than the URL requires.
REFUSED = {
    "replication": "a replication connection cannot run revisions",
    "require_auth": "the driver cannot restrict authentication methods",
    "requirepeer": "the driver cannot check the server's operating system user",
    "sslcrldir": "the driver reads revocation lists from one file: use sslcrl",
}

SECRET = frozenset({"password", "sslpassword"})

_TLS_VERSIONS = ("TLSv1.2", "TLSv1.3")
_CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": (*_TLS_VERSIONS, "TLSv1", "TLSv1.1"),
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
DEFAULTS = {
    "sslmode": "prefer",
    "sslnegotiation": "postgres",
    "ssl_min_protocol_version": "TLSv1.2",
    "target_session_attrs": "any",
}

KNOWN = sorted({*VARIABLES, *_SERVICE, *_OTHERS, *ALIASES, *IGNORED, *REFUSED})
_PRINTABLE_KEY = r"[A-Za-z][A-Za-z_.-]{1,39}"


class InvalidUrl(ValueError):
    """An invalid URL. The message follows the name of the source in a sentence, and quotes no value."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def canonical(keyword: str, *, may_be_secret: bool) -> str:
    """Return libpq's name of a keyword.

    Raises InvalidUrl for an unknown one, whose name is shown only if it cannot be part of a password.
    """
    if keyword in KNOWN:
        return ALIASES.get(keyword, keyword)
    if may_be_secret or "pass" in keyword.lower() or not re.fullmatch(_PRINTABLE_KEY, keyword):
        raise InvalidUrl(
            "has an unknown parameter; it is not shown, as it could be part of a password",
            hint="percent-quote & and = in values of a URL; put values of a keyword string in single quotes",
        )
    nearest = get_close_matches(keyword.lower(), KNOWN, n=1)
    raise InvalidUrl(
        f"has the unknown parameter {keyword}" + (f"; did you mean {nearest[0]}?" if nearest else ""),
        hint=f"write {nearest[0]}, or remove {keyword}" if nearest else f"remove {keyword}",
    )


def choice(parameters: Mapping[str, str], keyword: str) -> str:
    """Return the value of an enumerated keyword, or its default. Raises InvalidUrl for an unknown value."""
    value = parameters.get(keyword)
    if value is None:
        return DEFAULTS.get(keyword, "")
    if value not in _CHOICES[keyword]:
        raise InvalidUrl(
            f"has an unknown {keyword}", hint=f"{keyword} is one of {', '.join(_CHOICES[keyword])}"
        )
    return value


def unescape(text: str) -> str:
    """Return the text without escaping backslashes."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
