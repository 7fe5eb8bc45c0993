"""Settings from every source, in order of precedence; all problems at once; the source of each value."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from circle_migrate.config.databases import PLATFORM
from circle_migrate.config.load import load
from circle_migrate.config.settings import Settings, Value
from circle_migrate.core import redaction
from circle_migrate.core.errors import SettingsError

SECRET = "Zq-secret-xV"
MAIN = f"postgresql://ada:{SECRET}@db:5432/app"
CREDENTIALS = f"postgresql://ada:{SECRET}@creds:5433/creds"


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(redaction, "_secrets", set())
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("circle_migrate.config.sources.DEFAULT_SECRETS", tmp_path / "no-secrets")
    logger = logging.getLogger("pydantic_settings")
    level = logger.level
    yield
    logger.setLevel(level)


class Project:
    """A project folder with settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def table(self, text: str) -> None:
        self.write("pyproject.toml", f"[tool.circle-migrate]\n{text}\n")

    def load(self, flags: Any = None, *, cwd: str = ".", **environ: str) -> Settings:
        return load(flags, environ={"HOME": "/nonexistent", **environ}, cwd=self.folder / cwd)

    def refusal(self, flags: Any = None, **environ: str) -> SettingsError:
        with pytest.raises(SettingsError) as caught:
            self.load(flags, **environ)
        error = caught.value
        assert SECRET not in f"{error} {error.to_dict()} {error!r} {error.__cause__} {error.__context__}"
        assert error.status == 2
        assert error.hint
        return error


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder)


def value(settings: Settings, key: str) -> Value:
    return next(item for item in settings.values if item.key == key)


def test_the_defaults(project: Project) -> None:
    settings = project.load()
    assert list(settings.databases) == [known.name for known in PLATFORM]
    assert (settings.lock_wait, settings.lock_timeout) == (60, 4)
    assert (settings.embedded, settings.atomic, settings.transaction) == (False, False, "all")
    assert settings.embedded_data == project.folder / ".circle-migrate" / "postgres"
    for database in settings.databases.values():
        assert database.revisions.folders[0].parts[-3:] == ("circle_migrate", "revisions", database.name)
        assert database.models == f"circle_migrate.models.{database.name}:metadata"
        assert (database.version_table, database.version_table_schema) == ("alembic_version", None)
        assert database.search_path == "public"
    assert {item.source for item in settings.values} == {"default"}


@pytest.mark.parametrize(
    ("name", "variable"), [("main", "DATABASE_URL"), ("credentials", "CREDS_DATABASE_URL")]
)
def test_a_missing_url_is_an_error_only_when_it_is_asked_for(
    project: Project, name: str, variable: str
) -> None:
    database = project.load(**{variable: "  "}).databases[name]
    with pytest.raises(SettingsError) as caught:
        _ = database.address
    assert f"{variable}=postgresql://" in (caught.value.hint or "")
    assert "--embedded" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("App, public", "app"),
        ('"My ""App""",public', 'My "App"'),
        ('"$user", public', None),
        ("$user", None),
        ("", None),
    ],
)
def test_the_default_schema_is_the_first_of_the_search_path(
    project: Project, path: str, schema: str | None
) -> None:
    main = project.load().databases["main"].model_copy(update={"search_path": path})
    assert main.default_schema == schema
    url = project.load(DATABASE_URL="postgresql://u@h/d?options=-csearch_path%3Dours").databases["main"].url
    assert main.model_copy(update={"url": url}).default_schema == "ours"


def test_unknown_names_of_databases_are_a_key_error(project: Project) -> None:
    with pytest.raises(KeyError):
        project.load().databases["other"]


# The order of the places. Each sets lock-wait, and the URL where it may.


def flags_place(_: Project, number: int) -> dict[str, Any]:
    return {"flags": {"lock_wait": number}}


def environment_place(_: Project, number: int) -> dict[str, Any]:
    return {"CIRCLE_MIGRATE_LOCK_WAIT": str(number)}


def env_file_place(project: Project, number: int) -> dict[str, Any]:
    project.write(".env", f"\n# comment\nREDIS_URL=redis://x\n\nCIRCLE_MIGRATE_LOCK_WAIT={number}\n")
    return {}


def pyproject_place(project: Project, number: int) -> dict[str, Any]:
    project.table(f"lock-wait = {number}")
    return {}


def secrets_place(project: Project, number: int) -> dict[str, Any]:
    folder = project.write("secrets/circle_migrate_lock_wait", f"{number}\n").parent
    return {"CIRCLE_MIGRATE_SECRETS_DIR": str(folder)}


PLACES: list[tuple[Callable[[Project, int], dict[str, Any]], str]] = [
    (flags_place, "flag --lock-wait"),
    (environment_place, "environment CIRCLE_MIGRATE_LOCK_WAIT"),
    (env_file_place, "file .env line 5"),
    (pyproject_place, "pyproject.toml [tool.circle-migrate]"),
    (secrets_place, "secrets {folder}/secrets/circle_migrate_lock_wait"),
]


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_a_stronger_place_wins_and_is_named(project: Project, first: int) -> None:
    given: dict[str, Any] = {}
    for number, (place, _) in list(enumerate(PLACES))[first:]:
        given |= place(project, number + 1)
    settings = project.load(**given)
    assert settings.lock_wait == first + 1
    assert value(settings, "lock-wait") == Value(
        "lock-wait", f"{first + 1} s", PLACES[first][1].format(folder=project.folder)
    )


@pytest.mark.parametrize("known", PLATFORM, ids=lambda known: known.name)
@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("flag", "flag {flag}"),
        ("environment", "environment {variable}"),
        ("environment file", "file {folder}/url (environment {variable}_FILE)"),
        (".env", "file .env line 2"),
        (".env file", "file {folder}/url (file .env line 2)"),
        ("secrets", "secrets {folder}/{variable}"),
        ("SECRETS", "secrets {folder}/{lower}"),
    ],
)
def test_a_url_from_every_place(project: Project, known: Any, place: str, source: str) -> None:
    variable = known.url_variable
    name = variable.lower().replace("_", "-")
    given: dict[str, Any] = {}
    file = project.write("url", f"{MAIN}\n")
    if place == "flag":
        given = {"flags": {variable.lower(): MAIN}}
    elif place.startswith("environment"):
        given = {f"{variable}_FILE": "url"} if "file" in place else {variable: MAIN}
    elif place.startswith(".env"):
        line = f"{variable}_FILE=url" if "file" in place else f"{variable}='{MAIN}'"
        project.write(".env", f"JWT_SECRET_KEY=x\n{line}\nSTRIPE_KEY=y\n")
    else:
        project.write(variable if place == "secrets" else variable.lower(), f"{MAIN}\n")
        given = {"CIRCLE_MIGRATE_SECRETS_DIR": str(project.folder)}
    settings = project.load(**given)
    assert settings.databases[known.name].address.password == SECRET
    expected = source.format(flag=f"--{name}", variable=variable, lower=variable.lower(), folder=file.parent)
    key = f"databases.{known.name}.url"
    assert value(settings, key) == Value(key, "postgresql://ada:***@db/app", expected)
    assert SECRET not in repr(settings)


def test_the_default_secrets_folder_is_used_when_it_is_there(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project.write("run/database_url", MAIN).parent
    monkeypatch.setattr("circle_migrate.config.sources.DEFAULT_SECRETS", folder)
    assert project.load().databases["main"].address.password == SECRET
    assert value(Project(project.folder).load(), "secrets-dir").shown == "/run/secrets"


def test_an_empty_variable_does_not_hide_a_weaker_place(project: Project) -> None:
    project.write(".env", f"DATABASE_URL={MAIN}\nCREDS_DATABASE_URL=\n")
    settings = project.load(DATABASE_URL="", CIRCLE_MIGRATE_LOCK_WAIT="")
    assert settings.databases["main"].address.endpoints == (("db", 5432),)
    assert settings.databases["credentials"].url is None


def test_a_url_file_that_does_not_count_is_not_read(project: Project) -> None:
    project.write(".env", "DATABASE_URL_FILE=nowhere\n")
    assert project.load(DATABASE_URL=MAIN).databases["main"].address.database == "app"
    assert project.load({"embedded": True}).embedded
    assert "nowhere" in project.refusal().message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("", "is empty"),
        (" \n", "is empty"),
        (b"\xff\xfe", "UTF-8"),
        ("mysql://x", "mysql"),
    ],
)
def test_a_url_file_that_is_no_use_is_named(
    project: Project, content: str | bytes | None, words: str
) -> None:
    file = project.folder / "url"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    error = project.refusal(DATABASE_URL_FILE=str(file))
    assert words in error.message
    assert str(file) in error.message


def test_a_url_and_its_file_in_one_place_are_refused(project: Project) -> None:
    project.write("url", MAIN)
    message = project.refusal(DATABASE_URL=MAIN, DATABASE_URL_FILE="url").message
    assert "DATABASE_URL_FILE in the environment and DATABASE_URL are both set" in message


# The embedded server


def test_the_embedded_flag_beats_urls_that_are_no_flags(project: Project) -> None:
    settings = project.load({"embedded": True}, DATABASE_URL="broken", CREDS_DATABASE_URL=CREDENTIALS)
    assert settings.embedded
    assert [database.url for database in settings.databases.values()] == [None, None]
    assert value(settings, "databases.main.url").shown == "not used: embedded"


def test_a_url_flag_beats_embedded_that_is_no_flag(project: Project) -> None:
    settings = project.load({"database_url": MAIN}, CIRCLE_MIGRATE_EMBEDDED="1")
    assert not settings.embedded
    assert value(settings, "embedded") == Value("embedded", "false", "flag --database-url")


@pytest.mark.parametrize(
    ("flags", "environ"),
    [
        ({"embedded": True, "database_url": MAIN}, {}),
        ({"embedded": True, "creds_database_url": MAIN}, {}),
        ({}, {"CIRCLE_MIGRATE_EMBEDDED": "true", "DATABASE_URL": MAIN}),
        ({}, {"CIRCLE_MIGRATE_EMBEDDED": "true", "CREDS_DATABASE_URL": MAIN}),
    ],
)
def test_embedded_and_a_url_of_the_same_strength_contradict(
    project: Project, flags: dict[str, object], environ: dict[str, str]
) -> None:
    assert "contradict" in project.refusal(flags, **environ).message


def test_embedded_off_by_flag_beats_the_environment(project: Project) -> None:
    settings = project.load({"embedded": False}, CIRCLE_MIGRATE_EMBEDDED="1", DATABASE_URL=MAIN)
    assert settings.databases["main"].address.database == "app"


def test_embedded_data_is_relative_to_where_it_stands(project: Project) -> None:
    project.table('embedded-data = "pg"')
    project.write("sub/x", "")
    assert project.load(cwd="sub").embedded_data == project.folder / "pg"
    assert project.load({"embedded_data": "pg"}, cwd="sub").embedded_data == project.folder / "sub" / "pg"


@pytest.mark.parametrize("url", [MAIN, f"host=db user=ada password={SECRET} dbname=app"])
def test_scratch_url_with_a_password_does_not_belong_into_pyproject(project: Project, url: str) -> None:
    project.table(f'scratch-url = "{url}"')
    assert "CIRCLE_MIGRATE_SCRATCH_URL" in (project.refusal().hint or "")


def test_rules_and_profiles_of_a_comparison(project: Project) -> None:
    assert [item.profile for item in project.load().databases.values()] == ["default", "strict"]
    project.table(
        'diff-ignore = ["index public.tmp_*", "acl of table * until 2030-12-31 # why"]\n'
        '[tool.circle-migrate.databases.main]\nprofile = "strict"'
    )
    settings = project.load()
    assert [rule.pattern for rule in settings.diff_ignore] == ["index public.tmp_*", "table *"]
    assert settings.databases["main"].profile == "strict"
    assert value(settings, "databases.main.profile").shown == "strict"
    given = project.load(CIRCLE_MIGRATE_DIFF_IGNORE="view *\nindex *", CIRCLE_MIGRATE_MAIN_PROFILE="default")
    assert [rule.text for rule in given.diff_ignore] == ["view *", "index *"]
    assert given.databases["main"].profile == "default"


@pytest.mark.parametrize(
    ("table", "environment", "protected", "source"),
    [
        ("", {}, [False, False], "default"),
        ("protected = true", {}, [True, True], "pyproject.toml [tool.circle-migrate]"),
        ("", {"CIRCLE_MIGRATE_PROTECTED": "1"}, [True, True], "environment CIRCLE_MIGRATE_PROTECTED"),
        (
            "protected = true",
            {"CIRCLE_MIGRATE_PROTECTED": "no"},
            [False, False],
            "environment CIRCLE_MIGRATE_PROTECTED",
        ),
        (
            "[tool.circle-migrate.databases.main]\nprotected = true",
            {},
            [True, False],
            "pyproject.toml [tool.circle-migrate.databases.main]",
        ),
        (
            "protected = true\n[tool.circle-migrate.databases.credentials]\nprotected = false",
            {"CIRCLE_MIGRATE_MAIN_PROTECTED": "true"},
            [True, False],
            "environment CIRCLE_MIGRATE_MAIN_PROTECTED",
        ),
    ],
)
def test_protection_of_both_databases_or_of_one(
    project: Project, table: str, environment: dict[str, str], protected: list[bool], source: str
) -> None:
    project.table(table)
    settings = project.load(**environment)
    assert [database.protected for database in settings.databases.values()] == protected
    assert settings.databases["main"].protected_by == source
    shown = value(settings, "databases.main.protected")
    assert (shown.shown, shown.source) == (str(protected[0]).lower(), source)


@pytest.mark.parametrize(
    ("tables", "environment", "names"),
    [
        ({"main": "revisions = '.'"}, {}, ["main"]),
        ({"main": "revisions = '.'"}, {"CREDS_DATABASE_URL": " ", "DATABASE_URL": MAIN}, ["main"]),
        ({"credentials": "revisions = '.'"}, {"CIRCLE_MIGRATE_CREDENTIALS_REVISIONS": "."}, ["credentials"]),
        ({"main": "revisions = '.'"}, {"CREDS_DATABASE_URL": CREDENTIALS}, ["main"]),
        ({"main": "revisions = 'circle-migrate:main'"}, {}, ["main"]),
        ({"main": "revisions = '.'", "a-b": "revisions = '.'"}, {"A_B_DATABASE_URL": MAIN}, ["main", "a-b"]),
        ({"b": "revisions = '.'", "a": "revisions = '.'"}, {}, ["b", "a"]),
        ({"main": "protected = true"}, {}, ["main", "credentials"]),
        ({}, {"CIRCLE_MIGRATE_MAIN_REVISIONS": "."}, ["main", "credentials"]),
    ],
)
def test_databases_are_those_that_pyproject_names(
    project: Project, tables: dict[str, str], environment: dict[str, str], names: list[str]
) -> None:
    lines = [f"[tool.circle-migrate.databases.{name}]\n{line}" for name, line in tables.items()]
    project.table("\n".join(lines))
    settings = project.load(**environment)
    assert list(settings.databases) == names
    urls = [item.key for item in settings.values if item.key.endswith(".url")]
    assert urls == [f"databases.{name}.url" for name in names]


@pytest.mark.parametrize(
    ("table", "warned"),
    [
        ("main]\nrevisions = '.'", ["CREDS_DATABASE_URL in the environment"]),
        (
            (
                "main]\nrevisions = '.'\n[tool.circle-migrate.databases.x]\nrevisions = '.'\n"
                "url-env = 'CREDS_DATABASE_URL'"
            ),
            [],
        ),
        ("orders]\nrevisions = '.'", []),
        ("main]\nprotected = true", []),
    ],
)
def test_url_of_a_database_that_the_project_leaves_out_is_warned_of(
    project: Project, table: str, warned: list[str]
) -> None:
    project.table(f"[tool.circle-migrate.databases.{table}")
    warnings = project.load(CREDS_DATABASE_URL=CREDENTIALS).warnings
    assert [text.split(" sets nothing")[0] for text in warnings] == warned


def test_scratch_url_stands_wherever_other_settings_do(project: Project) -> None:
    project.table('scratch-url = "postgresql://ada@scratch/postgres"\nscratch-on-target = true')
    settings = project.load()
    assert settings.scratch_url is not None
    assert settings.scratch_url.display() == "postgresql://ada@scratch/postgres"
    assert settings.scratch_on_target
    given = project.load(CIRCLE_MIGRATE_SCRATCH_URL=MAIN, CIRCLE_MIGRATE_SCRATCH_ON_TARGET="0")
    assert not given.scratch_on_target
    assert value(given, "scratch-url").shown == "postgresql://ada:***@db/app"
    assert "no database" in project.refusal({"scratch_url": "postgresql://ada@scratch"}).message


# Values


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("4", 4), ("4s", 4), ("500ms", 0.5), (" 1.5 s ", 1.5), ("2min", 120), ("1h", 3600)],
)
def test_times(project: Project, written: str, seconds: float) -> None:
    assert project.load(CIRCLE_MIGRATE_LOCK_TIMEOUT=written).lock_timeout == seconds


WRONG = [
    ("LOCK_TIMEOUT", "soon"),
    ("LOCK_TIMEOUT", "0"),
    ("LOCK_TIMEOUT", "-1"),
    ("LOCK_TIMEOUT", "nan"),
    ("LOCK_TIMEOUT", "1000h"),
    ("LOCK_WAIT", "1 fortnight"),
    ("ATOMIC", "perhaps"),
    ("EMBEDDED", "2"),
    ("TRANSACTION", "each"),
    ("DRIFT", "refuze"),
    ("MAIN_VERSION_TABLE", "v" * 64),
    ("IMPORTS", "nosuch.module"),
    ("MAIN_INCLUDE_OBJECT", "nosuch.module:function"),
    ("MAIN_COMPARE_TYPE", "perhaps"),
    ("MAIN_COMPARE_SERVER_DEFAULT", "nosuch:function"),
    ("MAIN_JOURNAL_SCHEMA", "public"),
    ("CREDENTIALS_JOURNAL_SCHEMA", "pg_own"),
    ("MAIN_REVISIONS", "./nowhere"),
    ("MAIN_REVISIONS", "no_such_package.sub"),
    ("MAIN_REVISIONS", "circle_migrate:nowhere"),
    ("CREDENTIALS_MODELS", "circle_migrate.models"),
    ("CREDENTIALS_MODELS", "no_such_package.models:metadata"),
    ("SECRETS_DIR", "/nonexistent"),
    ("API_TOKEN", "short"),
    ("API_TOKEN", "a token with blanks in it"),
    ("API_LISTEN", "8080"),
    ("API_CORS", "null"),
    ("API_CORS", "https://a.example/path"),
    ("API_CORS", "https://*.example"),
]


def test_a_token_does_not_belong_in_a_shared_file(project: Project) -> None:
    project.table(f"api-token = '{SECRET}-and-more'")
    assert "under version control" in project.refusal().message
    assert value(project.load(CIRCLE_MIGRATE_API_TOKEN=f"{SECRET}-more"), "api-token").shown == "***"


@pytest.mark.parametrize(("name", "written"), WRONG)
def test_wrong_values_are_refused_by_name(project: Project, name: str, written: str) -> None:
    message = project.refusal(**{f"CIRCLE_MIGRATE_{name}": written}).message
    assert name in message or written in message


def test_all_problems_come_at_once_without_secrets(project: Project) -> None:
    project.table("lock-wiat = 3\natomic = 'perhaps'")
    error = project.refusal(
        {"lock_timeout": "soon"},
        DATABASE_URL=f"postgresql://ada:{SECRET}@db:port/app",
        CREDS_DATABASE_URL=f"postgresql://ada:{SECRET}@db/app?sslmod=require",
        CIRCLE_MIGRATE_MAIN_REVISIONS="./nowhere",
        CIRCLE_MIGRATE_EMBEDDED=SECRET,
    )
    assert error.message.startswith("7 settings are wrong:")
    for words in (
        "lock-wait?",
        "atomic",
        "--lock-timeout",
        "DATABASE_URL in",
        "sslmode?",
        "nowhere",
        "EMBEDDED",
    ):
        assert words in error.message


# .env and pyproject.toml


def test_a_broken_line_for_us_in_env_is_named_and_strangers_are_not(project: Project) -> None:
    project.write(".env", f'REDIS_URL=x\nDATABASE_URL="postgresql://u:{SECRET}@h/d\n')
    assert f"line 2 of {project.folder / '.env'}" in project.refusal().message
    project.write(".env", f'REDIS_URL="open\nDATABASE_URL={MAIN}\n')
    assert project.load().databases["main"].address.database == "app"


def test_env_with_a_byte_order_mark(project: Project) -> None:
    project.write(".env", f"\ufeffDATABASE_URL={MAIN}\n")
    assert project.load().databases["main"].address.database == "app"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("lock_wait = 3", "did you mean lock-wait?"),
        ("zzz = 3", "unknown key zzz"),
        (f'database-url = "{MAIN}"', "version control"),
        ('password-command = "x"', "password-command, a setting of a database"),
        ("[tool.circle-migrate.databases.main]\nsafety = 'off'", "safety, a setting of the project"),
        ("databases = 3", "not a table"),
        ("[tool.circle-migrate.databases.mian]", "databases.mian] has no `revisions`"),
        ("[tool.circle-migrate.databases.main]\nrevision = 'x'", "did you mean revisions?"),
        ("[tool.circle-migrate.databases]\nmain = 3", "not a table"),
        ("lock-wait = [3]", "lock-wait"),
        ("diff-ignore = 3", "diff-ignore"),
        ('diff-ignore = ["index"]', "'index' is not an ignore rule"),
        ('diff-ignore = ["index * until soon"]', "'soon', which is no date"),
        ("[tool.circle-migrate.databases.main]\nprofile = 'lax'", "profile"),
        ("protected = 'perhaps'", "protected"),
        ("[tool.circle-migrate.databases.main]\nprotected = ['main']", "protected"),
        ("lock-wait = ", "not valid TOML"),
    ],
)
def test_wrong_tables(project: Project, table: str, words: str) -> None:
    project.table(table)
    message = project.refusal().message
    assert words in message
    assert str(project.folder / "pyproject.toml") in message


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\ncircle-migrate = 3"])
def test_a_table_that_is_none(project: Project, text: str) -> None:
    project.write("pyproject.toml", text)
    assert "is not a table" in project.refusal().message


def test_the_nearest_pyproject_with_our_table_counts(project: Project) -> None:
    project.table("lock-wait = 3")
    project.write("sub/pyproject.toml", "[tool.other]\n")
    settings = project.load(cwd="sub")
    assert (settings.lock_wait, settings.project_root) == (3, project.folder)


def test_the_project_is_the_nearest_pyproject_without_any_table(project: Project) -> None:
    project.write("pyproject.toml", "[project]\n")
    project.write("sub/x", "")
    assert project.load(cwd="sub").project_root == project.folder


# Revisions and models


@pytest.mark.parametrize("package", ["pkg_a", "src/pkg_b"])
@pytest.mark.parametrize("form", ["{name}.migrations", "{name}:migrations"])
def test_revisions_in_a_package_of_the_project(project: Project, package: str, form: str) -> None:
    project.write(f"{package}/__init__.py", "raise AssertionError('imported')")
    folder = project.write(f"{package}/migrations/x.py", "").parent
    name = Path(package).name
    project.table(
        "[tool.circle-migrate.databases.main]\n"
        f"revisions = '{form.format(name=name)}'\nmodels = '{name}.db:metadata'"
    )
    settings = project.load()
    root = project.folder / Path(package).parent
    assert settings.databases["main"].revisions.folders == (folder,)
    assert settings.databases["main"].models == f"{name}.db:metadata"
    assert settings.notes == (f"{root} was added to sys.path",)
    assert sys.path[-1] == str(root)
    assert value(settings, "databases.main.revisions").source == (
        "pyproject.toml [tool.circle-migrate.databases.main]"
    )


def test_ignored_parts_of_a_url_are_notes(project: Project) -> None:
    settings = project.load(CREDS_DATABASE_URL=f"{CREDENTIALS}?sslsni=1")
    assert settings.notes == ("CREDS_DATABASE_URL: sslsni is ignored: the driver does not support it",)


def test_the_nearest_env_file_up_to_the_project_counts(project: Project) -> None:
    project.write(".env", f"DATABASE_URL={MAIN}\n")
    project.write("sub/deeper/x.py", "")
    assert project.load(cwd="sub/deeper").databases["main"].url is None
    project.table("atomic = false")
    settings = project.load(cwd="sub/deeper")
    assert settings.databases["main"].url is not None
    assert value(settings, "databases.main.url").source == f"file {project.folder / '.env'} line 1"
    project.write("sub/.env", "CIRCLE_MIGRATE_LOCK_WAIT=5\n")
    settings = project.load(cwd="sub/deeper")
    assert (settings.databases["main"].url, settings.lock_wait) == (None, 5)


def test_a_folder_of_revisions_is_relative_to_where_it_stands(project: Project) -> None:
    outer = project.write("migrations/x.py", "").parent
    inner = project.write("sub/migrations/x.py", "").parent
    project.table(
        "[tool.circle-migrate.databases.main]\nrevisions = 'circle-migrate:main'\n"
        "[tool.circle-migrate.databases.credentials]\nrevisions = 'migrations'"
    )
    assert project.load(cwd="sub").databases["credentials"].revisions.folders == (outer,)
    from_environment = project.load(
        cwd="sub", CIRCLE_MIGRATE_CREDENTIALS_REVISIONS="migrations", DATABASE_URL="postgresql://u@h/d"
    )
    assert from_environment.databases["credentials"].revisions.folders == (inner,)
    assert from_environment.databases["main"].revisions.folders[0].name == "main"


def test_nothing_is_added_to_sys_path_for_an_installed_package(project: Project) -> None:
    before = list(sys.path)
    settings = project.load(
        CIRCLE_MIGRATE_MAIN_REVISIONS="circle_migrate:revisions", CIRCLE_MIGRATE_MAIN_MODELS="json:x"
    )
    assert settings.databases["main"].revisions.folders[0].name == "revisions"
    assert (sys.path, settings.notes) == (before, ())


# Leaks of the libraries below


def test_the_debug_log_of_pydantic_settings_stays_off(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    project.write(".env", f"DATABASE_URL={MAIN}")
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("pydantic_settings").setLevel(logging.DEBUG)
        project.load()
    assert SECRET not in caplog.text


def test_a_password_in_another_setting_is_masked_too(project: Project) -> None:
    settings = project.load(DATABASE_URL=MAIN, CIRCLE_MIGRATE_MAIN_SEARCH_PATH=SECRET)
    assert value(settings, "databases.main.search-path").shown == "***"


def test_the_process_environment_is_not_read_when_another_is_given(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", MAIN)
    monkeypatch.setenv("CIRCLE_MIGRATE_LOCK_WAIT", "7")
    settings = project.load()
    assert settings.databases["main"].url is None
    assert settings.lock_wait == 60


def test_an_unreadable_secret_is_a_problem_and_not_a_missing_url(project: Project) -> None:
    folder = project.write("secrets/x", "").parent
    (folder / "database_url").symlink_to(project.write("outside", MAIN))
    assert "outside of" in project.refusal(CIRCLE_MIGRATE_SECRETS_DIR=str(folder)).message
    (folder / "database_url").unlink()
    (folder / "database_url").write_bytes(b"\xff")
    assert "cannot be read" in project.refusal(CIRCLE_MIGRATE_SECRETS_DIR=str(folder)).message
