"""Access tokens: what is accepted, and everything else that is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import jwt
import pytest

from circle_migrate.api import AccessTokens
from circle_migrate.api.auth.access_tokens import InvalidToken
from tests.api.auth.people import KEY, OLD_KEY, tokens

SESSION = uuid4()
HEADER = {"alg": "HS256", "kid": "new", "typ": "at+jwt"}


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    valid = {
        "iss": "https://id.example",
        "aud": "circle",
        "sub": "7",
        "sid": str(SESSION),
        "iat": now,
        "exp": now + 60,
        "jti": "x",
    }
    return {name: value for name, value in {**valid, **changes}.items() if value is not None}


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header: object = HEADER, payload: object = None, key: str = KEY) -> str:
    """A token made by hand, with a right signature: libraries refuse to make some of them."""
    signed = f"{part(header)}.{part(claims() if payload is None else payload)}"
    return f"{signed}.{part(hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest())}"


def header(**changes: Any) -> str:
    return forge({name: value for name, value in {**HEADER, **changes}.items() if value is not None})


def payload(**changes: Any) -> str:
    return forge(payload=claims(**changes))


def test_valid_token() -> None:
    assert tokens().read(forge()) == (7, SESSION)
    assert tokens().read(tokens().issue(7, SESSION)) == (7, SESSION)


HOSTILE: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "no parts": lambda: "x",
    "other characters": lambda: "é.ü.ö",
    "long": lambda: forge(payload=claims(x="y" * 4096)),
    "alg none": lambda: header(alg="none").rpartition(".")[0] + ".",
    "alg None": lambda: header(alg="None").rpartition(".")[0] + ".",
    "alg none with a signature": lambda: header(alg="none"),
    "no alg": lambda: header(alg=None),
    "another algorithm of the same key": lambda: jwt.encode(
        claims(), KEY * 2, "HS512", {"kid": "new", "typ": "at+jwt"}
    ),
    "key confusion: RS256 over a secret": lambda: header(alg="RS256"),
    "no signature": lambda: forge().rpartition(".")[0] + ".",
    "another signature": lambda: forge(key="x" * 32),
    "kid of the other key": lambda: header(kid="old"),
    "no kid": lambda: header(kid=None),
    "unknown kid": lambda: header(kid="newer"),
    "kid is a path": lambda: header(kid="../../../dev/null"),
    "kid is SQL": lambda: header(kid="new' UNION SELECT 'x"),
    "kid is no text": lambda: header(kid=["new"]),
    "kid is null": lambda: forge({**HEADER, "kid": None}),
    "key in the header": lambda: header(jwk={"kty": "oct", "k": part(b"x" * 32)}),
    "where a key is": lambda: header(jku="https://evil.example/keys"),
    "critical extension": lambda: header(crit=["exp"]),
    "payload not encoded": lambda: header(b64=False, crit=["b64"]),
    "another type": lambda: header(typ="JWT"),
    "no type": lambda: header(typ=None),
    "header is a list": lambda: forge([HEADER]),
    "header is deep": lambda: forge(b'{"alg":' + b"[" * 1000 + b"]" * 1000 + b"}"),
    "payload is no object": lambda: forge(payload="7"),
    "payload is no JSON": lambda: forge(payload=b"\xff"),
    "expired": lambda: payload(exp=int(time.time()) - 11),
    "exp is no number": lambda: payload(exp="soon"),
    "exp is infinite": lambda: forge(
        payload=json.dumps(claims()).replace(str(claims()["exp"]), "1e999").encode()
    ),
    "issued in the future": lambda: payload(iat=int(time.time()) + 60),
    "not valid yet": lambda: payload(nbf=int(time.time()) + 60),
    "another issuer": lambda: payload(iss="https://evil.example"),
    "another audience": lambda: payload(aud="admin"),
    "several audiences": lambda: payload(aud=["circle", "admin"]),
    "user is no number": lambda: payload(sub="x"),
    "user is no text": lambda: payload(sub=7),
    "user is nobody": lambda: payload(sub="0"),
    "user is beyond integer": lambda: payload(sub=str(2**31)),
    "user is very long": lambda: payload(sub="9" * 3000),
    "session is no UUID": lambda: payload(sid="x"),
    "session is no text": lambda: payload(sid=7),
    **{f"no {name}": lambda name=name: payload(**{name: None}) for name in claims()},
}


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE)
def test_token_is_refused(token: Callable[[], str]) -> None:
    with pytest.raises(InvalidToken):
        tokens().read(token())


def test_clocks_may_differ_by_the_leeway() -> None:
    token = payload(exp=int(time.time()) - 5)
    assert tokens().read(token).user_id == 7
    with pytest.raises(InvalidToken):
        tokens(leeway=0).read(token)


def test_key_is_replaced_in_two_steps() -> None:
    names = {"issuer": "https://id.example", "audience": "circle"}
    before = AccessTokens({"old": OLD_KEY}, **names)
    both, after = AccessTokens({"new": KEY, "old": OLD_KEY}, **names), AccessTokens({"new": KEY}, **names)
    old, new = before.issue(7, SESSION), both.issue(7, SESSION)
    assert both.read(old) == both.read(new) == after.read(new) == (7, SESSION)
    with pytest.raises(InvalidToken):
        after.read(old)


@pytest.mark.parametrize(
    "arguments",
    [
        {"keys": {}},
        {"keys": {"new": "short"}},
        {"keys": {"new key": KEY}},
        {"issuer": ""},
        {"audience": ""},
        {"seconds": 0},
        {"leeway": -1},
    ],
    ids=str,
)
def test_arguments_that_are_not_safe_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        AccessTokens(**{"keys": {"new": KEY}, "issuer": "i", "audience": "a", **arguments})


def test_keys_are_in_no_representation() -> None:
    assert KEY not in repr(tokens())
