"""process-revision-directives: functions as people have them in env.py, on what autogenerate writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.load import load
from circle_migrate.core.errors import MigrateError, UsageError
from circle_migrate.diff.autogenerate.alembic_directives import new_drafts
from circle_migrate.diff.autogenerate.placement import Placement
from circle_migrate.diff.autogenerate.revision_file import RevisionFile, RevisionFilesResult, write_all
from circle_migrate.postgres.deployment import Deployment
from tests.diff.drafts import HEAD, Deploy, Shop, left, statements, write
from tests.servers import run

MODELS = f"""{HEAD}
Table("a", metadata, key(), Column("n", BigInteger, nullable=False), Column("s", Text), Index("a_s", "s"))
Table("b", metadata, key(), CheckConstraint("id > 0", name="b_check"))
"""
LIVE = ("CREATE TABLE a (id serial PRIMARY KEY, gone text)", "CREATE TABLE old (id int)")
SETTINGS = """
[tool.circle-migrate.databases.main]
revisions = {revisions}
models = "shop.models:metadata"
process-revision-directives = "shop.hooks:process"

[tool.circle-migrate.databases.credentials]
revisions = "migrations/credentials"
models = "shop.secrets:metadata"
"""


@pytest.fixture
def project(shop: Shop) -> Shop:
    statements(shop, *LIVE)
    shop.model(MODELS)
    shop.write_settings(SETTINGS.format(revisions="'migrations/main'"))
    return shop


def autogenerate(project: Shop, deploy: Deploy, hook: str) -> RevisionFilesResult:
    project.model(hook, "hooks")
    return write(deploy("main", live=False))


def body(result: RevisionFilesResult, number: int = 0) -> str:
    """The upgrade function of a new file."""
    text = Path(result.revisions[number].path).read_text(encoding="utf-8")
    return text.partition("def upgrade")[2].partition("def downgrade")[0]


SEQUENTIAL = """
from alembic import context as environment
from alembic.script import ScriptDirectory

def process(context, revision, directives):
    assert revision == ("m1",), revision
    assert environment.config is context.config
    assert context.config.cmd_opts.autogenerate and context.config.cmd_opts.message == "changes"
    (script,) = directives
    head = ScriptDirectory.from_config(context.config).get_current_head()
    script.rev_id = f"{int(head[1:]) + 1:04}"
    script.message = script.message.upper()
    script.imports.add("import shop.hooks")
    assert not script.upgrade_ops.is_empty()
"""


@pytest.mark.thorough
def test_id_message_and_imports(project: Shop, deploy: Deploy) -> None:
    """The function reads the tree; operations that it does not touch keep their comments."""
    result = autogenerate(project, deploy, SEQUENTIAL)
    (revision,) = result.revisions
    assert (revision.id, revision.message) == ("0002", "CHANGES")
    assert Path(revision.path).name == "0002_changes.py"
    assert "import shop.hooks\n" in Path(revision.path).read_text(encoding="utf-8")
    assert "# HAZARD: CM013" in body(result)
    assert result.notes == ("main: the live database was not checked, because DATABASE_URL is not set",)
    run(upgrade(deploy("main")))
    assert left(deploy("main")) == []


EMPTY = """
def process(context, revision, directives):
    if context.config.cmd_opts.autogenerate:
        directives[:] = []
"""


def test_no_directive_is_no_file(project: Shop, deploy: Deploy) -> None:
    result = autogenerate(project, deploy, EMPTY)
    assert (result.revisions, result.unchanged) == ((), ("main",))
    assert result.notes[-1] == "main: process-revision-directives left nothing of the revision"
    assert [path.name for path in project.versions("main").iterdir()] == ["m1.py"]


REWRITE = """
from alembic.autogenerate.rewriter import Rewriter
from alembic.operations import ops

writer = Rewriter()

@writer.rewrites(ops.AddColumnOp)
def add_column(context, revision, op):
    if op.column.nullable:
        return op
    op.column.nullable = True
    kind = op.column.type
    return [op, ops.AlterColumnOp(op.table_name, op.column.name, modify_nullable=False, existing_type=kind)]

@writer.rewrites(ops.DropTableOp)
def drop_table(context, revision, op):
    return []

@writer.rewrites(ops.CreateTableOp)
def create_table(context, revision, op):
    return [op, ops.ExecuteSQLOp(f"COMMENT ON TABLE {op.table_name} IS 'new'")]

process = writer
"""


@pytest.mark.thorough
def test_changed_operations_are_tried(project: Shop, deploy: Deploy) -> None:
    result = autogenerate(project, deploy, REWRITE)
    text = body(result)
    assert "nullable=True" in text
    assert "nullable=False" in text.partition("op.alter_column")[2]
    assert "drop_table" not in text
    assert "COMMENT ON TABLE b" in text
    assert re.search(r"# HAZARD: CM010.*\n    op.drop_column\(", text)
    notes = "\n".join(result.notes)
    assert "main: process-revision-directives changed what the revision does" in notes
    assert "upgrade() of the new revision: NOT EXPRESSED: table public.old is missing in models" in notes
    assert result.failed == ("main",)
    assert 'downgrade() of the new revision: FAILED in a scratch database: relation "old" already' in notes
    run(upgrade(deploy("main")))
    assert len(left(deploy("main"))) == 2, left(deploy("main"))


@pytest.mark.thorough
def test_change_that_fails_is_reported(project: Shop, deploy: Deploy) -> None:
    result = autogenerate(project, deploy, REWRITE.replace("COMMENT ON TABLE {op.table_name}", "COMMENT"))
    assert result.failed == ("main",)
    assert any("FAILED in a scratch database" in note for note in result.notes)


SPLIT = """
from alembic.operations import ops

def process(context, revision, directives):
    (script,) = directives
    drops = (ops.DropTableOp, ops.DropColumnOp)
    parts = {True: [], False: []}
    for operation in script.upgrade_ops.ops:
        inner = operation.ops if isinstance(operation, ops.ModifyTableOps) else [operation]
        for item in inner:
            parts[isinstance(item, drops)].append(item)
    directives[:] = [
        ops.MigrationScript(f"{script.rev_id}{name}", ops.UpgradeOps(parts[drops]), ops.DowngradeOps([]),
            message=f"{script.message} {name}", head=f"{name}@head", branch_label=None,
            version_path=f"migrations/{name}", depends_on=[f"{script.rev_id}expand"] if drops else None)
        for name, drops in (("expand", False), ("contract", True))
    ]
"""


@pytest.mark.thorough
def test_one_revision_for_each_branch(project: Shop, deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in OpenStack's neutron: what adds and what removes are separate branches in separate folders."""
    monkeypatch.chdir(project.folder)
    project.write_settings(
        SETTINGS.format(revisions="['migrations/main', 'migrations/expand', 'migrations/contract']")
    )
    for name in ("expand", "contract"):
        project.write(f"migrations/{name}/{name[0]}1.py", BRANCH.format(f"{name[0]}1", name))
    result = autogenerate(project, deploy, SPLIT)
    expand, contract = result.revisions
    assert [Path(item.path).parent.name for item in result.revisions] == ["expand", "contract"]
    assert (expand.down_revisions, contract.down_revisions) == (("e1",), ("c1",))
    assert contract.depends_on == (expand.id,)
    assert ("drop_table" in body(result, 0), "drop_table" in body(result, 1)) == (False, True)
    run(upgrade(deploy("main"), ["heads"]))
    assert left(deploy("main")) == []


BRANCH = '''"""Start."""
revision = "{0}"
down_revision = "m1"
branch_labels = ("{1}",)
def upgrade(): pass
def downgrade(): pass
'''

WRONG = {
    "raise KeyError('no')": ("process-revision-directives of main fails", "KeyError: 'no'"),
    "directives[0].rev_id = 'm1'": ("main already has a revision or branch 'm1'", ""),
    "directives[0].head = 'nothing'": ("main has no revision 'nothing'", ""),
    "directives.append(directives[0])": ("makes two revisions", ""),
}


UPGRADE = """    # why
    op.drop_table('old')
    with op.get_context().autocommit_block():
        op.create_index('a_i', 'a', ['n'], postgresql_concurrently=True)
    op.execute('''SELECT
1''')
    op.add_column('a', sa.Column('n', sa.Integer()))"""
BODIES = UPGRADE, "    op.drop_column('a', 'n')\n    op.drop_index('a_i', 'a')"


def drafts(project: Shop, function: str) -> list[RevisionFile]:
    project.model(function, "hooks")
    return new_drafts(Deployment(load(environ={}), "main"), "main", "next", Placement(), BODIES)


@pytest.mark.parametrize("line", WRONG)
def test_wrong_function_is_refused(project: Shop, line: str) -> None:
    words, detail = WRONG[line]
    with pytest.raises(MigrateError, match=re.escape(words)) as caught:
        drafts(project, f"def process(context, revision, directives):\n    {line}\n")
    assert detail in str(caught.value.detail)


def test_code_that_is_not_changed_stays_as_it_is(project: Shop) -> None:
    """Also statements that are no operations; those of a table are in a container, as Alembic's."""
    seen = "assert [type(op).__name__ for op in directives[0].{}.ops] == {!r}"
    names = ["DropTableOp", "CodeOp", "ExecuteSQLOp", "ModifyTableOps"], ["ModifyTableOps"]
    checks = [
        seen.format(ops, list_) for ops, list_ in zip(("upgrade_ops", "downgrade_ops"), names, strict=True)
    ]
    lines = "\n    ".join(checks)
    (draft,) = drafts(project, f"def process(context, revision, directives):\n    {lines}\n")
    assert (draft.upgrade, draft.downgrade) == BODIES
    change = "directives[0].upgrade_ops.ops[0].table_name = 'older'"
    (draft,) = drafts(project, f"def process(context, revision, directives):\n    {change}\n")
    assert draft.upgrade == BODIES[0].replace("    # why\n", "").replace("'old'", "'older'")
    clear = "directives[0].upgrade_ops.ops.clear()"
    (draft,) = drafts(project, f"def process(context, revision, directives):\n    {clear}\n")
    assert (draft.upgrade, draft.downgrade) == ("    pass", BODIES[1])


def test_two_revisions_with_one_file_name_are_refused(project: Shop) -> None:
    """A file_template may have no id."""
    options = "[alembic]\nscript_location = migrations/main\nfile_template = %%(year)d_%%(slug)s\n"
    project.write("alembic.ini", options)
    copy = "import copy\n    second = copy.copy(directives[0])\n    second.rev_id = 'm9'\n"
    made = drafts(
        project, f"def process(context, revision, directives):\n    {copy}    directives += [second]\n"
    )
    with pytest.raises(UsageError, match="2 new revisions would be"):
        write_all(made)
    assert [path.name for path in project.versions("main").iterdir()] == ["m1.py"]
