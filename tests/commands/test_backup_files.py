"""`backup list`, `backup verify` and `backup prune`."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from circle_migrate.backup.manifest import Dump, Manifest, write_manifest
from circle_migrate.commands.backup_files import list_backups
from circle_migrate.core.errors import ExitCode
from tests.deployments import environment, invoke
from tests.servers import Databases

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(days: int, *databases: str) -> Path:
    """Make a folder with the manifest of a backup of that age."""
    folder = Path("backups") / f"{days:03}-{'-'.join(databases)}"
    folder.mkdir(parents=True)
    dumps = []
    for name in databases:
        (folder / f"{name}.dump").write_bytes(b"12345")
        details = ("0" * 64, False, name, 1, "18.0", 180000, "18.0", ("a1",), NOW.isoformat(), {}, "")
        dumps.append(Dump(name, f"{name}.dump", 5, *details))
    created_at = (NOW - timedelta(days=days)).isoformat(timespec="seconds").replace("+00:00", "Z")
    write_manifest(folder, Manifest(str(days), "1", created_at, 0.0, locked=True, dumps=tuple(dumps)))
    return folder


def test_list_names_every_backup_and_its_problem() -> None:
    make(3, "main", "credentials")
    damaged, missing, truncated = make(2, "main"), make(1, "main"), make(0, "main")
    (damaged / "manifest.json").write_text("{}", encoding="utf-8")
    (missing / "main.dump").unlink()
    (truncated / "main.dump").write_bytes(b"1")
    Path("backups/20260301T120000Z-1f2e3d.unfinished").mkdir()
    Path("backups/notes").mkdir()
    answer = invoke(["backup", "list", "--format", "json"])
    assert answer.status == 0
    written = json.loads(answer.stdout)
    assert [Path(entry["folder"]).name for entry in written["backups"]] == [
        "000-main",
        "001-main",
        "003-main-credentials",
        "002-main",
    ]
    problems = [entry["problem"] for entry in written["backups"]]
    assert problems[0] == "main.dump has 1 bytes instead of 5"
    assert problems[1] == "main.dump is missing"
    assert problems[2] is None
    assert "not the manifest of a circle-migrate backup" in problems[3]
    assert written["unfinished"] == ["backups/20260301T120000Z-1f2e3d.unfinished"]
    assert invoke(["backup", "list", "elsewhere"]).status == ExitCode.USAGE


def test_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    readable, foreign = make(1, "main"), make(0, "main")
    foreign.chmod(0)
    as_root = os.geteuid() == 0
    if as_root:
        for path in (tmp_path, *tmp_path.rglob("*")):
            path.chmod(0 if path == tmp_path / foreign else 0o755)
        os.seteuid(65534)
    try:
        listed = list_backups(Path("backups"))
    finally:
        if as_root:
            os.seteuid(0)
        foreign.chmod(0o700)
    problems = {Path(entry.folder).name: entry.problem for entry in listed.entries}
    assert problems[readable.name] is None
    assert problems[foreign.name] == f"{foreign}/manifest.json cannot be read: Permission denied"


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (["--keep-last", "1"], {0, 9}),
        (["--keep-last", "2"], {0, 1, 9, 10}),
        (["--keep-within", "36h"], {0, 1, 9}),
        (["--keep-within", "2w"], {0, 1, 2, 9, 10}),
        (["--keep-last", "1", "--keep-within", "50h"], {0, 1, 2, 9}),
    ],
)
def test_prune_keeps_what_a_rule_keeps(rules: list[str], kept: set[int]) -> None:
    for days in (0, 1, 2, 20):
        make(days, "main")
    for days in (9, 10):
        make(days, "main", "credentials")
    invoke(["backup", "prune", *rules, "--dry-run"])
    assert len(list(Path("backups").iterdir())) == 6
    assert invoke(["backup", "prune", *rules, "--yes"]).status == 0
    left = {int(path.name.partition("-")[0]) for path in Path("backups").iterdir()}
    # The newest backup of credentials is nine days old, and stays whatever the rules say.
    assert left == kept


def test_prune_removes_nothing_else() -> None:
    make(0, "main")
    old, damaged, newest = make(5, "main"), make(9, "main"), make(8, "credentials")
    (old / "notes.txt").touch()
    (damaged / "main.dump").unlink()
    unfinished = Path("backups/x.unfinished")
    unfinished.mkdir()
    assert invoke(["backup", "prune", "--keep-last", "1", "--yes"]).status == 0
    assert [path.name for path in old.iterdir()] == ["notes.txt"]
    assert damaged.exists()
    assert newest.exists()
    assert unfinished.exists()


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        ([], ExitCode.USAGE, "prune needs a rule"),
        (["--keep-last", "0"], ExitCode.USAGE, "--keep-last"),
        (["--keep-within", "yesterday"], ExitCode.USAGE, "write hours, days or weeks"),
        (["--keep-last", "1"], ExitCode.REFUSED, "needs a confirmation"),
    ],
)
def test_prune_is_refused(arguments: list[str], status: ExitCode, text: str) -> None:
    for days in (0, 1):
        make(days, "main")
    answer = invoke(["backup", "prune", *arguments])
    assert answer.status == status
    assert text in answer.stderr
    assert len(list(Path("backups").iterdir())) == 2


def test_backup_without_a_name_of_a_command_makes_one(
    migrated_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(migrated_databases).items():
        monkeypatch.setenv(name, value)
    assert invoke(["-d", "main", "backup"]).status == 0
    listed = json.loads(invoke(["--format", "json", "backup", "list"]).stdout)["backups"]
    assert [[dump["database"] for dump in entry["dumps"]] for entry in listed] == [["main"]]
    assert invoke(["backup", "--format", "json", "list"]).stdout.startswith("{")
    dump = Path(listed[0]["folder"]) / "main.dump"
    dump.chmod(0o600)
    dump.write_bytes(dump.read_bytes()[:-1] + b"?")
    changed = invoke(["backup", "verify", listed[0]["folder"]])
    assert changed.status == ExitCode.REFUSED
    assert "SHA-256 does not match" in changed.stderr


@pytest.mark.thorough
def test_verify_of_a_backup_that_cannot_be_restored(
    migrated_databases: Databases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in environment(migrated_databases).items():
        monkeypatch.setenv(name, value)
    invoke(["backup", "one"])
    (folder,) = Path("one").iterdir()
    verified = invoke(["backup", "verify", str(folder)])
    assert verified.status == 0, verified.stderr
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert invoke(["backup", "verify", str(folder), "--format", "json"]).status == 0
    # A project without one of the databases knows no scratch database for it.
    (tmp_path / "pyproject.toml").write_text(
        '[tool.circle-migrate.databases.main]\nrevisions = "circle-migrate:main"\n', encoding="utf-8"
    )
    answer = invoke(["backup", "verify", str(folder), "--format", "json"])
    assert answer.status == ExitCode.REFUSED
    written = json.loads(answer.stdout)
    assert written["verified"] is False
    assert written["notes"] == ["credentials: not restored for comparison: the project has no such database"]
    assert {dump["database"] for dump in manifest["databases"]} == {"main", "credentials"}
    shutil.rmtree(folder)
    assert invoke(["backup", "verify", str(folder)]).status == ExitCode.USAGE
