"""Single layers as Keras models, against what Torch recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter import torch7
from porter.emit.keras import helpers
from porter.emit.keras.network import build, defines_both
from porter.errors import EmitError
from porter.frontend.dynamic import generalise
from porter.frontend.inputs import types_of
from porter.ir.fields import flag
from porter.ir.layer_map import Accepts, LayerMap
from porter.ir.layout import from_torch, plan, to_torch
from porter.ir.nested import leaves
from porter.ir.registry import Registry
from porter.parity.measure import compare
from porter.parity.recording import as_arrays
from porter.system.tensorflow import tf
from porter.torch7 import Table
from tests.build import (
    FIXTURES,
    Array,
    concat_table,
    image,
    linear,
    model,
    randn,
    sequential,
    torch_module,
)

NATIVE = {
    "cudnn.ClippedReLU": "ReLU",
    "cudnn.SpatialConvolution/g2_asym": "ZeroPadding2D Conv2D",
    "nn.BatchNormalization": "BatchNormalization",
    "nn.CAddTable": "Add",
    "nn.Dropout/v1": "Dropout Rescaling",
    "nn.ELU": "ELU",
    "nn.InstanceNormalization/fns_b3": "GroupNormalization",
    "nn.LookupTable/2d": "Embedding",
    "nn.PReLU/channel_4d": "PReLU",
    "nn.SpatialAveragePooling/k3s2p1_include": "ZeroPadding2D AveragePooling2D",
    "nn.SpatialConvolution/asym_k5x2_s2x1_p2x0": "ZeroPadding2D Conv2D",
    "nn.SpatialDilatedConvolution/d2_p2": "ZeroPadding2D Conv2D",
    "nn.SpatialFullConvolution/k3_s2_p1_a1": "Conv2DTranspose Cropping2D",
    "nn.SpatialMaxPooling/k2s2": "MaxPooling2D",
    "nn.SpatialSoftMax": "Softmax",
    "nn.SpatialUpSamplingNearest": "UpSampling2D",
    "nn.TemporalConvolution": "Conv1D",
    "nn.VolumetricFullConvolution/nobias": "Conv3DTranspose",
}
"""Cases by the layers of Keras that they become."""
WRITTEN = [
    "nn.BiSequencer",
    "nn.Bilinear",
    "nn.Cosine",
    "nn.DepthConcat/odd_sizes",
    "nn.FastLSTM",
    "nn.Index",
    "nn.LookupTable/maxnorm",
    "nn.LookupTableMaskZero",
    "nn.Recurrent/elman_seq",
    "nn.SeqLSTM/batchfirst",
    "nn.Sequencer/gru_tensor",
    "nn.SpatialAdaptiveAveragePooling",
    "nn.SpatialAveragePooling/k4x3_ceil_exclude",
    "nn.SpatialConvolutionLocal/k3_p1",
    "nn.SpatialCrossMapLRN/default5",
    "nn.SpatialDepthWiseConvolution",
    "nn.SpatialDilatedConvolution/nobias_3d",
    "nn.SpatialFractionalMaxPooling/ratio",
    "nn.SpatialFullConvolution/target_table",
    "nn.SpatialMaxPooling/k2s3_ceil_pad_lastwindow",
    "nn.SpatialMaxUnpooling/net",
    "nn.SpatialUpSamplingBilinear/x2",
    "nn.SplitTable",
    "nn.VolumetricMaxUnpooling",
]
"""Cases that need layers of their own."""


def first_case(name: str) -> Path:
    """The recorded case of this name, or a class's first."""
    path = FIXTURES / "layers" / f"{name}.t7"
    return path if path.is_file() else min(path.with_suffix("").parent.glob(f"{path.stem}/*.t7"))


def computed(path: Path) -> tuple[Any, list[Array], list[Array]]:
    """The Keras model of a recorded layer, what it makes, and what Torch made."""
    case = torch7.read(path).root
    assert isinstance(case, Table)
    x = as_arrays(case.get("input"), "input")
    laid = plan(model(case.get("module")).walk(types_of(x)))
    net, network = build(laid)
    inputs = [
        from_torch(array, laid.inputs[value.id]).astype(tensor.dtype)
        for array, value, tensor in zip(
            leaves(x), leaves(laid.graph.inputs), net.inputs, strict=True
        )
    ]
    results = net(inputs if len(inputs) > 1 else inputs[0])
    tensors = results if isinstance(results, list | tuple) else [results]
    got = [
        to_torch(np.asarray(tensor), laid.outputs[value.id])
        for tensor, value in zip(tensors, leaves(laid.graph.outputs), strict=True)
    ]
    net.network = network
    return net, got, list(leaves(as_arrays(case.get("output"), "output")))


def assert_equal(got: list[Array], expected: list[Array]) -> None:
    for computed, recorded in zip(got, expected, strict=True):
        adds_batch = computed.shape == (1, *recorded.shape)
        assert compare(recorded, computed[0] if adds_batch else computed).within(1e-5)


@pytest.mark.parametrize("name", NATIVE)
def test_a_layer_that_keras_has(name: str) -> None:
    net, got, expected = computed(first_case(name))
    assert_equal(got, expected)
    kinds = [type(layer).__name__ for layer in net.layers]
    moves = ("InputLayer", "Permute", "Reshape")
    assert " ".join(kind for kind in kinds if kind not in moves) == NATIVE[name]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_layer_that_is_written(name: str) -> None:
    net, got, expected = computed(first_case(name))
    assert_equal(got, expected)
    assert net.network.written


@pytest.mark.parametrize(
    ("name", "why"), [("nn.MaskedSelect", "depends on their values"), ("nn.NoiseFill", "64 bits")]
)
def test_a_layer_that_cannot_be_written(name: str, why: str) -> None:
    with pytest.raises(EmitError, match=why) as raised:
        computed(first_case(name))
    assert name in (raised.value.where or "")


def test_a_map_that_computes_by_other_means_is_refused(registry: Registry) -> None:
    class Doubling(LayerMap):
        accepts = Accepts.ELEMENTWISE

        def reference(self, x: Array) -> Array:
            return 2 * x

        def apply(self, tf: Any, x: Any, at: Any) -> Any:
            return x * 2

    registry.add("my.Doubling", Doubling, override=False)
    graph = model(torch_module("my.Doubling"), registry).walk(types_of(randn(2, 3)))
    with pytest.raises(EmitError, match="unsupported operand"):
        build(plan(graph))


def test_modules_that_share_a_weight_are_one_layer() -> None:
    first = linear(4, 4)
    weight, bias = (first.fields.get(name) for name in ("weight", "bias"))
    net = sequential(first, torch_module("nn.Linear", weight=weight, bias=bias))
    keras_net, network = build(plan(model(net).walk(types_of(randn(2, 4)))))
    assert [type(layer).__name__ for layer in keras_net.layers] == ["InputLayer", "Dense"]
    assert keras_net.count_params() == 20
    assert not network.split


def test_weights_in_layers_of_different_kinds_are_reported() -> None:
    first = linear(4, 4)
    weight = first.fields.get("weight")
    transposed = torch_module("nn.Cosine", weight=weight)
    net = concat_table(first, transposed)
    _, network = build(plan(model(net).walk(types_of(randn(2, 4)))))
    assert "1 weights that Torch shares are stored apart" in network.note


def test_keras_of_a_class_is_not_that_of_a_subclass_with_another_apply() -> None:
    class Parent(LayerMap):
        inplace = flag("inplace")

        def reference(self, x: Array) -> Array:
            return x

        def apply(self, tf: Any, x: Any, at: Any) -> Any:
            return x

        def keras(self, k: Any, x: Any, at: Any) -> Any:
            return x

    class Same(Parent):
        pass

    class Other(Parent):
        def apply(self, tf: Any, x: Any, at: Any) -> Any:
            return tf.negative(x)

    assert [defines_both(each) for each in (Parent, Same, Other)] == [True, True, False]


# What keras.ops lacks -----------------------------------------------------------------------------

IMAGES = randn(2, 6, 8, 4)


def test_maxima_and_their_places() -> None:
    expected = tf.nn.max_pool_with_argmax(
        IMAGES, (2, 3), (2, 3), "VALID", include_batch_in_index=True
    )
    for computed, each in zip(helpers.max_pool_with_argmax(IMAGES, (2, 3)), expected, strict=True):
        assert np.array_equal(computed, each)


def test_blocks_of_pixels() -> None:
    computed = helpers.depth_to_space(IMAGES, 2)
    assert np.array_equal(computed, tf.nn.depth_to_space(IMAGES, 2))


def test_interleaved_images() -> None:
    padding = [[0, 0], [1, 0]]
    apart = helpers.space_to_batch(IMAGES, [2, 3], padding)
    assert np.array_equal(apart, tf.space_to_batch(IMAGES, [2, 3], padding))
    together = helpers.batch_to_space(apart, [2, 3], padding)
    assert np.array_equal(together, IMAGES)


@pytest.mark.parametrize("sizes", [(11, 15), (3, 4)])
def test_aligned_corners(sizes: tuple[int, int]) -> None:
    expected = tf.raw_ops.ResizeBilinear(images=IMAGES, size=sizes, align_corners=True)
    assert np.allclose(helpers.resize_aligned(IMAGES, sizes), expected, atol=1e-6)


def test_nearest_pixels() -> None:
    computed = helpers.resize_nearest(IMAGES, (12, 24))
    assert np.array_equal(computed, IMAGES.repeat(2, 1).repeat(3, 2))


@pytest.mark.parametrize(
    ("kernel", "stride", "reach", "padding"),
    [
        (3, 2, 3, "valid"),
        (3, 2, 4, "valid"),
        (2, 3, 3, "valid"),
        (4, 2, 2, "same"),
        (3, 2, 1, "same"),
    ],
)
def test_transposed_convolutions(kernel: int, stride: int, reach: int, padding: str) -> None:
    weight = randn(kernel, kernel, 5, 4)
    sizes = [(size - 1) * stride + reach for size in (6, 8)]
    expected = tf.nn.conv2d_transpose(
        IMAGES, weight, [2, *sizes, 5], [1, stride, stride, 1], padding.upper()
    )
    computed = helpers.conv_transpose(IMAGES, weight, (stride, stride), tuple(sizes), padding)
    assert np.allclose(computed, expected, atol=1e-4)


@pytest.mark.parametrize(("axis", "batch"), [(1, 0), (2, 1), (3, 2), (1, 1)])
def test_elements_by_place(axis: int, batch: int) -> None:
    places = np.random.default_rng(1).integers(0, 4, (*IMAGES.shape[:batch], 3, 2))
    computed = helpers.take_batched(IMAGES, places, axis, batch)
    assert np.array_equal(computed, tf.gather(IMAGES, places, axis=axis, batch_dims=batch))


def test_a_loop_takes_numbers_of_steps_that_are_known_only_when_it_runs() -> None:
    layer = linear(4, 3)
    steps = torch_module("nn.Sequencer", modules=[layer])
    net = sequential(torch_module("nn.SplitTable", dimension=1), steps)
    graph = generalise(model(net), image(2, 7, 4))
    network, _ = build(plan(graph))
    run = tf.function(network, input_signature=[tf.TensorSpec((None, None, 4))])
    weight, bias = (layer.tensor(each).array for each in ("weight", "bias"))
    for shape in ((5, 2, 4), (1, 3, 4)):
        x = randn(*shape)
        np.testing.assert_allclose(run(x), x @ weight.T + bias, atol=1e-5)
