"""What `model.py` reads from the archive of weights, as leaves of expressions."""

from __future__ import annotations

from dataclasses import dataclass

from porter.emit.tracing.expression import Expression, quoted


@dataclass(frozen=True)
class WeightsPath(Expression):
    """A module's path; `relative` to that of the function's `path` where there is one."""

    text: str
    relative: bool = False

    def __str__(self) -> str:
        if not self.relative:
            return quoted(self.text)
        return f'f"{{path}}{self.text}"' if self.text else "path"


@dataclass(frozen=True)
class ModuleWeights(Expression):
    """All weights of one module: `w["4.1"]`."""

    path: WeightsPath

    def __str__(self) -> str:
        return f"w[{self.path}]"


@dataclass(frozen=True)
class WeightArray(Expression):
    """One array of the archive: `w["4.1"]["bias"]`, or `w["bias"]` in the function of a layer."""

    path: WeightsPath | None
    name: str

    def __str__(self) -> str:
        module = "w" if self.path is None else f"w[{self.path}]"
        return f"{module}[{quoted(self.name)}]"
