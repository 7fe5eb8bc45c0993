"""URLs and keyword strings in every form; no message shows the password."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from asyncpg.connect_utils import _parse_connect_arguments
from hypothesis import given
from hypothesis import strategies as st

from circle_migrate.config.url import split as text
from circle_migrate.config.url.address import Address
from circle_migrate.config.url.parse import parse
from circle_migrate.core import redaction
from circle_migrate.core.errors import SettingsError

NOWHERE = {"HOME": "/nonexistent", "LOGNAME": "os-user"}


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(redaction, "_secrets", set())


def read(text: str, **environ: str) -> Address:
    return parse(text, source="DATABASE_URL", environ={**NOWHERE, **environ})


def refusal(text: str, **environ: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        read(text, **environ)
    assert caught.value.hint, "every refusal says what to type next"
    return caught.value


def error_text(error: SettingsError) -> str:
    return f"{error} {error.to_dict()} {error!r}"


SAME = [
    "postgres://ada:s3cret-word@db:5433/app",
    "postgresql://ada:s3cret-word@db:5433/app",
    "POSTGRESQL://ada:s3cret-word@db:5433/app",
    "pgsql://ada:s3cret-word@db:5433/app",
    "postgresql+asyncpg://ada:s3cret-word@db:5433/app",
    "postgresql+psycopg://ada:s3cret-word@db:5433/app",
    "postgresql+psycopg2://ada:s3cret-word@db:5433/app",
    "postgres+pg8000://ada:s3cret-word@db:5433/app",
    "postgresql://db:5433/app?user=ada&password=s3cret-word",
    "postgresql://ada:s3cret-word@elsewhere/app?host=db&port=5433",
    "postgresql://ada:s3cret-word@:5433/app?host=db",
    "postgresql+asyncpg://ada:s3cret-word@/app?host=db:5433",
    "postgresql://ada:s3cret-word@db:5433?dbname=app",
    "postgresql://%61da:s3cret%2Dword@d%62:5433/%61pp",
    "postgresql://ada:s3cret-word@db:5433/app\n",
    "host=db port=5433 dbname=app user=ada password=s3cret-word",
    "host = db port='5433'\ndbname=app user=ada password='s3cret-word'",
]


@pytest.mark.parametrize("text", SAME)
def test_spellings_of_one_address_are_equal(text: str) -> None:
    assert read(text) == read("postgresql://ada:s3cret-word@db:5433/app")
    assert read(text).display() == "postgresql://ada:***@db:5433/app"


@pytest.mark.parametrize("text", ["  {} ", '"{}"', "'{}'\n", "\ufeff{}", "\t`{}`\r\n", "\"'{}'\""])
def test_blanks_quotes_and_marks_around_a_url_are_removed_and_noted(text: str) -> None:
    url = "postgresql://ada@db/app"
    assert read(text.format(url)).display() == read(url).display()
    assert read(text.format(url)).notes == ("blanks or quotes around the URL were removed",)


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("postgresql://h1:1,h2:2/d", [("h1", 1), ("h2", 2)]),
        ("postgresql://h1,h2:2/d", [("h1", 5432), ("h2", 2)]),
        ("postgresql:///d?host=h1,h2&port=1,2", [("h1", 1), ("h2", 2)]),
        ("postgresql:///d?host=h1,h2&port=7", [("h1", 7), ("h2", 7)]),
        ("postgresql+asyncpg:///d?host=h1:1&host=h2:2", [("h1", 1), ("h2", 2)]),
        ("postgresql:///d?host=/run/pg", [("/run/pg", 5432)]),
        ("postgresql://:6000/d?host=/run/pg", [("/run/pg", 6000)]),
        ("postgresql://%2Frun%2Fpg:6000/d", [("/run/pg", 6000)]),
        ("postgresql://u@%2Frun%2Fpg/d", [("/run/pg", 5432)]),
        ("postgresql://[::1]:7/d", [("::1", 7)]),
        ("postgresql://[::1],[fe80::1%25eth0]:8/d", [("::1", 5432), ("fe80::1%eth0", 8)]),
        ("postgresql:///d?host=::1", [("::1", 5432)]),
        ("postgresql:///d", [("", 5432)]),
        ("postgresql://:7/d", [("", 7)]),
        ("postgresql:///d?hostaddr=10.0.0.1", [("10.0.0.1", 5432)]),
        ("postgresql://name/d?hostaddr=10.0.0.1", [("10.0.0.1", 5432)]),
    ],
)
def test_hosts(text: str, endpoints: list[tuple[str, int]]) -> None:
    assert list(read(text).endpoints) == endpoints


UNQUOTED = [
    "p@ss",
    "p:ss",
    "p@ss:w/rd#x",
    "a/b",
    "a?b",
    "a#b",
    "100%",
    "a%zz",
    "a@b@c",
    "[x]",
    "p w",
    "?&=@",
    "é€",
]


@pytest.mark.parametrize("password", UNQUOTED)
def test_special_characters_in_a_password(password: str) -> None:
    assert read(f"postgresql://u:{quote(password, safe='')}@host:1/db").password == password
    assert read(f"postgresql://u:{password}@host:1/db").password == password


@pytest.mark.parametrize("password", ["1/b", "a@b/c", "a@b:5432/c"])
def test_an_ambiguous_url_is_refused(password: str) -> None:
    error = refusal(f"postgresql://u:{password}@host/db")
    assert "is ambiguous" in error.message
    assert "urllib.parse" in (error.hint or "")


def test_an_at_in_the_query_does_not_end_the_password() -> None:
    assert read("postgresql://u:pw@h/d?application_name=me@work").password == "pw"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("hello", "not a PostgreSQL URL"),
        ("postgresql:/h/d", "not a PostgreSQL URL"),
        ("mysql://u:p@h/d", "mysql"),
        ("sqlite:///d.db", "sqlite"),
        ("jdbc:postgresql://h/d", "JDBC"),
        ("postgresql://", "names no database"),
        ("postgresql://h", "names no database"),
        ("postgresql://h/", "names no database"),
        ("postgresql://u:p@h/?sslmode=require", "names no database"),
        ("host=h user=u", "names no database"),
        ("postgresql://h/a?dbname=b", "two databases"),
        ("postgresql://h/a#b", "unquoted @ #"),
        ("postgresql://h/app&password=x", "unquoted"),
        ("postgresql://h/d?user=apassword=x", "password= inside its user"),
        ("postgresql://h/a\nb", "line break"),
        ("postgresql://h/%ff", "UTF-8"),
        ("postgresql://h/a%00b", "zero byte"),
        ("postgresql://h:0/d", "port"),
        ("postgresql://h:65536/d", "port"),
        ("postgresql://h:x/d", "port"),
        ("postgresql://::1/d", "host or port"),
        ("postgresql://h1,,h2/d", "empty host"),
        ("postgresql:///d?host=h1,h2&port=1,2,3", "3 ports for 2 hosts"),
        ("postgresql://h/d?sslmode", "without a value"),
        ("postgresql://h/d?sslmod=require", "sslmod; did you mean sslmode?"),
        ("postgresql://h/d?ssl_mode=require", "did you mean sslmode?"),
        ("postgresql://h/d?applicationname=x", "did you mean application_name?"),
        ("postgresql://h/d?zzz=1", "unknown parameter zzz"),
        ("host=h dbname=d zzz=1", "unknown parameter"),
        ("host=h dbname='d", "well-formed"),
        ("postgresql://h/d?sslmode=full", "unknown sslmode"),
        ("postgresql://h/d?sslrootcert=/nonexistent", "sslrootcert that does not exist"),
        ("postgresql://h/d?sslmode=verify-full", "no root certificate"),
        ("postgresql://h/d?sslmode=require&sslrootcert=system", "weaker"),
        ("postgresql://h/d?sslnegotiation=direct", "weak sslmode"),
        ("postgresql://h/d?connect_timeout=soon", "connect_timeout"),
        ("postgresql://h/d?connect_timeout=nan", "connect_timeout"),
        ("postgresql://h/d?target_session_attrs=master", "target_session_attrs"),
        ("postgresql://h/d?options=-d5", "options"),
        ("postgresql://h/d?server_settings=jit", "server_settings"),
        ("postgresql://h/d?server_settings=%7B%22a%3Bb%22:%22%22%7D", "an invalid name of a setting"),
        ("postgresql://h/d?requirepeer=postgres", "requirepeer"),
        ("postgresql://h/d?service=nowhere", "service"),
        ("postgresql://h/d?hostaddr=1.2.3.4&sslmode=verify-full&sslrootcert=system", "hostaddr"),
    ],
)
def test_refusals_say_what_is_wrong_and_what_to_type(text: str, words: str) -> None:
    error = refusal(text)
    assert words in error.message
    assert error.status == 2


@pytest.mark.parametrize("variable", ["PGDATABASE", "PGUSER"])
def test_no_variable_chooses_the_database(variable: str) -> None:
    assert "names no database" in refusal("postgresql://h/", **{variable: "other"}).message


@pytest.mark.parametrize(
    ("query", "settings"),
    [
        ("options=-c%20search_path%3Dapp", {"search_path": "app"}),
        ("options=-csearch_path%3Dapp%20--jit%3Doff", {"search_path": "app", "jit": "off"}),
        ("options=-c%20statement-timeout%3D5s", {"statement_timeout": "5s"}),
        ("options=-c%20a.b%3Dx%5C%20y%5C%5Cz", {"a.b": "x y\\z"}),
        ("options=-c%20TimeZone%3DUTC%2B2", {"TimeZone": "UTC+2"}),
        ("server_settings=%7B%22jit%22:%22off%22%7D", {"jit": "off"}),
        ("options=endpoint%3Dep-1%20-cjit%3Doff", {"jit": "off"}),
    ],
)
def test_session_settings_are_kept_out_of_the_start_up_parameters(
    query: str, settings: dict[str, str]
) -> None:
    address = read(f"postgresql://h/d?{query}&application_name=mine")
    assert address.session_settings == settings
    assert sent(address)[1].server_settings == {"application_name": "mine"}
    assert read(address.display()).session_settings == settings


def test_a_plus_in_the_query_is_a_blank_only_in_sqlalchemys_form() -> None:
    assert read("postgresql+asyncpg://h/d?options=-c+jit%3Doff").session_settings == {"jit": "off"}
    assert read("postgresql://h/d?application_name=a+b").parameters["application_name"] == "a+b"


@pytest.mark.parametrize(
    "key",
    [
        "channel_binding",
        "gssencmode",
        "keepalives_idle",
        "prepared_statement_cache_size",
        "statement_cache_size",
    ],
)
def test_what_has_no_counterpart_is_noted(key: str) -> None:
    (note,) = read(f"postgresql://h/d?{key}=0").notes
    assert note.startswith(f"{key} is ignored")


@pytest.mark.parametrize(
    ("given", "seconds", "total"),
    [
        ("", 10.0, 20.0),
        ("&connect_timeout=3", 3.0, 6.0),
        ("&timeout=2.5", 2.5, 5.0),
        ("&connect_timeout=0", None, None),
    ],
)
def test_connect_timeout_counts_for_each_host(given: str, seconds: float | None, total: float | None) -> None:
    address = read(f"postgresql://h1,h2/d?sslmode=disable{given}")
    assert (address.connect_timeout, address.connect_kwargs()["timeout"]) == (seconds, total)


# The surroundings: environment, service file, password file


def test_the_environment_fills_what_is_left_open() -> None:
    variables = {"PGHOST": "h", "PGPORT": "7", "PGUSER": "u", "PGPASSWORD": "pw", "PGAPPNAME": "a"}
    filled = read("postgresql:///d", **variables)
    assert filled == read("postgresql://u:pw@h:7/d?application_name=a")
    given_first = "postgresql://x:y@z:1/d?application_name=b"
    assert read(given_first, **variables) == read(given_first)


def test_a_service_fills_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "services"
    file.write_text(
        "# x\n[other]\nhost=wrong\n\n[live]\nhost=h\nport=7\ndbname=app\npassword=100%x=y\n[next]\nuser=no\n"
    )
    address = read("postgresql://u@/?service=live", PGSERVICEFILE=str(file), PGHOST="env")
    assert address.endpoints == (("h", 7),)
    assert (address.user, address.database, address.password) == ("u", "app", "100%x=y")
    assert read("service=live user=u", PGSERVICEFILE=str(file)) == address


def test_a_service_of_the_environment_does_not_choose_the_database(tmp_path: Path) -> None:
    file = tmp_path / "services"
    file.write_text("[live]\nhost=h\ndbname=app\n")
    variables = {"PGSERVICEFILE": str(file), "PGSERVICE": "live"}
    assert read("postgresql:///mine", **variables).endpoints == (("h", 5432),)
    assert "names no database" in refusal("user=me", **variables).message


def test_a_broken_service_file_is_named_by_line_not_by_text(tmp_path: Path) -> None:
    file = tmp_path / "services"
    file.write_text("[live]\nhost=h\nhunter2hunter2\n")
    error = refusal("postgresql:///d?service=live", PGSERVICEFILE=str(file))
    assert "line 3" in error.message
    assert "hunter2" not in error_text(error)


@pytest.mark.parametrize(
    ("line", "url", "password"),
    [
        ("db:5432:app:ada:pw", "postgresql://ada@db/app", "pw"),
        ("*:*:*:*:pw", "postgresql://ada@db/app", "pw"),
        ("db:5433:*:*:pw", "postgresql://ada@db/app", None),
        ("db:*:*:bob:pw", "postgresql://ada@db/app", None),
        ("db:*:*:*:p\\:w\\\\x", "postgresql://ada@db/app", "p:w\\x"),
        ("db:*:*:*: p w ", "postgresql://ada@db/app", " p w "),
        ("d\\:b:*:*:*:pw", "postgresql://ada@db/app", None),
        ("\\:\\:1:*:*:*:pw", "postgresql://ada@[::1]/app", "pw"),
        ("localhost:*:*:*:pw", "postgresql:///app?host=/run/pg", "pw"),
        ("localhost:*:*:*:pw", "postgresql:///app", "pw"),
        ("name:*:*:*:pw", "postgresql://ada@name/app?hostaddr=10.0.0.1", "pw"),
        ("h2:2:*:*:pw", "postgresql://ada@h1:1,h2:2/app", "pw"),
        ("# db:*:*:*:pw", "postgresql://ada@db/app", None),
        ("db:pw", "postgresql://ada@db/app", None),
        ("*:*:*:*:file", "postgresql://ada:url@db/app", "url"),
    ],
)
def test_password_file(tmp_path: Path, line: str, url: str, password: str | None) -> None:
    file = tmp_path / ".pgpass"
    file.write_text(f"\n# comment\n{line}\n")
    file.chmod(0o600)
    assert read(url, HOME=str(tmp_path)).password == password
    assert read(url, PGPASSFILE=str(file)).password == password


def test_a_password_file_that_others_may_read_is_ignored_with_a_note(tmp_path: Path) -> None:
    file = tmp_path / ".pgpass"
    file.write_text("*:*:*:*:pw\n")
    file.chmod(0o640)
    address = read("postgresql://ada@db/app", HOME=str(tmp_path))
    assert address.password is None
    assert "0600" in address.notes[0]


# What asyncpg gets


NOT_GIVEN = """
    dsn host port user password passfile database command_timeout ssl direct_tls server_settings
    target_session_attrs krbsrvname gsslib service servicefile
"""


def as_asyncpg_reads(**kwargs: Any) -> tuple[Any, Any]:
    defaults: dict[str, Any] = dict.fromkeys(NOT_GIVEN.split())
    defaults |= {
        "statement_cache_size": 0,
        "max_cached_statement_lifetime": 0,
        "max_cacheable_statement_size": 0,
    }
    addresses, parameters, _ = _parse_connect_arguments(**{**defaults, **kwargs})
    return addresses, parameters


def sent(address: Address) -> tuple[Any, Any]:
    """Return the addresses and parameters of asyncpg."""
    kwargs = address.connect_kwargs()
    kwargs.pop("timeout")
    return as_asyncpg_reads(**kwargs)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:pw@db:5433/app",
        "postgresql://ada:p%40w@h1:1,h2:2/app?target_session_attrs=read-write",
        "postgresql://ada:pw@/app?host=/run/pg&port=6000",
        "postgresql://ada:pw@[::1]:7/app?sslmode=require",
        "postgresql://ada:pw@/app",
        "postgresql://ada:pw@db/app?sslmode=disable",
        "postgresql://ada:pw@db/app?sslmode=allow&application_name=x",
        "postgresql://ada:pw@db/app?krbsrvname=pg",
    ],
)
def test_asyncpg_understands_the_same_as_from_the_url_itself(url: str) -> None:
    addresses, parameters = sent(read(url))
    expected_addresses, expected = as_asyncpg_reads(dsn=url)
    assert addresses == expected_addresses
    for name in (
        "user",
        "password",
        "database",
        "sslmode",
        "server_settings",
        "target_session_attrs",
        "krbsrvname",
    ):
        if name == "sslmode" and all(isinstance(address, str) for address in addresses):
            continue  # On a socket it means nothing, and we say so.
        assert getattr(parameters, name) == getattr(expected, name), name


@pytest.mark.parametrize(
    ("query", "verifies", "checks_name"),
    [
        ("sslmode=require", False, False),
        ("ssl=true", False, False),
        ("sslmode=require&sslrootcert={ca}", True, False),
        ("sslmode=verify-ca&sslrootcert={ca}", True, False),
        ("sslmode=verify_full&sslrootcert={ca}", True, True),
        ("sslrootcert=system", True, True),
    ],
)
def test_tls_checks_what_libpq_checks(query: str, verifies: bool, checks_name: bool, ca: Path) -> None:
    import ssl

    context = read(f"postgresql://db/app?{query.format(ca=ca)}").connect_kwargs()["ssl"]
    assert context.check_hostname is checks_name
    assert context.verify_mode == (ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("query", "mode"),
    [("", "prefer"), ("?sslmode=allow", "allow"), ("?ssl=false", "disable"), ("?sslmode=disable", "disable")],
)
def test_modes_that_may_do_without_encryption(query: str, mode: str) -> None:
    assert sent(read(f"postgresql://db/app{query}"))[1].sslmode.name == mode
    assert sent(read("postgresql://db/app", PGSSLMODE="disable"))[1].sslmode.name == "disable"


def test_a_root_certificate_at_home_is_found(ca: Path, tmp_path: Path) -> None:
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").write_bytes(ca.read_bytes())
    context = read("postgresql://db/app?sslmode=verify-full", HOME=str(tmp_path)).connect_kwargs()["ssl"]
    assert context.get_ca_certs()


def test_an_invalid_certificate_is_refused_before_connecting(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    address = read(f"postgresql://db/app?sslmode=verify-ca&sslrootcert={file}")
    with pytest.raises(SettingsError, match="cannot be loaded"):
        address.connect_kwargs()


def test_a_client_certificate_reaches_asyncpg_in_a_mode_that_may_fall_back(
    ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def load(_: object, certfile: str, keyfile: str, password: Callable[[], str]) -> None:
        loaded.append((certfile, keyfile, password()))

    monkeypatch.setattr("ssl.SSLContext.load_cert_chain", load)
    address = read(f"postgresql://db/app?sslcert={ca}&sslkey={ca}&sslpassword=key-secret")
    assert sent(address)[1].sslmode.name == "prefer"
    assert loaded == [(str(ca), str(ca), "key-secret")]


def test_nothing_that_is_read_of_a_url_shows_its_secrets(ca: Path) -> None:
    url = f"postgresql://ada:main-secret@db/app?sslcert={ca}&sslpassword=key-secret"
    address = read(url)
    assert (address.password, address.parameters["sslpassword"]) == ("main-secret", "key-secret")
    for value in (address, text.read(url), text._pick_split(url[13:])):
        assert "-secret" not in f"{value!r} {value}"


@pytest.fixture(scope="session")
def ca() -> Path:
    """Return a file of certificates that the system trusts."""
    import ssl

    paths = ssl.get_default_verify_paths()
    candidates = [paths.cafile, paths.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt"]
    certificates = next((Path(path) for path in candidates if path and Path(path).is_file()), None)
    if certificates is None:
        pytest.skip("this system has no file of trusted certificates")
    return certificates


def test_asyncpg_does_not_read_the_password_file_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".pgpass"
    file.write_text("*:*:*:*:pw\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    assert sent(read("postgresql://ada@db/app"))[1].password == ""


def test_asyncpg_does_not_read_variables_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PGSSLNEGOTIATION", "direct"), ("PGSSLMODE", "verify-full")):
        monkeypatch.setenv(name, value)
    for url in ("postgresql:///app?host=/run/pg", "postgresql://db/app?sslmode=disable"):
        assert sent(read(url))[1].sslmode.name == "disable"


# Secrets


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://db/app?hunter",
        "postgresql://db/app?password=a&hunter=b",
        "postgresql://db/app?passwordhunter=b",
        "postgresql://u:p@db/app?hunter=b@c",
        "postgresql://db/app?hunter%20x=b",
        "host=db dbname=app password=a hunter=b",
    ],
)
def test_an_unknown_parameter_that_may_be_a_piece_of_a_password_is_not_named(text: str) -> None:
    error = refusal(text)
    assert "unknown parameter" in error.message
    assert "hunter" not in error_text(error)


DISTINCTIVE = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=3, max_size=12
).map(lambda middle: f"Zq{middle}xV")


@given(password=DISTINCTIVE, data=st.data())
def test_no_damage_to_a_url_shows_its_password(password: str, data: st.DataObject) -> None:
    quoted = data.draw(st.sampled_from([password, quote(password), quote(password, safe="")]))
    url = data.draw(
        st.sampled_from(
            [
                f"postgresql+asyncpg://ada:{quoted}@db:5433/app?sslmode=require",
                f"postgres://ada:{quoted}@h1,h2/app",
                f"postgresql://db/app?user=ada&password={quoted}&sslmode=require",
                f"host=db dbname=app password={quoted} user=ada",
                f"host=db dbname=app password='{quoted}' user=ada",
            ]
        )
    )
    start = url.index(quoted)
    # Without the colon before it, a password is a part of the user's name to everybody.
    colon = start - 1 if url[start - 1] == ":" else None
    outside = [
        place for place in range(len(url)) if place != colon and not start <= place < start + len(quoted)
    ]
    place = data.draw(st.sampled_from(outside))
    insert = data.draw(st.sampled_from(["", *"@:/?#&='[]% x0"]))
    damaged = url[:place] + insert + url[place + 1 :]
    try:
        address = read(damaged)
    except SettingsError as error:
        shown = error_text(error)
    else:
        shown = f"{address!r} {address} {address.display()} {address.notes}"
    assert password not in shown
    assert quoted not in shown


@given(
    password=DISTINCTIVE,
    user=st.sampled_from(["ada", "a@b", "ü/x"]),
    database=st.sampled_from(["app", "a/b", "a@b"]),
)
def test_quoted_parts_come_back_and_the_display_is_a_url_of_the_same_place(
    password: str, user: str, database: str
) -> None:
    url = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@h1:1,h2/{quote(database, safe='')}"
    address = read(url)
    assert (address.user, address.password, address.database) == (user, password, database)
    again = read(address.display())
    assert (again.endpoints, again.user, again.database) == (address.endpoints, user, database)
    assert again.display() == address.display()


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://ada:long-secret@db/app", True),
        ("postgresql://ada:long%2Dsecret@db/app", True),
        ("postgresql://ada@db/app?password=long-secret", True),
        ("postgresql://long-secret:long-secret@db/app", False),
        ("postgresql://ada:long-secret@db/long-secret", False),
    ],
)
def test_passwords_are_masked_everywhere_unless_they_are_a_name_anyway(url: str, masked: bool) -> None:
    read(url)
    assert (redaction.redact("it says long-secret here") == "it says *** here") is masked
    assert ("long%2Dsecret" not in redaction.redact("x long%2Dsecret")) is masked


def test_short_passwords_do_not_punch_holes_into_words() -> None:
    read("postgresql://ada:main@db/app")
    assert redaction.redact("the main database") == "the main database"


def test_reading_an_address_imports_no_heavy_library() -> None:
    code = (
        "import sys; from circle_migrate.config.url.parse import parse;"
        "parse('postgresql://u:p@h/d?sslmode=require', source='x');"
        "print(*sorted({'ssl', 'pydantic', 'sqlalchemy', 'asyncpg', 'alembic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_another_database_of_the_same_server() -> None:
    url = "postgresql://ada:pw@h1:1,h2/{}?sslmode=require"
    assert read(url.format("app")).with_database("scratch") == read(url.format("scratch"))
