"""The page in a real browser, where there is one: it sorts, filters and logs no error."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from porter import Conversion
from porter.report.pages import render
from tests.report.pages.test_report import document_of

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
# --dump-dom prints the page as its scripts left it.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"),
)

SCRIPT = """
<script>
addEventListener("load", () => {
  const rows = () => [...document.querySelectorAll("#layers tbody tr")].filter((r) => !r.hidden);
  const paths = () => rows().map((row) => row.cells[1].textContent.trim()).join(" ");
  const note = (name) => document.body.setAttribute("data-" + name, paths());
  note("start");
  document.querySelectorAll("#layers th button")[4].click();
  note("sorted");
  const search = document.querySelector("[type=search]");
  search.value = "ReLU";
  search.dispatchEvent(new Event("input"));
  note("filtered");
  document.body.setAttribute("data-wide", document.documentElement.scrollWidth > innerWidth);
});
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [420, 1280])
def test_a_page_sorts_and_filters(converted: Conversion, tmp_path: Path, width: int) -> None:
    pytest.importorskip("jinja2")
    document = document_of(converted)
    page = tmp_path / "page.html"
    page.write_text(render(document, "html") + SCRIPT, encoding="utf-8")
    ran = subprocess.run(
        [
            *(str(BROWSER), *FLAGS, f"--window-size={width},900"),
            *(f"--user-data-dir={tmp_path}/profile", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "CONSOLE" not in ran.stderr

    def noted(name: str) -> list[str]:
        (found,) = re.findall(rf'data-{name}="([^"]*)"', ran.stdout)
        return str(found).split()

    rows = document.rows
    assert noted("start") == [row.path for row in rows]
    errors = {row.path: row.isolated.max_rel if row.isolated else -1.0 for row in rows}
    assert [errors[path] for path in noted("sorted")] == sorted(errors.values(), reverse=True)
    relus = {row.path for row in rows if "ReLU" in row.type}
    assert set(noted("filtered")) == relus
    assert noted("wide") == ["false"]
