"""`layers.py`: the layers that Keras lacks, as source that runs without porter.

A layer's `call` is what its layer map's `apply` does, written with keras.ops. Layers with equal
sources are one class; shapes of weights and outputs are in each layer's config. The name under
which Keras keeps a class ends in a digest of its source, so that the layers of two models can be
loaded side by side.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from porter.emit.keras import helpers
from porter.emit.keras.body import BodyWriter, FunctionBody
from porter.emit.keras.calls import expression_of
from porter.emit.keras.library import keras
from porter.emit.keras.recorder import KerasRecorder
from porter.emit.keras.symbols import placeholder, symbolically
from porter.emit.tracing.expression import Literal
from porter.errors import EmitError
from porter.ir.fields import Param
from porter.ir.graph import FLOAT, TensorType
from porter.ir.layout import Layout, LayoutConversion, OpContext, Step
from porter.runtime.runner import Variables, op_context

HEADER = '''"""The layers of a Torch model that Keras lacks, written with keras.ops.

Import this file before the model is loaded, with any backend of Keras:

    import keras, layers

    model = keras.models.load_model("model.keras")
"""

import keras
from keras import ops


class TorchLayer(keras.layers.Layer):
    """What the layers below have in common.

    `held` lists name, shape, dtype and trainability of the weights, `made` shape and dtype of the
    outputs; None is a size that may change from call to call.
    """

    def __init__(self, held=(), made=(), **config):
        super().__init__(**config)
        self.held, self.made = held, made
        for name, shape, dtype, trainable in held:
            weight = self.add_weight(
                shape=shape, dtype=dtype, trainable=trainable, name=name, initializer="zeros"
            )
            setattr(self, name, weight)

    def compute_output_spec(self, *inputs):
        outputs = [keras.KerasTensor(shape, dtype=dtype) for shape, dtype in self.made]
        return outputs[0] if len(outputs) == 1 else outputs

    def get_config(self):
        return {**super().get_config(), "held": self.held, "made": self.made}
'''

TYPING = "from typing import Any\n\n"
HELPERS = {
    name: function
    for name, function in inspect.getmembers(helpers, inspect.isfunction)
    if function.__module__ == helpers.__name__
}


@dataclass(frozen=True)
class LayerWeight:
    """One weight of a written layer: its name there, its values, and whether it is trained."""

    name: str
    stored: Any
    trainable: bool

    @property
    def described(self) -> list[Any]:
        dtype = self.stored.dtype.name
        return [self.name, list(self.stored.shape), dtype, self.trainable]


@dataclass
class CustomLayer:
    """A layer as source: `call`'s lines after its signature, its weights, and its outputs."""

    typename: str
    inputs: int
    lines: list[str]
    weights: list[LayerWeight]
    outputs: list[list[Any]]
    """Shape and dtype of each."""

    @property
    def body(self) -> str:
        names = ", ".join(["self", *input_names(self.inputs)])
        return "\n".join([f"    def call({names}):", *self.lines])

    @property
    def config(self) -> dict[str, Any]:
        return {"held": [weight.described for weight in self.weights], "made": self.outputs}


@dataclass
class LayersFile:
    """All classes of one `layers.py`, in the order in which they were first needed."""

    bodies: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    namespace: dict[str, Any] = field(default_factory=dict)
    """What the file defines; its classes are made from the very text that is written."""

    def layer_class(self, layer: CustomLayer) -> Any:
        """The class of a layer, a new one if no other has its body."""
        stem = identifier(layer.typename.rsplit(".", 1)[-1])
        count, name = 1, stem if stem not in ("Any", "TorchLayer") else f"{stem}1"
        while self.bodies.setdefault(name, layer.body) != layer.body:
            count += 1
            name = f"{stem}{count}"
        if name not in self.texts:
            words = re.sub(r"[^\w.]", "_", layer.typename)
            digest = hashlib.sha256(layer.body.encode()).hexdigest()[:8]
            self.texts[name] = (
                f'@keras.saving.register_keras_serializable("porter", "{name}-{digest}")\n'
                f'class {name}(TorchLayer):\n    """{words}."""\n\n'
                f"{layer.body}\n"
            )
            if not self.namespace:
                self.namespace |= {"__name__": "layers", **HELPERS}
                exec(HEADER, self.namespace)
            exec(self.texts[name], self.namespace)
        return self.namespace[name]

    def text(self) -> str:
        """The file."""
        functions = used_helpers("\n".join(self.bodies.values()))
        imports = f"{TYPING}import keras\n" if functions else "import keras\n"
        header = HEADER.replace("import keras\n", imports, 1)
        return "\n\n".join([header, *map(inspect.getsource, functions), *self.texts.values()])


def identifier(text: str) -> str:
    """A class name for what may be any bytes of a file."""
    cleaned = re.sub(r"\W", "_", text, flags=re.ASCII)
    return cleaned if cleaned[:1].isalpha() else f"Layer{cleaned}"


def used_helpers(text: str) -> list[Callable[..., Any]]:
    """The functions of `helpers` that a text calls, with those that they call."""
    names: set[str] = set()
    open_texts = [text]
    while open_texts:
        source = open_texts.pop()
        for name in HELPERS.keys() - names:
            if re.search(rf"(?<![\w.]){name}\(", source):
                names.add(name)
                open_texts.append(inspect.getsource(HELPERS[name]))
    return [HELPERS[name] for name in sorted(names)]


def input_names(count: int) -> list[str]:
    """`x`, or `x1`, `x2`, …"""
    return ["x"] if count == 1 else [f"x{i + 1}" for i in range(count)]


def specification(type: TensorType, layout: Layout) -> list[Any]:
    """Sizes of a tensor in the order in which it is stored, and its dtype."""
    shape = [type.shape[axis] for axis in layout.order]
    return [shape, "float32" if type.dtype == FLOAT else type.dtype]


def write(step: Step, variables: Variables) -> CustomLayer:
    """The source of one layer. Raises EmitError if keras.ops cannot express it."""
    node = step.node
    recorder = KerasRecorder()
    weights: dict[int, LayerWeight] = {}

    def site_of(inside: Step) -> OpContext:
        def variable(param: Param, rows: tuple[int, ...]) -> Any:
            stored = variables.get(inside.node.path, param, rows)
            if id(stored) not in weights:
                name = weight_name(param, inside.node.path.removeprefix(node.path), weights)
                weights[id(stored)] = LayerWeight(name, stored, param.trainable)
            symbol = placeholder(stored.shape, stored.dtype)
            return recorder.define(symbol, Literal(f"self.{weights[id(stored)].name}"))

        return replace(op_context(inside, variables), make_variable=variable, inner=site_of)

    def apply() -> Any:
        inputs = [
            recorder.define(placeholder(*specification(value.type, layout)), Literal(name))
            for value, layout, name in zip(
                node.inputs, step.inputs, input_names(len(node.inputs)), strict=True
            )
        ]
        return node.op.apply(recorder.tf, *inputs, at=site_of(step))

    try:
        result = symbolically(apply)
    except (EmitError, TypeError) as error:
        # A TypeError is that of a map which computes with tensors by other means than `tf`.
        raise EmitError(
            f"the layer cannot be written for Keras: {getattr(error, 'message', error)}",
            where=f"{node.path or 'the root'} ({node.op.typename})",
        ) from None
    outputs = [
        specification(value.type, layout)
        for value, layout in zip(node.outputs, step.outputs, strict=True)
    ]
    lines = body_lines(recorder, result, len(node.inputs))
    ordered = sorted(weights.values(), key=lambda weight: not weight.trainable)
    return CustomLayer(node.op.typename, len(node.inputs), lines, ordered, outputs)


def write_conversion(step: LayoutConversion) -> CustomLayer:
    """The source of a change of layout."""
    recorder = KerasRecorder()

    def apply() -> Any:
        tensor = placeholder(*specification(step.source.type, step.before))
        return step.apply(recorder.tf, recorder.define(tensor, Literal("x")))

    lines = body_lines(recorder, symbolically(apply), 1)
    return CustomLayer("Reorder", 1, lines, [], [specification(step.source.type, step.after)])


def body_lines(recorder: KerasRecorder, result: Any, inputs: int) -> list[str]:
    """The lines of `call` that return `result`."""
    results = tuple(result) if isinstance(result, list | tuple) else (result,)
    returned = expression_of(results[0] if len(results) == 1 else results)
    used = Counter([*HELPERS, *input_names(inputs)])
    return BodyWriter(FunctionBody(recorder.definitions, returned), {}, used, 8).write()


def weight_name(param: Param, path: str, weights: dict[int, LayerWeight]) -> str:
    """An attribute's name that no layer of Keras has."""
    words = [*path.split("."), *param.name.split(".")]
    stem = re.sub(r"\W", "_", "_".join(word for word in words if word), flags=re.ASCII)
    stem = f"at_{stem}" if stem[:1].isdigit() else stem
    used = {weight.name for weight in weights.values()}
    count, name = 1, stem
    while name in used or hasattr(keras.layers.Layer, name) or name in ("held", "made"):
        count += 1
        name = f"{stem}_{count}"
    return name
