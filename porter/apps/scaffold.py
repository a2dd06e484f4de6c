"""Write the stub of a layer map or structure rule for an unknown class, from a model with it."""

from __future__ import annotations

import keyword
import re

from porter.errors import UsageError, printable
from porter.frontend.module_tree import MODULE_FIELDS, histogram, is_module, parts, submodules
from porter.layer_maps import default_registry
from porter.maps import LayerMap
from porter.torch7 import LuaFunction, Table, Tensor, TorchObject, describe

UNINTERESTING = (*MODULE_FIELDS, "gradWeight", "gradBias")

# Whatever comes from the file stands in comments or in quoted literals, never in code.
TEMPLATE = '''# A layer map for {typename}; `porter convert MODEL --layer-maps THIS_FILE` uses it.
# In the model the class has these fields:
{fields}

from __future__ import annotations

import numpy as np

from porter.maps import LayerMap, flag, number, optional_param, param, register, string


@register({arguments})
class {name}(LayerMap):
    """One line of what it computes, with its formula and shapes."""

{declared}

    def output_shape(self, x):
        # Torch's order, on concrete sizes: N×C×H×W, N×F, ...
        return x

    def reference(self, x):
        # The meaning in NumPy, in Torch's order and in x's precision; parameters: self.weight.array
        raise NotImplementedError("write it in NumPy")

    def apply(self, tf, x, at):
        # The same in TensorFlow, with tf.* calls only; parameters: at.variable(self.weight)
        raise NotImplementedError("write it in TensorFlow")
'''

RULE = '''# A structure rule for {typename}; `porter convert MODEL --layer-maps THIS_FILE` uses it.
# In the model the class has these fields:
{fields}

from __future__ import annotations

from porter.maps import structure


@structure({arguments})
def {name}(walk, module, x):
    """One line of what it does with its modules."""
{calls}
    return x
'''
NUMBERED = """\
    # As nn.Sequential does: each module is called on what the one before it returned. `at` is its
    # path in reports and recordings; tables of tensors are Python lists.
    for number, child in enumerate(walk.children(module), start=1):
        x = walk(child, x, at=str(number))"""


def stub(typename: str, root: TorchObject) -> str:
    """Python source of a stub for the first module of a class. Raises UsageError if none is there.

    Axis letters are guesses by position; rename them to what they mean. Letters that stand in two
    parameters must have equal sizes. Where porter has a map for the class, the stub replaces it.
    """
    found = next((m for _, m in submodules(root) if m.typename == typename), None)
    if found is None:
        raise UsageError(
            f"the model holds no {typename}", received=", ".join(sorted(histogram(root)))
        )
    interesting = {
        str(name): value
        for name, value in found.fields.items()
        if isinstance(name, str) and name not in UNINTERESTING
    }
    fields = "\n".join(f"#     {printable(n)}: {describe(v)}" for n, v in interesting.items())
    override = ", override=True" if typename in default_registry() else ""
    arguments = f"{quoted(typename)}{override}"
    words = re.sub(r"\W", "", typename.rpartition(".")[2])
    calls = calls_of(found, interesting)
    if calls:
        return RULE.format(
            typename=printable(typename),
            arguments=arguments,
            name=identifier(re.sub(r"(?<!^)(?=[A-Z])", "_", words).lower() or "my_rule", "rule"),
            fields=fields or "#     none",
            calls=calls,
        )
    declared = [line for name, value in interesting.items() for line in declare(name, value)]
    return TEMPLATE.format(
        typename=printable(typename),
        arguments=arguments,
        name=identifier(words or "MyLayer", "Layer"),
        fields=fields or "#     none",
        declared="\n".join(f"    {line}" for line in declared) or "    # no fields to declare",
    )


def calls_of(module: TorchObject, fields: dict[str, object]) -> str:
    """The calls of a container's modules, or of modules in fields; nothing where there are none."""
    if any(isinstance(number, int) for number, _ in parts(module)):
        return NUMBERED
    return "\n".join(
        f"    x = walk(module.object({quoted(name)}), x, at={quoted(name)})  # {describe(value)}"
        for name, value in fields.items()
        if isinstance(value, TorchObject) and is_module(value)
    )


def declare(name: str, value: object) -> list[str]:
    """The declaration of one field, as far as its value tells."""
    attribute, lua_name = attribute_of(name), quoted(name)
    what = describe(value)
    if isinstance(value, Tensor) and value.numel:
        axes = "OIHWD"[: len(value.shape)] if len(value.shape) <= 5 else "ABCDEFGH"
        return [f'{attribute} = param("{axes}", name={lua_name})  # {what}']
    if isinstance(value, bool):
        return [f"{attribute} = flag({lua_name})  # {what}"]
    if isinstance(value, float):
        return [f"{attribute} = number({lua_name})  # {what}"]
    if isinstance(value, str):
        return [f"{attribute} = string({lua_name})  # {what}"]
    if isinstance(value, TorchObject | Table | LuaFunction):
        return [f"# {printable(name)}: {what}"]
    return []


def attribute_of(name: str) -> str:
    """A Python name for a Lua field that no method or setting of `LayerMap` has."""
    attribute = identifier(re.sub(r"\W", "_", name), "field")
    is_inherited = hasattr(LayerMap, attribute) and attribute != "inplace"
    return f"{attribute}_" if is_inherited else attribute


def identifier(text: str, prefix: str) -> str:
    """`text` as a Python name, with a prefix or an underscore where it is none."""
    if not text.isidentifier():
        text = f"{prefix}_{text}"
    return f"{text}_" if keyword.iskeyword(text) else text


def quoted(text: str) -> str:
    """A Python literal of any string, in double quotes where that is simple."""
    simple = text.isprintable() and not any(c in text for c in '"\\')
    return f'"{text}"' if simple else ascii(text)
