"""Turn one Alembic environment into the settings of a database."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path

from circle_migrate.commands.adopt import options
from circle_migrate.commands.adopt.draft import Draft
from circle_migrate.commands.adopt.env_file import EnvFile, outline
from circle_migrate.commands.adopt.env_points import read_env
from circle_migrate.config.url.parse import has_password
from circle_migrate.core.errors import UsageError

_NO_URL = "driver://"
"""The beginning of the address in the files of `alembic init`."""

_EXPANDED = re.compile(r"\$\{?(?P<shell>\w+)\}?|%\((?P<option>\w+)\)s")
"""An address that is a variable, which env.py expands."""

_DRIVER_CODE = re.compile(r"exec_driver_sql\(|\.cursor\(\)|dbapi_connection|driver_connection|\bpsycopg2?\b")
_PSYCOPG = re.compile(r"postgres(?:ql)?(?:\+psycopg\w*)?:|postgresql\+psycopg")
_LIBRARIES = ("alembic", "os", "sqlalchemy")
_MAX_FILES = 5000
"""Revision files that are searched for code of a driver."""


def read_environment(draft: Draft) -> None:
    """Fill the draft with settings and points."""
    environment = draft.environment
    draft.settings["revisions"] = environment.revisions
    env = None
    if environment.env is not None:
        try:
            env = EnvFile(environment.env, draft.modules)
        except UsageError as error:
            text = f"it cannot be read ({error.detail}): look yourself for what it sets"
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
    if template.is_file() and not _is_stock(template):
        draft.decide(template.name, options.TEMPLATE, template)
    if alembic is None:
        return
    for key, option in options.INI.items():
        if str(alembic.value(key) or "").lower() not in ("", "false", "0", "no", "off", "utf-8"):
            draft.decide(key, option, alembic.file, alembic.line(key))
    if alembic.value("hooks", "post_write_hooks"):
        line = alembic.line("hooks", "post_write_hooks")
        draft.decide("post_write_hooks", options.POST_WRITE_HOOKS, alembic.file, line)
    elif alembic.value("post_write_hooks"):
        line = alembic.line("", "[tool.alembic.post_write_hooks")
        draft.decide("post_write_hooks", options.POST_WRITE_HOOKS, alembic.file, line)
    for file in draft.environment.others:
        draft.holds(file.name, "names the same environment, so it is the same database", file)


def _is_stock(template: Path) -> bool:
    """Return whether a template is one that `alembic init` writes."""
    spec = find_spec("alembic")
    folders = spec.submodule_search_locations if spec else None
    stock = [path for folder in folders or () for path in Path(folder).glob(f"templates/*/{template.name}")]
    text = template.read_text(encoding="utf-8", errors="replace")
    return any(_words(text) == _words(path.read_text(encoding="utf-8")) for path in stock)


def _words(text: str) -> list[str]:
    """Return the words of a template, without the annotations and docstrings that new ones have."""
    return re.sub(r': (?:str|Union\[[^=]*\]) =|"""\w+ schema."""| -> None|from typing.*', " ", text).split()


def _read_url(draft: Draft, env: EnvFile | None) -> None:
    """Find the variable of the URL; the URL itself is never copied."""
    alembic, section = draft.environment.alembic, draft.environment.engine
    url = str(alembic.value("sqlalchemy.url", section) or "") if alembic else ""
    url = "" if url.startswith(_NO_URL) else url
    found = env.url_variables if env else {}
    if alembic and (variable := _EXPANDED.fullmatch(url)):
        name = variable["shell"] or variable["option"]
        draft.variable, url = name, ""
        draft.set("url-env", name, "sqlalchemy.url", alembic.file, alembic.line("sqlalchemy.url", section))
        return
    own = {name: line for name, line in found.items() if draft.environment.name.lower() in name.lower()}
    found = own if len(own) == 1 else found
    variables = " and ".join(found)
    if env and len(found) == 1 and not (section and not own):
        ((name, line),) = found.items()
        if name == draft.variable:
            draft.holds("url", f"read from {name}", env.path, line)
        else:
            draft.variable = name
            draft.set("url-env", name, "url", env.path, line)
    elif env and found:
        line = next(iter(found.values()))
        draft.by_hand("url", f"set {draft.variable}: env.py makes the URL from {variables}", env.path, line)
    elif env and (computed := [value for value in env.url_expressions if _is_computed(value, env)]):
        text = f"set {draft.variable}: env.py makes the URL from {outline(computed[0])}"
        draft.by_hand("url", text, env.path, computed[0].lineno)
    elif not url:
        draft.by_hand("url", f"set {draft.variable}: no file says the address", None)
    if not alembic or not url:
        return
    line = alembic.line("sqlalchemy.url", section)
    if not url.startswith("postgres"):
        text = f"set {draft.variable} to a PostgreSQL database: this one is of {url.partition(':')[0]}"
        draft.by_hand("sqlalchemy.url", text, alembic.file, line)
    elif not found:
        text = f"set {draft.variable} to it: no address is copied into pyproject.toml"
        draft.by_hand("sqlalchemy.url", text, alembic.file, line)
    if has_password(url):
        text = "has a password: take it out of the file, and change it if it was committed"
        draft.by_hand("sqlalchemy.url", text, alembic.file, line)


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
    text = f"{url} {env.source.text if env else ''}"
    if "asyncpg" in text:
        return
    for path in sorted(draft.environment.folder.rglob("*.py"))[:_MAX_FILES]:
        if path.name == "env.py":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if _DRIVER_CODE.search(line):
                draft.set("driver", "psycopg", "driver", path, number)
                note = "install circle-migrate[psycopg]: revisions use the driver's own interface"
                draft.by_hand("driver", note, path, number)
                return
