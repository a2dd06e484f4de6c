"""Indices for which Torch has no row are an error that says which there are."""

from __future__ import annotations

import numpy as np
import pytest

from porter.emit.port import build_widest
from porter.ir.graph import INT, TensorType
from porter.runtime.runner import Variables
from porter.system.tensorflow import tf
from porter.torch7 import TorchObject
from tests.build import (
    concat_table,
    linear,
    model,
    parallel_table,
    randn,
    sequential,
    table,
    torch_module,
)

WORDS = torch_module("nn.LookupTable", weight=randn(9, 6))
MASKED = torch_module("nn.LookupTableMaskZero", weight=randn(9, 6))
SPLIT = torch_module("nn.SplitTable", dimension=1, nInputDims=0)
STEP = linear(6, 2)
STEPS = torch_module("nn.Sequencer", module=STEP, modules=table(STEP), _outputs=table())


@pytest.mark.parametrize(
    ("net", "right", "wrong", "said"),
    [
        (WORDS, (1, 9), (0, 10, -1), "outside of 1 to 9, which is what 1 (nn.LookupTable) takes"),
        (MASKED, (0, 8), (-1, 9), "outside of 0 to 8"),
        (sequential(WORDS, SPLIT, STEPS), (1, 9), (0, 10), "what 1.1 (nn.LookupTable) takes"),
    ],
)
def test_an_index_that_has_no_row_is_an_error_in_torchs_words(
    net: TorchObject, right: tuple[int, ...], wrong: tuple[int, ...], said: str
) -> None:
    port = build_widest(model(sequential(net)), TensorType((3, 2), INT), Variables())
    for index in right:
        port.serve(tf.fill([3, 2], tf.constant(index, tf.int64)))
    for index in wrong:
        words = np.full((3, 2), right[0])
        words[1, 1] = index
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            port.serve(tf.constant(words))
        assert said in caught.value.message


def test_the_input_at_fault_is_named_among_several() -> None:
    net = sequential(
        parallel_table(linear(5, 6), WORDS), torch_module("nn.CAddTable", inplace=False)
    )
    types = [TensorType((2, 5)), TensorType((2,), INT)]
    port = build_widest(model(net), types, Variables())
    with pytest.raises(tf.errors.InvalidArgumentError, match="input_2 holds an index"):
        port.serve(tf.zeros([2, 5]), tf.constant([1, 0], tf.int64))


FEW, MANY = (torch_module("nn.LookupTable", weight=randn(n, 6)) for n in (10, 1000))
COLUMNS = torch_module("nn.SplitTable", dimension=2, nInputDims=0)
ADD = torch_module("nn.CAddTable", inplace=False)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        ((COLUMNS, parallel_table(FEW, MANY), ADD), [[3, 500], [10, 1000]]),
        ((torch_module("nn.Narrow", dimension=2, index=1, length=2), FEW), [[3, 1, -7]]),
        ((torch_module("nn.Select", dimension=2, index=1), FEW), [[3, 0], [10, 200]]),
    ],
)
def test_numbers_that_go_elsewhere_may_be_anything(
    net: tuple[TorchObject, ...], words: list[list[int]]
) -> None:
    """Fields of several tables, columns that are left out."""
    given = np.array(words)
    port = build_widest(model(sequential(*net)), TensorType(given.shape, INT), Variables())
    port.serve(tf.constant(given, tf.int64))


def test_of_several_readers_the_common_range_counts() -> None:
    masked = torch_module("nn.LookupTableMaskZero", weight=randn(11, 6))
    many = torch_module("nn.LookupTable", weight=randn(20, 6))
    net = sequential(concat_table(masked, many), ADD)
    port = build_widest(model(net), TensorType((1, 2), INT), Variables())
    port.serve(tf.constant([[1, 10]], tf.int64))
    for index in (0, 11):
        with pytest.raises(tf.errors.InvalidArgumentError, match="outside of 1 to 10"):
            port.serve(tf.constant([[1, index]], tf.int64))
