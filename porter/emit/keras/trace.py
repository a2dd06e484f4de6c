"""Run a layer's `apply` with a stand-in for TensorFlow that writes down, in keras.ops, what it does.

Tensors are symbolic, so that real TensorFlow tells shapes and dtypes. Sizes (the elements of
`tf.shape`) are integers in Python, or expressions of integers where they are known only when the
model runs: keras.ops has no tensors of sizes, and JAX wants plain integers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from porter.emit.keras import host
from porter.emit.keras.expressions import Block, Call, Expression, Infix, Item, Name, literal
from porter.errors import EmitError
from porter.tensorflow import tf

T = TypeVar("T")
MOST_FOLDED = 64
"""Constants of more elements are computed in the model, not printed into its source."""


class Traced:
    """A tensor: what TensorFlow knows of it, and how keras.ops computes it."""

    def __init__(self, tensor: Any, expression: Expression, constant: Any = None) -> None:
        self.tensor = tensor
        self.expression = expression
        self.constant = constant
        """Its value as a NumPy array, where that is known now."""

    @property
    def shape(self) -> Any:
        return self.tensor.shape

    @property
    def dtype(self) -> Any:
        return self.tensor.dtype


class Size(Traced):
    """An integer that is known when the model runs. Arithmetic writes expressions."""

    def __init__(self, trace: Trace, tensor: Any, expression: Expression) -> None:
        super().__init__(tensor, expression)
        self.trace = trace

    def combine(self, operator: str, first: Any, second: Any) -> Any:
        return self.trace.size(
            host.COMPUTE[operator](bare(first), bare(second)), Infix(operator, first, second)
        )

    def __add__(self, other: Any) -> Any:
        return self if is_number(other, 0) else self.combine("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return self if is_number(other, 0) else self.combine("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return self if is_number(other, 0) else self.combine("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.combine("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return self if is_number(other, 1) else self.combine("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self if is_number(other, 1) else self.combine("*", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self if is_number(other, 1) else self.combine("//", self, other)

    def __mod__(self, other: Any) -> Any:
        return self.combine("%", self, other)

    def __neg__(self) -> Any:
        return self.combine("-", 0, self)

    def larger(self, other: Any) -> Any:
        """The larger of two sizes."""
        chosen = tf.maximum(bare(self), bare(other))
        return self.trace.size(chosen, Call("larger", (self, other)))

    def smaller(self, other: Any) -> Any:
        """The smaller of two sizes."""
        chosen = tf.minimum(bare(self), bare(other))
        return self.trace.size(chosen, Call("smaller", (self, other)))


def is_number(item: Any, number: int) -> bool:
    """Whether an operand is this very number."""
    return isinstance(item, int | np.integer) and item == number


def bare(item: Any) -> Any:
    """What TensorFlow is given in place of traced values."""
    if isinstance(item, Traced):
        return item.tensor
    if isinstance(item, np.ndarray) and item.dtype == object:
        # A list of numbers takes the width that TensorFlow needs.
        if not any(isinstance(each, Traced) for each in item.ravel()):
            return item.tolist()
        return tf.stack([bare(each) for each in item])
    if isinstance(item, list | tuple):
        inside = [bare(each) for each in item]
        return type(item)(*inside) if hasattr(item, "_fields") else type(item)(inside)
    return item


def is_known(item: Any) -> bool:
    """Whether a value does not depend on the model's input or variables."""
    if isinstance(item, Traced):
        return item.constant is not None
    if isinstance(item, list | tuple):
        return all(map(is_known, item))
    if isinstance(item, np.ndarray) and item.dtype == object:
        return all(map(is_known, item))
    return not isinstance(item, tf.Tensor)


def known(item: Any) -> Any:
    """The value of something known."""
    if isinstance(item, Traced):
        return tf.constant(item.constant)
    if isinstance(item, np.ndarray) and item.dtype == object:
        return item.tolist()
    if isinstance(item, list | tuple):
        return type(item)(known(each) for each in item)
    return item


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
            sizes = host.cast(self, self.shape(given["input"]), given.get("out_type", tf.int32))
            return sizes if name == "shape" else host.product(self, sizes)
        if name in host.FUNCTIONS and host.is_host(list(given.values())):
            made = host.FUNCTIONS[name](self, **given)
            if made is not NotImplemented:
                return made
        if all(is_known(each) for each in given.values()):
            with tf.init_scope():
                made = run(function, bound, known)
            if isinstance(made, tf.Tensor) and made.ndim < 2 and np.size(made) <= MOST_FOLDED:
                return self.constant(made.numpy())
        translate = self.translations.get(name)
        if translate is None:
            raise EmitError(f"keras.ops has nothing like tf.{name}")
        expression = translate(self, **given)
        if isinstance(expression, Traced):
            return expression
        return self.wrap(run(function, bound, bare), expression)

    def wrap(self, result: Any, expression: Any) -> Any:
        """Traced values for what a call made."""
        if not isinstance(result, list | tuple):
            return self.new(result, expression)
        # The elements of a pack; the pack itself is no tensor.
        pack = self.new(None, expression)
        made = [self.new(each, Item(pack, (i,))) for i, each in enumerate(result)]
        return type(result)(*made) if hasattr(result, "_fields") else made

    def over_time(
        self,
        step: Callable[[Any, list[Any], list[Any]], tuple[list[Any], list[Any]]],
        steps: Any,
        sequences: list[Any],
        states: list[Any],
        shapes: Any,
        dtypes: list[Any],
    ) -> tuple[Any, ...]:
        """`porter.loop.over_time` as a scan: outputs travel with the states, as TensorFlow's needs.

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
        free = [size for x in [*sequences, *states] for size in self.shape(x) if is_free(size)]
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


def is_free(size: Any) -> bool:
    """Whether a size is known only when the model runs."""
    return isinstance(size, Size)


def symbolically(function: Callable[[], T]) -> T:
    """What `function` returns when its tensors are symbolic."""
    returned: list[T] = []
    traced = tf.function(lambda: returned.append(function()), autograph=False)
    traced.get_concrete_function()
    return returned[0]


def placeholder(shape: Any, dtype: Any) -> Any:
    """A symbolic tensor."""
    return tf.compat.v1.placeholder(dtype, list(shape))


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
