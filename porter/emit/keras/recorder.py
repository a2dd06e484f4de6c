"""Run a layer's `apply` with a stand-in for TensorFlow that writes its calls down in keras.ops.

Sizes (the elements of `tf.shape`) are integers in Python, or expressions of integers where they are
known only when the model runs: keras.ops has no tensors of sizes, and JAX wants plain integers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from porter.emit.keras import shape_arithmetic
from porter.emit.keras.expressions import Block, Call, Expression, Item, Name, literal
from porter.emit.keras.traced import Size, Traced, bare, is_known, known, placeholder
from porter.errors import EmitError
from porter.system.tensorflow import tf

MAX_FOLDED = 64
"""Constants of more elements are computed in the model, not printed into its source."""


@dataclass
class Trace:
    """What was written down: all values in the order in which they were made."""

    translations: dict[str, Callable[..., Any]]
    """How a call is written, by the function's name: an expression, or the argument handed on."""
    held: list[Traced] = field(default_factory=list)

    def new(self, tensor: Any, expression: Expression, constant: Any = None) -> Traced:
        """A tensor of the body."""
        value = Traced(tensor, expression, constant)
        self.held.append(value)
        return value

    def size(self, tensor: Any, expression: Expression) -> Size:
        """A size of the body."""
        value = Size(self, tensor, expression)
        self.held.append(value)
        return value

    def shape(self, x: Traced) -> Any:
        """The sizes of a tensor, as an array of integers and `Size`s."""
        dynamic, sizes = tf.shape(x.tensor), np.empty(len(x.shape), object)
        whole: Traced | None = None
        for axis, extent in enumerate(x.shape):
            if extent is None:
                whole = whole or self.new(dynamic, Call("ops.shape", (x,)))
                sizes[axis] = self.size(dynamic[axis], Item(whole, (axis,), "size"))
            else:
                sizes[axis] = int(extent)
        return sizes

    def constant(self, value: Any) -> Traced:
        """A tensor whose elements are known."""
        array = np.asarray(value)
        if array.ndim == 0:
            expression: Expression = Name(literal(array[()]))
        else:
            expression = Call("ops.array", (array.tolist(),), {"dtype": str(array.dtype)})
        return self.new(tf.constant(array), expression, array)

    def call(self, name: str, function: Callable[..., Any], args: Any, options: Any) -> Any:
        """One call of `tf.<name>`."""
        bound = inspect.signature(function).bind(*args, **options)
        bound.arguments.pop("name", None)
        given = bound.arguments
        if name in ("shape", "size"):
            sizes = shape_arithmetic.cast(
                self, self.shape(given["input"]), given.get("out_type", tf.int32)
            )
            return sizes if name == "shape" else shape_arithmetic.product(self, sizes)
        if name in shape_arithmetic.FUNCTIONS and shape_arithmetic.is_host(list(given.values())):
            made = shape_arithmetic.FUNCTIONS[name](self, **given)
            if made is not NotImplemented:
                return made
        if all(is_known(each) for each in given.values()):
            with tf.init_scope():
                made = run(function, bound, known)
            if isinstance(made, tf.Tensor) and made.ndim < 2 and np.size(made) <= MAX_FOLDED:
                return self.constant(made.numpy())
        translate = self.translations.get(name)
        if translate is None:
            raise EmitError(f"keras.ops has nothing like tf.{name}")
        expression = translate(self, **given)
        if isinstance(expression, Traced):
            return expression
        return self.wrap(run(function, bound, bare), expression)

    def wrap(self, result: Any, expression: Expression) -> Any:
        """Traced values for what a call made."""
        if not isinstance(result, list | tuple):
            return self.new(result, expression)
        # The elements of a pack; the pack itself is no tensor.
        pack = self.new(None, expression)
        items: list[Any] = [self.new(each, Item(pack, (i,))) for i, each in enumerate(result)]
        return type(result)(*items) if hasattr(result, "_fields") else items

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

        The carried outputs start as zeros; what one step carries is stacked for all of them.
        """
        count = len(shapes) - len(states)
        elements = [
            Traced(placeholder(x.shape[1:], x.dtype), Item(Name("elements"), (i + 1,)))
            for i, x in enumerate(sequences)
        ]
        before = [
            Traced(placeholder(shape, dtype), Item(Name("carry"), (count + i,)))
            for i, (shape, dtype) in enumerate(zip(shapes[count:], dtypes[count:], strict=True))
        ]
        number = Traced(placeholder((), tf.int32), Item(Name("elements"), (0,)))
        outer, self.held = self.held, []
        outputs, after = step(number, elements, before)
        carried = [*outputs, *after]
        inside, self.held = self.held, outer
        block = self.new(
            None, Block("step", ("carry", "elements"), tuple(inside), (carried, carried))
        )
        sizes = [size for x in [*sequences, *states] for size in self.shape(x)]
        free = [size for size in sizes if isinstance(size, Size)]
        init = [
            Call("ops.zeros", (self.filled(shape, free), dtype.name))
            for shape, dtype in zip(shapes[:count], dtypes, strict=False)
        ]
        numbers = Call("ops.arange", (steps,), {"dtype": "int32"})
        scan = Call("ops.scan", (block, [*init, *states], [numbers, *sequences]))
        stacked = self.new(None, Item(scan, (1,)))
        length = None if isinstance(steps, Traced) else steps
        return tuple(
            self.new(placeholder((length, *shape), dtype), Item(stacked, (i,)))
            for i, (shape, dtype) in enumerate(zip(shapes[:count], dtypes, strict=False))
        )

    def filled(self, shape: Any, free: list[Any]) -> list[Any]:
        """A step's shape with the batch, which alone may be free, in the place of None."""
        if None in shape and not free:
            raise EmitError("a loop makes tensors of a size that nothing it reads has")
        return [free[-1] if extent is None else extent for extent in shape]


def run(
    function: Callable[..., Any], bound: inspect.BoundArguments, turn: Callable[[Any], Any]
) -> Any:
    """Call TensorFlow with every argument turned into something that it takes."""
    given = {key: turn(value) for key, value in bound.arguments.items()}
    # Some functions take their arguments by name only, and some take any number of them.
    star = [p.name for p in bound.signature.parameters.values() if p.kind is p.VAR_POSITIONAL]
    if not star:
        given |= given.pop("kwargs", {})
        return function(**given)
    everything = given.pop(star[0])
    return function(*given.values(), *everything)


class StandIn:
    """Has the names of TensorFlow; its functions write into a trace, all else is TensorFlow's."""

    def __init__(self, trace: Trace, real: Any = tf, prefix: str = "") -> None:
        self.trace, self.real, self.prefix = trace, real, prefix

    def __getattr__(self, name: str) -> Any:
        if name == "over_time":
            return self.trace.over_time
        found = getattr(self.real, name)
        path = self.prefix + name
        if inspect.ismodule(found):
            return StandIn(self.trace, found, f"{path}.")
        if not callable(found) or isinstance(found, type) or name in ("as_dtype", "TensorShape"):
            return found

        def call(*args: Any, **options: Any) -> Any:
            return self.trace.call(path, found, args, options)

        return call
