"""Bugs planted in layer maps, and the cause that the diagnosis names for each.

The port side is broken in TensorFlow only, so that the reference is right; the oracle side has a
recording that another setting made, so that reference and port agree with each other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from porter.ir.fields import Param
from porter.ir.layer_map import LayerMap
from porter.ir.layout import OpContext
from porter.ir.nested import Nested
from porter.ir.registry import Registry, register, registering_into
from porter.layer_maps.activation import LeakyReLU
from porter.layer_maps.batch_normalization import SpatialBatchNormalization
from porter.layer_maps.convolution import SpatialConvolution
from porter.layer_maps.convolution_transposed import SpatialFullConvolution
from porter.layer_maps.dropout import Dropout
from porter.layer_maps.linear import Linear
from porter.layer_maps.local_normalization import SpatialCrossMapLRN
from porter.layer_maps.padding import SpatialReflectionPadding
from porter.layer_maps.pooling import SpatialAveragePooling, SpatialMaxPooling
from porter.layer_maps.softmax import SoftMax
from porter.layer_maps.table_math import CSubTable
from porter.parity.compare import Report, Row, verify
from porter.parity.diagnosis import explain
from porter.parity.recording import Recording
from porter.report.as_json import report_json
from porter.runtime.runner import Variables
from porter.torch7 import TorchObject
from tests.build import (
    Array,
    concat_table,
    container,
    conv,
    identity,
    linear,
    model,
    randn,
    run,
    sequential,
    torch_module,
    view,
)

Bug = Callable[[Any], None]


def with_array(name: str, change: Callable[[Array], Array]) -> Bug:
    """A parameter that TensorFlow gets in another order or size."""

    def bug(op: Any) -> None:
        param: Param = op.__dict__[name]
        changed = np.ascontiguousarray(change(param.array))
        op.__dict__[name] = replace(param, array=changed, key=(param.key, "planted"))

    return bug


def setting(**values: Any) -> Bug:
    """Fields that TensorFlow is given other values of."""
    return lambda op: op.__dict__.update(values)


def broken(parent: type[LayerMap], bug: Bug) -> type[LayerMap]:
    """A map whose TensorFlow side works on an altered copy of itself."""

    def apply(self: Any, tf: Any, *xs: Any, at: OpContext) -> Any:
        altered = copy.copy(self)
        altered.__class__ = parent
        bug(altered)
        return parent.apply(altered, tf, *xs, at=at)

    return type(f"Broken{parent.__name__}", (parent,), {"apply": apply})


class PaddedBehind(SpatialConvolution):
    """TensorFlow's "SAME" puts the odd pixel behind, Torch pads alike."""

    def correlation(self, tf: Any, x: Any, filters: Any, stride: Any, pads: Any) -> Any:
        moved = tuple((before - 1, behind + 1) for before, behind in pads)
        return super().correlation(tf, x, filters, stride, moved)


class UnpermutedRows(Linear):
    """Forgets that the features were flattened channels-last."""

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return super().apply(tf, x, replace(at, layouts=(replace(at.layouts[0], flat=None),)))


class OtherAxis(SoftMax):
    """Torch's axis 1 taken for TensorFlow's."""

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.nn.softmax(x, axis=1)


class Reversed(CSubTable):
    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        return super().apply(tf, *xs[::-1], at=at)


class Nothing(LeakyReLU):
    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.identity(x)


class Replicated(SpatialReflectionPadding):
    def sources(self, tf: Any, places: Any, n: Any) -> Any:
        return tf.clip_by_value(places, 0, tf.subtract(n, 1))


class Rescaled(Linear):
    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.multiply(super().apply(tf, x, at), 1 / 255)


def batch_normalization(planes: int = 4) -> TorchObject:
    random = np.random.default_rng(3)
    return torch_module(
        "nn.SpatialBatchNormalization",
        train=False,
        eps=1e-2,
        running_mean=random.standard_normal(planes).astype(np.float32),
        running_var=random.uniform(0.5, 2, planes).astype(np.float32),
    )


def pooling(name: str, **more: Any) -> TorchObject:
    sizes = {"kW": 3, "kH": 3, "dW": 2, "dH": 2, "padW": 1, "padH": 1}
    return torch_module(f"nn.{name}", **sizes, **more)


def full_convolution() -> TorchObject:
    sizes = {"kW": 3, "kH": 3, "dW": 2, "dH": 2, "padW": 1, "padH": 1, "adjW": 0, "adjH": 0}
    return torch_module(
        "nn.SpatialFullConvolution",
        nInputPlane=3,
        nOutputPlane=2,
        **sizes,
        weight=randn(3, 2, 3, 3, seed=1),
        bias=randn(2, seed=2),
    )


def border() -> TorchObject:
    sides = {f"pad_{side}": 2 for side in "tblr"}
    return torch_module("nn.SpatialReflectionPadding", **sides)


def difference() -> TorchObject:
    return sequential(concat_table(identity(), conv(3, 3, pad=1)), torch_module("nn.CSubTable"))


LRN = torch_module("nn.SpatialCrossMapLRN", size=5, alpha=0.5, beta=0.75, k=1)
IMAGE = (2, 3, 9, 8)


@dataclass(frozen=True)
class Planted:
    """A bug, the layer it is in, and a part of the sentence that names it."""

    kind: str
    net: TorchObject
    map: type[LayerMap]
    cause: str
    shape: tuple[int, ...] = IMAGE


def conv_bug(bug: Bug) -> type[LayerMap]:
    return broken(SpatialConvolution, bug)


PLANTED = [
    Planted(
        "kernel transposed",
        conv(3, 4),
        conv_bug(with_array("weight", lambda w: w.swapaxes(2, 3))),
        "axes H and W of `weight` are transposed",
    ),
    Planted(
        "kernel flipped",
        conv(3, 4),
        conv_bug(with_array("weight", lambda w: w[:, :, ::-1, ::-1])),
        "`weight` is flipped (a convolution",
    ),
    Planted(
        "RGB and BGR",
        conv(3, 4),
        conv_bug(with_array("weight", lambda w: w[:, ::-1])),
        "input planes (as in RGB and BGR)",
    ),
    Planted(
        "memory order",
        conv(3, 4),
        conv_bug(with_array("weight", lambda w: w.transpose(2, 3, 1, 0).reshape(w.shape))),
        "`weight` is read as HWIO where OIHW is meant",
    ),
    Planted("bias missing", conv(3, 4), conv_bug(setting(bias=None)), "`bias` is left out"),
    Planted(
        "bias twice",
        linear(6, 5),
        broken(Linear, with_array("bias", lambda b: 2 * b)),
        "`bias` counts twice",
        (4, 6),
    ),
    Planted(
        "padding on one side",
        conv(3, 4, pad=1, stride=2),
        PaddedBehind,
        "all padding lies behind the image",
        (2, 3, 8, 8),
    ),
    Planted(
        "stride swapped",
        torch_module(
            "nn.SpatialConvolution",
            nInputPlane=3,
            nOutputPlane=2,
            kW=3,
            kH=3,
            dW=2,
            dH=1,
            weight=randn(2, 3, 3, 3, seed=5),
        ),
        conv_bug(setting(stride=(2, 1))),
        "`stride` is 2×1 instead of 1×2",
    ),
    Planted(
        "epsilon",
        batch_normalization(3),
        broken(SpatialBatchNormalization, setting(eps=1e-3)),
        "`eps` is 0.001 instead of 0.01",
    ),
    Planted(
        "batch statistics",
        batch_normalization(3),
        broken(SpatialBatchNormalization, setting(uses_batch=True)),
        "`uses_batch` is true instead of false",
    ),
    Planted(
        "variance taken for its root",
        batch_normalization(3),
        broken(
            SpatialBatchNormalization,
            with_array("running_var", np.sqrt),
        ),
        "the root of `running_var` is taken",
    ),
    Planted(
        "ceil and floor",
        pooling("SpatialMaxPooling", ceil_mode=True),
        broken(SpatialMaxPooling, setting(ceil=False)),
        "`ceil` is false instead of true",
        (2, 3, 8, 10),
    ),
    Planted(
        "padding counted",
        pooling("SpatialAveragePooling", divide=True, count_include_pad=False),
        broken(SpatialAveragePooling, setting(count_pad=True)),
        "`count_pad` is true instead of false",
    ),
    Planted(
        "dropout of version 1",
        torch_module("nn.Dropout", p=0.3),
        broken(Dropout, setting(v2=True)),
        "`v2` is true instead of false",
    ),
    Planted(
        "alpha not divided by size",
        LRN,
        broken(SpatialCrossMapLRN, setting(alpha=2.5)),
        "`alpha` is 2.5 instead of 0.5",
        (2, 7, 4, 5),
    ),
    Planted(
        "deconvolution flipped",
        full_convolution(),
        broken(SpatialFullConvolution, with_array("weight", lambda w: w[:, :, ::-1, ::-1])),
        "`weight` is flipped",
    ),
    Planted("axis", sequential(conv(3, 4), torch_module("nn.SoftMax")), OtherAxis, "axes are"),
    Planted(
        "flattening",
        sequential(conv(3, 4, seed=4), view(168, sample_rank=3), linear(168, 5)),
        UnpermutedRows,
        "flattened channels-last",
    ),
    Planted("operands", difference(), Reversed, "the inputs are in reverse order"),
    Planted(
        "layer left out",
        torch_module("nn.LeakyReLU", negval=0.2),
        Nothing,
        "`slope` is 1 instead of 0.2",
    ),
    Planted("border", border(), Replicated, "continued by the nearest pixel"),
    Planted("scale", linear(6, 5), Rescaled, "multiplied by a factor 0.00392157", (4, 6)),
    Planted(
        "rounded weights",
        conv(3, 4),
        conv_bug(with_array("weight", lambda w: w.astype(np.float16).astype(np.float32))),
        "`weight` is rounded to half precision",
    ),
]


def planted_registry(registry: Registry, parent: type[LayerMap], bug: type[LayerMap]) -> Registry:
    names = [name for name, handler in registry.layer_maps().items() if handler is parent]
    with registering_into(registry) as extended:
        register(*names, override=True)(bug)
    return extended


def report_of(net: TorchObject, x: Nested[Array], registry: Registry | None) -> Report:
    variables = {precision: Variables(precision) for precision in ("float32", "float64")}
    return verify(model(net, registry), x, variables, deep=False)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.kind)
def test_the_cause_of_a_planted_bug_is_named(planted: Planted, registry: Registry) -> None:
    parent = planted.map.__mro__[1]
    assert issubclass(parent, LayerMap)
    x = randn(*planted.shape)
    assert report_of(planted.net, x, registry).passed
    report = report_of(planted.net, x, planted_registry(registry, parent, planted.map))
    row = report.first_diverging
    assert row is not None
    assert row.hint is not None
    assert planted.cause in row.hint.cause
    assert row.hint.side == "port"
    assert row.hint.before > 10 * row.hint.after
    assert row.hint.after <= row.tolerance.isolated


# The oracle's side -------------------------------------------------------------------------------


def recorded_by(other: TorchObject, x: Array) -> Recording:
    output = np.asarray(run(other, x), np.float32)
    return Recording("recording.t7", x, output, {("", 1): output})


def oblong(**sizes: int) -> TorchObject:
    geometry = {"nInputPlane": 3, "nOutputPlane": 2, "dW": 1, "dH": 1, "padW": 2, "padH": 0} | sizes
    return torch_module("nn.SpatialConvolution", **geometry, weight=randn(2, 3, 3, 3, seed=5))


@pytest.mark.parametrize(
    ("saved", "ran", "cause"),
    [
        (
            torch_module("nn.Dropout", p=0.5),
            torch_module("nn.Dropout", p=0.5, v2=True),
            "`v2` is true instead of false",
        ),
        (
            pooling("SpatialAveragePooling", divide=True),
            pooling("SpatialAveragePooling", divide=False),
            "`divide` is false instead of true",
        ),
        (torch_module("nn.ELU", alpha=1), torch_module("nn.ELU", alpha=0.1), "`alpha` is 0.1"),
    ],
)
def test_a_recording_that_the_file_does_not_explain(
    saved: TorchObject, ran: TorchObject, cause: str
) -> None:
    x = randn(*IMAGE)
    variables = {precision: Variables(precision) for precision in ("float32", "float64")}
    report = verify(model(saved), x, variables, recorded_by(ran, x), deep=False)
    (row,) = report.rows
    assert not row.passed
    assert row.hint is not None
    assert row.hint.side == "oracle"
    assert cause in row.hint.cause
    assert row.hint.text().startswith("the oracle's output is explained when")


# No false hints ----------------------------------------------------------------------------------


def test_noise_is_not_explained(registry: Registry) -> None:
    class Noisy(SpatialConvolution):
        def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
            out = super().apply(tf, x, at)
            return tf.add(out, tf.random.stateless_normal(tf.shape(out), (1, 2), stddev=0.01))

    report = report_of(conv(3, 4), randn(*IMAGE), planted_registry(registry, *bug_of(Noisy)))
    assert report.first_diverging is not None
    assert report.first_diverging.hint is None


def bug_of(bug: type[LayerMap]) -> tuple[type[LayerMap], type[LayerMap]]:
    return SpatialConvolution, bug


def test_a_layer_that_passes_has_no_hint() -> None:
    assert all(row.hint is None for row in report_of(conv(3, 4), randn(*IMAGE), None).rows)


def test_what_follows_a_wrong_layer_is_not_diagnosed(registry: Registry) -> None:
    bug = conv_bug(setting(bias=None))
    net = container("nn.Sequential", conv(3, 3), torch_module("nn.Tanh"))
    report = report_of(net, randn(*IMAGE), planted_registry(registry, SpatialConvolution, bug))
    hints: list[Row] = [row for row in report.rows if row.hint is not None]
    assert [row.path for row in hints] == ["1"]


def test_the_hint_stands_in_the_json_beside_the_verdict(registry: Registry) -> None:
    bug = conv_bug(setting(bias=None))
    report = report_of(
        conv(3, 4), randn(*IMAGE), planted_registry(registry, SpatialConvolution, bug)
    )
    shown = report_json([report])
    (layer,) = shown["layers"]
    assert shown["verdict"] == layer["status"] == "fail"
    assert layer["hint"]["cause"] == "`bias` is left out"
    assert layer["hint"]["before"] > 0.01 > 1e-5 > layer["hint"]["after"]
    assert layer["hint"]["text"].startswith("the port's output is explained when `bias`")


def test_where_reference_port_and_oracle_agree_there_is_nothing_to_explain() -> None:
    from porter.ir.graph import TensorType
    from porter.ir.layout import plan

    graph = model(conv(3, 4)).walk(TensorType(IMAGE))
    (step,) = plan(graph).node_steps()
    x = randn(*IMAGE)
    y = np.asarray(run(conv(3, 4), x))
    assert explain(step, (x,), (y,), (y,), 1e-5) is None
