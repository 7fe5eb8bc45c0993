"""The points of an env.py: options, models, statements, and other code that is not run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from circle_migrate.commands.adopt.draft import Draft
from circle_migrate.commands.adopt.env_file import EnvFile, outline
from circle_migrate.commands.adopt.options import CONFIGURE, WITHOUT_POINT, Option
from circle_migrate.commands.adopt.result import State
from circle_migrate.commands.adopt.source_files import Modules, Reference, SourceFile, line_of

_EMPTIES = re.compile(r"\w+\[:\] = \[\]")
_SET = r"set\s+(?:local\s+|session\s+)?"
_TIMEOUT = re.compile(
    rf"{_SET}(?P<name>lock_timeout|statement_timeout)\s*(?:=|to)\s*'?(?P<value>\d+)"
    r"\s*(?P<unit>ms|s|min|h)?'?\s*;?\s*",
    re.IGNORECASE,
)
_SEARCH_PATH = re.compile(rf"{_SET}search_path\s*(?:=|to)\s*(?P<path>[^;]+)", re.IGNORECASE)
_TRANSACTION = re.compile(r"\s*(?:begin|commit|end|rollback|pragma|select\s+1\s*;?$)\b", re.IGNORECASE)
_LOCK = re.compile(r"pg_(?:try_)?advisory_(?:xact_)?(?:un)?lock", re.IGNORECASE)
_ROLE = re.compile(rf"{_SET}(?:role|authorization)\b", re.IGNORECASE)
_CREATE = re.compile(r"(?:\w+\.)*create\s*(?P<kind>schema|extension)\b", re.IGNORECASE)
_NAMING = re.compile(r"^[ \t]*[\w.]+\.naming_convention\s*=(?!=)", re.MULTILINE)
"""What sets the convention of a MetaData that exists."""

_MOVE = "is in env.py, which is not run: move it to a module that can be imported, and set "

_X_ARGUMENT = "-x is passed to revisions; what env.py does with it is not done"
_SCHEMAS = "is not used: name a database for each schema, with its own search-path"
_CONNECTION = "calls of Alembic with a connection go on working"
_LISTENER = "the listener is not registered: move it to a module that `imports` names"
_CALLS = (
    ("get_x_argument", "", State.BY_HAND, "-x", _X_ARGUMENT),
    ("execution_options", "schema_translate_map", State.BY_HAND, "schema_translate_map", _SCHEMAS),
    ("attributes.get", "'connection'", State.HOLDS, "config.attributes", _CONNECTION),
    ("load_dotenv", "", State.HOLDS, "load_dotenv", ".env of the project is read, no other file"),
    ("listens_for", "", State.BY_HAND, "event", _LISTENER),
)
"""The end of a function's name, an argument if one is needed, and the point of such a call."""


def read_env(draft: Draft, env: EnvFile) -> None:
    """Add the settings and points of an env.py."""
    _read_models(draft, env)
    for name, values in env.options.items():
        if option := CONFIGURE.get(name):
            _read_option(draft, env, name, option, values)
        elif name not in WITHOUT_POINT:
            text = "is no option of Alembic: revisions do not find it in op.get_context().opts"
            draft.by_hand(name, text, env.path, values[0].lineno)
    _read_transactions(draft, env)
    for value in env.unknown_options:
        text = f"its options only follow from running env.py: look for them in {outline(value)}"
        draft.by_hand("context.configure", text, env.path, value.lineno)
    for text, line in env.statements:
        _read_statement(draft, env, text, line)
    _read_code(draft, env)


def _read_option(draft: Draft, env: EnvFile, name: str, option: Option, values: list[ast.expr]) -> None:
    """Set an option, or say what becomes of it."""
    setting, line, function = option.setting, values[0].lineno, env.function(values[0])
    constant, *others = {env.constant(value) for value in values}
    is_constant = not others and not isinstance(constant, ast.expr)
    if is_constant and (constant is None or (constant is False and name == "render_as_batch")):
        return
    if not setting:
        draft.decide(name, option, env.path, line)
    elif is_constant and constant == option.default:
        draft.holds(name, option.holds or "it is the default", env.path, line)
    elif is_constant:
        draft.set(setting, constant, name, env.path, line)
    elif name == "process_revision_directives" and function and _only_skips_empty(function):
        draft.holds(name, "no revision is written where nothing has changed", env.path, function.lineno)
    elif reference := env.reference(values[0]):
        draft.set_object(setting, reference, name, env.path, line)
    elif function is not None:
        text = f'{_MOVE}{setting} = "package.module:{function.name}"'
        draft.by_hand(name, text, env.path, function.lineno)
    else:
        text = f"set {setting}: its value {outline(values[0])} only follows from running env.py"
        draft.by_hand(name, text, env.path, line)


def _only_skips_empty(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether it only leaves out revisions without operations, as in Alembic's cookbook."""
    text = ast.unparse(function)
    calls = {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
    known = all(re.fullmatch(r".*\.is_empty|log\w*\..*|getattr|print", call) for call in calls)
    return known and ".is_empty()" in text and _EMPTIES.search(text) is not None


def _read_models(draft: Draft, env: EnvFile) -> None:
    """Set `models` to what target_metadata is, and `imports` to the modules that add tables to it."""
    expression, models = _metadata(draft, env), ""
    if expression is None or env.constant(expression) is None:
        line = expression.lineno if expression else 0
        draft.holds("target_metadata", "none: no models are compared", env.path, line)
    else:
        named = expression.func if isinstance(expression, ast.Call) and not expression.args else expression
        reference = env.reference(named)
        if reference is None or reference.module.partition(".")[0] == "sqlalchemy":
            text = f'set models = "package.module:attribute" to what {outline(expression)} is'
            draft.by_hand("target_metadata", text, env.path, expression.lineno)
        else:
            models = reference.module
            draft.set_object("models", reference, "target_metadata", env.path, expression.lineno)
            _read_naming(draft, env, reference)
    for module, line in env.imported_for_effect.items():
        if module == models or (draft.modules.find(module) and models.startswith(f"{module}.")):
            continue
        if draft.importable.is_importable(module):
            draft.share("imports", [module], f"import {module}", env.path, line)
        else:
            text = f"add it to the setting imports; {draft.missing(module)}"
            draft.by_hand(f"import {module}", text, env.path, line)


def _metadata(draft: Draft, env: EnvFile) -> ast.expr | None:
    """Return the expression of target_metadata; where several databases share env.py, that of this one."""
    value, *_ = env.options.get("target_metadata", [None])
    owner: ast.expr | None = value
    if isinstance(owner, ast.Call) and isinstance(owner.func, ast.Attribute):
        owner = owner.func.value
    if isinstance(owner, ast.Subscript):
        owner = owner.value
    node = env.bound(owner)
    if isinstance(node, ast.Dict):
        items = {ast.unparse(key): item for key, item in zip(node.keys, node.values, strict=True) if key}
        return items.get(repr(draft.environment.engine), ast.Constant(None, lineno=node.lineno))
    return node if isinstance(node, ast.expr) and owner is value else value


def _read_naming(draft: Draft, env: EnvFile, reference: Reference) -> None:
    """Say where the naming convention is."""
    subject = "naming convention"
    if line := line_of(_NAMING, env.source.text):
        text = "is set in env.py, which is not run: give it to the MetaData of the models"
        draft.by_hand(subject, text, env.path, line)
    elif found := _find_naming(draft.modules, draft.modules.definition(reference), set()):
        draft.holds(subject, "constraints of revisions get its names", *found)
    else:
        draft.holds(subject, "that of the models is used, if they have one", None)


def _find_naming(
    modules: Modules, defined: tuple[SourceFile, ast.AST, object] | None, seen: set[ast.AST]
) -> tuple[Path, int] | None:
    """Return the file and line of the convention of a MetaData, or of what has one as `metadata`."""
    if defined is None or defined[1] in seen:
        return None
    file, node, _ = defined
    seen.add(node)
    if line := line_of(_NAMING, file.text):
        return file.path, line
    parts = [node]
    if isinstance(node, ast.ClassDef):
        own = (item for item in node.body if re.match(r"(?:metadata|registry)\b", ast.unparse(item)))
        parts = [*own] or [*node.bases]
    for inner in (inner for part in parts for inner in ast.walk(part)):
        if isinstance(inner, ast.keyword) and inner.arg == "naming_convention":
            return file.path, inner.value.lineno
        binding = file.names.get(inner.id) if isinstance(inner, ast.Name) else None
        local = (file, binding.node, ()) if binding and binding.node else None
        following = local or modules.definition(modules.resolve(inner, file))
        if found := _find_naming(modules, following, seen):
            return found
    return None


def _read_transactions(draft: Draft, env: EnvFile) -> None:
    values = env.options.get("transaction_per_migration", [])
    if any(env.constant(value) is True for value in values):
        draft.share("transaction", "per-revision", "transaction_per_migration", env.path, values[0].lineno)
    binding = env.source.binding("USE_TWOPHASE")
    if binding and isinstance(binding.node, ast.Constant) and binding.node.value is True:
        draft.share("atomic", True, "USE_TWOPHASE", env.path, binding.line)


def _read_statement(draft: Draft, env: EnvFile, text: str, line: int) -> None:
    """Add the point of a statement that env.py sends before or after the revisions."""
    if match := _TIMEOUT.fullmatch(text):
        name, number, unit = match["name"].lower(), int(match["value"]), match["unit"] or "ms"
        if unit == "ms" and number % 1000 == 0:
            number, unit = number // 1000, "s"
        if number:
            draft.share(name.replace("_", "-"), f"{number}{unit}", name, env.path, line)
        else:
            draft.holds(name, "0 is no limit: that of the settings is used", env.path, line)
    elif match := _SEARCH_PATH.match(text):
        path = match["path"].strip()
        if "{}" in path or ":" in path or "%" in path:
            draft.by_hand("search_path", "set search-path: env.py makes it while it runs", env.path, line)
        else:
            draft.set("search-path", path, "search_path", env.path, line)
    elif _TRANSACTION.match(text):
        return
    elif _LOCK.search(text):
        draft.holds("advisory lock", "a run has a lock of its own on each database", env.path, line)
    elif _ROLE.match(text):
        draft.by_hand("SET ROLE", "use the URL of a role that owns the tables", env.path, line)
    elif match := _CREATE.match(text):
        kind = match["kind"].lower()
        advice = f"create the {kind} in a revision, or before the first upgrade"
        draft.by_hand(f"CREATE {kind.upper()}", advice, env.path, line)
    else:
        shown = re.sub(r"'[^']*'", "'…'", " ".join(text.split()))[:60]
        draft.by_hand("statement", f"is not run: {shown}", env.path, line)


def _read_code(draft: Draft, env: EnvFile) -> None:
    """Add the points of other code."""
    for name, call in env.calls:
        arguments = ["", *map(ast.unparse, call.args), *(keyword.arg for keyword in call.keywords)]
        for ending, argument, state, subject, text in _CALLS:
            if name.endswith(ending) and argument in arguments:
                draft.add(state, subject, text, env.path, call.lineno)
    if draft.environment.engine:
        text = "several databases share them: functions with a parameter engine_name get the database's name"
        draft.holds("revisions", text, env.path)
        text = "a new one runs on each of the databases: give its functions a parameter engine_name"
        draft.by_hand("revisions", text, env.path)
    for line in [] if draft.environment.engine else env.loops:
        text = "runs revisions in each round: name a database for each, with its own url-env or search-path"
        draft.by_hand("loop", text, env.path, line)
    for name, line in env.unknown_calls:
        text = f"{name} is not run: move it to a module that `imports` names"
        draft.by_hand("code", text, env.path, line)
