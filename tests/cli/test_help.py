"""Help: every argument says what it is and its default, every command has two examples."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from porter.cli import glossary
from porter.cli import main as cli
from porter.cli.examples import EXAMPLES
from porter.system.extras import install

ROOT = Path(__file__).parents[2]
PARSERS = {parser.prog.split()[-1]: parser for parser in cli.subcommands(cli.parser())}


def test_every_command_is_here() -> None:
    assert tuple(PARSERS) == cli.COMMANDS == tuple(name for name in cli.COMMANDS if EXAMPLES[name])


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_argument_has_a_help_text_with_its_default(name: str) -> None:
    for action in PARSERS[name]._actions:
        assert action.help, action.dest
        takes_value = action.nargs != 0 and action.option_strings and not action.required
        if takes_value:
            assert "(default: " in action.help or "; default" in action.help, action.option_strings
        if takes_value and isinstance(action.default, int | float | str):
            assert is_stated(action.default, action.help), action.dest


def is_stated(default: float | str, text: str) -> bool:
    """Whether a help text names the default, be it as 1e-5 or as 1e-05."""
    (words,) = re.findall(r"default: ([^;)]+)", text)
    if isinstance(default, str | bool):
        return words.startswith(str(default).lower() if isinstance(default, bool) else default)
    return float(words) == float(default)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_two_examples_of_every_command_parse(name: str) -> None:
    examples = EXAMPLES[name]
    assert len(set(examples)) == 2
    for line in examples:
        program, command, *arguments = shlex.split(line)
        assert (program, command) == ("porter", name)
        PARSERS[name].parse_args(arguments)
        assert f"  {line}\n" in PARSERS[name].format_help()


def test_a_description_is_filled_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = PARSERS["transfer"].format_help()
    description = text.partition("Optimise an image")[2].partition("options:")[0]
    assert len(description.splitlines()) > 2
    assert max(len(line) for line in description.splitlines()) <= 80


def test_help_explains_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", "oracle"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("oracle: ")
    assert " ".join(shown.split()) == f"oracle: {glossary.WORDS['oracle']}"
    assert cli.main(["help", "layer", "map"]) == cli.main(["help", "Layer-Map"]) == 0


def test_help_lists_all_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help"]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert all(word in listed for word in glossary.WORDS)


def test_help_of_a_command_is_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["help", "convert"])
    assert stopped.value.code == 0
    assert "usage: porter convert" in capsys.readouterr().out


def test_an_unknown_word_exits_with_2_and_names_similar_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["help", "oracel"]) == 2
    assert "similar words: oracle" in capsys.readouterr().err
    assert cli.main(["help", "zzz"]) == 2
    assert "`porter help` lists all words" in capsys.readouterr().err


def test_the_glossary_of_the_docs_is_current() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert text == glossary.as_markdown()


@pytest.mark.parametrize(
    "word", ["oracle", "isolated", "accumulated", "preset", "descriptor", "scale", "noise"]
)
def test_words_of_the_readme_are_explained(word: str) -> None:
    assert word in glossary.WORDS


def test_options_named_in_the_glossary_exist() -> None:
    options = {
        option
        for parser in PARSERS.values()
        for a in parser._actions
        for option in a.option_strings
    }
    for text in glossary.WORDS.values():
        assert set(re.findall(r"--[a-z-]+", text)) <= options


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_prints_a_script_with_every_command(
    capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    pytest.importorskip("shtab")
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in cli.COMMANDS)
    assert "--input-shape" in script


def test_bash_reads_the_script(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    assert cli.main(["completion", "bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    done = subprocess.run(
        [bash, "-c", f"source {script} && complete -p porter"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "porter" in done.stdout


def test_completion_without_shtab_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "bash"]) == 2
    assert install("shtab") in capsys.readouterr().err
