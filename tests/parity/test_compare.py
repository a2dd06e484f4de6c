"""Comparing a port with its oracle, layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from porter.frontend.inputs import types_of
from porter.ir.graph import FLOAT
from porter.ir.layer_map import Accepts, LayerMap
from porter.ir.layout import OpContext
from porter.ir.nested import Nested, leaves
from porter.ir.registry import Registry, register, registering_into
from porter.parity.compare import REFERENCE, Oracle, Report, Row, Tolerance, consult, verify
from porter.parity.recording import Recording, Summary
from porter.runtime.runner import Variables
from porter.torch7 import TorchObject
from tests.build import (
    Array,
    concat_table,
    conv,
    identity,
    linear,
    model,
    randn,
    relu,
    run,
    sequential,
    small_net,
    torch_module,
)


def verified(
    net: TorchObject,
    x: Nested[Array],
    recording: Recording | None = None,
    registry: Registry | None = None,
    tolerance: Tolerance | None = None,
) -> Report:
    variables = {precision: Variables(precision) for precision in ("float32", "float64")}
    return verify(model(net, registry), x, variables, recording, tolerance=tolerance)


def failing(report: Report) -> list[str]:
    return [row.path for row in report.rows if not row.passed]


def with_wrong(registry: Registry, error: float) -> Registry:
    """porter's maps and `my.Wrong`, whose TensorFlow side is off by `error` of its input."""

    class Wrong(LayerMap):
        accepts = Accepts.ELEMENTWISE

        def reference(self, x: Array) -> Array:
            return 2 * x

        def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
            return tf.multiply(x, 2 + error)

    with registering_into(registry) as extended:
        register("my.Wrong")(Wrong)
    return extended


def wrong() -> TorchObject:
    return torch_module("my.Wrong")


# A port that agrees -------------------------------------------------------------------------------


def test_numbers_that_are_infinite_in_float32_alone_are_no_warning() -> None:
    """pytest makes errors of warnings; 2 + exp(exp(5)) is about 3e64."""
    twice = sequential(torch_module("nn.Exp"), torch_module("nn.Exp"), relu())
    assert verified(twice, np.full((1, 3, 8, 8), 5.0)).rows


def test_every_layer_has_a_row_with_all_measures() -> None:
    report = verified(small_net(), randn(2, 3, 8, 8))
    assert report.passed
    assert report.first_diverging is None
    assert report.oracle == REFERENCE
    assert [row.path for row in report.rows] == ["1", "2", "3.1", "3.2", "4"]
    for row in report.rows:
        assert row.oracle == REFERENCE
        assert row.isolated is not None
        assert row.accumulated is not None
        assert row.float64 is not None
        assert row.noise is not None
        assert row.float64 < 1e-12
        assert row.summary() == "no error"
    assert report.rows[0].shape == "2×4×8×8"
    assert [array.shape for array in report.expected] == [(2, 2, 4, 4)]


def test_the_accumulated_error_of_the_last_layer_is_that_of_the_port() -> None:
    x = randn(2, 3, 8, 8)
    (expected,) = verified(small_net(), x).expected
    np.testing.assert_array_equal(expected, run(small_net(), x))


# Isolated and accumulated -------------------------------------------------------------------------


def test_one_wrong_layer_fails_alone_and_spoils_what_follows(registry: Registry) -> None:
    net = sequential(conv(3, 4), wrong(), conv(4, 4), relu(), conv(4, 2))
    report = verified(net, randn(1, 3, 9, 9), registry=with_wrong(registry, 0.01))
    rows = {row.path: row for row in report.rows}
    isolated = [p for p, row in rows.items() if row.isolated and not row.isolated.within(1e-5)]
    accumulated = [
        p for p, row in rows.items() if row.accumulated and not row.accumulated.within(1e-4)
    ]
    assert isolated == ["2"]
    assert accumulated == ["2", "3", "4", "5"]
    assert report.first_diverging is rows["2"]
    assert [path for path, row in rows.items() if row.inherited] == ["3", "4", "5"]
    assert "isolated error 5.0e-03 of the scale (at most 1e-05)" in rows["2"].summary()
    assert "isolated" not in rows["3"].summary()


def test_a_second_mistake_is_not_inherited(registry: Registry) -> None:
    net = sequential(conv(3, 4), wrong(), conv(4, 4), wrong())
    report = verified(net, randn(1, 3, 9, 9), registry=with_wrong(registry, 0.01))
    assert [(row.path, row.inherited) for row in report.rows if not row.passed] == [
        ("2", False),
        ("3", True),
        ("4", False),
    ]


def test_float64_catches_an_error_that_float32_would_forgive(registry: Registry) -> None:
    registry = with_wrong(registry, 1e-7)
    report = verified(sequential(wrong()), randn(4, 5), registry=registry)
    (row,) = report.rows
    assert row.isolated is not None
    assert row.isolated.within(1e-6)
    assert row.float64 == pytest.approx(5e-8, rel=1e-3)
    assert not row.passed
    assert "float64 error 5.0e-08" in row.summary()


def test_tolerances_are_the_users(registry: Registry) -> None:
    loose = Tolerance(isolated=0.1, accumulated=0.1, float64=0.1)
    report = verified(sequential(wrong()), randn(4, 5), None, with_wrong(registry, 1e-3), loose)
    assert report.passed


def test_a_map_that_makes_another_shape_in_tensorflow_fails_by_shape(registry: Registry) -> None:
    class Cut(LayerMap):
        def reference(self, x: Array) -> Array:
            return x

        def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
            return x[:, 1:]

    with registering_into(registry):
        register("my.Cut")(Cut)
    report = verified(sequential(torch_module("my.Cut")), randn(2, 5), registry=registry)
    (row,) = report.rows
    assert row.problem == "shape 2×4 where 2×5 is expected"
    assert row.summary() == row.problem


# The oracle ---------------------------------------------------------------------------------------


def consulted(net: TorchObject, x: Array, recording: Recording) -> tuple[Any, Oracle]:
    graph = model(net).walk(types_of(x))
    return graph, consult(graph, x, recording)


def recorded(x: Array, output: Nested[Array] | None = None, **outputs: Nested[Array]) -> Recording:
    """A recording; the output of module 1.2 is given as `m1_2`."""
    named = {(name[1:].replace("_", "."), 1): array for name, array in outputs.items()}
    return Recording("recording.t7", x, output, named)


def test_what_torch_recorded_beats_the_reference() -> None:
    x, other = randn(2, 4), randn(2, 3, seed=9)
    net = sequential(linear(4, 3), relu())
    graph, oracle = consulted(net, x, recorded(x, m1=other))
    first, second = (node.outputs[0].id for node in graph.nodes)
    np.testing.assert_array_equal(oracle.values[first], other)
    assert oracle.sources == {first: "torch7", second: REFERENCE}
    np.testing.assert_allclose(oracle.values[second], other.clip(0))


def test_a_port_that_disagrees_with_torch_fails_though_it_agrees_with_the_reference() -> None:
    x = randn(2, 4)
    net = sequential(linear(4, 3), relu())
    right, _ = run(concat_table(linear(4, 3), identity()), x)
    report = verified(net, x, recorded(x, m1=np.asarray(right) + 0.01))
    assert failing(report) == ["1", "2"]
    row = report.rows[0]
    assert row.oracle == "torch7"
    assert row.isolated is not None
    assert not row.isolated.within(1e-5)
    assert row.float64 is not None
    assert row.float64 < 1e-12


def test_the_recorded_output_stands_for_the_root() -> None:
    x = randn(2, 4)
    graph, oracle = consulted(sequential(linear(4, 3)), x, recorded(x, randn(2, 3)))
    assert oracle.sources[graph.outputs.id] == "torch7"
    np.testing.assert_array_equal(oracle.values[graph.outputs.id], randn(2, 3))


def test_a_table_of_one_is_taken_for_its_tensor() -> None:
    x = randn(2, 4)
    graph, oracle = consulted(sequential(linear(4, 3)), x, recorded(x, [randn(2, 3)]))
    assert oracle.contradictions == {}
    assert oracle.sources[graph.outputs.id] == "torch7"


def test_a_recording_of_another_shape_is_a_failing_row() -> None:
    x = randn(2, 4)
    report = verified(sequential(linear(4, 3), relu()), x, recorded(x, m1=randn(2, 5)))
    assert failing(report) == ["1"]
    assert report.rows[0].problem == "shape 2×3 where Torch recorded 2×5"


def test_a_recording_of_another_structure_is_a_failing_row() -> None:
    x = randn(2, 4)
    report = verified(sequential(relu(), relu()), x, recorded(x, m1=[x, x]))
    assert failing(report) == ["1"]
    assert "table structure" in str(report.rows[0].problem)


def test_a_recording_with_another_tensor_where_torch_handed_one_on_is_a_failing_row() -> None:
    # Aliasing that porter got wrong would show like this: Torch saw two different tensors.
    x = randn(2, 4)
    net = sequential(relu(), identity())
    report = verified(net, x, recorded(x, m1=x.clip(0), m2=x))
    assert failing(report) == ["2"]
    assert "another tensor" in str(report.rows[1].problem)


def test_a_contradicted_container_has_a_row_of_its_own() -> None:
    x = randn(2, 4)
    net = sequential(sequential(relu()), relu())
    report = verified(net, x, recorded(x, m1_1=x.clip(0), m1=x))
    assert failing(report) == ["1"]


# Summaries ----------------------------------------------------------------------------------------


def summarised(x: Array, of: Array) -> Recording:
    summary = Summary(of.shape, float(np.abs(of).max()), float(of.mean()), float(np.abs(of).sum()))
    return Recording("recording.t7", x, None, {}, {("1", 1): summary})


def test_a_summary_that_fits_passes_and_one_that_does_not_fails() -> None:
    x, net = randn(2, 4), sequential(linear(4, 3), relu())
    right = np.asarray(next(leaves(run(sequential(linear(4, 3)), x))))
    assert verified(net, x, summarised(x, right)).passed
    for altered in (right + 0.01, right * 1.01):
        report = verified(net, x, summarised(x, altered))
        assert failing(report) == ["1"]
        assert "accumulated" in report.rows[0].summary()


def test_a_summary_of_another_shape_fails() -> None:
    x, net = randn(2, 4), sequential(linear(4, 3))
    right = np.asarray(next(leaves(run(net, x))))
    report = verified(net, x, summarised(x, right.reshape(3, 2)))
    assert failing(report) == ["1"]
    assert "Torch recorded" in str(report.rows[0].problem)


def test_a_recorded_output_judges_a_layer_alone_only_beside_recorded_inputs() -> None:
    x, first, last = randn(2, 4), linear(4, 4), linear(4, 3)
    net, between = sequential(first, last), tensor_of(run(sequential(first), x))
    rounded = tensor_of(run(net, x)) * np.float32(1 + 3e-5)
    report = verified(net, x, recorded(x, rounded))
    assert report.passed
    assert report.rows[1].oracle == "torch7"
    assert failing(verified(net, x, recorded(x, rounded, m1=between))) == ["2"]
    assert failing(verified(net, x, recorded(x, rounded * np.float32(1.001)))) == ["2"]


def tensor_of(output: Nested[Array]) -> Array:
    return np.asarray(next(leaves(output)))


# Rows ---------------------------------------------------------------------------------------------


def test_a_row_without_measures_passes() -> None:
    row = Row("1", "nn.Identity", "2×3", "the input")
    assert row.passed
    assert row.problem is None


def test_integer_values_are_not_made_floats() -> None:
    graph = model(identity()).walk(types_of(np.array([[1, 2]])))
    assert next(leaves(graph.outputs)).dtype != FLOAT
