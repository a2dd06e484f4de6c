"""Immutable objects with declared fields, read from a module; `evolve` makes changed copies."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, TypeVar

from porter.ir.fields import Field, Param

D = TypeVar("D", bound="Declared")


class Declared:
    """Values of declared fields: `Cls(field=value, …)`; a field left out has its default."""

    def __init__(self, **values: Any) -> None:
        unknown = values.keys() - self.fields().keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} declares no field {', '.join(sorted(unknown))}")
        self.__dict__.update(values)

    @classmethod
    @cache
    def fields(cls) -> dict[str, Field[Any]]:
        """Declared fields by name, those of base classes first."""
        declared: dict[str, Field[Any]] = {}
        for base in reversed(cls.__mro__):
            declared |= {n: f for n, f in vars(base).items() if isinstance(f, Field)}
        return declared

    def has(self, *names: str) -> bool:
        """Whether all these fields have a value of their own, not a default."""
        return self.__dict__.keys() >= set(names)

    def evolve(self: D, **changes: Any) -> D:
        """A copy with other values of fields or of class attributes, such as `inplace`.

        Raises TypeError for a name that the class does not have.
        """
        unknown = [name for name in changes if not hasattr(type(self), name)]
        if unknown:
            raise TypeError(f"{type(self).__name__} has no attribute {', '.join(unknown)}")
        evolved = copy.copy(self)
        evolved.__dict__.update(changes)
        return evolved

    def params(self) -> dict[str, Param]:
        """The parameters of this instance by field name."""
        values = {name: self.__dict__.get(name) for name in self.fields()}
        return {name: value for name, value in values.items() if isinstance(value, Param)}

    def same_as(self, other: Declared) -> bool:
        """Whether both are of one class and have equal fields."""
        if self is other:
            return True
        return type(self) is type(other) and all(
            self.__dict__.get(name) == other.__dict__.get(name) for name in self.fields()
        )
