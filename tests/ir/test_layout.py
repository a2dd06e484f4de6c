"""Where bytes lie: no more transposes than needed, and none that loses track of an axis."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from porter.ir.graph import TensorType, Value
from porter.ir.layout import (
    Layout,
    LayoutConversion,
    Step,
    channels_last,
    flat_order,
    flattened,
    from_torch,
    image_layout,
    plan,
    to_torch,
    torch_order,
)
from porter.torch7 import TorchObject
from tests.build import (
    classifier,
    concat_table,
    conv,
    identity,
    image,
    model,
    randn,
    relu,
    sequential,
    small_net,
    view,
)

LAYOUTS = [
    *(Layout(order) for rank in range(1, 6) for order in itertools.permutations(range(rank))),
    Layout((0, 1), flat=(2, 3, 5)),
    Layout((0,), flat=(3, 2, 2, 2)),
]


def shape_for(layout: Layout) -> tuple[int, ...]:
    """Different sizes for every axis, or the features that were flattened."""
    if layout.flat is None:
        return (2, 3, 4, 5, 6)[: len(layout.order)]
    features = int(np.prod(layout.flat))
    return (4, features)[-len(layout.order) :]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_storing_and_loading_are_inverse(layout: Layout) -> None:
    array = np.arange(np.prod(shape_for(layout))).reshape(shape_for(layout))
    stored = from_torch(array, layout)
    np.testing.assert_array_equal(to_torch(stored, layout), array)
    if not layout.is_torch:
        assert stored.shape != array.shape or not np.array_equal(stored, array)


def test_channels_last_moves_the_feature_axis_behind_the_spatial_ones() -> None:
    assert channels_last(4, 2).order == (0, 2, 3, 1)
    assert channels_last(3, 2).order == (1, 2, 0)
    assert channels_last(5, 3).order == (0, 2, 3, 4, 1)
    assert channels_last(2, 2).is_torch
    assert channels_last(4, 2).axis(1) == 3
    assert channels_last(4, 2).axis(-1) == 2


def test_signatures_are_channels_last_for_images_only() -> None:
    assert image_layout(4, "channels_last") == channels_last(4, 2)
    assert image_layout(5, "channels_last") == channels_last(5, 3)
    assert image_layout(2, "channels_last").is_torch
    assert image_layout(4, "channels_first").is_torch


def test_flat_order_tells_which_torch_feature_is_stored_where() -> None:
    array = randn(3, 4, 5)
    stored = np.moveaxis(array, 0, -1).ravel()
    np.testing.assert_array_equal(array.ravel()[list(flat_order((3, 4, 5)))], stored)


@pytest.mark.parametrize(
    ("stored", "before", "after", "expected"),
    [
        (channels_last(4, 2), (2, 3, 4, 5), (2, 60), Layout((0, 1), (3, 4, 5))),
        (channels_last(4, 2), (1, 3, 4, 5), (60,), Layout((0,), (3, 4, 5))),
        (channels_last(3, 2), (3, 4, 5), (60,), Layout((0,), (3, 4, 5))),
        (channels_last(4, 2), (2, 3, 1, 1), (2, 3), torch_order(2)),
        (torch_order(4), (2, 3, 4, 5), (2, 60), torch_order(2)),
        (channels_last(4, 2), (2, 3, 4, 5), (6, 20), None),
        (Layout((0, 3, 1, 2)), (2, 3, 4, 5), (2, 60), None),
    ],
)
def test_flattening_relabels_features(
    stored: Layout, before: tuple[int, ...], after: tuple[int, ...], expected: Layout | None
) -> None:
    assert flattened(stored, TensorType(before), TensorType(after)) == expected


def test_flattening_with_free_height_is_not_relabelled() -> None:
    assert flattened(channels_last(4, 2), TensorType((2, 3, None, 5)), image(2, 60)) is None


@pytest.mark.parametrize(
    ("shape", "moves"),
    [((1, 3, 4, 5), True), ((1, 1, 4, 5), False), ((1, 3, 1, 1), False), ((7, 3, 1, 1), False)],
)
def test_a_permutation_over_axes_of_size_one_is_free(shape: tuple[int, ...], moves: bool) -> None:
    value = Value(1, TensorType(shape))
    assert LayoutConversion(value, torch_order(4), channels_last(4, 2)).moves_bytes is moves
    assert LayoutConversion(value, channels_last(4, 2), torch_order(4)).moves_bytes is moves


def test_restoring_a_flat_vector_moves_bytes() -> None:
    restore = LayoutConversion(Value(1, image(2, 60)), Layout((0, 1), (3, 4, 5)), torch_order(2))
    assert restore.moves_bytes


# The sweep ----------------------------------------------------------------------------------------


def transposes(net: TorchObject, *shape: int, data_format: str = "channels_last") -> int:
    return plan(model(net).walk(image(*shape)), data_format).transposes


def test_a_convolutional_net_needs_no_transpose() -> None:
    assert transposes(small_net(), 1, 3, 9, 12) == 0


def test_channels_first_signatures_cost_one_transpose_at_each_end() -> None:
    assert transposes(small_net(), 1, 3, 9, 12, data_format="channels_first") == 2


def test_flattening_before_a_linear_layer_is_free() -> None:
    graph = model(classifier()).walk(image(2, 3, 8, 8))
    layout = plan(graph)
    assert layout.transposes == 0
    last = list(layout.node_steps())[-1]
    assert last.inputs[0].flat == (4, 4, 4)


def test_flat_features_that_are_handed_out_are_restored() -> None:
    net = sequential(conv(3, 4, pad=1), view(-1, sample_rank=3), relu())
    layout = plan(model(net).walk(image(2, 3, 4, 5)))
    assert layout.transposes == 1
    assert isinstance(layout.steps[-1], LayoutConversion)
    assert layout.outputs[layout.steps[-1].source.id].is_torch


def test_a_transpose_is_shared_by_its_readers() -> None:
    # 4×15 features of an image of 3×4×5 cut across its planes: they must be in Torch's order.
    cut = [sequential(view(4, 15, sample_rank=3), relu()) for _ in range(3)]
    net = sequential(conv(3, 3, kernel=1), concat_table(*cut, identity()))
    assert transposes(net, 2, 3, 4, 5) == 1


def test_every_step_is_given_what_was_made_in_that_layout() -> None:
    for net in (small_net(), classifier()):
        layout = plan(model(net).walk(image(2, 3, 8, 8)))
        available = {(identity, each) for identity, each in layout.inputs.items()}
        for step in layout.steps:
            if isinstance(step, Step):
                for value, each in zip(step.node.inputs, step.inputs, strict=True):
                    assert (value.id, each) in available
                for value, each in zip(step.node.outputs, step.outputs, strict=True):
                    available.add((value.id, each))
            else:
                assert (step.source.id, step.before) in available
                available.add((step.source.id, step.after))
        for identity_, each in layout.outputs.items():
            assert (identity_, each) in available
