"""What a model must be fed is found: sizes, batches, indices, several inputs; or it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.cli.main import main, with_shapes
from porter.conversion.free_axes import (
    chosen_axes,
    free_axes,
    free_text,
    frozen_warning,
    size_text,
    stacked_warning,
    table_warning,
)
from porter.conversion.verification_inputs import admits, batched_type, emitted_types
from porter.emit.port import build_widest
from porter.emit.settings import ExportOptions
from porter.errors import ShapeMismatch, ShapeNeeded, UsageError, WalkError
from porter.frontend import oblong_sizes
from porter.frontend.batch_rows import keeps_borders, mixes_axes
from porter.frontend.dynamic import generalise
from porter.frontend.index_inputs import index_inputs
from porter.frontend.inputs import (
    parse_shape,
    requested,
    samples,
    shape_template,
    types_of,
    with_batches,
)
from porter.frontend.least_sizes import least_sizes
from porter.frontend.model_file import open_model
from porter.frontend.search import solve
from porter.frontend.trial_sizes import SMALL_SIZES
from porter.frontend.walker import Model, Walk
from porter.ir.capabilities import HintsInputs, TellsInput
from porter.ir.graph import INT, Graph, Shape, TensorType
from porter.ir.layer_map import LayerMap
from porter.ir.nested import Nested, leaves
from porter.layer_maps import default_registry
from porter.parity.recording import as_arrays, read
from porter.runtime import memory
from porter.runtime.runner import Variables, load, run, store
from porter.system.tensorflow import tf
from porter.torch7 import TorchObject
from porter.torch7 import read as read_t7
from tests.build import (
    FIXTURES,
    Array,
    concat_table,
    conv,
    identity,
    image,
    linear,
    model,
    parallel_table,
    randn,
    relu,
    sequential,
    storage,
    tensor,
    torch_module,
    view,
)

FIELD = FIXTURES / "field" / "inputs"
BATCH_ONLY = "free: batch"
FREE_IMAGE = "free: batch, height, width"


def field_model(name: str) -> Model:
    return open_model(FIELD / f"{name}.t7", default_registry()).model()


def recorded(name: str, side: str) -> Nested[Array]:
    return as_arrays(read_t7(FIELD / f"{name}.{side}.t7").root, side)


def full_conv(planes: int, outputs: int, kernel: int = 4, stride: int = 1) -> Any:
    random = np.random.default_rng(0)
    return torch_module(
        "nn.SpatialFullConvolution",
        nInputPlane=planes,
        nOutputPlane=outputs,
        **dict.fromkeys(("kW", "kH"), kernel),
        **dict.fromkeys(("dW", "dH"), stride),
        **dict.fromkeys(("padW", "padH", "adjW", "adjH"), 0),
        weight=random.standard_normal((planes, outputs, kernel, kernel)).astype(np.float32),
        bias=random.standard_normal(outputs).astype(np.float32),
    )


def volumetric(planes: int, outputs: int, kernel: int = 3) -> Any:
    random = np.random.default_rng(0)
    shape = (outputs, planes, kernel, kernel, kernel)
    return torch_module(
        "nn.VolumetricConvolution",
        nInputPlane=planes,
        nOutputPlane=outputs,
        **dict.fromkeys(("kT", "kW", "kH"), kernel),
        **dict.fromkeys(("dT", "dW", "dH"), 1),
        **dict.fromkeys(("padT", "padW", "padH"), 0),
        weight=random.standard_normal(shape).astype(np.float32),
        bias=random.standard_normal(outputs).astype(np.float32),
    )


def lookup(rows: int, features: int) -> Any:
    weight = np.random.default_rng(0).standard_normal((rows, features)).astype(np.float32)
    return torch_module("nn.LookupTable", weight=weight, paddingValue=0)


@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("perpixel_head_1x1", FREE_IMAGE),
        ("view_batch_one", "no axis is free"),
        ("view_first_volumetric", BATCH_ONLY),
        ("view_two_branches", BATCH_ONLY),
        ("lookup_1d_vector", "free: length"),
        ("probe_dropout_first", BATCH_ONLY),
        ("exp_x255_refused", FREE_IMAGE),
        ("reinterpret_batch_fixed_2", FREE_IMAGE),
        ("two_inputs_gmodule", FREE_IMAGE),
        ("two_inputs_parallel", BATCH_ONLY),
        ("join_mixed_rank", BATCH_ONLY),
        ("conv_bn_tanh", FREE_IMAGE),
        ("weightnorm", BATCH_ONLY),
        ("squeeze_linear", BATCH_ONLY),
        ("zaremba_core", None),
        ("entnet", "free: input_1 none; input_2 dimension 2; input_3 none; input_4 dimension 2"),
    ],
)
def test_what_is_solved_admits_what_torch_was_fed_and_computes_the_same(
    name: str, free: str | None
) -> None:
    net = field_model(name)
    port = build_widest(net, emitted_types(net, solve(net)), Variables(), ExportOptions())
    fed, expected = recorded(name, "in"), recorded(name, "out")
    assert admits(port.graph, types_of(fed))
    assert free is None or free_text(free_axes(port.graph)) == free
    tensors = {
        value.id: store(array, value, port.plan.inputs[value.id], "float32")
        for value, array in zip(leaves(port.graph.inputs), leaves(fed), strict=True)
    }
    outputs = run(port.plan, tensors, port.variables)
    for value, array in zip(leaves(port.graph.outputs), leaves(expected), strict=True):
        computed = load(outputs[value.id], port.plan.outputs[value.id])
        np.testing.assert_allclose(computed.reshape(array.shape), array, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["view_minus1_13", "view_minus1_1x13"])
def test_a_recorded_shape_is_admitted_where_only_one_sample_fits(name: str) -> None:
    net = field_model("view_minus1")
    types = types_of(read(FIELD / f"{name}.activations.t7").input)
    assert batched_type(net, types) == TensorType((1, 13))
    assert solve(net).types == (TensorType((1, 13)),)


@pytest.mark.parametrize(
    ("name", "shape", "alike", "recorded"),
    [
        ("oblong_view", "32×144", "height 31 to 32, width 143 to 144", "31x144"),
        ("oblong_view17", "32×288", "height 31 to 32, width 287 to 288", "31x287"),
    ],
)
def test_several_sizes_that_run_are_named_with_what_decides(
    name: str, shape: str, alike: str, recorded: str
) -> None:
    with pytest.raises(ShapeNeeded) as caught:
        solve(field_model(name))
    assert f"{shape} ({alike} come to the same)" in str(caught.value.received)
    assert shape.replace("×", "x") in str(caught.value.hint)
    for each in (*caught.value.shapes, f"1x{recorded}"):
        requested(field_model(name), [parse_shape(each)])


def test_no_size_is_taken_that_fits_because_samples_are_cut_or_merged() -> None:
    # 6 planes of 8×8 make 8 rows of 48 features, and two samples of 2×2 one.
    net = sequential(conv(1, 6, stride=2), view(48), linear(48, 2))
    with pytest.raises(ShapeNeeded):
        solve(model(net))


def test_a_square_is_found_where_one_fits() -> None:
    net = sequential(conv(3, 4, stride=2), relu(), view(4 * 49), linear(4 * 49, 5))
    (type,) = solve(model(net)).types
    assert type.static[:2] == (1, 3)
    assert type.static[2] == type.static[3] in (15, 16)


def pooled() -> TorchObject:
    """To half the size, as nn.SpatialMaxPooling(2, 2, 2, 2) does."""
    return torch_module("nn.SpatialMaxPooling", kW=2, kH=2, dW=2, dH=2)


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param(
            [view(1, -1), linear(4 * 6 * 9, 5)],
            id="one sample of a whole batch",
        ),
        pytest.param(
            [
                concat_table(
                    sequential(view(4 * 6 * 9, sample_rank=3), linear(4 * 6 * 9, 3)),
                    sequential(conv(4, 2, pad=1), view(2 * 6 * 9, sample_rank=3)),
                )
            ],
            id="two branches",
        ),
    ],
)
def test_of_oblong_images_that_all_fit_the_error_names_the_likeliest_first(
    behind: list[TorchObject],
) -> None:
    net = sequential(conv(3, 4, pad=1), pooled(), *behind)
    with pytest.raises(ShapeNeeded, match="images of several sizes") as caught:
        solve(model(net))
    assert caught.value.shapes == ("1x3x12x18",)


def volumes(kernel: int) -> TorchObject:
    """One plane to two, with kernels of one size on all sides."""
    return torch_module(
        "nn.VolumetricConvolution",
        nInputPlane=1,
        nOutputPlane=2,
        kT=kernel,
        kW=kernel,
        kH=kernel,
        dT=1,
        dW=1,
        dH=1,
        padT=0,
        padW=0,
        padH=0,
        weight=randn(2, 1, kernel, kernel, kernel),
        bias=randn(2),
    )


def test_a_volume_that_may_lie_on_another_side_is_asked_for() -> None:
    net = sequential(volumes(3), view(-1, sample_rank=4), linear(2 * 5 * 7 * 9, 3))
    with pytest.raises(ShapeNeeded, match="volumes of several sizes") as caught:
        solve(model(net))
    assert caught.value.shapes == ("1x1x7x9x11",)
    (free,) = solve(model(volumes(3))).types[:1]
    assert free.rank == 5


@pytest.mark.parametrize("transpose", [False, True])
def test_the_matrix_of_a_product_is_found_beside_its_vector(transpose: bool) -> None:
    product = torch_module("nn.MV", trans=transpose)
    net = sequential(parallel_table(identity(), linear(3, 5)), product)
    (types,) = solve(model(net)).types
    matrix, vector = leaves(types)
    assert vector.shape == (2, 3)
    assert matrix.static[0] == 2
    assert matrix.static[1 if transpose else 2] == 5


def test_two_images_that_must_agree_are_small_together() -> None:
    """Made smaller alone, neither fits the other."""
    sum_of = torch_module("nn.CAddTable")
    net = model(sequential(parallel_table(conv(3, 2), conv(3, 2)), sum_of))
    types = [image(2, 3, 12, 16)] * 2
    assert least_sizes(net, types, generalise(net, types)) == {0: {2: 3, 3: 3}, 1: {2: 3, 3: 3}}


@pytest.mark.parametrize(
    ("size", "sample_rank", "channels", "shape"),
    [([-1, 1], 1, 1, (2, 7)), ([4, 1], 1, 1, (2, 4)), ([-1, 3], 2, 3, (2, 7, 9))],
)
def test_a_view_tells_how_many_dimensions_a_sample_has(
    size: list[int], sample_rank: int, channels: int, shape: Shape
) -> None:
    steps = torch_module(
        "nn.TemporalConvolution",
        inputFrameSize=channels,
        outputFrameSize=2,
        kW=1,
        dW=1,
        weight=randn(2, channels),
        bias=randn(2),
    )
    net = sequential(view(*size, sample_rank=sample_rank), steps)
    assert [each.shape for each in solve(model(net)).types] == [shape]


def test_words_that_are_summed_to_one_vector_are_those_of_one_text() -> None:
    """As CBOW: of N×T words the sum is one over texts, which fits for single words alone."""
    words = torch_module("nn.LookupTable", weight=randn(9, 4))
    total = torch_module("nn.Sum", dimension=1)
    net = model(sequential(words, total, view(1, -1), linear(4, 9)))
    (type,) = solve(net).types
    assert type == TensorType((2,), INT)
    assert free_axes(generalise(net, type)) == {"input": ["length"]}


def test_the_sizes_of_both_inputs_are_found_where_no_layer_has_just_one() -> None:
    bilinear = torch_module("nn.Bilinear", weight=randn(3, 4, 5), bias=randn(3))
    (types,) = solve(model(sequential(bilinear, relu()))).types
    assert [each.shape for each in leaves(types)] == [(2, 4), (2, 5)]


@pytest.mark.parametrize(
    "layer",
    [
        torch_module("nn.JoinTable", dimension=2, nInputDims=2),
        torch_module("nn.MM"),
        torch_module("nn.CosineDistance"),
    ],
    ids=lambda layer: layer.typename,
)
def test_a_net_that_starts_with_a_table_is_said_to_take_several_tensors(layer: TorchObject) -> None:
    with pytest.raises(ShapeNeeded, match="takes 2 tensors") as caught:
        solve(model(sequential(layer, linear(5, 3))))
    assert caught.value.shapes == ("SHAPE_1", "SHAPE_2")


@pytest.mark.parametrize("count", [1, 2])
def test_no_size_is_walked_twice_nor_more_sizes_than_are_asked_for(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[Nested[TensorType]] = []
    walk_with = Model.walk_with

    def counted(self: Model, kind: type[Walk], inputs: Nested[TensorType]) -> Graph:
        walks.append(inputs)
        return walk_with(self, kind, inputs)

    monkeypatch.setattr(Model, "walk_with", counted)
    net = model(sequential(conv(3, 8, 3), relu(), conv(8, 3, 3)))
    assert len(solve(net, count).types) == count
    images = [each for each in walks if isinstance(each, TensorType) and each.rank == 4]
    assert len(images) == len(set(images))
    assert (TensorType((2, 3, *SMALL_SIZES[1])) in images) is (count == 2)


def test_a_batch_that_a_view_names_is_the_batch() -> None:
    net = sequential(conv(3, 4, stride=2), view(5, 4 * 49), linear(4 * 49, 5))
    assert [type.shape for type in solve(model(net)).types] == [(5, 3, 16, 16)]


def test_planes_are_told_behind_a_padding() -> None:
    padding = torch_module("nn.SpatialSymmetricPadding", pad_l=1, pad_r=1, pad_t=1, pad_b=1)
    net = sequential(padding, conv(3, 2))
    assert {type.static[1] for type in solve(model(net)).types} == {3}


def test_of_published_sizes_that_fit_the_smallest_that_runs_is_taken() -> None:
    # 231 to 262 become 7×7; of published sizes 256 is looked at first.
    net = sequential(
        conv(3, 2, 11, stride=4), conv(2, 2, 8, stride=8), view(2 * 49), linear(2 * 49, 5)
    )
    (type,) = solve(model(net)).types
    assert type.static == (1, 3, 231, 231)
    # 221 to 236 become 14×14.
    net = sequential(conv(3, 2, 13, stride=16), view(2 * 14 * 14), linear(2 * 14 * 14, 5))
    (type,) = solve(model(net)).types
    assert type.static == (1, 3, 224, 224)


def test_an_hourglass_is_verified_on_its_smallest_images() -> None:
    """Halved six times and doubled again, beside what was halved: heights are multiples of 64."""
    inner = conv(3, 3, pad=1)
    for _ in range(6):
        pool = torch_module("nn.SpatialMaxPooling", kW=2, kH=2, dW=2, dH=2, padW=0, padH=0)
        double = torch_module("nn.SpatialUpSamplingNearest", scale_factor=2)
        inner = sequential(
            concat_table(identity(), sequential(pool, inner, double)),
            torch_module("nn.CAddTable"),
        )
    net = model(inner)
    assert [type.static for type in solve(net).types] == [(1, 3, 64, 128), (1, 3, 128, 64)]
    walks = len(net.generalised)
    assert free_axes(generalise(net, image(2, 3, 64, 128)))["input"] == ["batch", "height", "width"]
    assert len(net.generalised) == walks, "what the search has generalised is kept"


@pytest.mark.parametrize("most", [2, 20_000])
def test_a_layer_is_asked_once_for_images_that_strides_round_alike(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TensorType] = []
    net = Model(sequential(conv(3, 4, 8, stride=8), relu()), default_registry())
    ops = tuple(net.op(module) for module in net.root.list("modules"))
    output_types = type(ops[1]).output_types

    def counted(self: LayerMap, *inputs: TensorType) -> tuple[TensorType, ...]:
        asked.extend(inputs)
        return output_types(self, *inputs)

    monkeypatch.setattr(type(ops[1]), "output_types", counted)
    monkeypatch.setattr(oblong_sizes, "MAX_OUTPUTS", most)
    layers = oblong_sizes.Fixed(3, {}, {}, ops)
    images = [TensorType((2, 3, rows, columns)) for rows in (64, 66) for columns in (32, 39, 40)]
    last = [(layers.types(image) or [image])[-1].static for image in images]
    assert last == [(2, 4, 8, 4), (2, 4, 8, 4), (2, 4, 8, 5)] * 2
    assert len(set(asked)) == 2
    assert len(asked) == 2 or most == 2


def test_images_that_no_layer_makes_smaller_are_found() -> None:
    net = sequential(conv(3, 2, pad=1), relu(), view(2 * 54), linear(2 * 54, 4))
    with pytest.raises(ShapeNeeded) as caught:
        solve(model(net))
    assert caught.value.received == "1×3×6×9 or 1×3×9×6 or 1×3×3×18"
    with_branches = sequential(
        concat_table(
            sequential(conv(3, 2, pad=1), view(2 * 7)), sequential(conv(3, 1, pad=1), view(7))
        ),
        torch_module("nn.JoinTable", dimension=2),
        linear(21, 4),
    )
    with pytest.raises(ShapeNeeded, match="several sizes"):
        solve(model(with_branches))


def test_a_net_that_drops_its_batch_is_given_one_image() -> None:
    net = sequential(conv(3, 4), relu(), view(-1), linear(4 * 30 * 30, 5))
    assert solve(model(net)).types == (image(1, 3, 32, 32),)
    strip = sequential(conv(1, 6, kernel=5), view(-1), linear(6 * 16 * 32, 5))
    with pytest.raises(ShapeNeeded) as caught:
        solve(model(strip))
    assert str(caught.value.received).startswith("1×1×20×36 or 1×1×36×20")


def test_a_size_that_only_two_images_have_is_given_as_two() -> None:
    whole = sequential(conv(7, 2, kernel=16), view(2))
    flat = sequential(view(7 * 16 * 16), linear(7 * 16 * 16, 5))
    net = sequential(concat_table(flat, whole), torch_module("nn.JoinTable", dimension=2))
    assert solve(model(net)).types == (image(2, 7, 16, 16),)


def test_the_layer_that_tells_most_need_not_come_first() -> None:
    features = sequential(view(7 * 16 * 16), linear(7 * 16 * 16, 5))
    assert solve(model(concat_table(features, conv(7, 2)))).types == (image(1, 7, 16, 16),)


@pytest.mark.parametrize(("pads", "width"), [((2,), 8), ((-3,), 7), ((2, -2), 6), ((-200,), 400)])
def test_features_that_are_added_in_front_of_a_layer_are_left_out(
    pads: tuple[int, ...], width: int
) -> None:
    padding = [torch_module("nn.Padding", dim=1, pad=pad, nInputDim=1, value=0) for pad in pads]
    net = sequential(*padding, linear(width + sum(map(abs, pads)), 4))
    assert solve(model(net)).types == (image(2, width),)


def test_a_shape_to_fill_in_goes_with_what_the_first_layer_takes() -> None:
    mismatched = sequential(conv(1, 4), conv(5, 2))
    with pytest.raises(WalkError) as caught:
        solve(model(mismatched))
    assert (caught.value.shapes, caught.value.is_template) == (("1xHxW",), True)
    for hint, template in (
        (TensorType((None, None, None, None)), "CxHxW"),
        (TensorType((None, 2, None, None, None)), "2xDxHxW"),
        (TensorType((None, None, 64)), "NxTx64"),
        (TensorType((None, 64)), "Nx64"),
        (TensorType((None, None), INT), "NxT:int"),
    ):
        assert shape_template(hint) == template


def test_a_view_that_names_height_and_width_states_them() -> None:
    net = sequential(conv(3, 4, pad=1), view(4, 8, 6), conv(4, 2, pad=1))
    assert [type.shape for type in solve(model(net)).types] == [(1, 3, 8, 6)]
    regrouped = sequential(conv(3, 4, pad=1), view(2, 8, 12), conv(2, 2, pad=1))
    with pytest.raises(ShapeNeeded, match="several sizes"):
        solve(model(regrouped))


def test_no_volume_is_taken_that_fits_because_planes_become_samples() -> None:
    # 3 planes of 16×18×20 make 48 rows of 360 features; the net was made for 6×7×8.
    net = sequential(volumetric(1, 3), relu(), view(360), linear(360, 4))
    with pytest.raises(ShapeMismatch):
        solve(model(net))
    cube = sequential(volumetric(1, 3), relu(), view(3 * 216), linear(3 * 216, 4))
    assert [type.shape for type in solve(model(cube)).types] == [(2, 1, 8, 8, 8)]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("c3d", (1, 3, 16, 112, 112)),
        ("ltc", (1, 3, 20, 58, 58)),
        ("videogan-discriminator", (1, 3, 32, 64, 64)),
    ],
)
def test_volumes_of_a_fixed_size_are_of_a_published_one(name: str, shape: tuple[int, ...]) -> None:
    net = open_model(FIXTURES / "zoo" / name / "model.t7", default_registry()).model()
    solved = solve(net)
    assert [type.shape for type in solved.types] == [shape]
    assert solved.solved.startswith("a published size that fits the model's layers, as others may")


def test_what_torch_left_in_the_file_decides() -> None:
    first = conv(1, 6, stride=2)
    first.fields["output"] = tensor(np.zeros((4, 6, 2, 4), np.float32))
    net = sequential(first, view(48), linear(48, 2))
    shapes = solve(model(net))
    assert [type.shape for type in shapes.types] == [(1, 1, 6, 10)]
    assert shapes.solved == "stated by what Torch left in the file: 1×6×10"


def test_cudnn_says_what_it_was_fed() -> None:
    first = conv(1, 6, stride=2)
    first.fields["iSize"] = storage(np.array([5, 1, 5, 9]))
    net = sequential(first, view(48), linear(48, 2))
    assert [type.shape for type in solve(model(net)).types] == [(1, 1, 5, 9)]


@pytest.mark.parametrize(
    ("before", "after", "same_borders"),
    [
        ((2, 3, 8), (6, 8), True),
        ((8, 6), (2, 4, 6), True),
        ((2, 3, 8), (4, 12), False),
        ((2, 6, 1, 8), (2, 48), True),
        ((2, 6, 38, 38), (361, 48), False),
    ],
)
def test_where_reshaped_samples_begin(
    before: tuple[int, ...], after: tuple[int, ...], same_borders: bool
) -> None:
    assert keeps_borders(before, after) is same_borders


@pytest.mark.parametrize(
    ("before", "after", "mixes"),
    [
        ((2, 4, 41, 9), (2, 164, 9), False),
        ((2, 4, 56, 41), (2, 164, 56), True),
        ((2, 4, 164, 9), (2, 164, 36), True),
        ((2, 3, 5, 63), (2, 45, 21), False),
        ((2, 36, 5, 7), (2, 4, 9, 5, 7), False),
        ((2, 3, 8, 8), (6, 64), False),
        ((2, 3, 1, 8), (2, 24), False),
    ],
)
def test_where_a_reshape_mixes_axes(
    before: tuple[int, ...], after: tuple[int, ...], mixes: bool
) -> None:
    assert mixes_axes(before, after) is mixes


def test_a_size_with_which_a_view_mixes_rows_and_columns_comes_last() -> None:
    """Spectra of 43 frequencies, as steps of 4×41 features: 248×248 runs, too."""
    frames = {"kW": 1, "dW": 1, "inputFrameSize": 164, "outputFrameSize": 3}
    net = sequential(
        conv(1, 4),
        view(164, -1, sample_rank=3),
        torch_module("nn.Transpose", permutations=[[2, 3]]),
        torch_module("nn.TemporalConvolution", weight=randn(3, 164), bias=randn(3), **frames),
    )
    (found,) = solve(model(net)).types
    assert found.shape == (1, 1, 43, 43)
    (value,) = leaves(generalise(model(net), found).inputs)
    assert value.type.shape == (None, 1, 43, None)


def test_a_size_with_which_a_view_mixes_is_taken_where_no_other_runs() -> None:
    (found,) = solve(model(sequential(conv(1, 4), view(10, 10)))).types
    assert found.shape == (1, 1, 7, 7)


def test_noise_before_a_view_is_a_vector() -> None:
    net = sequential(view(-1, 8, 1, 1), full_conv(8, 3))
    assert [type.shape for type in solve(model(net)).types] == [(2, 8)]


def test_generators_are_verified_on_tiny_images() -> None:
    net = sequential(
        full_conv(8, 64, stride=4), full_conv(64, 64, stride=4), full_conv(64, 3, stride=4)
    )
    solved = solve(model(net))
    assert solved.types[0].static[2:] < SMALL_SIZES[0]  # type: ignore[union-attr]
    assert memory.widest(model(net).walk(solved.types[0])) < 4_000_000


def test_indices_of_one_and_of_two_dimensions_are_named_both() -> None:
    with pytest.raises(ShapeNeeded) as caught:
        solve(field_model("multi_input_1d_index"))
    assert caught.value.shapes == ("2:int", "2x4")
    assert "`input_shapes=2x37:int` `input_shapes=2x37x4`" in str(caught.value.hint)


def test_the_command_that_is_shown_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(FIELD / "multi_input_1d_index.t7")
    assert main(["inspect", file]) == 0
    assert main(["convert", file, "-o", str(tmp_path / "port")]) == 2
    shown = capsys.readouterr().err
    assert (
        f"porter convert {file} -o {tmp_path / 'port'} --input-shape 2:int --input-shape 2x4"
        in shown
    )


def test_shapes_that_were_given_are_replaced_in_the_command() -> None:
    words = ["convert", "a b.t7", "--input-shape", "3", "--input-shape=4", "--force"]
    assert with_shapes(words, ["5:int"]) == "porter convert 'a b.t7' --force --input-shape 5:int"


def test_shapes_with_dtypes() -> None:
    assert parse_shape("5x3:int") == TensorType((5, 3), INT)
    assert parse_shape("5x3:float") == TensorType((5, 3))
    assert parse_shape("5,3") == (5, 3)
    for text in ("5x:int", "5:double", ":int", "0x3"):
        with pytest.raises(UsageError):
            parse_shape(text)


def test_indices_follow_from_what_reads_them() -> None:
    net = model(
        sequential(parallel_table(lookup(9, 4), linear(3, 4)), torch_module("nn.CAddTable"))
    )
    assert requested(net, [(5,), (5, 3)]).types == ([TensorType((5,), INT), TensorType((5, 3))],)
    graph = net.walk([TensorType((5,), INT), TensorType((5, 3))])
    indices, features = leaves(graph.inputs)
    assert index_inputs(graph)[indices.id].largest == 9
    for sample in samples(net, requested(net, [(5,), (5, 3)]), seed=1):
        drawn, numbers = leaves(sample.arrays)
        assert drawn.dtype == np.int64
        assert drawn.min() >= 1
        assert drawn.max() <= 9
        assert len(drawn) == len(numbers)
    assert features.id not in index_inputs(graph)


def test_vectors_have_a_batch_where_they_are_as_long_as_it() -> None:
    net = model(
        sequential(parallel_table(lookup(9, 4), linear(3, 4)), torch_module("nn.CAddTable"))
    )
    types = [TensorType((5,), INT), TensorType((5, 3))]
    assert with_batches(net, types, 2) == [TensorType((2,), INT), TensorType((2, 3))]
    free = [value.type.shape for value in leaves(generalise(net, types).inputs)]
    assert free == [(None,), (None, 3)]


def test_tables_among_several_inputs_are_found() -> None:
    shapes = solve(field_model("zaremba_core"))
    (types,) = shapes.types
    assert isinstance(types, list)
    assert types[0] == types[1] == TensorType((2,), INT)
    assert types[2] == [TensorType((2, 24))] * 4
    flat = [(20,), (20,), *[(20, 24)] * 4]
    (nested,) = requested(field_model("zaremba_core"), flat).types
    assert isinstance(nested, list)
    assert nested[2] == [TensorType((20, 24))] * 4


def test_a_tensor_that_is_joined_is_as_long_as_the_next_layer_needs() -> None:
    words = parallel_table(lookup(9, 70), torch_module("nn.Identity"))
    net = sequential(words, torch_module("nn.JoinTable", dimension=2), linear(170, 4))
    assert solve(model(net)).types == ([TensorType((2,), INT), TensorType((2, 100))],)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (None, (5, 3, 8), [(5, None, 3), (5, 3, None), (5, None, 8), (5, 8, None)]),
        ((5, 3, 8), None, [(5, 8, None), (5, 3, None), (5, None, 8), (5, None, 3)]),
    ],
)
def test_a_matrix_is_as_wide_as_what_it_is_multiplied_with(
    first: Shape | None, second: Shape | None, expected: list[tuple[int | None, ...]]
) -> None:
    types = [None if shape is None else TensorType(shape) for shape in (first, second)]
    found = []
    for flags in ((False, False), (True, False), (False, True), (True, True)):
        net = model(torch_module("nn.MM", transA=flags[0], transB=flags[1]))
        op = net.op(net.root)
        assert isinstance(op, HintsInputs)
        found.append(op.input_hint_at(types.index(None), types))
    assert [hint and hint.shape for hint in found] == expected


@pytest.mark.parametrize(
    ("batch", "words", "step"), [(3, 6, 2), (10, 4, 3), (1, 11, 1), (32, 5, 4)]
)
def test_inputs_of_fixed_sizes_are_found_from_what_fits_together(
    batch: int, words: int, step: int
) -> None:
    sentence = sequential(
        lookup(9, 4),
        view(-1, 4 * words),
        view(batch, words, 4),
        torch_module("nn.Sum", dimension=2),
    )
    last = sequential(torch_module("nn.Select", dimension=2, index=step), linear(5, 4))
    numbers = sequential(
        torch_module("nn.Replicate", nfeatures=batch, dim=1), lookup(7, 4), view(batch, 2, 4)
    )
    net = model(
        sequential(
            parallel_table(
                sentence, last, sequential(numbers, torch_module("nn.Sum", dimension=2))
            ),
            torch_module("nn.CAddTable"),
        )
    )
    (types,) = solve(net).types
    first, second, third = leaves(types)
    assert first == TensorType((batch, words), INT)
    assert (second.shape[0], second.shape[2]) == (batch, 5)
    assert third == TensorType((2,), INT)
    free = [value.type.shape for value in leaves(generalise(net, types).inputs)]
    assert free == [(batch, words), (batch, None, 5), (2,)]


@pytest.mark.parametrize(
    ("layer", "output", "fed"),
    [
        (torch_module("nn.Select", dimension=2, index=1), (3,), (3, None)),
        (torch_module("nn.Select", dimension=-1, index=1), (3, 4), (3, 4, None)),
        (torch_module("nn.Replicate", nfeatures=5, dim=2, ndim=2), (3, 5), (3,)),
        (torch_module("nn.Unsqueeze", pos=1), (1, 7), (7,)),
        (torch_module("nn.Transpose", permutations=[[1, 2]]), (3, 4), (4, 3)),
        (torch_module("nn.Narrow", dimension=2, index=1, length=2), (3, 2), (3, None)),
    ],
)
def test_what_a_layer_is_fed_follows_from_its_output(
    layer: Any, output: tuple[int, ...], fed: tuple[int | None, ...]
) -> None:
    op = model(layer).op(layer)
    assert isinstance(op, TellsInput)
    assert op.input_of(TensorType(output)) == TensorType(fed)


def test_shapes_that_the_model_refuses_raise_its_error() -> None:
    with pytest.raises(WalkError):
        requested(model(linear(3, 4)), [(5, 2)])


def test_what_is_free_is_said_for_each_input() -> None:
    assert free_text({"input": []}) == "no axis is free"
    assert free_text({"input": ["batch", "height"]}) == "free: batch, height"
    assert free_text({"input_1": ["batch"], "input_2": []}) == "free: input_1 batch; input_2 none"
    graph = generalise(model(relu()), image(2, 3, 8, 9))
    assert free_axes(graph) == {"input": ["batch", "planes", "height", "width"]}


def test_a_vector_beside_a_batch_has_a_number_for_each_sample() -> None:
    net = model(parallel_table(lookup(9, 4), linear(8, 4)))
    graph = generalise(net, [TensorType((2,), INT), image(2, 8)])
    assert free_axes(graph) == {"input_1": ["batch"], "input_2": ["batch"]}


def test_a_table_that_torch_takes_of_any_length_is_told() -> None:
    steps = [image(2, 3)] * 3
    sequencer = model(torch_module("nn.Sequencer", modules=[linear(3, 4)]))
    assert table_warning(sequencer, steps).endswith(
        "the port 3: give all in one tensor, `input_shapes=3x2x3`, for any number"
    )
    total = model(torch_module("nn.CAddTable"))
    assert "convert again with `input_shapes=`" in table_warning(total, steps)
    pair = model(parallel_table(linear(3, 4), linear(3, 5)))
    assert table_warning(pair, [image(2, 3)] * 2) == ""
    assert table_warning(sequencer, image(3, 2, 3)) == ""


def max_pool(kernel: int) -> Any:
    sizes = dict.fromkeys(("kW", "kH", "dW", "dH"), kernel) | dict.fromkeys(("padW", "padH"), 0)
    return torch_module("nn.SpatialMaxPooling", ceil_mode=False, **sizes)


def test_images_that_torch_refuses_are_an_error_with_a_sentence() -> None:
    net = model(sequential(max_pool(4), conv(3, 2, kernel=1)))
    types = image(2, 3, 16, 24)
    port = build_widest(net, types, Variables(), ExportOptions())
    assert port.least == {0: {2: 4, 3: 4}}
    assert port.module.serve(tf.ones((1, 4, 5, 3)))["output"].shape == (1, 1, 1, 2)
    for shape in ((1, 1, 1, 3), (1, 3, 8, 3), (2, 8, 3, 3)):
        for function in (port.module.serve, port.module.activations):
            with pytest.raises(tf.errors.InvalidArgumentError, match="too small for this net"):
                function(tf.ones(shape))


def test_sequences_that_torch_refuses_are_an_error_with_a_sentence() -> None:
    weight, bias = randn(4, 12), randn(4)
    frames = {"kW": 3, "dW": 1, "inputFrameSize": 4, "outputFrameSize": 4}
    convolution = torch_module("nn.TemporalConvolution", weight=weight, bias=bias, **frames)
    net = model(sequential(lookup(9, 4), convolution, torch_module("nn.Max", dimension=2)))
    port = build_widest(net, TensorType((2, 7), INT), Variables(), ExportOptions())
    assert port.least == {0: {1: 3}}
    assert port.module.serve(tf.ones((1, 3), tf.int64))["output"].shape == (1, 4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="too small for this net"):
        port.module.serve(tf.ones((1, 2), tf.int64))


def test_images_of_any_size_are_not_asked_for_it() -> None:
    net = model(sequential(conv(3, 2, pad=1), relu()))
    assert not build_widest(net, image(2, 3, 16, 24), Variables(), ExportOptions()).least


def chosen_of(net: Model, types: Nested[TensorType]) -> tuple[list[int], str]:
    """The axes that were chosen for a net, and what is said of them."""
    graph = generalise(net, types)
    chosen = chosen_axes(net, types, graph)
    return chosen, frozen_warning(graph, chosen)


def test_a_first_size_that_was_chosen_is_warned_of() -> None:
    difference = sequential(
        torch_module("nn.SplitTable", dimension=1), torch_module("nn.CSubTable"), linear(4, 3)
    )
    chosen, warning = chosen_of(model(difference), image(2, 7, 4))
    assert chosen == [0]
    assert "the first size" in warning
    assert "`input_shapes=`" in warning
    assert size_text(chosen) == "chosen"
    assert chosen_of(model(relu()), image(2, 3, 8, 9)) == ([], "")
    assert size_text([]) == "any"


@pytest.mark.parametrize(
    ("net", "type"),
    [
        pytest.param(sequential(view(-1), linear(12, 3)), image(3, 4), id="flattened"),
        pytest.param(conv(1, 2), image(1, 8, 9), id="planes"),
    ],
)
def test_a_first_size_that_layers_fix_is_not_said_to_be_chosen(
    net: TorchObject, type: TensorType
) -> None:
    chosen, warning = chosen_of(model(net), type)
    assert chosen == []
    assert warning.startswith("the first size of the input is not free: the port takes")
    assert warning.endswith("and the model's layers take no other")


def test_a_number_of_steps_that_was_chosen_is_warned_of() -> None:
    difference = sequential(
        torch_module("nn.SplitTable", dimension=2), torch_module("nn.CSubTable"), linear(4, 3)
    )
    chosen, warning = chosen_of(model(difference), image(2, 7, 4))
    assert chosen == [1]
    assert "size 2 of the input is not free: the port takes ?×7×4, which was chosen" in warning
    noise = sequential(view(-1, 20, 1, 1), conv(20, 4, 1))
    assert chosen_of(model(noise), image(2, 20)) == ([], "")
    features = sequential(linear(4, 3), relu())
    assert chosen_of(model(features), image(2, 4)) == ([], "")


def test_time_and_batch_are_both_free_whether_a_shape_is_given_or_not() -> None:
    net = field_model("rnnlm_T")
    found = generalise(net, emitted_types(net, solve(net)))
    assert free_axes(found) == {"input": ["dimension 1", "dimension 2"]}
    shapes = requested(net, [(5, 3)])
    graph = generalise(net, shapes.types[0])
    assert shapes.types == (TensorType((5, 3), INT),)
    assert admits(graph, types_of(recorded("rnnlm_T", "in")))
    assert free_axes(graph) == free_axes(found)
    assert "stacked" in stacked_warning(graph)
    assert stacked_warning(generalise(model(relu()), image(2, 3))) == ""


def test_a_layer_that_lacks_an_input_is_refused_whatever_the_size_is() -> None:
    """A file may call a layer of two inputs with one: no size mends that."""
    root = sequential(conv(3, 2), torch_module("nn.BilinearSamplerBHWD"))
    with pytest.raises(ShapeMismatch, match=r"takes 2 tensor\(s\)"):
        solve(model(root))


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        pytest.param(
            (
                *(conv(4, 2, 8, stride=4), conv(2, 2, 4, stride=2), conv(2, 3, 3)),
                *(view(147, sample_rank=3), linear(147, 5)),
            ),
            (1, 4, 84, 84),
            id="Atari's frames",
        ),
        pytest.param(
            (conv(3, 5, 7, stride=4), view(5, sample_rank=3), linear(5, 2)),
            (1, 3, 7, 7),
            id="no published size",
        ),
        pytest.param(
            (
                torch_module(
                    "nn.TemporalConvolution",
                    inputFrameSize=5,
                    outputFrameSize=6,
                    kW=3,
                    dW=2,
                    weight=randn(6, 15),
                    bias=randn(6),
                ),
                *(view(42, sample_rank=2), linear(42, 3)),
            ),
            (2, 15, 5),
            id="a sequence",
        ),
    ],
)
def test_of_sizes_that_strides_round_alike_the_smallest_is_taken(
    layers: tuple[TorchObject, ...], found: Shape
) -> None:
    assert next(leaves(solve(model(sequential(*layers))).types[0])).static == found
