"""Backup and restore: a restored pair equals the dumped one; whatever is not sound is refused untouched."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from circle_migrate.backup import swap
from circle_migrate.backup.dump import RestoreOptions
from circle_migrate.backup.manifest import BackupResult, Manifest, RestoreResult, read_manifest
from circle_migrate.backup.pg_programs import find
from circle_migrate.commands.backup import BackupOptions, backup
from circle_migrate.commands.diff import diff
from circle_migrate.commands.protect import protect
from circle_migrate.commands.restore import restore
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.load import load
from circle_migrate.core.errors import (
    BackupFailed,
    BrokenBackup,
    LockNotObtained,
    MigrateError,
    NotConfirmed,
    Refused,
    RestoreFailed,
    SettingsError,
    UnknownRevision,
    UsageError,
    WrongDatabase,
)
from circle_migrate.diff.expected.snapshot_file import write
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.create_database import create_like
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployer_lock import KEY
from tests.cli.terminal import Terminal
from tests.deployments import contents, deployment, environment, execute, invoke, versions
from tests.fork_server import Forked
from tests.servers import NAMES, Databases, Server, run, start_binaries

pytestmark = pytest.mark.thorough

_SECONDS = 30

# What a dump has to carry besides the packages' own tables: odd names, all kinds of objects and of bytes.
_MORE = r"""
CREATE TYPE mood AS ENUM ('fine', 'it''s "odd"');
CREATE TABLE "Odd name" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, m mood, b bytea, t text,
                         j jsonb, n numeric, u text UNIQUE DEFAULT md5(random()::text));
INSERT INTO "Odd name" (m, b, t, j, n)
SELECT 'it''s "odd"', sha256(i::text::bytea), E'tab\t\\. newline\n' || chr(8364) || i, '{"a": [null, 1.50]}',
       i / 7.0 FROM generate_series(1, 500) i;
INSERT INTO "Odd name" (m) VALUES (NULL);
DELETE FROM "Odd name" WHERE id % 5 = 0;
CREATE VIEW seen AS SELECT count(*) FROM "Odd name";
CREATE FUNCTION stamped() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE TRIGGER stamping BEFORE UPDATE ON "Odd name" FOR EACH ROW EXECUTE FUNCTION stamped();
CREATE SCHEMA other CREATE TABLE kept (a int);
COMMENT ON TABLE other.kept IS 'kept';
"""
_USERS = """
INSERT INTO users (email, first_name, last_name)
SELECT 'user' || i || '@example.org', 'Ada', 'L' || i FROM generate_series(1, 50) i
"""
_TABLES = """
SELECT format('%I.%I', relnamespace::regnamespace, relname) FROM pg_class WHERE relkind = 'r'
AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) ORDER BY 1
"""


NOTHING = {(name, "sequences") for name in NAMES}
"""What `rows` has of empty databases."""


async def rows(databases: Databases) -> dict[tuple[str, str], object]:
    """A digest of the rows of every table, and the position of every sequence."""
    contents: dict[tuple[str, str], object] = {}
    for name in NAMES:
        async with databases.connect(name) as connection:
            for (table,) in await connection.fetch(_TABLES):
                query = f"SELECT count(*), md5(string_agg(t::text, '' ORDER BY t::text)) FROM {table} t"
                contents[name, table] = tuple(await connection.fetchrow(query))
            contents[name, "sequences"] = sorted(
                tuple(row) for row in await connection.fetch("TABLE pg_sequences")
            )
    return contents


async def fill(databases: Databases) -> None:
    await upgrade(deployment(databases))
    for name in NAMES:
        await execute(databases, name, _MORE)
    await execute(databases, "main", _USERS)


def replacing(made: Manifest, holding: object) -> None:
    """A confirmation that is always given."""


def refusing(made: Manifest, holding: object) -> None:
    raise NotConfirmed("no")


def save(databases: Databases, folder: Path, only: str | None = None, **options: Any) -> BackupResult:
    return run(backup(deployment(databases, only), BackupOptions(folder, **options)))


def bring_back(
    databases: Databases, path: Path | str, only: str | None = None, **options: Any
) -> RestoreResult:
    return run(restore(deployment(databases, only), Path(path), RestoreOptions(**options), replacing))


@pytest.fixture(scope="module")
def source(server: Server) -> Iterator[Databases]:
    """A pair with rows, to be dumped only."""
    databases = Databases(server)
    run(databases.create())
    run(fill(databases))
    yield databases
    run(databases.drop())


@pytest.fixture(scope="module")
def saved(source: Databases, tmp_path_factory: pytest.TempPathFactory) -> BackupResult:
    """A backup of that pair, to be read only."""
    return save(source, tmp_path_factory.mktemp("backups"))


@pytest.fixture
def copied(saved: BackupResult, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(saved.folder, tmp_path / "backup"))


@pytest.fixture
def other_names(server: Server) -> Iterator[list[str]]:
    """The databases that a restore made beside the test's; dropped after it."""
    before = run(_databases(server))
    made: list[str] = []
    yield made
    for name in run(_databases(server)) - before:
        run(_drop(server, name))


async def _databases(server: Server) -> set[str]:
    connection = await asyncpg.connect(server.admin_url)
    try:
        return {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}
    finally:
        await connection.close()


async def _drop(server: Server, name: str) -> None:
    if "_restore_" in name or "_replaced_" in name:
        connection = await asyncpg.connect(server.admin_url)
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await connection.close()


def beside(databases: Databases) -> list[str]:
    """The databases beside a test's own that bear its names."""
    names = tuple(databases.names.values())
    names_on_server = run(_databases(databases.server))
    return sorted(name for name in names_on_server if name.startswith(names) and name not in names)


def test_a_restored_pair_equals_the_dumped_one(
    source: Databases, saved: BackupResult, empty_databases: Databases, tmp_path: Path
) -> None:
    restored = bring_back(empty_databases, saved.folder)
    assert restored.current == {dump.database: dump.revisions for dump in saved.manifest.dumps}
    assert run(versions(empty_databases)) == run(versions(source))
    assert run(rows(empty_databases)) == run(rows(source))
    for name, database in deployment(source).databases.items():
        write(tmp_path / f"{name}.json", run(read_live_catalog(database)))
    settings = deployment(empty_databases).settings.model_copy(
        update={"scratch_url": None, "scratch_on_target": True}
    )
    compared = run(diff(type(deployment(source))(settings), (str(tmp_path), "live")))
    assert [comparison.changes for comparison in compared.comparisons if comparison.differences] == []


def test_the_files_are_private_and_what_the_manifest_says(saved: BackupResult) -> None:
    folder = Path(saved.folder)
    files = {path.name: path for path in folder.iterdir()}
    assert files.keys() == {"main.dump", "credentials.dump", "manifest.json"}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    made, _ = read_manifest(folder / "manifest.json")
    assert made == saved.manifest
    assert made.locked
    for dump in made.dumps:
        assert hashlib.sha256(files[dump.file].read_bytes()).hexdigest() == dump.sha256
        assert dump.revisions
        assert not dump.encrypted
    assert sum("not encrypted" in note for note in saved.notes) == 2
    assert list(folder.parent.iterdir()) == [folder]


def _edit(change: Callable[[dict[str, Any]], object], *, sign: bool = False) -> Callable[[Path], object]:
    """Change a manifest; `sign` makes its checksum right again, as somebody who forges it would."""

    def damage(folder: Path) -> None:
        file = folder / "manifest.json"
        content = json.loads(file.read_text())
        change(content)
        if sign:
            content.pop("checksum")
            text = json.dumps(content, sort_keys=True, separators=(",", ":"))
            content["checksum"] = hashlib.sha256(text.encode()).hexdigest()
        file.write_text(json.dumps(content))

    return damage


def _sign_for(folder: Path, text: bytes) -> None:
    """Another file in the place of main's dump, with the right size and checksum in the manifest."""
    (folder / "main.dump").write_bytes(text)
    digest = hashlib.sha256(text).hexdigest()
    _edit(lambda m: m["databases"][0].update(bytes=len(text), sha256=digest), sign=True)(folder)


def _flip(folder: Path) -> None:
    """One bit of the last rows."""
    file = folder / "credentials.dump"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)


def _swap_dumps(content: dict[str, Any]) -> None:
    one, other = content["databases"]
    one["database"], other["database"] = other["database"], one["database"]


def _fifo(folder: Path) -> None:
    """A pipe without a writer, which has no bytes."""
    (folder / "main.dump").unlink()
    os.mkfifo(folder / "main.dump")
    _edit(lambda m: m["databases"][0].update(bytes=0), sign=True)(folder)


def cut_short(folder: Path) -> None:
    """The dump of credentials without its last third, and a manifest that agrees: only restoring tells."""
    file = folder / "credentials.dump"
    content = file.read_bytes()
    cut = content[: len(content) * 2 // 3]
    file.write_bytes(cut)
    digest = hashlib.sha256(cut).hexdigest()
    _edit(lambda m: m["databases"][1].update(bytes=len(cut), sha256=digest), sign=True)(folder)


DAMAGED: dict[str, tuple[Callable[[Path], object], type[MigrateError], str]] = {
    "truncated": (lambda f: os.truncate(f / "main.dump", 5000), BrokenBackup, "has 5,000 bytes"),
    "a bit": (_flip, BrokenBackup, "credentials.dump was changed or damaged"),
    "missing file": (lambda f: (f / "credentials.dump").unlink(), BrokenBackup, "No such file"),
    "edited": (_edit(lambda m: m.update(apart_ms=0)), BrokenBackup, "edited or damaged"),
    "cut manifest": (lambda f: os.truncate(f / "manifest.json", 700), BrokenBackup, "was truncated"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), UsageError, "cannot be read"),
    "foreign": (
        lambda f: (f / "manifest.json").write_text("{}"),
        BrokenBackup,
        "not the manifest of a circle-migrate backup",
    ),
    "newer": (_edit(lambda m: m.update(format=2)), BrokenBackup, "has format 2"),
    "lacking": (_edit(lambda m: m.pop("databases"), sign=True), BrokenBackup, "no valid value for a key"),
    "outside": (
        _edit(lambda m: m["databases"][0].update(file="../main.dump"), sign=True),
        BrokenBackup,
        "outside its folder",
    ),
    "fifo": (_fifo, BrokenBackup, "main.dump is not a regular file"),
    **{
        f"wrong {key}": (
            _edit(lambda m, k=key, v=value: m["databases"][0].update({k: v}), sign=True),  # type: ignore[misc]
            BrokenBackup,
            "no valid value for a key",
        )
        for key, value in {"dump_version": "x.y", "revisions": [["a"]]}.items()
    },
    "no dump": (lambda f: _sign_for(f, b"PGDMP no dump"), BrokenBackup, "pg_restore --list failed"),
    "one database": (_edit(lambda m: m["databases"].pop(), sign=True), Refused, "no dump of credentials"),
    "another deployment": (
        _edit(lambda m: m["databases"][0].update(database="shop"), sign=True),
        Refused,
        "of another deployment",
    ),
    "swapped dumps": (_edit(_swap_dumps, sign=True), WrongDatabase, "is at revision .* of credentials"),
    "unknown revision": (
        _edit(lambda m: m["databases"][0].update(revisions=["feedbeef"]), sign=True),
        UnknownRevision,
        "feedbeef",
    ),
    "newer server": (
        _edit(lambda m: m["databases"][0].update(server_version_num=990000), sign=True),
        Refused,
        "the server is",
    ),
    "newer client": (
        _edit(lambda m: m["databases"][0].update(dump_version="99.1"), sign=True),
        SettingsError,
        "no pg_restore of PostgreSQL 99",
    ),
}


@pytest.mark.parametrize("options", [{}, {"replace": True}], ids=["fill", "replace"])
def test_a_backup_that_is_not_sound_is_refused_before_anything_is_touched(
    saved: BackupResult,
    empty_databases: Databases,
    tmp_path: Path,
    subtests: pytest.Subtests,
    options: dict[str, bool],
) -> None:
    for case, (damage, error, words) in DAMAGED.items():
        with subtests.test(case=case):
            folder = Path(shutil.copytree(saved.folder, tmp_path / case))
            damage(folder)
            with pytest.raises(error, match=words):
                bring_back(empty_databases, folder, **options)
    assert set(run(rows(empty_databases))) == NOTHING
    assert beside(empty_databases) == []
    bring_back(empty_databases, saved.folder)  # the fixture was sound, and the databases are still empty


def test_what_is_restored_is_compared_with_the_manifest(copied: Path, empty_databases: Databases) -> None:
    _edit(lambda m: m["databases"][0].update(catalogue="0" * 64), sign=True)(copied)
    with pytest.raises(RestoreFailed, match="differs from the dumped one"):
        bring_back(empty_databases, copied, replace=True)
    assert beside(empty_databases) == []
    assert set(run(rows(empty_databases))) == NOTHING


def test_swapped_urls_are_refused(source: Databases, saved: BackupResult, empty_databases: Databases) -> None:
    main, credentials = (source.names[name] for name in NAMES)
    swapped = Databases(source.server, {"main": credentials, "credentials": main})
    before = run(rows(source))
    for options in ({}, {"replace": True}):
        with pytest.raises(WrongDatabase):
            bring_back(swapped, saved.folder, **options)
    assert run(rows(source)) == before
    # Empty ones have nothing but their names to tell them by.
    named = Databases(source.server, dict(zip(NAMES, reversed(empty_databases.names.values()), strict=True)))
    folder = Path(saved.folder).parent.with_name("names")
    shutil.copytree(saved.folder, folder)
    for position, name in enumerate(NAMES):
        _edit(
            lambda m, p=position, n=name: m["databases"][p].update(dbname=empty_databases.names[n]), sign=True
        )(folder)
    with pytest.raises(WrongDatabase, match="was dumped"):
        bring_back(named, folder)


def test_a_database_that_holds_something_is_replaced_only_when_it_is_named(
    saved: BackupResult,
    empty_databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
    workdir: Path,
    other_names: list[str],
) -> None:
    run(execute(empty_databases, "main", "CREATE TABLE precious AS SELECT 1 AS a"))
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    line = ["restore", saved.folder]
    refusals = {
        (): (5, "main: the database is not empty"),
        ("-d", "main"): (5, f"{saved.folder} -d main --replace"),
        ("--replace",): (5, "--accept-loss main"),
        ("--replace", "--accept-loss", "credentials"): (5, "--accept-loss main"),
        ("--replace", "--accept-loss", "m*"): (2, "no database 'm*'"),
        ("--accept-loss", "main"): (2, "need --replace"),
        ("-d", "credentials", "--disconnect"): (2, "need --replace"),
    }
    for options, (status, words) in refusals.items():
        answer = invoke([*line, *options])
        assert (answer.status, words in answer.stderr) == (status, True), answer.everything
    typed = Terminal(*line, "--replace", env=environment(empty_databases))
    typed.type("yes")
    assert typed.end() == 5, typed.written
    assert "Type 'main' to replace" in typed.written
    assert beside(empty_databases) == []
    assert set(run(rows(empty_databases))) == {
        ("main", "public.precious"),
        ("main", "sequences"),
        ("credentials", "sequences"),
    }
    typed = Terminal(*line, "--replace", env=environment(empty_databases))
    typed.type("main")
    assert typed.end() == 0, typed.written
    kept = next(name for name in beside(empty_databases) if name.startswith("main"))
    assert kept in typed.written
    old = Databases(empty_databases.server, {"main": kept})
    assert run(_value(old, "SELECT a FROM precious")) == 1


async def _value(databases: Databases, query: str) -> object:
    async with databases.connect("main") as connection:
        return await connection.fetchval(query)


_AS_A_WHOLE = """
ALTER DATABASE "{0}" SET search_path TO public, other; ALTER DATABASE "{0}" SET work_mem = '7MB';
ALTER DATABASE "{0}" CONNECTION LIMIT 77; COMMENT ON DATABASE "{0}" IS 'whose it''s';
REVOKE CONNECT ON DATABASE "{0}" FROM PUBLIC; GRANT TEMPORARY ON DATABASE "{0}" TO pg_monitor
"""
_WHOLE = """
SELECT datdba, encoding, datcollate, datctype, datconnlimit, datacl::text,
       shobj_description(d.oid, 'pg_database'),
       (SELECT array_agg(setconfig::text) FROM pg_db_role_setting WHERE setdatabase = d.oid)
FROM pg_database d WHERE datname = current_database()
"""


def test_a_replaced_database_stays_what_it_was_as_a_whole_and_nobody_may_be_connected(
    source: Databases, saved: BackupResult, empty_databases: Databases, other_names: list[str]
) -> None:
    name = empty_databases.names["main"]

    async def act() -> None:
        await execute(empty_databases, "main", _AS_A_WHOLE.format(name))
        async with empty_databases.connect("main") as user:
            before = await user.fetchrow(_WHOLE)
            made = deployment(empty_databases)
            with pytest.raises(Refused, match="is in use and cannot be replaced") as caught:
                await restore(made, Path(saved.folder), RestoreOptions(replace=True), replacing)
            assert str(user.get_server_pid()) in (caught.value.detail or "")
            wanted = RestoreOptions(replace=True, disconnect=True, jobs=2)
            result = await restore(made, Path(saved.folder), wanted, replacing)
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await user.execute("SELECT")
        assert set(result.replaced) == set(NAMES)
        async with empty_databases.connect("main") as user:
            assert await user.fetchrow(_WHOLE) == before

    run(act())
    assert run(rows(empty_databases)) == run(rows(source))
    assert len(beside(empty_databases)) == 2


def test_a_protected_database_is_replaced_when_it_is_named_and_stays_protected(
    saved: BackupResult,
    migrated_databases: Databases,
    empty_databases: Databases,
    tmp_path: Path,
    other_names: list[str],
) -> None:
    def confirm(made: Manifest, holding: object) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(run, protect(deployment(migrated_databases), "meanwhile")).result()

    def replaced(confirm: Callable[..., None], *overridden: str) -> RestoreResult:
        wanted = RestoreOptions(replace=True, overridden=overridden)
        return run(restore(deployment(migrated_databases), Path(saved.folder), wanted, confirm))

    def not_asked(made: Manifest, holding: object) -> None:
        pytest.fail("it was asked about before it was refused")

    run(protect(deployment(migrated_databases, "main"), "live data"))
    with pytest.raises(Refused, match=r"main is protected .*live data"):
        replaced(not_asked)
    with pytest.raises(Refused, match="credentials is not protected"):
        replaced(not_asked, "credentials")
    with pytest.raises(Refused, match=r"credentials is protected .*meanwhile"):
        replaced(confirm, "main")
    assert beside(migrated_databases) == []
    result = replaced(replacing, "main", "credentials")
    assert set(result.replaced) == set(NAMES)
    assert sum("protected" in note and "meanwhile" in note for note in result.notes) == 2
    states = run(deployment(migrated_databases).states())
    assert {state.marker.reason for state in states.values() if state.marker} == {"meanwhile"}
    # Its dump has the marker, and so has what is made of that.
    again = bring_back(empty_databases, save(migrated_databases, tmp_path).folder)
    assert [note for note in again.notes if "meanwhile" in note] == list(again.notes)
    assert run(deployment(empty_databases).states())["main"].marker == states["main"].marker


def test_no_copy_is_left_where_replacing_is_not_confirmed_or_fails(
    copied: Path, migrated_databases: Databases
) -> None:
    before = run(contents(migrated_databases))
    with pytest.raises(NotConfirmed):
        run(restore(deployment(migrated_databases), copied, RestoreOptions(replace=True), refusing))
    cut_short(copied)
    with pytest.raises(RestoreFailed) as caught:
        bring_back(migrated_databases, copied, replace=True)
    assert caught.value.state == "nothing was changed"
    assert run(contents(migrated_databases)) == before
    assert beside(migrated_databases) == []


def test_what_fails_in_empty_databases_says_what_each_holds(
    copied: Path, saved: BackupResult, empty_databases: Databases, source: Databases
) -> None:
    cut_short(copied)
    with pytest.raises(RestoreFailed) as caught:
        bring_back(empty_databases, copied)
    assert "main is restored; credentials is empty, as before" in (caught.value.state or "")
    bring_back(empty_databases, saved.folder, only="credentials")
    assert run(rows(empty_databases)) == run(rows(source))


def test_programs_that_are_too_old_are_refused(source: Databases, tmp_path: Path) -> None:
    program = tmp_path / "pg_dump"
    program.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
    program.chmod(0o755)
    with pytest.raises(SettingsError, match=r"is of PostgreSQL 9\.6\.24, but version \d+ or newer is needed"):
        save(source, tmp_path / "backups", programs=tmp_path)
    assert not (tmp_path / "backups").exists()
    with pytest.raises(SettingsError, match="no pg_dump of PostgreSQL 99 or newer") as caught:
        find("pg_dump", 99)
    assert "--pg-bin" in (caught.value.hint or "")


def test_a_full_disk_is_said_in_its_own_words(source: Databases, tmp_path: Path) -> None:
    """A file size limit is the full disk that a test can have."""
    command = f"ulimit -f 16; exec {sys.executable} -m circle_migrate backup deep/out"
    answer = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=tmp_path,
        env={**os.environ, **environment(source), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 10, answer.stderr
    assert "pg_dump failed" in answer.stderr
    assert "there is no backup" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_usage_error(source: Databases, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="the backup cannot be written"):
        save(source, tmp_path / "file" / "backups")


def entries(folder: Path) -> list[str]:
    """The names in a folder, which may be missing."""
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def test_a_deployer_at_work_is_waited_for(source: Databases, tmp_path: Path) -> None:
    async def act() -> None:
        async with source.connect("credentials") as deployer:
            await deployer.execute(f"SELECT pg_advisory_lock({KEY})")
            impatient = deployment(source)
            impatient.settings = impatient.settings.model_copy(update={"lock_wait": 0.0})
            for folder in (tmp_path / "new" / "backups", tmp_path):  # only new folders are removed
                with pytest.raises(LockNotObtained, match="credentials: another deployer"):
                    await backup(impatient, BackupOptions(folder))
                assert entries(tmp_path) == []
            held = await backup(impatient, BackupOptions(tmp_path), locked=True)
            assert held.manifest.locked

    run(act())
    assert len(list(tmp_path.iterdir())) == 1


def _processes(marker: str) -> dict[int, tuple[str, str]]:
    """Arguments and environment of the processes whose environment has the marker."""
    processes = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                env = (entry / "environ").read_bytes().decode(errors="replace")
                arguments = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if marker in env and "circle_migrate" not in arguments and "tests.fork_server" not in arguments:
                processes[int(entry.name)] = (arguments, env)
    return processes


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_backup_leaves_no_program_and_shows_no_password(
    empty_databases: Databases, workdir: Path, number: int, status: int
) -> None:
    """pg_dump is held up by a lock that an other session has."""
    urls = {
        name: url.replace("postgres@", "postgres:s3cret-pass@", 1)
        for name, url in environment(empty_databases).items()
    }

    async def act() -> None:
        await execute(empty_databases, "credentials", "CREATE TABLE wanted (a int)")
        async with empty_databases.connect("credentials") as holder:
            await holder.execute("BEGIN; LOCK TABLE wanted")
            process = Forked("backup", env=urls)
            marker = f"PGDATABASE={empty_databases.names['credentials']}"
            try:
                await asyncio.to_thread(_until, lambda: _processes(marker))
                ((_, (arguments, env)),) = _processes(marker).items()
                assert "pg_dump" in arguments
                assert "s3cret-pass" not in arguments
                assert "PGPASSWORD=s3cret-pass" in env
                assert "DATABASE_URL" not in env
                process.send_signal(number)
                _, stderr = await asyncio.to_thread(process.communicate)
                assert process.wait() == status, stderr
            finally:
                process.kill()
        # One that was killed could not end its program: that one ends when it has something to say.
        await asyncio.to_thread(_until, lambda: not _processes(marker))

    run(act())
    left = entries(workdir / "backups")
    if number == signal.SIGINT:
        assert left == []
        return
    assert [name.endswith(".unfinished") for name in left] == [True]
    dump = workdir / "backups" / left[0] / "credentials.dump"
    listed = subprocess.run([find("pg_restore", 15).path, "--list", dump], capture_output=True, check=False)
    assert listed.returncode != 0, "pg_dump went on to its end with nobody there"
    with pytest.raises(UsageError, match="cannot be read"):
        bring_back(empty_databases, workdir / "backups" / left[0])
    again = save(empty_databases, workdir / "backups")
    assert any(left[0] in note for note in again.notes)


_NAPPING = """
CREATE FUNCTION naps() RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE TABLE slow (a int CHECK (public.naps()));
INSERT INTO slow SELECT generate_series(1, 200);
CREATE OR REPLACE FUNCTION naps() RETURNS boolean LANGUAGE sql AS 'SELECT pg_sleep(0.1) IS NOT NULL';
"""


@pytest.fixture(scope="module")
def sleepy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackupResult]:
    """A backup whose credentials take half a minute to restore."""
    databases = Databases(server)
    run(databases.create())
    run(execute(databases, "credentials", _NAPPING))
    yield save(databases, tmp_path_factory.mktemp("sleepy"))
    run(databases.drop())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
@pytest.mark.parametrize("replace_it", [False, True], ids=["fill", "replace"])
def test_an_interrupted_restore_leaves_the_database_as_it_was(
    sleepy: BackupResult,
    empty_databases: Databases,
    workdir: Path,
    other_names: list[str],
    number: int,
    status: int,
    replace_it: bool,
) -> None:
    options = ["--replace"] if replace_it else []
    process = Forked("restore", sleepy.folder, *options, env=environment(empty_databases))
    marker = f"PGDATABASE={empty_databases.names['credentials']}"
    try:
        _until(lambda: _processes(marker))
        time.sleep(0.3)
        process.send_signal(number)
        _, stderr = process.communicate()
        assert process.wait() == status, stderr
    finally:
        process.kill()
    for pid in _processes(marker):  # of one that was killed; it would go on to the end of its table
        os.kill(pid, signal.SIGTERM)
    _until(lambda: not _processes(marker))
    assert set(run(rows(empty_databases))) == NOTHING
    if number == signal.SIGTERM:
        assert beside(empty_databases) == []
        if not replace_it:
            assert "credentials is empty, as before" in stderr
    elif replace_it:
        assert all("_restore_" in name for name in beside(empty_databases))


def test_interrupted_creation_of_a_copy_drops_it(
    empty_databases: Databases, other_names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role has CREATEDB alone, and so no privilege on the default tablespace."""
    role = f"owner_{empty_databases.names['main'][-8:]}"
    rename = f'ALTER DATABASE "{empty_databases.names["main"]}" OWNER TO'
    run(execute(empty_databases, "main", f"CREATE ROLE {role} LOGIN CREATEDB", f"{rename} {role}"))
    url = empty_databases.urls["main"].replace("postgres@", f"{role}@", 1)
    settings = load(environ=environment(empty_databases) | {"DATABASE_URL": url})

    async def scenario() -> None:
        created = asyncio.Event()

        async def create_slowly(*arguments: Any) -> None:
            await create_like(*arguments)
            created.set()
            await asyncio.sleep(0.1)

        monkeypatch.setattr(swap, "create_like", create_slowly)
        task = asyncio.create_task(swap.create(Database(settings.databases["main"]), "0123abcd"))
        await asyncio.wait_for(created.wait(), _SECONDS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario())
    assert beside(empty_databases) == []
    run(execute(empty_databases, "main", f"{rename} postgres", f"DROP ROLE {role}"))


@pytest.mark.parametrize(("more", "whole"), [("SELECT 1", True), ("CREATE TABLE zz (a int)", False)])
def test_a_program_whose_command_was_killed_ends_before_its_next_object_or_with_its_last(
    create_databases: Callable[..., Databases],
    empty_databases: Databases,
    workdir: Path,
    more: str,
    whole: bool,
) -> None:
    """No database is ever half restored."""
    source = create_databases(empty_databases)
    run(execute(source, "credentials", _NAPPING.replace("200", "30"), more))
    saved = save(source, workdir)
    process = Forked("restore", saved.folder, env=environment(empty_databases))
    marker = f"PGDATABASE={empty_databases.names['credentials']}"
    try:
        _until(lambda: _processes(marker))
        time.sleep(1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finally:
        process.kill()
    _until(lambda: not _processes(marker))
    contents = run(rows(empty_databases))
    if whole:
        assert contents == run(rows(source))
    else:
        assert set(contents) == NOTHING


needs_age = pytest.mark.skipif(shutil.which("age") is None, reason="the `age` command is not installed")


@needs_age
def test_credentials_can_be_encrypted(source: Databases, empty_databases: Databases, tmp_path: Path) -> None:
    key = tmp_path / "key.txt"
    subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
    public = next(line.split()[-1] for line in key.read_text().splitlines() if "public key" in line)
    made = save(source, tmp_path / "backups", encrypt_to=public)
    folder = Path(made.folder)
    assert {dump.file: dump.encrypted for dump in made.manifest.dumps} == {
        "main.dump": False,
        "credentials.dump.age": True,
    }
    assert (folder / "credentials.dump.age").read_bytes().startswith(b"age-encryption.org/v1\n")
    assert (folder / "credentials.dump.age").stat().st_mode & 0o777 == 0o600
    assert [note.partition(" ")[0] for note in made.notes] == ["main.dump"]
    other = tmp_path / "other.txt"
    subprocess.run(["age-keygen", "-o", other], check=True, capture_output=True)
    with pytest.raises(UsageError, match="is encrypted"):
        bring_back(empty_databases, folder)
    with pytest.raises(BrokenBackup, match="age --decrypt failed"):
        bring_back(empty_databases, folder, identity=other)
    restored = bring_back(empty_databases, folder, identity=key, jobs=4)
    assert any("because the dump is encrypted" in note for note in restored.notes)
    assert run(rows(empty_databases)) == run(rows(source))


@needs_age
def test_a_recipient_that_is_none_is_refused(source: Databases, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a recipient"):
        save(source, tmp_path, encrypt_to="somebody")
    with pytest.raises(BackupFailed, match="age failed"):
        save(source, tmp_path, encrypt_to="age1nonsense")
    assert list(tmp_path.iterdir()) == []


def test_the_moments_are_of_one_another_and_hold_while_others_write(
    empty_databases: Databases, create_databases: Callable[..., Databases], tmp_path: Path
) -> None:
    """What is written after the moment is not in the dump, however long that takes."""

    async def act() -> BackupResult:
        for name in NAMES:
            await execute(empty_databases, name, "CREATE TABLE wanted (a int); INSERT INTO wanted VALUES (1)")
        async with empty_databases.connect("main") as writer:
            await writer.execute("BEGIN; LOCK TABLE wanted")
            dumping = asyncio.create_task(backup(deployment(empty_databases), BackupOptions(tmp_path)))
            marker = f"PGDATABASE={empty_databases.names['main']}"
            await asyncio.to_thread(_until, lambda: _processes(marker))
            await writer.execute("INSERT INTO wanted VALUES (2); COMMIT")
            await execute(empty_databases, "credentials", "INSERT INTO wanted VALUES (2)")
            return await dumping

    made = run(act())
    assert made.manifest.spread_ms < 1000
    fresh = create_databases()
    bring_back(fresh, made.folder)
    assert {key: value[0] for key, value in run(rows(fresh)).items() if key[1] == "public.wanted"} == {
        (name, "public.wanted"): 1 for name in NAMES
    }


def test_an_older_server_is_dumped_and_restored_by_newer_programs(tmp_path: Path) -> None:
    newest = find("pg_dump", 17).path.parent
    with start_binaries(15) as (cluster, url):
        server = Server("old", url, cluster.stop)
        one, other = Databases(server), Databases(server)
        for databases in (one, other):
            run(databases.create())
        run(fill(one))
        made = save(one, tmp_path, programs=newest)
        assert {dump.dump_major >= 17 and dump.major == 15 for dump in made.manifest.dumps} == {True}
        restored = bring_back(other, made.folder, programs=newest, jobs=2)
        assert any("its server is older" in note for note in restored.notes)
        assert run(rows(other)) == run(rows(one))
        # A script that breaks off is not committed, and psql cannot tell that from one that ends.
        fresh, damaged = Databases(server), Path(shutil.copytree(made.folder, tmp_path / "cut"))
        run(fresh.create())
        cut_short(damaged)
        with pytest.raises(RestoreFailed):
            bring_back(fresh, damaged, only="credentials", programs=newest)
        assert set(run(rows(fresh))) == NOTHING
        # On a standby nobody can migrate, and nothing can be locked.
        cluster.stop()
        signal_file = cluster.data / "standby.signal"
        signal_file.touch()
        shutil.chown(signal_file, cluster.account.uid)
        cluster.start()
        standby = save(one, tmp_path)
        assert not standby.manifest.locked
        assert any("standby" in note for note in standby.notes)
        assert standby.manifest.dumps[0].revisions == made.manifest.dumps[0].revisions
