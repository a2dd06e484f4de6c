"""What nobody foresaw ends in one line; signals clean up; any terminal can show what is printed."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from porter.apps.stylize.stylize import StylizeResult
from porter.apps.stylize.terminal import stylized_line
from porter.cli import main as cli
from porter.errors import Unexpected, UsageError
from tests.build import FIXTURES, small_net
from tests.write_t7 import write_t7

NET = FIXTURES / "trained" / "oilpaint" / "model.t7"


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command `layers` fail."""

    def run(options: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr("porter.cli.layers.run", run)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyError("no\x1b[2Jbody"), 70, "KeyError: 'no\\x1b[2Jbody' (test_exit_codes.py, line"),
        (AssertionError(), 70, "AssertionError"),
        (ZeroDivisionError("a\nb"), 70, "ZeroDivisionError: a b"),
        (UnicodeEncodeError("ascii", "×", 0, 1, "no"), 70, "UnicodeEncodeError"),
        (MemoryError(), 2, "not enough memory"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 2, "the disk is full"),
        (RecursionError(), 2, "nested too deep"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_nobody_foresaw_is_one_line(
    error: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("PORTER_DEBUG", raising=False)
    failing(error, monkeypatch)
    assert cli.main(["layers"]) == code
    err = capsys.readouterr().err
    assert text in err
    assert "Traceback" not in err
    assert "\x1b" not in err
    assert code != Unexpected.exit_code or "please report" in err


def test_the_traceback_is_shown_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORTER_DEBUG", "1")
    failing(ValueError("x"), monkeypatch)
    assert cli.main(["layers"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_wrong_input_shape_is_a_mistake_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_t7(tmp_path / "net.t7", small_net())
    for shape in ("7x16x16", "3", "3x4x5x6x7"):
        words = ["convert", str(model), "-o", str(tmp_path / "port"), "--input-shape", shape]
        assert cli.main(words) == 2
        err = capsys.readouterr().err
        assert "the requested input does not fit the model" in err
        assert "--input-shape 1x3x" in err


def test_names_are_shown_escaped() -> None:
    line = stylized_line(
        StylizeResult(Path("a\x1b]0;x\x07.png"), Path("b\u202e.png"), (1, 1), (1, 1))
    )
    assert "\x1b" not in line.plain
    assert "\u202e" not in line.plain
    assert "\\x1b" in line.plain


def started(*words: object, **environment: str) -> subprocess.Popen[str]:
    code = "import sys; from porter.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="latin-1",
        env=os.environ | environment,
    )


def test_a_terminal_of_ascii_shows_everything(tmp_path: Path) -> None:
    """Names and signs that it has no code for become escapes, and nothing fails after writing."""
    photo = tmp_path / "é×.png"
    shutil.copy(FIXTURES / "trained" / "oilpaint" / "coffee.png", photo)
    words = ("stylize", NET, photo, "-o", tmp_path / "out.png", "--image-size", 32)
    ran = started(*words, PYTHONIOENCODING="ascii:strict", PYTHONUTF8="0")
    out, err = ran.communicate(timeout=300)
    assert ran.returncode == 0, err
    assert "\\xe9\\xd7.png" in out
    assert (tmp_path / "out.png").is_file()


def test_sigterm_cleans_up_as_ctrl_c_does(tmp_path: Path) -> None:
    """Ended while it writes: exit code 143, and nothing is left."""
    ran = started("convert", NET, "-o", tmp_path / "port")
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob(".porter-*")):
        assert ran.poll() is None, ran.stderr and ran.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    ran.send_signal(signal.SIGTERM)
    _, err = ran.communicate(timeout=200)
    assert ran.returncode == 143, err
    assert "terminated" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("interrupt", "code"), [("Terminated", 143), ("KeyboardInterrupt", 130)])
def test_an_interrupt_while_tensorflow_raises_is_an_interrupt(
    interrupt: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """pybind11 makes one RuntimeError of two exceptions; porter may have wrapped it."""

    def run(*_: object, **__: object) -> None:
        text = f"MISMATCH: ORIGINAL InvalidArgumentError REPLACED BY {interrupt}: <EMPTY MESSAGE>"
        try:
            raise RuntimeError(f"pybind11::error_already_set: {text}")
        except RuntimeError as error:
            raise UsageError("the net does not run") from error

    monkeypatch.setattr("porter.api.inspect", run)
    assert cli.main(["inspect", str(NET)]) == code
    assert "does not run" not in capsys.readouterr().err


@pytest.mark.parametrize("place", ["folder", "link", "missing/page"])
@pytest.mark.parametrize(
    ("words", "option", "suffix"),
    [
        (["check", NET.parent], "--report", ".md"),
        (["check", NET.parent], "--junit", ".xml"),
        (["diff", NET, NET], "--report", ".html"),
        (["inspect", NET], "--html", ".html"),
        (["inspect", NET], "--svg", ".svg"),
        (
            ["transfer", "--content", NET, "--style", NET, "--descriptor", NET, "-o", "x.png"],
            "--curve",
            ".png",
        ),
    ],
)
def test_files_beside_the_result_are_looked_at_before_any_work(
    words: list[object],
    option: str,
    suffix: str,
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for work in ("check", "diff", "inspect"):
        monkeypatch.setattr(f"porter.api.{work}", lambda *_, **__: pytest.fail("it began"))
    monkeypatch.setattr("porter.cli.transfer.optimised", lambda *_: pytest.fail("it began"))
    target = tmp_path / (place + suffix)
    if place == "folder":
        target.mkdir()
    if place == "link":
        target.symlink_to(tmp_path / "elsewhere")
    assert cli.main([*map(str, words), option, str(target)]) == 2
    err = capsys.readouterr().err
    assert ("no folder" if place == "missing/page" else option) in err
    assert target.name in err
    assert not (tmp_path / "elsewhere").exists()
