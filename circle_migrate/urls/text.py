"""From text to libpq keywords: the shape of URLs and keyword strings, nothing about their meaning.

No message quotes any part of the text but a parameter's name: a URL that cannot be split has its
password anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from circle_migrate.errors import SettingsError
from circle_migrate.urls import keywords

QUOTE_HINT = (
    "percent-quote the user, password and database name in a URL; this asks for one and prints it quoted: "
    'python3 -c "import getpass, urllib.parse as p; print(p.quote(getpass.getpass(), safe=str()))"'
)
_FORMS_HINT = "write postgresql://USER:PASSWORD@HOST:5432/DATABASE"

# What most URLs never meet is compiled when it is met: compiling all takes longer than reading a URL.
_SCHEME = re.compile(r"(?:postgres|postgresql|pgsql|psql)(?P<driver>\+\w+)?://", re.IGNORECASE)
_ANY_SCHEME = r"(?i:(?P<scheme>[a-z][a-z0-9.-]*)(?:\+\w+)?:)"
_OTHER_DATABASES = ("cockroachdb", "mariadb", "mongodb", "mssql", "mysql", "oracle", "redis", "sqlite")
_KEYWORD_STRING = r"\w+\s*="
_KEYWORD_PAIR = (
    r"\s*(?P<key>\w+)\s*=\s*(?:'(?P<quoted>(?:[^'\\]|\\.)*)'(?=\s|$)|(?P<bare>(?!')(?:[^\s\\]|\\.)*))"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_TAIL = re.compile(r"(?P<hosts>[^/?#@]*)(?:/(?P<database>[^?#&=]*))?(?:\?(?P<query>.*))?", re.DOTALL)
_HOST = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<name>[^\s:\[\]]*))(?::(?P<port>\d*))?")
_QUERY_HOST = r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<name>[^/:\[\]][^:\[\]]*))(?::(?P<port>\d+))?"
HIGHEST_PORT = 65535


class Given(NamedTuple):
    """What a text says in libpq's keywords, with host and port as comma-separated lists of equal length."""

    parameters: dict[str, str]
    notes: tuple[str, ...] = ()
    password_as_written: str | None = None

    def __repr__(self) -> str:
        return "Given(...)"  # it has the password


def read(text: str, source: str) -> Given:
    """Split a URL or a libpq keyword string. Raises SettingsError where it cannot be split in one way."""
    cleaned, notes = _clean(text)
    if not cleaned:
        raise SettingsError(f"{source} is empty", hint=_FORMS_HINT)
    if scheme := _SCHEME.match(cleaned):
        if _CONTROL.search(cleaned):
            raise SettingsError(
                f"{source} has a line break or control character in its middle",
                hint="write the URL on one line",
            )
        # SQLAlchemy, whose form `+driver` is, reads a plus in the query as a blank; libpq does not.
        decode = unquote_plus if scheme["driver"] else unquote
        given = _read_url(cleaned[scheme.end() :], source, decode)
    elif re.match(_KEYWORD_STRING, cleaned):
        given = _read_keyword_string(cleaned, source)
    else:
        raise _not_postgresql(cleaned, source)
    return Given(given.parameters, (*notes, *given.notes), given.password_as_written)


def _clean(text: str) -> tuple[str, tuple[str, ...]]:
    """The text without byte order mark, surrounding blanks and quotes, and a note if any were there."""
    cleaned = text.removeprefix("\ufeff").strip()
    while len(cleaned) > 1 and cleaned[0] == cleaned[-1] and cleaned[0] in "\"'`":
        cleaned = cleaned[1:-1].strip()
    # One newline at the end is how files and `$(cat)` look: not worth a word.
    surplus = cleaned != text.removesuffix("\n").removesuffix("\r")
    return cleaned, ("blanks or quotes around the URL were removed",) if surplus else ()


def _not_postgresql(text: str, source: str) -> SettingsError:
    scheme = re.match(_ANY_SCHEME, text)
    if scheme and scheme["scheme"].lower() == "jdbc":
        return SettingsError(f"{source} is a JDBC URL", hint=_FORMS_HINT)
    if scheme and scheme["scheme"].lower() in _OTHER_DATABASES:
        return SettingsError(
            f"{source} is a {scheme['scheme'].lower()} URL; only PostgreSQL is supported", hint=_FORMS_HINT
        )
    return SettingsError(f"{source} is not a PostgreSQL URL", hint=_FORMS_HINT)


# URLs


class _Reading(NamedTuple):
    """One way to split what follows `postgresql://`: at one of its @, or at none."""

    userinfo: str
    hosts: tuple[re.Match[str], ...]
    database: str
    query: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return "_Reading(...)"  # it has the password

    @property
    def is_plain(self) -> bool:
        """Nothing in the path that looks like the rest of a password."""
        return not set("@/") & set(self.database)


def _read_url(rest: str, source: str, decode: Callable[[str], str]) -> Given:
    reading = _choose(rest, source)
    parameters: dict[str, str] = {}
    query_hosts: list[tuple[str, str]] = []
    user, _, raw_password = reading.userinfo.partition(":")
    for key, raw in (("user", user), ("password", raw_password), ("dbname", reading.database)):
        if raw:
            parameters[key] = _decoded(raw, unquote, source)
    for key, raw in reading.query:
        value = _decoded(raw, decode, source)
        if key == "host":
            query_hosts.extend(_query_host(item) for item in value.split(","))
        elif key == "dbname" and parameters.get("dbname", value) != value:
            raise SettingsError(
                f"{source} names two databases, in its path and in its query", hint="keep one of them"
            )
        else:
            parameters[key] = value
            raw_password = raw if key == "password" else raw_password
    authority = [
        (_decoded(host["ipv6"] or host["name"], unquote, source), host["port"] or "")
        for host in reading.hosts
    ]
    _place(parameters, query_hosts or authority, [port for _, port in authority])
    return Given(parameters, password_as_written=raw_password or None)


def _choose(rest: str, source: str) -> _Reading:
    """The one way to read the text, or an error where there is none or more than one."""
    ends = [None, *(at.start() for at in re.finditer("@", rest))]
    authority = rest[: next((at.start() for at in re.finditer("[/?#]", rest)), len(rest))]
    by_the_book = authority.rfind("@") if "@" in authority else None
    readings: dict[int | None, _Reading] = {}
    flaws: dict[int | None, SettingsError] = {}
    for end in ends:
        try:
            readings[end] = _reading(rest, end, source, may_be_secret=rest.count("@") > 1)
        except SettingsError as error:
            flaws[end] = error
    standard = readings.get(by_the_book)
    if standard and standard.is_plain:
        return standard
    if len(readings) == 1:
        return next(iter(readings.values()))
    if readings:
        raise SettingsError(
            f"{source} can be read in more than one way: its password has a character with a meaning in URLs",
            hint=QUOTE_HINT,
        )
    raise flaws[by_the_book]


def _reading(rest: str, end: int | None, source: str, *, may_be_secret: bool) -> _Reading:
    """The text split at the @ at `end`; raises SettingsError when it cannot be meant that way."""
    userinfo, tail = ("", rest) if end is None else (rest[:end], rest[end + 1 :])
    match = _TAIL.fullmatch(tail)
    if not match:
        raise SettingsError(
            f"{source} has an unquoted @ # & or = in a host or database name", hint=QUOTE_HINT
        )
    hosts = tuple(_authority_hosts(match["hosts"], source))
    query = tuple(_query(match["query"] or "", source, may_be_secret=may_be_secret))
    if not match["database"] and not {"dbname", "service"} & {key for key, _ in query}:
        raise no_database(source)
    return _Reading(userinfo, hosts, match["database"] or "", query)


def _authority_hosts(text: str, source: str) -> Iterator[re.Match[str]]:
    for item in text.split(","):
        match = _HOST.fullmatch(item)
        if not match:
            raise SettingsError(
                f"{source} has a host or port that cannot be one",
                hint=f"{QUOTE_HINT}; an IPv6 address needs [ ]",
            )
        if match["port"] and not is_port(match["port"]):
            raise bad_port(source)
        yield match


def _query(text: str, source: str, *, may_be_secret: bool) -> Iterator[tuple[str, str]]:
    for item in filter(None, text.split("&")):
        raw_key, separator, value = item.partition("=")
        key = keywords.ALIASES.get(unquote(raw_key), unquote(raw_key))
        if not keywords.is_known(key):
            raise keywords.unknown(key, source, may_be_secret=may_be_secret or not separator)
        if not separator:
            raise SettingsError(
                f"{source} has the parameter {key} without a value", hint=f"write {key}=VALUE"
            )
        may_be_secret = may_be_secret or key in keywords.SECRET
        yield key, value


def _query_host(text: str) -> tuple[str, str]:
    """Host and port of a `host=` in the query, where SQLAlchemy allows `host:port` and libpq plain IPv6."""
    match = re.fullmatch(_QUERY_HOST, text)
    return (match["ipv6"] or match["name"], match["port"] or "") if match else (text, "")


def _place(parameters: dict[str, str], hosts: list[tuple[str, str]], authority_ports: list[str]) -> None:
    """Write hosts and ports as libpq's lists; a `port=` of the query wins, as in libpq."""
    ports = [port for _, port in hosts]
    if not any(ports) and len(authority_ports) in (1, len(hosts)):
        ports = authority_ports
    if any(host for host, _ in hosts):
        parameters["host"] = ",".join(host for host, _ in hosts)
    if any(ports):
        parameters.setdefault("port", ",".join(ports))


def _decoded(raw: str, decode: Callable[..., str], source: str) -> str:
    try:
        value = decode(raw, errors="strict")
    except UnicodeDecodeError:
        raise SettingsError(f"{source} is not percent-quoted as UTF-8", hint=QUOTE_HINT) from None
    if "\0" in value:
        raise SettingsError(f"{source} has a zero byte (%00)", hint="take %00 out")
    return value


# Keyword strings


def _read_keyword_string(text: str, source: str) -> Given:
    """`host=... dbname='my db'`: quoting as in libpq, a backslash before a quote or a backslash."""
    parameters: dict[str, str] = {}
    position, pairs = 0, re.compile(_KEYWORD_PAIR, re.DOTALL)
    while position < len(text):
        pair = pairs.match(text, position)
        if not pair:
            raise SettingsError(
                f"{source} is not a well-formed keyword string",
                hint="quote values with blanks in single quotes, a quote or backslash in them by a backslash",
            )
        key = keywords.ALIASES.get(pair["key"], pair["key"])
        if not keywords.is_known(key):
            raise keywords.unknown(key, source, may_be_secret=True)
        parameters[key] = re.sub(r"\\(.)", r"\1", pair["bare"] if pair["quoted"] is None else pair["quoted"])
        position = pair.end()
    return Given(parameters, password_as_written=parameters.get("password"))


# Flaws that the meaning of keywords has, too


def is_port(text: str) -> bool:
    """Whether the text is a TCP port number."""
    return (
        text.isascii()
        and text.isdigit()
        and len(text) <= len(str(HIGHEST_PORT))
        and 1 <= int(text) <= HIGHEST_PORT
    )


def bad_port(source: str) -> SettingsError:
    """The error for a port that is none; never with its text, which may be the middle of a password."""
    return SettingsError(
        f"{source} has a port that is not a number from 1 to {HIGHEST_PORT}", hint=QUOTE_HINT
    )


def no_database(source: str) -> SettingsError:
    """The error for a text that does not say which database."""
    return SettingsError(
        f"{source} names no database", hint=f"{_FORMS_HINT}: the database is the part after the last /"
    )
