"""The environment of PostgreSQL's programs: the complete address, and no other variables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from circle_migrate.config.url.environment import environment
from circle_migrate.config.url.parse import parse

CASES = {
    "postgresql://ada:p%20w'%3A@db/shop": {
        "PGHOST": "db",
        "PGPORT": "5432",
        "PGUSER": "ada",
        "PGPASSWORD": "p w':",
        "PGDATABASE": "shop",
        "PGSSLMODE": "prefer",
    },
    "postgresql://ada@a:1,b:2/shop?target_session_attrs=read-write": {
        "PGHOST": "a,b",
        "PGPORT": "1,2",
        "PGTARGETSESSIONATTRS": "read-write",
    },
    "postgresql://ada@/shop?host=/run/pg&port=6": {
        "PGHOST": "/run/pg",
        "PGPORT": "6",
        "PGSSLMODE": "disable",
    },
    "postgresql://ada@db/shop?sslmode=verify-full&sslrootcert=FILE&sslcrl=FILE": {
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "FILE",
        "PGSSLCRL": "FILE",
    },
    "postgresql://ada@db/shop?sslmode=require&sslnegotiation=direct&ssl_max_protocol_version=TLSv1.3": {
        "PGSSLNEGOTIATION": "direct",
        "PGSSLMAXPROTOCOLVERSION": "TLSv1.3",
    },
    "postgresql://ada@db/shop?options=-c%20role%3Downer&connect_timeout=7&krbsrvname=pg": {
        "PGOPTIONS": "-c role=owner",
        "PGCONNECT_TIMEOUT": "7",
        "PGKRBSRVNAME": "pg",
    },
}


@pytest.mark.parametrize(("url", "expected"), CASES.items(), ids=range(len(CASES)))
def test_an_address_arrives_whole(url: str, expected: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.touch()
    address = parse(url.replace("FILE", str(file)), source="test", environ={"HOME": str(tmp_path)})
    with environment(address, "name", encrypted=False) as variables:
        wanted = {key: value.replace("FILE", str(file)) for key, value in expected.items()}
        assert {key: variables.get(key) for key in wanted} == wanted
        assert variables["PGAPPNAME"] == "name"


@pytest.mark.parametrize(
    ("mode", "encrypted", "expected"),
    [
        ("prefer", True, "require"),
        ("allow", True, "require"),
        ("prefer", False, "prefer"),
        ("disable", False, "disable"),
        ("require", True, "require"),
    ],
)
def test_a_program_is_encrypted_where_we_are(mode: str, encrypted: bool, expected: str) -> None:
    address = parse(f"postgresql://ada@db/shop?sslmode={mode}", source="test", environ={})
    with environment(address, "name", encrypted=encrypted) as variables:
        assert variables["PGSSLMODE"] == expected


def test_our_own_variables_stay_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "PGOPTIONS", "PGSERVICE", "PGHOSTADDR", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    address = parse("postgresql://ada@db/shop", source="test", environ={})
    with environment(address, "name", encrypted=False) as variables:
        assert "secret" not in variables.values()
        assert variables["PATH"] == os.environ["PATH"]


def test_the_password_of_a_key_goes_through_a_private_file(tmp_path: Path) -> None:
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).touch()
    url = f"postgresql://ada@db/shop?sslmode=require&sslcert={tmp_path}/c.pem&sslkey={tmp_path}/k.pem"
    address = parse(f"{url}&sslpassword=s3cret-pass", source="test", environ={})
    with environment(address, "name", encrypted=True) as variables:
        assert "s3cret-pass" not in "".join(variables.values())
        file = Path(variables["PGSERVICEFILE"])
        assert file.read_text().splitlines() == ["[circle-migrate]", "sslpassword=s3cret-pass"]
        assert file.parent.stat().st_mode & 0o777 == 0o700
    assert not file.exists()
