"""`./run`: the place of the environment, when it is created again, its errors, its lock."""

from __future__ import annotations

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "run"
LOCK = (ROOT / "requirements.lock").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# A project without dependencies from an index. Its build backend is in the checkout, counts its calls in the
# file `built`, and is delayed or broken by a file of that name.
TINY_PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "tiny"
version = "1"
"""
TINY_BACKEND = """
import pathlib, sys, time, zipfile

FILES = {
    "tiny.py": "",
    "tiny-1.dist-info/METADATA": "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n",
    "tiny-1.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
}

def build_editable(directory, config_settings=None, metadata_directory=None):
    with open("built", "a") as built:
        built.write("x")
    while pathlib.Path("hold").exists():
        time.sleep(0.02)
    if pathlib.Path("broken").exists():
        sys.exit("the words of the backend")
    with zipfile.ZipFile(pathlib.Path(directory, "tiny-1-py3-none-any.whl"), "w") as wheel:
        for name, text in FILES.items():
            wheel.writestr(name, text)
        wheel.writestr("tiny-1.dist-info/RECORD", "".join(name + ",,\\n" for name in FILES))
    return "tiny-1-py3-none-any.whl"
"""

# A fast replacement for the backend: most tests are about ./run, not about installers.
STAND_IN = """#!/bin/sh
PATH=/bin:/usr/bin
case "$*" in *--editable=.*) ;; *) exit 0 ;; esac
printf x >> built
while [ -e hold ]; do sleep 0.02; done
for argument; do
    case "$argument" in --python=*) venv="${argument#--python=}"; venv="${venv%/bin/python}" ;; esac
done
if [ -e broken ]; then echo "the words of the installer" >&2; exit 1; fi
for packages in "$venv"/lib/python*/site-packages; do : > "$packages/tiny.py"; done
"""


run = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


class Checkout:
    """A checkout of a small project with ./run and an empty lock file."""

    def __init__(self, folder: Path, path: Path) -> None:
        self.folder = folder
        self.environ = {**os.environ, "PATH": str(path), "HOME": str(folder), "PYTHONPATH": "/nowhere"}
        folder.mkdir()
        shutil.copy(SCRIPT, folder)
        (folder / "pyproject.toml").write_text(TINY_PROJECT)
        (folder / "backend.py").write_text(TINY_BACKEND)
        (folder / "requirements.lock").touch()

    @property
    def builds(self) -> int:
        built = self.folder / "built"
        return len(built.read_text()) if built.exists() else 0

    def start(self, *command: str) -> subprocess.Popen[str]:
        arguments = [sys.executable, str(self.folder / "run"), *command]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(arguments, env=self.environ, text=True, **pipes)

    def run(self, *command: str) -> tuple[int, str, str]:
        """Return the exit status, stdout and stderr of ./run COMMAND."""
        process = self.start(*command)
        stdout, stderr = process.communicate()
        return process.returncode, stdout, stderr


@pytest.fixture
def checkout(request: pytest.FixtureRequest, tmp_path: Path) -> Checkout:
    """Replace uv by a stand-in, or by the installer of the test."""
    path = tmp_path / "bin"
    path.mkdir()
    installer = getattr(request, "param", "stand-in")
    if installer == "stand-in":
        (path / "uv").write_text(STAND_IN)
        (path / "uv").chmod(0o755)
    if installer == "uv":
        uv = shutil.which("uv")
        if uv is None:
            pytest.skip("uv is not on PATH")
        (path / "uv").symlink_to(uv)
    return Checkout(tmp_path / "my checkout", path)


with_each_installer = pytest.mark.parametrize("checkout", ["pip", "uv"], indirect=True)
with_pip = pytest.mark.parametrize("checkout", ["pip"], indirect=True)


def test_python_3_6_can_read_it() -> None:
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))


def test_oldest_python_is_the_one_the_package_needs() -> None:
    assert PYPROJECT["project"]["requires-python"] == ">={}.{}".format(*run.OLDEST_PYTHON)


def test_old_python_is_refused_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(run.Failure, match=r"needs Python 3\.11 or newer, this is 3\.8; try") as refused:
        run.require_python((3, 8), ["pytest"])
    assert refused.value.status == 2


def test_old_python_hands_over_to_a_newer_one(tmp_path: Path) -> None:
    shims = {"python3.14": "exit 127", "python3.12": f'exec "{sys.executable}" "$@"'}
    for name, line in shims.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    code = f"import runpy; runpy.run_path({str(SCRIPT)!r})['require_python']((3, 8), ['--help'])"
    shown = subprocess.check_output([sys.executable, "-c", code], env={"PATH": str(tmp_path)}, text=True)
    assert "./run COMMAND" in shown


@pytest.mark.parametrize(
    ("xdg", "home", "expected"),
    [
        pytest.param("{0}/xdg", "{0}/home", "{0}/xdg/circle-migrate", id="XDG_CACHE_HOME first"),
        pytest.param("", "{0}/home", "{0}/home/.cache/circle-migrate", id="then HOME"),
        pytest.param("relative", "{0}/home", "{0}/home/.cache/circle-migrate", id="relative path"),
        pytest.param("{0}/file", "{0}/home", "{0}/home/.cache/circle-migrate", id="unusable cache"),
        pytest.param("", "{0}/file", "{0}/circle-migrate-venv-{1}", id="unusable home"),
        pytest.param("", "", "{0}/circle-migrate-venv-{1}", id="no home"),
    ],
)
def test_environment_of_a_read_only_checkout(
    xdg: str, home: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    environ = {"XDG_CACHE_HOME": xdg.format(tmp_path), "HOME": home.format(tmp_path)}
    absent = tmp_path / "absent"  # root may write to any folder, but not to one that is not there
    folder = run.environment_folder(absent, environ, ["a", "b"])
    assert folder.parent == Path(expected.format(tmp_path, os.getuid()))
    assert folder != run.environment_folder(tmp_path / "other", environ, ["a", "b"])


def test_environment_of_a_writable_checkout_is_in_it(tmp_path: Path) -> None:
    assert (
        run.environment_folder(tmp_path, {"XDG_CACHE_HOME": str(tmp_path)}, ["a", "b"]) == tmp_path / ".venv"
    )


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(lambda folder: folder.mkdir(mode=0o755), id="readable by others"),
        pytest.param(lambda folder: folder.symlink_to(folder.parent), id="link"),
        pytest.param(lambda folder: folder.touch(mode=0o600), id="file"),
    ],
)
def test_folder_open_to_others_is_refused(prepare: Callable[[Path], None], tmp_path: Path) -> None:
    prepare(tmp_path / "shared")
    with pytest.raises(run.Failure, match="not a private folder of yours"):
        run.private_folder(tmp_path / "shared")


def test_private_folder_is_made_and_found_again(tmp_path: Path) -> None:
    made = run.private_folder(tmp_path / "mine")
    assert made.stat().st_mode & 0o777 == 0o700
    assert run.private_folder(made) == made


@pytest.mark.thorough
@with_each_installer
def test_makes_the_environment_once_and_passes_everything_on(checkout: Checkout) -> None:
    script = "import os; print(os.sys.prefix, os.getenv('VIRTUAL_ENV'), os.getenv('PYTHONPATH')); exit(7)"
    venv = checkout.folder / ".venv"
    answer = f"{venv} {venv} None\n"
    status, stdout, stderr = checkout.run("python", "-c", script)
    assert (status, stdout) == (7, answer)
    assert stderr.startswith("run: making the environment in ")
    assert checkout.run("python", "-c", script) == (7, answer, "")
    assert checkout.builds == 1
    (checkout.folder / "pyproject.toml").write_text(TINY_PROJECT + "# edited")
    assert checkout.run("python", "-c", "import tiny") == (0, "", "run: installing the project again ...\n")
    assert checkout.builds == 2


@pytest.mark.parametrize(
    ("file", "kept"),
    [pytest.param("pyproject.toml", True, id="project"), pytest.param("requirements.lock", False, id="lock")],
)
def test_stale_environment_is_renewed(checkout: Checkout, file: str, kept: bool) -> None:
    checkout.run("python", "-V")
    witness = checkout.folder / ".venv" / "witness"
    witness.touch()
    with (checkout.folder / file).open("a") as edited:
        edited.write("\n# edited\n")
    assert checkout.run("python", "-V")[0] == 0
    assert (checkout.builds, witness.exists()) == (2, kept)


def test_environment_that_lost_its_python_is_made_again(checkout: Checkout) -> None:
    checkout.run("python", "-V")
    for python in (checkout.folder / ".venv" / "bin").glob("python*"):
        python.unlink()
    assert checkout.run("python", "-V")[0] == 0


def test_several_at_once_make_one_environment(checkout: Checkout) -> None:
    processes = [checkout.start("python", "-c", "import tiny") for _ in range(3)]
    stderrs = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], stderrs
    assert checkout.builds == 1


def test_killed_in_the_middle_the_next_waits_for_what_it_left_running(checkout: Checkout) -> None:
    hold = checkout.folder / "hold"
    hold.touch()
    killed = checkout.start("python", "-V")
    try:
        while checkout.builds == 0:
            assert killed.poll() is None
            time.sleep(0.02)
        killed.kill()
        killed.wait()
        following = checkout.start("python", "-c", "import tiny")
        assert following.stderr is not None
        assert following.stderr.readline().startswith("run: waiting for another ./run")
    finally:
        hold.unlink()
    stderr = following.communicate()[1]
    killed.communicate()
    assert following.returncode == 0, stderr
    assert stderr == "run: installing the project again ...\n"


@pytest.mark.thorough
@with_pip
def test_failed_installation_shows_the_installers_words_and_is_made_good(checkout: Checkout) -> None:
    (checkout.folder / "broken").touch()
    status, stdout, stderr = checkout.run("python", "-V")
    assert (status, stdout) == (125, "")
    assert "the words of the backend" in stderr
    assert stderr.splitlines()[-1].startswith("run: the environment could not be made")
    (checkout.folder / "broken").unlink()
    assert checkout.run("python", "-V")[0] == 0


def test_environment_left_by_a_failure_is_not_taken_for_complete(checkout: Checkout) -> None:
    checkout.run("python", "-V")
    (checkout.folder / "broken").touch()
    (checkout.folder / "pyproject.toml").write_text(TINY_PROJECT + "# edited")
    assert checkout.run("python", "-V")[0] == 125
    (checkout.folder / "broken").unlink()
    (checkout.folder / "pyproject.toml").write_text(TINY_PROJECT)
    assert checkout.run("python", "-V")[0] == 0
    assert checkout.builds == 1 + 2 + 1  # uv was in vain, so was pip


def test_command_that_cannot_be_run(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout.folder)
    checkout.run("python", "-V")
    assert checkout.run("no-such") == (127, "", "run: cannot run no-such: No such file or directory\n")
    assert checkout.run("./built") == (126, "", "run: cannot run ./built: Permission denied\n")


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["--unknown"], 2), (["-h"], 0), (["--help"], 0)])
def test_usage(arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(arguments) == status
    shown = capsys.readouterr()
    assert "./run COMMAND" in (shown.err if status else shown.out)


def _locked() -> dict[str, str]:
    """Return the versions by canonical name."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9.-]*)==(\S+)", LOCK, re.MULTILINE))


def _direct_requirements() -> list[str]:
    project = PYPROJECT["project"]
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    return [*PYPROJECT["build-system"]["requires"], *project["dependencies"], *extras]


@pytest.mark.parametrize("line", _direct_requirements())
def test_lock_holds_what_pyproject_asks_for(line: str) -> None:
    requirement = Requirement(line)
    if requirement.name == PYPROJECT["project"]["name"]:
        assert requirement.extras <= PYPROJECT["project"]["optional-dependencies"].keys()
        return
    assert _locked()[canonicalize_name(requirement.name)] in requirement.specifier


def test_every_locked_package_has_its_hashes_and_nothing_else_is_in_the_lock() -> None:
    entries = [entry for entry in re.split(r"\n(?=\S)", LOCK.rstrip("\n")) if not entry.startswith("#")]
    pinned = re.compile(r"[a-z0-9.-]+==\S+( ; .*)? \\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+( +# .*\n?)+")
    assert [entry for entry in entries if not pinned.fullmatch(entry + "\n")] == []
    assert len(entries) == len(_locked())


def test_lock_names_no_address_and_the_command_that_makes_it() -> None:
    assert "://" not in LOCK
    oldest = "{}.{}".format(*run.OLDEST_PYTHON)
    assert f"uv pip compile --universal --python-version {oldest} --generate-hashes --extra dev" in LOCK
