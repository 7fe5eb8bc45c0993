"""Types of settings: validators that turn what a source says into a value."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, StringConstraints, ValidationInfo

from circle_migrate.config.databases import BUNDLED
from circle_migrate.config.provenance import DEFAULT, READING, Origin, Provenance, read_text
from circle_migrate.config.url.parse import has_password, parse
from circle_migrate.core import redaction
from circle_migrate.core.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from circle_migrate.config.assumed_size import SizeAssumption
    from circle_migrate.config.databases import Locations
    from circle_migrate.config.ignore_rule import IgnoreRule
    from circle_migrate.config.password_command import PasswordCommand as Command
    from circle_migrate.config.url.address import Address
else:
    Address = Command = IgnoreRule = Locations = SizeAssumption = Any
    """Pydantic need not know the parts of what a validator returns; their schemas take time."""

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|min|h)?")
_UNITS = {None: 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
# In PostgreSQL, lock_timeout is a 32-bit number of milliseconds, and 0 means no limit.
_MAX_SECONDS = 2**31 // 1000
_MIN_LOCK_TIMEOUT = 0.001
_TOKEN = re.compile(r"[!-~]{16,}")
_MAX_IDENTIFIER_LENGTH = 63
"""Characters; PostgreSQL truncates longer names without an error."""


class _Given(NamedTuple):
    """What a validator knows about a value: its origin, the other origins, and the database that it is of.

    `others` has the values of the fields before it.
    """

    origin: Origin
    provenance: Provenance
    database: str | None
    others: Mapping[str, Any]

    @property
    def databases(self) -> tuple[str, ...]:
        return tuple(known.name for known in self.provenance.databases)


def _validator(convert: Callable[[Any, _Given], Any]) -> Callable[[Any, ValidationInfo], Any]:
    """Return a validator that calls `convert`, and records its `UsageError` instead of raising it."""

    def validate(value: Any, info: ValidationInfo) -> Any:
        database, provenance = info.data.get("name"), READING.get()
        key = str(info.field_name).replace("_", "-")
        origin = provenance.origin(f"databases.{database}.{key}" if database else key)
        try:
            return convert(value, _Given(origin, provenance, database, info.data))
        except SettingsError as error:
            error.database = database
            provenance.problems.append(error)
        except UsageError as error:
            provenance.problem(f"{origin.subject}: {error.message}", hint=error.hint or "")
        return None

    return validate


def _from_text(convert: Callable[[str, _Given], Any], expected: str) -> PlainValidator:
    """Return a validator for a text; `expected` says in an error what it should be."""

    def check(value: Any, given: _Given) -> Any:
        text = str(value).strip() if isinstance(value, str | Path) else ""
        if not text:
            raise ValueError(f"should be {expected}")
        return convert(text, given)

    return PlainValidator(_validator(check), json_schema_input_type=str)


def _decide_embedded(value: bool, given: _Given) -> bool:  # noqa: FBT001 - a validator
    """Return whether to use the embedded server.

    Both the embedded server and a URL are a contradiction, unless exactly one of them is a flag: a
    deployment must not silently reach another database than the one it names.
    """
    origin, provenance = given.origin, given.provenance
    keys = [f"{known.key}url" for known in provenance.databases]
    urls = [provenance.origins[key] for key in keys if key in provenance.origins]
    url_flags = [url for url in urls if url.is_flag]
    if value and url_flags and not origin.is_flag:
        provenance.origins["embedded"] = url_flags[0]
        return False
    conflicting = url_flags if origin.is_flag else urls
    if value and conflicting:
        provenance.problem(
            f"{origin.subject} and {conflicting[0].subject} contradict each other",
            hint="keep one of them: the embedded server, or the URLs",
        )
    provenance.embedded = value
    return value


def _parse_url(text: str, given: _Given) -> Address | None:
    origin = given.origin
    if given.database and given.provenance.embedded:
        return None
    if origin.file:
        text = read_text(origin.file, origin.subject)
    if origin.is_shared and has_password(text):
        raise SettingsError(
            f"{origin.subject} has a password, which does not belong in a file under version control",
            hint="set CIRCLE_MIGRATE_SCRATCH_URL in the environment or in .env",
        )
    address = parse(text, source=origin.subject, environ=given.provenance.environ)
    command: Command | None = given.others.get("password_command")
    if command is None or (has_password(text) and origin.is_flag):
        return address
    if has_password(text):
        raise SettingsError(
            f"{origin.subject} has a password, and {command.source} gives another one",
            hint="keep one of them: the password in the URL, or password-command",
        )
    return address._replace(password=None, password_command=command)


def _parse_token(text: str, given: _Given) -> str:
    if given.origin.is_shared:
        raise SettingsError(
            f"{given.origin.subject} is a token, which does not belong in a file under version control",
            hint="set CIRCLE_MIGRATE_API_TOKEN in the environment or in .env",
        )
    if not _TOKEN.fullmatch(text):
        raise UsageError(
            "should be at least 16 printable ASCII characters without blanks", hint="openssl rand -hex 32"
        )
    redaction.register(text)
    return text


def _parse_password_command(value: Any, given: _Given) -> Command:
    from circle_migrate.config.password_command import PasswordCommand as Command

    return Command.parse(value, given.origin.folder, given.origin.subject)


def _check_environment(name: str, given: _Given) -> str:
    """Refuse a name that is misspelt: the settings would be those of no environment."""
    names = given.provenance.environments
    if name not in names:
        raise UsageError(
            f"there is no environment {name!r}",
            hint=f"the environments are {', '.join(names)}"
            if names
            else f"pyproject.toml has none: write [tool.circle-migrate.env.{name}]",
        )
    return name


def _check_reference(text: str, given: _Given) -> str:
    if given.origin is not DEFAULT:
        given.provenance.packages.check_attribute(text, given.origin.subject)
    return text


def _find_comparison(value: Any, given: _Given) -> Any:
    """Return true or false, which environment variables write as texts, or a checked reference."""
    if isinstance(value, str) and ":" in value:
        return _check_reference(value.strip(), given)
    known, text = {"true": True, "false": False}, str(value).strip().lower()
    if text not in known:
        raise ValueError("should be true, false or of the form package.module:function")
    return known[text]


def _check_module(text: str, given: _Given) -> str:
    if given.origin is not DEFAULT:
        given.provenance.packages.check_module(text, given.origin.subject)
    return text


def _parse_difference(text: str, given: _Given) -> IgnoreRule:
    from circle_migrate.config.ignore_rule import parse_difference_rule

    return parse_difference_rule(text, given.databases)


def _parse_hazard(text: str, given: _Given) -> IgnoreRule:
    from circle_migrate.config.ignore_rule import parse_hazard_rule

    return parse_hazard_rule(text, given.databases, given.provenance.hazard_ids())


def _parse_assumption(text: str, given: _Given) -> SizeAssumption:
    from circle_migrate.config.assumed_size import parse_assumption

    return parse_assumption(text, given.databases)


def _find_revisions(value: Any, given: _Given) -> Locations:
    """Return where the revisions are; the package's own are relative to this file, which is found faster."""
    from circle_migrate.config.databases import Locations

    if isinstance(value, str) and (bundled := BUNDLED.get(value)):
        return Locations((Path(__file__).parents[1] / "revisions" / bundled.name,))
    texts = value.splitlines() if isinstance(value, str) else value
    if (
        not isinstance(texts, list)
        or not texts
        or not all(isinstance(item, str) and item.strip() for item in texts)
    ):
        raise ValueError("should be a folder or a list of folders")
    from circle_migrate.config.alembic_ini import find

    return find(list(map(str.strip, texts)), str(given.database), given.origin, given.provenance)


def _parse_seconds(value: object) -> object:
    """Return the seconds of "500ms", "4s", "2min" or "1h"; a number as it is."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        return float(match["number"]) * _UNITS[match["unit"]]
    if isinstance(value, str | bool):
        raise ValueError("not a duration; write seconds, or a number with ms, s, min or h")  # noqa: TRY004
    return value


def _ensure_own(name: str) -> str:
    """Refuse a schema that has other tables: nothing of the journal's schema is compared or assessed."""
    if name in ("public", "information_schema", "circle_kept") or name.startswith("pg_"):
        raise ValueError("name a schema that has nothing but the journal")
    return name


Embedded = Annotated[bool, AfterValidator(_validator(_decide_embedded))]
_Seconds = Annotated[float, BeforeValidator(_parse_seconds, json_schema_input_type=float | str)]
Wait = Annotated[_Seconds, Field(ge=0, le=_MAX_SECONDS)]
LockTimeout = Annotated[_Seconds, Field(ge=_MIN_LOCK_TIMEOUT, le=_MAX_SECONDS)]
# The address in brackets may be IPv6.
Listen = Annotated[
    str, StringConstraints(pattern=r"^([\w.-]+|\[[0-9a-f:]+\]):\d{1,5}$", strip_whitespace=True)
]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Identifier = Annotated[
    str, StringConstraints(min_length=1, max_length=_MAX_IDENTIFIER_LENGTH, strip_whitespace=True)
]
JournalSchema = Annotated[Identifier, AfterValidator(_ensure_own)]
Url = Annotated[Address, _from_text(_parse_url, "a URL")]
Token = Annotated[str, _from_text(_parse_token, "a text")]
PasswordCommand = Annotated[
    Command, PlainValidator(_validator(_parse_password_command), json_schema_input_type=str | list[str])
]
Folder = Annotated[
    Path, _from_text(lambda text, given: given.origin.folder / Path(text).expanduser(), "a path")
]
Environment = Annotated[str, _from_text(_check_environment, "the name of an environment")]
Reference = Annotated[str, _from_text(_check_reference, "of the form package.module:attribute")]
ComparedBy = Annotated[
    bool | str, PlainValidator(_validator(_find_comparison), json_schema_input_type=bool | str)
]
Revisions = Annotated[
    Locations, PlainValidator(_validator(_find_revisions), json_schema_input_type=str | list[str])
]
# Environment variables write a list as the lines of a text.
_Lines = BeforeValidator(lambda value: value.splitlines() if isinstance(value, str) else value)
Texts = Annotated[tuple[Text, ...], _Lines]
_Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[a-z0-9.-]+(:\d{1,5})?)$")]
Origins = Annotated[tuple[_Origin, ...], _Lines]
Modules = Annotated[tuple[Annotated[str, _from_text(_check_module, "a module")], ...], _Lines]
DifferenceRules = Annotated[
    tuple[Annotated[IgnoreRule, _from_text(_parse_difference, "a text")], ...], _Lines
]
HazardRules = Annotated[tuple[Annotated[IgnoreRule, _from_text(_parse_hazard, "a text")], ...], _Lines]
Assumptions = Annotated[
    tuple[Annotated[SizeAssumption, _from_text(_parse_assumption, "a text")], ...], _Lines
]
