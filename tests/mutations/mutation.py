"""What a mutation is, how maps are broken, and the gate that has to notice."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from porter.apps.check.checker import Checker, find
from porter.conversion.pipeline import silent, verify_all
from porter.conversion.request import Request
from porter.conversion.verification_inputs import input_shapes, verification_inputs
from porter.errors import ParityError, WalkError
from porter.frontend.walker import Model
from porter.ir.fields import Array, Param
from porter.ir.layer_map import LayerMap
from porter.ir.options import Options
from porter.ir.registry import Handler, Registry, is_layer_map
from porter.layer_maps import default_registry
from porter.parity.compare import Report, Row
from porter.parity.recording import Recording
from porter.runtime.runner import Variables
from porter.torch7 import TorchObject
from tests.build import FIXTURES, conv, sequential

ORIGINAL = default_registry()
FRONT = "nn.SpatialConvolutionMM"


@dataclass(frozen=True)
class Mutation:
    """A wrong handler of one Torch class, in a net that has the class at the path `at`.

    The oracle is porter's own reference, unless the net is a fixture with what Torch recorded.
    `shape` is given where the net does not tell what it must be fed, as a user would give it.
    Without `mutant`, what is wrong are the `variables`.
    """

    name: str
    typename: str
    mutant: Handler | None
    net: Callable[[], TorchObject]
    at: str = "2"
    shape: tuple[int, ...] = ()
    fixture: str = ""
    variables: type[Variables] = Variables

    def __str__(self) -> str:
        return self.name


# Breaking maps ------------------------------------------------------------------------------------

Change = Callable[[Any], Any]


def original(typename: str) -> type[LayerMap]:
    """The map that is to be broken."""
    handler = ORIGINAL[typename]
    assert is_layer_map(handler)
    return handler


def altered(op: LayerMap, changes: dict[str, Change]) -> LayerMap:
    """A copy of a map with other fields."""
    return op.evolve(**{name: change(getattr(op, name)) for name, change in changes.items()})


def in_tensorflow(typename: str, **changes: Change) -> type[LayerMap]:
    """The map with fields that only `apply` sees: its reference stays right."""
    cls = original(typename)

    def apply(self: LayerMap, tf: Any, *xs: Any, at: Any) -> Any:
        return cls.apply(altered(self, changes), tf, *xs, at=at)

    return type(f"Wrong{cls.__name__}", (cls,), {"apply": apply})


def on_both_sides(typename: str, **changes: Change) -> type[LayerMap]:
    """The map with other fields altogether: only a recording can tell."""
    cls = original(typename)

    def from_torch(_: type[LayerMap], module: TorchObject, options: Options) -> LayerMap:
        return altered(cls.from_torch(module, options), changes)

    return type(f"Wrong{cls.__name__}", (cls,), {"from_torch": classmethod(from_torch)})


def with_methods(typename: str, **methods: Callable[..., Any]) -> type[LayerMap]:
    """The map with other methods."""
    cls = original(typename)
    return type(f"Wrong{cls.__name__}", (cls,), methods)


def with_fields(typename: str, **changes: Change) -> Handler:
    """A structure rule that is told other Lua fields; None removes one."""
    rule: Any = ORIGINAL[typename]

    def wrong(walk: Any, module: TorchObject, x: Any) -> Any:
        fields = dict(module.fields)
        for name, change in changes.items():
            fields[name] = change(fields.get(name))
        present = {name: value for name, value in fields.items() if value is not None}
        return rule(walk, replace(module, fields=present), x)

    return wrong


_tags = itertools.count()


def values(change: Callable[[Array], Array]) -> Change:
    """A parameter with other numbers, in a variable of its own."""

    def edit(param: Param) -> Param:
        changed = change(param.array)
        return param.with_array(changed, param.axes, param.to, tag=f"mutation {next(_tags)}")

    return edit


def to(value: Any) -> Change:
    """Another value, whatever it was."""
    return lambda _: value


def swapped(pair: tuple[int, ...]) -> tuple[int, ...]:
    """Width before height."""
    return pair[::-1]


# Nets ---------------------------------------------------------------------------------------------


def behind(layer: TorchObject, planes: int = 4) -> Callable[[], TorchObject]:
    """A net that makes `planes` planes of an image and gives them to the layer, at path 2."""
    # Of a class that no mutation breaks.
    first = replace(conv(3, planes, pad=1), typename=FRONT)
    return lambda: sequential(first, layer)


@functools.cache
def recorded(name: str) -> tuple[TorchObject, Recording]:
    """A fixture's module and what Torch recorded of it."""
    (fixture,) = find([FIXTURES / name])
    (module,), recording = Checker().load(fixture)
    return module, recording


def of_fixture(name: str, typename: str, mutant: Handler, fixture: str, at: str = "") -> Mutation:
    """A mutation that is judged by a recording."""
    return Mutation(name, typename, mutant, lambda: recorded(fixture)[0], at, fixture=fixture)


# The gate -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What the gate says: where, and which comparison of one layer by itself noticed.

    `unnoticed` tells the inputs on which every layer passed.
    """

    path: str | None = None
    column: str = ""
    unnoticed: tuple[str, ...] = ()


def gate(mutation: Mutation) -> Verdict:
    """Compare on the inputs that `porter convert` would."""
    registry: Registry = ORIGINAL.copy()
    if mutation.mutant is not None:
        registry.add(mutation.typename, mutation.mutant, override=True)
    model = Model(mutation.net(), registry)
    request = Request(
        Path(mutation.name),
        input_shapes=(mutation.shape,) if mutation.shape else (),
        reference=recorded(mutation.fixture)[1] if mutation.fixture else None,
    )
    variables = {precision: mutation.variables(precision) for precision in ("float32", "float64")}
    try:
        checked = verification_inputs(model, input_shapes(model, request), request)
        verify_all(model, checked, request, variables, silent)
    except ParityError as error:
        return verdict(error.reports)
    except WalkError as error:
        return Verdict((error.where or "").partition(" (")[0].removeprefix("the root"), "refused")
    return Verdict()


def verdict(reports: tuple[Report, ...]) -> Verdict:
    """The first layer that fails although it is fed the oracle's inputs."""
    failing = [(report, report.first_diverging) for report in reports if not report.passed]
    blamed = {row.path for _, row in failing if row is not None}
    columns = {column(row) for _, row in failing if row is not None}
    passed = tuple(report.input for report in reports if report.passed)
    if len(blamed) != 1:
        return Verdict(" and ".join(sorted(blamed)), "several", passed)
    return Verdict(blamed.pop(), min(columns, key=COLUMNS.index), passed)


COLUMNS = ("isolated", "float64", "refused", "accumulated")
"""How a wrong layer is noticed, best first."""


def column(row: Row) -> str:
    """Which comparison fails: of the layer by itself, there only in float64, or further on."""
    if row.isolated is not None and not row.isolated.within(row.tolerance.isolated):
        return "isolated"
    if row.float64 is not None and row.float64 > row.tolerance.float64:
        return "float64"
    return "accumulated"
