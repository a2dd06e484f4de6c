"""The abstract layer map: what a Torch layer computes, and how TensorFlow computes the same.

A layer map is one final class with declared fields and three methods:

- `output_shape(*shapes)`: Torch's shape rule, on concrete sizes;
- `reference(*arrays)`: the layer in NumPy, in Torch's order; written from Torch's documentation
  and source, sharing no code with `apply`;
- `apply(tf, *tensors, at)`: the layer in TensorFlow, in the layouts that `at` gives.

Where Torch computes something else in training, or defines a gradient of its own, a fourth method,
`train`, takes the place of `apply`.

TensorFlow is passed in as `tf` and never imported, so that reading, walking and describing a model
start at once, and so that the calls of `apply` can be recorded and printed as source.
"""

from __future__ import annotations

import abc
import inspect
import sys
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, ClassVar, TypeVar

from porter.errors import BadField, MissingField, ShapeMismatch
from porter.ir.declared import Declared
from porter.ir.fields import Array, Field
from porter.ir.graph import Shape, TensorType, Types
from porter.ir.layout import Layouts, channels_last, torch_order
from porter.ir.options import Options
from porter.ir.window import Window
from porter.torch7 import TorchObject

M = TypeVar("M", bound="LayerMap")


class Accepts(Enum):
    """Which layouts `apply` can work in. The default works for every map, the others are faster."""

    TORCH = "torch"
    """Torch's own order of axes, always."""
    CHANNELS_LAST = "channels last"
    """Feature axis last, as TensorFlow's convolutions and pooling expect it."""
    ANY_ORDER = "any order"
    """Any order of the axes, the same for all inputs; `at.axis` finds an axis."""
    ELEMENTWISE = "elementwise"
    """Any layout, because each element is computed by itself."""


class LayerMap(Declared, abc.ABC):
    """One Torch layer. Instances are created by `from_torch`, or by `Cls(field=value, ...)`."""

    typename: str = ""
    """The Torch class of the module that this instance was read from."""
    accepts: ClassVar[Accepts] = Accepts.TORCH
    spatial_rank: ClassVar[int] = 2
    """How many axes follow the feature axis; distinguishes batched from unbatched input."""
    causes: ClassVar[Mapping[tuple[str, Any], str]] = {}
    """For a diagnosis: what explains that the oracle has another value of a field."""
    nan: bool = False
    """Whether NaN may come (`porter/frontend/nonfinite.py`): only then does `apply` spend
    anything on treating it as Torch does."""
    makes_nan: ClassVar[bool] = False
    """Whether finite inputs may give NaN: the root or logarithm of a negative number."""
    draws: ClassVar[bool] = False
    """Whether Torch draws random numbers at every call: no two of its outputs agree."""
    depends_on_mode: ClassVar[bool] = False
    """Whether Torch computes something else in training, so that saved outputs prove nothing."""
    applies_tanh: ClassVar[bool] = False
    """Whether `apply` begins with TensorFlow's Tanh (`porter/passes/affine.py`)."""
    takes_table: ClassVar[bool] = False
    """Whether Torch expects a table even for a single tensor."""
    is_view: ClassVar[bool] = False
    """Whether Torch's output shares its memory with the first input."""
    copies_scattered: ClassVar[bool] = False
    """Whether a view is a copy after all where the input is not contiguous (nn.Reshape)."""
    copies_to_output: ClassVar[bool] = False
    """Whether that copy is made in the output itself (nn.Contiguous), not in another buffer."""
    fresh_output: ClassVar[bool] = False
    """Whether Torch returns a new tensor at every call. By default a module returns its own
    `output`, so that a second call overwrites what the first returned."""
    reads_before_writing: ClassVar[bool] = False
    """Whether nn reads all that it needs of each sample before it writes the sample, so that the
    module may receive its own output as input. ELEMENTWISE maps always may."""
    shape_only: ClassVar[tuple[int, ...]] = ()
    """Positions of the inputs of which the shape is read, and no number."""

    moves: ClassVar[bool] = False
    """Whether every element of the output is an element of the input, or zero."""
    keeps_planes: ClassVar[bool] = False
    """Whether the output has the axes and planes of the input, whatever these are: a padding."""
    regroups: ClassVar[bool] = False
    """Whether the output holds the input's elements in the same order, in another shape."""
    notes: tuple[str, ...] = ()
    """Remarks for the report, such as a mode that was chosen or a legacy rule that applies."""
    warning: str = ""
    """A warning for the user who converts the model, such as of random numbers."""
    unread: Mapping[str, MissingField | BadField] = {}
    """The errors of declared fields that could not be read, raised when one is needed."""
    inplace: bool | Field[bool] = False
    """Whether Torch overwrites the first input with the output."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.typename = self.typename or type(self).__name__

    @classmethod
    def from_torch(cls, module: TorchObject, options: Options) -> LayerMap:
        """Read the declared fields of a module, adapt them to its version, and check them.

        Raises MissingField and BadField.
        """
        op = cls.__new__(cls)
        op.typename, op.nan = module.typename, options.nan
        unread: dict[str, MissingField | BadField] = {}
        for name, field in cls.fields().items():
            try:
                op.__dict__[name] = field.read(module)
            except (MissingField, BadField) as error:
                unread[name] = error
        op.unread = unread
        adapted = op.adapt(module, options)
        for name, why in adapted.unread.items():
            if not adapted.has(name):
                raise why
        checked = adapted.checked()
        checked.check_axes()
        return checked

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        """Convert fields that old versions of the class saved differently: `self.evolve(pad=…)`.

        Runs after the declared fields are read and before they are required, so it may supply one.
        May return another map in its place.
        """
        return self

    def checked(self) -> LayerMap:
        """Refuse fields that contradict each other; parameters may be evolved to full shape."""
        return self

    def with_notes(self: M, *notes: str) -> M:
        """A copy with more remarks for the report."""
        return self.evolve(notes=(*self.notes, *notes))

    def check_axes(self) -> None:
        """Raise BadField unless equal axis letters of the parameters have equal sizes."""
        sizes: dict[str, tuple[int, str]] = {}
        for name, parameter in self.params().items():
            if len(parameter.axes) != len(parameter.shape):
                raise BadField(
                    f"'{name}' of {self.typename} should have {len(parameter.axes)} dimensions "
                    f"({parameter.axes})",
                    received="×".join(map(str, parameter.shape)),
                )
            for letter, size in zip(parameter.axes, parameter.shape, strict=True):
                expected, owner = sizes.setdefault(letter, (size, name))
                if expected != size:
                    raise BadField(
                        f"'{name}' of {self.typename} contradicts '{owner}': axis {letter} should "
                        f"have {expected} elements",
                        received=str(size),
                    )

    def require(self, condition: bool, expected: str, *received: object) -> None:
        """Raise `ShapeMismatch` unless `condition`; the walker adds the module path."""
        if not condition:
            shown = ", ".join(
                "×".join(map(str, item)) if isinstance(item, tuple) else str(item)
                for item in received
            )
            raise ShapeMismatch(f"{self.typename} {expected}", received=shown or None)

    @classmethod
    @cache
    def arity(cls) -> tuple[int, int]:
        """The fewest and the most tensors that the layer takes, from `reference`'s signature."""
        parameters = list(inspect.signature(cls.reference).parameters.values())[1:]
        parameters = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
        fewest = sum(p.default is p.empty and p.kind is not p.VAR_POSITIONAL for p in parameters)
        endless = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        return max(fewest, int(endless)), sys.maxsize if endless else len(parameters)

    # Semantics ----------------------------------------------------------------------------------

    # mypy lets a method with `*args: Any, **kwargs: Any` be overridden with any parameters: a map
    # names its inputs, `output_shape(self, x)`, or takes any number, `output_shape(self, *shapes)`.

    def output_shape(self, *shapes: Any, **_: Any) -> Shape:
        """The output's shape in Torch's order. Maps with several outputs give `output_types`."""
        first: Shape = shapes[0]
        return first

    def output_types(self, *inputs: TensorType) -> Types:
        """Shape and dtype of every output: by default one, of the first input's dtype."""
        shape = self.output_shape(*(each.static for each in inputs))
        return (TensorType(tuple(shape), inputs[0].dtype),)

    def notes_on(self, *inputs: TensorType) -> tuple[str, ...]:
        """The remarks for the report on a layer with inputs of these types."""
        return self.notes

    # Memory (porter/frontend/memory.py) -----------------------------------------------------------

    def views(self, x: Window, outputs: tuple[TensorType, ...]) -> tuple[Window | None, ...]:
        """The windows of a view's outputs in the memory of the input; None for a copy."""
        return tuple(x.reshaped(each.static) for each in outputs)

    def put_together(self) -> LayerMap | None:
        """The layer that reassembles the input of a view from all its outputs."""
        return None

    def fed_own_output(self, positions: tuple[int, ...]) -> LayerMap | None:
        """The layer that computes what Torch does where inputs share the memory that it writes to.

        `positions` are those of these inputs, 0-based; each covers exactly the output's elements.
        None where Torch would read elements that it has overwritten.
        """
        # cuDNN does not document this case.
        safe = self.reads_before_writing and self.typename.startswith("nn.")
        safe |= self.accepts is Accepts.ELEMENTWISE
        return self if safe and positions == (0,) else None

    def written_as(self, output: TensorType) -> Shape | None:
        """The shape in which Torch writes an output, if it then returns a new view of it.

        The tensor returned by the module's previous call is left in this shape.
        """
        return None

    @abc.abstractmethod
    def reference(self, *inputs: Any, **_: Any) -> Array | tuple[Array, ...]:
        """The layer in NumPy, in Torch's order and in the inputs' precision."""

    @abc.abstractmethod
    def apply(self, tf: Any, *inputs: Any, **at: Any) -> Any:
        """The layer in TensorFlow: one tensor, or a tuple for several outputs."""

    def train(self, tf: Any, *inputs: Any, **at: Any) -> Any:
        """What Torch computes in training; by default `apply`.

        Overridden where training differs: batch statistics (`at.update` keeps running averages),
        noise, or a gradient that is not the derivative of the output (`tf.custom_gradient`).
        """
        return self.apply(tf, *inputs, **at)

    # Layout -------------------------------------------------------------------------------------

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        """The layouts in which the layer reads its inputs, and those that its outputs then have.

        `available` are the layouts that the inputs have: these cost no transpose.
        """
        if self.accepts is Accepts.CHANNELS_LAST:
            return (
                tuple(channels_last(each.rank, self.spatial_rank) for each in inputs),
                tuple(channels_last(each.rank, self.spatial_rank) for each in outputs),
            )
        if self.accepts in (Accepts.ANY_ORDER, Accepts.ELEMENTWISE):
            same_rank = len({each.rank for each in (*inputs, *outputs)}) == 1
            agreed = len(set(available)) == 1 and self.accepts is Accepts.ELEMENTWISE
            for layout in available:
                if same_rank and not layout.is_torch and (agreed or layout.flat is None):
                    return (layout,) * len(inputs), (layout,) * len(outputs)
        return (
            tuple(torch_order(each.rank) for each in inputs),
            tuple(torch_order(each.rank) for each in outputs),
        )
