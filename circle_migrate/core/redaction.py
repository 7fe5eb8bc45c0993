"""Redaction of secrets in text.

Every secret that the settings contain is registered here; everything that leaves the process (stdout, stderr,
JSON, tracebacks of `--debug`, files) passes `redact`.
"""

from __future__ import annotations

import json
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

# What follows is SQL, also as a line of Python code has it: its quotes may be escaped, its line ends `\n`.
_NAME = r"\w*(?:password|passwd|passphrase|pwd|secret|(?:api|access|private|signing)_?key|_token)\w*"
_GAP = (
    r"(?:\s|\\[nrt]|/\*(?:[^*]|\*(?!/)){0,200}\*/|--[^\n]{0,200}\n)*"  # bounded, or it takes quadratic time
)
_QUOTED = (
    r"(?:[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z)"
    r"|\\+'(?:[^'\\]|\\+[^'\\])*(?:\\+'|\Z)"
    r"|(?<!')(?P<quotes@>(?:'')+)(?=[^'\s,;)]).*?(?:(?P=quotes@)|\Z)"
    r"|(?:[nN]|[uU]&)?'(?:[^']|'')*(?:'|\Z)"
    r'|\\*"[^"]+(?:"|\Z))'
)
_LITERAL = (
    r"(?:\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)|"
    + _QUOTED.replace("@", "1")
    + rf"(?:{_GAP}(?:\|\|)?{_GAP}{_QUOTED.replace('@', '2')})*)"
)
_HEADS = (
    # SET app.secret = '...', and the same name as an argument, keyword or item.
    rf"\bSET{_GAP}(?:(?:LOCAL|SESSION){_GAP})?(?:\w+\.)*\"?{_NAME}\"?{_GAP}(?:=|\bTO\b){_GAP}",
    rf"\b{_NAME}\\*['\"]?{_GAP}(?::=|=>|:(?!:)){_GAP}",
    rf"\b(?:\w*password|passwd|pwd|passfile){_GAP}={_GAP}",
    rf"\bset_config{_GAP}\({_GAP}(?:[eE]|\\+)?'+(?:[\w ]+\.)*{_NAME}\\*'+(?:{_GAP}::{_GAP}\w+)?{_GAP},{_GAP}",
    # EXECUTE format('... PASSWORD %L', '...')
    rf"\b{_NAME}{_GAP}'*%(?:\d+\$)?[LsI]'*[^',]*'+{_GAP},{_GAP}",
    # The server on a setting: invalid value for parameter "app.secret": "..."
    rf"\bparameter \"(?:\w+\.)*{_NAME}\": ",
    # PASSWORD '...' and OPTIONS (password '...'); names in double quotes, too.
    rf"(?:\b{_NAME}\"?(?=[\s\\/-]){_GAP}|(?<![\w.'\"-])password)",
)
# Compiled when a text first needs them, as this takes longer than most commands read their files.
_SQL_SECRETS = tuple(rf"(?is)(?P<head>{head})(?P<secret>{_LITERAL})" for head in _HEADS)
# A password with blanks around its `=` in a connection string of dblink or a subscription.
_CONNECTION_PASSWORD = re.compile(
    r"(?P<head>'\s*(?:\w+\s*=\s*(?:''[^']*''|[^\s'=]+)\s+)*(?:ssl)?password\s*=\s*)(?P<secret>[^\s'=]+)",
    re.IGNORECASE,
)
_START_OF_LITERAL = re.compile(r"['\"$]")
_SUSPICIOUS = re.compile("pass|pwd|secret|_?key|_token", re.IGNORECASE)


def register(secret: str | None) -> None:
    """Register a secret for `redact`, as URLs, SQL, JSON and Python spell it, and with blanks folded."""
    if secret:
        _secrets.update({secret, quote(secret, safe=""), quote_plus(secret), quote(secret), unquote(secret)})
        _secrets.update(
            {secret.replace("'", "''"), secret.replace("\\", "\\\\"), repr(secret)[1:-1]}
            | {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        )
        folded = " ".join(secret.split())
        if folded:
            _secrets.add(folded)


def redact(text: str) -> str:
    """Return the text with `***` for every registered secret and every password in a URL or in SQL.

    Call it before the text is joined with others or cut, as either can hide where a secret ends.
    """
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)
    text = redact_sql(text)
    return _KEY_PASSWORD.sub(rf"\g<head>{MASK}", text)


def redact_sql(text: str) -> str:
    """Return the text with `'***'` for every SQL literal that stands for a password, token or key."""
    if not (_SUSPICIOUS.search(text) and _START_OF_LITERAL.search(text)):
        return text
    for pattern in _SQL_SECRETS:
        text = re.sub(pattern, rf"\g<head>'{MASK}'", text)
    return _CONNECTION_PASSWORD.sub(rf"\g<head>{MASK}", text)
