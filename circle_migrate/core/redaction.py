"""The one place where secrets are taken out of text.

Every secret the settings read is registered here in each spelling it can appear in; everything that
leaves the process (stdout, stderr, JSON, tracebacks of `--debug`, files we write) passes `redact`.
"""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus, unquote

MASK = "***"

_secrets: set[str] = set()

# What a URL's password looks like even when nobody registered it: `scheme://user:password@`. The word
# PASSWORD itself is what our hints tell people to replace.
_URL_PASSWORD = re.compile(
    r"(?P<head>(?<![a-zA-Z0-9+.-])[a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@]*:)(?!PASSWORD@)(?P<secret>[^\s]*)(?=@)"
)
_KEY_PASSWORD = re.compile(
    r"(?P<head>\b(?:password|sslpassword|passfile)=)(?P<secret>[^\s&'\"]+)", re.IGNORECASE
)


def register(secret: str | None) -> None:
    """Remember a secret, in its raw, percent-encoded and decoded spellings, so that `redact` hides it."""
    if secret:
        _secrets.update({secret, quote(secret, safe=""), quote_plus(secret), quote(secret), unquote(secret)})


def redact(text: str) -> str:
    """The text with every registered secret, and every password in a URL, replaced by `***`."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)
    return _KEY_PASSWORD.sub(rf"\g<head>{MASK}", text)
