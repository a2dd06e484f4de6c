"""Whether a recording is of the model at hand, told by the paths and classes of its modules.

Asked where a comparison failed: a recording of another model looks like a wrong layer map, or like
an input of the wrong shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from porter.errors import MALFORMED, ParityError, UsageError, WalkError, printable
from porter.frontend.module_tree import submodules
from porter.ir.registry import Registry
from porter.parity.recording import Recording
from porter.torch7 import TorchObject

SHOWN = 3
"""Modules of another class that a message names."""
RECORD = (
    "record this model with the script that `porter record` prints, or name the module that was "
    "recorded with `select=PATH`"
)


def another_model(recording: Recording, root: TorchObject, registry: Registry) -> UsageError | None:
    """The error of a recording of another model; None where paths and classes agree.

    A module that is shared is recorded at each of its paths, of which the tree has the first, so
    that some recorded paths may be missing there.
    """
    tree = {path: module.typename for path, module in submodules(root)}
    recorded = {path for path, _ in (*recording.outputs, *recording.summaries)} - {""}
    types = {path: name for path, name in recording.types.items() if name}
    others = [
        f"{path or 'the root'} is {printable(name)}, in the model {printable(tree[path])}"
        for path, name in types.items()
        if path in tree and not same_class(name, tree[path], registry)
    ]
    missing = recorded - tree.keys()
    if not others and 2 * len(missing) <= len(recorded):
        return None
    more = [f"and {len(others) - SHOWN} more of another class"] if len(others) > SHOWN else []
    absent = (
        [f"{len(missing)} of its {len(recorded)} modules are not in the model"] if missing else []
    )
    return UsageError(
        f"{recording.source} was recorded from another model",
        received="; ".join([*others[:SHOWN], *more, *absent]),
        hint=RECORD,
    )


def same_class(one: str, other: str, registry: Registry) -> bool:
    """Whether two Torch classes are one, or do the same: cudnn's and nn's, one treated as one."""
    handlers = [registry.get(name) for name in (one, other)]
    return one.rpartition(".")[2] == other.rpartition(".")[2] or (
        handlers[0] is not None and handlers[0] is handlers[1]
    )


@contextmanager
def recorded_here(
    recording: Recording | None, root: TorchObject, registry: Registry
) -> Iterator[None]:
    """While open, a comparison that fails since the recording is of another model says so.

    Where paths and classes agree, an error of the recorded input's shape says whose input it is.
    """
    try:
        yield
    except (ParityError, WalkError) as error:
        if recording is None or isinstance(error, MALFORMED):
            raise
        other = another_model(recording, root, registry)
        if other is not None:
            raise other from error
        if isinstance(error, WalkError) and recording.input is not None:
            whose = (
                f"if the input is the one in {recording.source}, that may be of another model: "
                f"{RECORD}"
            )
            error.hint = "\n".join(filter(None, [error.hint, whose]))
        raise
