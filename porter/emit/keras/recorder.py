"""Write down in keras.ops what a layer's `apply` calls of TensorFlow.

Sizes (the elements of `tf.shape`) are integers in Python, or expressions of integers where they are
known only when the model runs: keras.ops has no tensors of sizes, and JAX wants plain integers.
"""

from __future__ import annotations

import inspect
from collections import ChainMap
from collections.abc import Callable
from typing import Any

import numpy as np

from porter.emit.keras import shape_arithmetic
from porter.emit.keras.body import FunctionBody, LocalFunction
from porter.emit.keras.calls import expression_of, item, ops
from porter.emit.keras.symbols import Size, constants, is_constant, placeholder
from porter.emit.keras.translations import TRANSLATIONS
from porter.emit.tracing.expression import Expression, Literal
from porter.emit.tracing.namespace import Namespace
from porter.emit.tracing.recorder import Recorder, Symbol, tensors
from porter.errors import EmitError
from porter.system.tensorflow import tf

MAX_FOLDED = 64
"""Constants of more elements are computed in the model, not printed into its source."""


class KerasRecorder(Recorder):
    """Writes down one layer."""

    definitions: ChainMap[int, Expression]
    """Inside of a loop's step a map of its own, in front of that of the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.definitions = ChainMap()
        self.tf = Namespace({"over_time": self.over_time}, self.call)
        """What layer maps are handed."""

    def shape(self, x: Symbol) -> Any:
        """The sizes of a tensor, as an array of integers and `Size`s."""
        dynamic, sizes = tf.shape(x.tensor), np.empty(len(x.shape), object)
        whole: Symbol | None = None
        for axis, extent in enumerate(x.shape):
            if extent is None:
                whole = whole or self.define(dynamic, ops("shape", x))
                sizes[axis] = self.define(dynamic[axis], item(whole, axis), type=Size)
            else:
                sizes[axis] = int(extent)
        return sizes

    def constant(self, value: Any) -> Symbol:
        """A tensor whose elements are known."""
        array = np.asarray(value)
        expression = expression_of(array[()])
        if array.ndim > 0:
            expression = ops("array", array.tolist(), dtype=str(array.dtype))
        symbol: Symbol = self.define(tf.constant(array), expression, array)
        return symbol

    def call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One call. Raises EmitError for a function that keras.ops has nothing like."""
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.arguments.pop("name", None)
        arguments = bound.arguments
        if name in ("shape", "size"):
            sizes = shape_arithmetic.cast(
                self.shape(arguments["input"]), arguments.get("out_type", tf.int32)
            )
            return sizes if name == "shape" else shape_arithmetic.product(sizes)
        if name in shape_arithmetic.FUNCTIONS and shape_arithmetic.is_host(
            list(arguments.values())
        ):
            result = shape_arithmetic.FUNCTIONS[name](**arguments)
            if result is not NotImplemented:
                return result
        if all(is_constant(each) for each in arguments.values()):
            with tf.init_scope():
                result = call_bound(function, bound, constants)
            if isinstance(result, tf.Tensor) and result.ndim < 2 and np.size(result) <= MAX_FOLDED:
                return self.constant(result.numpy())
        translate = TRANSLATIONS.get(name)
        if translate is None:
            raise EmitError(f"keras.ops has nothing like tf.{name}")
        expression = translate(**arguments)
        if isinstance(expression, Symbol):
            return expression
        return self.wrap(call_bound(function, bound, tensors), expression)

    def over_time(
        self,
        step: Callable[[Any, list[Any], list[Any]], tuple[list[Any], list[Any]]],
        steps: Any,
        sequences: list[Any],
        states: list[Any],
        shapes: Any,
        dtypes: list[Any],
    ) -> tuple[Any, ...]:
        """`porter.frontend.loop.over_time` as a scan: outputs travel with the states.

        The carried outputs start as zeros; what one step carries is stacked for all of them. Only
        the step's number is scanned: TensorFlow's scan of several sequences fails where their
        length is known only when the model runs.
        """
        count = len(shapes) - len(states)
        self.definitions = self.definitions.new_child()
        number = self.define(placeholder((), tf.int32), Literal("number"))
        elements = [
            self.define(placeholder(x.shape[1:], x.dtype), ops("take", x, number, axis=0))
            for x in sequences
        ]
        before = [
            self.define(placeholder(shape, dtype), item(Literal("carry"), count + place))
            for place, (shape, dtype) in enumerate(zip(shapes[count:], dtypes[count:], strict=True))
        ]
        outputs, after = step(number, elements, before)
        carried = [*outputs, *after]
        body = FunctionBody(self.definitions, expression_of((carried, carried)))
        function = LocalFunction("step", ("carry", "number"), body)
        self.definitions = self.definitions.parents
        block = self.define(None, function)
        sizes = [size for x in [*sequences, *states] for size in self.shape(x)]
        free = [size for size in sizes if isinstance(size, Size)]
        init = [
            ops("zeros", filled(shape, free), dtype.name)
            for shape, dtype in zip(shapes[:count], dtypes, strict=False)
        ]
        numbers = ops("arange", steps, dtype="int32")
        scan = ops("scan", block, [*init, *states], numbers)
        stacked = self.define(None, item(scan, 1))
        length = None if isinstance(steps, Symbol) else steps
        return tuple(
            self.define(placeholder((length, *shape), dtype), item(stacked, place))
            for place, (shape, dtype) in enumerate(zip(shapes[:count], dtypes, strict=False))
        )


def filled(shape: Any, free: list[Any]) -> list[Any]:
    """A step's shape with the batch, which alone may be free, in the place of None."""
    if None in shape and not free:
        raise EmitError("a loop makes tensors of a size that nothing it reads has")
    return [free[-1] if extent is None else extent for extent in shape]


def call_bound(
    function: Callable[..., Any], bound: inspect.BoundArguments, convert: Callable[[Any], Any]
) -> Any:
    """Call TensorFlow with every argument turned into something that it takes."""
    arguments = {key: convert(value) for key, value in bound.arguments.items()}
    # Some functions take their arguments by name only, and some take any number of them.
    star = [p.name for p in bound.signature.parameters.values() if p.kind is p.VAR_POSITIONAL]
    if not star:
        arguments |= arguments.pop("kwargs", {})
        return function(**arguments)
    everything = arguments.pop(star[0])
    return function(*arguments.values(), *everything)
