"""Which Torch class is handled by which layer map or structure rule.

    @register("nn.ReLU", "cudnn.ReLU")
    class ReLU(LayerMap): ...

    @structure("nn.ConcatTable")
    def concat_table(walk, module, x): ...

The decorators fill `DEFAULT_REGISTRY`; a user's own file adds to a copy of it through
`layer_maps=`. Registering a class a second time needs `override=True`. Of porter's own files only
those are imported whose classes are asked for.
"""

from __future__ import annotations

import contextvars
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from porter.errors import UsageError
from porter.ir.graph import Value
from porter.ir.layer_map import LayerMap
from porter.ir.map_errors import USER_MODULE, line_in
from porter.ir.nested import Nested
from porter.torch7 import TorchObject

StructureRule = Callable[[Any, TorchObject, Nested[Value]], Nested[Value]]
"""`rule(walk, module, x)`; `walk` is a `Walk` of the frontend, a package above this one."""
Handler = type[LayerMap] | StructureRule
H = TypeVar("H", bound=Any)


@dataclass
class Registry:
    """Handlers by Torch class name, each with a note for the coverage table."""

    imported: dict[str, Handler] = field(default_factory=dict)
    families: dict[str, str] = field(default_factory=dict)
    """Python modules that are not imported yet, by the Torch classes that each registers."""
    notes: dict[str, str] = field(default_factory=dict)
    over_time: set[str] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)
    """Classes that are treated as another, at the user's request: `nn.MyNet` as `nn.Sequential`."""
    identities: set[str] = field(default_factory=set)
    """Classes that pass their input on, at the user's request."""

    @property
    def handlers(self) -> dict[str, Handler]:
        """Every handler; imports all families."""
        for typename in list(self.families):
            self.get(typename)
        return self.imported

    def get(self, typename: str) -> Handler | None:
        """The handler of a class, None where there is none; imports its family."""
        if typename in self.families:
            with registering_into(self):
                importlib.import_module(self.families[typename])
        return self.imported.get(typename)

    def add(self, typename: str, handler: Handler, override: bool, note: str = "") -> None:
        if self.families.get(typename) == handler.__module__:
            del self.families[typename]
        existing = self.get(typename)
        if existing is not None and not override:
            raise UsageError(
                f"{typename} is already mapped in {origin(existing)}",
                received=f"a second map in {origin(handler)}",
                hint="pass override=True to the decorator to replace it",
            )
        self.imported[typename] = handler
        if note:
            self.notes[typename] = note

    def __contains__(self, typename: str) -> bool:
        return typename in self.imported or typename in self.families

    def __getitem__(self, typename: str) -> Handler:
        handler = self.get(typename)
        if handler is None:
            raise KeyError(typename)
        return handler

    def runs_over_time(self, typename: str) -> bool:
        """Whether the child modules of a container receive one step of the input at a time."""
        return self.get(typename) is not None and typename in self.over_time

    def treated(self, module: TorchObject) -> TorchObject:
        """A module as its handler receives it: with the class that it is treated as."""
        if module.typename not in self.aliases:
            return module
        return replace(module, typename=self.aliases[module.typename])

    def layer_maps(self) -> dict[str, type[LayerMap]]:
        """The layer maps, which create nodes, by Torch class name; imports all families."""
        return {n: h for n, h in sorted(self.handlers.items()) if is_layer_map(h)}

    def copy(self) -> Registry:
        """One with the same handlers, of which all families are imported: they register once."""
        return Registry(
            dict(self.handlers),
            {},
            dict(self.notes),
            set(self.over_time),
            dict(self.aliases),
            set(self.identities),
        )


def is_layer_map(handler: Handler) -> TypeGuard[type[LayerMap]]:
    """Whether a handler is a layer map, which creates nodes; the others are structure rules."""
    return isinstance(handler, type)


def origin(handler: Handler) -> str:
    """File and line of a handler, for messages."""
    import inspect  # Only a mistake needs it.

    try:
        return f"{inspect.getsourcefile(handler)}:{inspect.getsourcelines(handler)[1]}"
    except (OSError, TypeError):
        return repr(handler)


DEFAULT_REGISTRY = Registry()
_target: contextvars.ContextVar[Registry] = contextvars.ContextVar(
    "registry", default=DEFAULT_REGISTRY
)


def register(*typenames: str, override: bool = False, note: str = "") -> Callable[[H], H]:
    """Decorate the `LayerMap` that handles these Torch classes."""

    def decorate(cls: H) -> H:
        for typename in typenames:
            _target.get().add(typename, cls, override, note)
        return cls

    return decorate


def structure(
    *typenames: str, override: bool = False, note: str = "", over_time: bool = False
) -> Callable[[H], H]:
    """Decorate the `rule(walk, module, x)` that handles these containers and table modules.

    `over_time`: its child modules receive one step of the input at a time.
    """

    def decorate(rule: H) -> H:
        for typename in typenames:
            _target.get().add(typename, rule, override, note)
            if over_time:
                _target.get().over_time.add(typename)
        return rule

    return decorate


@contextmanager
def registering_into(registry: Registry) -> Iterator[Registry]:
    """While open, the decorators fill `registry` instead of the default one."""
    token = _target.set(registry)
    try:
        yield registry
    finally:
        _target.reset(token)


def load_layer_maps(path: str | Path, registry: Registry) -> Registry:
    """A copy of `registry` with the user's own maps of a Python file added.

    Runs the file: only a file that the user named is ever executed. Errors in it are reported with
    the line in the user's file.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no such file of layer maps: {path}")
    spec = importlib.util.spec_from_file_location(f"{USER_MODULE}{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with registering_into(registry.copy()) as extended:
        try:
            spec.loader.exec_module(module)
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(
                f"the layer maps in {path} could not be loaded: {type(error).__name__}: {error}",
                where=f"{path}:{line_in(error, path)}",
            ) from error
    return extended


def with_identity(registry: Registry, typenames: list[str]) -> Registry:
    """A copy in which some classes pass their input on unchanged, at the user's request."""

    def identity(walk: Any, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
        walk.note("identity, as asked for")
        return x

    extended = registry.copy() if typenames else registry
    for typename in typenames:
        extended.add(typename, identity, override=True)
        extended.identities.add(typename)
    return extended


def with_aliases(registry: Registry, pairs: Iterable[str]) -> Registry:
    """A copy in which some classes are treated as known ones: `nn.MyNet=nn.Sequential`.

    For classes that inherit all methods of the class that they extend. Raises UsageError for a
    malformed pair, or one whose second class has no handler.
    """
    pairs = list(pairs)
    extended = registry.copy() if pairs else registry
    for pair in pairs:
        typename, equals, target = pair.partition("=")
        if not (typename and equals and target):
            raise UsageError(
                "a class is treated as another by `map=CLASS=KNOWN`",
                received=pair,
                hint="for example `map=nn.MyNet=nn.Sequential`",
            )
        if target not in extended:
            import difflib  # Only a mistake needs it.

            near = difflib.get_close_matches(target, extended.handlers, n=3)
            raise UsageError(
                f"{typename} cannot be treated as {target}, which has no layer map itself",
                hint=f"classes with similar names: {', '.join(near)}"
                if near
                else "`porter layers` lists all that have one",
            )
        extended.add(typename, extended[target], override=True)
        extended.aliases[typename] = extended.aliases.get(target, target)
        if extended.runs_over_time(target):
            extended.over_time.add(typename)
    return extended
