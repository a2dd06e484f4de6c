"""Reports for people: what they hold, that nothing of a model file breaks them, their size."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from porter.conversion.pipeline import Conversion, convert
from porter.conversion.request import Request
from porter.errors import ParityError, UsageError
from porter.ir.layout import OpContext
from porter.ir.registry import Registry, register, registering_into
from porter.layer_maps.convolution import SpatialConvolution
from porter.parity.compare import Report, Row
from porter.parity.measure import failed
from porter.report.as_json import report_json
from porter.report.pages import kind_of, render, require_kinds, write
from porter.report.pages.document import Document, facts_of
from porter.system.extras import install

jinja2 = pytest.importorskip("jinja2")
pytest.importorskip("PIL")

HOSTILE = "nn.</td><script>alert(1)</script>`|\x1b[31m\u202e<!--"


class Parsed(HTMLParser):
    """Tags and addresses of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href") and v]


def document_of(converted: Conversion) -> Document:
    facts = facts_of(converted.manifest, 1.5)
    return Document("small.t7", converted.reports, converted.emitted, facts)


@pytest.fixture(scope="module")
def document(converted: Conversion) -> Document:
    return document_of(converted)


def hostile() -> Document:
    row = Row(HOSTILE, HOSTILE, "1×2", HOSTILE, isolated=failed(HOSTILE), note=HOSTILE)
    return Document(HOSTILE, (Report((row,), HOSTILE, HOSTILE),), (), ((HOSTILE, HOSTILE),))


def test_a_page_needs_nothing_but_itself(document: Document) -> None:
    page = render(document, "html")
    parsed = Parsed(page)
    assert all(address.startswith("data:") for address in parsed.addresses)
    assert parsed.tags.count("script") == 1
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_a_page_says_what_the_report_says(document: Document) -> None:
    page = render(document, "html")
    assert '<p class="verdict pass"><strong>pass</strong>' in page
    rows = re.findall(r'<td class="path">([^<]*)</td>', page)
    assert [each.strip() for each in rows] == [row.path for row in document.rows]
    assert page.count('class="dot isolated') == sum(
        row.isolated is not None for row in document.rows
    )
    assert "isolated ≤ 1e-05" in page
    assert "accumulated ≤ 1e-04" in page
    for name, what in document.facts:
        assert f"<dt>{name}</dt>" in page
        assert what.split(",")[0] in page
    assert 'class="noise"' in page


def test_nets_of_pictures_show_them(converted: Conversion) -> None:
    # 3 planes in, 2 out: no picture. A strip needs an image at both ends.
    assert all(report.strip is None for report in converted.reports)
    assert "<h2>Pictures</h2>" not in render(document_of(converted), "html")


def test_the_worst_layers_keep_small_thumbnails(document: Document) -> None:
    worst = document.worst()
    assert 0 < len(worst) <= 6
    errors = [row.isolated.max_rel for row in worst if row.isolated]
    assert errors == sorted(errors, reverse=True)
    for row in worst:
        assert row.thumbnail is not None
        assert row.thumbnail.expected.shape == row.thumbnail.error.shape
        assert max(row.thumbnail.expected.shape) <= 64


@pytest.mark.parametrize("kind", ["html", "markdown"])
def test_what_a_model_file_says_is_text_and_nothing_else(kind: str) -> None:
    page = render(hostile(), kind)
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "<!--" not in page
    if kind == "markdown":
        assert not re.search(r"(?<!\\)<(?!/?(details|summary))", page)


def test_markdown_lists_what_fails_first_and_folds_the_rest(document: Document) -> None:
    text = render(document, "markdown")
    assert text.startswith("### ✅ small.t7: pass")
    assert f"<summary>all {len(document.rows)} layers</summary>" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == 2 * len(document.rows)
    assert "saved\\_model" in text or "saved_model" in text


def test_a_hundred_layers_stay_below_two_megabytes(document: Document) -> None:
    report = document.reports[0]
    rows = tuple(
        Row(
            f"{i}.{row.path}", row.type, row.shape, row.oracle, row.isolated, row.accumulated,
            thumbnail=row.thumbnail,
        )
        for i in range(-(-100 // len(report.rows)))
        for row in report.rows
    )  # fmt: skip
    assert len(rows) >= 100
    large = Document("large", (Report(rows, "input", "torch7", (), report.graph),))
    assert len(render(large, "html").encode()) < 2_000_000


def test_files_tell_their_kind(document: Document, tmp_path: Path) -> None:
    write(document, tmp_path / "a.html")
    write(document, tmp_path / "a.md")
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "a.md").read_text(encoding="utf-8").startswith("###")
    with pytest.raises(UsageError, match="ends in"):
        kind_of(tmp_path / "a.pdf")
    with pytest.raises(UsageError, match="there is no report 'pdf'"):
        require_kinds(("pdf",))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(UsageError, match="needs the package jinja2") as caught:
        require_kinds(("html",))
    assert install("jinja2") in str(caught.value)


# Conversions -------------------------------------------------------------------------------------


def test_a_conversion_writes_its_reports_into_the_folder(
    model_path: Path, tmp_path: Path, no_reload: None
) -> None:
    request = Request(model_path, tmp_path / "port", pages=("html", "markdown"))
    done = convert(request)
    page = (done.output / "report.html").read_text(encoding="utf-8")
    assert done.manifest["source"]["sha256"] in page
    assert f"<h1>{model_path.parent.name}/{model_path.name}</h1>" in page
    assert (done.output / "report.md").read_text(encoding="utf-8").startswith("### ✅")


def test_a_failed_conversion_leaves_its_reports_beside_and_nothing_else(
    model_path: Path, tmp_path: Path, registry: Registry
) -> None:
    class NoBias(SpatialConvolution):
        def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
            return self.convolve(tf, x, at)

    with registering_into(registry) as broken:
        register("nn.SpatialConvolution", override=True)(NoBias)
    request = Request(model_path, tmp_path / "port", registry=broken, pages=("html", "markdown"))
    with pytest.raises(ParityError) as caught:
        convert(request)
    assert "`bias` is left out" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "port.failed.html",
        "port.failed.md",
    ]
    page = (tmp_path / "port.failed.html").read_text(encoding="utf-8")
    assert '<p class="verdict fail">' in page
    assert "`bias` is left out" in page


# JSON --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    path = Path(__file__).parents[3] / "docs" / "report-schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_reports_follow_the_schema(
    converted: Conversion, document: Document, validator: Any
) -> None:
    for body in (
        converted.json(),
        report_json(document.reports),
        report_json(hostile().reports),
        json.loads((converted.output / "parity.json").read_text(encoding="utf-8")),
    ):
        validator.validate(json.loads(json.dumps(body)))


def test_the_schema_refuses_what_is_no_report(converted: Conversion, validator: Any) -> None:
    body = converted.json()
    for key in ("verdict", "layers", "first_diverging"):
        assert not validator.is_valid({k: v for k, v in body.items() if k != key})
    assert not validator.is_valid(body | {"schema": 2})
    assert not validator.is_valid(body | {"verdict": "maybe"})
