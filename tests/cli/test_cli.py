"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import ast
import gzip
import io
import json
import pickle
import shlex
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter import Conversion
from porter.cli import main as cli
from porter.conversion.summary import one_line, summary
from porter.errors import UsageError
from porter.frontend.module_tree import as_extended, containers_like, require_mapped
from porter.ir.registry import load_layer_maps, with_identity
from porter.layer_maps import default_registry
from porter.version import VERSION
from tests.build import (
    FIXTURES,
    conv,
    linear,
    parallel_table,
    randn,
    relu,
    sequential,
    table,
    torch_module,
)
from tests.write_t7 import unknown_object, write_t7

ROOT = Path(__file__).parents[2]
FORMATS = FIXTURES / "formats"
OILPAINT = FIXTURES / "trained" / "oilpaint" / "model.t7"
PHOTO = FIXTURES / "trained" / "oilpaint" / "chelsea.png"
COMMANDS = (
    *("inspect", "convert", "weights", "stylize", "diff", "check", "record", "layers", "scaffold"),
    *("transfer", "train", "synthesize", "help", "completion"),
)


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Porter:
    """Calls `cli.main` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Ran:
        try:
            code = cli.main([str(each) for each in arguments])
        except SystemExit as stop:  # argparse
            code = int(stop.code or 0)
        shown = self.capsys.readouterr()
        assert "Traceback" not in shown.err
        return Ran(code, shown.out, shown.err)


@pytest.fixture
def porter(capsys: pytest.CaptureFixture[str]) -> Porter:
    return Porter(capsys)


def python(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter in the repository root."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", **variables},
    )


# Help ---------------------------------------------------------------------------------------------


def test_help_names_every_command(porter: Porter) -> None:
    ran = porter("--help")
    assert ran.code == 0
    for command in COMMANDS:
        assert command in ran.out
    assert "Exit codes" in ran.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(porter: Porter, command: str) -> None:
    ran = porter(command, "--help")
    assert ran.code == 0
    assert f"usage: porter {command}" in ran.out


def test_version(porter: Porter) -> None:
    ran = porter("--version")
    assert ran.code == 0
    assert ran.out == f"porter {VERSION}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("transmogrify",),
        ("inspect",),
        ("convert", "x.t7", "--data-format", "diagonal"),
        ("inspect", "x.t7", "--bn", "sometimes"),
        ("check", "x", "--isolated", "small"),
    ],
)
def test_wrong_usage_exits_with_2(porter: Porter, arguments: tuple[str, ...]) -> None:
    ran = porter(*arguments)
    assert ran.code == 2
    assert "usage: porter" in ran.err


def test_the_bare_command_shows_the_commands(porter: Porter) -> None:
    ran = porter()
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == porter("--help").out


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("convrt", "x.t7"), "convert"),
        (("convert", "x.t7", "--formt", "keras"), "--format"),
        (("convert", "x.t7", "--formt=keras"), "--format"),
        (("inspect", "x.t7", "--bn", "evalate"), "evaluate"),
        (("stylize", "x.t7", "a.png", "-o", "b.png", "--skip-exsting"), "--skip-existing"),
        (("convert", str(OILPAINT), "--format", "saved_model,wep"), "web"),
        (("convert", str(OILPAINT), "--report", "htm"), "html"),
        (("stylize", str(OILPAINT), str(PHOTO), "-o", "x", "--preset", "plane"), "plain"),
    ],
)
def test_a_mistyped_word_gets_a_suggestion(
    porter: Porter, arguments: tuple[str, ...], meant: str
) -> None:
    ran = porter(*arguments)
    assert ran.code == 2
    assert f": did you mean {meant}?" in ran.err


def test_an_option_of_another_command_is_shown_with_the_usage_of_this_one(porter: Porter) -> None:
    ran = porter("inspect", "x.t7", "--quantised-psnr", "3")
    assert ran.code == 2
    assert "usage: porter inspect" in ran.err
    assert "unrecognized arguments: --quantised-psnr 3\n" in ran.err


# inspect ------------------------------------------------------------------------------------------


def test_inspect_shows_format_classes_and_shapes(porter: Porter, model_path: Path) -> None:
    ran = porter("inspect", model_path)
    assert (ran.code, ran.err) == (0, "")
    assert "Torch7 binary, 8-byte longs" in ran.out
    assert "nn.SpatialConvolution ×3" in ran.out
    assert "(an example; free: batch, height, width)" in ran.out
    (line,) = (line for line in ran.out.splitlines() if line.startswith("3.1 "))
    assert line.split()[:3] == ["3.1", "nn.SpatialConvolution", "1×4×19×27"]


def test_inspect_as_json(porter: Porter, model_path: Path) -> None:
    ran = porter("inspect", model_path, "--json", "--input-shape", "3x10x12")
    report = ran.json
    assert report["format"] == "binary, 8-byte longs"
    assert report["bytes"] == model_path.stat().st_size
    assert report["classes"] == {"nn.SpatialConvolution": 3, "nn.Sequential": 2, "nn.ReLU": 2}
    assert report["parameters"] == 4 * 27 + 4 + 4 * 36 + 4 + 2 * 4 + 2
    assert report["unmapped"] == {}
    assert report["input"] == "1×3×10×12"
    assert report["input_note"] == "as given; free: batch, height, width"
    assert [(line["path"], line["shape"]) for line in report["modules"]] == [
        ("", "1×2×5×6"),
        ("1", "1×4×10×12"),
        ("2", "1×4×10×12"),
        ("3", "1×4×5×6"),
        ("3.1", "1×4×5×6"),
        ("3.2", "1×4×5×6"),
        ("4", "1×2×5×6"),
    ]


@pytest.mark.parametrize("name", ["model_ascii", "model_b32", "model_cuda", "model_nngraph"])
def test_inspect_opens_every_format(porter: Porter, name: str) -> None:
    ran = porter("inspect", FORMATS / f"{name}.t7", "--json")
    assert ran.code == 0
    assert ran.json["parameters"] > 0


@pytest.mark.parametrize("name", ["checkpoint", "checkpoint_cuda_unversioned"])
def test_inspect_finds_the_model_in_a_checkpoint(porter: Porter, name: str) -> None:
    ran = porter("inspect", FORMATS / f"{name}.t7", "--json")
    assert ran.code == 0
    assert ran.json["selected"]
    assert ran.json["selected"] in ran.json["wrapper"]
    assert len(ran.json["wrapper"]) > 1


def test_several_modules_are_listed(porter: Porter) -> None:
    path = FORMATS / "checkpoint_two_models.t7"
    ran = porter("inspect", path)
    assert (ran.code, ran.err) == (0, "")
    assert "2 modules" in ran.out
    command = shlex.split(ran.out.partition("for example: porter ")[2])
    assert porter(*command).code == 0
    for each in porter("inspect", path, "--json").json["modules"]:
        assert each["type"].startswith("nn.")
        assert each["path"] in ran.out


def test_several_modules_ask_for_select(porter: Porter, tmp_path: Path) -> None:
    path = FORMATS / "checkpoint_two_models.t7"
    assert porter("inspect", path, "--svg", tmp_path / "x.svg").code == 2
    ran = porter("convert", path, "-o", tmp_path / "port")
    assert ran.code == 2
    assert "holds 2 modules" in ran.err
    assert list(tmp_path.iterdir()) == []
    command = shlex.split(ran.err.partition("for example: porter ")[2])
    assert porter("inspect", *command[1:2], *command[-2:]).code == 0
    command = shlex.split(ran.err.partition("for example: porter ")[2])
    assert porter(*command).code == 0
    assert "--select" in ran.err
    listed = [line.split(":")[0].strip() for line in ran.err.splitlines() if ": nn." in line]
    assert len(listed) == 2
    for key in listed:
        chosen = porter("inspect", path, "--json", "--select", key)
        assert chosen.code == 0
        assert chosen.json["selected"] == key


def test_a_module_that_is_not_there_lists_those_that_are(porter: Porter) -> None:
    ran = porter("inspect", FORMATS / "checkpoint_two_models.t7", "--select", "nowhere")
    assert ran.code == 2
    assert "holds no module at 'nowhere'" in ran.err
    assert "nn." in ran.err


OBJECTS = FIXTURES / "field" / "objects"


@pytest.mark.parametrize(
    ("name", "arrays"),
    [
        ("params_only", {"tensor": [15]}),
        ("tensor_list", {"1": [2, 2], "2": [3]}),
        ("crnn_like", {"bnVars.1": [3], "parameters.1": [3, 4], "parameters.2": [3]}),
    ],
)
def test_files_without_a_module_are_inspected_and_written(
    porter: Porter, tmp_path: Path, name: str, arrays: dict[str, list[int]]
) -> None:
    path = OBJECTS / f"{name}.t7"
    shown = porter("inspect", path)
    assert shown.code == 0
    assert "no Torch module" in shown.out
    listed = porter("inspect", path, "--json").json["contents"]
    assert set(arrays) - {"tensor"} <= set(listed)
    written = porter("weights", path, "-o", tmp_path / "w.npz", "--json")
    assert written.code == 0
    assert {key: each["shape"] for key, each in written.json["arrays"].items()} == arrays
    assert porter("convert", path, "-o", tmp_path / "port").code == 3
    assert not (tmp_path / "port").exists()


def test_a_file_without_tensors_or_modules_has_no_weights_and_no_drawing(
    porter: Porter, tmp_path: Path
) -> None:
    path = write_t7(tmp_path / "numbers.t7", table(1, 2))
    assert porter("weights", path, "-o", tmp_path / "w.npz").code == 2
    assert porter("inspect", path, "--svg", tmp_path / "x.svg").code == 2
    assert sorted(each.name for each in tmp_path.iterdir()) == ["numbers.t7"]


def test_a_module_is_selected_inside_a_container(porter: Porter, tmp_path: Path) -> None:
    path = unknown_object(tmp_path / "model.t7")
    ran = porter("convert", path)
    assert ran.code == 2
    assert "model.maskBranch: nn.Sequential" in ran.err
    assert "choose one with --select PATH" in ran.err
    ran = porter("inspect", path, "--select", "model.trunk.1-2", "--json")
    assert ran.code == 0
    assert list(ran.json["classes"]) == ["nn.Sequential", "cudnn.SpatialConvolution", "cudnn.ReLU"]


def test_inspect_shows_unmapped_classes_and_goes_on(porter: Porter) -> None:
    ran = porter("inspect", FORMATS / "model_unknown_user_class.t7", "--json")
    assert ran.code == 0
    assert ran.json["unmapped"]
    assert any(not line["mapped"] for line in ran.json["modules"])


def test_inspect_tells_lua_functions_and_does_not_run_them(porter: Porter) -> None:
    ran = porter("inspect", FORMATS / "model_with_function_fields.t7")
    assert ran.code == 0
    assert "never executed" in ran.out


HOSTILE = ("\x1b[31mRed\x1b]0;title\x07", "\u202egnp.t7", "[bold]x[/bold]", "\udcff\x85")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_strings_of_a_file_are_shown_harmlessly(
    porter: Porter, tmp_path: Path, hostile: str, form: str
) -> None:
    net = sequential(torch_module("my.[red]Net", **{hostile: hostile}, size=hostile))
    path = write_t7(tmp_path / "m.t7", table(**{hostile: net}, note=hostile))
    for command in (("inspect",), ("convert", "-o", tmp_path / "out")):
        ran = porter(*command, path, *(["--json"] if form == "json" else []))
        assert ran.code == (0 if command[0] == "inspect" else 4)
        shown = ran.out + ran.err
        assert not any(c in shown for c in "\x1b\x07\u202e\udcff\x85")
        assert "my.[red]Net" in shown
        if "bold" in hostile:
            assert hostile in shown


def test_a_port_of_a_model_under_a_hostile_key_is_written(
    porter: Porter, tmp_path: Path, no_reload: None
) -> None:
    key = "\udcff\x1b"
    path = write_t7(tmp_path / "m.t7", table(**{key: sequential(conv(3, 2))}, other=conv(3, 2)))
    ran = porter("convert", path, "-o", tmp_path / "out", "--select", key)
    assert ran.code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["source"]["selected"] == key


# Errors -------------------------------------------------------------------------------------------


def test_unknown_classes_exit_with_4_and_say_what_to_do(porter: Porter, tmp_path: Path) -> None:
    net = sequential(relu(), sequential(torch_module("my.Net", size=3)))
    path = write_t7(tmp_path / "net.t7", net)
    ran = porter("convert", path, "-o", tmp_path / "out")
    assert ran.code == 4
    for part in (
        "my.Net ×1 at 2.1",
        "size: the number 3",
        f"`porter scaffold my.Net --from {path} -o maps.py`",
        "--layer-maps maps.py",
        "--identity my.Net",
    ):
        assert part in ran.err
    assert not (tmp_path / "out").exists()


def test_an_error_as_json(porter: Porter, tmp_path: Path) -> None:
    path = write_t7(tmp_path / "net.t7", sequential(torch_module("my.Net")))
    ran = porter("convert", path, "-o", tmp_path / "out", "--json")
    assert ran.code == 4
    error = ran.json["error"]
    assert set(error) == {"type", "message", "where", "received", "hint", "exit_code"}
    assert error["type"] == "UnmappedModules"
    assert error["exit_code"] == 4


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    return content.getvalue()


WRONG = {
    "pickle": (pickle.dumps({"weight": 1}, 2), "pickle"),
    "zip": (zipped(), "PyTorch checkpoint"),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "gzip": (gzip.compress(b"model"), "gzip"),
    "bytecode": (b"\x1bLJ\x02\x0a", "LuaJIT bytecode"),
    "text": (b"Dear reviewer, this is no model.\n", "text file"),
    "truncated": ((FORMATS / "model_binary.t7").read_bytes()[:3000], "file ends inside"),
    "empty": (b"", "empty file"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_files_exit_with_3_and_are_named(porter: Porter, tmp_path: Path, kind: str) -> None:
    content, expected = WRONG[kind]
    path = tmp_path / "model.t7"
    path.write_bytes(content)
    for command in (["inspect"], ["convert", "-o", str(tmp_path / "out")]):
        ran = porter(*command, path)
        assert ran.code == 3
        assert expected in ran.err
        assert str(path) in ran.err
        assert ran.out == ""
    assert [each.name for each in tmp_path.iterdir()] == ["model.t7"]


@pytest.mark.parametrize("command", ["inspect", "convert"])
def test_a_missing_file_exits_with_3(porter: Porter, tmp_path: Path, command: str) -> None:
    ran = porter(command, tmp_path / "none.t7")
    assert ran.code == 3
    assert "no such file" in ran.err


def test_inspect_survives_every_hostile_file(porter: Porter) -> None:
    for path in sorted((FIXTURES / "hostile").glob("*.t7")):
        ran = porter("inspect", path, "--json")
        assert ran.code in (0, 2, 3, 4), path
        assert ("error" in ran.json) is (ran.code != 0), path


def test_a_recording_is_not_taken_for_a_model(porter: Porter) -> None:
    path = FIXTURES / "nets" / "lenet_mm_tanh" / "activations.t7"
    ran = porter("convert", path)
    assert ran.code == 3
    assert "--reference" in ran.err
    shown = porter("inspect", path)
    assert (shown.code, shown.err) == (0, "")
    assert "recorded activations" in shown.out
    assert "nn.Tanh: a torch.FloatTensor of 6x28x28" in shown.out
    assert "--reference" in shown.out


def test_a_folder_in_place_of_a_model_names_the_file(porter: Porter) -> None:
    folder = FIXTURES / "zoo" / "dqn"
    ran = porter("inspect", folder)
    assert ran.code == 3
    assert f"Name the file in it: {folder / 'model.t7'}" in ran.err


@pytest.mark.parametrize(("name", "multiple"), [("linknet", 32), ("enet", 8), ("vrn", 8)])
def test_the_multiples_that_a_net_takes_are_told(porter: Porter, name: str, multiple: int) -> None:
    ran = porter("inspect", FIXTURES / "zoo" / name / "model.t7", "--json")
    assert ran.json["input_note"].endswith(f"; height and width in multiples of {multiple}")


@pytest.mark.parametrize("shape", ["3x", "0x3x4", "-1x2", "big", "3x4.5", "²"])
def test_a_shape_that_is_none_exits_with_2(porter: Porter, model_path: Path, shape: str) -> None:
    ran = porter("inspect", model_path, f"--input-shape={shape}")
    assert ran.code == 2
    assert "positive integers joined by x" in ran.err


@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_a_tolerance_that_is_none_exits_with_2(
    porter: Porter, model_path: Path, tmp_path: Path, value: str
) -> None:
    ran = porter("convert", model_path, "-o", tmp_path / "out", f"--isolated={value}")
    assert ran.code == 2
    assert "positive number" in ran.err


# convert ------------------------------------------------------------------------------------------


def test_brackets_in_paths_are_no_markup(porter: Porter, model_path: Path, tmp_path: Path) -> None:
    source = tmp_path / "[red]m[" / "b].t7"  # m[/b] would end a style that never began
    source.parent.mkdir()
    source.write_bytes(model_path.read_bytes())
    assert str(source) in porter("inspect", source).out.replace("\n", "")
    ran = porter("diff", source, source)
    assert ran.code == 0
    ran = porter("convert", source, "-o", tmp_path / "none", "--isolated", "1e-12")
    assert ran.code == 1
    assert str(source) in porter("inspect", f"{source}x").err


def test_an_existing_output_exits_with_2(
    porter: Porter, model_path: Path, converted: Conversion
) -> None:
    ran = porter("convert", model_path, "-o", converted.output)
    assert ran.code == 2
    assert "already exists" in ran.err
    assert "--force" in ran.err


def test_an_output_that_cannot_be_written_exits_with_2(
    porter: Porter, model_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    ran = porter("convert", model_path, "-o", tmp_path / "file" / "port")
    assert ran.code == 2
    assert "cannot be written" in ran.err


def test_a_port_that_is_not_good_enough_exits_with_1(
    porter: Porter, model_path: Path, tmp_path: Path
) -> None:
    arguments = ("convert", model_path, "-o", tmp_path / "out", "--isolated", "1e-12")
    ran = porter(*arguments)
    assert ran.code == 1
    assert "nothing was written" in ran.err
    assert "1 (nn.SpatialConvolution), on input " in ran.err
    assert "fail" in ran.out
    ran = porter(*arguments, "--json")
    assert ran.code == 1
    assert ran.json["verdict"] == "fail"
    assert ran.json["first_diverging"] == "1"
    assert ran.json["error"]["type"] == "ParityError"
    assert not (tmp_path / "out").exists()


def test_convert_in_a_process_of_its_own_is_quiet(model_path: Path, tmp_path: Path) -> None:
    """TensorFlow's log must not reach the user, whatever it would say."""
    ran = python("cli.py", "convert", model_path, "-o", tmp_path / "out", "-v")
    assert ran.returncode == 0, ran.stderr
    assert "parity: pass on 3 inputs" in ran.stdout
    assert "nn.SpatialConvolution" in ran.stdout
    assert "×noise" in ran.stdout
    for noise in ("tensorflow/", "TF-TRT", "cuda", "oneDNN", "WARNING", "absl", "I0000"):
        assert noise not in ran.stderr, ran.stderr
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_a_screen_holds_what_convert_prints(
    porter: Porter, model_path: Path, tmp_path: Path, no_reload: None
) -> None:
    ran = porter("convert", model_path, "-o", tmp_path / "out")
    assert ran.code == 0
    rows = [max(1, -(-len(line) // 80)) for line in ran.out.splitlines()]
    assert sum(rows) <= 24
    assert "parity: pass on 3 inputs and 5 layers; oracle: numpy float64" in ran.out
    assert "worst layer: " in ran.out
    assert "×noise" not in ran.out
    assert "next, in Python:" in ran.out


def test_quiet_is_one_line_and_verbose_the_whole_table(
    porter: Porter, model_path: Path, tmp_path: Path, no_reload: None
) -> None:
    ran = porter("convert", model_path, "-o", tmp_path / "one", "--quiet")
    (line,) = ran.out.splitlines()
    assert line.startswith("parity: pass on 3 inputs")
    assert line.endswith(f"written: {tmp_path / 'one'}")
    assert ran.err == ""
    ran = porter("convert", model_path, "-o", tmp_path / "all", "--verbose")
    for path in ("1", "2", "3.1", "3.2", "4"):
        assert any(line.startswith(f"{path} ") for line in ran.out.splitlines())
    assert porter("convert", model_path, "-v", "-q").code == 2


def test_the_next_command_of_a_net_that_makes_images_is_stylize(oilpaint: Conversion) -> None:
    text = oilpaint.summary().splitlines()[-1]
    assert text == f"next: porter stylize {oilpaint.output} photo.png -o result.png"


def test_the_next_lines_of_another_net_run(converted: Conversion) -> None:
    text = converted.summary().partition("next, in Python:\n")[2]
    lines = textwrap.dedent(text)
    assert len(lines.splitlines()) == 3
    scope: dict[str, Any] = {"input": np.zeros((1, 6, 8, 3), np.float32)}
    exec(lines, scope)
    assert scope["output"].shape == (1, 3, 4, 2)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, []), (3, ["w0", "w1", "w2"]), (5, ["w0", "w1", "w2", "and 2 more, in manifest.json"])],
)
def test_the_first_three_warnings_are_shown_and_the_others_counted(
    converted: Conversion, count: int, shown: list[str]
) -> None:
    warnings = [f"w{number}" for number in range(count)]
    warned = replace(converted, manifest={**converted.manifest, "warnings": warnings})
    lines = [line for line in warned.summary().splitlines() if line.startswith("warning: ")]
    assert lines == [f"warning: {each}" for each in shown]
    assert summary(warned, every_warning=True).count("warning: ") == count
    assert (f"; {count} warnings;" in one_line(warned)) == (count > 0)


def test_a_failure_shows_the_layers_that_fail(
    porter: Porter, model_path: Path, tmp_path: Path
) -> None:
    arguments = ("convert", model_path, "-o", tmp_path / "out", "--isolated", "1e-12")
    short, long = porter(*arguments), porter(*arguments, "-v")
    assert (short.code, long.code) == (1, 1)
    assert "layers fail" in short.out
    assert "-v shows every layer" in short.out
    assert "-v shows every layer" not in long.out
    assert porter(*arguments, "-q").out == ""


# diff ---------------------------------------------------------------------------------------------


def test_diff_of_a_model_and_its_port(
    porter: Porter, model_path: Path, converted: Conversion, no_reload: None
) -> None:
    ran = porter("diff", model_path, converted.output, "--json")
    assert ran.code == 0
    assert ran.json["verdict"] == "pass"


def test_diff_names_the_first_diverging_layer(
    porter: Porter, model_path: Path, tmp_path: Path
) -> None:
    other = write_t7(tmp_path / "other.t7", sequential(conv(3, 4, pad=1, seed=55)))
    ran = porter("diff", model_path, other)
    assert ran.code == 1
    assert "first diverging: 1 (nn.SpatialConvolution): isolated error" in ran.out
    assert "isolated  accumulated" in ran.out
    (line,) = porter("diff", model_path, other, "--quiet").out.splitlines()
    assert line.startswith("first diverging: 1 (nn.SpatialConvolution): isolated error")
    ran = porter("diff", model_path, other, "--json")
    assert ran.code == 1
    assert ran.json["first_diverging"] == "1"


def test_diff_of_the_same_is_a_line_unless_the_table_is_asked_for(
    porter: Porter, model_path: Path
) -> None:
    ran = porter("diff", model_path, model_path)
    (line,) = ran.out.splitlines()
    assert line.startswith("the same, by model (numpy float64): 5 layers; worst layer: ")
    assert "×noise" in porter("diff", model_path, model_path, "-v").out


def test_diff_of_something_else(porter: Porter, model_path: Path, tmp_path: Path) -> None:
    assert porter("diff", model_path, tmp_path).code == 2
    assert porter("diff", model_path, tmp_path / "none.t7").code == 3


# check --------------------------------------------------------------------------------------------


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """One layer that passes, one that fails, one that is unmapped."""
    folder, x = tmp_path / "cases", randn(2, 3)
    folder.mkdir()
    for name, module, y in (
        ("fails", relu(), x),
        ("passes", relu(), x.clip(0)),
        ("unmapped", torch_module("my.Net"), x),
    ):
        write_t7(folder / f"{name}.t7", table(module=module, input=x, output=y))
    return folder


def test_check_shows_every_fixture_and_the_counts(porter: Porter, cases: Path) -> None:
    ran = porter("check", cases)
    assert ran.code == 1
    assert ran.out.splitlines()[-1] == "1 pass, 1 fail, 1 unmapped, 0 error"
    assert porter("check", cases / "passes.t7").code == 0
    assert porter("check", cases / "unmapped.t7").code == 4


def test_check_as_json_and_junit(porter: Porter, cases: Path, tmp_path: Path) -> None:
    ran = porter("check", cases, "--json", "--junit", tmp_path / "report.xml")
    assert ran.code == 1
    assert set(ran.json) == {"results", "summary"}
    assert ran.json["summary"] == {"pass": 1, "fail": 1, "unmapped": 1, "error": 0}
    assert [result["status"] for result in ran.json["results"]] == ["fail", "pass", "unmapped"]
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")


def test_check_takes_identity_and_tells_an_empty_folder(
    porter: Porter, cases: Path, tmp_path: Path
) -> None:
    assert porter("check", cases / "unmapped.t7", "--identity", "my.Net").code == 0
    (tmp_path / "empty").mkdir()
    ran = porter("check", tmp_path / "empty")
    assert ran.code == 2
    assert f"{tmp_path / 'empty'}: no fixtures were found" in ran.err
    assert "model.t7 with activations.t7" in ran.err
    assert porter("check", tmp_path / "none").code == 2


# record, layers -----------------------------------------------------------------------------------


def test_record_prints_or_writes_the_script(porter: Porter, tmp_path: Path) -> None:
    ran = porter("record")
    assert ran.code == 0
    assert "torch7-activations" in ran.out
    assert porter("record", "-o", tmp_path / "record.lua").code == 0
    assert porter("record", "-o", tmp_path / "record.lua").code == 2
    assert porter("record", "-o", tmp_path / "record.lua", "--force").code == 0
    assert (tmp_path / "record.lua").read_text(encoding="utf-8") == ran.out
    assert porter("record", "-o", tmp_path / "none" / "record.lua").code == 2


@pytest.mark.parametrize("name", ["nn.ReLU", "ReLU", "nn.relu"])
def test_layers_shows_one_class(porter: Porter, name: str) -> None:
    (row,) = porter("layers", name, "--json").json["layers"]
    assert row["typename"] == "nn.ReLU"


def test_a_class_that_is_not_there_names_similar_ones(porter: Porter) -> None:
    ran = porter("layers", "nn.SpatialConvoluton")
    assert ran.code == 2
    assert "nn.SpatialConvolution" in ran.err
    assert "porter scaffold" in porter("layers", "zzz").err


def test_layers_lists_every_class(porter: Porter) -> None:
    ran = porter("layers", "--json")
    assert ran.code == 0
    assert ran.json["classes"] == len(ran.json["layers"]) == len(default_registry().handlers)
    assert "nn.SpatialConvolution" in porter("layers").out
    markdown = porter("layers", "--markdown").out.splitlines()
    assert len(markdown) == ran.json["classes"] + 2
    assert {line.count(" | ") for line in markdown if "\\|" not in line} == {5, 0}


# Layer maps of the user ---------------------------------------------------------------------------

DOUBLE = '''
import numpy as np
from porter.ir.layer_map import LayerMap
from porter.ir.registry import register

@register("my.Double")
class Double(LayerMap):
    """2 x."""
    def reference(self, x):
        return x + x
    def apply(self, tf, x, at):
        return tf.multiply(x, 2)
'''


@pytest.fixture
def doubled(tmp_path: Path) -> Path:
    """A case of a class that only the user knows."""
    x = randn(2, 3)
    module = torch_module("my.Double", factor=2)
    return write_t7(tmp_path / "case.t7", table(module=module, input=x, output=2 * x))


def maps(folder: Path, source: str) -> Path:
    path = folder / "my_maps.py"
    path.write_text(source, encoding="utf-8")
    return path


def test_a_map_of_the_user_is_used(porter: Porter, doubled: Path, tmp_path: Path) -> None:
    assert porter("check", doubled).code == 4
    assert porter("check", doubled, "--layer-maps", maps(tmp_path, DOUBLE)).code == 0
    assert "my.Double" not in default_registry()


@pytest.mark.parametrize(
    ("source", "line", "expected"),
    [
        ("x = 1\ndef broken(:\n", 2, "SyntaxError"),
        ("x = 1\ny = 2\nz = x / 0\n", 3, "ZeroDivisionError"),
        ("\nimport no_such_module_of_anybody\n", 2, "ModuleNotFoundError"),
        ("def f():\n    raise ValueError('in a function')\n\nf()\n", 2, "in a function"),
    ],
)
def test_an_error_in_the_users_file_points_there(
    porter: Porter, doubled: Path, tmp_path: Path, source: str, line: int, expected: str
) -> None:
    path = maps(tmp_path, source)
    ran = porter("check", doubled, "--layer-maps", path)
    assert ran.code == 2
    assert f"{path}:{line}" in ran.err
    assert expected in ran.err


def test_a_class_that_is_mapped_twice_is_refused(
    porter: Porter, doubled: Path, tmp_path: Path
) -> None:
    twice = DOUBLE.replace("my.Double", "nn.ReLU")
    ran = porter("check", doubled, "--layer-maps", maps(tmp_path, twice))
    assert ran.code == 2
    assert "nn.ReLU is already mapped in" in ran.err
    assert "activation.py:" in ran.err
    assert "my_maps.py:" in ran.err
    assert "override=True" in ran.err


def test_a_class_may_be_replaced_on_purpose(porter: Porter, tmp_path: Path) -> None:
    x = randn(2, 3)
    case = write_t7(tmp_path / "case.t7", table(module=relu(), input=x, output=2 * x))
    assert porter("check", case).code == 1
    source = DOUBLE.replace('"my.Double"', '"nn.ReLU", override=True')
    assert porter("check", case, "--layer-maps", maps(tmp_path, source)).code == 0
    assert porter("check", case).code == 1


def test_a_missing_file_of_maps_is_reported(porter: Porter, doubled: Path, tmp_path: Path) -> None:
    ran = porter("check", doubled, "--layer-maps", tmp_path / "none.py")
    assert ran.code == 2
    assert "no such file of layer maps" in ran.err


def test_identity_is_noted(porter: Porter, tmp_path: Path) -> None:
    path = write_t7(tmp_path / "net.t7", sequential(conv(3, 4), torch_module("my.Net")))
    ran = porter("inspect", path, "--json", "--identity", "my.Net")
    assert ran.code == 0
    assert ran.json["unmapped"] == {}
    assert ran.json["notes"] == {"2": "identity, as asked for"}


# scaffold -----------------------------------------------------------------------------------------


def test_a_scaffold_compiles_and_registers(porter: Porter, doubled: Path, tmp_path: Path) -> None:
    net = sequential(
        torch_module(
            "my.Layer-2",
            weight=randn(4, 3),
            bias=randn(4),
            scale=2,
            mode="fast",
            train=True,
            inplace=False,
            inner=relu(),
            options=table(a=1),
            **{"odd name": 3, "class": 4, "quote": 'a"b\\\n'},
        )
    )
    path = write_t7(tmp_path / "net.t7", net)
    ran = porter("scaffold", "my.Layer-2", "--from", path)
    assert ran.code == 0
    ast.parse(ran.out)
    written = tmp_path / "my_layer.py"
    assert porter("scaffold", "my.Layer-2", "--from", path, "-o", written).code == 0
    assert written.read_text(encoding="utf-8") == ran.out
    registry = load_layer_maps(written, default_registry())
    assert "my.Layer-2" in registry
    assert {"weight", "bias", "scale", "mode"} <= set(registry.layer_maps()["my.Layer-2"].fields())
    written.write_text("mine")
    again = porter("scaffold", "my.Layer-2", "--from", path, "-o", written)
    assert again.code == 2
    assert "already exists" in again.err
    assert written.read_text() == "mine"


def test_a_scaffold_for_a_class_that_porter_knows_replaces_its_map(
    porter: Porter, tmp_path: Path
) -> None:
    for name, module in (("nn.Tanh", torch_module("nn.Tanh")), ("nn.Concat", sequential())):
        module.typename = name
        path = write_t7(tmp_path / "net.t7", sequential(module))
        written = tmp_path / "maps.py"
        assert porter("scaffold", name, "--from", path, "-o", written, "--force").code == 0
        known = default_registry()
        assert load_layer_maps(written, known)[name] is not known[name]


@pytest.fixture
def subclass(tmp_path: Path) -> Path:
    """A net whose class extends nn.Sequential, as its script calls it."""
    inner = torch_module("nn.MyBlock", modules=[conv(4, 4, 3), relu()], dimension=2)
    net = torch_module("nn.MyNet", modules=[conv(3, 4, 3), relu(), inner], extra="hello")
    return write_t7(tmp_path / "subclass.t7", net)


def test_a_class_is_treated_as_a_known_one(porter: Porter, subclass: Path) -> None:
    ran = porter("convert", subclass, "-o", subclass.with_name("port"))
    assert ran.code == 4
    assert "--map nn.MyBlock=nn.Concat --map nn.MyNet=nn.Sequential" in ran.err
    pairs = ("--map", "nn.MyNet=nn.Sequential", "--map", "nn.MyBlock=nn.MyNet")
    shown = porter("inspect", subclass, *pairs, "--json").json
    assert shown["unmapped"] == {}
    assert [line["type"] for line in shown["modules"]][:2] == [
        "nn.MyNet",
        "nn.SpatialConvolution",
    ]
    assert shown["notes"]["3"] == "treated as nn.Sequential, as asked for"
    assert shown["modules"][0]["shape"]


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("nn.MyNet", "--map nn.MyNet=nn.Sequential"),
        ("=nn.Sequential", "--map CLASS=KNOWN"),
        ("nn.MyNet=nn.Sequentail", "similar names: nn.Sequential"),
        ("nn.MyNet=qqq", "`porter layers` lists all"),
    ],
)
def test_a_class_is_not_treated_as_an_unknown_one(
    porter: Porter, subclass: Path, pair: str, said: str
) -> None:
    ran = porter("inspect", subclass, "--map", pair)
    assert ran.code == 2
    assert said in ran.err


@pytest.mark.parametrize(
    ("fields", "guess"),
    [
        ({"output": randn(1)}, "nn.Sequential"),
        ({"output": table(), "gradInput": randn(1)}, "nn.ConcatTable"),
        ({"output": table(), "gradInput": table()}, "nn.ParallelTable"),
        ({"dimension": 2}, "nn.Concat"),
        ({"inputDimension": 1, "outputDimension": 2}, "nn.Parallel"),
        ({"forwardnodes": []}, "nn.gModule"),
    ],
)
def test_the_class_that_a_container_may_extend_is_guessed(
    fields: dict[str, Any], guess: str
) -> None:
    assert containers_like(torch_module("my.Net", modules=[relu(), relu()], **fields)) == (guess,)


def test_several_classes_are_named_where_the_fields_do_not_tell_which_is_extended() -> None:
    said = as_extended(torch_module("my.Net", modules=[relu(), relu()]))
    assert said == (
        "`map=my.Net=nn.Sequential` (or nn.ConcatTable, nn.ParallelTable: whichever it extends)"
    )


def test_a_command_with_shapes_that_nothing_tells_is_a_template(
    porter: Porter, tmp_path: Path
) -> None:
    branches = parallel_table(linear(5, 3), torch_module("nn.Exp"))
    net = sequential(branches, torch_module("nn.JoinTable", dimension=3))
    path = write_t7(tmp_path / "model.t7", net)
    ran = porter("convert", path, "-o", tmp_path / "port")
    assert ran.code == 2
    assert "Received: Nx5, SHAPE_2" in ran.err
    to_fill_in = f"porter convert {path} -o {tmp_path / 'port'}"
    assert f"to fill in: {to_fill_in} --input-shape Nx5 --input-shape SHAPE_2" in ran.err


def test_identity_does_not_empty_a_net(porter: Porter, subclass: Path) -> None:
    ran = porter("convert", subclass, "--identity", "nn.MyNet", "-o", subclass.with_name("port"))
    assert ran.code == 2
    assert "the root (nn.MyNet): nn.MyNet is no identity: it holds 3 module(s)" in ran.err
    assert "--map nn.MyNet=nn.Sequential" in ran.err
    assert not subclass.with_name("port").exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"weight": randn(3)}, "the parameter(s) weight"),
        ({"scale": randn(3), "gradScale": randn(3)}, "the parameter(s) scale"),
        ({"net": sequential(conv(3, 3, 1))}, "the module net"),
        ({"noise": randn(3), "gram": torch_module("nn.GramMatrix")}, ""),
    ],
)
def test_identity_is_refused_where_something_was_learned(fields: Any, said: str) -> None:
    layer = torch_module("my.Layer", output=randn(2), **fields)
    registry = with_identity(default_registry(), ["my.Layer"])
    if not said:
        require_mapped(sequential(layer), registry)
        return
    with pytest.raises(UsageError, match="is no identity") as caught:
        require_mapped(sequential(layer), registry)
    assert said in str(caught.value)


def test_a_scaffold_of_a_container_is_a_structure_rule(
    porter: Porter, subclass: Path, tmp_path: Path
) -> None:
    rules = []
    for typename in ("nn.MyNet", "nn.MyBlock"):
        rules.append(tmp_path / f"{typename}.py")
        assert porter("scaffold", typename, "--from", subclass, "-o", rules[-1]).code == 0
    shown = porter(
        "inspect", subclass, "--layer-maps", rules[0], "--layer-maps", rules[1], "--json"
    )
    assert shown.json["unmapped"] == {}
    assert shown.json["modules"][-1]["shape"].startswith("1×4×")


def test_a_scaffold_of_an_object_around_modules(porter: Porter, tmp_path: Path) -> None:
    ran = porter("scaffold", "my.Model", "--from", OBJECTS / "wrapper_module.t7")
    assert ran.code == 0
    assert 'x = walk(module.object("net"), x, at="net")' in ran.out
    several = porter("scaffold", "my.Heads", "--from", unknown_object(tmp_path / "model.t7"))
    assert 'at="trunk"' in several.out


def test_a_scaffold_calls_modules_in_fields(porter: Porter, tmp_path: Path) -> None:
    wrapper = torch_module("my.Wrapper", body=sequential(relu()), output=randn(2))
    path = write_t7(tmp_path / "net.t7", sequential(conv(3, 4, 3), wrapper))
    rule = tmp_path / "rule.py"
    assert porter("scaffold", "my.Wrapper", "--from", path, "-o", rule).code == 0
    assert 'x = walk(module.object("body"), x, at="body")' in rule.read_text()
    shown = porter("inspect", path, "--layer-maps", rule, "--input-shape", "3x8x8", "--json").json
    assert shown["input"] == "1×3×8×8"


def test_a_scaffold_of_a_class_that_is_not_there(porter: Porter, model_path: Path) -> None:
    ran = porter("scaffold", "my.Net", "--from", model_path)
    assert ran.code == 2
    assert "the model holds no my.Net" in ran.err
    assert "nn.ReLU" in ran.err


@pytest.mark.parametrize("typename", ['my."""Net', "my.2Fast", "my.class", "my.\\", "é.\u00fc"])
def test_a_scaffold_of_a_hostile_class_is_harmless_source(
    porter: Porter, tmp_path: Path, typename: str
) -> None:
    name = 'x"""\nimport os'
    path = write_t7(tmp_path / "net.t7", sequential(torch_module(typename, **{name: 1, "s": name})))
    ran = porter("scaffold", typename, "--from", path)
    assert ran.code == 0
    tree = ast.parse(ran.out)
    imported = [n for n in ast.walk(tree) if isinstance(n, ast.Import)]
    assert [alias.name for node in imported for alias in node.names] == ["numpy"]


# Start-up -----------------------------------------------------------------------------------------

NO_TENSORFLOW = """
import sys
import porter.cli.main as cli, porter.layer_maps
for arguments in {commands}:
    try:
        cli.main(arguments)
    except SystemExit:
        pass
heavy = [name for name in ("tensorflow", "keras") if name in sys.modules]
assert not heavy, heavy
"""


def test_what_only_reads_or_finds_its_output_there_does_not_import_tensorflow(
    model_path: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "file.png").write_bytes(b"")
    image, file = str(FIXTURES / "trained/oilpaint/chelsea.png"), str(there / "file.png")
    descriptor = ["--descriptor", "vgg.npz"]
    commands = [
        ["convert", str(model_path), "-o", str(there)],
        ["stylize", str(model_path), image, "-o", file],
        ["transfer", "--content", image, "--style", image, *descriptor, "-o", file],
        ["synthesize", str(model_path), "-o", file],
        ["weights", str(model_path), "-o", file],
        ["train", "--style-image", image, *descriptor, "-o", str(there)],
        ["--help"],
        ["convert", "--help"],
        ["inspect", str(model_path)],
        ["inspect", str(FORMATS / "model_nngraph.t7"), "--json"],
        ["layers"],
        ["record"],
        ["scaffold", "nn.ReLU", "--from", str(model_path)],
        ["convert", str(FORMATS / "model_unknown_user_class.t7")],
        ["convert", "none.t7"],
        ["help"],
        ["help", "oracle"],
    ]
    ran = python("-c", NO_TENSORFLOW.format(commands=commands))
    assert ran.returncode == 0, ran.stderr


NOT_IMPORTED = """
import sys
from porter.cli.main import main
assert main({arguments}) == 0
imported = [name for name in {modules} if name in sys.modules]
assert not imported, imported
"""


@pytest.mark.parametrize(
    ("arguments", "modules"),
    [
        (["--version"], ["numpy", "rich", "importlib.metadata", "inspect", "porter.cli.arguments"]),
        (["inspect", "MODEL", "--json"], ["rich", "filelock", "hashlib", "importlib.resources"]),
    ],
)
def test_what_answers_at_once_does_not_import_what_it_does_not_need(
    arguments: list[str], modules: list[str], model_path: Path
) -> None:
    words = [str(model_path) if word == "MODEL" else word for word in arguments]
    ran = python("-c", NOT_IMPORTED.format(arguments=words, modules=modules))
    assert ran.returncode == 0, ran.stderr


def test_a_closed_pipe_is_no_error(model_path: Path) -> None:
    command = f"{sys.executable} cli.py layers --markdown | head -n 1"
    ran = subprocess.run(
        ["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("| class |")
    assert ran.stderr == ""
