"""What to know of a port although it passed, as the file and its module tree tell it."""

from __future__ import annotations

from porter.frontend.inputs import Shapes, differs_alone
from porter.frontend.model_file import ModelFile
from porter.frontend.module_tree import replaced_methods
from porter.frontend.nonfinite import nonfinite_parameters
from porter.frontend.run_mode import RunMode
from porter.frontend.walker import Model

MAX_NAMES = 4
"""Modules that a warning names; it counts the others."""


def model_warnings(opened: ModelFile, mode: RunMode, model: Model) -> list[str]:
    """A line for each thing: how the module was found, its mode, its methods, its numbers."""
    lines = [opened.warning, mode.warning]
    replaced = [f"{path or 'the root'} ({m.typename})" for path, m in replaced_methods(opened.root)]
    if replaced:
        lines.append(
            f"{first_of(replaced)}: `updateOutput` was replaced by a Lua function, which porter "
            "does not run; converted as the class computes"
        )
    broken = nonfinite_parameters(opened.root, opened.registry)
    if broken:
        lines.append(f"the model holds NaN or infinity: {first_of(broken)}")
    lines += dict.fromkeys(op.warning for op in model.ops.values())
    return [line for line in lines if line]


def alone_warning(model: Model, shapes: Shapes) -> str:
    """What to know of a net that Torch runs otherwise on a batch of one; else nothing."""
    module = differs_alone(model, shapes.types[0])
    if module is None:
        return ""
    return (
        f"Torch drops a batch of one, and {module} then works along other axes; the port computes "
        "one sample as it does each of several"
    )


def first_of(names: list[str]) -> str:
    """The first few of several names."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
