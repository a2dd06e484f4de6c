"""The source format: what it writes, runs as the port does and reads well."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.apps.check.checker import Checker, Fixture
from porter.emit.formats import ExportJob, VerificationSample, find
from porter.emit.port import Port, build, build_widest
from porter.emit.source import FORMAT, written
from porter.emit.source.leaves import ModuleWeights, WeightArray, WeightsPath
from porter.emit.source.operators import lines, text
from porter.emit.tracing.expression import Dict, FunctionCall, Items, Literal, Ref, literal, quoted
from porter.emit.tracing.printer import WIDTH
from porter.errors import EmitError
from porter.frontend.inputs import types_of
from porter.ir.fields import Array
from porter.ir.layer_map import Accepts, LayerMap
from porter.ir.layout import OpContext
from porter.ir.nested import Nested, leaves, named_leaves
from porter.ir.registry import Registry
from porter.runtime.runner import Variables, store
from porter.system.tensorflow import tf
from porter.torch7 import TorchObject
from tests.build import (
    FIXTURES,
    classifier,
    concat_table,
    container,
    conv,
    identity,
    linear,
    model,
    parallel_table,
    randn,
    relu,
    sequential,
    small_net,
    torch_module,
)


def job_of(root: TorchObject, x: Nested[Array], registry: Registry | None = None) -> ExportJob:
    """A traced module, as a conversion would hand it to a format."""
    found = model(root, registry)
    types = types_of(x)
    return ExportJob(found, types, build_widest(found, types, Variables()), ())


def stored(port: Port, x: Nested[Array]) -> dict[str, Array]:
    """Inputs in the order and layout of the signature."""
    named = named_leaves(port.graph.inputs, "input")
    return {
        name: np.asarray(store(array, value, port.plan.inputs[value.id], "float32"))
        for (name, value), array in zip(named, leaves(x), strict=True)
    }


def load(job: ExportJob, folder: Path) -> Any:
    """The emitted network, loaded in this process."""
    code, arrays = written(job)
    np.savez(folder / "weights.npz", **arrays)
    namespace: dict[str, Any] = {}
    exec(compile(code, "model.py", "exec"), namespace)
    return namespace["load"](folder / "weights.npz")


def assert_same(job: ExportJob, x: Nested[Array], folder: Path) -> str:
    """The emitted code computes exactly what the layers compute; returns the code.

    They read variables, as the code does: around constants TensorFlow rearranges sums.
    """
    inputs = stored(job.port, x)
    port = build(job.port.graph, job.port.variables, job.port.options)
    outputs = port.module.serve(*inputs.values())
    computed = tf.nest.flatten(load(job, folder)(*inputs.values()))
    for tensor, expected in zip(computed, outputs.values(), strict=True):
        np.testing.assert_array_equal(tensor, expected)
    return written(job)[0]


def function(code: str, name: str) -> str:
    """The source of one function, comments and all."""
    start = code.index(f"def {name}(")
    return code[start:].partition("\n\n\n")[0]


def residual(seed: int) -> TorchObject:
    """x + conv(relu(conv(x)))."""
    branch = sequential(conv(4, 4, pad=1, seed=seed), relu(), conv(4, 4, pad=1, seed=seed + 1))
    return sequential(concat_table(branch, identity()), container("nn.CAddTable"))


@pytest.fixture(scope="module")
def style_net() -> tuple[ExportJob, Nested[Array]]:
    """A style-transfer net with five residual blocks."""
    fixture = Fixture(FIXTURES / "nets/texture_nets_johnson_slim/model.t7", "net")
    modules, recorded = Checker().load(fixture)
    assert recorded.input is not None
    return job_of(modules[0], recorded.input), recorded.input


# What is written ----------------------------------------------------------------------------------


def test_runs_in_a_fresh_process_without_porter(tmp_path: Path) -> None:
    x = randn(2, 3, 9, 7)
    job = job_of(small_net(), x)
    inputs = stored(job.port, x)
    outputs = job.port.module.serve(*inputs.values())
    layout = next(iter(job.port.plan.outputs.values()))
    expected = np.transpose(np.asarray(outputs["output"]), np.argsort(layout.order))
    job = replace(job, checks=(VerificationSample("normal", inputs, (expected,)),))
    (row,) = find("source").emit(job, tmp_path)
    assert row.measure is not None
    assert row.measure.max_rel < 1e-6
    assert {path.name for path in (tmp_path / "source").iterdir()} == {"model.py", "weights.npz"}


def test_verification_sees_wrong_weights(tmp_path: Path) -> None:
    x = randn(1, 3, 8, 8)
    job = job_of(classifier(), x)
    inputs = stored(job.port, x)
    expected = np.asarray(job.port.module.serve(*inputs.values())["output"])
    job = replace(job, checks=(VerificationSample("normal", inputs, (expected,)),))
    FORMAT.write(job, tmp_path)
    with np.load(tmp_path / "source/weights.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    np.savez(tmp_path / "source/weights.npz", **(arrays | {"1.bias": arrays["1.bias"] + 1}))
    measure, _ = FORMAT.verify(job, tmp_path)
    assert measure is not None
    assert measure.max_rel > 1e-3


def test_needs_tensorflow_and_numpy_only(style_net: tuple[ExportJob, Nested[Array]]) -> None:
    tree = ast.parse(written(style_net[0])[0])
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imported] == [
        "import numpy as np",
        "import tensorflow as tf",
    ]


def test_weights_keep_their_torch_paths(style_net: tuple[ExportJob, Nested[Array]]) -> None:
    _, arrays = written(style_net[0])
    assert arrays["13.1.2.2.weight"].shape == (3, 3, 32, 32)
    assert {key.rpartition(".")[2] for key in arrays} == {"weight", "bias"}


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    job = job_of(small_net(), randn(2, 3, 9, 7))
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        FORMAT.write(job, tmp_path / name)
    for name in ("model.py", "weights.npz"):
        first, second = (tmp_path / each / "source" / name for each in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


# How it reads -------------------------------------------------------------------------------------


def test_every_layer_is_one_line(
    style_net: tuple[ExportJob, Nested[Array]], tmp_path: Path
) -> None:
    job, x = style_net
    code = assert_same(job, x, tmp_path)
    body = function(code, "model").splitlines()[2:]
    assert len(body) == 25
    assert body[0] == "    x = spatial_replication_padding(x, pads=4)  # 1  N×(H+8)×(W+8)×3"
    assert body[5] == '    x = spatial_convolution(x, w["6"], stride=2)  # N×H/2×W/2×16'
    assert body[-1] == '    return spatial_convolution(x, w["25"], stride=1)  # N×H×W×3'


def test_residual_blocks_are_one_function(style_net: tuple[ExportJob, Nested[Array]]) -> None:
    code, _ = written(style_net[0])
    calls = [line for line in code.splitlines() if "= residual_block(x, w, " in line]
    assert [line.split('"')[1] for line in calls] == ["13", "14", "15", "16", "17"]
    block = function(code, "residual_block")
    assert 'w[f"{path}.1.2.2"]' in block
    assert "    return x + y  # .2 nn.CAddTable  N×H/4×W/4×32" in block


@pytest.mark.parametrize("net", ["inception_nn4_like", "nngraph_multi_io"])
def test_is_formatted(net: str, tmp_path: Path) -> None:
    pytest.importorskip("ruff")
    modules, recorded = Checker().load(Fixture(FIXTURES / "nets" / net / "model.t7", "net"))
    assert recorded.input is not None
    job = job_of(modules[0], recorded.input)
    file = tmp_path / "model.py"
    file.write_text(assert_same(job, recorded.input, tmp_path), encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff", "format", "--isolated", f"--line-length={WIDTH}"]
    done = subprocess.run([*ruff, "--diff", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_docstrings_come_from_the_layer_maps() -> None:
    code, _ = written(job_of(classifier(), randn(1, 3, 8, 8)))
    assert '"""nn.Linear. y = W·x + b."""' in function(code, "linear")


def test_names_of_tensors_come_from_the_layer_maps(
    style_net: tuple[ExportJob, Nested[Array]],
) -> None:
    norm = function(written(style_net[0])[0], "instance_normalization")
    assert "    deviation = x - mean\n" in norm
    assert "    return deviation * scale + offset" in norm


# What it computes ---------------------------------------------------------------------------------


def test_free_sizes_stay_free(tmp_path: Path) -> None:
    job = job_of(small_net(), randn(2, 3, 9, 7))
    network = load(job, tmp_path)
    for shape in ((1, 12, 10, 3), (3, 5, 20, 3)):
        x = randn(*shape)
        np.testing.assert_array_equal(network(x), job.port.module.serve(x)["output"])


def test_containers_that_differ_in_numbers_share_a_function(tmp_path: Path) -> None:
    blocks = [
        sequential(
            conv(4, 4, pad=1, stride=stride, seed=i), relu(), conv(4, 4, pad=1, seed=9), relu()
        )
        for i, stride in enumerate((2, 3, 2))
    ]
    x = randn(1, 4, 24, 24)
    code = assert_same(job_of(sequential(*blocks), x), x, tmp_path)
    assert "def block(x, w, path, stride):" in code
    assert 'block(x, w, "2", stride=3)' in code


def test_blocks_inside_blocks(tmp_path: Path) -> None:
    net = sequential(*(sequential(residual(i), relu(), residual(i + 1), relu()) for i in (1, 5)))
    x = randn(1, 4, 8, 8)
    code = assert_same(job_of(net, x), x, tmp_path)
    inner, outer = function(code, "residual_block"), function(code, "block")
    assert outer.count("residual_block(") == 2
    assert inner.count("spatial_convolution(") == 2
    assert 'residual_block(x, w, f"{path}.3")' in outer
    assert code.index("def residual_block") < code.index("def block")


def test_shared_weights_are_read_from_the_module_that_came_first(tmp_path: Path) -> None:
    shared = conv(3, 4, seed=3)
    net = parallel_table(sequential(shared, relu()), sequential(shared, relu()))
    x = [randn(1, 3, 6, 6), randn(1, 3, 6, 6, seed=8)]
    job = job_of(net, x)
    code = assert_same(job, x, tmp_path)
    assert set(written(job)[1]) == {"1.1.weight", "1.1.bias"}
    assert code.count('w["1.1"]') == 2


def test_nested_inputs_and_outputs(tmp_path: Path) -> None:
    inner = concat_table(linear(4, 2, seed=1), sequential(linear(4, 3, seed=2), relu()))
    x: Nested[Array] = [randn(2, 4), [randn(2, 5, seed=8)]]
    net = parallel_table(inner, parallel_table(linear(5, 2, seed=3)))
    code = assert_same(job_of(net, x), x, tmp_path)
    assert "def model(input_1, input_2_1, w):" in code
    assert code.count("    return [[") == 1


def test_long_constants_are_stored(tmp_path: Path) -> None:
    class Picked(LayerMap):
        accepts = Accepts.TORCH

        def output_shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
            return (x[0], 20)

        def reference(self, x: Array) -> Array:
            return x[:, list(range(20))]

        def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
            return tf.gather(x, list(range(20)), axis=1)

    registry = registry_with("my.Picked", Picked)
    job = job_of(torch_module("my.Picked"), randn(2, 30), registry)
    code = assert_same(job, randn(2, 30), tmp_path)
    np.testing.assert_array_equal(written(job)[1]["constant_1"], np.arange(20))
    assert '["constant_1"]' in code


def test_operators_of_python_are_recorded(tmp_path: Path) -> None:
    class Polynomial(LayerMap):
        accepts = Accepts.ELEMENTWISE

        def reference(self, x: Array) -> Array:
            return 1 - (x - 2) * (x / 2) - x

        def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
            return 1 - (x - 2) * (x / 2) - x

    registry = registry_with("my.Polynomial", Polynomial)
    x = randn(2, 3)
    code = assert_same(job_of(torch_module("my.Polynomial"), x, registry), x, tmp_path)
    assert "1 - (x - 2) * (x / 2) - x" in code


def registry_with(typename: str, map: type[LayerMap]) -> Registry:
    """porter's maps and one more."""
    from porter.layer_maps import default_registry

    registry = default_registry().copy()
    registry.add(typename, map, override=False)
    return registry


# What it refuses ----------------------------------------------------------------------------------


def test_loops_over_time_are_refused_by_name() -> None:
    file = next((FIXTURES / "layers/nn.SeqLSTM").glob("*.t7"))
    modules, recorded = Checker().load(Fixture(file, "layer"))
    assert recorded.input is not None
    job = job_of(sequential(modules[0]), recorded.input)
    with pytest.raises(EmitError, match=r"nn\.SeqLSTM cannot be written as source") as caught:
        written(job)
    assert caught.value.where == "1 (nn.SeqLSTM)"


def test_a_map_that_reads_more_than_the_shape_is_refused() -> None:
    class Odd(LayerMap):
        def reference(self, x: Array) -> Array:
            return x

        def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
            return tf.identity(x) if x.get_shape() else x

    job = job_of(torch_module("my.Odd"), randn(2, 3), registry_with("my.Odd", Odd))
    with pytest.raises(EmitError, match="no attribute 'get_shape'"):
        written(job)


# Text ---------------------------------------------------------------------------------------------

NAMES = {1: "x", 2: "y"}
X, Y = Ref(1), Ref(2)


def test_parentheses_stand_where_python_needs_them() -> None:
    total = FunctionCall("tf.add", (X, Y))
    assert text(FunctionCall("tf.multiply", (total, Y)), NAMES) == "(x + y) * y"
    assert (
        text(FunctionCall("tf.add", (FunctionCall("tf.multiply", (X, Y)), Y)), NAMES) == "x * y + y"
    )
    assert text(FunctionCall("tf.subtract", (X, total)), NAMES) == "x - (x + y)"
    assert text(FunctionCall("tf.negative", (total,)), NAMES) == "-(x + y)"
    assert text(FunctionCall("tf.multiply", (X, literal(-2))), NAMES) == "x * -2"
    less = FunctionCall("tf.less", (X, Y))
    assert text(FunctionCall("tf.less", (less, Y)), NAMES) == "(x < y) < y"


def test_numbers_alone_stay_calls() -> None:
    assert text(FunctionCall("tf.divide", (literal(1), literal(2))), NAMES) == "tf.divide(1, 2)"


def test_weights_and_tables() -> None:
    assert text(ModuleWeights(WeightsPath("4.1")), NAMES) == 'w["4.1"]'
    assert text(WeightArray(WeightsPath(".1", True), "bias"), NAMES) == 'w[f"{path}.1"]["bias"]'
    assert text(Dict((("a", X),)), NAMES) == '{"a": x}'
    assert text(Items((X,), "()"), NAMES) == "(x,)"


@pytest.mark.parametrize("string", ["plain", 'a"b', "a'b", "line\nbreak", "\\", "é\udce9", "'\""])
def test_strings_come_back(string: str) -> None:
    assert ast.literal_eval(quoted(string)) == string


@pytest.mark.parametrize(
    ("value", "written"),
    [(1, "1"), (1.0, "1.0"), (3.4e38, "3.4e38"), (float("inf"), "np.inf"), (True, "True")],
)
def test_constants(value: object, written: str) -> None:
    assert literal(value).text == written


def test_long_calls_are_broken_as_ruff_does() -> None:
    long = Literal("'" + "a" * 60 + "'")
    two = FunctionCall("f", (long, X, Y))
    assert lines("x = " + "y" * 30, two, NAMES, 4) == [
        "    x = " + "y" * 30 + "f(",
        f"        {long.text}, x, y",
        "    )",
    ]
    broken = lines("x = ", FunctionCall("f", (long, long)), NAMES, 4)
    assert broken == ["    x = f(", f"        {long.text},", f"        {long.text},", "    )"]


def test_what_a_file_says_cannot_end_a_comment() -> None:
    from porter.emit.source.function import commented

    assert commented(["    x = 1"], 'nn.X\nimport os  """') == ["    x = 1  # nn.X?import os  '''"]


def test_images_that_torch_refuses_are_an_error_with_a_sentence(tmp_path: Path) -> None:
    """TensorFlow's own pooling would make an empty tensor of them, by whose size others divide."""
    pool = torch_module("nn.SpatialMaxPooling", kW=4, kH=4, dW=4, dH=4)
    job = job_of(sequential(pool, conv(3, 2, kernel=1)), randn(2, 3, 16, 24))
    network = load(job, tmp_path)
    assert network(tf.ones((1, 4, 5, 3))).shape == (1, 1, 1, 2)
    for shape in ((1, 1, 1, 3), (1, 3, 8, 3), (1, 8, 3, 3)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="too small for this net"):
            network(tf.ones(shape))
