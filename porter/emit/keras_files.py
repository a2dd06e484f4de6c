"""What a Keras file asks to be built, read before Keras is: plain layers, or the file is refused.

A configuration names classes and functions, which Keras looks up or imports; a Lambda layer brings
its bytecode along, and Keras up to 3.11.2 runs that of an `.h5` even in safe mode. So the
configuration may name nothing but the classes below, wherever in it: in models inside models, in
wrappers, as initialisers or activations. porter's own layers (`layers.py`) are reported to the
caller, who knows whether that file may run.

Source: keras/src/saving/serialization_lib.py, keras/src/legacy/saving/.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from porter.emit import hdf5
from porter.emit.hdf5 import require_finite_heaps, require_self_contained, text_attribute
from porter.errors import PorterError, UnsafeFile, WeightError, printable
from porter.runtime import memory
from porter.system.input_files import require_file

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MEMBERS = {CONFIG, "metadata.json", WEIGHTS}
MAX_CONFIG = 2**26
"""Bytes of a configuration; that of the largest model of keras.applications has 2**20."""
OWN = re.compile(r"porter>([A-Za-z0-9_]+)-[0-9a-f]{8}")
"""Under what names `layers.py` registers its classes (custom_layers.py)."""
NEVER_OWN = {
    *("function", "TypeSpec", "CompositeTensor", "Lambda", "TFSMLayer"),
    *("JaxLayer", "FlaxLayer", "TorchModuleWrapper"),
}
"""Names that some reader in Keras acts upon before it looks at the registered one."""

LAYERS = """
Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average
AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization Bidirectional CenterCrop
Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D
ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Dot
Dropout ELU EinsumDense Embedding Flatten GRU GRUCell GaussianDropout GaussianNoise
GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D
GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupQueryAttention Identity InputLayer
LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum
Minimum MultiHeadAttention Multiply Normalization PReLU Permute RMSNormalization RNN ReLU
RandomBrightness RandomContrast RandomCrop RandomFlip RandomRotation RandomTranslation RandomZoom
RepeatVector Rescaling Reshape Resizing SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell
Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells
Subtract ThresholdedReLU TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D
ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""
"""Of keras.layers: what computes with nothing but its numbers. Not Lambda, which is code, nor
TFSMLayer, JaxLayer, FlaxLayer and TorchModuleWrapper, which load it, nor the look-up layers, which
read files that the configuration names."""
MODELS = "Functional Model Sequential"
PARTS = """
Constant DTypePolicy FloatDTypePolicy GlorotNormal GlorotUniform HeNormal HeUniform L1 L1L2 L2
LecunNormal LecunUniform MaxNorm MinMaxNorm NonNeg Ones OrthogonalInitializer Orthogonal
OrthogonalRegularizer Policy RandomNormal RandomUniform SeedGenerator TruncatedNormal UnitNorm
VarianceScaling Zeros
"""
"""Initialisers, regularisers, constraints and precisions."""
DATA = """
__bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__ __tuple__ TensorShape
"""
"""How Keras writes values that JSON lacks."""
ACTIVATIONS = """
celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus
softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold
"""
KNOWN_CLASSES = frozenset(" ".join((LAYERS, MODELS, PARTS, DATA)).split())
KNOWN_FUNCTIONS = frozenset(ACTIVATIONS.split())
MODULES = re.compile(
    r"builtins|keras|keras(\.src)?\.(activations|constraints|dtype_policies|engine|initializers|"
    r"layers|models|ops|random|regularizers)(\.(?!\w*_test\b)\w+)*"
)

BROKEN = (*hdf5.BROKEN, EOFError, RecursionError, zipfile.BadZipFile, zlib.error)
"""What the readers of archives, HDF5 and JSON raise for damaged files."""


def require_known(path: Path) -> frozenset[str]:
    """Names under which porter's own layers are registered that a `.keras` or whole `.h5` needs.

    Raises UnsafeFile for what would run code or read other files, WeightError for a damaged file,
    OutOfMemory for one that unpacks to more than memory holds. Keras is not imported.
    """
    require_file(path)
    try:
        config = configuration(path)
    except PorterError:
        raise
    except BROKEN as error:
        raise WeightError(
            "the file is truncated or damaged",
            where=path.name,
            received=printable(str(error) or type(error).__name__),
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise WeightError("the file describes no model", where=path.name)
    return frozenset(name for part in objects(config) for name in own_names(part, path))


def configuration(path: Path) -> Any:
    """The model's configuration. Keras chooses the reader by the name's ending, and so must this:
    a file can be a zip archive and HDF5 at once."""
    if path.suffix == ".keras":
        return zipped_configuration(path)
    if path.suffix not in (".h5", ".hdf5"):
        raise WeightError(
            "Keras opens files by the ending of their name",
            where=path.name,
            hint="rename the file: .keras for a zip archive, .h5 for HDF5",
        )
    import h5py

    require_finite_heaps(path)
    with h5py.File(path, "r") as file:
        require_self_contained(file, path.name, path.stat().st_size)
        return json.loads(text_attribute(file, "model_config", MAX_CONFIG))


def zipped_configuration(path: Path) -> Any:
    """Of a `.keras`, whose weights are looked at as well."""
    import h5py

    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        foreign = sorted(set(names) - MEMBERS)
        if foreign or len(names) != len(set(names)):
            raise UnsafeFile(
                "the archive holds more than a model and its weights",
                where=path.name,
                received=", ".join(foreign[:4]) or "a member twice",
            )
        sizes = [member.file_size for member in archive.infolist()]
        memory.require_unpacked(sum(sizes), path.stat().st_size, path.name)
        if archive.getinfo(CONFIG).file_size > MAX_CONFIG:
            raise UnsafeFile("a configuration without end", where=path.name)
        if WEIGHTS in names:
            content = archive.read(WEIGHTS)
            require_finite_heaps(content)
            with h5py.File(io.BytesIO(content), "r") as file:
                require_self_contained(file, path.name, len(content))
        config = json.loads(archive.read(CONFIG))
    if isinstance(config, dict):
        config.pop("compile_config", None)  # models are loaded with compile=False
    return config


def objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every dict below that Keras could take for an object."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.values())
            if "class_name" in item:
                yield item
        elif isinstance(item, list):
            waiting.extend(item)


def is_own(kind: Any, registered: str) -> bool:
    """Whether a class and the name under which it is registered are those of `layers.py`."""
    match = OWN.fullmatch(registered)
    return match is not None and kind == match[1] and kind not in NEVER_OWN and kind[:2] != "__"


def own_names(item: dict[str, Any], path: Path) -> Iterator[str]:
    """The registered name, if the object is a layer of porter's; else raises unless it is known."""
    kind, module = item["class_name"], item.get("module")
    registered = item.get("registered_name")
    if isinstance(registered, str) and is_own(kind, registered) and "module" in item:
        yield registered
        return
    named = item.get("config") if kind == "function" else kind
    is_known = (
        isinstance(named, str)
        and named in (KNOWN_FUNCTIONS if kind == "function" else KNOWN_CLASSES)
        and registered in (None, kind, named)
        and (module is None or (isinstance(module, str) and MODULES.fullmatch(module)))
    )
    if not is_known:
        shown = ".".join(str(part) for part in (module, named) if isinstance(part, str))
        raise UnsafeFile(
            "the model asks for something other than a known layer of Keras; nothing of it was run",
            where=path.name,
            received=printable(shown or repr(kind)),
            hint="layers such as Lambda are programs: do not trust this file. Where it is your "
            "own, save the model with plain layers",
        )
