"""One way to call a net, wherever it comes from: `.t7`, converted folder, `.keras`, `.tflite`.

A net takes and makes float32, N×H×W×C (a classifier or a net that flattens its picture makes N×F).
Precision is full float32, also where a GPU would rather round to TensorFloat-32: a picture should
not depend on the machine that made it.
"""

from __future__ import annotations

import abc
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from porter.apps.stylize import memory
from porter.emit.keras_files import require_known
from porter.emit.reload import dequantised, quantised
from porter.errors import OutOfMemory, PorterError, ShapeMismatch, UnsafeFile, UsageError, WalkError
from porter.frontend.walker import Model
from porter.ir.fields import Array
from porter.ir.graph import TensorType
from porter.ir.nested import leaves
from porter.system.checksums import sealed
from porter.system.extras import optional
from porter.system.input_files import require_file
from porter.system.runtime_errors import cause

if TYPE_CHECKING:
    from porter.apps.stylize.bands import Bands

Sizes = tuple[int | None, ...]

LAYERS = "layers.py"
SMALL = 256
"""Height and width of the picture of which a flat buffer's memory is taken: a multiple of what nets
with skip connections take multiples of."""
NO_MEMORY = re.compile("OOM|[Aa]llocat|Status: 1, message: could not create")
"""How runtimes say that memory ran out; the last is oneDNN's dnnl_out_of_memory."""
MIXED = 1e-3
"""Relative change of a picture by its neighbour in a batch that rounding alone does not make."""


class Net(abc.ABC):
    """`shape` is that of its input as stored, None where it may be anything."""

    shape: Sizes
    from_torch: ClassVar[bool] = False
    """Whether it comes from a `.t7`, whose layers are known."""

    @abc.abstractmethod
    def run(self, x: Array) -> Array:
        """The output for an input of the stored shape."""

    def traced(self, height: int, width: int, count: int) -> Any:
        """The GraphDef of the net for pictures of one size, with shapes; None where there is none.

        Nothing is computed.
        """
        return None

    def activations(self, height: int, width: int, count: int) -> int:
        """Bytes of the tensors that are alive at once while pictures run; 0 where nobody knows."""
        graph = self.traced(height, width, count)
        return 0 if graph is None else memory.peak(graph)

    def bands(self, height: int, width: int) -> Bands | None:
        """The net for one picture of this size, in bands; None where its layers are not known."""
        return None

    def stored_shape(self, height: int, width: int, count: int) -> tuple[int, ...]:
        """The shape of its input for so many pictures of one size."""
        planes = self.shape[-1 if self.channels_last else 1] or 3
        sides = (height, width)
        return (count, *sides, planes) if self.channels_last else (count, planes, *sides)

    @property
    def channels_last(self) -> bool:
        """Whether images are stored N×H×W×C: the last axis has as many planes as pictures have."""
        return self.shape[-1] in (1, 3)

    @property
    def sizes(self) -> Sizes:
        """Height and width that it takes."""
        return self.shape[1:3] if self.channels_last else self.shape[2:]

    @property
    def batch(self) -> int | None:
        """How many pictures it takes at once; None: any number."""
        return self.shape[0]

    def __call__(self, x: Array) -> Array:
        """The output for N×H×W×C. Raises ShapeMismatch for a size that the net does not take."""
        stored = x if self.channels_last else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        try:
            output = self.run(stored)
        except PorterError:
            raise
        except Exception as error:
            raise refused(error, x.shape) from error
        return (
            output.transpose(0, 2, 3, 1) if output.ndim == 4 and not self.channels_last else output
        )


def refused(error: Exception, shape: tuple[int, ...]) -> PorterError:
    """A runtime's own error; each has its own class, so the message is all that can be told."""
    shown = "×".join(map(str, shape[1:3]))
    if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
        return OutOfMemory(
            f"a picture of {shown} does not fit into memory", hint="make it smaller: `image_size=`"
        )
    return ShapeMismatch(
        f"the net does not run on a picture of {shown}",
        received=cause(error),
        hint="many nets take nothing but multiples of 8, 32 or 256 pixels: cut it to such a size",
    )


def full_precision() -> Any:
    """TensorFlow, told to keep float32's 24 bits on GPUs."""
    from porter.system.tensorflow import tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    return tf


def graph_of(tf: Any, function: Any, shape: tuple[int, ...]) -> Any:
    """A function of one tensor as a GraphDef with shapes; None where this size cannot be traced."""
    spec = tf.TensorSpec(shape, tf.float32)
    traced = tf.function(function, input_signature=[spec], autograph=False)
    try:
        return traced.get_concrete_function().graph.as_graph_def(add_shapes=True)
    except Exception:  # what is wrong with the size is told when the net runs
        return None


class TracedNet(Net):
    """A port that was traced in this process, of a model that can be walked for any size."""

    from_torch = True

    def __init__(self, port: Any, model: Model) -> None:
        self.tf = full_precision()
        self.serve = port.module.serve
        self.model, self.variables = model, port.variables
        (spec,) = self.serve.input_signature
        self.shape = tuple(spec.shape)

    def traced(self, height: int, width: int, count: int) -> Any:
        shape = self.stored_shape(height, width, count)
        return graph_of(self.tf, self.serve.python_function, shape)

    def bands(self, height: int, width: int) -> Bands | None:
        from porter.apps.stylize.bands import Bands

        planes = self.shape[-1 if self.channels_last else 1]
        type = TensorType((1, planes, height, width))
        try:
            graph = self.model.walk(type)
        except WalkError:  # what is wrong with the size is told when the net runs
            return None
        return Bands(graph, self.variables) if len(list(leaves(graph.outputs))) == 1 else None

    def run(self, x: Array) -> Array:
        (output,) = self.serve(self.tf.constant(x)).values()
        return np.asarray(output)


class SavedModelNet(Net):
    """The signature `serving_default` of a SavedModel."""

    def __init__(self, folder: Path) -> None:
        self.tf = full_precision()
        self.model = loaded(folder, lambda: self.tf.saved_model.load(str(folder)))
        self.serve = self.model.signatures["serving_default"]
        _, specs = self.serve.structured_input_signature
        ((self.name, spec),) = one(specs, folder).items()
        self.shape = tuple(spec.shape)

    def traced(self, height: int, width: int, count: int) -> Any:
        """The signature's functions were traced for any size; inlined they tell their shapes."""
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        frozen = convert_variables_to_constants_v2(self.serve, lower_control_flow=False)
        (image,), definition = frozen.inputs, frozen.graph.as_graph_def()
        outputs = [tensor.name for tensor in frozen.outputs]

        def imported(x: Any) -> Any:
            return self.tf.graph_util.import_graph_def(
                definition, input_map={image.name: x}, return_elements=outputs, name=""
            )

        return graph_of(self.tf, imported, self.stored_shape(height, width, count))

    def run(self, x: Array) -> Array:
        (output,) = self.serve(**{self.name: self.tf.constant(x)}).values()
        return np.asarray(output)


class KerasNet(Net):
    """A `.keras` file of layers that Keras has, and of those that porter wrote into the
    `layers.py` beside it, which is executed if the manifest lists it or the caller trusts it."""

    def __init__(self, file: Path, trust_code: bool = False) -> None:
        own = require_known(file)
        code = layers_code(file, trust_code) if own else None
        tf = full_precision()

        def load() -> Any:
            if code is not None:
                exec(code, {"__name__": file.stem})
                require_registered(tf, own, file)
            return tf.keras.models.load_model(file, compile=False)

        self.tf, self.model = tf, loaded(file, load)
        (input_details,) = one(dict(enumerate(self.model.inputs)), file).values()
        self.shape = tuple(input_details.shape)
        spec = tf.TensorSpec(self.shape, tf.float32)
        self.serve = tf.function(
            lambda x: self.model(x, training=False), input_signature=[spec], autograph=False
        )

    def traced(self, height: int, width: int, count: int) -> Any:
        shape = self.stored_shape(height, width, count)
        return graph_of(self.tf, lambda x: self.model(x, training=False), shape)

    def run(self, x: Array) -> Array:
        output = self.serve(x)
        if isinstance(output, dict):
            (output,) = output.values()
        return np.asarray(output)


def layers_code(file: Path, trust_code: bool) -> Any:
    """The compiled `layers.py` of a model. Raises UnsafeFile where nothing says who wrote it."""
    path = file.resolve().with_name(LAYERS)
    require_file(path)
    if not path.is_file():
        raise UsageError(f"{file} needs the {LAYERS} that was written beside it")
    content, is_listed = sealed(path.parent, LAYERS)
    if not is_listed and not trust_code:
        raise UnsafeFile(
            f"{LAYERS} is a program that no manifest beside it lists; it was not run",
            where=str(path),
            hint="read it, and if you trust it, add `trust_code=True`; a folder that "
            "`porter convert` wrote has a manifest",
        )
    try:
        return compile(content, str(path), "exec")
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{path} is not Python", received=str(error)) from error


def require_registered(tf: Any, names: frozenset[str], file: Path) -> None:
    """Raise UsageError for layers that `layers.py` does not define: Keras would look for them."""
    missing = [n for n in sorted(names) if tf.keras.utils.get_registered_object(n) is None]
    if missing:
        raise UsageError(f"{LAYERS} beside {file} lacks layers", received=", ".join(missing))


class TFLiteNet(Net):
    """A `.tflite` file, float or quantised, by LiteRT, or by TensorFlow where that is missing."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.serve = loaded(file, lambda: litert(file).get_signature_runner("serving_default"))
        self.output = self.serve.get_output_details()
        ((self.name, self.input_details),) = one(self.serve.get_input_details(), file).items()
        sizes = self.input_details["shape_signature"]
        self.shape = tuple(None if extent < 0 else int(extent) for extent in sizes)

    def activations(self, height: int, width: int, count: int) -> int:
        """Of a small picture, whose tensors are laid out, and scaled."""
        rows, columns = (extent or SMALL for extent in self.sizes)
        try:
            plain = self.laid_out(rows, columns, delegates=False)
            if memory.is_laid_out(plain):
                most = memory.peak_of_flat(plain)
            else:
                most = memory.kept_by_flat(self.laid_out(rows, columns)) // memory.COPIES
        except (ValueError, RuntimeError):  # what is wrong with the size is told when the net runs
            return 0
        return most * height * width * count // (rows * columns)

    def laid_out(self, height: int, width: int, delegates: bool = True) -> Any:
        """An interpreter that has memory for a picture of this size."""
        interpreter = litert(self.file, delegates)
        (image,) = interpreter.get_input_details()
        interpreter.resize_tensor_input(image["index"], self.stored_shape(height, width, 1))
        interpreter.allocate_tensors()
        return interpreter

    def run(self, x: Array) -> Array:
        from porter.system.quiet import quiet_stderr

        with quiet_stderr():
            ((name, output),) = self.serve(**{self.name: quantised(x, self.input_details)}).items()
        return np.array(dequantised(output, self.output[name]))


def litert(file: Path, delegates: bool = True) -> Any:
    """An interpreter of a flat buffer; without delegates every operation is one of its own."""
    module = optional("ai_edge_litert.interpreter", "ai-edge-litert", "a .tflite file")
    kinds = module.OpResolverType
    kind = kinds.AUTO if delegates else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return module.Interpreter(model_path=str(file), experimental_op_resolver_type=kind)


def loaded(path: Path, load: Any) -> Any:
    """What `load` returns. Raises UsageError where the runtime cannot read the file."""
    from porter.system.quiet import quiet_stderr

    try:
        with quiet_stderr():
            return load()
    except PorterError:
        raise
    except Exception as error:
        raise UsageError(f"{path} cannot be loaded", received=cause(error)) from error


def one(inputs: dict[Any, Any], path: Path) -> dict[Any, Any]:
    """The one input that a net of pictures has."""
    if len(inputs) != 1:
        raise UsageError(f"{path} takes {len(inputs)} inputs, and no single picture")
    return inputs


def mixes(net: Net, planes: int, least: int) -> bool:
    """Whether the pictures of a batch see each other, as they do in batch normalisation that was
    saved in training mode; measured, since it is written nowhere in a file of another format."""
    random = np.random.default_rng(0)
    sides = [extent or least for extent in net.sizes]
    pair = random.standard_normal((2, *sides, planes)).astype(np.float32)
    together, alone = net(pair)[:1], net(pair[:1])
    scale = float(np.abs(alone).max()) or 1.0
    return bool(np.abs(together - alone).max() > MIXED * scale)
