"""The preset that a Torch file implies: by its checkpoint, or by classes of one project only.

Nothing is guessed: an ImageNet classifier, for example, looks the same whether it was trained on
RGB in 0…1 or on Caffe's BGR.
"""

from __future__ import annotations

from porter.frontend.model_file import ModelFile
from porter.frontend.module_tree import histogram
from porter.imaging.geometry import output_image
from porter.imaging.presets import BUILT_IN, Preset
from porter.ir.graph import Graph
from porter.ir.nested import leaves
from porter.torch7 import Table

FAST_NEURAL_STYLE = ("nn.ShaveImage", "nn.TotalVariation")
"""Classes that only fast-neural-style has."""


def detect(opened: ModelFile, graph: Graph) -> tuple[Preset, str] | None:
    """A preset and the reason for it, or None. `graph` is the net walked with an image."""
    detected = waifu2x(opened) if "w2nn_channels" in opened.root else None
    if detected is None and planes(graph) == (3, 3):
        detected = (
            fast_neural_style(opened) or texture_nets(opened, graph) or pix2pix(opened, graph)
        )
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
