"""What a file says is not to be learned: modules whose `accGradParameters` a script replaced.

    net:get(1).accGradParameters = function() end

is how Torch users freeze a module. The function is saved with it, and porter never runs it; that it
is there is enough. A container that is frozen freezes all that it holds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace

from porter.ir.fields import Param
from porter.ir.layer_map import LayerMap
from porter.torch7 import LuaFunction, Tensor, TorchObject

METHOD = "accGradParameters"


def frozen_memory(root: TorchObject) -> frozenset[Hashable]:
    """The tensors that only frozen modules hold."""
    from porter.frontend.module_tree import submodules

    frozen = {
        inner.index
        for _, module in submodules(root)
        if isinstance(module.get(METHOD), LuaFunction)
        for _, inner in submodules(module)
    }
    if not frozen:
        return frozenset()
    memory: dict[bool, set[Hashable]] = {True: set(), False: set()}
    for _, module in submodules(root):
        memory[module.index in frozen].update(tensors_of(module))
    return frozenset(memory[True] - memory[False])


def tensors_of(module: TorchObject) -> Iterator[Hashable]:
    """The memory of a module's own tensors."""
    return (value.key for value in module.fields.values() if isinstance(value, Tensor))


def freeze(op: LayerMap, memory: frozenset[Hashable]) -> LayerMap:
    """The layer, which learns none of these tensors; `op` itself if it would learn none anyway."""
    if not memory:
        return op
    params = op.params()
    changed = {name: frozen(parameter, memory) for name, parameter in params.items()}
    changed = {name: param for name, param in changed.items() if param is not params[name]}
    return op.evolve(**changed) if changed else op


def frozen(parameter: Param, memory: frozenset[Hashable]) -> Param:
    """The parameter as it is, or not trainable."""
    derived = parameter.derived
    if derived is not None:
        sources = tuple(frozen(source, memory) for source in derived.sources)
        if any(a is not b for a, b in zip(sources, derived.sources, strict=True)):
            return replace(parameter, derived=replace(derived, sources=sources))
    if parameter.trainable and parameter.memory in memory:
        return replace(parameter, trainable=False)
    return parameter
