"""The points of an env.py: options, models, statements, and other code that is not run."""

from __future__ import annotations

import ast
import re

from circle_migrate.commands.adopt import options
from circle_migrate.commands.adopt.draft import Draft
from circle_migrate.commands.adopt.env_file import EnvFile, Keyword, Statement, outline
from circle_migrate.commands.adopt.naming import assigned, find_naming
from circle_migrate.commands.adopt.source_files import Reference

_EMPTIES = re.compile(r"\w+\[:\] = \[\]")
_TIMEOUT = re.compile(
    r"set\s+(?:local\s+|session\s+)?(?P<name>lock_timeout|statement_timeout)\s*(?:=|to)\s*'?(?P<value>\d+)"
    r"\s*(?P<unit>ms|s|min|h)?'?\s*;?\s*",
    re.IGNORECASE,
)
_SEARCH_PATH = re.compile(
    r"set\s+(?:local\s+|session\s+)?search_path\s*(?:=|to)\s*(?P<path>[^;]+)", re.IGNORECASE
)
_TRANSACTION = re.compile(r"\s*(?:begin|commit|end|rollback|pragma|select\s+1\s*;?$)\b", re.IGNORECASE)
_LOCK = re.compile(r"pg_(?:try_)?advisory_(?:xact_)?(?:un)?lock", re.IGNORECASE)
_ROLE = re.compile(r"set\s+(?:local\s+|session\s+)?(?:role|authorization)\b", re.IGNORECASE)
_CREATE = re.compile(r"(?:\w+\.)*create\s*(?P<kind>schema|extension)\b", re.IGNORECASE)
_MOVE = "is in env.py, which is not run: move it to a module that can be imported, and set "


def read_env(draft: Draft, env: EnvFile) -> None:
    """Add the settings and points of an env.py."""
    _read_models(draft, env)
    for name, values in env.options.items():
        if name not in options.CONFIGURE:
            text = "is no option of Alembic: revisions do not find it in op.get_context().opts"
            draft.by_hand(name, text, env.path, values[0].line)
        elif option := options.CONFIGURE[name]:
            _read_option(draft, env, name, option, values)
    _read_transactions(draft, env)
    for value, line in env.unknown_options:
        text = f"its options only follow from running env.py: look for them in {outline(value)}"
        draft.by_hand("context.configure", text, env.path, line)
    for statement in env.statements:
        _read_statement(draft, env, statement)
    _read_code(draft, env)


def _read_option(
    draft: Draft, env: EnvFile, name: str, option: options.Option, values: list[Keyword]
) -> None:
    """Set an option, or say what becomes of it."""
    value, line = values[0]
    setting = option.setting if option.setting in options.DATABASE_SETTINGS else ""
    known = [env.constant(item.value) for item in values]
    constants = [item for item in known if not isinstance(item, ast.expr)]
    function = env.function(value)
    if constants == known and len(set(constants)) == 1:
        if constants[0] is None or (constants[0] is False and name == "render_as_batch"):
            return
        if constants[0] == option.default or not (option.setting or option.by_hand):
            draft.holds(name, option.holds or "it is the default", env.path, line)
        elif setting:
            draft.set(setting, constants[0], name, env.path, line)
        else:
            draft.by_hand(name, option.by_hand, env.path, line)
    elif name == "process_revision_directives" and function and _only_skips_empty(function):
        draft.holds(name, "no revision is written where nothing has changed", env.path, function.lineno)
    elif not option.setting:
        draft.decide(name, option, env.path, line)
    elif setting and (reference := env.reference(value)):
        draft.set_object(setting, reference, name, env.path, line)
    elif function is not None and setting:
        text = f'{_MOVE}{setting} = "package.module:{function.name}"'
        draft.by_hand(name, text, env.path, function.lineno)
    elif setting:
        text = f"set {setting}: its value {outline(value)} only follows from running env.py"
        draft.by_hand(name, text, env.path, line)
    else:
        draft.by_hand(name, option.by_hand, env.path, function.lineno if function else line)


def _only_skips_empty(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether it only leaves out revisions without operations, as in Alembic's cookbook."""
    text = ast.unparse(function)
    calls = {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
    known = all(re.fullmatch(r".*\.is_empty|log\w*\..*|getattr|print", call) for call in calls)
    return known and ".is_empty()" in text and _EMPTIES.search(text) is not None


def _read_models(draft: Draft, env: EnvFile) -> None:
    """Set `models` to what target_metadata is, and `imports` to the modules that add tables to it."""
    expression, line = _metadata(draft, env)
    constant = expression is None or env.constant(expression) is None
    if expression is None or constant:
        draft.holds("target_metadata", "none: no models are compared", env.path, line)
    else:
        named = expression.func if isinstance(expression, ast.Call) and not expression.args else expression
        reference = env.reference(named)
        if reference is None or reference.module.partition(".")[0] == "sqlalchemy":
            text = f'set models = "package.module:attribute" to what {outline(expression)} is'
            draft.by_hand("target_metadata", text, env.path, line)
        else:
            draft.set_object("models", reference, "target_metadata", env.path, line)
            _read_naming(draft, env, reference)
    models = str(draft.settings.get("models", "")).partition(":")[0]
    for module, place in env.imported_for_effect.items():
        if module == models or (models and draft.modules.find(module) and models.startswith(f"{module}.")):
            continue
        if draft.importable.is_importable(module):
            draft.share("imports", [module], f"import {module}", env.path, place)
        else:
            text = f"add it to the setting imports; {draft.missing(module)}"
            draft.by_hand(f"import {module}", text, env.path, place)


def _metadata(draft: Draft, env: EnvFile) -> tuple[ast.expr | None, int]:
    """Return the expression of target_metadata; where several databases share env.py, that of this one."""
    values = env.options.get("target_metadata") or [Keyword(ast.Constant(None), 0)]
    value, line = values[0]
    owner = (
        value.func.value if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) else value
    )
    owner = owner.value if isinstance(owner, ast.Subscript) else owner
    binding = env.source.binding(owner.id) if isinstance(owner, ast.Name) else None
    if binding is None or not isinstance(binding.node, ast.expr):
        return value, line
    if isinstance(binding.node, ast.Dict):
        for key, item in zip(binding.node.keys, binding.node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == draft.environment.engine:
                return item, item.lineno
        return None, binding.line
    return binding.node if owner is value else value, binding.line


def _read_naming(draft: Draft, env: EnvFile, reference: Reference) -> None:
    """Say where the naming convention is."""
    subject = "naming convention"
    if line := assigned(env.source):
        text = "is set in env.py, which is not run: give it to the MetaData of the models"
        draft.by_hand(subject, text, env.path, line)
        return
    naming = find_naming(reference, draft.modules)
    if naming.file:
        draft.holds(subject, "constraints of revisions get its names", naming.file.path, naming.line)
    elif naming.is_known:
        draft.holds(subject, "the models have none", None)
    else:
        draft.holds(subject, "that of the models is used, if they have one", None)


def _read_transactions(draft: Draft, env: EnvFile) -> None:
    values = env.options.get("transaction_per_migration", [])
    if any(env.constant(value) is True for value, _ in values):
        draft.share("transaction", "per-revision", "transaction_per_migration", env.path, values[0].line)
    binding = env.source.binding("USE_TWOPHASE")
    if binding and isinstance(binding.node, ast.Constant) and binding.node.value is True:
        draft.share("atomic", True, "USE_TWOPHASE", env.path, binding.line)


def _read_statement(draft: Draft, env: EnvFile, statement: Statement) -> None:
    """Add the point of a statement that env.py sends before or after the revisions."""
    text, line = statement
    if match := _TIMEOUT.fullmatch(text):
        _read_timeout(draft, env, match, line)
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


def _read_timeout(draft: Draft, env: EnvFile, match: re.Match[str], line: int) -> None:
    name, number, unit = match["name"].lower(), int(match["value"]), match["unit"] or "ms"
    if unit == "ms" and number % 1000 == 0:
        number, unit = number // 1000, "s"
    if number:
        draft.share(name.replace("_", "-"), f"{number}{unit}", name, env.path, line)
    else:
        draft.holds(name, "0 is no limit: that of the settings is used", env.path, line)


def _read_code(draft: Draft, env: EnvFile) -> None:
    """Add the points of other code."""
    for name, call in env.calls:
        if name.endswith("get_x_argument"):
            text = "-x is passed to revisions; what env.py does with it is not done"
            draft.by_hand("-x", text, env.path, call.lineno)
        elif name.endswith("execution_options") and any(
            keyword.arg == "schema_translate_map" for keyword in call.keywords
        ):
            text = "is not used: name a database for each schema, with its own search-path"
            draft.by_hand("schema_translate_map", text, env.path, call.lineno)
        elif name.endswith("attributes.get") and call.args and ast.unparse(call.args[0]) == "'connection'":
            text = "calls of Alembic with a connection go on working"
            draft.holds("config.attributes", text, env.path, call.lineno)
        elif name.endswith("load_dotenv"):
            text = (
                ".env of the project is read"
                if not call.args
                else ".env of the project is read, no other file"
            )
            draft.holds("load_dotenv", text, env.path, call.lineno)
    if draft.environment.engine:
        text = (
            "several databases share them: functions with the parameter engine_name get the database's name"
        )
        draft.holds("revisions", text, env.path)
        text = "a new one runs on each of the databases: give its functions the parameter engine_name"
        draft.by_hand("revisions", text, env.path)
    for line in [] if draft.environment.engine else env.loops:
        text = "runs revisions in each round: name a database for each, with its own url-env or search-path"
        draft.by_hand("loop", text, env.path, line)
    for name, line in env.unknown_calls:
        text = f"{name} is not run: move it to a module that `imports` names"
        draft.by_hand("code", text, env.path, line)
    for node in ast.walk(env.source.tree):
        for decorator in getattr(node, "decorator_list", ()):
            if "listens_for" in ast.unparse(decorator):
                text = "the listener is not registered: move it to a module that `imports` names"
                draft.by_hand("event", text, env.path, decorator.lineno)
