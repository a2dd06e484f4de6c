"""Declared fields of a layer map: which Lua fields it reads, with which defaults.

    class SpatialConvolution(LayerMap):
        weight = param("OIHW", to="HWIO")
        bias = optional_param("O")
        stride = integers("dH", "dW", default=1)

A declaration documents and checks a field. In a Lua table a missing field is nil, so a default
stands for nil; a field without default raises `MissingField` when the model is walked.
Letters of `param` bind sizes: `O` of the bias must equal `O` of the weight.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from porter.errors import BadField, MissingField
from porter.torch7 import Tensor, TorchObject, as_integer, describe

Array = npt.NDArray[Any]
T = TypeVar("T")

REQUIRED: Any = object()


@dataclass(frozen=True)
class DerivedParam:
    """How Torch computes a parameter at every call: `arrange(tf, compute(tf, *sources))`.

    `path` is the module that owns the sources. A port for training learns the sources and computes
    the parameter from them as Torch does; any other port stores the result. `compute` returns a
    tensor shaped like the first source, which `arrange` brings into the parameter's shape, in
    Torch's order.
    """

    path: str
    sources: tuple[Param, ...]
    compute: Callable[..., Any]
    arrange: Callable[[Any, Any], Any]


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class DerivedTensor(Tensor):
    """A tensor that Torch computes from others, in place of a tensor stored in the file."""

    derived: DerivedParam | None = None


@dataclass(frozen=True, eq=False)
class Param:
    """A tensor that belongs to a layer, in Torch's order, as a view into the file.

    `axes` has one letter for each dimension in Torch's order, `to` the same letters in TensorFlow's
    order. `key` identifies the memory: parameters that Torch shares have the same key.
    """

    name: str
    array: Array
    axes: str
    to: str
    key: Hashable
    trainable: bool = True
    derived: DerivedParam | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Param) and (self.key, self.axes) == (other.key, other.axes)

    __hash__ = None  # type: ignore[assignment]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def memory(self) -> Hashable:
        """The identity of the tensor in the file that this was computed from."""
        return memory_of(self.key)

    def with_array(self, array: Array, axes: str = "", to: str = "", tag: str = "") -> Param:
        """A parameter computed from this one (`tag` says how), or the same one with other axes."""
        axes = axes or self.axes
        key = (self.key, tag, tuple(array.shape))
        derived = None if tag else self.derived
        return replace(self, array=array, axes=axes, to=to or axes, key=key, derived=derived)

    @staticmethod
    def constant(
        name: str, array: Array, axes: str, to: str = "", trainable: bool = False
    ) -> Param:
        """A parameter that is not in the file but follows from its fields."""
        key = (name, array.shape, array.tobytes())
        return Param(name, array, axes, to or axes, key, trainable)


def memory_of(key: Hashable) -> Hashable:
    """The `key` of a parameter before `with_array`, which wraps it together with a tag."""
    while isinstance(key, tuple) and len(key) == 3 and isinstance(key[1], str):
        key = key[0]
    return key


class Field(Generic[T]):
    """A value read from a Lua field when a layer map is created from its module."""

    name: str

    def __init__(self, read: Callable[[TorchObject], T], default: Any = REQUIRED) -> None:
        self.read = read
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Field[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Field[T] | T:
        if instance is None:
            return self
        try:
            value: T = instance.__dict__[self.name]
        except KeyError:
            if self.name in instance.__dict__.get("unread", {}):
                raise instance.__dict__["unread"][self.name] from None
            if self.default is REQUIRED:
                raise AssertionError(f"{owner.__name__} was created without {self.name}") from None
            value = self.default
        return value


def number(lua_name: str, default: Any = REQUIRED) -> Field[float]:
    """A Lua number."""
    if default is REQUIRED:
        return Field(lambda module: module.number(lua_name))
    return Field(lambda module: module.number(lua_name, default), default)


def integer(lua_name: str, default: Any = REQUIRED, cut: bool = False) -> Field[int]:
    """A Lua number that counts something; 3.0 is 3, 2.5 is a `BadField`, or 2 with `cut`."""
    if default is REQUIRED:
        return Field(lambda module: module.integer(lua_name, cut=cut))
    return Field(lambda module: module.integer(lua_name, default, cut=cut), default)


def optional_integer(lua_name: str, cut: bool = False) -> Field[int | None]:
    """A Lua integer, `None` where the field is nil; `cut` as for `integer`."""

    def read(module: TorchObject) -> int | None:
        return module.integer(lua_name, cut=cut) if lua_name in module else None

    return Field(read, None)


def optional_number(lua_name: str) -> Field[float | None]:
    """A Lua number, `None` where the field is nil."""

    def read(module: TorchObject) -> float | None:
        return module.number(lua_name) if lua_name in module else None

    return Field(read, None)


def integers(*lua_names: str, default: Any = REQUIRED, cut: bool = False) -> Field[tuple[int, ...]]:
    """Several Lua integers as a tuple, height before width: `integers("kH", "kW")`.

    `cut` is for what Torch hands to C, which cuts off what follows the point: scripts pad even
    kernels by (kW − 1) / 2, and a padding of 1.5 is 1.
    """
    every = REQUIRED if default is REQUIRED else tuple(default for _ in lua_names)

    def read(module: TorchObject) -> tuple[int, ...]:
        if default is REQUIRED:
            return tuple(module.integer(name, cut=cut) for name in lua_names)
        return tuple(module.integer(name, default, cut=cut) for name in lua_names)

    return Field(read, every)


def flag(lua_name: str, default: bool = False) -> Field[bool]:
    """A Lua boolean; nil is `default`."""
    return Field(lambda module: module.boolean(lua_name, default), default)


def string(lua_name: str, default: Any = REQUIRED) -> Field[str]:
    """A Lua string."""
    if default is REQUIRED:
        return Field(lambda module: module.string(lua_name))
    return Field(lambda module: module.string(lua_name, default), default)


def sizes(lua_name: str) -> Field[tuple[int, ...]]:
    """A LongStorage or a table of integers, such as the `size` of nn.View."""

    def read(module: TorchObject) -> tuple[int, ...]:
        return read_sizes(module, lua_name)

    return Field(read)


def read_sizes(module: TorchObject, lua_name: str) -> tuple[int, ...]:
    """The integers of a LongStorage, LongTensor or Lua list in `lua_name`."""
    from porter.torch7 import Storage, Table

    value = module.get(lua_name)
    if value is None:
        raise MissingField(f"{module.typename} has no field '{lua_name}' (a list of sizes)")
    items: list[Any]
    if isinstance(value, Storage | Tensor):
        items = np.asarray(value.array).ravel().tolist()
    elif isinstance(value, Table):
        items = value.list()
    else:
        raise BadField(
            f"field '{lua_name}' of {module.typename} should be a list of sizes",
            received=type(value).__name__,
        )
    return integers_of(items, f"field '{lua_name}' of {module.typename}")


def integers_of(items: Sequence[Any], what: str) -> tuple[int, ...]:
    """Lua numbers as integers. Raises BadField, naming `what`, unless all are."""
    numbers = [as_integer(item) for item in items]
    if None in numbers:
        shown = ", ".join(describe(item) for item in items)
        raise BadField(f"{what} should hold integers", received=shown)
    return tuple(number for number in numbers if number is not None)


def raw(lua_name: str, default: Any = None) -> Field[Any]:
    """The Lua field as it is; the map interprets it."""
    return Field(lambda module: module.get(lua_name, default), default)


def param(axes: str, to: str = "", name: str = "", trainable: bool = True) -> Field[Param]:
    """A required tensor field; `to` is the order of its axes in TensorFlow."""
    field: Field[Param]

    def read(module: TorchObject) -> Param:
        lua_name = name or field.name
        return as_param(lua_name, module.tensor(lua_name), axes, to, trainable)

    field = Field(read)
    return field


def optional_param(
    axes: str, to: str = "", name: str = "", trainable: bool = True
) -> Field[Param | None]:
    """A tensor field that may be nil or empty."""
    field: Field[Param | None]

    def read(module: TorchObject) -> Param | None:
        lua_name = name or field.name
        tensor = module.optional_tensor(lua_name)
        return None if tensor is None else as_param(lua_name, tensor, axes, to, trainable)

    field = Field(read, None)
    return field


def as_param(name: str, tensor: Tensor, axes: str, to: str = "", trainable: bool = True) -> Param:
    """A tensor of the file as a parameter with named axes."""
    derived = tensor.derived if isinstance(tensor, DerivedTensor) else None
    return Param(name, tensor.array, axes, to or axes, tensor.key, trainable, derived)
