"""Shapes that the user gives mean the same for every input: a batch in front may be left out."""

from __future__ import annotations

import pytest

from porter.errors import UsageError
from porter.frontend.inputs import parse_shape, requested
from porter.frontend.search import shapes_for
from porter.ir.graph import TensorType
from porter.ir.nested import leaves
from porter.torch7 import TorchObject
from tests.build import conv, linear, model, parallel_table, sequential, torch_module, view

JOIN = torch_module("nn.JoinTable", dimension=2, nInputDims=0)
TWO_IMAGES = sequential(parallel_table(conv(3, 4), conv(3, 4)), torch_module("nn.CAddTable"))
IMAGE_AND_VECTOR = sequential(
    parallel_table(sequential(conv(3, 2), view(-1, sample_rank=3)), linear(10, 4)), JOIN
)


@pytest.mark.parametrize(
    ("net", "given", "meant"),
    [
        (conv(3, 4), "3x8x8", "1x3x8x8"),
        (conv(3, 4), "3x8x8:float", "1x3x8x8"),
        (TWO_IMAGES, "3x8x8 3x8x8", "1x3x8x8 1x3x8x8"),
        (TWO_IMAGES, "3x8x8:float 3x8x8", "1x3x8x8 1x3x8x8"),
        (TWO_IMAGES, "2x3x8x8 2x3x8x8", "2x3x8x8 2x3x8x8"),
        (TWO_IMAGES, "2x3x8x8 3x8x8", "2x3x8x8 2x3x8x8"),
        (IMAGE_AND_VECTOR, "3x8x8 10", "1x3x8x8 1x10"),
        (IMAGE_AND_VECTOR, "3x8x8 2x10", "2x3x8x8 2x10"),
        (IMAGE_AND_VECTOR, "2x3x8x8 2x10", "2x3x8x8 2x10"),
    ],
)
def test_a_batch_may_be_left_out_of_every_input(net: TorchObject, given: str, meant: str) -> None:
    shapes = [parse_shape(text) for text in given.split()]
    (types,) = requested(model(net), shapes).types
    assert list(leaves(types)) == [
        TensorType(tuple(map(int, text.split("x")))) for text in meant.split()
    ]


@pytest.mark.parametrize("given", ["3x8x8", "3x8x8 10x8"])
def test_shapes_that_do_not_fit_are_answered_with_ones_that_do(given: str) -> None:
    net = model(TWO_IMAGES)
    with pytest.raises(UsageError, match="does not fit the model") as caught:
        shapes_for(net, [parse_shape(text) for text in given.split()])
    assert caught.value.shapes == ("2x3x37x53", "2x3x37x53")
    shapes_for(net, [parse_shape(text) for text in caught.value.shapes])
