"""Load what was written in a process that knows nothing of porter and run it on stored inputs.

Run as a script in a fresh interpreter: `reload.py KIND MODEL INPUTS.npz OUTPUTS.npz
EXTRA…`. INPUTS holds `<sample>/<input name>`, OUTPUTS gets `<sample>/<output name>`. KIND is a
function of this file, which takes MODEL, all samples and EXTRA.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

import numpy as np

Sample = dict[str, Any]


def saved_model(folder: str, samples: list[Sample], *signatures: str) -> list[Sample]:
    """A SavedModel; there is one signature for all samples, or one for each."""
    import tensorflow as tf

    model = tf.saved_model.load(folder)
    results = []
    for number, sample in enumerate(samples):
        signature = model.signatures[signatures[number if len(signatures) > 1 else 0]]
        tensors = {name: tf.constant(array) for name, array in sample.items()}
        results.append({name: plain(t.numpy()) for name, t in signature(**tensors).items()})
    return results


def plain(array: Any) -> Any:
    """Strings are objects, which an archive could only keep as a pickle."""
    return array.astype(bytes) if array.dtype == object else array


def training(folder: str, samples: list[Sample]) -> list[Sample]:
    """A SavedModel differentiated in training, inputs in the model's order.

    `gradients` says for each trainable variable whether the outputs depend on it.
    """
    import tensorflow as tf

    model = tf.saved_model.load(folder)
    results = []
    for sample in samples:
        with tf.GradientTape() as tape:
            outputs = model(*map(tf.constant, sample.values()), training=True)
        gradients = tape.gradient(outputs, model.trainable_variables)
        results.append({"gradients": np.array([each is not None for each in gradients], bool)})
    return results


def frozen_graph(file: str, samples: list[Sample], *pairs: str) -> list[Sample]:
    """A GraphDef as TensorFlow 1 runs it; `pairs` are NAME=TENSOR of the outputs."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef()
    with open(file, "rb") as content:
        definition.ParseFromString(content.read())
    renamed = [{f"{name}:0": array for name, array in sample.items()} for sample in samples]
    return run_graph(definition, renamed, pairs, {})


def constants(path: str, samples: list[Sample], *pairs: str) -> list[Sample]:
    """A GraphDef, or the folder of a SavedModel around one, fed with its constants.

    A session copies a constant about five times, and takes what it is fed as it is.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    if os.path.isdir(path):
        with open(os.path.join(path, "saved_model.pb"), "rb") as content:
            (meta,) = SavedModel.FromString(content.read()).meta_graphs
        definition, signature = meta.graph_def, meta.signature_def["serving_default"]
        inputs = {name: tensor.name for name, tensor in signature.inputs.items()}
        del meta
    else:
        with open(path, "rb") as content:
            definition = GraphDef.FromString(content.read())
        inputs = {name: f"{name}:0" for name in samples[0]}
    graph, weights = without_constants(definition)
    del definition
    renamed = [{inputs[name]: array for name, array in sample.items()} for sample in samples]
    return run_graph(graph, renamed, pairs, weights)


def frozen(folder: str, samples: list[Sample], *pairs: str) -> list[Sample]:
    """`frozen/` on the first half of the samples, and `frozen.pb` on the other."""
    half, file = len(samples) // 2, os.path.join(folder, "frozen.pb")
    of_folder = saved_model(os.path.join(folder, "frozen"), samples[:half], "serving_default")
    return of_folder + frozen_graph(file, samples[half:], *pairs)


def large_frozen(folder: str, samples: list[Sample], *pairs: str) -> list[Sample]:
    """The same, fed with their constants."""
    half, file = len(samples) // 2, os.path.join(folder, "frozen.pb")
    of_folder = constants(os.path.join(folder, "frozen"), samples[:half], *pairs)
    return of_folder + constants(file, samples[half:], *pairs)


def without_constants(definition: Any) -> tuple[Any, dict[str, Any]]:
    """A GraphDef with placeholders for its weights, and those."""
    import tensorflow as tf

    graph, weights = tf.compat.v1.GraphDef(), {}
    graph.versions.CopyFrom(definition.versions)
    graph.library.CopyFrom(definition.library)
    for node in definition.node:
        if node.op != "Const" or not node.name.startswith("weights/"):
            graph.node.add().CopyFrom(node)
            continue
        array = tf.make_ndarray(node.attr["value"].tensor)
        weights[f"{node.name}:0"] = array
        place = graph.node.add(name=node.name, op="Placeholder")
        place.attr["dtype"].type = node.attr["dtype"].type
        place.attr["shape"].shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    return graph, weights


def run_graph(
    definition: Any, samples: list[Sample], pairs: tuple[str, ...], weights: Sample
) -> list[Sample]:
    """Named outputs of a GraphDef in a session; samples and `weights` are fed by tensor."""
    import tensorflow as tf

    tensors = dict(pair.split("=", 1) for pair in pairs)
    with tf.Graph().as_default() as graph:
        tf.compat.v1.import_graph_def(definition, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            return [session.run(tensors, weights | sample) for sample in samples]


def onnx(file: str, samples: list[Sample]) -> list[Sample]:
    """An ONNX file, by ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(names, sample), strict=True)) for sample in samples]


def tflite(file: str, samples: list[Sample], module: str) -> list[Sample]:
    """A LiteRT file, on inputs of any size; `module` has the `Interpreter`.

    Where the file takes or makes integers that stand for real numbers, they are quantised and
    dequantised here.
    """
    interpreter = importlib.import_module(module).Interpreter(model_path=file)
    runner = interpreter.get_signature_runner("serving_default")
    takes, makes = runner.get_input_details(), runner.get_output_details()
    results = []
    for sample in samples:
        tensors = {name: quantised(array, takes[name]) for name, array in sample.items()}
        outputs = runner(**tensors)
        results.append({name: dequantised(array, makes[name]) for name, array in outputs.items()})
    return results


def quantised(array: Any, tensor: Any) -> Any:
    """Real numbers as the integers that stand for them."""
    scale, zero = tensor["quantization"]
    if not scale:
        return array
    limits = np.iinfo(tensor["dtype"])
    integers = np.round(array / scale) + zero
    return np.clip(integers, limits.min, limits.max).astype(tensor["dtype"])


def dequantised(array: Any, tensor: Any) -> Any:
    """The real numbers that integers stand for."""
    scale, zero = tensor["quantization"]
    return (array.astype(np.float32) - zero) * np.float32(scale) if scale else array


def coreml(folder: str, samples: list[Sample]) -> list[Sample]:
    """What an ML program holds: `weight NAME`, and `shape NAME` of what goes in and out (-1: free).

    It cannot be run but on Apple's systems.
    """
    library: Any = importlib.import_module("coremltools")
    model = library.models.MLModel(folder, skip_model_load=True)
    weights = library.optimize.coreml.get_weights_metadata(model, weight_threshold=1)
    results = {f"weight {name}": each.val for name, each in weights.items() if each.val.size}
    (function,) = model.get_spec().mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    values = {value.name: value for value in function.inputs}
    values |= {value.name: value for each in block.operations for value in each.outputs}
    for name in [value.name for value in function.inputs] + list(block.outputs):
        dimensions = values[name].type.tensorType.dimensions
        sizes = [each.constant.size if each.HasField("constant") else -1 for each in dimensions]
        results[f"shape {name}"] = np.array(sizes, int)
    return [results]


def source(folder: str, samples: list[Sample]) -> list[Sample]:
    """An emitted `model.py`; outputs are numbered in the order of nested tables."""
    import tensorflow as tf

    module = imported(os.path.join(folder, "model.py"))
    network = module.load(os.path.join(folder, "weights.npz"))
    results = []
    for sample in samples:
        outputs = tf.nest.flatten(network(*map(tf.constant, sample.values())))
        results.append({str(place): tensor.numpy() for place, tensor in enumerate(outputs)})
    return results


def keras(file: str, samples: list[Sample], backend: str, *names: str) -> list[Sample]:
    """A model of Keras, with the `layers.py` beside it if it is there.

    `names` are those of the outputs, in the model's order.
    """
    os.environ["KERAS_BACKEND"] = backend
    library: Any = importlib.import_module("keras")
    layers = os.path.join(os.path.dirname(file), "layers.py")
    if os.path.exists(layers):
        imported(layers)
    model = library.models.load_model(file)
    results = []
    for sample in samples:
        arrays = [sample[tensor.name] for tensor in model.inputs]
        outputs = model.predict_on_batch(arrays if len(arrays) > 1 else arrays[0])
        tensors = outputs if isinstance(outputs, list | tuple) else [outputs]
        results.append(dict(zip(names, map(np.asarray, tensors), strict=True)))
    return results


def imported(path: str) -> Any:
    """A Python file as a module; nothing is left beside it."""
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


KINDS = {
    each.__name__: each
    for each in (
        *(saved_model, training, frozen, large_frozen),
        *(onnx, tflite, coreml, source, keras),
    )
}


def main(kind: str, model: str, inputs: str, outputs: str, *extra: str) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    samples: dict[str, Sample] = {}
    with np.load(inputs, allow_pickle=False) as archive:
        for key in archive.files:
            sample, name = key.split("/", 1)
            samples.setdefault(sample, {})[name] = archive[key]
    results: Any = KINDS[kind](model, list(samples.values()), *extra)
    arrays = {
        f"{sample}/{name}": array
        for sample, result in zip(samples, results, strict=True)
        for name, array in result.items()
    }
    np.savez(outputs, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
