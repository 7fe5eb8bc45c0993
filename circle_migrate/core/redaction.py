"""Redaction of secrets in text.

Every secret that the settings contain is registered here; everything that leaves the process (stdout, stderr,
JSON, tracebacks of `--debug`, files) passes `redact`.
"""

import re
import string
from base64 import b64encode
from contextlib import suppress
from functools import cache
from itertools import pairwise
from urllib.parse import unquote

MASK = "***"

_secrets: set[str] = set()
_CODE_CHARACTERS = string.ascii_letters + string.digits + "+/-_"
"""The characters of base64, also in URLs, and of hex."""

# A password in a URL that was not registered. The word PASSWORD is the placeholder in hints.
_URL_PASSWORD = re.compile(
    r"(?P<head>(?<![a-zA-Z0-9+.-])[a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@]*:)(?!PASSWORD@)(?P<secret>[^\s]*)(?=@)"
)
# Tokens of known services, and JSON Web Tokens.
_KEYS = r"\b(?:gh\w_|github_pat_|glpat-|[rs]k_live_|xox\w-|eyJ[\w-]{8,}\.)[\w-]{8,}(?:\.[\w-]+)?"
# A secret in the query of a URL, in an assignment, or in a header of HTTP.
_ASSIGNED = (
    r"(?i)(?P<head>\b\w*(?:password|passfile|secret|token|(?:api|access)_?key)="
    r"|\b(?:authorization|(?:x-)?api-key|x-[\w-]*token)['\"]?\s*:\s*['\"]?(?:(?:basic|bearer|token)\s+)?"
    r"|\b(?:set-)?cookie: ?|\bbearer\s+(?=\S*\d)|\b(?:mysql\w*|sshpass)\s(?:[^|;\n]{0,200}\s)?-p ?"
    r"|(?<!\S)(?:-u|--user)[ =]?[^\s:'\"]+:(?!\d+\b)"
    r"|\b(?:password|passphrase|secret)(?: is)?:? (?=\S*\d)(?=\S*[a-z])(?=[^\s'\"(),]{8,}(?!\()))"
    r"(?P<secret>[^\s&'\"]+)"
)
_PRIVATE_KEY = r"(?s)(?P<head>-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END|\Z)"

# What follows is SQL, also as a line of Python code has it: its quotes may be escaped, its line ends `\n`.
_NAME = r"\w*(?:password|passwd|passphrase|pwd|secret|(?:api|access|private|signing)_?key|_token)\w*"
_GAP = (
    r"(?:\s|\\[nrt]|/\*(?:[^*]|\*(?!/)){0,200}\*/|--[^\n]{0,200}\n)*"  # bounded, or it takes quadratic time
)
_QUOTED = (
    r"(?:[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z)"
    r"|\\+'(?:[^'\\]|\\+[^'\\])*(?:\\+'|\Z)"
    r"|(?<!')(?P<quotes@>(?:'')+)(?=[^'\s,;)]).*?(?:(?P=quotes@)|\Z)"
    r"|(?:[nN]|[uU]&|[rbfuRBFU]{1,2})?'(?:[^']|'')*(?:'|\Z)"
    r'|(?:[rbfuRBFU]{1,2})?\\*"[^"]+(?:"|\Z))'
)
_LITERAL = (
    r"(?:\$(?P<tag>\w*)\$(?!\s*(?:;|\Z)).*?(?:\$(?P=tag)\$|\Z)|"
    + _QUOTED.replace("@", "1")
    + rf"(?:{_GAP}(?:\|\|)?{_GAP}{_QUOTED.replace('@', '2')})*)"
)
_OF_SET = rf"\bSET{_GAP}(?:(?:LOCAL|SESSION){_GAP})?"
_SETTING = rf"(?:{_NAME}|\w*(?:key|token|auth|credentials?|dsn))"
_OWN_SETTING = rf"\"?(?:\w+\"?\.\"?)+{_SETTING}\"?"
_HEADS = (
    # SET app.secret = '...', and the same name as an argument, keyword or item.
    rf"{_OF_SET}(?:{_OWN_SETTING}|\"?{_NAME}\"?){_GAP}(?:=|\bTO\b){_GAP}",
    rf"\b{_NAME}\\*['\"]?{_GAP}(?::=|=>|:(?!:)){_GAP}",
    rf"\b(?:\w*password|passwd|pwd|passfile){_GAP}={_GAP}",
    rf"\bset_config{_GAP}\({_GAP}(?:[eE]|\\+)?'+[\w .]*{_SETTING}\\*'+(?:{_GAP}::{_GAP}\w+)?{_GAP},{_GAP}",
    # {"token": "..."}
    rf"\"(?:\w*[_-])?(?:pass|pw|token|auth|credentials?)\\*\"{_GAP}:{_GAP}",
    # EXECUTE '... PASSWORD ' || '...'
    rf"\b{_NAME}{_GAP}'+{_GAP}\|\|{_GAP}(?:[\w.]+{_GAP}\({_GAP})?",
    # EXECUTE format('... PASSWORD %L', '...')
    rf"\b{_NAME}{_GAP}'*%(?:\d+\$)?[LsI]'*[^',]*'+{_GAP},{_GAP}",
    # The server on a setting: invalid value for parameter "app.secret": "..."
    rf"\bparameter \"(?:\w+\.)*{_NAME}\": ",
    # PASSWORD '...' and OPTIONS (password '...'); names in double quotes, too.
    rf"(?:\b{_NAME}\"?(?=[\s\\/-]){_GAP}|(?<![\w.'\"-])password)",
)
# Compiled, as those above, when a text needs them: this takes longer than most commands read their files.
_SQL_SECRETS = tuple(rf"(?is)(?P<head>{head})(?P<secret>(?!'+\s*\|\|){_LITERAL})" for head in _HEADS)
# A setting without quotes, whose name has a dot: SET app.secret TO value.
_SET = rf"(?i)(?P<head>{_OF_SET}{_OWN_SETTING}{_GAP}(?:=|\bTO\b){_GAP})(?P<secret>[^\s;,'\"$]+)"
# A password with blanks around its `=` in a connection string of dblink or a subscription.
_CONNECTION_STRING = (
    r"(?i)(?P<head>'\s*(?:\w+\s*=\s*(?:''[^']*''|[^\s'=]+)\s+)*(?:ssl)?password\s*=\s*)(?P<secret>[^\s'=]+)"
)
_QUOTES = frozenset("'\"$")
# What a text with a secret contains, and what has to follow it. "credentials" is also the name of a database;
# no pattern takes it for a setting before these characters.
_WORDS = {
    **dict.fromkeys(("pass", "pw", "secret", "key", "token", "auth", "dsn", "bearer", "cookie"), ""),
    **dict.fromkeys(("-u", "mysql", "_pat_", "glpat", "_live_", "xox", "eyj"), ""),
    "credential": "(?!s(?:[:@]|$))",
    "gh": "._",
}
_SUSPICIOUS = re.compile("|".join(map("".join, _WORDS.items())), re.IGNORECASE)

# In statements and source, where a word for a secret is a name and not a part of a sentence.
_WORD = (
    r"(?i)(?:passwor[dt]|kennwort|passwd|passphrase|passcode|pwd|secret|token|bearer|credential|crypt|hmac|\bpgp_"
    r"|(?<![a-z])(?:pass|pw|salt|pin|t?otp|mfa)(?![a-z])|(?:api|access|private|signing|encryption)_?key)"
)
_SQL_PARTS = (
    r"(?s)(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))|(?P<name>\"[^\"]*\")|(?P<escaped>\b[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z))"
    r"|'(?P<quoted>(?:[^']|'')*)(?:'|\Z)|\$(?P<tag>\w*)\$(?P<body>.*?)(?:\$(?P=tag)\$|\Z)"
)
_PYTHON_PARTS = (
    r"(?ms)#[^\n]*|(?P<quotes>\"{3}|'{3})(?:\\.|.)*?(?:(?P=quotes)|\Z)"
    r"|\"(?:[^\"\\\n]|\\.)*(?:\"|$)|'(?:[^'\\\n]|\\.)*(?:'|$)"
)
_FRAME = (
    r"(?m)^(?P<head>(?P<indent>[ |]*)File \"(?P<file>.+?)\", line (?P<line>\d+).*\n)"
    r"(?:(?P=indent)  .*(?:\n|\Z))*"
)


class Redacted(str):
    """A text without secrets; `redact` returns it as it is."""

    __slots__ = ()


def register(secret: str | None) -> None:
    """Register a secret for `redact`."""
    if secret:
        _secrets.update({secret, unquote(secret)})


@cache
def _plain_part(secret: str) -> str:
    """Return the longest part of the secret that is the same in every spelling."""
    return max(re.findall("[0-9A-Za-z]+", secret), key=len, default="")


@cache
def _spellings(secret: str) -> re.Pattern[str]:
    """Return a pattern for any mix of URL, SQL, JSON, Python and HTML."""

    def pattern(character: str) -> str:
        if character.isascii() and character.isalnum():
            return character
        own = r"[\\'\"]+" if character in "\\'\"" else rf"\\*{re.escape(character)}"
        own = r"(?:\s|\\+[nrt]|\+|%(?:25)*(?:20|2b|09|0a|0d))+" if character.isspace() else own
        octets, utf16 = character.encode().hex(","), character.encode("utf-16-be").hex(",", -2)
        percent, byte = octets.replace(",", "%(?:25)*"), octets.replace(",", r"\\+x")
        unit = utf16.replace(",", r"\\+u")
        return rf"(?i:{own}|%(?:25)*{percent}|\\+x{byte}|\\+u{unit}|\\+U?x?0*{ord(character):02x}|&[#\w]+;)"

    return re.compile("".join(map(pattern, " ".join(secret.split()) or secret)))


def redact(text: str) -> str:
    """Return the text with `***` for every registered secret and every password in a URL or in SQL.

    Call it before the text is joined with others or cut, as either can hide where a secret ends.
    """
    if isinstance(text, Redacted):
        return text
    text = _redact_registered(text)
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)
    folded = text.casefold()  # words are found faster than a pattern
    if not any(word in folded for word in _WORDS) or not _SUSPICIOUS.search(text):
        return text
    text = re.sub(_KEYS, MASK, text)
    if not _QUOTES.isdisjoint(text):
        for pattern in _SQL_SECRETS:
            text = re.sub(pattern, rf"\g<head>'{MASK}'", text)
        text = re.sub(_CONNECTION_STRING, rf"\g<head>{MASK}", text)
    for pattern in (_PRIVATE_KEY, _SET, _ASSIGNED):
        text = re.sub(pattern, rf"\g<head>{MASK}", text)
    return text


def _redact_registered(text: str) -> str:
    for secret in sorted(_secrets, key=len, reverse=True):
        if _plain_part(secret) in text:
            text = _spellings(secret).sub(MASK, text)
        for code in _encodings(secret):
            position = text.find(code)
            while position >= 0:  # the code may begin and end with other text, such as a user name
                head = text[:position].rstrip(_CODE_CHARACTERS)
                tail = text[position + len(code) :].lstrip(_CODE_CHARACTERS + "=")
                text, position = f"{head}{MASK}{tail}", f"{tail}".find(code)
                position += len(head) + len(MASK) if position >= 0 else 0
    return text


@cache
def _encodings(secret: str) -> frozenset[str]:
    """Return what base64 and hex, also of a longer text, contain for the secret."""
    octets = secret.encode()
    codes = {octets.hex(), octets.hex().upper()}
    for offset in range(3):
        code = b64encode(bytes(offset) + octets).rstrip(b"=").decode()
        # The first and last characters can have bits of other text.
        inner = code[-(-offset * 8 // 6) : (offset + len(octets)) * 8 // 6]
        codes |= {inner, inner.translate(str.maketrans("+/", "-_"))}
    return frozenset(codes)


def redact_statement(sql: str) -> str:
    """Return a statement as `redact` does, without literals if a word may mean another than a masked one."""
    text = redact(sql)
    if not re.search(_WORD, text):
        return text

    # Then a literal is a part of a statement.
    is_dynamic = re.search(r"(?i)\bEXECUTE\b|\bformat\s*\(|\|\|", re.sub(_SQL_PARTS, "", text))

    def code(part: re.Match[str]) -> str:
        # A name, as in ('smtp_password', '...').
        is_name = is_dynamic or re.fullmatch(r"[\w.-]+", part["quoted"] or "")
        literal = part["quoted"] or part["escaped"] if is_name else part[0] if MASK in part[0] else "''"
        return part["comment"] or part["name"] or literal or "''"

    is_masked = "" if is_dynamic else r"(?![^']*'\*\*\*')"
    is_open = re.search(_WORD + is_masked, re.sub(_SQL_PARTS, code, text))

    def mask(part: re.Match[str]) -> str:
        if part["comment"]:
            return f"/* {MASK} */" if re.search(_WORD, part[0]) else part[0]
        if part["name"]:
            return part[0]
        if is_open or (part["escaped"] and re.search(_WORD, part[0])):
            return f"'{MASK}'"
        if part["body"]:
            return part[0].replace(part["body"], redact_statement(part["body"]))
        inner = (part["quoted"] or "").replace("''", "'")
        safe = redact_statement(inner)  # it may be SQL, too
        return part[0] if safe == inner else "'" + safe.replace("'", "''") + "'"

    return re.sub(_SQL_PARTS, mask, text)


def redact_quotation(message: str, sql: str) -> str:
    """Return a message about a statement without the literals that `redact_statement` removes from that."""
    hidden = redact_statement(sql)
    for part in re.finditer(_SQL_PARTS, sql):
        literal = part["quoted"] or (part["escaped"] or "")[2:-1] or (part["name"] or "")[1:-1]
        if part["body"]:
            message = redact_quotation(message, part["body"])
        elif literal and literal in message and literal not in hidden:
            message = re.sub(rf"(?<!\w){re.escape(literal)}(?!\w)", MASK, message)
    return redact(message)


def redact_python(source: str) -> Redacted:
    """Return Python source in which only string literals and comments differ, where `redact` changes them.

    A literal that takes a value of the code, as `f"PASSWORD '{value}'"` does, has no secret.
    """
    import io
    import tokenize

    safe = redact(source)
    if safe == source:
        return Redacted(source)
    parts, done, begin, literals, nested = [], 0, 0, [], 0
    starts = [0, *(match.end() for match in re.finditer("\n", source)), len(source)]
    try:
        for token in tokenize.generate_tokens(io.StringIO(source, newline="").readline):
            start, end = (starts[row - 1] + column for row, column in (token.start, token.end))
            name = tokenize.tok_name[token.type]
            nested += name.endswith("STRING_START") - name.endswith("STRING_END")  # from Python 3.12 on
            if name.endswith("STRING_START") and nested == 1:
                literals.append((start, end))
            elif name.endswith("STRING_END") and nested == 0:
                literals[-1] = (literals[-1][0], end)
            elif name in ("STRING", "COMMENT") and nested == 0:
                literals.append((start, end))
            elif name in ("NEWLINE", "ENDMARKER"):
                if redact(source[begin:end]) != source[begin:end]:
                    for first, last in literals:
                        parts += [
                            source[done:first],
                            _masked_literal(source[begin:first], source[first:last]),
                        ]
                        done = last
                begin, literals = end, []
    except (SyntaxError, tokenize.TokenError):
        return Redacted(safe)
    return Redacted("".join([*parts, source[done:]]))


def _masked_literal(head: str, literal: str) -> str:
    """Return a literal or comment of Python, which follows on `head`, without its secrets."""
    import ast

    if literal.startswith("#"):
        return redact(literal).replace("\n", " ")
    prefix = re.split("['\"]", literal)[0].lower()
    fields = r"\{[^{}]*\}" if "f" in prefix else r"\{\w*\}"
    for probe in (literal, re.sub(rf"{fields}|%(?:\(\w+\))?[srLI](?!\w)|(?<=['\"\s=(,]):\w+", MASK, literal)):
        if redact(head + probe).endswith(probe[len(prefix) :]) and _redact_registered(literal) == literal:
            return literal
    with suppress(SyntaxError, ValueError):
        rest = redact(head + literal).removeprefix(redact(head))
        if isinstance(ast.parse(rest, mode="eval").body, ast.Constant | ast.JoinedStr):
            return rest
    return f"{'b' if 'b' in prefix else ''}'{MASK}'"


def redact_source(lines: list[str]) -> list[str]:
    """Return the lines of Python source, without literals in statements with a word for a secret beside."""
    import tokenize

    if not re.search(_WORD, "\n".join(lines)):
        return lines
    ends = [0]
    with suppress(SyntaxError, tokenize.TokenError):  # then the rest counts as one statement
        tokens = tokenize.generate_tokens(iter([f"{line}\n" for line in lines]).__next__)
        ends.extend(token.end[0] for token in tokens if token.type == tokenize.NEWLINE)
    redacted = list(lines)
    for begin, end in pairwise([*ends, len(lines)]):
        while begin < end and not lines[begin].strip():
            begin += 1  # noqa: PLW2901 - what follows blank lines is not beside what precedes them
        if re.search(_WORD, "\n".join(lines[max(begin - 1, 0) : end + 1])):
            text = "\n".join(lines[begin:end])
            text = re.sub(_PYTHON_PARTS, lambda part: f"'{MASK}'" + "\n" * part[0].count("\n"), text)
            redacted[begin:end] = text.split("\n")[: end - begin]
    return redacted


def redact_traceback(text: str) -> str:
    """Return a traceback with redacted source, and with redacted statements in SQLAlchemy's messages."""
    import linecache

    redacted_lines = cache(lambda file: redact_source("".join(linecache.getlines(file)).split("\n")))

    def redact_frame(frame: re.Match[str]) -> str:
        file, number = frame["file"], int(frame["line"])
        lines = linecache.getlines(file)
        if re.search(_WORD, "".join(lines[max(number - 30, 0) : number + 30])):
            lines = redacted_lines(file)
        line = "".join(lines[number - 1 : number]).strip()
        return frame["head"] + (f"{frame['indent']}  {line}\n" if line else "")

    text = re.sub(_FRAME, redact_frame, text)
    for sql in re.findall(r"(?s)\[SQL: (.*?)\]\n(?=[ |]*(?:\[SQL|\[parameters|\(Background))", text):
        text = redact_quotation(text.replace(sql, redact_statement(sql)), sql)
    return text
