"""Refusing what cannot fit into memory, before it is made."""

from __future__ import annotations

import pytest

from porter.cli.main import as_porter_error
from porter.errors import OutOfMemory, TooLarge
from porter.ir.layer_map import LayerMap
from porter.ir.map_errors import attribute_errors
from porter.runtime import memory
from porter.system.tensorflow import tf
from tests.build import conv, image, model, sequential


def test_the_widest_node_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = model(sequential(conv(3, 4), conv(4, 1))).walk(image(1, 3, 10, 10))
    assert memory.widest(graph) == 3 * 10 * 10 + 4 * 8 * 8
    needed = memory.widest(graph) * memory.BYTES
    monkeypatch.setattr(memory, "available", lambda: needed)
    memory.require(graph, "an input")
    monkeypatch.setattr(memory, "available", lambda: needed - 1)
    with pytest.raises(TooLarge, match="verification on an input takes at least"):
        memory.require(graph, "an input")


def test_a_system_that_tells_nothing_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMINFO", memory.MEMINFO / "none")
    assert memory.available() is None
    memory.require(model(conv(3, 4)).walk(image(1, 3, 10, 10)), "an input")


def test_a_share_counts_where_it_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = model(conv(3, 4)).walk(image(1, 3, 10, 10))
    monkeypatch.setattr(memory, "available", lambda: 2**40)
    memory.grant(10)
    try:
        with pytest.raises(TooLarge, match="fewer `jobs=`"):
            memory.require(graph, "an input")
    finally:
        memory.grant(None)
    memory.require(graph, "an input")


def test_weights_are_compared_in_float64_where_there_is_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = model(conv(3, 4)).walk(image(1, 3, 10, 10))
    weights = sum(param.array.size for node in graph.nodes for param in node.op.params().values())
    monkeypatch.setattr(memory, "available", lambda: memory.WEIGHT_BYTES * weights + 1)
    assert memory.holds_in_float64(graph)
    monkeypatch.setattr(memory, "available", lambda: memory.WEIGHT_BYTES * weights)
    assert not memory.holds_in_float64(graph)


def test_memory_that_a_layer_runs_out_of_is_no_bug() -> None:
    """TensorFlow's error comes through, and becomes exit code 2 where commands end."""
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    with (
        pytest.raises(tf.errors.ResourceExhaustedError),
        attribute_errors(LayerMap, "1", "nn.Linear"),
    ):
        raise error
    assert isinstance(as_porter_error(error), OutOfMemory)
