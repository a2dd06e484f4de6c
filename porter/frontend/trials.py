"""Tries of input types: each is walked once, and all together take bounded time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from porter.errors import MALFORMED, Overwritten, WalkError
from porter.frontend import stated_sizes
from porter.frontend.batch_rows import Fit, cuts_samples, fit_of
from porter.frontend.inputs import Shapes, walked
from porter.frontend.oblong_sizes import Refused, SizeWalk
from porter.frontend.probe import Reader
from porter.frontend.walker import Model
from porter.ir.graph import TensorType

SEARCH_CALLS = 60_000
"""Calls of modules that a search spends on sizes that do not fit before it gives up."""
PROBE_CALLS = 20_000
"""As many for models with several inputs, each of which takes several walks to find out."""


@dataclass
class Search:
    """Tries of input types: each is walked once, and those that fail take bounded time together."""

    model: Model
    count: int = 2
    """How many sizes are asked for."""
    tried: dict[TensorType, Fit] = field(default_factory=dict)
    refused: dict[TensorType, Refused] = field(default_factory=dict)
    spent: int = 0
    cut: bool = False
    """Whether some size was one with which samples are cut up: then rows fit by accident only."""
    mixed: list[TensorType] = field(default_factory=list)
    """Sizes with which a reshape mixes the axes of an image."""
    overwritten: Overwritten | None = None
    """The error of a size that fits as far as a module where Torch itself goes wrong."""

    def fit(self, type: TensorType) -> Fit:
        """How well the type suits the model."""
        if type not in self.tried:
            before = self.model.calls
            self.tried[type] = self.tried_out(type)
            if self.tried[type] is not Fit.SAMPLES:
                self.spent += self.model.calls - before
        return self.tried[type]

    def tried_out(self, type: TensorType) -> Fit:
        """The same by walking. What fits two samples must fit three, or two were merged."""
        if self.over:
            return Fit.REFUSED
        try:
            graph = self.model.walk_with(SizeWalk, type)
            self.model.keep(type, graph)  # Where it is not refused, it is any walk's.
        except MALFORMED:
            raise
        except Refused as refused:
            self.refused[type] = refused
            self.cut |= refused.cut
            if refused.mixed:
                self.mixed.append(type)
            return Fit.REFUSED
        except Overwritten as error:
            self.overwritten = error
            return Fit.REFUSED
        except WalkError:
            return Fit.REFUSED
        found = fit_of(graph, type.shape[0])
        if found is not Fit.REFUSED and type.shape[0] == 2:
            return min(found, self.fit(replace(type, shape=(3, *type.shape[1:]))))
        return found

    def alone(self, type: TensorType) -> TensorType:
        """The type with a batch of one, unless the model takes no such thing."""
        one = replace(type, shape=(1, *type.shape[1:]))
        return one if walked(self.model, one) is not None else type

    def cuts(self, types: Iterable[TensorType]) -> bool:
        """Whether the model runs with some of the types, but cuts samples up."""
        graphs = (walked(self.model, type) for type in types)
        return any(graph is not None and cuts_samples(graph) for graph in graphs)

    @property
    def over(self) -> bool:
        """Whether the search has spent what it may."""
        return self.spent > SEARCH_CALLS


def stated(search: Search, reader: Reader | None) -> Shapes | None:
    """A type that explains what Torch left in the file, where it left anything."""
    for type in stated_sizes.stated_types(reader) if reader is not None else ():
        for trial in (replace(type, shape=(2, *type.shape[1:])), type):
            if search.fit(trial) and stated_sizes.agrees(search.model.walk(trial)):
                shape = trial.shape if trial is type else (1, *type.shape[1:])
                return fixed(replace(type, shape=shape), "stated by what Torch left in the file")
    return None


def fixed(
    type: TensorType, found: str = "solved from the model's layers", alike: str = ""
) -> Shapes:
    """One type, told without its batch; `alike` says which others come to the same."""
    shown = str(replace(type, shape=type.shape[1:])) if type.rank > 1 else str(type)
    return Shapes((type,), f"{found}: {shown}{alike}")
