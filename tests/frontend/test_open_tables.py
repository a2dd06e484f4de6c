"""Tables that are as long as an axis: the axis is free, and what is emitted takes every length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from porter.emit.port import Port, build_widest
from porter.emit.settings import ExportOptions
from porter.frontend.dynamic import generalise
from porter.frontend.inputs import types_of
from porter.frontend.open_tables import Steps, as_emitted
from porter.ir.graph import INT, TensorType
from porter.ir.nested import Nested, leaves
from porter.parity import compare as parity
from porter.runtime import reference
from porter.runtime.runner import Variables, load, store
from porter.system.tensorflow import tf
from porter.torch7 import TorchObject
from porter.torch7 import read as read_t7
from tests.build import (
    FIXTURES,
    Array,
    concat_table,
    identity,
    image,
    linear,
    model,
    parallel_table,
    randn,
    sequential,
    torch_module,
)


def recorded(case: str) -> TorchObject:
    """The module of a recorded case."""
    module = read_t7(FIXTURES / "layers" / f"{case}.t7").root["module"]
    assert isinstance(module, TorchObject)
    return module


def lstm() -> TorchObject:
    """An LSTM from 4 to 3 features over a table."""
    return recorded("nn.Sequencer/lstm_table")


def over_time(step: TorchObject) -> TorchObject:
    return torch_module("nn.Sequencer", modules=[step])


def split(dimension: int = 1) -> TorchObject:
    return torch_module("nn.SplitTable", dimension=dimension)


def select(index: int) -> TorchObject:
    return torch_module("nn.SelectTable", index=index)


def join(dimension: int) -> TorchObject:
    return torch_module("nn.JoinTable", dimension=dimension)


def reverse() -> TorchObject:
    return torch_module("nn.ReverseTable")


def port_of(net: TorchObject, types: Nested[TensorType]) -> Port:
    return build_widest(model(net), types, Variables(), ExportOptions())


def free(port: Port) -> list[tuple[int | None, ...]]:
    return [value.type.shape for value in leaves(port.graph.inputs)]


def differences(net: TorchObject, port: Port, arrays: Nested[Array]) -> list[float]:
    """The largest difference of every output from what a walk of just these sizes computes."""
    graph = model(net).walk(types_of(arrays))
    values = reference.run(graph, parity.bind(graph.inputs, arrays))
    expected = as_emitted(
        port.graph, graph, tuple(values[value.id] for value in leaves(graph.outputs))
    )
    fed = [
        store(array, value, port.plan.inputs[value.id], "float32")
        for value, array in zip(leaves(port.graph.inputs), leaves(arrays), strict=True)
    ]
    computed = port.module.serve(*fed).values()
    found = [
        load(tensor, port.plan.outputs[value.id])
        for value, tensor in zip(leaves(port.graph.outputs), computed, strict=True)
    ]
    assert [each.shape for each in found] == [each.shape for each in expected]
    return [float(abs(a - b).max()) for a, b in zip(expected, found, strict=True)]


def named(kind: str, **fields: Any) -> TorchObject:
    return torch_module(f"nn.{kind}", **fields)


NETS: dict[str, TorchObject] = {
    "a table as output": sequential(split(), lstm()),
    "sequencers in a row": sequential(split(), lstm(), over_time(linear(3, 2))),
    "batch first": sequential(split(2), lstm(), over_time(linear(3, 2))),
    "the last step": sequential(split(), lstm(), select(-1), linear(3, 2)),
    "the last but one of the input": sequential(split(2), select(-2), linear(4, 3)),
    "the first and the last step": sequential(
        split(), lstm(), concat_table(select(1), select(-1)), join(2), linear(6, 2)
    ),
    "steps below each other": sequential(split(), lstm(), join(1)),
    "steps side by side": sequential(split(2), lstm(), join(2)),
    "backwards": sequential(split(), named("ReverseTable"), lstm(), named("ReverseTable"), join(1)),
    "the ends of both directions": sequential(
        split(),
        concat_table(
            sequential(lstm(), select(-1)), sequential(named("ReverseTable"), lstm(), select(-1))
        ),
        join(2),
    ),
    "both directions": sequential(
        split(), over_time(linear(4, 3)), recorded("nn.BiSequencer/lstm")
    ),
    "a language model of both sides": sequential(
        split(), over_time(linear(4, 3)), recorded("nn.BiSequencerLM/lstm")
    ),
    "all but the first": sequential(split(), named("NarrowTable", offset=2, length=99), lstm()),
    "the sum of all steps": sequential(split(), lstm(), named("CAddTable")),
    "the product of all steps": sequential(split(2), named("CMulTable")),
    "the largest of all steps": sequential(split(), named("CMaxTable")),
    "the least of all steps": sequential(split(), named("CMinTable")),
    "a layer on every entry": sequential(
        split(), named("MapTable", module=sequential(linear(4, 4), named("Tanh"))), lstm()
    ),
    "all steps and the last": sequential(split(), lstm(), concat_table(identity(), select(-1))),
    "two results of every step": sequential(
        split(), over_time(concat_table(linear(4, 2), linear(4, 3)))
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_time_and_batch_are_free_whatever_reads_the_table(name: str) -> None:
    net = NETS[name]
    port = port_of(net, image(2, 7, 4))
    assert free(port)[0][:2] == (None, None)
    for shape in ((2, 7, 4), (5, 3, 4), (3, 5, 4)):
        assert max(differences(net, port, randn(*shape))) < 1e-5


def test_a_language_model_gives_what_torch_gave_for_other_numbers_of_steps() -> None:
    folder = FIXTURES / "field" / "inputs"
    root, fed, expected = (
        read_t7(folder / f"rnnlm_T{side}.t7").root for side in ("", ".in", ".out")
    )
    port = port_of(root, TensorType((2, 7), INT))
    assert free(port) == [(None, None)]
    computed = port.module.serve(tf.constant(fed.array))["output"]
    np.testing.assert_allclose(computed, [each.array for each in expected.list()], atol=1e-5)


@pytest.mark.parametrize(
    "name", ["a table as output", "the ends of both directions", "a layer on every entry"]
)
def test_one_step_is_taken_too(name: str) -> None:
    port = port_of(NETS[name], image(2, 7, 4))
    assert max(differences(NETS[name], port, randn(1, 3, 4))) < 1e-5


def test_tables_that_are_always_of_one_length_stay_tables() -> None:
    # ParallelTable drops the entries for which it has no module.
    first_two = sequential(split(2), parallel_table(linear(4, 3), linear(4, 2)))
    graph = generalise(model(first_two), image(2, 7, 4))
    assert [value.type.shape for value in leaves(graph.inputs)] == [(None, None, 4)]
    assert [value.type.shape for value in leaves(graph.outputs)] == [(None, 3), (None, 2)]
    assert graph.stacked == frozenset()
    port = port_of(first_two, image(2, 7, 4))
    assert max(differences(first_two, port, randn(3, 2, 4))) < 1e-5
    with pytest.raises(tf.errors.InvalidArgumentError, match="too small for this net"):
        port.module.serve(tf.ones((3, 1, 4)))


def test_a_table_of_which_something_else_is_made_fixes_its_axis() -> None:
    difference = sequential(split(), named("CSubTable"))
    graph = generalise(model(difference), image(2, 7, 4))
    assert [value.type.shape for value in leaves(graph.inputs)] == [(2, None, None)]


def test_outputs_of_a_walk_are_stacked_as_the_port_does() -> None:
    net = NETS["all steps and the last"]
    graph = generalise(model(net), image(2, 7, 4))
    assert graph.stacked == {(0,)}
    walked = model(net).walk(image(3, 7, 4))
    arrays = tuple(np.full((7, 3), step, np.float32) for step in (1, 2, 3, 3))
    steps, last = as_emitted(graph, walked, arrays)
    assert steps[:, 0, 0].tolist() == [1, 2, 3]
    assert last[0, 0] == 3
    assert as_emitted(walked, walked, arrays) is arrays


def ends(first: int, last: int, length: int, direction: int = 1) -> Steps:
    return Steps(
        first=first,
        first_from_end=first - length,
        last=last,
        last_from_end=last - length,
        direction=direction,
        single=False,
    )


@pytest.mark.parametrize(
    ("short", "long", "of_six"),
    [
        (ends(0, 3, 4), ends(0, 4, 5), [0, 1, 2, 3, 4, 5]),
        (ends(1, 3, 4), ends(1, 4, 5), [1, 2, 3, 4, 5]),
        (ends(0, 2, 4), ends(0, 3, 5), [0, 1, 2, 3, 4]),
        (ends(0, 1, 4), ends(0, 1, 5), [0, 1]),
        (ends(2, 3, 4), ends(3, 4, 5), [4, 5]),
        (ends(3, 0, 4, -1), ends(4, 0, 5, -1), [5, 4, 3, 2, 1, 0]),
        (ends(2, 1, 4, -1), ends(3, 1, 5, -1), [4, 3, 2, 1]),
        (ends(3, 2, 4, -1), ends(4, 3, 5, -1), [5, 4]),
        (ends(1, 0, 4, -1), ends(1, 0, 5, -1), [1, 0]),
    ],
)
def test_where_a_run_begins_and_ends_follows_from_two_lengths(
    short: Steps, long: Steps, of_six: list[int]
) -> None:
    merged = short.merged(long)
    assert merged is not None
    assert merged.reference(np.arange(6)).tolist() == of_six
    context: Any = None
    assert merged.apply(tf, tf.range(6), context).numpy().tolist() == of_six


def test_runs_that_follow_no_rule_are_not_merged() -> None:
    assert ends(1, 2, 4).merged(ends(2, 3, 6)) is None
    assert ends(0, 3, 4).merged(ends(3, 0, 4, -1)) is None
