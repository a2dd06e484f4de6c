"""The whole program on files that are damaged, hostile or malformed: one error, soon, no output.

`test_hostile.py` proves the reader; here `porter inspect` and `porter convert` are run on the same
files, and on models that only a walk can refuse.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from porter.cli import main as cli
from porter.errors import Endless, PorterError, TooLarge, Unforeseen
from porter.frontend.model_file import holds_model
from porter.frontend.selection import find_modules
from porter.ir.layer_map import LayerMap
from porter.ir.map_errors import attribute_errors
from porter.layer_maps import default_registry
from porter.runtime.memory import available
from porter.torch7 import TorchObject, read
from tests.build import (
    FIXTURES,
    container,
    conv,
    image,
    model,
    relu,
    sequential,
    table,
    torch_module,
)
from tests.fuzz import fuzz_inspect
from tests.fuzz.harness import loop
from tests.write_t7 import write_t7

ROOT = Path(__file__).parents[2]
HOSTILE = FIXTURES / "hostile"
INDEX = json.loads((HOSTILE / "INDEX.json").read_text())["files"]
PRESENT = [case for case in INDEX if (HOSTILE / case["file"]).is_file()]
pytestmark = pytest.mark.usefixtures("ends")
MEGABYTES = 100

CONVERTS = {
    "bn_negative_var.t7",  # to a port that makes NaN, as Torch does, with a warning
    "control_valid_conv_relu.t7",
    "conv_pad_fractional.t7",  # C cuts the fraction off
    "conv_weight_nan_inf.t7",
    "function_malicious_bytecode.t7",
    "function_source_text.t7",
}
"""Where porter makes what Torch would compute."""

UNTOLD = {
    "cyclic_modules_table.t7": None,  # Torch runs it as an empty Sequential
    "pool_k_zero.t7": "3x16x16",
    "pool_pad_gt_half_kernel.t7": "3x16x16",
    "reflection_pad_too_large.t7": "3x4x4",
    "replication_pad_crops_all.t7": "3x4x4",
    "upsampling_scale_zero.t7": "3x16x16",
}
"""Models whose input's shape nobody can tell; with this shape they are refused (None: they run)."""

MALFORMED = {"binary_high_bit_stripped.t7"}
"""Sound files of kind "format" whose model is not: here the list of modules lost its first."""

NAMED = {
    "bn_missing_running_var.t7": ("2 (nn.SpatialBatchNormalization)", "running_var"),
    "conv_bias_wrong_length.t7": ("1 (nn.SpatialConvolution)", "bias"),
    "conv_channel_mismatch_chain.t7": ("2 (nn.SpatialConvolution)", "3 input planes", "1×4×"),
    "conv_kW_zero.t7": ("1 (nn.SpatialConvolution)", "kernel", "at least 1", "3×0"),
    "conv_k_nan.t7": ("1 (nn.SpatialConvolution)", "'kW'", "integer", "nan"),
    "conv_no_weight.t7": ("1 (nn.SpatialConvolution)", "'weight'"),
    "conv_pad_huge.t7": ("1 (nn.SpatialConvolution)", "too large"),
    "conv_weight_is_number.t7": ("1 (nn.SpatialConvolution)", "a tensor is needed", "number 7"),
    "conv_weight_wrong_inplanes.t7": ("1 (nn.SpatialConvolution)", "4×3×3×3", "4×5×3×3"),
    "cyclic_sequential.t7": ("nn.Sequential contains itself",),
    "cyclic_two_containers.t7": ("nn.Sequential contains itself",),
    "gmodule_broken_graph.t7": ("the root (nn.gModule)", "'innode'"),
    "in_weight_length_mismatch.t7": ("2 (nn.InstanceNormalization)", "weight"),
    "module_bomb_2pow40.t7": ("nn.Concat", "more than 10,000 times"),
    "modules_not_a_table.t7": ("the root (nn.Sequential)", "a list is needed", "number 5"),
    "modules_string_child.t7": ("modules[1] of nn.Sequential", "string"),
    "modules_with_hole.t7": ("the root (nn.Sequential)", "no entry 2"),
    "padding_missing_field.t7": ("1 (nn.SpatialReplicationPadding)", "'pad_b'"),
    "pixelshuffle_bad_channels.t7": ("2 (nn.PixelShuffle)", "multiple of 9", "1×4×"),
    "replicate_1e12.t7": ("1 (nn.Replicate)", "elements", "1000000000000×"),
    "sequential_no_modules.t7": ("the root (nn.Sequential)", "'modules'"),
    "unknown_class.t7": ("nn.TotallyUnknownLayer", "at 2"),
    "upsampling_scale_1e9.t7": ("1 (nn.SpatialUpSamplingNearest)", "elements"),
    "view_mismatch.t7": ("2 (nn.View)", "1009"),
}
"""What the error of some files must say: module, expectation, what was found."""


@pytest.fixture(scope="module", autouse=True)
def _tensorflow_is_there() -> None:
    """Its start takes seconds, which are not counted."""
    import porter.system.tensorflow  # noqa: F401


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and standard error of a command in this process."""
    code = cli.main([str(each) for each in arguments])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("case", PRESENT, ids=[case["file"] for case in PRESENT])
def test_inspect_answers_in_little_memory(
    case: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = HOSTILE / case["file"]
    tracemalloc.start()
    code, _ = run(capsys, "inspect", path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code in (0, 3)
    sound = case["kind"] in ("semantic", "control") or case["file"] in loads()
    assert code == 3 or sound or not holds_model(read(path), default_registry())
    assert peak < path.stat().st_size + MEGABYTES * 2**20


def loads() -> set[str]:
    """Files of kind "format" that hold a model all the same."""
    return {*CONVERTS, *UNTOLD, *MALFORMED}


@pytest.mark.parametrize(
    "case",
    [case for case in PRESENT if case["file"] not in CONVERTS],
    ids=[case["file"] for case in PRESENT if case["file"] not in CONVERTS],
)
def test_convert_refuses_with_one_error_and_no_output(
    case: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = run(capsys, "convert", HOSTILE / case["file"], "-o", tmp_path / "port")
    assert code == expected_code(case)
    assert error.count("error: ") == 1
    assert "Traceback" not in error
    assert len(error) < 2_000
    assert not list(tmp_path.iterdir())
    for words in NAMED.get(case["file"], ()):
        assert words in error


def expected_code(case: dict[str, str]) -> int:
    """3 for no sound file or no model, 4 for a malformed model, 2 where a shape must be given."""
    if case["file"] in UNTOLD:
        return 2
    no_model = case["kind"] != "semantic" or case["file"].startswith("root_")
    return 3 if no_model and case["file"] not in MALFORMED else 4


@pytest.mark.parametrize("name", [name for name, shape in UNTOLD.items() if shape])
def test_a_shape_does_not_make_a_malformed_model_convertible(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = run(
        capsys, "convert", HOSTILE / name, "-o", tmp_path / "port", "--input-shape", UNTOLD[name]
    )
    assert code == 4
    assert "(nn." in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["conv_weight_nan_inf.t7", "bn_negative_var.t7"])
def test_nan_and_infinity_are_converted_and_reported(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", str(HOSTILE / name), "-o", str(tmp_path / "port")]) == 0
    assert "warning: " in capsys.readouterr().out
    manifest = json.loads((tmp_path / "port" / "manifest.json").read_text())
    assert "makes NaN or infinity" in manifest["warnings"][-1]
    parity = json.loads((tmp_path / "port" / "parity.json").read_text())
    assert any(row["nonfinite"] for row in parity["layers"])


@pytest.mark.parametrize(
    "name", ["pickle_exec.t7", "cyclic_sequential.t7", "class_name_control_chars.t7"]
)
@pytest.mark.parametrize("command", ["inspect", "convert"])
def test_a_process_of_its_own_ends_without_a_traceback(
    name: str, command: str, tmp_path: Path
) -> None:
    output = ["-o", str(tmp_path / "port")] if command == "convert" else []
    done = subprocess.run(
        [sys.executable, "cli.py", command, str(HOSTILE / name), *output],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 3, 4)
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert not Path("/tmp/t7_pickle_was_executed").exists()
    assert not list(tmp_path.iterdir())


# Values beyond any memory -------------------------------------------------------------------------


def refused(net: TorchObject, *shape: int) -> PorterError:
    """The error of a walk."""
    with pytest.raises(PorterError) as caught:
        model(net).walk(image(*shape))
    return caught.value


def test_absurd_fields_allocate_nothing() -> None:
    """A kernel of 10⁹, a padding of 10⁸, 10¹² copies: refused by their shapes alone."""
    wide = conv(3, 4)
    wide.fields["kW"] = 1e9
    absurd = [
        wide,
        torch_module("nn.SpatialMaxPooling", kW=1e9, kH=1e9, dW=1, dH=1, padW=5e8, padH=5e8),
        torch_module("nn.SpatialZeroPadding", pad_l=1e8, pad_r=1e8, pad_t=1e8, pad_b=1e8),
        torch_module("nn.Padding", dim=1, pad=1e12, nInputDim=3, value=0, index=1),
        torch_module("nn.Replicate", nfeatures=1e12, dim=1),
        torch_module("nn.SpatialUpSamplingNearest", scale_factor=1e9),
        torch_module("nn.SpatialCrossMapLRN", size=1e9, alpha=1, beta=0.75, k=1),
    ]
    assert default_registry().handlers  # Imported before memory is counted.
    for module in absurd:
        tracemalloc.start()
        error = refused(sequential(relu(), module), 1, 3, 8, 8)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert error.where == f"2 ({module.typename})"
        assert peak < 2**20


def test_splitting_a_long_axis_is_refused() -> None:
    many = torch_module("nn.Replicate", nfeatures=2_000_000, dim=1)
    split = torch_module("nn.SplitTable", dimension=1)
    assert isinstance(refused(sequential(many, split), 1, 3), TooLarge)


def test_modules_inside_themselves_end_at_once() -> None:
    net = container("nn.Sequential", relu())
    net.table("modules").items[2] = net
    assert isinstance(refused(net, 1, 3), Endless)


def test_tables_of_shared_tables_are_searched_once() -> None:
    shared = table(net=relu())
    for _ in range(3):
        shared = table(*[shared] * 1_000)
    assert len(list(find_modules(shared, default_registry()))) == 1


def test_more_than_the_machine_holds_is_refused_before_it_is_allocated(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    free = available()
    if free is None or free > 2**36:
        pytest.skip("this system does not tell its memory, or has more than fits a shape")
    arguments = ("convert", model_path, "-o", tmp_path / "port", "--input-shape", "3x20000x20000")
    code, error = run(capsys, *arguments)
    assert code == 2
    assert "of memory" in error
    assert "are free" in error


# A user's own layer maps --------------------------------------------------------------------------

MAP = """
from porter.ir.layer_map import LayerMap
from porter.ir.registry import register


@register("nn.Mine")
class Mine(LayerMap):
    def output_shape(self, x):
        return {shape}

    def reference(self, x):
        return {reference}

    def apply(self, tf, x, at):
        return {apply}
"""
CLASS_LINE = 6
"""Where the map begins, its decorator included: named where no line of it is to blame."""
RIGHT = {"shape": "x", "reference": "x", "apply": "x"}


@pytest.mark.parametrize(
    ("wrong", "line", "words"),
    [
        ({"shape": "x[9]"}, 9, "IndexError"),
        ({"shape": "None"}, CLASS_LINE, "TypeError"),
        ({"reference": "x.no_such_thing"}, 12, "AttributeError"),
        ({"reference": "x[:1]"}, CLASS_LINE, "the shape rule says"),
        ({"apply": "1 / 0"}, 15, "ZeroDivisionError"),
        ({"apply": "(x, x)"}, CLASS_LINE, "returns 2 outputs"),
    ],
)
def test_an_error_in_a_users_map_names_its_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wrong: dict[str, str],
    line: int,
    words: str,
) -> None:
    maps = tmp_path / "my_maps.py"
    maps.write_text(MAP.format(**{**RIGHT, **wrong}))
    model = write_t7(tmp_path / "mine.t7", sequential(conv(3, 4), torch_module("nn.Mine")))
    code, error = run(capsys, "convert", model, "-o", tmp_path / "port", "--layer-maps", maps)
    assert code == 2
    assert f"{maps}:{line}: the layer map of nn.Mine failed" in error
    assert words in error
    assert "2 (nn.Mine)" in error
    assert "Traceback" not in error
    assert not (tmp_path / "port").exists()


def test_what_a_map_of_porter_did_not_foresee_names_the_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ZeroDivisionError), attribute_errors(LayerMap, "1", "nn.ReLU"):
        raise ZeroDivisionError
    monkeypatch.delenv("PORTER_DEBUG")
    with (
        pytest.raises(Unforeseen, match="ZeroDivisionError") as caught,
        attribute_errors(LayerMap, "1", "nn.ReLU"),
    ):
        raise ZeroDivisionError
    assert caught.value.where == "1 (nn.ReLU)"
    assert caught.value.exit_code == 4


# Fuzzing ------------------------------------------------------------------------------------------


def test_the_fuzzer_finds_nothing_in_a_short_run(tmp_path: Path) -> None:
    cases = fuzz_inspect.cases(300, seed=0)
    assert loop(fuzz_inspect.one, cases, "inspect", tmp_path) == 0


@pytest.mark.parametrize("path", sorted(fuzz_inspect.CORPUS.glob("*.t7")), ids=lambda p: p.name)
def test_what_a_fuzzer_once_found_stays_mended(path: Path) -> None:
    data = path.read_bytes()
    for shapes in ((), ((1, 1, 9, 9),)):
        fuzz_inspect.inspected(data, shapes)
