"""A folder that porter converted: the signature `activations` of its SavedModel.

The signature computes every layer. What leads to those that are asked for is cut out of its
graph, with the variables as constants, and takes images of any size from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.apps.transfer.checks import require_sound
from porter.apps.transfer.source import Features, Opening
from porter.errors import UsageError, WeightError
from porter.imaging.presets import PixelEncoding

MAX, AVERAGE, CONVOLUTION = "MaxPool", "AvgPool", "Conv2D"


@dataclass(frozen=True)
class SavedModelSource:
    """The loaded signature; `module` keeps its variables alive."""

    module: Any
    signature: Any
    folder: str
    preprocessing: PixelEncoding | None
    preprocesses: bool = False

    @property
    def what(self) -> str:
        return "a SavedModel that porter converted"

    @property
    def names(self) -> tuple[str, ...]:
        """Torch paths of layers that make images."""
        outputs = self.signature.structured_outputs
        images = [name for name, spec in outputs.items() if len(spec.shape or ()) == 4]
        return tuple(sorted(images, key=lambda name: [(len(n), n) for n in name.split(".")]))

    def build(self, layers: Sequence[str], pooling: str, padding: str, dtype: str) -> Features:
        """Features of the net's numbers by Torch path."""
        if dtype != "float32":
            raise UsageError("a converted folder computes in float32", received=dtype)
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        from porter.system.tensorflow import tf

        frozen = convert_variables_to_constants_v2(self.signature)
        outputs = sorted(self.signature.structured_outputs)  # as tf.nest flattens them
        tensors = {name: frozen.outputs[outputs.index(name)].name for name in layers}
        (image,) = frozen.inputs
        graph = tf.compat.v1.graph_util.extract_sub_graph(
            frozen.graph.as_graph_def(), [name.split(":")[0] for name in tensors.values()]
        )
        for node in graph.node:
            adapt(node, pooling, padding)
        check_filters(graph)
        spec = tf.TensorSpec([None, None, None, image.shape[-1]], tf.float32)

        def imported(x: Any) -> list[Any]:
            features: list[Any] = tf.graph_util.import_graph_def(
                graph,
                input_map={image.name: x},
                return_elements=list(tensors.values()),
                name="",
            )
            return features

        run = tf.compat.v1.wrap_function(imported, [spec])
        return lambda x: dict(zip(tensors, run(x), strict=True))


def check_filters(graph: Any) -> None:
    """Raise WeightError for constants of convolutions that cannot be filters."""
    from porter.system.tensorflow import tf

    constants = {node.name: node for node in graph.node if node.op == "Const"}
    readers = {node.name: node.input[0] for node in graph.node if node.op == "Identity"}
    for node in graph.node:
        if node.op == CONVOLUTION:
            source = readers.get(node.input[1], node.input[1])
            if source in constants:
                weight = tf.make_ndarray(constants[source].attr["value"].tensor)
                require_sound(node.name, weight, None)


def adapt(node: Any, pooling: str, padding: str) -> None:
    """Change a node to the pooling and the padding that was asked for."""
    if pooling != "as-saved" and node.op in (MAX, AVERAGE):
        kind = AVERAGE if pooling == "average" else MAX
        if kind != node.op:
            if node.attr["padding"].s == b"EXPLICIT":
                raise UsageError(
                    "a pooling with padding cannot be changed in a converted folder",
                    where=node.name,
                    hint="give the .t7 that was converted",
                )
            node.op = kind
            if "explicit_paddings" in node.attr:
                del node.attr["explicit_paddings"]
    if padding != "as-saved" and node.op == CONVOLUTION:
        node.attr["padding"].s = padding.upper().encode()
        del node.attr["explicit_paddings"].list.i[:]


def open_saved_model(path: Path, opening: Opening) -> SavedModelSource:
    """A converted folder, or the `saved_model` in it. Raises UsageError or WeightError."""
    from porter.apps.stylize.loading import described
    from porter.apps.stylize.runners import loaded
    from porter.system.tensorflow import tf

    folder = next(
        (f for f in (path, path / "saved_model") if (f / "saved_model.pb").is_file()), None
    )
    if folder is None:
        raise UsageError(
            f"{path} holds no SavedModel", hint="convert with `formats=saved_model`, the default"
        )
    image_spec = described(folder)
    module = loaded(folder, lambda: tf.saved_model.load(str(folder)))
    signature = module.signatures.get("activations")
    if signature is None:
        raise WeightError(
            "the SavedModel has no signature `activations`: porter did not write it",
            where=path.name,
            received=", ".join(module.signatures) or "no signatures",
        )
    (spec,) = signature.structured_input_signature[1].values()
    if len(spec.shape) != 4 or spec.shape[-1] not in (1, 3):
        raise UsageError(
            f"{path} takes no images N×H×W×C",
            received="×".join(str(n) for n in spec.shape),
            hint="convert it with `data_format=channels_last`",
        )
    preprocessing = image_spec.preset.input if image_spec is not None else None
    return SavedModelSource(module, signature, path.name, preprocessing)
