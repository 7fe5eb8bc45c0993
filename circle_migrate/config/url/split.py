"""Split URLs and keyword strings into libpq keywords, without interpreting the values.

Messages quote only names of parameters: in a URL that cannot be split, the password can be anywhere.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from circle_migrate.config.url.keywords import SECRET, InvalidUrl, canonical, unescape

_QUOTE_HINT = (
    "percent-quote the user, password and database name of the URL; this prompts for one and quotes it: "
    'python3 -c "import getpass, urllib.parse as p; print(p.quote(getpass.getpass(), safe=str()))"'
)
_FORMS_HINT = "write postgresql://USER:PASSWORD@HOST:5432/DATABASE"

_SCHEME = r"(?i:postgres|postgresql|pgsql|psql)(?P<driver>\+\w+)?://"
_OTHER_SCHEME = r"(?i:(?P<scheme>[a-z][a-z0-9.-]*)(?:\+\w+)?:)"
_OTHER_DATABASES = ("cockroachdb", "mariadb", "mongodb", "mssql", "mysql", "oracle", "redis", "sqlite")
_KEYWORD_PAIR = re.compile(
    r"\s*(?P<key>\w+)\s*=\s*(?:'(?P<quoted>(?:[^'\\]|\\.)*)'(?=\s|$)|(?P<bare>(?!')(?:[^\s\\]|\\.)*))",
    re.DOTALL,
)
_TAIL = r"(?s:(?P<hosts>[^/?#@]*)(?:/(?P<database>[^?#&=]*))?(?:\?(?P<query>.*))?)"
_HOST = r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<name>[^\s:\[\]]*))(?::(?P<port>\d*))?"
# SQLAlchemy allows `host:port` in the query, libpq an IPv6 address without brackets.
_QUERY_HOST = r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<name>[^/:\[\]][^:\[\]]*))(?::(?P<port>\d+))?"
_MAX_PORT = 65535


class ParsedUrl(NamedTuple):
    """Keywords of libpq and their values; host and port are comma-separated lists."""

    parameters: dict[str, str]
    notes: tuple[str, ...] = ()
    password_as_written: str | None = None

    def __repr__(self) -> str:
        return "ParsedUrl(...)"  # the values contain the password


class _UrlSplit(NamedTuple):
    """A possible split of the text after `postgresql://`."""

    userinfo: str
    hosts: tuple[re.Match[str], ...]
    database: str
    query: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return "_UrlSplit(...)"  # userinfo contains the password


def read(text: str) -> ParsedUrl:
    """Split a URL or a libpq keyword string. Raises InvalidUrl if it is invalid or ambiguous."""
    cleaned = text.removeprefix("\ufeff").strip()
    while len(cleaned) > 1 and cleaned[0] == cleaned[-1] and cleaned[0] in "\"'`":
        cleaned = cleaned[1:-1].strip()
    if not cleaned:
        raise InvalidUrl("is empty", hint=_FORMS_HINT)
    if scheme := re.match(_SCHEME, cleaned):
        if re.search(r"[\x00-\x1f\x7f]", cleaned):
            raise InvalidUrl("contains a line break or control character", hint="write the URL on one line")
        # SQLAlchemy, which uses `+driver`, decodes a plus in the query as a blank; libpq does not.
        parsed = _read_url(cleaned[scheme.end() :], unquote_plus if scheme["driver"] else unquote)
    elif re.match(r"\w+\s*=", cleaned):
        parsed = _read_keyword_string(cleaned)
    else:
        raise _not_postgresql(cleaned)
    # Files end with a newline: no note for that.
    if cleaned != text.removesuffix("\n").removesuffix("\r"):
        return parsed._replace(notes=("blanks or quotes around the URL were removed",))
    return parsed


def _not_postgresql(text: str) -> InvalidUrl:
    match = re.match(_OTHER_SCHEME, text)
    scheme = match["scheme"].lower() if match else ""
    if scheme == "jdbc":
        return InvalidUrl("is a JDBC URL", hint=_FORMS_HINT)
    if scheme in _OTHER_DATABASES:
        return InvalidUrl(f"is a {scheme} URL; only PostgreSQL is supported", hint=_FORMS_HINT)
    return InvalidUrl("is not a PostgreSQL URL", hint=_FORMS_HINT)


def _read_url(rest: str, decode: Callable[..., str]) -> ParsedUrl:
    split = _pick_split(rest)
    parameters: dict[str, str] = {}
    query_hosts: list[tuple[str, str]] = []
    user, _, raw_password = split.userinfo.partition(":")
    for key, raw in (("user", user), ("password", raw_password), ("dbname", split.database)):
        if raw:
            parameters[key] = _decode(raw, unquote)
    for key, raw in split.query:
        value = _decode(raw, decode)
        if key == "host":
            query_hosts.extend(_query_host(item) for item in value.split(","))
        elif key == "dbname" and parameters.get("dbname", value) != value:
            raise InvalidUrl("names two databases, in its path and in its query", hint="keep one of them")
        else:
            parameters[key] = value
            raw_password = raw if key == "password" else raw_password
    hosts = [(_decode(host["ipv6"] or host["name"], unquote), host["port"] or "") for host in split.hosts]
    ports = [port for _, port in hosts]
    if query_hosts:
        query_ports = [port for _, port in query_hosts]
        # Ports before the path apply to hosts of the query without ports.
        if any(query_ports) or len(ports) not in (1, len(query_hosts)):
            ports = query_ports
        hosts = query_hosts
    if any(host for host, _ in hosts):
        parameters["host"] = ",".join(host for host, _ in hosts)
    if any(ports):
        parameters.setdefault("port", ",".join(ports))  # `port=` of the query takes precedence, as in libpq.
    return ParsedUrl(parameters, password_as_written=raw_password or None)


def _pick_split(rest: str) -> _UrlSplit:
    """Return the only possible split. Raises InvalidUrl if there is none or more than one."""
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    standard_end = authority.rfind("@")
    splits: dict[int, _UrlSplit] = {}
    errors: dict[int, InvalidUrl] = {}
    for end in (-1, *(at.start() for at in re.finditer("@", rest))):
        try:
            splits[end] = _split_at(rest, end)
        except InvalidUrl as error:
            errors[end] = error
    standard = splits.get(standard_end)
    # An @ or / in the path may be part of a password.
    if standard and not set("@/") & set(standard.database):
        return standard
    if len(splits) > 1:
        raise InvalidUrl(
            "is ambiguous: its password contains a character that has a meaning in URLs", hint=_QUOTE_HINT
        )
    if not splits:
        raise errors[standard_end]
    return splits.popitem()[1]


def _split_at(rest: str, end: int) -> _UrlSplit:
    """Split the text at the @ at index `end`, -1 for none. Raises InvalidUrl if that is impossible."""
    match = re.fullmatch(_TAIL, rest[end + 1 :])
    if not match:
        raise InvalidUrl("has an unquoted @ # & or = in a host or database name", hint=_QUOTE_HINT)
    hosts = tuple(map(_authority_host, match["hosts"].split(",")))
    query = tuple(_query(match["query"] or "", may_be_secret=rest.count("@") > 1))
    if not match["database"] and not {"dbname", "service"} & {key for key, _ in query}:
        raise no_database()
    return _UrlSplit(rest[: max(end, 0)], hosts, match["database"] or "", query)


def _authority_host(item: str) -> re.Match[str]:
    match = re.fullmatch(_HOST, item)
    if not match:
        raise InvalidUrl("has an invalid host or port", hint=f"{_QUOTE_HINT}; put an IPv6 address in [ ]")
    if match["port"]:
        check_port(match["port"])
    return match


def _query_host(item: str) -> tuple[str, str]:
    match = re.fullmatch(_QUERY_HOST, item)
    return (match["ipv6"] or match["name"], match["port"] or "") if match else (item, "")


def _query(text: str, *, may_be_secret: bool) -> Iterator[tuple[str, str]]:
    for item in filter(None, text.split("&")):
        raw_key, separator, value = item.partition("=")
        key = canonical(unquote(raw_key), may_be_secret=may_be_secret or not separator)
        if not separator:
            raise InvalidUrl(f"has the parameter {key} without a value", hint=f"write {key}=VALUE")
        may_be_secret = may_be_secret or key in SECRET
        yield key, value


def _decode(raw: str, decode: Callable[..., str]) -> str:
    try:
        value = decode(raw, errors="strict")
    except UnicodeDecodeError:
        raise InvalidUrl("is not percent-quoted as UTF-8", hint=_QUOTE_HINT) from None
    if "\0" in value:
        raise InvalidUrl("contains a zero byte (%00)", hint="remove %00")
    return value


def _read_keyword_string(text: str) -> ParsedUrl:
    """Parse `host=... dbname='my db'`, quoted as in libpq."""
    parameters: dict[str, str] = {}
    position = 0
    while position < len(text):
        pair = _KEYWORD_PAIR.match(text, position)
        if not pair:
            raise InvalidUrl(
                "is not a well-formed keyword string",
                hint="put values with blanks in single quotes, and a backslash before a quote or a backslash",
            )
        key = canonical(pair["key"], may_be_secret=True)
        parameters[key] = unescape(pair["bare"] if pair["quoted"] is None else pair["quoted"])
        position = pair.end()
    return ParsedUrl(parameters, password_as_written=parameters.get("password"))


def check_port(text: str) -> None:
    """Raise InvalidUrl for an invalid TCP port, without quoting it: it may be part of a password."""
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= _MAX_PORT:
        raise InvalidUrl(f"has a port that is not a number from 1 to {_MAX_PORT}", hint=_QUOTE_HINT)


def no_database() -> InvalidUrl:
    """Return the error for a text without a database name."""
    return InvalidUrl(
        "names no database", hint=f"{_FORMS_HINT}; the database name is the part after the last /"
    )
