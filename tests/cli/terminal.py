"""Run the command on a terminal or in a pipe, and read its output while it runs."""

from __future__ import annotations

import codecs
import fcntl
import functools
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fork_server import Forked

_SECONDS = 60
_CONTROL = re.compile(r"\x1b\[(\?25[lh]|\d*A|\dK|[\d;]*m)|(\r)|(\n)|([^\x1b\r\n]+)")

HIDE_CURSOR = "\x1b[?25l"
SHOW_CURSOR = "\x1b[?25h"


class _Started:
    """A `circle-migrate` process whose output is read from a file descriptor."""

    def __init__(
        self, reading: int, writing: int, arguments: tuple[str, ...], env: Mapping[str, str]
    ) -> None:
        self._reading = reading
        self.written = ""
        self.process = Forked(*arguments, env=env, output=writing, new_session=True)
        os.close(writing)

    def until(self, seen: Callable[[str], bool]) -> None:
        """Read until the output satisfies the condition."""
        deadline = time.monotonic() + _SECONDS
        while not seen(self.written):
            assert time.monotonic() < deadline, self.written
            assert self._read(), self.written

    def until_it_reads(self) -> None:
        """Wait until the process sleeps: a signal before that has no effect until the next key."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        deadline = time.monotonic() + _SECONDS
        while stat.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < deadline, self.written
            time.sleep(0.01)

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._reading, f"{text}\n".encode())

    def end(self) -> int:
        """Read to the end. Returns the exit status."""
        while self._read():
            pass
        os.close(self._reading)
        return self.process.wait(_SECONDS)

    def _read(self) -> bool:
        if not select.select([self._reading], [], [], _SECONDS)[0]:
            self.process.kill()
            raise AssertionError(self.written)
        try:
            read = os.read(self._reading, 1 << 16)
        except OSError:  # how Linux tells that nobody has the terminal open any more
            return False
        self.written += self._decoder.decode(read)
        return bool(read)

    @functools.cached_property
    def _decoder(self) -> codecs.IncrementalDecoder:
        return codecs.getincrementaldecoder("utf-8")()


class Terminal(_Started):
    """The command on a terminal of 24 lines and 100 columns."""

    def __init__(self, *arguments: str, env: Mapping[str, str], term: str = "xterm") -> None:
        reading, writing = pty.openpty()
        fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        super().__init__(reading, writing, arguments, {"TERM": term, **env})


class Piped(_Started):
    """The command with both streams in one pipe."""

    def __init__(self, *arguments: str, env: Mapping[str, str]) -> None:
        super().__init__(*os.pipe(), arguments, dict(env))


def screen(written: str) -> list[str]:
    """Return the lines that remain on a terminal. Fails on a control sequence that progress does not use."""
    lines, row, column = [""], 0, 0
    position = 0
    while position < len(written):
        match = _CONTROL.match(written, position)
        assert match, written[position : position + 20]
        position = match.end()
        code, carriage_return, newline, text = match.groups()
        if carriage_return:
            column = 0
        elif newline:
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif text:
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
        elif code.endswith("A"):
            row -= int(code[:-1] or 1)
        elif code == "2K":
            lines[row] = ""
    return [line.rstrip() for line in lines]
