"""`porter view`: a page in a browser, without TensorFlow."""

from __future__ import annotations

import json
import sys
import webbrowser
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from porter.cli.main import main

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MODEL = FIXTURES / "formats" / "checkpoint.t7"


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What a browser is asked to open."""
    asked: list[str] = []

    def open_page(address: str) -> bool:
        asked.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", open_page)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return asked


def test_the_page_is_written_and_opened(
    addresses: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", str(MODEL)]) == 0
    (address,) = addresses
    page = Path(unquote(urlparse(address).path))
    assert page.name == "checkpoint.html"
    assert capsys.readouterr().out.strip() == str(page)
    assert "nn.SpatialFullConvolution" in page.read_text(encoding="utf-8")


def test_where_there_is_no_browser_the_page_is_named(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert main(["view", str(MODEL)]) == 0
    assert "there is no browser here" in capsys.readouterr().out
    assert main(["view", str(MODEL), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["opened"] is False
    assert Path(body["page"]).exists()


def test_a_file_without_modules_has_no_page(
    addresses: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", str(FIXTURES / "trained" / "digits_lenet" / "labels.t7")]) == 2
    assert "porter inspect" in capsys.readouterr().err
    assert not addresses
    assert not list(tmp_path.iterdir())


def test_no_tensorflow(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "porter.system.tensorflow", None)
    assert main(["view", str(MODEL)]) == 0
