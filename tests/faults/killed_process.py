"""Processes that run the executor and kill themselves at a named point, with no chance to clean up.

Starting an interpreter and importing takes far longer than a run on a small tree. So this file, run as a
script, imports everything once and then forks a process for each job it reads from stdin.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_FAILED = 70


class KilledProcesses:
    """The process that forks a process per job."""

    def __enter__(self) -> KilledProcesses:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(
        self,
        folder: Path,
        environ: dict[str, str],
        direction: str,
        point: str,
        *,
        keep: bool = False,
        **flags: object,
    ) -> int:
        """Go all the way up or down and die at a point: how the process ended, as `subprocess` tells it.

        With `keep` the way down keeps what would go.
        """
        job = {
            "folder": str(folder),
            "environ": environ,
            "direction": direction,
            "point": point,
            "keep": keep,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**job, "flags": flags}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def _serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run_and_die(json.loads(line))
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


def _run_and_die(job: dict[str, Any]) -> None:
    status = 0
    try:
        asyncio.run(_move(job))
    except BaseException:  # noqa: BLE001 - whatever it is, this process must not go on to the next job
        traceback.print_exc()
        status = _FAILED
    os._exit(status)


async def _move(job: dict[str, Any]) -> None:
    from circle_migrate.config.load import load
    from circle_migrate.core.events import Event, EventKind
    from circle_migrate.migrate.executor import RunOptions, execute
    from circle_migrate.migrate.kept_data.hooks import KeepHooks
    from circle_migrate.migrate.planner import Planner
    from circle_migrate.migrate.run import Hooks
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.revision_graph.plan import Direction

    def reach(point: str) -> None:
        if point == job["point"]:
            os.kill(os.getpid(), signal.SIGKILL)

    def notify(event: Event) -> None:
        if event.kind is EventKind.DONE:
            reach(f"done {event.number}")

    deployment = Deployment(load(job["flags"], environ=job["environ"], cwd=Path(job["folder"])))
    direction = Direction(job["direction"])
    targets = ["head" if direction is Direction.UP else "base"]
    planner = Planner(deployment, targets, direction)
    hooks = KeepHooks() if job["keep"] else Hooks()
    options = RunOptions("test", hooks=hooks, checkpoint=reach)
    await execute(deployment, deployment.selected, planner, notify, options)


if __name__ == "__main__":
    import alembic.context  # noqa: F401 - imported before the fork
    import asyncpg  # noqa: F401

    import circle_migrate.config.sources  # noqa: F401

    _serve()
