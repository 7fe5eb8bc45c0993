"""Stdout holds the result only: what revisions, models and their children write goes to stderr."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.deployments import environment
from tests.fork_server import Forked
from tests.projects import Project
from tests.servers import Databases

NOISE = """
import atexit, logging, os, subprocess, sys, threading
print("1 print")
sys.stdout.write("2 write\\n")
handler = logging.StreamHandler(sys.stdout)
logging.getLogger("shop").addHandler(handler)
logging.getLogger("shop").warning("3 logger")
os.write(1, b"4 descriptor\\n")
os.system("echo 5 shell")
subprocess.run(["echo", "6 child"], check=True)
subprocess.Popen("sleep 0.2; echo 7 later", shell=True)
subprocess.run(["echo", "8 stream"], stdout=sys.stdout, check=True)
sys.__stdout__.write("9 original\\n")
atexit.register(print, "0 exit")
threading.Timer(1, print, ["0 thread"]).start()
"""


@pytest.fixture
def project(workdir: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    project = Project(workdir)
    project.write_settings()
    project.write("shop/models.py", "import sqlalchemy as sa\nprint('models')\nBase = sa.MetaData()\n")
    return project


def circle_migrate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "circle_migrate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.thorough
def test_output_of_revisions_goes_to_stderr(project: Project) -> None:
    body = "make_noise()\nop.execute(\"DO $$ BEGIN RAISE NOTICE 'moved'; END $$\")"
    helper = f"def make_noise():\n{textwrap.indent(NOISE, '    ')}"
    project.revision("main", "m1", None, body, "print('down')", more="print('loaded')\n" + helper)
    script = circle_migrate("upgrade", "--sql", "main@base:main@head", "-d", "main")
    assert script.returncode == 0, script.stderr
    assert script.stdout.startswith("-- circle-migrate")
    assert not re.search("^([0-9] |loaded)", script.stdout, re.MULTILINE)
    for line in (
        ["upgrade"],
        ["diff", "models", "live"],
        ["downgrade", "base", "-y"],
    ):
        done = circle_migrate(*line, "-d", "main", "--format", "json")
        assert json.loads(done.stdout)["ok"] is True, done
        if line == ["upgrade"]:
            for word in ("loaded", "print", "write", "logger", "descriptor", "shell", "child", "stream"):
                assert word in done.stderr
            assert {"7 later", "9 original", "0 exit", "0 thread"} <= set(done.stderr.splitlines())
            assert "moved" not in done.stderr


@pytest.mark.thorough
def test_verbose_shows_notices_and_alembics_log(project: Project) -> None:
    for level in "NOTICE", "WARNING", "DEBUG":
        project.revision(
            "main" if level == "NOTICE" else "credentials",
            level.lower(),
            "warning" if level == "DEBUG" else None,
            f"op.execute(\"DO $$ BEGIN RAISE {level} 'from the server PASSWORD ''x1y2'''; END $$\")",
            "pass",
        )
    done = circle_migrate("upgrade", "-v", "--safety", "off", "--format", "json")
    assert json.loads(done.stdout)["ok"] is True
    assert "main  NOTICE: from the server PASSWORD '***'" in done.stderr
    assert "credentials  WARNING: from the server PASSWORD '***'" in done.stderr
    assert "  DEBUG: " not in done.stderr
    assert "Running upgrade  -> notice, Revision notice" in done.stderr
    quiet = circle_migrate("downgrade", "base", "-y", "-q", "-v")
    assert quiet.returncode == 0
    assert "Running downgrade" not in quiet.stderr


def test_verbose_shows_statements_without_secrets_and_values(project: Project) -> None:
    body = (
        "op.execute(\"COMMENT ON SCHEMA public IS $$PASSWORD 'x1y2'$$\")\n"
        "print(\"PASSWORD 'x1y2'\")\n"
        "op.get_bind().exec_driver_sql('SELECT $1::text', ('v4lue',))"
    )
    project.revision("main", "m1", None, body, "pass")
    upgrade = Forked("upgrade", "-d", "main", "-v", env={})
    shown = upgrade.communicate()[1]
    downgrade = Forked("downgrade", "-d", "main", "base", "-y", env={})
    hidden = downgrade.communicate()[1]
    assert (upgrade.returncode, downgrade.returncode) == (0, 0)
    assert "COMMENT ON SCHEMA public IS" in shown
    assert "SELECT $1::text\n" in shown
    assert "x1y2" not in shown
    assert "\nPASSWORD '***'\n" in shown
    assert "v4lue" not in shown
    assert "DELETE FROM" not in hidden


def test_reader_that_has_closed_stderr_fails_no_step(project: Project) -> None:
    project.revision("main", "m1", None, "for _ in range(10_000):\n    print('row')", "pass")
    command = [sys.executable, "-m", "circle_migrate", "upgrade", "--format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stderr.close()
        assert json.loads(process.stdout.read())["ok"] is True
    assert process.returncode == 0


CLOSING = {
    "close": "sys.stdout.close()",
    "wrapper": "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8'); sys.stdout = None",
    "detach": "codecs.getwriter('utf-8')(sys.stdout.detach()).write('x\\n')",
    "stderr": "sys.stderr.close()",
}


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=[pytest.mark.thorough] * (how[0] in "dsw")) for how in CLOSING]
)
def test_revision_that_closes_its_stream(project: Project, how: str) -> None:
    imports = "import codecs, gc, io, sys"
    project.revision("main", "m1", None, CLOSING[how] + "\ngc.collect()", "pass", imports=imports)
    project.revision("main", "m2", "m1", 'op.execute("SELECT 1")', "pass")
    run = circle_migrate("upgrade", "--format", "json", "--safety", "off")
    assert run.returncode == 0, run
    assert json.loads(run.stdout)["ok"] is True
