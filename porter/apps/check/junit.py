"""Results of `porter check` as JUnit XML, for CI systems."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from porter.apps.check.checker import CheckResult, summary
from porter.system.atomic import write_text

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(results: list[CheckResult], path: Path) -> None:
    """One test case a fixture. Raises EmitError if the file cannot be written."""
    counts = summary(results)
    suite = ElementTree.Element(
        "testsuite",
        name="porter check",
        tests=str(len(results)),
        failures=str(counts["fail"]),
        errors=str(counts["error"] + counts["unmapped"]),
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    for result in results:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=f"porter.{result.kind}",
            name=printable_xml(result.path),
            time=f"{result.seconds:.3f}",
        )
        if result.status != "pass":
            kind = "failure" if result.status == "fail" else "error"
            inner = ElementTree.SubElement(
                case, kind, type=result.status, message=printable_xml(result.message)
            )
            inner.text = printable_xml(result.message)
    ElementTree.indent(suite)
    write_text(path, ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n")


def printable_xml(text: str) -> str:
    """XML 1.0 has no word for most control characters, nor for bytes that are no UTF-8."""
    return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
