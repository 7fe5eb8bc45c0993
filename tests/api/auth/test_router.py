"""Sign-in over HTTP, from registration to a new password."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import Depends, FastAPI

import circle_migrate.api
from circle_migrate.api import AccessClaims, Message, MessageKind, auth_router
from circle_migrate.api.auth import router
from tests.api.asgi import request, running
from tests.api.auth.people import EMAIL, PASSWORD, PERSON, People, people, tokens
from tests.deployments import VARIABLES, execute
from tests.servers import NAMES, Databases, run

REFRESH = "/token/refresh"


async def value(databases: Databases, name: str, query: str, *arguments: object) -> Any:
    async with databases.connect(name) as connection:
        return await connection.fetchval(query, *arguments)


def test_registration_sign_in_and_refresh(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            answer = await client.register(email="Anna@Example.org", phone="+491701234567")
            assert (answer.status, answer.json) == (202, {"status": "accepted"})
            answer = await client.sign_in(email="ANNA@example.org")
            session = answer.json
            assert (answer.status, session["token_type"], session["expires_in"]) == (200, "Bearer", 900)
            assert answer.headers["cache-control"] == "no-store"
            claims = client.tokens.read(session["access_token"])
            assert claims.user_id == await value(
                databases, "main", "SELECT id FROM users WHERE email = $1", EMAIL
            )
            renewed = (await client.refresh(session["refresh_token"])).json
            assert renewed["refresh_token"] != session["refresh_token"]
            assert client.tokens.read(renewed["access_token"]) == claims
        last = "SELECT last_login_at IS NOT NULL FROM users"
        assert await value(databases, "main", last)
        for query in ("SELECT password_hash FROM user_credentials", "SELECT token_hash FROM refresh_tokens"):
            stored = str(await value(databases, "credentials", query))
            assert PASSWORD not in stored
            assert session["refresh_token"] not in stored

    run(scenario())


def test_address_is_verified_by_its_code(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            bearer = (await client.session())["access_token"]
            (message,) = client.sent
            assert (message.kind, message.to) == (MessageKind.VERIFY_EMAIL, EMAIL)
            assert message.secret not in repr(message)
            code = {"channel": "email", "code": message.secret}
            assert (await client.post("/codes/verify", code)).status == 401
            assert (await client.post("/codes/verify", code, bearer)).status == 204
            assert await value(databases, "main", "SELECT email_verified FROM users")
            assert (await client.post("/codes/verify", code, bearer)).status == 400
            again = await client.post("/codes", {"channel": "email"}, bearer)
            assert (again.status, again.json["detail"]) == (409, "the email is verified already")
            phone = await client.post("/codes", {"channel": "phone"}, bearer)
            assert (phone.status, phone.json["detail"]) == (409, "the account has no phone")

    run(scenario())


def test_new_password_ends_sessions_and_the_lock(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            session = await client.session()
            for _ in range(5):
                assert (await client.sign_in(password="wrong")).status == 401
            assert (await client.sign_in()).status == 401
            assert (await client.post("/password/forgot", {"email": EMAIL})).status == 202
            message = client.sent[-1]
            assert (message.kind, message.minutes) == (MessageKind.RESET_PASSWORD, 30)
            new = {"token": message.secret, "password": "another password"}
            assert (await client.post("/password/reset", new)).status == 204
            assert (await client.post("/password/reset", new)).status == 400
            assert (await client.refresh(session["refresh_token"])).status == 401
            assert (await client.sign_in()).status == 401
            assert (await client.sign_in(password="another password")).status == 200

    run(scenario())


def test_nobody_learns_whether_an_address_has_an_account(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            first = await client.register()
            second = await client.register(first_name="Eve", password="Eve's password")
            assert (second.status, second.text) == (first.status, first.text)
            assert client.sent[-1].kind == MessageKind.ALREADY_REGISTERED
            assert await value(databases, "main", "SELECT first_name FROM users") == "Anna"
            wrong = await client.sign_in(password="Eve's password")
            unknown = await client.sign_in(email="nobody@example.org")
            assert wrong.json["detail"] == unknown.json["detail"]
            sent = len(client.sent)
            forgot = await client.post("/password/forgot", {"email": "nobody@example.org"})
            # A token was sent less than a minute ago, with the second registration.
            known = await client.post("/password/forgot", {"email": EMAIL})
            assert (known.status, known.text) == (forgot.status, forgot.text)
            assert len(client.sent) == sent

    run(scenario())


def test_token_for_a_new_password_goes_to_the_stored_address(databases: Databases) -> None:
    """The lower case of the Kelvin sign is a k of ASCII."""

    async def scenario() -> None:
        async with people() as client:
            await client.register(email="kim@example.org")
            await client.post("/password/forgot", {"email": "\u212aim@example.org"})
            assert client.sent[-1].to == "kim@example.org"

    run(scenario())


def test_inactive_user_is_unknown(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            session = await client.session()
            await value(databases, "main", "UPDATE users SET is_active = false")
            assert (await client.sign_in()).status == 401
            assert (await client.refresh(session["refresh_token"])).status == 401
            answer = await client.post("/codes", {"channel": "email"}, session["access_token"])
            assert answer.status == 401
            await client.post("/password/forgot", {"email": EMAIL})
            await client.register()
            assert len(client.sent) == 1

    run(scenario())


def test_application_protects_its_routes() -> None:
    access = tokens()
    app = FastAPI()
    user = Depends(access.require)

    @app.get("/me")
    async def me(claims: AccessClaims = user) -> int:
        return claims.user_id

    bearer = {"Authorization": f"Bearer {access.issue(7, uuid4())}"}
    assert run(request(app, "/me", bearer)).text == "7"
    answer = run(request(app, "/me"))
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


SURROGATE = b'{"email": "a@example.org", "password": "\\ud800\\ud800abcdefgh"}'
DEEP = b'{"email": ' + b"[" * 8000 + b"]" * 8000 + b', "password": "x"}'
BAD: list[tuple[str, Any, int]] = [
    ("/token", SURROGATE, 422),
    ("/token", b'{"email": "a\\ud800@example.org", "password": "x"}', 422),
    ("/register", json.dumps({**PERSON, "first_name": "\ud800"}).encode(), 422),
    ("/register", {**PERSON, "first_name": "A\0"}, 422),
    (
        "/register",
        {**PERSON, "email": "İ" * 200 + "@example.org"},
        422,
    ),  # in lower case, it has 412 characters
    ("/token", {"email": "a\0@example.org", "password": "x"}, 422),
    *(
        ("/register", {**PERSON, "email": email}, 422)
        for email in (
            "victim<eve@example.org>",
            "a,eve@example.org",
            "a;eve@example.org",
            "a(b)@example.org",
            '"a"@example.org',
            "a\n@example.org",
            "a@example.org\n",
            "\u202eanna@example.org",
            "an\u200bna@example.org",
        )
    ),
    ("/register", {**PERSON, "first_name": "\u202eA"}, 422),
    ("/token", {"email": EMAIL, "password": "x\0y"}, 422),
    ("/token", {"email": EMAIL, "password": "x" * 73}, 422),
    ("/token", {"email": EMAIL, "password": "é" * 37}, 422),
    ("/token", {"email": "x" * 250 + "@example.org", "password": "x"}, 422),
    ("/token", {"email": ["a"], "password": {"$ne": ""}}, 422),
    ("/token", {"email": EMAIL, "password": "x", "admin": True}, 422),
    ("/token", DEEP, 400),
    ("/token", b'{"email": 1e400, "password": NaN}', 422),
    ("/codes", b'{"channel": -Infinity}', 401),
    ("/token/revoke", b'{"refresh_token": "a", "refresh_token": {}}', 422),
    ("/token", b"\xff\xfe", 422),
    ("/token", b"", 422),
    ("/token", b'{"email": "' + b"a" * 20_000 + b'"}', 413),
    ("/register", {"email": EMAIL, "password": "short", "first_name": "A", "last_name": "B"}, 422),
    ("/register", {"email": EMAIL, "password": PASSWORD, "first_name": "A\x1b[31m", "last_name": "B"}, 422),
    ("/register", {"email": EMAIL, "password": PASSWORD, "first_name": " ", "last_name": "B"}, 422),
    ("/register", {"email": "a@b@c", "password": PASSWORD, "first_name": "A", "last_name": "B"}, 422),
    (REFRESH, {"refresh_token": "é"}, 401),
    (REFRESH, {"refresh_token": "x" * 1001}, 422),
    ("/password/reset", b'{"token": "\\udfff", "password": "another password"}', 400),
    (REFRESH, {"refresh_token": ""}, 401),
    (REFRESH, {"refresh_token": "' OR true --"}, 401),
    ("/password/reset", {"token": "x", "password": "x" * 73}, 422),
    ("/password/reset", {"token": "x", "password": PASSWORD}, 400),
]


def test_hostile_input_is_refused(databases: Databases, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with people() as client:
            for path, body, status in BAD:
                answer = await client.post(path, body)
                assert answer.status == status, (path, str(body)[:80], answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
                assert len(answer.text) < 2000

    run(scenario())
    assert caplog.text == ""


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_what_a_form_of_another_site_can_send_is_refused(databases: Databases, kind: str) -> None:
    """A browser asks for permission before it sends JSON to another site."""

    async def scenario() -> None:
        async with people() as client:
            await client.register()
            body = json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
            headers = {"Content-Type": kind}
            answer = await request(client.app, "/auth/token", headers, method="POST", body=body)
            assert answer.status == 422

    run(scenario())


def test_request_that_never_comes_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "_BODY_SECONDS", 0.05)

    async def scenario() -> None:
        async with people() as client, asyncio.timeout(30):
            headers = {"Content-Type": "application/json"}
            answer = await request(client.app, "/auth/token", headers, method="POST", body=None)
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert answer.headers["content-type"] == "application/problem+json"

    run(scenario())


@pytest.mark.parametrize("length", [71, 72])
def test_long_password(databases: Databases, length: int) -> None:
    """bcrypt takes 72 bytes; the last one counts."""

    async def scenario() -> None:
        async with people() as client:
            password = "é" * (length // 2) + "x" * (length % 2)
            assert (await client.register(password=password)).status == 202
            assert (await client.sign_in(password=password[:-1])).status == 401
            assert (await client.sign_in(password=password)).status == 200

    run(scenario())


def test_openapi_has_the_routes() -> None:
    async def scenario() -> dict[str, Any]:
        async with people() as client:
            return client.app.openapi()

    schema = run(scenario())
    assert set(schema["paths"]) == {
        f"/auth{path}"
        for path in (
            "/register",
            "/token",
            "/token/refresh",
            "/token/revoke",
            "/codes",
            "/codes/verify",
            "/password/forgot",
            "/password/reset",
        )
    }
    codes = schema["paths"]["/auth/codes"]["post"]
    assert codes["security"] == [{"HTTPBearer": []}]
    assert set(codes["responses"]) == {"202", "4XX", "5XX"}
    assert set(codes["responses"]["4XX"]["content"]) == {"application/problem+json"}


def test_secrets_are_in_no_log(databases: Databases, caplog: pytest.LogCaptureFixture) -> None:
    """Neither where a message is not sent nor where a statement fails."""
    hidden: list[str] = [PASSWORD]

    async def send(message: Any) -> None:
        hidden.append(message.secret)
        raise RuntimeError(f"cannot send {message.secret}")

    async def scenario(client: People) -> None:
        session = await client.session()
        hidden.extend([session["access_token"], session["refresh_token"]])
        await client.post("/password/forgot", {"email": EMAIL})
        await value(databases, "credentials", "ALTER TABLE refresh_tokens RENAME TO gone")
        await value(databases, "main", "ALTER TABLE users ADD CHECK (email <> 'eve@example.org')")
        hidden.append("eve@example.org")
        for answer in (
            await client.refresh(session["refresh_token"]),
            await client.register(email="eve@example.org"),
        ):
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            secrets_in(answer.text)

    def secrets_in(text: str) -> None:
        assert [secret for secret in hidden if secret in text] == []

    async def all_of_it() -> None:
        async with people(send=send) as client:
            await scenario(client)

    run(all_of_it())
    assert "could not be sent: RuntimeError" in caplog.text
    assert 'relation "refresh_tokens" does not exist' in caplog.text
    secrets_in(caplog.text)


def test_privileges_of_the_page_are_enough(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[3] / "docs" / "sign-in.md").read_text(encoding="utf-8")
    grants = dict(zip(NAMES, re.findall(r"```sql\n(.*?)```", page, re.DOTALL), strict=True))
    role = f"app_{secrets.token_hex(4)}"

    async def scenario() -> None:
        await execute(databases, "main", f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        for name, statements in grants.items():
            await execute(databases, name, statements.replace("TO app", f"TO {role}"))
            url = databases.urls[name].replace("//postgres@", f"//{role}@")
            monkeypatch.setenv(VARIABLES[name], url)
        async with people() as client:
            session = await client.session()
            assert (await client.refresh(session["refresh_token"])).status == 200
            code = {"channel": "email", "code": client.sent[0].secret}
            assert (await client.post("/codes/verify", code, session["access_token"])).status == 204
            await client.register()
            new = {"token": client.sent[-1].secret, "password": PASSWORD}
            assert (await client.post("/password/reset", new)).status == 204
            assert (await client.post("/token/revoke", {"refresh_token": "x"})).status == 204
            await execute(databases, "credentials", "ALTER TABLE user_credentials ADD CHECK (user_id < 2)")
            assert (await client.register(email="b@example.org")).status == 503
            assert await value(databases, "main", "SELECT count(*) FROM users") == 1
        for name in NAMES:
            await execute(databases, name, f"DROP OWNED BY {role}")
        await execute(databases, "main", f"DROP ROLE {role}")

    run(scenario())


def test_application_can_be_started_again(databases: Databases) -> None:
    """As tests of an application do, each in an event loop of its own."""

    async def register(app: FastAPI, email: str) -> None:
        async with running(app):
            client = People(app, tokens())
            forgot = [client.post("/password/forgot", {"email": email}) for _ in range(4)]
            assert {answer.status for answer in await asyncio.gather(*forgot)} == {202}
            assert (await client.register(email=email)).status == 202
            answers = await asyncio.gather(*(client.sign_in(email=email) for _ in range(4)))
            assert {answer.status for answer in answers} == {200}

    async def send(_: Message) -> None:
        pass

    app = FastAPI()
    app.include_router(auth_router(tokens(), send, bcrypt_rounds=4), prefix="/auth")
    run(register(app, "a@example.org"))
    run(register(app, "b@example.org"))


def test_health_routes_load_nothing_of_sign_in() -> None:
    code = "import sys, circle_migrate.api.server; print(sorted({'jwt', 'pwdlib'} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"
    with pytest.raises(AttributeError):
        _ = circle_migrate.api.missing
