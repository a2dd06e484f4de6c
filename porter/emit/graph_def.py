"""A GraphDef and a SavedModel of constants, written to files without a copy in memory.

Each constant goes from its tensor into the file; a protocol buffer of the whole graph would hold it
once, and another time as the bytes to be written.

Source: protobuf.dev, "Encoding"; tensorflow/core/framework graph.proto, node_def.proto,
attr_value.proto, tensor.proto; tensorflow/core/protobuf saved_model.proto, meta_graph.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from porter.system.tensorflow import saved_model_pb2, tf

LENGTH_DELIMITED = 2
"""The wire type of messages and bytes."""
NODE, ATTRIBUTE, VALUE, TENSOR, CONTENT = 1, 5, 2, 8, 4
"""GraphDef.node, NodeDef.attr, its map's value, AttrValue.tensor, TensorProto.tensor_content."""
META_GRAPHS, GRAPH_DEF = 2, 2
"""SavedModel.meta_graphs, MetaGraphDef.graph_def."""


def write_graph_def(path: Path, definition: Any, constants: Mapping[str, Any]) -> None:
    """Write a GraphDef in which the nodes that `constants` names are Const of these tensors."""
    with open(path, "wb") as file:
        file.writelines(graph_parts(definition, constants))


def graph_parts(definition: Any, constants: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    """The bytes of that GraphDef, node by node."""
    for node in definition.node:
        if node.name in constants:
            yield from constant_parts(node.name, constants[node.name])
        else:
            content = node.SerializeToString(deterministic=True)
            yield begin(NODE, len(content)) + content
    rest = tf.compat.v1.GraphDef(versions=definition.versions, library=definition.library)
    yield rest.SerializeToString(deterministic=True)


def constant_parts(name: str, tensor: Any) -> Iterator[bytes | memoryview]:
    """One node of a GraphDef: what goes before the numbers, then the numbers."""
    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tensor.dtype.as_datatype_enum
    described = tf.compat.v1.AttrValue().tensor
    described.dtype = tensor.dtype.as_datatype_enum
    described.tensor_shape.CopyFrom(tensor.shape.as_proto())
    array = np.asarray(tensor)  # the tensor's own memory
    header = described.SerializeToString() + begin(CONTENT, array.nbytes)
    key = begin(1, len("value")) + b"value"
    before = {TENSOR: b"", VALUE: key, ATTRIBUTE: node.SerializeToString(), NODE: b""}
    for field, content in before.items():
        header = content + begin(field, len(header) + array.nbytes) + header
    yield header
    yield np.ascontiguousarray(array).data


def begin(field: int, length: int) -> bytes:
    """What precedes a message or bytes: number and type of the field, and the length."""
    return varint(field << 3 | LENGTH_DELIMITED) + varint(length)


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have the eighth bit set."""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def write_saved_model(
    folder: Path, definition: Any, constants: Mapping[str, Any], inputs: Any, outputs: Any
) -> None:
    """A SavedModel around that GraphDef, with the signature `serving_default`.

    `inputs` and `outputs` are symbolic tensors of the graph by name. Tensors of another shape than
    an input's are refused: kernels may end the process over them.
    """
    meta = tf.compat.v1.MetaGraphDef()
    meta.meta_info_def.tags.append(tf.saved_model.SERVING)
    meta.meta_info_def.tensorflow_version = tf.__version__
    signature = meta.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for tensors, described in ((inputs, signature.inputs), (outputs, signature.outputs)):
        for name, tensor in tensors.items():
            described[name].name = tensor.name
            described[name].dtype = tensor.dtype.as_datatype_enum
            described[name].tensor_shape.CopyFrom(tensor.shape.as_proto())
    guarded = tf.compat.v1.GraphDef.FromString(definition.SerializeToString())
    for node in guarded.node:
        if node.name in inputs:
            fed = guarded.node.add(name=f"serving_default_{node.name}", op="Placeholder")
            fed.attr["dtype"].CopyFrom(node.attr["dtype"])
            fed.attr["shape"].CopyFrom(node.attr["shape"])
            signature.inputs[node.name].name = f"{fed.name}:0"
            checked = tf.compat.v1.NodeDef(name=node.name, op="EnsureShape", input=[fed.name])
            checked.attr["T"].CopyFrom(node.attr["dtype"])
            checked.attr["shape"].CopyFrom(node.attr["shape"])
            node.CopyFrom(checked)
    size = sum(memoryview(part).nbytes for part in graph_parts(guarded, constants))
    header = meta.SerializeToString(deterministic=True) + begin(GRAPH_DEF, size)
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    folder.mkdir()
    with open(folder / "saved_model.pb", "wb") as file:
        file.write(saved.SerializeToString() + begin(META_GRAPHS, len(header) + size) + header)
        file.writelines(graph_parts(guarded, constants))
