"""Whether a net runs in training or in evaluate mode, where its file and its scripts differ.

A training script saves its model with `train` set on every module, and the test script calls
`evaluate()` before the first picture. As saved, batch normalisation over a batch of one would
answer its bias whatever it is shown. So the mode is decided for each net, strongest first: the
user's `bn=`, the mode in which a recording was made, what the net's own project does.

Source: fb.resnet.torch test.lua, fast-neural-style fast_neural_style.lua and texture_nets test.lua
call `evaluate()`; pix2pix test.lua and CycleGAN test.lua do not, and run generators with the
statistics of the batch, nor do the scripts of texture_nets' first version (branch
texture_nets_v1, texture_sample.lua and stylization_process.lua), whose nets draw noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from porter.frontend.module_tree import parts, submodules
from porter.ir.options import BatchNormMode, Options
from porter.torch7 import TorchObject

RUN_AS_SAVED = ("pix2pix", "cyclegan")
"""Presets of projects whose test scripts never call `evaluate()`."""
NOISE = ("nn.NoiseFill", "nn.GenNoise")
"""In nets of the first version only: train.lua of the second makes none with noise."""
TANH = ("nn.Tanh", "cudnn.Tanh")
ENLARGING = "SpatialFullConvolution"
"""pix2pix models.lua builds every generator of it, in nn's or cuDNN's class."""


@dataclass(frozen=True)
class RunMode:
    """Options with `bn` decided, and a line for the user where the file leaves room for doubt."""

    options: Options
    warning: str = ""


def decide(
    root: TorchObject,
    options: Options,
    recorded: str | None = None,
    preset: str | None = None,
) -> RunMode:
    """The mode that a net is converted in. `recorded`: a recording's mode, `preset`: the user's."""
    if options.bn != "auto":
        return RunMode(options)
    trained = saved_in_training(root)
    if recorded in ("evaluate", "training"):
        mode: BatchNormMode = "evaluate" if recorded == "evaluate" else "train"
        return RunMode(replace(options, bn=mode), recorded_warning(root, mode, trained))
    if not trained:
        return RunMode(replace(options, bn="as-saved"))
    saved = f"{listed(trained)} was saved in training mode"
    reason = run_as_saved(root, preset)
    if reason:
        return RunMode(
            replace(options, bn="as-saved"),
            f"{saved}, and normalises with the statistics of each batch, as {reason}; "
            "`bn=evaluate` takes the running statistics",
        )
    return RunMode(
        replace(options, bn="evaluate"),
        f"{saved}; converted in evaluate mode, as {run_evaluated(root, preset)}; "
        "`bn=as-saved` takes the statistics of each batch",
    )


def batch_normalizations(root: TorchObject) -> list[tuple[str, TorchObject]]:
    """The modules that use running statistics, with their paths.

    Instance normalisations keep some as well, and run with a picture's own in either mode.
    """
    return [
        (path, module)
        for path, module in submodules(root)
        if "running_mean" in module and not module.typename.endswith("InstanceNormalization")
    ]


def saved_in_training(root: TorchObject) -> list[tuple[str, TorchObject]]:
    """Batch normalisations whose `train` is set."""
    return [each for each in batch_normalizations(root) if each[1].get("train") is True]


def run_as_saved(root: TorchObject, preset: str | None) -> str:
    """Why a net runs with the statistics of its batch, or nothing."""
    if preset is not None:
        return f"the preset {preset} does" if preset in RUN_AS_SAVED else ""
    leaves = [module for _, module in submodules(root) if not any(True for _ in parts(module))]
    names = [module.typename for module in leaves]
    generates = any(name.endswith(ENLARGING) for name in names)
    if "forwardnodes" in root and generates and names[-1] in TANH:
        return "pix2pix's generators do (an nn.gModule of convolutions that ends with Tanh)"
    noise = next((name for name in names if name in NOISE), None)
    if noise is not None:
        return f"generators of texture_nets' first version do ({noise} is a class of it)"
    return ""


def run_evaluated(root: TorchObject, preset: str | None) -> str:
    """Why a net runs in evaluate mode."""
    if preset is not None:
        return f"nets of the preset {preset} are run"
    last = [module for _, module in submodules(root)][-1].typename
    if last.endswith(("SoftMax", ".Linear")):
        return f"classifiers are run (the last layer is {last})"
    return "trained nets are run"


def recorded_warning(
    root: TorchObject, mode: BatchNormMode, trained: Sequence[tuple[str, TorchObject]]
) -> str:
    """What to say where a recording was made in another mode than the file was saved in."""
    if mode == "evaluate" and trained:
        return (
            f"{listed(trained)} was saved in training mode; converted in evaluate mode, as it was "
            "recorded; `bn=as-saved` takes the statistics of each batch"
        )
    evaluated = [each for each in batch_normalizations(root) if each[1].get("train") is not True]
    if mode == "train" and evaluated:
        return (
            f"{listed(evaluated)} was saved in evaluate mode; converted with the statistics of "
            "each batch, as it was recorded; `bn=evaluate` takes the running statistics"
        )
    return ""


def listed(modules: Sequence[tuple[str, TorchObject]]) -> str:
    """`nn.SpatialBatchNormalization at 2 (and 5 more)`."""
    path, module = modules[0]
    more = f" (and {len(modules) - 1} more)" if len(modules) > 1 else ""
    return f"{module.typename} at {path or 'the root'}{more}"


def recorded_otherwise(root: TorchObject, options: Options, recorded: str | None) -> str:
    """What to do where a recording was made in another mode than batch normalisation runs in."""
    normalizations = batch_normalizations(root)
    if recorded is None or not normalizations:
        return ""
    evaluate = recorded == "evaluate"
    differing = [each for each in normalizations if options.in_training(each[1]) == evaluate]
    if not differing:
        return ""
    mode = "evaluate" if evaluate else "train"
    return (
        f"the recording was made in {recorded} mode, and {listed(differing)} is in the other one "
        f"(`bn={options.bn}`): convert with `bn={mode}`"
    )
