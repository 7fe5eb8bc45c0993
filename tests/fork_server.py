"""`circle-migrate` in processes of its own, forked from an interpreter that has imported everything already.

Starting an interpreter and importing what an upgrade needs takes ten times as long as the upgrades of most
tests. From the fork on everything is as in a process that was started: its streams, signals, session,
environment, current directory, and how it ends. How it starts, and what it imports for that, is the business
of tests/cli/test_start_up.py and of the tests that start `python -m circle_migrate`.

Run as a module, this is that interpreter: it forks for each job that comes over the socket given to it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent
_SECONDS = 60
_LONGEST_JOB = 1 << 20


class Forked:
    """One run of the command, with the methods of `subprocess.Popen` that tests use.

    `output` is a file descriptor for both streams, and for stdin if it is a terminal; without it each
    stream is a pipe to be read here.
    """

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str],
        cwd: Path | None = None,
        output: int | None = None,
        new_session: bool = False,
    ) -> None:
        self.returncode: int | None = None
        job = {
            "arguments": arguments,
            "environ": {**os.environ, **env},
            "cwd": str(cwd or Path.cwd()),
            "new_session": new_session,
        }
        pipes = [os.pipe(), os.pipe()] if output is None else []
        writing = [pipe[1] for pipe in pipes] or [output, output]
        nothing = os.open(os.devnull, os.O_RDWR)
        self._end, theirs = socket.socketpair()
        with theirs:
            stdin = output if output is not None and os.isatty(output) else nothing
            _interpreter().take(job, [stdin, *writing, theirs.fileno()])
        for descriptor in (nothing, *(pipe[1] for pipe in pipes)):
            os.close(descriptor)
        self.stdout, self.stderr = [os.fdopen(pipe[0], encoding="utf-8") for pipe in pipes] or [None, None]
        self.pid = int(self._line())

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it with no chance to clean up."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = _SECONDS) -> int:
        """The exit status, negative for the signal that ended it; raises `TimeoutError`."""
        if self.returncode is None:
            if not select.select([self._end], [], [], timeout)[0]:
                raise TimeoutError(f"pid {self.pid} has not ended in {timeout} s")
            self.returncode = int(self._line())
            self._end.close()
        return self.returncode

    def communicate(self, timeout: float = _SECONDS) -> tuple[str, str]:
        """What it still writes to both streams until its end; it is killed when the time is up."""
        if self.stdout is None or self.stdout.closed:
            self.wait(timeout)
            return "", ""
        watchdog = threading.Timer(timeout, self.kill)
        watchdog.start()
        try:
            with ThreadPoolExecutor(1) as pool, self.stdout, self.stderr:
                stderr = pool.submit(self.stderr.read)
                return self.stdout.read(), stderr.result()
        finally:
            watchdog.cancel()
            self.wait(timeout)

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            read = self._end.recv(1)
            assert read, "the interpreter that forks has gone"
            line += read
        return line


class _Interpreter:
    """The process that forks, as the tests' process sees it."""

    def __init__(self) -> None:
        self._jobs, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                cwd=_ROOT,
                pass_fds=[theirs.fileno()],
            )

    def take(self, job: dict[str, Any], descriptors: list[int]) -> None:
        """Have it fork for a job."""
        socket.send_fds(self._jobs, [json.dumps(job).encode()], descriptors)

    def end(self) -> None:
        """End it; its children are not affected."""
        self._jobs.close()
        self._process.wait(_SECONDS)


_running: list[_Interpreter] = []


def _interpreter() -> _Interpreter:
    if not _running:
        _running.append(_Interpreter())
    return _running[0]


@contextlib.contextmanager
def fork_server() -> Iterator[None]:
    """While the block runs there is an interpreter to fork from, once the first command needs it."""
    try:
        yield
    finally:
        while _running:
            _running.pop().end()


def _serve(jobs: socket.socket) -> None:
    """Fork for each job. Returns in the child that is to become the command, and when there are no more."""
    signal.signal(signal.SIGCHLD, _reap)
    while True:
        message, descriptors, _, _ = socket.recv_fds(jobs, _LONGEST_JOB, 4)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            jobs.close()
            *streams, end = descriptors
            if _is_command(streams, socket.socket(fileno=end)):
                _prepare(json.loads(message), streams)
                return
        for descriptor in descriptors:
            os.close(descriptor)


def _reap(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _is_command(streams: list[int], end: socket.socket) -> bool:
    """Fork once more: true in the child; the parent tells its pid and its exit status, and is no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        end.close()
        return True
    for descriptor in streams:
        os.close(descriptor)
    end.sendall(b"%d\n" % child)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):  # nobody may want to know any more
        end.sendall(b"%d\n" % status)
    os._exit(0)


def _prepare(job: dict[str, Any], streams: list[int]) -> None:
    """Make this process what a new one would be when `circle_migrate.__main__` begins."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if job["new_session"]:
        os.setsid()
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["environ"])
    sys.argv = ["circle-migrate", *job["arguments"]]
    sys.path[0] = job["cwd"]
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", 1 if os.isatty(1) else -1, encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)


if __name__ == "__main__":
    from importlib import import_module

    from circle_migrate.__main__ import main

    for module in ("alembic.context", "asyncpg", "sqlalchemy.ext.asyncio", "rich.live", "rich.table"):
        import_module(module)
    for name in ("groups.migrate", "groups.inspect", "boundary", "progress_live", "write", "confirm"):
        import_module(f"circle_migrate.cli.{name}")
    for name in (
        "commands.upgrade",
        "commands.downgrade",
        "commands.status",
        "migrate.executor",
        "config.load",
        "migrate.alembic_adapter.runner",
        "cli.render.run",
    ):
        import_module(f"circle_migrate.{name}")
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    main()
