"""What every graph must satisfy, and two walks merged into one with free sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from porter.errors import InvariantError, ShapeMismatch
from porter.ir.fields import integer
from porter.ir.graph import INT, Graph, Node, TensorType, Value, verify
from porter.ir.layer_map import LayerMap
from porter.ir.merge import merge
from porter.ir.nested import leaves


class Twice(LayerMap):
    """2 · x, with a number that tells two of them apart."""

    tag = integer("tag", 0)

    def reference(self, x: Any) -> Any:
        return 2 * x

    def apply(self, tf: Any, x: Any, at: Any) -> Any:
        return tf.add(x, x)


def value(identity: int, *shape: int, dtype: str = "float") -> Value:
    return Value(identity, TensorType(shape, dtype))


def chain(*shape: int, op: LayerMap | None = None) -> Graph:
    """input → Twice → output"""
    x, y = value(1, *shape), value(2, *shape)
    return Graph(x, (Node("1", op or Twice(), (x,), (y,)),), y)


def test_a_tensor_type_reads_as_its_sizes() -> None:
    assert str(TensorType((1, None, 3))) == "1×?×3"
    assert str(TensorType(())) == "scalar"
    assert TensorType((2, 3)).static == (2, 3)
    with pytest.raises(ShapeMismatch, match="depends on what the tensors hold"):
        _ = TensorType((None,)).static


def test_verify_accepts_a_chain_and_lists_its_values() -> None:
    graph = chain(2, 3)
    verify(graph)
    assert [each.id for each in graph.values()] == [1, 2]


def test_verify_refuses_a_value_that_is_read_before_it_is_computed() -> None:
    graph = chain(2, 3)
    stranger = replace(graph.nodes[0], inputs=(value(9, 2, 3),))
    with pytest.raises(InvariantError, match=r"1 reads .* before it is computed"):
        verify(replace(graph, nodes=(stranger,)))


def test_verify_refuses_a_value_that_is_made_twice() -> None:
    graph = chain(2, 3)
    with pytest.raises(InvariantError, match="computes value 2 a second time"):
        verify(replace(graph, nodes=graph.nodes * 2))


def test_verify_refuses_an_output_that_is_never_computed() -> None:
    with pytest.raises(InvariantError, match="is never computed"):
        verify(replace(chain(2, 3), outputs=value(9, 2, 3)))


def test_verify_refuses_a_value_whose_shape_changed_on_the_way() -> None:
    with pytest.raises(InvariantError, match="is never computed"):
        verify(replace(chain(2, 3), outputs=value(2, 3, 2)))


def test_merge_leaves_open_what_differs() -> None:
    merged = merge(chain(1, 3, 8), chain(2, 3, 9))
    assert merged is not None
    assert [each.type.shape for each in merged.values()] == [(None, 3, None)] * 2
    assert next(leaves(merged.outputs)).type.shape == (None, 3, None)
    verify(merged)


def test_merge_refuses_other_layers_ranks_dtypes_and_lengths() -> None:
    one = chain(1, 3)
    assert merge(one, chain(2, 3, op=Twice(tag=1))) is None
    assert merge(one, chain(1, 3, 1)) is None
    assert merge(one, Graph(one.inputs, (), one.inputs)) is None
    integer_input = value(1, 1, 3, dtype=INT)
    node = replace(one.nodes[0], inputs=(integer_input,))
    assert merge(one, Graph(integer_input, (node,), one.outputs)) is None


def test_merge_refuses_other_connections() -> None:
    x, y, z = value(1, 1, 3), value(2, 1, 3), value(3, 1, 3)
    op = Twice()
    first = Node("1", op, (x,), (y,))
    straight = Graph(x, (first, Node("2", op, (y,), (z,))), z)
    skipping = Graph(x, (first, Node("2", op, (x,), (z,))), z)
    assert merge(straight, straight) is not None
    assert merge(straight, skipping) is None
    assert merge(straight, replace(straight, outputs=y)) is None
