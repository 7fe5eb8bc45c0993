"""New revision files compared with those that plain `alembic revision` and `alembic merge` write."""

from __future__ import annotations

import datetime
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import alembic
import pytest
from alembic import command
from alembic.config import Config

from tests.deployments import invoke

TEMPLATE = Path(alembic.__file__).parent / "templates/generic/script.py.mako"
OWN_TEMPLATE = '''"""${message} of ${config.get_main_option("shop")}

Down: ${down_revision | comma,n}; made in ${create_date.year}: ${create_date.isoformat()}
"""
from alembic import op
import sqlalchemy as sa
${imports if imports else ""}
<%def name="mark()">marked</%def>
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}
# ${mark()} ÄÖ


def upgrade():
    op.execute("SET LOCAL lock_timeout = '5s'")
    ${upgrades if upgrades else "pass"}
'''
REVISION = "revision = {0!r}\ndown_revision = {1!r}\nbranch_labels = {2!r}\ndef upgrade(): pass\n"
HOOK = """
[post_write_hooks]
hooks = first, second third
first.type = module
first.module = shop_hook
first.options = REVISION_SCRIPT_FILENAME --name "a first"
second.type = exec
second.executable = {python}
second.options = -m shop_hook REVISION_SCRIPT_FILENAME --name second
second.cwd = {folder}/tools
third.type = console_scripts
third.entrypoint = mako-render
third.options = --help
"""
SHOP_HOOK = """
import os, sys
from pathlib import Path
path = Path(sys.argv[1])
line = f"# {sys.argv[2:]} in {Path.cwd().name}\\n"
path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8")
print("hooked")
"""


class _Clock(datetime.datetime):
    """A fixed time."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        time = datetime.datetime(2024, 3, 9, 22, 5, 7, 123, tzinfo=datetime.UTC)
        return time.astimezone(tz) if tz else time.replace(tzinfo=None)


@pytest.fixture(autouse=True)
def _fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(datetime=_Clock, timezone=datetime.timezone)
    monkeypatch.setattr("alembic.script.base.datetime", clock)
    monkeypatch.setattr(sys, "path", [*sys.path])


class Tree:
    """A project whose alembic.ini is the only file of settings besides the names of the databases."""

    def __init__(self, folder: Path, options: str = "", template: str | None = None, more: str = "") -> None:
        self.folder = folder
        for path in ("db/versions/old", "db/more", "tools"):
            (folder / path).mkdir(parents=True)
        self.write("db/env.py", 'raise AssertionError("env.py was run")\n')
        self.write("db/script.py.mako", template or TEMPLATE.read_text(encoding="utf-8"))
        self.write("tools/shop_hook.py", SHOP_HOOK)
        self.ini(options, more)
        self.write("pyproject.toml", "[tool.circle-migrate.databases.shop]\n")
        for key, down, labels in (
            ("a1", None, None),
            ("a2", "a1", "corner"),
            ("a3", "a1", None),
        ):
            self.write(f"db/versions/{key}.py", REVISION.format(key, down, labels))

    def ini(self, options: str, more: str = "") -> None:
        text = f"[alembic]\nscript_location = %(here)s/db\nshop = corner\n{options}\n{more}"
        self.write("alembic.ini", text.replace("{folder}", str(self.folder)).format(python=sys.executable))

    def write(self, path: str, text: str) -> None:
        (self.folder / path).write_text(text, encoding="utf-8")

    def files(self) -> dict[str, bytes]:
        """All revision files by their paths."""
        files = (self.folder / "db").rglob("*.py")
        return {
            str(path.relative_to(self.folder)): path.read_bytes().replace(
                str(self.folder).encode(), b"FOLDER"
            )
            for path in files
        }


LONG = 'A message: it\'s longer than forty characters, "quoted" and Ünïcode'
CASES = {
    "defaults": ("", None, ""),
    "own template": ("", OWN_TEMPLATE, ""),
    "date in the name": (
        "file_template = %%(year)d-%%(month).2d-%%(day).2d-%%(hour).2d%%(minute).2d_%%(slug)s_%%(rev)s",
        OWN_TEMPLATE,
        "",
    ),
    "epoch in the name": ("file_template = %%(epoch)d%%(second)d_%%(rev)s", None, ""),
    "time zone": ("timezone = Europe/Berlin\nfile_template = %%(hour)d_%%(rev)s", None, ""),
    "utc": ("timezone = utc", OWN_TEMPLATE, ""),
    "short slug": ("truncate_slug_length = 12", None, ""),
    "encoding": ("output_encoding = iso-8859-1", f"# made here\n# coding: iso-8859-1\n{OWN_TEMPLATE}", ""),
    "subfolders": (
        "recursive_version_locations = true\nfile_template = %%(year)d/%%(rev)s_%%(slug)s",
        None,
        "",
    ),
    "folders": (
        "version_locations = %(here)s/db/more:%(here)s/db/versions\npath_separator = :",
        OWN_TEMPLATE,
        "",
    ),
    "hooks": ("prepend_sys_path = %(here)s/tools\npath_separator = os", None, HOOK),
}
_EVERYWHERE = ("defaults", "folders", "own template")
COMMANDS = {
    "on a head": (["--head", "a2", "-m", LONG], {"head": "a2", "message": LONG}),
    "on a branch": (
        ["--head", "corner@head", "-m", "next"],
        {"head": "corner@head", "message": "next"},
    ),
    "on the base": (
        ["--head", "base", "-m", "", "--branch-label", "new", "--depends-on", "a2", "--depends-on", "corner"],
        {"head": "base", "message": "", "branch_label": "new", "depends_on": ["a2", "corner"]},
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("how", "case"),
    [
        # Once each in the default suite: every case, every command, and both together where they meet.
        pytest.param(
            how, case, marks=[pytest.mark.thorough] * (how != "on a head" and case not in _EVERYWHERE)
        )
        for how in COMMANDS
        for case in CASES
    ],
)
def test_same_file_as_alembic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], case: str, how: str
) -> None:
    ours, theirs = Tree(tmp_path / "ours/shop", *CASES[case]), Tree(tmp_path / "theirs/shop", *CASES[case])
    arguments, options = COMMANDS[how]
    if case == "folders" and how == "on the base":
        arguments = [*arguments, "--version-path", "db/more"]
        options = {**options, "version_path": "db/more"}
    if case == "hooks":
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/ours/shop/tools")
    monkeypatch.chdir(theirs.folder)
    command.revision(Config("alembic.ini"), rev_id="b1", **options)
    monkeypatch.chdir(ours.folder)
    capfd.readouterr()
    done = invoke(["revision", *arguments, "--rev-id", "b1", "-d", "shop", "--format", "json"])
    assert done.status == 0, done.everything
    assert capfd.readouterr().out == "", "a hook writes to stdout"
    assert ours.files() == theirs.files()
    assert len(ours.files()) == 5
    assert invoke(["show", "b1"]).status == 0


def test_merge_is_alembics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = "file_template = %%(rev)s-%%(slug)s\ntimezone = UTC"
    ours, theirs = (Tree(tmp_path / name / "shop", options, OWN_TEMPLATE) for name in ("ours", "theirs"))
    monkeypatch.chdir(theirs.folder)
    command.merge(Config("alembic.ini"), ("a2", "a3"), "both", rev_id="b1")
    monkeypatch.chdir(ours.folder)
    done = invoke(["merge", "a2", "a3", "-m", "both", "--rev-id", "b1"])
    assert done.status == 0, done.everything
    assert ours.files() == theirs.files()


def test_options_of_pyproject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[tool.alembic] has its own forms of lists and hooks; the alembic.ini beside it has the rest."""
    toml = f"""
[tool.alembic]
script_location = "%(here)s/db"
file_template = "%%(rev)s-%%(year)d"
timezone = "UTC"
prepend_sys_path = ["tools"]
[[tool.alembic.post_write_hooks]]
name = "mark"
type = "exec"
executable = "{sys.executable}"
options = "-m shop_hook REVISION_SCRIPT_FILENAME"
"""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/ours/shop/tools")
    trees = [Tree(tmp_path / name / "shop", "", OWN_TEMPLATE) for name in ("theirs", "ours")]
    for tree in trees:
        tree.write("alembic.ini", "[alembic]\nshop = corner\n")
        tree.write("pyproject.toml", f"[tool.circle-migrate.databases.shop]\n{toml}")
    theirs, ours = trees
    monkeypatch.chdir(theirs.folder)
    command.revision(Config("alembic.ini", "pyproject.toml"), "next", head="a2", rev_id="b1")
    monkeypatch.chdir(ours.folder)
    done = invoke(["revision", "-m", "next", "--head", "a2", "--rev-id", "b1"])
    assert done.status == 0, done.everything
    assert "db/versions/b1-2024.py" in ours.files()
    assert ours.files() == theirs.files()


def test_template_without_an_alembic_ini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(tmp_path / "shop", "", OWN_TEMPLATE.replace('${config.get_main_option("shop")}', "it"))
    (tree.folder / "alembic.ini").unlink()
    tree.write("pyproject.toml", '[tool.circle-migrate.databases.shop]\nrevisions = "db/versions"\n')
    monkeypatch.chdir(tree.folder)
    done = invoke(["revision", "-m", "next", "--head", "a2", "--rev-id", "b1"])
    assert done.status == 0, done.everything
    assert b"next of it" in tree.files()["db/versions/b1_next.py"]


SECTION = "[post_write_hooks]\nhooks = mark\nmark.type = {}\n"
BAD = {
    "timezone": ("timezone = Europe/Nowhere", "Can't locate timezone: Europe/Nowhere"),
    "file_template": ("file_template = %%(nothing)s", "file_template: KeyError 'nothing'"),
    "folder": ("file_template = %%(year)d/%%(rev)s", "recursive_version_locations = true"),
    "slug": ("truncate_slug_length = many", "'many'"),
    "encoding": ("output_encoding = utf-99", "unknown encoding: utf-99"),
    "no type": ("[post_write_hooks]\nhooks = mark\n", "the post-write hook mark cannot run: it has no type"),
    "type": (SECTION.format("own"), "its type own is not known"),
    "executable": (SECTION.format("exec"), "it has no executable"),
    "program": (SECTION.format("exec\nmark.executable = not-there"), "there is no program not-there"),
    "module": (SECTION.format("module\nmark.module = not.there"), "there is no module not.there"),
    "script": (SECTION.format("console_scripts\nmark.entrypoint = gone"), "has the console script gone"),
    "quotes": (SECTION.format("module\nmark.module = this\nmark.options = 'a"), "No closing quotation"),
}


@pytest.mark.parametrize("case", BAD)
def test_unusable_option_is_refused_before_a_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    options, words = BAD[case]
    tree = Tree(tmp_path / "shop", options)
    before = tree.files()
    monkeypatch.chdir(tree.folder)
    done = invoke(["revision", "-m", "next", "--head", "a2"])
    assert done.status == 2
    assert words in " ".join(done.stderr.split())
    assert "alembic.ini" in done.stderr
    assert tree.files() == before


BAD_TEMPLATES = {
    "variable": (OWN_TEMPLATE + "# ${of_env_py}\n", "next", "script.py.mako:19"),
    "syntax": (OWN_TEMPLATE + "${\n", "next", "script.py.mako:19"),
    "labels": (OWN_TEMPLATE.replace("branch_labels =", "labels ="), "next", "branch_labels"),
    "message": (OWN_TEMPLATE, 'a """ b', "is not valid Python"),
    "no revision": ("pass\n", "next", "has no `revision`"),
}


@pytest.mark.parametrize("case", BAD_TEMPLATES)
def test_template_that_makes_no_revision_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    template, message, words = BAD_TEMPLATES[case]
    tree = Tree(tmp_path / "shop", "", template)
    before = tree.files()
    monkeypatch.chdir(tree.folder)
    done = invoke(["revision", "-m", message, "--head", "a2", "--branch-label", "new"])
    assert done.status == 2
    assert words in " ".join(done.stderr.split())
    assert tree.files() == before


def test_failing_hook_is_reported_and_the_file_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks that follow still run, as under Alembic."""
    more = SECTION.replace("mark\n", "fail, mark\n", 1).format(
        "exec\nmark.executable = {python}\nmark.options = tools/shop_hook.py REVISION_SCRIPT_FILENAME\n"
        "fail.type = exec\nfail.executable = {python}\n"
        "fail.options = -c 'import sys; sys.exit(\"no: \" + sys.argv[1])' REVISION_SCRIPT_FILENAME"
    )
    tree = Tree(tmp_path / "shop", more=more)
    monkeypatch.chdir(tree.folder)
    done = invoke(["revision", "-m", "next", "--head", "a2", "--rev-id", "b1"])
    assert done.status == 0
    path = tree.folder / "db/versions/b1_next.py"
    text = " ".join(done.everything.split())
    assert f"shop: the post-write hook fail ended with exit status 1: no: {path}" in text
    assert path.read_text(encoding="utf-8").endswith("# [] in shop\n")


def test_hook_that_a_module_registers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alembic finds it by env.py, this tool by the setting `imports`."""
    tree = Tree(tmp_path / "shop", more=SECTION.format("shop_mark\nmark.text = marked"))
    tree.write(
        "tools/registered.py",
        "from alembic.script import write_hooks\n"
        "@write_hooks.register('shop_mark')\n"
        "def mark(path, options):\n"
        "    with open(path, 'a') as file:\n        file.write('# ' + options['text'])\n"
        "    print('marked')\n",
    )
    settings = "[tool.circle-migrate]\nimports = ['registered']\n[tool.circle-migrate.databases.shop]\n"
    tree.write("pyproject.toml", settings)
    tree.ini("prepend_sys_path = tools", SECTION.format("shop_mark\nmark.text = marked"))
    monkeypatch.chdir(tree.folder)
    done = invoke(["revision", "-m", "next", "--head", "a2", "--rev-id", "b1", "--format", "json"])
    assert done.status == 0, done.everything
    assert done.stdout.startswith("{")
    assert tree.files()["db/versions/b1_next.py"].endswith(b"# marked")
    shutil.rmtree(tree.folder / "tools")


def test_several_folders_need_one_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(tmp_path / "shop", CASES["folders"][0])
    monkeypatch.chdir(tree.folder)
    for arguments, words in (
        ([], "add --version-path with one of"),
        (["--version-path", "tools"], "tools is no folder of the revisions of shop"),
    ):
        done = invoke(["revision", "-m", "next", "--head", "base", *arguments])
        assert (done.status, words in " ".join(done.stderr.split())) == (2, True), done.stderr


ENVIRONMENT = """
import sys
from alembic import context
from sqlalchemy import create_engine

sys.path.insert(0, "tools")
from shop_directives import process

with create_engine("sqlite://").connect() as connection:
    context.configure(connection, process_revision_directives=process)
    context.run_migrations()
"""
DIRECTIVES = """
def process(context, revision, directives):
    script, = directives
    assert script.upgrade_ops.is_empty() and not getattr(context.config.cmd_opts, "autogenerate", False)
    script.message = f"SHOP-1: {script.message}"
    script.rev_id = "c9"
"""


@pytest.mark.parametrize(
    "template", [None, OWN_TEMPLATE.replace('${upgrades if upgrades else "pass"}', "${upgrades}")]
)
def test_revision_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str | None) -> None:
    """Alembic runs env.py for a new revision; here the function of the settings is called."""
    trees = [
        Tree(tmp_path / name / "shop", "revision_environment = true", template) for name in ("theirs", "ours")
    ]
    settings = "\nprocess-revision-directives = 'shop_directives:process'\n"
    for tree in trees:
        tree.write("tools/shop_directives.py", DIRECTIVES)
        tree.ini("revision_environment = true\nprepend_sys_path = tools\npath_separator = os", "")
        tree.write("pyproject.toml", f"[tool.circle-migrate.databases.shop]{settings}")
    theirs, ours = trees
    theirs.write("db/env.py", ENVIRONMENT)
    monkeypatch.chdir(theirs.folder)
    command.revision(Config("alembic.ini"), "next", head="a2")
    sys.modules.pop("shop_directives")
    monkeypatch.chdir(ours.folder)
    done = invoke(["revision", "-m", "next", "--head", "a2"])
    sys.modules.pop("shop_directives")
    assert done.status == 0, done.everything
    name = "db/versions/c9_shop_1_next.py"
    assert ours.files()[name] == theirs.files()[name]
    done = invoke(["revision", "-m", "and more", "--head", "c9"])
    assert done.status == 2
    assert "already has a revision or branch 'c9'" in done.stderr


def test_clone_without_the_folder_of_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git keeps no empty folder: the first revision makes `versions`, as under Alembic."""
    ours, theirs = Tree(tmp_path / "ours/shop"), Tree(tmp_path / "theirs/shop")
    for tree in (ours, theirs):
        shutil.rmtree(tree.folder / "db/versions")
    monkeypatch.chdir(theirs.folder)
    command.revision(Config("alembic.ini"), "first", rev_id="b1")
    monkeypatch.chdir(ours.folder)
    assert invoke(["heads"]).status == 0
    done = invoke(["revision", "-m", "first", "--head", "head", "--rev-id", "b1"])
    assert done.status == 0, done.everything
    assert "db/versions/b1_first.py" in ours.files()
    assert ours.files() == theirs.files()
