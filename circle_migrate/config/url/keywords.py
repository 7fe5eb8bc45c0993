"""Connection keywords of libpq: which are honoured, ignored or refused, and what fills them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

# Keyword -> the environment variable that fills it. PGDATABASE is left out on purpose: one variable for
# two databases would send both trees to the same place.
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
# No variable fills these; `libpq` reads PGSERVICE and PGSERVICEFILE before all others.
_SERVICE = ("service", "servicefile")
_OTHERS = ("dbname", "fallback_application_name", "hostaddr", "server_settings", "sslpassword")

# Spellings of drivers for what libpq calls otherwise.
ALIASES = {"database": "dbname", "username": "user", "ssl": "sslmode", "timeout": "connect_timeout"}

_KEEPALIVES = ("keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout")
_SECURITY = ("channel_binding", "gssdelegation", "gssencmode", "sslcertmode", "sslcompression", "sslsni")
_CACHES = ("max_cacheable_statement_size", "max_cached_statement_lifetime", "statement_cache_size")
_PREPARED = ("prepared_statement_cache_size", "prepared_statement_name_func")
_OURS = (*_CACHES, *_PREPARED, "async_fallback", "client_encoding", "command_timeout")
IGNORED = {
    **dict.fromkeys((*_KEEPALIVES, *_SECURITY, "load_balance_hosts"), "the driver has no such setting"),
    **dict.fromkeys(_OURS, "circle-migrate chooses it for its own connections"),
}

# What cannot be ignored, because the connection would be less safe than the text asks for.
REFUSED = {
    "replication": "a replication connection cannot run revisions",
    "require_auth": "the driver cannot restrict the ways to authenticate",
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
    """A text that cannot be used. The message continues the name of the text's source; it quotes no value."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def canonical(keyword: str, *, may_be_secret: bool) -> str:
    """The keyword as libpq spells it; an unknown one is named only where it cannot be part of a password."""
    if keyword in KNOWN:
        return ALIASES.get(keyword, keyword)
    if may_be_secret or "pass" in keyword.lower() or not re.fullmatch(_PRINTABLE_KEY, keyword):
        raise InvalidUrl(
            "has an unknown parameter; it is not shown, as it could be a piece of a password",
            hint="percent-quote & and = in values of a URL; put values of a keyword string in single quotes",
        )
    nearest = get_close_matches(keyword.lower(), KNOWN, n=1)
    raise InvalidUrl(
        f"has the unknown parameter {keyword}" + (f"; did you mean {nearest[0]}?" if nearest else ""),
        hint=f"write {nearest[0]}, or take {keyword} out" if nearest else f"take {keyword} out",
    )


def choice(parameters: Mapping[str, str], keyword: str) -> str:
    """The value of a keyword that has a list of values; its default, or "", where it is not given."""
    value = parameters.get(keyword)
    if value is None:
        return DEFAULTS.get(keyword, "")
    if value not in _CHOICES[keyword]:
        raise InvalidUrl(
            f"has an unknown {keyword}", hint=f"{keyword} is one of {', '.join(_CHOICES[keyword])}"
        )
    return value


def unescape(text: str) -> str:
    """The text without the backslashes that escape a character."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
