"""Redaction of secrets in text.

Every secret that the settings contain is registered here; everything that leaves the process (stdout, stderr,
JSON, tracebacks of `--debug`, files) passes `redact`.
"""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus, unquote

MASK = "***"

_secrets: set[str] = set()

# A password in a URL that was not registered. The word PASSWORD is the placeholder in hints.
_URL_PASSWORD = re.compile(
    r"(?P<head>(?<![a-zA-Z0-9+.-])[a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@]*:)(?!PASSWORD@)(?P<secret>[^\s]*)(?=@)"
)
_KEY_PASSWORD = re.compile(
    r"(?P<head>\b(?:password|sslpassword|passfile)=)(?P<secret>[^\s&'\"]+)", re.IGNORECASE
)


def register(secret: str | None) -> None:
    """Register a secret, in its raw, percent-encoded and decoded spellings, for `redact`."""
    if secret:
        _secrets.update({secret, quote(secret, safe=""), quote_plus(secret), quote(secret), unquote(secret)})


def redact(text: str) -> str:
    """Return the text with every registered secret and every password in a URL replaced by `***`."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)
    return _KEY_PASSWORD.sub(rf"\g<head>{MASK}", text)
