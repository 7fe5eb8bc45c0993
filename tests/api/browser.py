"""A real browser, driven over the pipe that Chromium offers: no driver, no library."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest


class Page:
    """A page of the browser."""

    def __init__(self, commands: IO[bytes], answers: IO[bytes]) -> None:
        self._commands, self._answers = commands, answers
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Run a command of the protocol; return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while (answer := self._read()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        message = bytearray()
        while (octet := self._answers.read(1)) != b"\0":
            assert octet, "the browser has ended"
            message += octet
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, url: str, width: int, *, scheme: str = "light", scripts: bool = True) -> None:
        """Open a page in a window of that width, and wait until it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        self.call("Emulation.setScrollbarsHidden", hidden=True)  # a picture of the whole page has none
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def wait_for(self, event: str) -> None:
        """Wait until an event has come."""
        while not any(seen.get("method") == event for seen in self.events):
            self.events.append(self._read())

    def html(self) -> str:
        """Return the document, which needs no script of the page."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        return str(self.call("DOM.getOuterHTML", nodeId=root)["outerHTML"])

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def screenshot(self, path: Path, scale: float = 1) -> None:
        """Save a picture of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        data = self.call(
            "Page.captureScreenshot",
            captureBeyondViewport=True,
            clip={**size, "x": 0, "y": 0, "scale": scale},
        )
        path.write_bytes(base64.b64decode(data["data"]))

    @property
    def complaints(self) -> list[str]:
        """What the browser has logged, such as a violation of the Content-Security-Policy."""
        return [
            event["params"]["entry"]["text"] for event in self.events if event["method"] == "Log.entryAdded"
        ]


@contextmanager
def browsing(folder: Path) -> Iterator[Page]:
    """Start Chromium with a profile in the folder. Skips where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed (on Debian: apt install chromium)")
    for_browser, commands = os.pipe()
    answers, from_browser = os.pipe()
    # The protocol is on descriptors 3 and 4; bash duplicates ours to them.
    line = f'exec "$0" "$@" 3<&{for_browser} 4>&{from_browser}'
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
    with subprocess.Popen(
        ["bash", "-c", line, program, *arguments, f"--user-data-dir={folder}", "about:blank"],
        pass_fds=(for_browser, from_browser),
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(for_browser)
        os.close(from_browser)
        try:
            with os.fdopen(commands, "wb") as out, os.fdopen(answers, "rb") as back:
                yield Page(out, back)
        finally:
            process.kill()
