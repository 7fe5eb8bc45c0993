"""downgrade --to-run, --to-release and --to-time: the targets that the journals lead to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from circle_migrate import __version__
from circle_migrate.commands.journal_target import Moment, parse_time, targets_at
from circle_migrate.core.errors import Refused, UsageError
from tests.commands.shortcuts import CREDENTIALS, MAIN, claim, down, up
from tests.deployments import deployment, environment, execute, invoke, versions
from tests.servers import Databases, run


async def targets(databases: Databases, moment: Moment, only: str | None = None) -> list[str]:
    return await targets_at(deployment(databases, only), moment)


@pytest.mark.thorough
def test_moments_lead_back_to_what_was_current(empty_databases: Databases) -> None:
    async def scenario() -> None:
        start = datetime.now(UTC)
        first = await up(empty_databases, "main@+1", only="main")
        between = datetime.now(UTC)
        second = await up(empty_databases, "main@+2", "credentials@+1")
        third = await up(empty_databases, "main@+1", "credentials@+1")
        after = [f"main@{MAIN[2]}", f"credentials@{CREDENTIALS[0]}"]
        runs = {"first": first.run or "", "second": second.run or "", "third": third.run or ""}
        cases = [
            (Moment(time=start), ["main@base", "credentials@base"]),
            (Moment(run=runs["first"]), [f"main@{MAIN[0]}", "credentials@base"]),
            (Moment(time=between), [f"main@{MAIN[0]}", "credentials@base"]),
            (Moment(run=runs["second"][:8]), after),
            (Moment(run=runs["third"]), [f"main@{MAIN[3]}", f"credentials@{CREDENTIALS[1]}"]),
        ]
        for moment, expected in cases:
            assert await targets(empty_databases, moment) == expected, moment
        assert await targets(empty_databases, Moment(run=runs["second"]), "credentials") == after[1:]
        await down(empty_databases, *after)
        assert await versions(empty_databases) == {"main": [MAIN[2]], "credentials": [CREDENTIALS[0]]}
        with pytest.raises(Refused, match="was applied then and is not now"):
            await targets(empty_databases, Moment(run=runs["third"]))
        assert await targets(empty_databases, Moment(run=runs["first"])) == [
            f"main@{MAIN[0]}",
            "credentials@base",
        ]

    run(scenario())


def test_a_release_leads_back_to_its_last_run(empty_databases: Databases) -> None:
    async def scenario() -> None:
        await up(empty_databases, "main@+1", "credentials@+1")
        for name in ("main", "credentials"):
            await execute(empty_databases, name, "UPDATE circle_migrate.runs SET tool_version = '0.0.1'")
        await up(empty_databases, "main@+1")
        old = [f"main@{MAIN[0]}", f"credentials@{CREDENTIALS[0]}"]
        assert await targets(empty_databases, Moment(release="0.0.1")) == old
        assert await targets(empty_databases, Moment(release=__version__)) == [
            f"main@{MAIN[1]}",
            f"credentials@{CREDENTIALS[0]}",
        ]
        await claim(empty_databases, "main@-1")
        with pytest.raises(Refused, match="stamped since then"):
            await targets(empty_databases, Moment(release="0.0.1"))

    run(scenario())


def test_what_no_journal_has_is_refused(empty_databases: Databases, subtests: pytest.Subtests) -> None:
    first = run(up(empty_databases, "main@+1"))
    second = run(up(empty_databases, "main@+1"))
    assert first.run != second.run
    for moment, words in (
        (Moment(run="zzz"), "no journal has the run zzz"),
        (Moment(run=""), "several runs begin with"),
        (Moment(release="9.9"), "no journal has the release 9.9"),
    ):
        with subtests.test(moment=moment), pytest.raises(UsageError, match=words):
            run(targets(empty_databases, moment))
    with pytest.raises(UsageError, match="'yesterday' is not a time"):
        parse_time("yesterday")
    assert parse_time("2030-12-31T18:00") == datetime(2030, 12, 31, 18, tzinfo=UTC)


def test_downgrade_shows_its_targets(empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    first = run(up(empty_databases, "main@+1"))
    run(up(empty_databases, "main@+1"))
    answer = invoke(["downgrade", "--to-run", (first.run or "")[:8], "--sql"])
    assert answer.status == 0, answer.stderr
    assert f"downgrade to main@{MAIN[0]} credentials@base, which was current after run" in answer.stderr
    assert f"-- main: {MAIN[1]} to {MAIN[0]}" in answer.stdout
    assert invoke(["downgrade", "--to-run", "zzz", "--yes"]).status == 2
    for arguments in (["-1", "--to-run", "abc"], ["--to-run", "abc", "--to-release", "1"], []):
        answer = invoke(["downgrade", *arguments])
        assert answer.status == 2
        assert "a downgrade needs one target" in answer.stderr
