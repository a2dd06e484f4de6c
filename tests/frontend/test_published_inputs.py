"""Nets of published systems are converted for the inputs that their recordings were made with."""

from __future__ import annotations

import pytest

from porter.frontend.dynamic import generalise
from porter.frontend.index_inputs import index_inputs
from porter.frontend.model_file import open_model
from porter.frontend.search import solve
from porter.ir.nested import leaves
from porter.layer_maps import default_registry
from porter.torch7 import Tensor, TorchObject, read
from tests.build import (
    FIXTURES,
    conv,
    image,
    linear,
    model,
    parallel_table,
    randn,
    sequential,
    torch_module,
    view,
)

CASES = (
    "OneHot/char_rnn",
    "OneHot/char_rnn_lstm",
    "inn.ROIPooling/fast_rcnn",
    "nn.AffineGridGeneratorBHWD/spatial_transformer",
    "nn.AffineTransformMatrixGenerator/rotation_scale_translation",
    "nn.BinActiveZ/xnor_net",
    "nn.Inspiration/msg_net",
    "nn.LanguageModel/lstm",
    "nn.LanguageModel/lstm_dropout",
    "nn.MakeBoxes/region_proposals",
    "nn.NoBackprop/trunk",
    "nn.SpatialConstDiagonal/deepmask",
    "nn.SpatialConvolution1_fw/accurate_net_head",
    "nn.SpatialFractionalMaxPooling/random_in_a_net",
    "nn.SpatialGlimpse/recurrent_attention",
    "nn.SpatialNormalization/face_detector",
    "nn.SpatialReSamplingEx/bilinear",
    "ntm.NTM/copy_task",
)


def sizes(value: object) -> list[tuple[int, ...]]:
    """The shapes of a tensor, or of all tensors of a list."""
    if isinstance(value, Tensor):
        return [tuple(value.shape)]
    return [shape for item in value.list() for shape in sizes(item)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", CASES)
def test_what_is_found_admits_the_recorded_input(case: str) -> None:
    recorded = read(FIXTURES / "layers" / f"{case}.t7").root
    root = recorded["module"]
    assert isinstance(root, TorchObject)
    net = model(root)
    graph = generalise(net, solve(net).types[0])
    found = [value.type for value in leaves(graph.inputs)]
    expected = sizes(recorded["input"])
    assert len(found) == len(expected)
    for type, shape in zip(found, expected, strict=True):
        assert type.admits(shape), f"{type} for {shape}"


def test_a_net_that_compares_two_images_is_given_two() -> None:
    net = model(
        sequential(
            conv(1, 4), torch_module("nn.Normalize2"), torch_module("nn.StereoJoin", disp_max=1)
        )
    )
    shapes = solve(net)
    assert shapes.solved == "two images"
    (x,) = leaves(generalise(net, shapes.types[0]).inputs)
    assert x.type.shape == (2, 1, None, None)


@pytest.mark.parametrize(
    "slicing",
    [
        torch_module("nn.Select", dimension=2, index=1),
        torch_module("nn.Narrow", dimension=2, index=1, length=2),
    ],
    ids=["Select", "Narrow"],
)
def test_indices_are_recognised_behind_slices(slicing: TorchObject) -> None:
    lookup = torch_module("nn.LookupTable", weight=randn(7, 4))
    graph = model(sequential(slicing, lookup)).walk(image(3, 5))
    (x,) = leaves(graph.inputs)
    assert index_inputs(graph)[x.id].largest == 7


def test_indices_of_which_the_file_tells_the_shape_are_not_ambiguous() -> None:
    """fairseq's nets, saved uncleared: the lookups' own outputs say how many words there were."""
    lookups = [
        torch_module("nn.LookupTable", weight=randn(7, 4), output=randn(3, 5, 4)) for _ in range(2)
    ]
    net = model(sequential(parallel_table(*lookups), torch_module("nn.CAddTable")))
    (types,) = solve(net).types
    assert [each.shape for each in leaves(types)] == [(3, 5), (3, 5)]


def test_two_images_of_different_fixed_sizes_are_found() -> None:
    """Let there be Color! sees a picture of 224 pixels a side beside one of another size."""
    whole = sequential(conv(1, 1, stride=2), view(111 * 111), linear(111 * 111, 3))
    other = sequential(conv(1, 1), view(62 * 62), linear(62 * 62, 3))
    both = parallel_table(whole, other)
    shapes = solve(model(sequential(both, torch_module("nn.CAddTable"))))
    sizes = [each.shape[1:] for each in leaves(shapes.types[0])]
    assert sizes == [(1, 224, 224), (1, 64, 64)]


def test_a_warp_s_image_is_told_by_the_transpose_that_reads_it() -> None:
    """gvnn: an image, the numbers of a motion, and depths of the camera's size."""
    model = open_model(FIXTURES / "nets" / "gvnn_warp_se3" / "model.t7", default_registry()).model()
    (types,) = solve(model).types
    picture, motion, depth = leaves(types)
    assert picture.rank == 4
    assert motion.shape[1:] == (6,)
    assert depth.shape[1:] == (10, 12)
