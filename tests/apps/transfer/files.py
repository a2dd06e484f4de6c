"""One slim VGG in every format that descriptors come in, written with the formats' own libraries.

All hold the same function of an RGB picture: BGR levels less their mean through
conv1_1 (8) conv1_2 (8) pool conv2_1 (12) conv2_2 (12) pool conv3_1 (10), each with a rectifier.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from porter.apps.transfer.sources.caffe_schema import messages
from porter.imaging.presets import BGR_MEAN
from tests import build
from tests.write_t7 import write_t7

PLANES = {"conv1_1": (3, 8), "conv1_2": (8, 8), "conv2_1": (8, 12)}
PLANES |= {"conv2_2": (12, 12), "conv3_1": (12, 10)}
Array = Any


def weights(seed: int = 3) -> dict[str, tuple[Array, Array]]:
    """Filters HWIO for BGR and biases by name."""
    random = np.random.default_rng(seed)
    pairs = {}
    for name, (planes, outputs) in PLANES.items():
        filters = random.standard_normal((3, 3, planes, outputs)) / np.sqrt(4.5 * planes)
        pairs[name] = (
            filters.astype(np.float32),
            random.uniform(-1, 1, outputs).astype(np.float32),
        )
    return pairs


def ends_block(name: str) -> bool:
    """Whether a pooling follows."""
    return name in ("conv1_2", "conv2_2")


def torch_vgg(folder: Path, named: bool = True) -> Path:
    """As loadcaffe saves it: names, rectifiers in place, then a classifier for 16×16 pictures."""
    modules: list[Any] = []

    def add(module: Any, name: str) -> None:
        module.fields |= {"name": name} if named else {}
        modules.append(module)

    for name, (filters, bias) in weights().items():
        conv = build.conv(filters.shape[2], filters.shape[3], pad=1)
        conv.fields["weight"] = build.lua(np.ascontiguousarray(filters.transpose(3, 2, 0, 1)))
        conv.fields["bias"] = build.lua(bias)
        add(conv, name)
        add(build.relu(inplace=True), name.replace("conv", "relu"))
        if ends_block(name):
            add(max_pool(), f"pool{name[4]}")
    add(build.view(160, sample_rank=3), "torch_view")
    add(build.linear(160, 5), "fc6")
    return write_t7(folder / ("vgg.t7" if named else "nameless.t7"), build.sequential(*modules))


def max_pool() -> Any:
    sizes = {"kW": 2, "kH": 2, "dW": 2, "dH": 2, "padW": 0, "padH": 0}
    return build.torch_module("nn.SpatialMaxPooling", ceil_mode=True, **sizes)


def npz(folder: Path, **changes: Any) -> Path:
    """Keys and order of channels of vgg16_weights.npz, with a fully-connected layer."""
    arrays: dict[str, Any] = {"fc6_W": np.ones((160, 5), np.float32), "fc6_b": np.ones(5)}
    for name, (filters, bias) in weights().items():
        turned = filters[:, :, ::-1] if name == "conv1_1" else filters
        arrays |= {f"{name}_W": turned, f"{name}_b": bias}
    path = folder / "vgg16_weights.npz"
    np.savez(path, **{key: value for key, value in (arrays | changes).items() if value is not None})
    return path


def npy(folder: Path, layers: dict[str, Any] | None = None) -> Path:
    """A pickled dict, as caffe-tensorflow wrote it."""
    content = layers or {name: [filters, bias] for name, (filters, bias) in weights().items()}
    path = folder / "vgg.npy"
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


def keras_weights(folder: Path) -> Path:
    """The layout of keras.applications' files, with the names that Keras 1 gave arrays."""
    path = folder / "vgg_notop.h5"
    with h5py.File(path, "w") as file:
        names = [keras_name(name) for name in PLANES]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for (filters, bias), name in zip(weights().values(), names, strict=True):
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}_W_1:0".encode(), f"{name}_b_1:0".encode()]
            group[f"{name}_W_1:0"], group[f"{name}_b_1:0"] = filters, bias
    return path


def keras_name(name: str) -> str:
    """`block1_conv2` for conv1_2."""
    return f"block{name[4]}_conv{name[6]}"


def keras_model(top: bool = False) -> Any:
    """The net in Keras."""
    from porter.system.tensorflow import tf

    layers = tf.keras.layers
    x = image = tf.keras.Input((16, 16, 3) if top else (None, None, 3), name="image")
    for name, (_, bias) in weights().items():
        x = layers.Conv2D(len(bias), 3, padding="same", activation="relu", name=keras_name(name))(x)
        if ends_block(name):
            x = layers.MaxPooling2D(2, name=f"block{name[4]}_pool")(x)
    if top:
        x = layers.Dense(5, name="predictions")(layers.Flatten(name="flatten")(x))
    model = tf.keras.Model(image, x, name="vgg")
    for name, pair in weights().items():
        model.get_layer(keras_name(name)).set_weights(pair)
    return model


def keras_of_2016(folder: Path) -> Path:
    """The layout of the first examples, for Theano: layers by number, filters O×I×kH×kW, turned."""
    path = folder / "vgg16_weights.h5"
    arrays: list[tuple[Array, ...]] = []
    for name, (filters, bias) in weights().items():
        arrays += [(), (filters[::-1, ::-1].transpose(3, 2, 0, 1), bias)]
        arrays += [()] if ends_block(name) else []
    arrays += [(), (np.ones((160, 5), np.float32), np.ones(5, np.float32))]
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = len(arrays)
        for number, pair in enumerate(arrays):
            group = file.create_group(f"layer_{number}")
            group.attrs["nb_params"] = len(pair)
            for index, array in enumerate(pair):
                group[f"param_{index}"] = array
    return path


def matconvnet(folder: Path, today: bool = True) -> Path:
    """imagenet-vgg-verydeep-19.mat: RGB, with the mean of the images, in either layout."""
    from scipy.io import savemat

    layers: list[dict[str, Any]] = []
    for name, (filters, bias) in weights().items():
        turned = filters[:, :, ::-1] if name == "conv1_1" else filters
        layer: dict[str, Any] = {"type": "conv", "name": name, "pad": [1.0, 1, 1, 1]}
        if today:
            pair = np.empty(2, object)
            pair[:] = [turned, bias[:, None]]
            layer |= {"weights": pair}
        else:
            layer |= {"filters": turned, "biases": bias[None]}
        layers += [layer, {"type": "relu", "name": name.replace("conv", "relu")}]
        if ends_block(name):
            layers.append({"type": "pool", "name": f"pool{name[4]}", "method": "max"})
    cells = np.empty(len(layers), object)
    cells[:] = layers
    red, green, blue = BGR_MEAN[::-1]
    mean = np.array([red, green, blue], np.float32).reshape(1, 1, 3)
    table = {"averageImage": mean if today else np.tile(mean, (4, 4, 1))}
    content = {"layers": cells} | (
        {"meta": {"normalization": table}} if today else {"normalization": table}
    )
    path = folder / ("vgg.mat" if today else "vgg_beta.mat")
    savemat(path, content, do_compression=True)
    return path


def state_dict(numbered: bool = True) -> dict[str, Array]:
    """PyTorch's names: torchvision's numbers among all layers, or the names of Caffe."""
    arrays, number = {}, 0
    for name, (filters, bias) in weights().items():
        layer = f"features.{number}" if numbered else name
        arrays[f"{layer}.weight"] = np.ascontiguousarray(filters.transpose(3, 2, 0, 1))
        arrays[f"{layer}.bias"] = bias
        number += 3 if ends_block(name) else 2
    return arrays


def safetensors(folder: Path, numbered: bool = True) -> Path:
    """A state dict in `.safetensors`, with a fully-connected layer."""
    from safetensors.numpy import save_file

    path = folder / "vgg.safetensors"
    save_file(state_dict(numbered) | {"classifier.0.weight": np.ones((5, 160), np.float32)}, path)
    return path


def caffe_v1(folder: Path) -> Path:
    """A `.caffemodel` of 2014 with a fully-connected layer, and its prototxt."""
    net = messages()["NetParameter"](name="VGG", input=["data"], input_dim=[1, 3, 16, 16])
    last = "data"

    def add(kind: int, name: str, top: str) -> Any:
        nonlocal last
        layer = net.layers.add(name=name, type=kind, bottom=[last], top=[top])
        last = top
        return layer

    for name, pair in weights().items():
        conv = add(4, name, name)
        fill(conv.convolution_param, pair)
        store(conv.blobs, pair, legacy=True)
        add(18, name.replace("conv", "relu"), name)
        if ends_block(name):
            pool = add(17, f"pool{name[4]}", f"pool{name[4]}").pooling_param
            pool.kernel_size = pool.stride = 2
    blob = add(14, "fc6", "fc6").blobs.add(num=1, channels=1, height=5, width=160)
    blob.data.extend([0.5] * 800)
    return written(folder, net, net.layers)


def caffe_today(folder: Path) -> Path:
    """The same in today's messages."""
    net = messages()["NetParameter"](name="VGG", input=["data"])
    last = "data"
    for name, pair in weights().items():
        conv = net.layer.add(name=name, type="Convolution", bottom=[last], top=[name])
        fill(conv.convolution_param, pair)
        store(conv.blobs, pair, legacy=False)
        relu = name.replace("conv", "relu")
        net.layer.add(name=relu, type="ReLU", bottom=[name], top=[name])
        last = name
        if ends_block(name):
            last = f"pool{name[4]}"
            pool = net.layer.add(name=last, type="Pooling", bottom=[name], top=[last])
            pool.pooling_param.kernel_size = pool.pooling_param.stride = 2
    return written(folder, net, net.layer)


def caffe_branches(folder: Path) -> Path:
    """A `.caffemodel` alone: a strided convolution and padded means of the image.

    A layer that no descriptor runs reads the image too.
    """
    net = messages()["NetParameter"](name="branches", input=["data"])
    conv = net.layer.add(name="conv", type="Convolution", bottom=["data"], top=["conv"])
    filters, bias = weights()["conv1_1"]
    conv.convolution_param.num_output = len(bias)
    conv.convolution_param.kernel_size.append(3)
    conv.convolution_param.stride.append(2)
    conv.convolution_param.pad.append(1)
    store(conv.blobs, (filters, bias), legacy=False)
    for name, round_mode in (("mean", 1), ("rounded_up", 0)):
        layer = net.layer.add(name=name, type="Pooling", bottom=["data"], top=[name])
        pool = layer.pooling_param
        pool.pool, pool.kernel_size, pool.stride, pool.pad = 1, 3, 2, 1
        pool.round_mode = round_mode
    net.layer.add(name="norm", type="BatchNorm", bottom=["data"], top=["norm"])
    net.layer.add(name="both", type="Concat", bottom=["conv", "mean"], top=["both"])
    return written(folder, net, net.layer)


def fill(chosen: Any, pair: tuple[Array, Array]) -> None:
    """Sizes of a convolution."""
    chosen.num_output = len(pair[1])
    chosen.kernel_size.append(3)
    chosen.pad.append(1)


def store(blobs: Any, pair: tuple[Array, Array], legacy: bool) -> None:
    """Weights as Caffe keeps them, OIHW."""
    for array in (pair[0].transpose(3, 2, 0, 1), pair[1]):
        blob = blobs.add()
        if legacy:
            sizes = (1,) * (4 - array.ndim) + array.shape
            blob.num, blob.channels, blob.height, blob.width = sizes
        else:
            blob.shape.dim.extend(array.shape)
        blob.data.extend(array.reshape(-1).tolist())


def written(folder: Path, net: Any, layers: Any) -> Path:
    """Both files of a network."""
    from google.protobuf import text_format

    path = folder / "vgg.caffemodel"
    path.write_bytes(net.SerializeToString())
    for layer in layers:
        del layer.blobs[:]
    path.with_suffix(".prototxt").write_text(text_format.MessageToString(net), encoding="utf-8")
    return path


def alexnet_layers(seed: int = 5) -> dict[str, list[Array]]:
    """A slim AlexNet: 11×11 and 5×5 filters, groups of two."""
    random = np.random.default_rng(seed)
    sizes = {"conv1": (11, 3, 8), "conv2": (5, 4, 12), "conv3": (3, 12, 10)}
    sizes |= {"conv4": (3, 5, 10), "conv5": (3, 5, 6)}
    return {
        name: [
            (random.standard_normal((k, k, i, o)) / (k * np.sqrt(i))).astype(np.float32),
            random.uniform(-1, 1, o).astype(np.float32),
        ]
        for name, (k, i, o) in sizes.items()
    }


def evil_npy(path: Path, target: Path) -> Path:
    """A file that would make `target` if it were loaded as NumPy loads pickles."""

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (target,)

    with path.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump(Evil(), file)
    return path
