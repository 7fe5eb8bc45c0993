"""The status page in a real browser, from a phone to a wide screen; the pictures are kept on request."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest

from circle_migrate.commands.upgrade import upgrade
from tests.api.browser import Page, browsing
from tests.api.picture import with_palette
from tests.api.test_server import Serve, serving
from tests.deployments import RUNS, deployment, execute
from tests.faults.processes import started
from tests.projects import Project
from tests.servers import Databases, run

# Read once: tests do not see the developer's environment.
_PICTURES = os.environ.get("CIRCLE_MIGRATE_PICTURES")
_FOLDER = Path(_PICTURES or "").absolute()
"""The folder in which the pictures are kept if it is named."""

_WIDTHS = (320, 768, 1280)
_SCHEMES = ("light", "dark")

_GAP = "interval '3 days 05:17'"
"""The time between two runs."""

_CONTRASTS = """
(() => {
  const light = (color) => {
    const parts = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const back = (element) => {
    const frame = element.previousElementSibling;
    if (element.matches("text.word")) return getComputedStyle(frame).fill;
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor;
      if (!color.endsWith(", 0)")) return color;
    }
  };
  const contrast = (color, element) => {
    const [one, two] = [color, back(element)].map(light);
    return (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
  };
  const drawn = [...document.querySelectorAll("svg text")]
    .map((element) => contrast(getComputedStyle(element).fill, element));
  const written = [...document.querySelectorAll("body *")]
    .filter((element) => element.innerText && !element.closest("svg"))
    .map((element) => contrast(getComputedStyle(element).color, element));
  return [Math.min(...drawn), Math.min(...written)];
})()
"""
"""The least contrasts between a text and what is behind it: of drawings, and of the rest."""

_FOCUSED = """
(() => {
  const style = getComputedStyle(document.activeElement);
  const place = document.activeElement.getBoundingClientRect();
  return [document.activeElement.textContent.trim().slice(0, 30), parseFloat(style.outlineWidth),
    style.outlineStyle, place.left >= 0 && place.width > 0];
})()
"""


def until(page: Page, expression: str, seconds: float = 60) -> None:
    """Wait until an expression in the page is true."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, page.evaluate("document.body.innerText")
        time.sleep(0.1)


def press(page: Page, key: str, text: str = "") -> None:
    """Press a key."""
    codes = {"Tab": 9, "Enter": 13}
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=codes[key], text=text)


def has(text: str) -> str:
    """Return the expression that the page shows a text."""
    return f"document.body.innerText.includes({text!r})"


async def rename(databases: Databases, names: dict[str, str]) -> None:
    """Give the databases other names, for a picture."""
    connection = await asyncpg.connect(databases.server.admin_url)
    for key, name in names.items():
        await connection.execute(f"ALTER DATABASE {databases.names[key]} RENAME TO {name}")
    await connection.close()
    databases.names.update(names)


def prepare(databases: Databases) -> None:
    """Make runs of several days, pending revisions, and a change by hand."""
    later = f"UPDATE {RUNS} SET started_at = started_at - {_GAP}, ended_at = ended_at - {_GAP}"
    for target in (["main@b37f99db0c0e", "credentials@b6785147bdeb"], ["main@+1"], ["main@+7"]):
        run(upgrade(deployment(databases), target))
        for name in databases.names:
            run(execute(databases, name, later))
    members = ", ".join(f"(1, {user}, true, 'current', 41)" for user in (1, 2))
    columns = "circle_id, user_id, is_active, payment_status, transfer_request_id"
    run(
        execute(
            databases,
            "main",
            "SET session_replication_role = replica",
            f"INSERT INTO circle_memberships ({columns}) VALUES {members}",
            "ALTER TABLE users ADD COLUMN note text",
        )
    )


def look(page: Page, server: Serve, pictures: Path) -> None:
    """Open the page at each width and in each scheme, keep pictures, and check what holds for all."""
    url = f"http://127.0.0.1:{server.port}/"
    for width in _WIDTHS:
        for scheme in _SCHEMES:
            page.open(url, width, scheme=scheme)
            assert [text for text in page.complaints if "favicon" not in text] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert min(page.evaluate(_CONTRASTS)) >= 4.5, scheme
            page.screenshot(pictures / f"page-{width}-{scheme}.png")


@pytest.mark.thorough
def test_the_page_in_a_browser(empty_databases: Databases, workdir: Path, tmp_path: Path) -> None:
    if _PICTURES:
        run(rename(empty_databases, {"main": "circle", "credentials": "circle_credentials"}))
    prepare(empty_databases)
    pictures = _FOLDER if _PICTURES else tmp_path
    pictures.mkdir(parents=True, exist_ok=True)
    with serving(empty_databases, workdir) as server, browsing(tmp_path / "profile") as page:
        url = f"http://127.0.0.1:{server.port}/"
        page.open(url, 1280)
        until(page, has("no danger found"))
        look(page, server, pictures)
        assert (pictures / "page-320-light.png").stat().st_size > 10_000
        tops = page.evaluate("[...document.querySelectorAll('article')].map((item) => item.offsetTop)")
        assert tops[0] == tops[1], "the databases are side by side"
        if _PICTURES:
            page.open(url, 1200)
            page.screenshot(pictures / "status-page.png", scale=0.75)
            small = with_palette((pictures / "status-page.png").read_bytes())
            (pictures / "status-page.png").write_bytes(small)
        long = "x" * 300
        run(execute(empty_databases, "main", f"UPDATE {RUNS} SET command = '{long}<i>'"))
        until(page, has(long))
        assert page.evaluate("document.querySelectorAll('i').length") == 0
        page.open(url, 320)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.thorough
def test_the_page_for_keyboards_and_screen_readers(
    migrated_databases: Databases, workdir: Path, tmp_path: Path
) -> None:
    with serving(migrated_databases, workdir) as server, browsing(tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{server.port}/", 768)
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        roles = [(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes]
        names = [role for role, _ in roles]
        assert [names.count(role) for role in ("banner", "main", "contentinfo")] == [1, 1, 1]
        assert {("region", name) for name in ("Databases", "Last runs", "Revisions")} <= set(roles)
        assert {("image", f"Revisions of {name}") for name in migrated_databases.names} <= set(roles)
        assert {"columnheader", "rowheader"} <= set(names)
        described = [node.get("description", {}).get("value", "") for node in nodes]
        assert any(text.startswith("16 revisions, 0 pending") for text in described), described
        levels = page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3,h4')].map((item) => +item.tagName[1])"
        )
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert page.evaluate("document.documentElement.lang") == "en"
        assert page.evaluate("document.querySelectorAll('th:not([scope])').length") == 0
        focused = []
        for _ in range(9):
            press(page, "Tab")
            focused.append(page.evaluate(_FOCUSED))
        assert focused[0][0] == "Skip to the content"
        assert {"reload", "The same as a list"} <= {text for text, *_ in focused}
        assert all(width >= 2 and style == "solid" and seen for _, width, style, seen in focused), focused
        page.open(f"http://127.0.0.1:{server.port}/", 768)
        press(page, "Tab")
        press(page, "Enter", "\r")
        assert page.evaluate("document.activeElement.id") == "content"


@pytest.mark.thorough
def test_a_run_is_shown_while_it_runs(
    empty_databases: Databases, project_folder: Path, tmp_path: Path
) -> None:
    waits = "PERFORM pg_sleep(0.1) FROM pg_class WHERE relname = 'wait'; EXIT WHEN NOT FOUND;"
    project = Project(project_folder)
    project.write_settings()
    project.revision("main", "m1", None, "op.execute('CREATE TABLE a (b int)')", "pass")
    project.revision("main", "m2", "m1", f'op.execute("DO $$ BEGIN LOOP {waits} END LOOP; END $$")', "pass")
    project.revision("credentials", "c1", None, "op.execute('CREATE TABLE c ()')", "pass")
    run(execute(empty_databases, "main", "CREATE TABLE wait ()"))  # which scratch databases lack
    pictures = _FOLDER if _PICTURES else tmp_path
    pictures.mkdir(parents=True, exist_ok=True)
    with serving(empty_databases, project_folder) as server, browsing(tmp_path / "profile") as page:
        url = f"http://127.0.0.1:{server.port}/"
        page.open(url, 768)
        assert not page.evaluate(has("In progress"))
        page.evaluate("window.stays = true")
        with started(empty_databases, project_folder, "upgrade") as process:
            until(page, has("2 on main: upgrade m2 Revision m2"))
            text = page.evaluate("document.querySelector('.running').innerText")
            assert "1 of 3" in text.replace("\n", " "), text
            assert page.evaluate("document.querySelector('progress').value") == 1
            assert "step 2 of 3, main, upgrade m2" in page.evaluate(
                "document.getElementById('announcement').innerText"
            )
            assert page.evaluate("document.querySelectorAll('td.degraded')[0].innerText") == "in progress"
            assert page.evaluate("window.stays"), "the page was not loaded again"
            page.screenshot(pictures / "page-running.png")
            page.open(url, 320, scripts=False)
            reloads_without_scripts(page)
            page.open(url, 768)
            run(execute(empty_databases, "main", "DROP TABLE wait"))
            assert process.end().status == 0
            until(page, f"!{has('In progress')} && {has('Nothing is pending')}")
        assert [text for text in page.complaints if "favicon" not in text] == []
        server.process.kill()
        until(page, has("The page cannot be refreshed"))


def reloads_without_scripts(page: Page) -> None:
    """Wait until the page has loaded itself again, with the run in progress."""
    page.events.clear()
    page.wait_for("Page.loadEventFired")
    assert "m2 Revision m2" in page.html()
