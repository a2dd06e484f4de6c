"""What every layer map must satisfy, whatever it computes.

Each class is driven by its recorded cases: Hypothesis draws other batches, sizes, numbers and
precisions, and every node of the walked case has to obey, so that maps which only structure rules
emit are held to the laws as well.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, note
from hypothesis import strategies as st

from porter.emit.port import Port, build_widest
from porter.frontend.inputs import types_of
from porter.ir.capabilities import reach_of
from porter.ir.graph import FLOAT, Graph, Node, TensorType, Value, with_shapes
from porter.ir.layout import Layout, Step, channels_last, plan, torch_order
from porter.ir.nested import Nested, leaves
from porter.layer_maps import default_registry
from porter.parity import compare as parity
from porter.parity.measure import compare
from porter.runtime import reference, runner
from tests.build import Array
from tests.layer_maps.built import BUILT
from tests.layer_maps.cases import RECORDED, VARIATIONS, Case, Variation, cases, varied

DRIVEN = sorted({*RECORDED, *BUILT})
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
PRECISIONS = st.sampled_from(sorted(TOLERANCE))

GROWN = Variation((1, 2, 0, 1, 3), seed=1)
"""Tried for every class, besides what Hypothesis draws."""

every_class = pytest.mark.parametrize("typename", DRIVEN)


def walked(case: Case, variation: Variation, precision: str) -> tuple[Graph, Nested[Array]]:
    """The case's graph for a varied input, and that input."""
    note(f"{case}: {variation}")
    inputs = varied(case, variation, precision)
    return case.model.walk(types_of(inputs)), inputs


def computed(
    graph: Graph, inputs: Nested[Array], precision: str
) -> Iterator[tuple[Node, list[Array], list[Array]]]:
    """Every node with its inputs in a precision, and what they exactly make."""
    values = parity.bind(graph.inputs, inputs)
    for node in graph.nodes:
        arrays = [values[value.id] for value in node.inputs]
        exact = reference.run_node(node, tuple(arrays), np.float64)
        yield node, arrays, exact
        for value, array in zip(node.outputs, exact, strict=True):
            values[value.id] = array.astype(precision) if value.dtype == FLOAT else array


def test_every_layer_map_is_driven() -> None:
    driven = {
        type(node.op)
        for typename in DRIVEN
        for case in cases(typename)
        for node in case.model.walk(types_of(case.inputs)).nodes
    }
    assert set(default_registry().layer_maps().values()) - driven == set()


# (a) Shapes ---------------------------------------------------------------------------------------


@every_class
@example(variation=GROWN)
@given(variation=VARIATIONS)
def test_the_shape_rule_agrees_with_the_reference(typename: str, variation: Variation) -> None:
    for case in cases(typename):
        graph, inputs = walked(case, variation, "float64")
        values = parity.bind(graph.inputs, inputs)
        for node in graph.nodes:
            arrays = [values[value.id] for value in node.inputs]
            with np.errstate(all="ignore"):
                result = node.op.reference(*arrays)
            outputs = [np.asarray(a) for a in (result if isinstance(result, tuple) else (result,))]
            ruled = node.op.output_types(*(value.type for value in node.inputs))
            assert len(outputs) == len(ruled)
            for array, type in zip(outputs, ruled, strict=True):
                assert type.admits(array.shape), f"{node.path}: {type}, not {array.shape}"
            values |= {value.id: a for value, a in zip(node.outputs, outputs, strict=True)}


# (b) Layouts and (d) precision --------------------------------------------------------------------


def factors(features: int) -> tuple[int, int, int] | None:
    """Some C, H, W that features could have been flattened from."""
    for planes in range(2, features):
        for height in range(1, features // planes + 1):
            width, rest = divmod(features, planes * height)
            if rest == 0 and height * width > 1:
                return planes, height, width
    return None


def candidates(type: TensorType) -> Iterator[Layout]:
    """Ways in which a tensor might be stored: any order of axes, or flattened channels-last."""
    if type.rank <= 4:
        yield from map(Layout, itertools.permutations(range(type.rank)))
    else:
        yield torch_order(type.rank)
        yield from (channels_last(type.rank, rank) for rank in range(1, type.rank - 1))
    if type.rank in (1, 2) and (flat := factors(type.static[-1])) is not None:
        yield Layout(torch_order(type.rank).order, flat)


def accepted(node: Node) -> set[tuple[tuple[Layout, ...], tuple[Layout, ...]]]:
    """All layouts in which a node runs, of its inputs and outputs."""
    inputs = tuple(value.type for value in node.inputs)
    outputs = tuple(value.type for value in node.outputs)
    if not inputs:
        return {node.op.layouts((), inputs, outputs)}
    found = set()
    for layout in candidates(inputs[0]):
        fits = [
            type.rank == inputs[0].rank
            and (layout.flat is None or type.shape[-1] == inputs[0].shape[-1])
            for type in inputs
        ]
        offered = tuple(
            layout if fit else torch_order(type.rank)
            for fit, type in zip(fits, inputs, strict=True)
        )
        found.add(node.op.layouts(offered, inputs, outputs))
    return found


@every_class
@example(variation=GROWN, precision="float32")
@example(variation=GROWN, precision="float64")
@given(variation=VARIATIONS, precision=PRECISIONS)
def test_tensorflow_agrees_with_the_reference_in_every_layout(
    typename: str, variation: Variation, precision: str
) -> None:
    for case in cases(typename):
        variables = runner.Variables(precision)
        graph, inputs = walked(case, variation, precision)
        for node, arrays, exact in computed(graph, inputs, precision):
            for layouts in accepted(node):
                outputs = runner.run_isolated(Step(node, *layouts), arrays, variables)
                for value, expected, got in zip(node.outputs, exact, outputs, strict=True):
                    error = compare(expected, got)
                    where = f"{case} {node.path} {precision} {layouts[0]}: {error}"
                    assert error.within(TOLERANCE[precision]), where
                    assert got.dtype == (precision if value.dtype == FLOAT else value.dtype), where


@every_class
@example(variation=GROWN)
@given(variation=VARIATIONS)
def test_a_layer_that_gets_the_layout_it_wants_keeps_it(
    typename: str, variation: Variation
) -> None:
    for case in cases(typename):
        graph, _ = walked(case, variation, "float32")
        for node in graph.nodes:
            inputs = tuple(value.type for value in node.inputs)
            outputs = tuple(value.type for value in node.outputs)
            for input_layouts, output_layouts in accepted(node):
                assert node.op.layouts(input_layouts, inputs, outputs) == (
                    input_layouts,
                    output_layouts,
                )


# (e) Bands ----------------------------------------------------------------------------------------


@every_class
@example(variation=GROWN, share=0.4)
@example(variation=GROWN, share=1)
@given(variation=VARIATIONS, share=st.floats(0, 1))
def test_rows_are_computed_from_the_rows_within_reach(
    typename: str, variation: Variation, share: float
) -> None:
    for case in cases(typename):
        graph, inputs = walked(case, variation, "float64")
        variables = runner.Variables("float64")
        for node, arrays, exact in computed(graph, inputs, "float64"):
            for axis in (2, 3):
                reach = reach_of(node, axis)
                if reach is None:
                    continue
                extent = node.outputs[0].shape[axis]
                first = min(int(share * extent), extent - 1)
                rows = reach.rows((first, min(first + 2, extent)), arrays[0].shape[axis])
                cut = [array.take(range(*rows), axis) for array in arrays]
                band = with_shapes(node, [array.shape for array in cut])
                types = (tuple(v.type for v in values) for values in (band.inputs, band.outputs))
                layouts = band.op.layouts((torch_order(4),) * len(cut), *types)
                place = first - reach.start(rows[0])
                for outputs in (
                    reference.run_node(band, tuple(cut), np.float64),
                    runner.run_isolated(Step(band, *layouts), cut, variables),
                ):
                    for whole, output in zip(exact, outputs, strict=True):
                        error = compare(whole.take([first], axis), output.take([place], axis))
                        where = f"{case} {node.path} axis {axis}: row {first} of {rows}: {error}"
                        assert error.within(TOLERANCE["float64"]), where


# (f) Open sizes -----------------------------------------------------------------------------------


@functools.cache
def opened(case: Case) -> Port:
    """The case traced, with its free sizes open."""
    return build_widest(case.model, types_of(case.inputs), runner.Variables())


@every_class
@example(variation=GROWN)
@given(variation=VARIATIONS)
def test_a_graph_with_open_sizes_equals_one_with_fixed_sizes(
    typename: str, variation: Variation
) -> None:
    for case in cases(typename):
        port = opened(case)
        graph, inputs = walked(case, variation, "float32")
        free, arrays = list(leaves(port.graph.inputs)), list(leaves(inputs))
        if not all(v.type.admits(a.shape) for v, a in zip(free, arrays, strict=True)):
            graph, inputs = walked(case, Variation((), variation.seed), "float32")
            arrays = list(leaves(inputs))
        fixed = plan(graph)
        stored = {
            value.id: runner.store(array, value, fixed.inputs[value.id], "float32")
            for value, array in zip(leaves(graph.inputs), arrays, strict=True)
        }
        expected = runner.run(fixed, stored, port.variables)
        computed_outputs = list(port.module.serve(*stored.values()).values())
        if isinstance(port.graph.outputs, Value) and not isinstance(graph.outputs, Value):
            # A table as long as an axis that is open is one tensor, with the entries in front.
            computed_outputs = list(np.asarray(computed_outputs[0]))
        for value, got in zip(leaves(graph.outputs), computed_outputs, strict=True):
            layout = fixed.outputs[value.id]
            error = compare(np.asarray(expected[value.id]), np.asarray(got))
            assert error.within(TOLERANCE["float32"]), f"{case} {layout}: {error}"
