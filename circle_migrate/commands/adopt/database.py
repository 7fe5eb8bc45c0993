"""Turn one Alembic environment into the settings of a database."""

from __future__ import annotations

import ast
import re

from circle_migrate.commands.adopt.draft import Draft
from circle_migrate.commands.adopt.env_file import EnvFile, outline
from circle_migrate.commands.adopt.env_points import read_env
from circle_migrate.commands.adopt.options import INI, NEW_FILE
from circle_migrate.commands.adopt.source_files import line_of
from circle_migrate.config.url.parse import has_password

_NO_URL = "driver://"
"""The beginning of the address in the files of `alembic init`."""

_EXPANDED = re.compile(r"\$\{?(?P<shell>\w+)\}?|%\((?P<option>\w+)\)s")
"""An address that is a variable, which env.py expands."""

_DRIVER_CODE = re.compile(r"exec_driver_sql\(|\.cursor\(\)|dbapi_connection|driver_connection|\bpsycopg2?\b")
_LIBRARIES = ("alembic", "os", "sqlalchemy")
_MAX_FILES = 5000
"""Revision files that are searched for code of a driver."""


def read_environment(draft: Draft) -> None:
    """Fill the draft with settings and points."""
    environment = draft.environment
    if "revisions" not in (draft.existing or {}):
        draft.settings["revisions"] = environment.revisions
    env = None
    if environment.env is not None:
        try:
            env = EnvFile(environment.env, draft.modules)
        except (OSError, SyntaxError, ValueError) as error:
            reason = getattr(error, "strerror", None) or getattr(error, "msg", None) or type(error).__name__
            text = f"it cannot be read ({reason}): look yourself for what it sets"
            draft.by_hand(environment.env.name, text, environment.env)
    _read_options(draft)
    _read_url(draft, env)
    if env is not None:
        read_env(draft, env)
    _read_driver(draft, env)


def _read_options(draft: Draft) -> None:
    """Read the options of the ini file, and script.py.mako."""
    alembic = draft.environment.alembic
    template = draft.environment.folder / "script.py.mako"
    if template.is_file():
        draft.holds(template.name, "`revision` writes new files by it", template)
    if alembic is None:
        return
    for key, option in INI.items():
        if str(alembic.value(key) or "").lower() not in ("", "false", "0", "no", "off", "utf-8"):
            draft.decide(key, option, alembic.file, alembic.line(key))
    hooks = "post_write_hooks"
    if alembic.value("hooks", hooks):
        draft.decide(hooks, NEW_FILE, alembic.file, alembic.line("hooks", hooks))
    elif alembic.value(hooks):
        draft.decide(hooks, NEW_FILE, alembic.file, alembic.line(section=f"tool.alembic.{hooks}"))
    for file in draft.environment.others:
        draft.holds(file.name, "names the same environment, so it is the same database", file)


def _read_url(draft: Draft, env: EnvFile | None) -> None:
    """Find the variable of the URL; the URL itself is never copied."""
    alembic, section = draft.environment.alembic, draft.environment.engine
    url = str(alembic.value("sqlalchemy.url", section) or "") if alembic else ""
    url = "" if url.startswith(_NO_URL) else url
    line = alembic.line("sqlalchemy.url", section) if alembic else 0
    if alembic and (variable := _EXPANDED.fullmatch(url)):
        draft.variable = variable["shell"] or variable["option"]
        draft.set("url-env", draft.variable, "sqlalchemy.url", alembic.file, line)
        return
    found = env.url_variables if env else {}
    own = {name: line for name, line in found.items() if draft.environment.name.lower() in name.lower()}
    found = own if len(own) == 1 else found
    if env and len(found) == 1 and not (section and not own):
        ((name, place),) = found.items()
        if name == draft.variable:
            draft.holds("url", f"read from {name}", env.path, place)
        else:
            draft.variable = name
            draft.set("url-env", name, "url", env.path, place)
    elif env and found:
        text = f"set {draft.variable}: env.py makes the URL from {' and '.join(found)}"
        draft.by_hand("url", text, env.path, next(iter(found.values())))
    elif env and (computed := next((item for item in env.url_expressions if _is_computed(item, env)), None)):
        text = f"set {draft.variable}: env.py makes the URL from {outline(computed)}"
        draft.by_hand("url", text, env.path, computed.lineno)
    elif not url:
        draft.by_hand("url", f"set {draft.variable}: no file says the address", None)
    texts = []
    if url and not url.startswith("postgres"):
        texts.append(f"set {draft.variable} to a PostgreSQL database: this one is of {url.partition(':')[0]}")
    elif url and not found:
        texts.append(f"set {draft.variable} to it: no address is copied into pyproject.toml")
    if has_password(url):
        texts.append("has a password: take it out of the file, and change it if it was committed")
    for text in texts:
        draft.by_hand("sqlalchemy.url", text, alembic.file if alembic else None, line)


def _is_computed(value: ast.expr, env: EnvFile) -> bool:
    """Return whether an expression takes the URL from elsewhere than the ini file."""
    for node in ast.walk(value):
        binding = env.source.binding(node.id) if isinstance(node, ast.Name) else None
        if binding and isinstance(binding.node, ast.FunctionDef):
            return re.search(r"get_(?:main_option|section)", ast.unparse(binding.node)) is None
        if binding and binding.node is None and binding.module.partition(".")[0] not in _LIBRARIES:
            return True
    return False


def _read_driver(draft: Draft, env: EnvFile | None) -> None:
    """Set the driver where revisions use an interface of psycopg themselves."""
    alembic = draft.environment.alembic
    url = str(alembic.value("sqlalchemy.url", draft.environment.engine) or "") if alembic else ""
    if "asyncpg" in f"{url} {env.source.text if env else ''}":
        return
    paths = (path for path in sorted(draft.environment.folder.rglob("*.py")) if path.name != "env.py")
    for path, _ in zip(paths, range(_MAX_FILES), strict=False):
        if line := line_of(_DRIVER_CODE, path.read_text(encoding="utf-8", errors="replace")):
            draft.set("driver", "psycopg", "driver", path, line)
            note = "install circle-migrate[psycopg]: revisions use the driver's own interface"
            draft.by_hand("driver", note, path, line)
            return
