"""The status page in a real browser, from a phone to a wide screen; the pictures are kept on request."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from circle_migrate.commands.upgrade import upgrade
from tests.api.browser import browsing
from tests.api.test_server import serving
from tests.deployments import deployment, execute
from tests.servers import Databases, run

# Read once: tests do not see the developer's environment.
_PICTURES = os.environ.get("CIRCLE_MIGRATE_PICTURES")
"""The folder in which the pictures are kept."""

_CONTRASTS = """
(() => {
  const light = (color) => {
    const parts = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const back = (element) => {
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor;
      if (!color.endsWith(", 0)")) return color;
    }
  };
  return Math.min(...[...document.querySelectorAll("body *")]
    .filter((element) => element.innerText && !element.closest("svg")).map((element) => {
      const [one, two] = [getComputedStyle(element).color, back(element)].map(light).sort();
      return (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    }));
})()
"""
"""The least contrast between a text and what is behind it."""


@pytest.mark.thorough
def test_the_page_in_a_browser(empty_databases: Databases, workdir: Path, tmp_path: Path) -> None:
    for target in (["main@b37f99db0c0e", "credentials@b6785147bdeb"], ["main@+1"]):
        run(upgrade(deployment(empty_databases), target))
    long = "x" * 300
    run(execute(empty_databases, "main", f"UPDATE circle_migrate.runs SET command = '{long}<i>'"))
    pictures = Path(_PICTURES) if _PICTURES else tmp_path
    with serving(empty_databases, workdir) as server, browsing(tmp_path / "profile") as page:
        url = f"http://127.0.0.1:{server.port}/"
        for width, scheme in ((320, "light"), (768, "dark"), (1440, "light"), (1440, "dark")):
            page.open(url, width, scheme=scheme)
            assert page.complaints == [] or all("favicon" in text for text in page.complaints)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(_CONTRASTS) >= 4.5
            page.screenshot(pictures / f"page-{width}-{scheme}.png")
        assert page.evaluate("document.querySelectorAll('i').length") == 0
        tops = page.evaluate("[...document.querySelectorAll('article')].map((item) => item.offsetTop)")
        assert tops[0] == tops[1], "the databases are side by side"
        names = page.call("Accessibility.getFullAXTree")["nodes"]
        regions = [node["name"]["value"] for node in names if node["role"]["value"] == "region"]
        assert {"Databases", "Last runs", "Revisions"} <= set(regions)
        page.open(url, 320, scripts=False)
        assert (pictures / "page-320-light.png").stat().st_size > 10_000
