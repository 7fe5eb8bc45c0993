"""Redaction of secrets in SQL, in messages about it, and in the spellings of a registered secret."""

from __future__ import annotations

import ast
import base64
import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest

from circle_migrate.core import redaction

SECRET = "Sesame Street 9"


@pytest.fixture(autouse=True)
def _no_registered_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", set())


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER ROLE a PASSWORD '{}'",
        "ALTER ROLE a PASSWORD'{}'",
        "ALTER ROLE a ENCRYPTED PASSWORD /* of a */ E'{}\\' {}' VALID UNTIL 'x'",
        "ALTER ROLE a PASSWORD -- new\n '{}'",
        "ALTER ROLE a PASSWORD 'x\\'; ALTER ROLE b PASSWORD '{}'",
        "ALTER ROLE a PASSWORD 'it''s {}'",
        "ALTER ROLE a PASSWORD 'one'\n  '{}'",
        "ALTER ROLE a PASSWORD U&'{}'",
        "alter role a password $pw$ it's {}$pw$ valid until 'x'",
        "ALTER ROLE a PASSWORD $${}",
        "ALTER ROLE a PASSWORD '{}",
        "DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD ''{}'''; END $$",
        "DO $$ BEGIN EXECUTE format('ALTER ROLE a PASSWORD %L', '{}'); END $$",
        "CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password '{}')",
        "ALTER USER MAPPING FOR a SERVER s OPTIONS (SET \"password\" '{}')",
        "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (aws_secret_access_key '{}')",
        "SELECT dblink('host=h password=''{}'' dbname=d')",
        "SELECT set_config('app.jwt_secret', '{}', false)",
        "SELECT pg_catalog.set_config('app.api_key'::text, E'{}', true)",
        "SET LOCAL app.db_password TO '{}'",
        "ALTER DATABASE d SET app.signing_key = '{}'",
        "SELECT make_user(name => 'a', password => '{}')",
        "op.execute('ALTER ROLE a PASSWORD \\'{}\\'')",
        '    connect(password="{}")',
        'invalid value for parameter "app.api_key": "{}"',
        "SET my.auth = '{}'",
        "ALTER DATABASE d SET app.stripe_key = '{}'",
        "DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD '''||'{}'||''''; END $$",
        '{"auth": {"pass": "{}"}',
    ],
)
def test_literal_after_a_word_for_secrets(statement: str) -> None:
    text = redaction.redact(statement.replace("{}", SECRET))
    assert "Sesame" not in text
    assert "Street" not in text
    assert redaction.MASK in text
    assert redaction.redact(text) == text


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO x (user_name, password) VALUES ('bob', '{}')",
        "INSERT INTO x VALUES ('it''s', '{}') RETURNING password_hash",
        "UPDATE x SET password_hash = '{}' WHERE name = 'bob'",
        "UPDATE x /* it's */ SET \"password\" = E'it\\'s {}'",
        "SELECT f(token => $${}$$)",
        "ALTER TABLE x ADD COLUMN api_token text DEFAULT '{}'",
        "ALTER ROLE a PASSWORD 'one'; UPDATE x SET pw = '{}'",
        "DO $$ BEGIN INSERT INTO x (name, password) VALUES ('bob', '{}'); END $$",
        "DO $$ BEGIN EXECUTE 'UPDATE x SET pw = ''{}'''; END $$",
        "SELECT f(E'UPDATE x SET pw = \\'{}\\'')",
        "COPY x FROM PROGRAM 'curl -H \"Authorization: Bearer {}\" https://h'",
        "SELECT f('https://h/?token={}&id=1')",
        "INSERT INTO settings (name, value) VALUES ('smtp_password', '{}')",
        "SELECT jsonb_build_object('api-token', '{}')",
        "UPDATE x SET hash = crypt('{}', gen_salt('bf'))",
        "SELECT pgp_sym_encrypt('x', '{}'), hmac('x', '{}', 'sha256')",
        "UPDATE x SET credentials = '{}', salt = '{}'",
        "SELECT 1 /* the password is {} */",
        "SELECT f('-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----')",
        "SET LOCAL app.token TO {}; SELECT 1",
        'ALTER ROLE a SET "app.password" = {}',
        "ALTER DATABASE a SET app.db_password TO {}",
        "COPY x FROM PROGRAM 'curl -u admin:{} https://h'",
        "COPY x FROM PROGRAM 'mysql -h h -p{} -e x'",
        "SELECT f('Bearer {}')",
        "SELECT f('Cookie: session={}')",
        "SELECT f('ghp_{}abcdefghijkl'), f('eyJhbGciOiJI.{}{}.{}')",
        "DO $$ BEGIN RAISE EXCEPTION 'no login with password {}{}'; END $$",
        "DO $$ DECLARE p text := '{}'; BEGIN EXECUTE 'ALTER ROLE a PASSWORD ' || quote_literal(p); END $$",
        "DO $$ BEGIN EXECUTE format('CREATE ROLE %I PASSWORD %L', 'a', '{}'); END $$",
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $f$ SELECT '{}' AS password $f$",
        "INSERT INTO x VALUES ('bob', '{}') /* password */",
        "UPDATE x SET totp_seed = '{}', kennwort = '{}'",
    ],
)
def test_literals_of_a_statement_with_a_word_for_secrets(statement: str) -> None:
    text = redaction.redact_statement(statement.replace("{}", "Sesame9"))
    assert "Sesame" not in text
    assert redaction.MASK in text
    assert redaction.redact(text) == text


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER ROLE a PASSWORD '***' VALID UNTIL '2030-01-01'",
        "CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password '***')",
        "SELECT set_config('app.jwt_secret', '***', false), 'x'",
        "INSERT INTO x (name) VALUES ('the password of Bob'), ('it''s his')",
        "DO $$ BEGIN PERFORM f('x'); END $$",
    ],
)
def test_other_literals_of_a_statement_stay(statement: str) -> None:
    assert redaction.redact_statement(statement) == statement


def test_literal_that_a_message_quotes() -> None:
    sql = "UPDATE x SET number = CAST('Sesame' AS int) WHERE password IS NULL"
    message = redaction.redact_quotation('invalid input syntax for type integer: "Sesame"', sql)
    assert message == 'invalid input syntax for type integer: "***"'
    block = "DO $$ DECLARE password text := 'Sesame'; BEGIN RAISE 'no: %', password; END $$"
    assert redaction.redact_quotation("no: Sesame", block) == "no: ***"
    unknown = 'syntax error at or near ""Sesame""'
    assert "Sesame" not in redaction.redact_quotation(unknown, 'ALTER ROLE a PASSWORD "Sesame"')


def test_statement_in_the_message_of_a_traceback() -> None:
    sql = "DO $$ BEGIN EXECUTE format('CREATE ROLE %I PASSWORD %L', 'a', 'Sesame9'); END $$"
    text = f"E: role 'a' exists\n[SQL: {sql}]\n(Background on this error at: x"
    assert "Sesame9" not in redaction.redact_traceback(text)


SOURCE = """def upgrade():
    op.execute(
        "ALTER ROLE a PASSWORD '"  # it's new
        "Sesame'"
    )
    op.execute('''
        INSERT INTO x (name, password)
        VALUES ('bob', 'Sesame')
    ''')
    connect(pw=secret_of("Sesame"))

    op.add_column("x", sa.Column("y"))
"""


def test_source_without_secrets() -> None:
    lines = redaction.redact_source(SOURCE.split("\n"))
    assert "Sesame" not in "".join(lines)
    assert lines[3:5] == ["        '***'", "    )"]
    assert lines[11] == '    op.add_column("x", sa.Column("y"))'
    assert len(lines) == len(SOURCE.split("\n"))
    assert "Sesame" not in "".join(redaction.redact_source([*SOURCE.split("\n"), "this is no Python"]))


HARMLESS_PYTHON = [
    "users = sa.table('users', password=sa.Column(sa.Text), x=1)",
    "op.add_column('x', sa.Column('token', sa.Text, server_default=''))",
    "token = op.f('ix_token')",
    "connect(password=settings.password, access_token=tokens[0])",
    "secret=hashlib.sha256(text).hexdigest()",
    "op.execute(f\"ALTER ROLE a PASSWORD '{password}'\")",
    "op.execute(f'ALTER ROLE a PASSWORD {quote(password)!r}')",
    "op.execute(\"ALTER ROLE a PASSWORD '%s'\" % password)",
    "op.execute(\"ALTER ROLE a PASSWORD '{}'\".format(password))",
    "op.execute(sa.text('UPDATE x SET password = :value').bindparams(value=value))",
    "url = f'postgresql://{user}:{password}@{host}/{name}'",
    "auth = requests.get(url, headers={'Authorization': f'Bearer {token1}'})",
    "if password_hash=='' or api_key=='':\n    pass",
]


@pytest.mark.parametrize("source", HARMLESS_PYTHON)
def test_python_without_secrets_is_unchanged(source: str) -> None:
    assert redaction.redact_python(source) == source
    assert redaction.redact(redaction.redact_python(source)) == source


PYTHON_SECRETS = [
    "connect(password='Sesame9')",
    'users = sa.table("users", password=sa.Column(sa.Text))\nlogin(password="Sesame9")',
    "op.execute(\"ALTER ROLE a PASSWORD 'Sesame9'\"); token = op.f('ix_token')",
    'op.execute(\n    "ALTER ROLE a PASSWORD \'"  # new\n    "Sesame9\'"\n)',
    'op.execute("""ALTER ROLE a\nPASSWORD \'Sesame9\'""")\nx(password=y.z)',
    "url = f'postgresql://{user}:Sesame9@{host}/{name}'",
    "url = 'redis://:Sesame9@host/0'",
    "connect(password=b'Sesame9', secret=call())",
    "connect(password=r'Sesame9' + call(), token=x)",
    "x = 1  # password = 'Sesame9'\ny(password=z)",
    "options = {'password': 'Sesame9', 'token': token}",
    "op.execute(f\"ALTER ROLE {name} PASSWORD 'Sesame9'\")",
]


@pytest.mark.parametrize("source", PYTHON_SECRETS)
def test_python_with_a_secret_is_still_python(source: str) -> None:
    text = redaction.redact_python(source)
    assert "Sesame9" not in text
    assert "***" in text
    ast.parse(text)
    names = [
        [node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)]
        for code in (source, text)
    ]
    assert set(names[1]) >= set(names[0]) - {"user", "host", "name"}
    assert redaction.redact_python(text) == text


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE SUBSCRIPTION s CONNECTION 'host = h password = {} dbname = d' PUBLICATION p",
        "SELECT dblink_connect('c', 'password={} host=h')",
        "CREATE SUBSCRIPTION s CONNECTION 'postgresql://u:{}@h/d' PUBLICATION p",
    ],
)
def test_password_in_a_connection_string(statement: str) -> None:
    text = redaction.redact(statement.format("Sesame9"))
    assert "Sesame9" not in text
    assert " PUBLICATION p" in text or "host=h" in text


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE users ADD COLUMN password text DEFAULT 'x'",
        "COMMENT ON COLUMN users.password IS 'hashed'",
        "CHECK ((token <> 'x'::text))",
        "UPDATE users SET password = NULL WHERE name = 'x'",
        "UPDATE users SET password = md5(name)",
        "unexpected token 'x'",
        "Type 'main credentials' to replace",
        "SELECT set_config('search_path', 'app', true)",
        "ALTER ROLE a PASSWORD NULL",
        "ALTER TABLE users ADD COLUMN password varchar(255), ADD COLUMN secret float8",
        "UPDATE settings SET key = 'theme', sort_key = 'x'",
        "docker run -u 1000:1000 image",
        "c4b0e5c7784e Add password reset fields",
        'password authentication failed for user "a"',
    ],
)
def test_other_text_stays(text: str) -> None:
    assert redaction.redact(text) == text


@pytest.mark.parametrize(
    "secret", ["it's", 'a\\b"c', "two  blanks", "ü-umlaut", "line\nend", "<\U0001f600>%41"]
)
def test_registered_secret_in_other_spellings(secret: str) -> None:
    redaction.register(secret)
    for text in (
        secret.replace("'", "''"),
        secret.replace("\\", "\\\\"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        " ".join(secret.split()),
        repr(secret.encode())[2:-1],
        json.dumps(json.dumps(secret)[1:-1])[1:-1],
        json.dumps(secret.replace("'", "''"))[1:-1],
        html.escape(secret),
        quote(secret, safe="").lower(),
        quote(quote_plus(secret), safe=""),
    ):
        assert redaction.redact(f"<{text}>") == "<***>"
    longer = [secret, f"bob:{secret}", f"xy{secret}z", f"{secret * 3}"]
    for octets in map(str.encode, longer):
        for code in (base64.b64encode(octets), base64.urlsafe_b64encode(octets), octets.hex().encode()):
            assert redaction.redact(f"<{code.decode()}> <{code.decode()}>") == "<***> <***>"
    assert redaction.redact(f"'\\x{secret.encode().hex().upper()}'") == "'\\***'"


@pytest.mark.parametrize(
    "text",
    [
        "PASSWORD /* ",
        "PASSWORD -- ",
        "E'\\' password ",
        "password ''x",
        "' host=h ",
        "mysql ",
        "PASSWORD '||",
        "secret$f$ ",
    ],
)
def test_long_text_takes_linear_time(text: str) -> None:
    started = time.monotonic()
    redaction.redact_statement(text * 4_000)
    assert time.monotonic() - started < 5
