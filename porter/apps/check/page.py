"""The results of `porter check` for people: what failed first, then everything."""

from __future__ import annotations

from pathlib import Path

from porter.apps.check.checker import CheckResult, exit_code, summary
from porter.apps.check.parallel_runner import by_severity
from porter.report.pages import kind_of
from porter.report.pages.html import environment
from porter.report.pages.markdown import code, folded, number, plain, table
from porter.system.atomic import write_text


def write(results: list[CheckResult], path: Path) -> None:
    """Write a report; the file's name tells the kind. Raises UsageError or EmitError."""
    render = render_html if kind_of(path) == "html" else render_markdown
    write_text(path, render(results))


def verdict(results: list[CheckResult]) -> str:
    """How many fixtures ended how."""
    return ", ".join(f"{count} {status}" for status, count in summary(results).items())


def render_html(results: list[CheckResult]) -> str:
    failed = by_severity(results)
    passed = [result for result in results if result.status == "pass"]
    page: str = (
        environment()
        .get_template("check.html")
        .render(
            results=[*failed, *passed],
            passed=exit_code(results) == 0,
            verdict=verdict(results),
            seconds=sum(result.seconds for result in results),
        )
    )
    return page


def render_markdown(results: list[CheckResult]) -> str:
    failed = by_severity(results)
    mark = "❌" if failed else "✅"
    parts = [f"### {mark} porter check: {verdict(results)}"]
    if failed:
        parts.append(result_table(failed))
    parts.append(folded(f"all {len(results)} fixtures", result_table(results)))
    return "\n\n".join(parts) + "\n"


def result_table(results: list[CheckResult]) -> str:
    """One line a fixture."""
    return table(
        ("status", "fixture", "isolated", "accumulated", "message"),
        "llrrl",
        (
            (
                each.status if each.status == "pass" else f"**{each.status}**",
                code(each.path),
                number(each.isolated),
                number(each.accumulated),
                plain(each.message),
            )
            for each in results
        ),
    )
