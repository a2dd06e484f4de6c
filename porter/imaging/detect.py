"""The preset that a Torch file implies: by its checkpoint, or by classes of one project only.

Nothing is guessed: an ImageNet classifier, for example, looks the same whether it was trained on
RGB in 0…1 or on Caffe's BGR.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from porter.frontend.model_file import ModelFile
from porter.frontend.module_tree import histogram, submodules
from porter.imaging.geometry import output_image
from porter.imaging.presets import BUILT_IN, PixelEncoding, Preset
from porter.ir.graph import Graph
from porter.ir.nested import leaves
from porter.torch7 import Table, Tensor, TorchObject
from porter.torch7.types import Array

FAST_NEURAL_STYLE = ("nn.ShaveImage", "nn.TotalVariation")
"""Classes that only fast-neural-style has."""


def detect(opened: ModelFile, graph: Graph) -> tuple[Preset, str] | None:
    """A preset and the reason for it, or None. `graph` is the net walked with an image."""
    detected = waifu2x(opened) if "w2nn_channels" in opened.root else None
    if detected is None and planes(graph) == (3, 3):
        detected = (
            fast_neural_style(opened)
            or texture_nets(opened, graph)
            or pix2pix(opened, graph)
            or edsr(opened)
        )
    if detected is None and planes(graph) == (1, 1):
        return sketch_simplification(opened)
    if detected is None:
        return None
    name, why = detected
    return BUILT_IN[name], why


def planes(graph: Graph) -> tuple[int, int] | None:
    """Channels of the only input and of the output image, or None."""
    inputs = list(leaves(graph.inputs))
    picture = output_image(graph)
    if len(inputs) != 1 or inputs[0].type.rank != 4 or picture is None:
        return None
    return inputs[0].shape[1], picture.shape[1]


def fast_neural_style(opened: ModelFile) -> tuple[str, str] | None:
    """The checkpoint states the preprocessing; its script defaults to vgg."""
    root = opened.file.root
    options = root.get("opt") if isinstance(root, Table) else None
    method = options.get("preprocessing") if isinstance(options, Table) else None
    if method in ("vgg", "resnet"):
        return f"fast-neural-style-{method}", f"the checkpoint has opt.preprocessing = {method}"
    classes = histogram(opened.root)
    for marker in FAST_NEURAL_STYLE:
        if method is None and marker in classes:
            return "fast-neural-style-vgg", f"{marker} is a class of fast-neural-style"
    return None


def texture_nets(opened: ModelFile, graph: Graph) -> tuple[str, str] | None:
    """Its TVLoss, or its instance normalisation between replicated borders.

    CycleGAN's generators may have these two as well, but end with Tanh.
    """
    classes = histogram(opened.root)
    if "nn.TVLoss" in classes:
        return "texture-nets", "nn.TVLoss is a class of texture_nets"
    both = {"nn.InstanceNormalization", "nn.SpatialReplicationPadding"} <= classes.keys()
    if both and not ends_with_tanh(graph):
        return (
            "texture-nets",
            "nn.InstanceNormalization with nn.SpatialReplicationPadding is texture_nets' generator",
        )
    return None


def pix2pix(opened: ModelFile, graph: Graph) -> tuple[str, str] | None:
    """pix2pix and CycleGAN build their generators with nngraph and end them with Tanh."""
    if opened.root.typename != "nn.gModule" or not ends_with_tanh(graph):
        return None
    why = "an nn.gModule from 3 to 3 planes that ends with Tanh"
    if "nn.InstanceNormalization" in histogram(opened.root):
        return "cyclegan", f"{why} and normalises each picture"
    return "pix2pix", why


def ends_with_tanh(graph: Graph) -> bool:
    """Whether the output is squashed to -1…1."""
    (output,) = leaves(graph.outputs)
    ends = [node.typename for node in graph.nodes if output in node.outputs]
    return ends in (["nn.Tanh"], ["cudnn.Tanh"])


def waifu2x(opened: ModelFile) -> tuple[str, str] | None:
    """waifu2x notes the number of channels on the model itself."""
    names = {1: "waifu2x-y", 3: "waifu2x-rgb"}
    channels = opened.root.get("w2nn_channels")
    if channels not in names:
        return None
    return names[int(channels)], f"the model has w2nn_channels = {int(channels)}"


def edsr(opened: ModelFile) -> tuple[str, str] | None:
    """NTIRE2017's nets take a mean off in their first layer and put it back in their last.

    The mean is that of a data set, times `opt.mulImg` (255 unless it was set): more than 1 only
    where levels are 0…255 (code/model/init.lua of LimBee/NTIRE2017).
    """
    modules = [module for _, module in submodules(opened.root) if "modules" not in module]
    before, after = (shift(modules[at]) for at in (0, -1))
    if before is None or after is None or not np.allclose(before, -after, rtol=1e-4):
        return None
    mean = ", ".join(f"{value:.5g}" for value in after)
    why = f"its first convolution takes {mean} off, which its last one puts back"
    if ((after > 1) & (after < 255)).all():
        return "edsr", f"{why}: a mean of levels in 0…255"
    if ((after > 0) & (after < 1)).all():
        return "plain", f"{why}: a mean of levels in 0…1"
    return None


def shift(module: TorchObject) -> Array | None:
    """What a 1×1 convolution adds to each of three planes, if it does nothing else."""
    weight, bias = module.get("weight"), module.get("bias")
    if not isinstance(weight, Tensor) or not isinstance(bias, Tensor) or weight.numel != 9:
        return None
    alone = np.array_equal(weight.array.reshape(3, 3), np.eye(3)) and bias.numel == 3
    return bias.array.reshape(-1) if alone and "Convolution" in module.typename else None


def sketch_simplification(opened: ModelFile) -> tuple[Preset, str] | None:
    """Its file has the mean and deviation of drawings beside the net (simplify.lua)."""
    root = opened.file.root
    if not isinstance(root, Table):
        return None
    mean, std = (root.get(name) for name in ("mean", "std"))
    if not (isinstance(mean, float) and isinstance(std, float) and 0 <= mean <= 1 and std > 0):
        return None
    preset = BUILT_IN["sketch-simplification"]
    side = PixelEncoding("grey", (0.0, 1.0), (mean,), (std,))
    why = f"the file has mean = {mean:.5g} and std = {std:.5g} beside a net of one plane"
    return replace(preset, input=side), why
