"""The stand-in for `tf`, the symbols of its calls and the trees that they are written to."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from porter.emit.tracing.expression import (
    Dict,
    Expression,
    FunctionCall,
    Items,
    Literal,
    Ref,
    Subscript,
    nodes,
    references,
    rewrite,
)
from porter.emit.tracing.namespace import Namespace
from porter.emit.tracing.printer import Printer
from porter.emit.tracing.recorder import Recorder, Symbol, tensors
from porter.system.tensorflow import tf

Pair = namedtuple("Pair", "values indices")


class CallRecorder(Recorder):
    """Writes every call down by its path."""

    def call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        expression = FunctionCall(name, tuple(Ref(each.id) for each in args))
        return self.wrap(function(*tensors(args), **tensors(kwargs)), expression)


def test_functions_are_recorded_by_path() -> None:
    paths: list[str] = []
    stand_in = Namespace({}, lambda path, function, *args: paths.append(path))
    stand_in.nn.relu(1)
    stand_in.add(1, 2)
    assert paths == ["nn.relu", "add"]


def test_types_and_dtypes_are_those_of_tensorflow() -> None:
    stand_in = Namespace({}, lambda *_: None)
    assert stand_in.float32 is tf.float32
    assert stand_in.TensorShape is tf.TensorShape
    assert stand_in.as_dtype("int8") is tf.int8


def test_replaced_names_win_at_any_depth() -> None:
    stand_in = Namespace({"nn.relu": "mine", "float64": tf.float32})
    assert stand_in.nn.relu == "mine"
    assert stand_in.nn.elu is tf.nn.elu
    assert stand_in.float64 is tf.float32


def test_a_name_that_tensorflow_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        Namespace({}).nn.no_such_function  # noqa: B018


def test_symbols_have_the_shape_and_dtype_of_their_tensor() -> None:
    recorder = CallRecorder()
    x = recorder.define(tf.zeros([2, 3]), Literal("x"))
    y = recorder.call("transpose", tf.transpose, x)
    assert (y.shape, y.dtype) == ([3, 2], tf.float32)
    assert y.expression == FunctionCall("transpose", (Ref(x.id),))


def test_several_results_are_parts_of_one_call() -> None:
    recorder = CallRecorder()
    x = recorder.define(tf.constant([3.0, 1.0]), Literal("x"))
    top = recorder.call("math.top_k", tf.math.top_k, x)
    whole = top.values.expression.of
    assert recorder.definitions[whole.id] == FunctionCall("math.top_k", (Ref(x.id),))
    assert recorder.parts == {whole.id: 2}
    assert top.indices.expression == Subscript(whole, (Literal("1"),))


def test_arguments_become_tensors_inside_of_any_nesting() -> None:
    x = Symbol(None, tf.constant(1), 1)
    arguments = {"a": [x, (x, 2)], "b": Pair(x, 3), "c": np.array([x, 4], object)}
    converted = tensors(arguments)
    assert converted["a"] == [x.tensor, (x.tensor, 2)]
    assert converted["b"] == Pair(x.tensor, 3)
    assert converted["c"].numpy().tolist() == [1, 4]


TREE = FunctionCall(
    "f", (Items((Ref(1), Literal("2", is_number=True))),), (("key", Dict((("a", Ref(3)),))),)
)


def test_parts_come_in_the_order_in_which_they_are_written() -> None:
    assert references(TREE) == [1, 3]
    assert [type(each).__name__ for each in nodes(TREE)] == [
        *("FunctionCall", "Items", "Ref", "Literal", "Dict", "Ref")
    ]


def test_rewriting_reaches_every_part_and_leaves_the_tree_as_it_was() -> None:
    def shift(node: Expression) -> Expression:
        return Ref(node.id + 1) if isinstance(node, Ref) else node

    names = {1: "x", 2: "y", 3: "z", 4: "w"}
    assert Printer(names).text(rewrite(TREE, shift)) == 'f([y, 2], key={"a": w})'
    assert Printer(names).text(TREE) == 'f([x, 2], key={"a": z})'
