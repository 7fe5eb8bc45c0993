"""Let the function `process-revision-directives` change new revisions, as Alembic does.

It gets Alembic's operations. An operation that it does not touch keeps its code, with the comments above it.
"""

import ast
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any, NamedTuple

from alembic.autogenerate import renderers
from alembic.operations import Operations
from alembic.operations.ops import (
    AddConstraintOp,
    AlterTableOp,
    CreateIndexOp,
    DowngradeOps,
    DropConstraintOp,
    DropIndexOp,
    MigrateOperation,
    MigrationScript,
    ModifyTableOps,
    UpgradeOps,
)

from circle_migrate.config.object_reference import import_modules, load_function
from circle_migrate.core.errors import SettingsError, UsageError, text_of
from circle_migrate.diff.autogenerate.alembic_suggestions import body_of, leaves
from circle_migrate.diff.autogenerate.placement import Placement
from circle_migrate.diff.autogenerate.revision_file import EMPTY_BODY, RevisionFile, new_revision, text
from circle_migrate.migrate.alembic_adapter.config import read_environment
from circle_migrate.migrate.alembic_adapter.context import Context
from circle_migrate.migrate.alembic_adapter.new_script import NewScript
from circle_migrate.postgres.deployment import Deployment

_OF_TABLES = (AlterTableOp, AddConstraintOp, DropConstraintOp, CreateIndexOp, DropIndexOp)


class CodeOp(MigrateOperation):
    """Statements of a revision that are no operations of Alembic, such as a block with autocommit."""

    def __init__(self, code: str) -> None:
        self.code = code


@renderers.dispatch_for(CodeOp)
def _render_code(_context: object, operation: CodeOp) -> list[str]:
    return textwrap.dedent(operation.code).splitlines()


def new_drafts(
    deployment: Deployment,
    name: str,
    message: str,
    position: Placement,
    bodies: tuple[str, str] | None = None,
) -> list[RevisionFile]:
    """Return a new revision with these bodies, or what the function makes of it: none, one or several.

    Without bodies, the function is called only with `revision_environment`. Raises what `new_revision`
    raises, and `SettingsError` if the function fails.
    """
    settings = deployment.databases[name].settings
    upgrade, downgrade = bodies or (EMPTY_BODY, EMPTY_BODY)
    if settings.process_revision_directives is None or (
        bodies is None and not NewScript(settings).runs_environment
    ):
        draft = new_revision(deployment, name, message, position)
        return [replace(draft, upgrade=upgrade, downgrade=downgrade)]
    # The function may name the heads, which are looked up afterwards.
    draft = new_revision(deployment, name, message, replace(position, head="base"))
    draft = replace(draft, upgrade=upgrade, downgrade=downgrade)
    return _process(deployment, draft, position, autogenerate=bodies is not None)


def _process(
    deployment: Deployment, draft: RevisionFile, position: Placement, *, autogenerate: bool
) -> list[RevisionFile]:
    settings = draft.database.settings
    import_modules(settings)
    function = load_function(settings, "process_revision_directives")
    graph = draft.database.graph
    bodies = _Body(draft, draft.upgrade), _Body(draft, draft.downgrade)
    script = MigrationScript(
        draft.id,
        UpgradeOps(bodies[0].operations),
        DowngradeOps(bodies[1].operations),
        message=draft.message,
        imports=set(),
        head=position.head or "head",
        splice=position.splice,
        branch_label=position.label,
        version_path=str(draft.version_path) if draft.version_path else None,
        depends_on=list(position.depends_on) or None,
    )
    directives: list[Any] = [script]
    context = Context.offline({"target_metadata": None})
    arguments = {name: getattr(script, name) for name in ("message", "head", "splice", "branch_label")}
    environment = read_environment(
        graph,
        settings,
        autogenerate=autogenerate,
        sql=False,
        rev_id=position.id,
        version_path=script.version_path,
        depends_on=script.depends_on,
        **arguments,
    )
    environment._migration_context = context
    context.environment_context, context.script = environment, environment.script
    environment._install_proxy()
    try:
        function(context, tuple(graph.heads), directives)
    except Exception as error:
        raise SettingsError(
            f"process-revision-directives of {draft.database.name} fails",
            database=draft.database.name,
            detail=f"{type(error).__name__}: {text_of(error)}",
            state="nothing was written",
            hint=f"correct {settings.process_revision_directives}: it gets what Alembic gives it",
        ) from error
    finally:
        environment._remove_proxy()
    originals = {**bodies[0].originals, **bodies[1].originals}
    drafts: dict[str, RevisionFile] = {}
    for directive in directives:
        made = _draft(deployment, draft, directive, drafts)
        if made.id in drafts:
            raise UsageError(f"process-revision-directives makes two revisions {made.id!r}")
        drafts[made.id] = replace(
            made,
            upgrade=_code(directive.upgrade_ops_list, originals),
            downgrade=_code(directive.downgrade_ops_list, originals),
            imports=tuple(sorted(directive.imports)),
        )
    return list(drafts.values())


def _draft(
    deployment: Deployment,
    draft: RevisionFile,
    directive: MigrationScript,
    earlier: Mapping[str, RevisionFile],
) -> RevisionFile:
    """Return the revision of a directive, without its content; `earlier` are those before it."""
    graph = draft.database.graph
    labels, needed = _texts(directive.branch_label), _texts(directive.depends_on)
    down = _texts(directive.head) or ("head",)
    if down == ("head",):
        down = tuple(earlier)[-1:] or down
    is_in_graph = len(down) == 1 and down[0] not in earlier
    position = Placement(
        down[0] if is_in_graph else "base",
        splice=bool(directive.splice),
        label=next(iter(labels), None),
        depends_on=tuple(key for key in needed if key not in earlier),
        id=directive.rev_id,
        version_path=Path(directive.version_path) if directive.version_path else None,
    )
    message = "empty message" if directive.message is None else directive.message
    made = new_revision(deployment, draft.database.name, message, position)
    return replace(
        made,
        down=made.down if is_in_graph else tuple(key if key in earlier else graph.find(key) for key in down),
        labels=labels,
        depends_on=(*made.depends_on, *(key for key in needed if key in earlier)),
    )


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


class _Original(NamedTuple):
    """An operation, its code in the draft, and its code by Alembic before the function was called."""

    operation: MigrateOperation
    code: str
    rendered: str | None


class _Body:
    """The operations of a function body; `originals` are found by the identity of the operation."""

    def __init__(self, draft: RevisionFile, code: str) -> None:
        self.originals: dict[int, _Original] = {}
        self._namespace: dict[str, Any] = {}
        source = text(replace(draft, upgrade=code, downgrade=EMPTY_BODY))
        exec(compile(source, "the new revision", "exec"), self._namespace)  # noqa: S102 - this package wrote it
        self.operations = [] if code == EMPTY_BODY else _by_table(self._read(code))

    def _read(self, code: str) -> Iterator[MigrateOperation]:
        lines = code.splitlines()
        (function,) = ast.parse("def body():\n" + code).body
        start = 0
        for statement in getattr(function, "body", ()):
            end = statement.end_lineno - 1
            segment = "\n".join(lines[start:end])
            start = end
            made = self._record(statement)
            operation = made[0] if len(made) == 1 else CodeOp(segment)
            self.originals[id(operation)] = _Original(operation, segment, _rendered(operation))
            yield operation

    def _record(self, statement: ast.stmt) -> list[MigrateOperation]:
        """Return the operations of a statement, which are not run; none for one that is no call of `op`."""
        made: list[MigrateOperation] = []
        if isinstance(statement, ast.Expr) and ast.unparse(statement).startswith("op."):
            operations = Operations(Context.offline({}))
            operations.invoke = made.append  # type: ignore[method-assign, assignment]
            self._namespace["op"] = operations
            module = ast.Module([statement], [])
            exec(compile(module, "the new revision", "exec"), self._namespace)  # noqa: S102 - as above
        return made


def _by_table(operations: Iterable[MigrateOperation]) -> list[MigrateOperation]:
    """Return the operations with those on one table in a row in a container, as Alembic's own."""
    result: list[MigrateOperation] = []
    for table, group in groupby(operations, _table):
        members = list(group)
        result += [ModifyTableOps(table[0], members, schema=table[1])] if table else members
    return result


def _table(operation: Any) -> tuple[str, str | None] | None:
    if not isinstance(operation, _OF_TABLES):
        return None
    table = getattr(operation, "table_name", None) or getattr(operation, "source_table", None)
    return str(table), getattr(operation, "schema", None)


def _code(containers: Iterable[Any], originals: Mapping[int, _Original]) -> str:
    """Return the indented code of operations; those that changed are rendered by Alembic."""
    segments = []
    for operation in chain.from_iterable(map(leaves, containers)):
        original, rendered = originals.get(id(operation)), _rendered(operation)
        is_same = original is not None and original.rendered == rendered
        segments.append(original.code if original and is_same else rendered or "")
    return "\n".join(filter(None, segments)) or EMPTY_BODY


def _rendered(operation: MigrateOperation) -> str | None:
    """Return the indented code of one operation, None if Alembic cannot render it."""
    try:
        return body_of(operation)
    except Exception:  # noqa: BLE001 - operations without a renderer, types without a representation
        return None
