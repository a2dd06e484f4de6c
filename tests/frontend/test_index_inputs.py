"""Inputs that are read as indices, and those that are read as numbers as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from porter.conversion.pipeline import convert
from porter.conversion.request import Request
from porter.errors import UsageError
from porter.frontend.index_inputs import index_inputs, number_readers
from porter.frontend.inputs import requested, samples
from porter.frontend.search import solve
from porter.ir.graph import FLOAT, INT, TensorType
from porter.ir.nested import leaves
from porter.parity import recording
from porter.torch7 import TorchObject
from tests.build import (
    concat_table,
    container,
    identity,
    image,
    linear,
    model,
    parallel_table,
    randn,
    run,
    sequential,
    table,
    torch_module,
)
from tests.write_t7 import write_t7


def lookup() -> TorchObject:
    return torch_module("nn.LookupTable", weight=randn(9, 4))


BOTH = [
    pytest.param(concat_table(lookup(), linear(5, 3)), "2", id="index first"),
    pytest.param(concat_table(linear(5, 3), lookup()), "1", id="number first"),
    pytest.param(
        concat_table(sequential(identity(), lookup()), sequential(identity(), linear(5, 3))),
        "2.2",
        id="handed on",
    ),
]


@pytest.mark.parametrize(("net", "reader"), BOTH)
def test_an_input_that_is_read_as_numbers_too_stays_a_tensor_of_floats(
    net: TorchObject, reader: str
) -> None:
    shapes = solve(model(net))
    assert {type.dtype for each in shapes.types for type in leaves(each)} == {FLOAT}
    graph = model(net).walk(shapes.types[0])
    (x,) = leaves(graph.inputs)
    assert index_inputs(graph)[x.id].largest == 9
    assert number_readers(graph)[x.id].path == reader
    assert requested(model(net), [(2, 5)]).types == (image(2, 5),)


def test_an_input_that_is_read_as_indices_alone_holds_integers() -> None:
    copies = torch_module("nn.Replicate", nfeatures=2, dim=1)
    net = model(concat_table(lookup(), sequential(copies, identity())))
    graph = net.walk(image(2, 5))
    assert not number_readers(graph)
    assert requested(net, [(2, 5)]).types == (TensorType((2, 5), INT),)


def test_integers_that_are_stated_are_refused_where_they_are_read_as_numbers() -> None:
    net = model(concat_table(lookup(), linear(5, 3)))
    with pytest.raises(UsageError, match="integers are stated") as caught:
        requested(net, [TensorType((2, 5), INT)])
    assert caught.value.where == "2 (nn.Linear)"
    pair = model(parallel_table(concat_table(lookup(), linear(5, 3)), linear(6, 2)))
    with pytest.raises(UsageError, match="integers are stated"):
        requested(pair, [TensorType((2, 5), INT), (2, 6)])


def test_indices_stay_indices_where_large_numbers_overflow() -> None:
    net = model(parallel_table(concat_table(lookup(), linear(5, 3)), linear(6, 2)))
    *_, large = samples(net, solve(net), seed=1)
    indices, numbers = leaves(large.arrays)
    milder = large.milder("2")
    kept, scaled = leaves(milder.arrays)
    assert np.array_equal(kept, indices)
    assert np.abs(scaled).max() < np.abs(numbers).max()


@pytest.mark.parametrize(
    "first",
    [
        torch_module("nn.Transpose", permutations=table(table(1, 2))),
        torch_module("nn.Convert", inputShape="bt", outputShape="tb"),
        torch_module("nn.SeqReverseSequence", dim=2),
    ],
)
def test_indices_stay_indices_behind_layers_that_rearrange_them(first: TorchObject) -> None:
    net = model(sequential(first, lookup()))
    for types in (solve(net).types[0], requested(net, [TensorType((2, 5), INT)]).types[0]):
        assert [type.dtype for type in leaves(types)] == [INT]
        graph = net.walk(types)
        assert [each.largest for each in index_inputs(graph).values()] == [9]
        assert not number_readers(graph)


def columns(*modules: TorchObject) -> TorchObject:
    return container("nn.Concat", *modules, dimension=2)


CATEGORY_BESIDE_NUMBERS = columns(
    sequential(torch_module("nn.Select", dimension=2, index=1), lookup()),
    sequential(torch_module("nn.Narrow", dimension=2, index=2, length=3), linear(3, 5)),
)


def test_a_category_and_numbers_in_columns_of_one_tensor_are_floats() -> None:
    net = model(CATEGORY_BESIDE_NUMBERS)
    (types, *_) = solve(net).types
    assert [type.dtype for type in leaves(types)] == [FLOAT]
    assert run(CATEGORY_BESIDE_NUMBERS, np.array([[9.0, 0.5, 1.5, 2.5]])).shape == (1, 9)


@pytest.mark.parametrize(("added", "least", "largest"), [(1, 0, 8), (-1, 2, 10)])
def test_indices_to_which_a_constant_is_added_are_drawn_from_what_fits(
    added: int, least: int, largest: int
) -> None:
    add = torch_module("nn.AddConstant", constant_scalar=float(added))
    net = model(sequential(add, lookup()))
    shapes = requested(net, [(50, 5)])
    taken = index_inputs(net.walk(shapes.types[0]))
    assert [(each.least, each.largest) for each in taken.values()] == [(least, largest)]
    numbers = np.concatenate([leaf for s in samples(net, shapes, 0) for leaf in leaves(s.arrays)])
    assert (numbers.min(), numbers.max(), numbers.dtype) == (least, largest, np.float32)


def test_nothing_is_known_of_indices_to_which_a_fraction_is_added() -> None:
    add = torch_module("nn.AddConstant", constant_scalar=0.5)
    assert not index_inputs(model(sequential(add, lookup())).walk(image(2, 5)))


@pytest.mark.usefixtures("no_reload")
@pytest.mark.parametrize(
    "net",
    [
        concat_table(lookup(), linear(5, 3)),
        CATEGORY_BESIDE_NUMBERS,
        sequential(torch_module("nn.AddConstant", constant_scalar=1.0), lookup()),
        sequential(torch_module("nn.Clamp", min_val=1, max_val=9), lookup()),
    ],
)
def test_a_net_that_reads_its_input_both_ways_converts(tmp_path: Path, net: TorchObject) -> None:
    path = write_t7(tmp_path / "model.t7", net)
    done = convert(Request(path, tmp_path / "port", formats=("saved_model",)))
    assert all(report.passed for report in done.reports)
    assert done.manifest["signature"]["input"]["dtype"] == "float32"


def test_words_are_indices_where_other_layers_read_how_many_there_are(tmp_path: Path) -> None:
    """torch-rnn's net of the zoo: nn.View splits its samples again as the words are split."""
    folder = Path(__file__).parents[2] / "fixtures/zoo/torch-rnn"
    done = convert(Request(folder / "model.t7", tmp_path / "port", formats=("saved_model",)))
    assert done.manifest["signature"]["input"]["dtype"] == "int64"


def offsets(*numbers: float) -> TorchObject:
    return torch_module("nn.Add", bias=np.array(numbers, np.float32))


@pytest.mark.parametrize(
    "layer",
    [offsets(0, 3, 6), torch_module("nn.MulConstant", constant_scalar=3)],
    ids=["offsets of fields", "factor"],
)
def test_indices_that_are_computed_need_a_recording(layer: TorchObject, tmp_path: Path) -> None:
    file = write_t7(tmp_path / "model.t7", sequential(layer, lookup()))
    shape = ((3,),) if layer.typename == "nn.Add" else ((2, 3),)
    with pytest.raises(UsageError, match="cannot make up inputs") as error:
        convert(Request(file, tmp_path / "port", shape))
    assert "of 1 to 9" in str(error.value.received)
    assert "2 (nn.LookupTable)" in str(error.value)


def test_a_recording_whose_computed_indices_fit_converts(tmp_path: Path) -> None:
    net = sequential(torch_module("nn.MulConstant", constant_scalar=3), lookup())
    file = write_t7(tmp_path / "model.t7", net)
    x = np.array([[1, 2, 3], [3, 1, 1]], np.float32)
    np.savez(tmp_path / "recording.npz", input=x, output=run(net, x))
    report = convert(
        Request(file, tmp_path / "port", reference=recording.read(tmp_path / "recording.npz"))
    )
    assert report.emitted
