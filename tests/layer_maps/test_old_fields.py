"""Fields as old and odd files have them: weights of other shapes, NaN, what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from porter.conversion.model_warnings import model_warnings
from porter.conversion.pipeline import convert
from porter.conversion.request import Request
from porter.errors import MissingField
from porter.frontend.inputs import types_of
from porter.frontend.model_file import open_model
from porter.frontend.nonfinite import nonfinite_parameters, with_nan
from porter.frontend.run_mode import RunMode
from porter.ir.nested import leaves
from porter.ir.options import Options
from porter.layer_maps import default_registry
from porter.parity import compare as parity
from porter.runtime import reference
from porter.runtime.runner import Variables
from porter.torch7 import TorchObject, read
from tests.build import (
    FIXTURES,
    Array,
    image,
    linear,
    lua,
    model,
    randn,
    relu,
    run,
    sequential,
    torch_module,
)

CASES = FIXTURES / "field"
REGISTRY = default_registry()
NAN = np.array([[np.nan, -1, 2, np.inf]], np.float32)


def rectified(layer: TorchObject, x: Array) -> tuple[Array, Array]:
    """What NumPy and TensorFlow make of x where NaN may come."""
    net = sequential(layer)
    ported = model(net, options=Options(nan=True))
    report = parity.verify(ported, x, {p: Variables(p) for p in ("float32", "float64")})
    assert report.passed, report.first_diverging
    graph = ported.walk(types_of(x))
    values = reference.run(graph, parity.bind(graph.inputs, x))
    (output,) = leaves(graph.outputs)
    return values[output.id], report.expected[0]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (relu(), 0.0),
        (torch_module("nn.Threshold", threshold=0.0, val=0.0), 0.0),
        (torch_module("nn.Threshold", threshold=0.5, val=0.25), 0.25),
        (relu(inplace=True), np.nan),
        (torch_module("cudnn.ReLU"), np.nan),
        (torch_module("nn.Threshold", threshold=0.5, val=0.25, inplace=True), np.nan),
    ],
)
def test_rectifiers_treat_nan_as_torch_does(layer: TorchObject, expected: float) -> None:
    for output in rectified(layer, NAN):
        np.testing.assert_array_equal(output[0, 0], np.float32(expected))
        assert output[0, 3] == np.inf


def test_nan_is_expected_of_weights_and_of_classes_that_make_it() -> None:
    broken = linear(3, 2)
    broken.fields["weight"] = lua(np.array([[1, np.nan, 2], [1, 2, 3]], np.float32))
    for net, nan in (
        (sequential(linear(3, 2), relu()), False),
        (sequential(broken, relu()), True),
        (sequential(torch_module("nn.Sqrt"), relu()), True),
    ):
        assert with_nan(net, REGISTRY, Options()).nan is nan
    assert nonfinite_parameters(sequential(broken, relu()), default_registry()) == [
        "weight of 1 (nn.Linear)"
    ]


def test_a_net_with_nan_is_converted_and_warned_of(tmp_path: Path) -> None:
    done = convert(Request(CASES / "old_fields" / "nan_weight_relu.t7", tmp_path / "port"))
    assert done.manifest["warnings"][0] == (
        "the model holds NaN or infinity: weight of 1 (nn.Linear)"
    )


def test_a_subsampling_weight_of_three_dimensions_is_read_as_memory() -> None:
    weight = randn(3, 2, 2)
    fields = {"bias": randn(3), "kH": 2, "kW": 2, "dH": 2, "dW": 2}
    old = torch_module("nn.SpatialSubSampling", weight=weight, **fields)
    new = torch_module("nn.SpatialSubSampling", weight=weight.reshape(-1)[:3], **fields)
    x = randn(2, 3, 6, 6)
    np.testing.assert_array_equal(run(old, x), run(new, x))


def test_noise_that_does_not_tell_its_planes_says_how_to() -> None:
    opened = open_model(CASES / "old_fields" / "gennoise_2016_style.t7", REGISTRY)
    with pytest.raises(MissingField, match="how many planes of noise") as caught:
        opened.model().walk(image(1, 3, 8, 8))
    assert '`map="nn.GenNoise=KNOWN.CLASS"`' in str(caught.value)
    assert "porter scaffold nn.GenNoise" in str(caught.value)


@pytest.mark.parametrize(("sample_rank", "shape"), [(1, (4, 3)), (1, (3,)), (2, (4, 3))])
def test_masks_of_batches_and_of_one_sample(sample_rank: int, shape: tuple[int, ...]) -> None:
    root = read(CASES / "old_fields" / "maskzero_mutated.t7").root
    module = root["module"]
    module.fields["nInputDim"] = float(sample_rank)
    ported = model(module)
    for x in (np.abs(randn(*shape)) + 1, np.zeros(shape, np.float32)):
        report = parity.verify(ported, x, {p: Variables(p) for p in ("float32", "float64")})
        assert report.passed
        linear_alone = run(module.list("modules")[0], x)
        expected = linear_alone if x.any() else np.zeros_like(linear_alone)
        np.testing.assert_array_equal(report.expected[0], expected)


def test_a_replaced_method_is_one_warning_line() -> None:
    opened = open_model(CASES / "classes" / "override_updateOutput.t7", REGISTRY)
    assert model_warnings(opened, RunMode(Options()), opened.model()) == [
        "2 (nn.ReLU): `updateOutput` was replaced by a Lua function, which porter does not run; "
        "converted as the class computes"
    ]


def test_a_method_that_the_class_itself_keeps_is_none() -> None:
    copying = sorted((FIXTURES / "layers" / "nn.Copy").glob("*.t7"))[0]
    opened = open_model(copying, REGISTRY)
    assert model_warnings(opened, RunMode(Options()), opened.model()) == []
