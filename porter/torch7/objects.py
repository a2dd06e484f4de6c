"""Instances of Torch classes, and how values are described in messages."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from porter.errors import BadField, BadTable, MissingField, printable
from porter.torch7.types import Key, LuaFunction, Storage, Table, Tensor, Values, as_key

INTEGER_TOLERANCE = 1e-6
_REQUIRED: Any = object()


@dataclass(eq=False, repr=False, slots=True)
class TorchObject:
    """An instance of a Torch class: its fields, and typed ways to ask for them.

    `version` is the class version in the file (0 before versions existed), `offset` the byte
    where the object starts. The getters raise MissingField and BadField; who knows the path of
    the module sets their `where`.
    """

    typename: str
    index: int
    version: int
    offset: int
    fields: dict[Key, Any] = field(default_factory=dict)

    def get(self, name: Key, default: Any = None) -> Any:
        """The field as it was saved, or `default` where it is nil."""
        return self.fields.get(as_key(name), default)

    def number(self, name: str, default: Any = _REQUIRED) -> float:
        """A Lua number (NaN and infinities included)."""
        value = self._field(name, (float, int), "a number", default)
        return value if value is default else float(value)

    def integer(self, name: str, default: Any = _REQUIRED, cut: bool = False) -> int:
        """A Lua number within 1e-6 of an integer: Lua has doubles only, and arithmetic on them.

        `cut` takes any number and cuts off what follows the point, as C does with its arguments.
        """
        value = self._field(name, (float, int), "an integer", default)
        if value is default:
            return default  # type: ignore[no-any-return]
        whole = as_integer(value)
        if whole is None and cut and math.isfinite(value):
            return int(value)
        if whole is None:
            raise self._bad(name, "an integer", value)
        return whole

    def boolean(self, name: str, default: bool = False) -> bool:
        """Whether Lua takes a field as true: all but false is, also the number 0; nil is `default`.

        SharpMask's authors write nn.CAddTable(2), which adds in place.
        """
        value = self.get(name)
        return default if value is None else value is not False

    def string(self, name: str, default: Any = _REQUIRED) -> str:
        """A Lua string."""
        return self._field(name, str, "a string", default)  # type: ignore[no-any-return]

    def table(self, name: str) -> Table:
        """A Lua table."""
        return self._field(name, Table, "a table")  # type: ignore[no-any-return]

    def object(self, name: str) -> TorchObject:
        """An instance of a Torch class that is no tensor or storage: a module, usually."""
        return self._field(name, TorchObject, "a Torch object")  # type: ignore[no-any-return]

    def list(self, name: str) -> Values:
        """The values of a table 1..n, or the numbers of a storage (nn.View keeps its sizes so)."""
        value = self._field(name, (Table, Storage), "a list")
        try:
            return value.list() if isinstance(value, Table) else value.array.tolist()
        except BadTable as error:
            raise BadField(
                f"{printable(self.typename)}, field '{name}': {error.message}",
                received=error.received,
                hint=error.hint,
            ) from error

    def tensor(self, name: str) -> Tensor:
        """A tensor with at least one element."""
        tensor: Tensor = self._field(name, Tensor, "a tensor")
        if tensor.numel == 0:
            raise self._bad(name, "a tensor with elements", tensor)
        return tensor

    def optional_tensor(self, name: str) -> Tensor | None:
        """A tensor, or None where the field is nil or an empty tensor."""
        tensor: Tensor | None = self._field(name, Tensor, "a tensor or nil", None)
        return tensor if tensor is not None and tensor.numel else None

    def _field(self, name: str, kind: Any, expected: str, default: Any = _REQUIRED) -> Any:
        value = self.fields.get(name)
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        if value is not None:
            raise self._bad(name, expected, value)
        if default is not _REQUIRED:
            return default
        raise MissingField(
            f"{printable(self.typename)} has no field '{name}' ({expected} is needed).",
            received=f"fields {_field_names(self.fields)}",
        )

    def _bad(self, name: str, expected: str, value: Any) -> BadField:
        return BadField(
            f"{printable(self.typename)}, field '{name}': {expected} is needed.",
            received=describe(value),
        )

    def __contains__(self, name: Key) -> bool:
        return as_key(name) in self.fields

    def __repr__(self) -> str:
        return f"<{printable(self.typename)} #{self.index}>"


def as_integer(value: Any) -> int | None:
    """A Lua number within 1e-6 of an integer as that; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return round(value) if abs(value - round(value)) <= INTEGER_TOLERANCE else None


def describe(value: Any) -> str:
    """What a Lua value is, in a few words, for messages."""
    match value:
        case None:
            return "nil"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value:g}"
        case str():
            return f'the string "{printable(value, 60)}"'
        case Tensor(shape=()):
            return f"an empty {value.typename}"
        case Tensor():
            return f"a {value.typename} of " + "x".join(map(str, value.shape))
        case Storage():
            return f"a {value.typename} of {value.size:,} elements"
        case Table():
            entries = "entry" if len(value) == 1 else "entries"
            return f"a {value.typename} with {len(value):,} {entries}"
        case TorchObject():
            return f"an object of class {printable(value.typename)}"
        case LuaFunction():
            return "a Lua function"
    return type(value).__name__


def _field_names(fields: dict[Key, Any], limit: int = 12) -> str:
    names = [printable(str(key), 40) for key in fields if isinstance(key, str)]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(sorted(names)[:limit]) + more) or "none"
