"""The JSON output of every command has exactly the keys of its schema."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jsonschema
import pytest
from typer.main import get_command

from circle_migrate.api.metrics import MetricsResult
from circle_migrate.backup.manifest import BackupResult, Dump, Manifest, RestoreResult
from circle_migrate.cli.app import app
from circle_migrate.cli.write import format_failure, format_result
from circle_migrate.commands.adopt.result import AdoptedDatabase, AdoptResult, Point, State
from circle_migrate.commands.backup_files import BackupEntry, BackupList, VerifiedBackup
from circle_migrate.commands.consistency.result import ConsistencyResult, RelationResult, RelationSide
from circle_migrate.commands.drift import AcceptedDrift
from circle_migrate.commands.graph.drawing import (
    Cardinality,
    Diagram,
    DiagramResult,
    Edge,
    EdgeKind,
    Node,
    NodeKind,
    Row,
)
from circle_migrate.commands.graph.format import DiagramFormat
from circle_migrate.commands.history import CurrentResult, DatabasePosition, ListedRevision, RevisionList
from circle_migrate.commands.json_schema.command_schema import RESULTS, schema
from circle_migrate.commands.log import LogResult, SourceResult
from circle_migrate.commands.protect import ProtectionResult
from circle_migrate.commands.rebase import RebaseResult
from circle_migrate.commands.recover import RecoveredTransaction, RecoverResult
from circle_migrate.commands.set_up_results import ConfigurationResult, ServerResult
from circle_migrate.commands.snapshot import SnapshotResult
from circle_migrate.commands.squash.squash import SquashResult
from circle_migrate.commands.status import DatabaseStatus, StatusResult
from circle_migrate.config.relation import Relation
from circle_migrate.core.errors import ExitCode, Unreachable, UsageError
from circle_migrate.core.findings import Check, Finding, Report, Severity
from circle_migrate.core.result import Result
from circle_migrate.diff.autogenerate.revision_file import RevisionFilesResult
from circle_migrate.diff.result import Aspect, Comparison, Difference, DiffResult
from circle_migrate.migrate.active_run import ActiveRun
from circle_migrate.migrate.journal_rows import JournalRun, JournalStep
from circle_migrate.migrate.kept_data.registry import (
    KeptEntries,
    KeptEntry,
    KeptKind,
    KeptRowCount,
    KeptState,
)
from circle_migrate.migrate.result import MigrationResult, PlanResult, RestoreInstructions, ScriptResult
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Snapshot, changes_between
from circle_migrate.postgres.journal_tables import Protection, ProtectionMarker
from circle_migrate.revision_graph.plan import Direction, Plan, Segment, Stamp, Step
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.safety.live_database.record import Size
from circle_migrate.safety.losses.report import (
    Count,
    Dependents,
    Effect,
    Failure,
    Loss,
    LossReport,
    Method,
    Precision,
)
from circle_migrate.safety.result import (
    Coverage,
    HazardFinding,
    SafetyReport,
    SuppressedFinding,
    explain_hazard,
)
from circle_migrate.safety.result import SuppressionSource as Decided
from circle_migrate.safety.statistics_and_baseline import DatabaseStats, Statistics, StatsResult

NOW = datetime(2026, 3, 1, tzinfo=UTC)
REVISION = Revision("main", "m1", "First", path="/a/m1.py", requires=("credentials@c1",), irreversible="why")
PLAN = Plan(
    {"main": (), "credentials": ()},
    {"main": ("m1",), "credentials": ("c1",)},
    (
        Segment((Step(REVISION, Direction.UP),), transactional=False, end_reason="why"),
        Segment((Stamp("credentials", ("c1",)),), transactional=True),
    ),
    added_dependencies=(REVISION,),
)
NOTHING = Plan({"main": ()}, {"main": ()})
ENTRY = JournalStep("r", 1, "up", "m1", "First", NOW, 1.5, None, {"credentials": ["c1"]})
SETTLED = RecoveredTransaction("credentials", "r", 1, "main", committed=True)
ERROR = Unreachable("the server does not answer", database="main", location="/a/m1.py:3")
FINDING = Finding("pending", Severity.ERROR, "m1 is pending", ExitCode.PENDING, file="/a/m1.py", line=1)


def run(*steps: JournalStep, ended: datetime | None) -> JournalRun:
    return JournalRun(
        database="main",
        run="r",
        command="upgrade",
        mode="serial",
        planned={"main": ["m1"]},
        outcome="done",
        error=None,
        started_at=NOW,
        ended_at=ended,
        db_role="role",
        os_user="user",
        host="host",
        tool_version="1",
        steps=steps,
    )


PROTECTION = Protection(
    ProtectionMarker(NOW, "role", "user", "host", "reason"), "environment CIRCLE_MIGRATE_PROTECTED"
)
STANDING = DatabaseStatus(
    "main",
    "localhost:5432/main",
    "18.1",
    "main",
    "role",
    "writable",
    pending=(REVISION,),
    lock_holder="pid 7",
    running=ActiveRun("run", "upgrade", NOW, 3, 2, "upgrade m1 One", (7,)),
    last_run=run(ENTRY, ended=None),
    protection=PROTECTION,
)

LOST = Loss(
    "main",
    "column",
    "main.t.c",
    "public.t.c",
    Effect.DROPPED,
    "m1",
    rows=Count(2),
    non_null=Count(1, Precision.ESTIMATED),
    distinct=Count(1, Precision.AT_LEAST),
    newest=NOW,
    dependents=(Dependents("credentials.s.id", Count(1)), Dependents("credentials.s.id", why="why")),
    detail="detail",
    unknown="why",
)
LOSSES = LossReport(
    "downgrade",
    PLAN,
    "serial",
    (LOST, Loss("main", "view", "main.v", "public.v", Effect.CHANGED)),
    (Method.SCRATCH, Method.REHEARSAL),
    NOW,
    (Failure("main", "m1", Method.SCRATCH, "message", "/a/m1.py:3"),),
    {"main@m1": "why"},
    ("note",),
)

DRAWING = Diagram(
    "Tables of main",
    ("main",),
    (
        Node(
            "t",
            "main",
            NodeKind.TABLE,
            "t",
            ("line",),
            ("head",),
            (Row("id", "integer", ("PK",), not_null=True),),
        ),
    ),
    (
        Edge("t", "t", EdgeKind.REFERENCES, "id", (Cardinality.ONE, Cardinality.MANY)),
        Edge("t", "t", EdgeKind.USES),
    ),
)

STATISTICS = Statistics(
    NOW,
    {
        "main": DatabaseStats(180001, {"public.t": Size("public.t", 1, 8192, 8192)}),
        "credentials": DatabaseStats(160001, {"public.u": Size("public.u", None, 0)}),
    },
)


def migrations(command: str) -> list[Result]:
    return [
        MigrationResult(
            command,
            PLAN,
            "serial",
            run="r",
            seconds=(0.1, 0.2),
            tables={"main": ("users",)},
            created=("main",),
            kept=(KeptRowCount("main", "m1", "public.t", 7, 1),),
            restore_instructions=RestoreInstructions(
                "i", "/b/manifest.json", "circle-migrate restore", ("note",)
            ),
            notes=("note",),
        ),
        MigrationResult(command, NOTHING, "atomic", dry_run=True),
    ]


def kept(command: str) -> list[Result]:
    entry = KeptEntry(
        "main", 1, "r", "m1", KeptKind.COLUMNS, ("public", "t"), "side", ("id",), ("c",), 7, NOW
    )
    gone = replace(entry, side_table="", state=KeptState.RESTORED, restored=6, missing=1)
    return [KeptEntries(command, (entry, gone), "r"), KeptEntries(command, ())]


def listing(command: str) -> list[Result]:
    return [RevisionList(command, {"main": (ListedRevision(REVISION, ("head",)),), "credentials": ()})]


def server(command: str) -> list[Result]:
    names = ("data", "version", "pid", "account", "log", "note")
    running = dict(zip(names, ("/d", 18, 7, "pg", "/l", "note"), strict=True))
    stopped = dict(zip(names, ("/d", None, None, None, "/l", None), strict=True))
    return [
        ServerResult(command, {"running": True, **running}, {"DATABASE_URL": "postgresql:///main"}),
        ServerResult(command, {"running": False, **stopped}),
    ]


def report(command: str) -> list[Result]:
    return [Report(command, (Check("pending", "P", (FINDING,), seconds=1.0), Check("m", "M", skipped="why")))]


COLUMN = ObjectKey("column", "public.t.c")
BEFORE = Snapshot("main", "models", 180001, {COLUMN: {"of": "table public.t", "type": "text"}})
AFTER = Snapshot(
    "main",
    "live",
    160002,
    {
        COLUMN: {"type": "bytea", "default": None},
        ObjectKey("index", "public.i"): {"definition": "CREATE INDEX i"},
    },
    ("m1",),
    {"operator": 1},
)


def diff(command: str) -> list[Result]:
    changes = changes_between(BEFORE, AFTER)
    comparison = Comparison(
        BEFORE,
        AFTER,
        tuple(Difference(change, Aspect.ORDER, Severity.NOTE, COLUMN) for change in changes),
        equivalent=changes,
        ignored={"index *": 1},
        compared={"column": 1},
        not_compared=("views",),
        pending=1,
    )
    empty = Comparison(AFTER, AFTER, ())
    check = Check("drift", "D", (FINDING,))
    return [DiffResult(command, (check,), comparisons=(comparison, empty)), DiffResult(command, (check,))]


DUMP = Dump(
    database="main",
    file="main.dump",
    bytes=1,
    sha256="0" * 64,
    encrypted=True,
    dbname="circle",
    database_bytes=1,
    server_version="18.1",
    server_version_num=180001,
    dump_version="18.1",
    revisions=("m1",),
    snapshot_at="2026-03-01T00:00:00.000001Z",
    objects={"table": 1},
    catalogue="0" * 64,
)
MANIFEST = Manifest("r", "1", "2026-03-01T00:00:00Z", 0.5, locked=True, dumps=(DUMP,))


def consistency(command: str) -> list[Result]:
    relation = Relation("r", "main.t.id", "credentials.u.id")
    keys = {
        side: RelationSide(column, "integer", 9, 2, 1, ("7",)) for side, column in relation.columns.items()
    }
    compared = RelationResult(relation, keys, as_text=False, settled=1, seconds=1.0)
    check = Check("relation-r", "R", (FINDING,))
    return [ConsistencyResult(command, (check,), relations=(compared,)), ConsistencyResult(command, (check,))]


def safety(command: str) -> list[Result]:
    judged = HazardFinding("CM001", Severity.ERROR, "m", ExitCode.REFUSED, "main", "m1", confidence="traced")
    known = replace(judged, statement="S", relation="r", lock="l", work="w", size="s", estimate="e")
    let_pass = SuppressedFinding(judged, Decided.COMMENT, "why", NOW.date())
    check = Check("main-m1", "M", (known, FINDING))
    return [
        SafetyReport(command, (check,), coverage=Coverage(1, 1, 3, 18), notes=("n",), suppressed=(let_pass,)),
        SafetyReport(command, (Check("trace", "T", (judged,)),), profile="ci"),
        explain_hazard(command, "CM001"),
    ]


POINTS = (Point(State.SET, "url", 'url-env = "U"', "env.py:3"), Point(State.BY_HAND, "order", "text"))
ADOPTED = AdoptedDatabase("main", ("alembic.ini", "env.py"), {"revisions": "alembic.ini"}, POINTS)

EXAMPLES: dict[str, list[Result]] = {
    "adopt": [
        AdoptResult("adopt", "/p", (ADOPTED,), {"imports": ["a"]}, POINTS, "+a", True, ("plan",)),
        AdoptResult("adopt", "/p", (replace(ADOPTED, exists=True),), {}, (), "", False, ()),
    ],
    "backup": [BackupResult("backup", MANIFEST, "/b", ("note",))],
    "backup verify": [VerifiedBackup("backup verify", MANIFEST, "/b", ("note",), verified=False)],
    **{
        command: [
            BackupList(
                command,
                (BackupEntry("/b", NOW, MANIFEST.dumps), BackupEntry("/c", problem="text", removed=True)),
                ("/d",),
            )
        ]
        for command in ("backup list", "backup prune")
    },
    "kept list": kept("kept list"),
    "kept restore": kept("kept restore"),
    "kept drop": kept("kept drop"),
    **{
        command: [ProtectionResult(command, {"main": PROTECTION, "credentials": None}, "r", ("main",))]
        for command in ("protect", "unprotect")
    },
    "accept-drift": [AcceptedDrift("accept-drift", "main", "r", ("a difference",), "reason")],
    "restore": [RestoreResult("restore", MANIFEST, ("main",), {"main": ("m1",)}, {"main": "old"}, ("note",))],
    "diff": diff("diff"),
    "consistency": consistency("consistency"),
    "safety-check": safety("safety-check"),
    "snapshot": [SnapshotResult("snapshot", {"main": AFTER, "credentials": BEFORE}, {"main": "/m.json"})],
    **{command: migrations(command) for command in ("init", "stamp")},
    **{
        command: [*migrations(command), ScriptResult(command, "SELECT 1")]
        for command in ("upgrade", "downgrade")
    },
    "downgrade": [*migrations("downgrade"), ScriptResult("downgrade", "SELECT 1"), LOSSES],
    **{command: listing(command) for command in ("history", "heads", "branches", "show")},
    **{command: server(command) for command in ("dev start", "dev stop", "dev status", "dev reset")},
    **{command: report(command) for command in ("check", "wait", "dev snapshots")},
    "status": [StatusResult("status", (), databases=(STANDING, DatabaseStatus("credentials", error=ERROR)))],
    **{
        command: [
            RevisionFilesResult(command, (REVISION,), ("credentials",), ("note",), ("main",)),
            RevisionFilesResult(command, ()),
        ]
        for command in ("revision", "merge")
    },
    "squash": [SquashResult("squash", REVISION, "text", notes=("note",))],
    "rebase": [RebaseResult("rebase", REVISION, ("m1",), ("m3",), "diff", notes=("note",))],
    "plan": [PlanResult("plan", PLAN, "serial", "/p.json", ("note",)), PlanResult("plan", NOTHING, "atomic")],
    "recover": [
        RecoverResult(
            "recover", (SETTLED,), {"main": ("r",)}, {"main": ("m1",)}, {"main": ("circle_migrate:x",)}
        ),
        RecoverResult("recover", (), {}, {}, {}, dry_run=True),
    ],
    "graph": [
        DiagramResult("graph", DRAWING, DiagramFormat.SVG, "<svg/>", notes=("note",)),
        DiagramResult("graph", DRAWING, DiagramFormat.MERMAID, "erDiagram", file="/d.mmd"),
    ],
    "stats": [
        StatsResult("stats", STATISTICS),
        StatsResult("stats", Statistics(NOW, {}), "/stats.json"),
    ],
    "metrics": [MetricsResult("metrics", "text", None), MetricsResult("metrics", None, "/m.prom")],
    "current": [
        CurrentResult(
            "current",
            (DatabasePosition("main", (REVISION,), ("m1",)), DatabasePosition("credentials", error=ERROR)),
        )
    ],
    "log": [
        LogResult("log", (run(ENTRY, ended=NOW), run(ended=None))),
        SourceResult("log", "main", "m1", "text"),
    ],
    "config show": [ConfigurationResult("config show", (("database-url", "***", "environment"),))],
}


def closed(value: Any) -> Any:
    """Return the schema with additional properties forbidden in every object."""
    return {**_within(value), "unevaluatedProperties": False}


def _within(value: dict[str, Any]) -> dict[str, Any]:
    changed = dict(value)
    for key in ("properties", "$defs"):
        if key in value:
            close = closed if key == "properties" else _within
            changed[key] = {name: close(item) for name, item in value[key].items()}
    for key in ("items", "additionalProperties"):
        if key in value:
            changed[key] = closed(value[key])
    return changed


def commands(within: Any, prefix: str = "") -> set[str]:
    """Return the full names of all commands of a group and of its groups."""
    members = {name: within.get_command(None, name) for name in within.list_commands(None)}
    groups = {name: member for name, member in members.items() if hasattr(member, "list_commands")}
    return {prefix + name for name in members.keys() - groups.keys()}.union(
        *(commands(member, f"{prefix}{name} ") for name, member in groups.items())
    )


def test_every_command_with_json_has_a_schema() -> None:
    named = commands(get_command(app)) - {"config schema", "dev psql", "help", "schema", "serve"}
    # Its result has the name of its short form.
    assert named - {"backup create"} | {"backup"} == {*RESULTS} == {*EXAMPLES}


@pytest.mark.parametrize("command", RESULTS)
def test_a_result_is_as_described_and_has_nothing_else(command: str) -> None:
    described = schema(command)
    jsonschema.Draft202012Validator.check_schema(described)
    validator = jsonschema.Draft202012Validator(closed(described))
    for example in EXAMPLES[command]:
        validator.validate(json.loads(format_result("json", example)))


@pytest.mark.parametrize("command", RESULTS)
def test_every_described_key_of_a_result_is_needed(command: str) -> None:
    validator = jsonschema.Draft202012Validator(schema(command))
    for example in EXAMPLES[command]:
        shown = json.loads(format_result("json", example))
        for key in shown:
            without = {name: value for name, value in shown.items() if name != key}
            assert not validator.is_valid(without), key


@pytest.mark.parametrize("command", RESULTS)
def test_an_error_is_as_described(command: str) -> None:
    validator = jsonschema.Draft202012Validator(closed(schema(command)))
    shown = json.loads(format_failure("json", command, ERROR))
    validator.validate(shown)
    del shown["error"]["hint"]
    assert not validator.is_valid(shown)


@pytest.mark.parametrize("command", RESULTS)
def test_the_output_of_another_command_is_none(command: str) -> None:
    validator = jsonschema.Draft202012Validator(schema(command))
    others = [shown for name, outputs in _outputs().items() if name != command for shown in outputs]
    assert not any(map(validator.is_valid, others))


@cache
def _outputs() -> dict[str, list[Any]]:
    return {
        name: [json.loads(format_result("json", example)) for example in examples]
        for name, examples in EXAMPLES.items()
    }


def test_exit_codes_are_those_of_the_program() -> None:
    assert schema("upgrade")["$defs"]["exit_code"]["enum"] == sorted(ExitCode)


def test_a_command_that_has_none_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no schema for 'psql'"):
        schema("psql")
