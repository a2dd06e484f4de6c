"""Styles that no net was trained for: an encoder, statistics of a painting, a decoder.

The encoder is a VGG up to some layer, the decoder its mirror image, trained to make pictures of
such features. In between, the features of a photo get the statistics of a painting's:

    adain   mean and standard deviation of each plane
            (Huang and Belongie, Arbitrary Style Transfer in Real-time with Adaptive Instance
            Normalization, 2017; AdaIN-style test.lua and AdaptiveInstanceNormalization.lua)
    wct     mean and covariance (whitening.py)

No file holds that step; a script runs it. Here all becomes one module tree, with the painting's
statistics as parameters, which is then run like any other net. Several decoders follow one another,
each behind its own part of the encoder: WCT's go from relu5_1 to relu1_1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from porter.apps.stylize.memory import SMALL
from porter.apps.stylize.whitening import whitening_colouring, with_whitening
from porter.apps.transfer.sources.torch_file import input_of_preprocessing
from porter.errors import OutOfMemory, UsageError
from porter.frontend.model_file import ModelFile, open_model
from porter.frontend.module_tree import parts, require_mapped, submodules
from porter.frontend.run_mode import decide
from porter.frontend.walker import Model
from porter.imaging.photos import read_image
from porter.imaging.pixels import levels_to_numbers
from porter.imaging.presets import BUILT_IN, find
from porter.ir.fields import Array
from porter.ir.graph import TensorType
from porter.ir.layout import plan
from porter.ir.nested import leaves
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.runtime import memory
from porter.system.suggestions import did_you_mean
from porter.torch7 import TorchObject, build

EPS = 1e-5
"""What AdaptiveInstanceNormalization.lua adds to the variance of the photo's features."""


def adaptive_normalization(style: Array) -> TorchObject:
    """nn.AdaptiveInstanceNormalization for the style's features C×h×w, whose std is biased.

    With the style fixed it is an instance normalisation with weight and bias.
    """
    exact = style.astype(np.float64)
    return build.torch_module(
        "nn.InstanceNormalization",
        nOutput=len(style),
        eps=EPS,
        weight=exact.std((1, 2)).astype(np.float32),
        bias=exact.mean((1, 2)).astype(np.float32),
    )


TRANSFORMS: dict[str, Callable[[Array], TorchObject]] = {
    "adain": adaptive_normalization,
    "wct": whitening_colouring,
}


@dataclass(frozen=True)
class ArbitraryStyle:
    """What stands beside the decoder that is run.

    `then` are more decoders, each for the picture of the one before. `alpha` is the part of the
    painting's statistics in the features, the rest are the photo's own. `size` is the painting's
    longer side in pixels (default: its own).
    """

    encoder: Path
    painting: Path
    transform: str = "adain"
    alpha: float = 1.0
    then: tuple[Path, ...] = ()
    size: int | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All that the pictures depend on besides the first decoder."""
        return (self.encoder, self.painting, *self.then)

    def absolute(self) -> ArbitraryStyle:
        """The same from any working directory."""
        encoder, painting, *then = (path.absolute() for path in self.files)
        return replace(self, encoder=encoder, painting=painting, then=tuple(then))


def arbitrary_style(
    encoder: Path | None,
    painting: Path | None,
    transform: str = "adain",
    alpha: float = 1.0,
    then: Sequence[Path] = (),
    size: int | None = None,
) -> ArbitraryStyle | None:
    """The style that arguments ask for; None where there is none. Raises UsageError."""
    if encoder is None or painting is None:
        others = (transform, alpha, tuple(then), size) != ("adain", 1.0, (), None)
        if encoder is not None or painting is not None or others:
            raise UsageError(
                "a style that the net was not trained for needs an encoder and a painting",
                hint="add `encoder=vgg_normalised.t7` and `style=PAINTING`; the model is then the "
                "decoder",
            )
        return None
    if transform not in TRANSFORMS:
        raise UsageError(
            f"there is no transform '{transform}'{did_you_mean([transform], TRANSFORMS)}",
            hint="transforms: " + ", ".join(TRANSFORMS),
        )
    if not 0 <= alpha <= 1:
        raise UsageError("`alpha=` is between 0, the photo, and 1", received=f"{alpha:g}")
    if size is not None and size < 1:
        raise UsageError("`style_size=` is at least 1", received=str(size))
    return ArbitraryStyle(encoder, painting, transform, alpha, tuple(then), size)


def assembled(
    decoder: ModelFile, style: ArbitraryStyle, options: Options, preset: str | None
) -> tuple[ModelFile, str, str]:
    """The decoder's file with the whole net as its root, the preset for it, and what it does.

    Raises T7Error, UnreadablePicture, and UsageError for nets that do not go together.
    """
    registry = with_whitening(decoder.registry)
    encoder = build.renumbered(open_model(style.encoder, registry).root)
    require_takes_pictures(style.encoder, encoder)
    preset = preset or preset_of(style.encoder, encoder)
    painting = read_image(style.painting, style.size).pixels[None]
    x = levels_to_numbers(painting, find(preset).input).transpose(0, 3, 1, 2)
    decoders = [(Path(decoder.file.path), decoder.root)]
    decoders += [(path, open_model(path, registry).root) for path in style.then]
    modules: list[TorchObject] = []
    cuts = []
    for path, root in decoders:
        part, last = mirrored(encoder, root)
        cuts.append(f"1-{last}")
        require_planes(path, root, style.encoder, part)
        transform = TRANSFORMS[style.transform](features(part, x, registry, options))
        modules += [part, blended(transform, style.alpha), build.renumbered(root)]
    whole = replace(decoder, root=build.sequential(*modules), registry=registry)
    share = "" if style.alpha == 1 else f", alpha {style.alpha:g}"
    what = f"{style.transform} of {style.painting.name}{share}"
    return whole, preset, f"{what}, by modules {', '.join(cuts)} of {style.encoder.name}"


def features(root: TorchObject, x: Array, registry: Registry, options: Options) -> Array:
    """What an encoder makes of one picture 1×3×H×W: C×h×w, in bands where that is large.

    Raises WalkError, and OutOfMemory for a picture that does not fit in bands either.
    """
    from porter.apps.stylize.bands import Bands
    from porter.runtime.runner import Variables, load, run, store

    require_mapped(root, registry)
    graph = Model(root, registry, decide(root, options).options).walk(TensorType(x.shape))
    variables = Variables()
    if x[0, 0].size > SMALL:
        bands, free = Bands(graph, variables), memory.available()
        rows = bands.rows_within(math.inf if free is None else free)
        if rows is None:
            height, width = x.shape[2:]
            raise OutOfMemory(
                f"a painting of {height}×{width} does not fit into memory",
                hint="make it smaller: `style_size=1024`",
            )
        in_bands: Array = bands.run(x.transpose(0, 2, 3, 1), rows)[0].transpose(2, 0, 1)
        return in_bands
    planned = plan(graph)
    (picture,), (output,) = leaves(planned.graph.inputs), leaves(planned.graph.outputs)
    stored = store(x, picture, planned.inputs[picture.id], variables.precision)
    output_tensor = run(planned, {picture.id: stored}, variables)[output.id]
    computed: Array = load(output_tensor, planned.outputs[output.id])[0]
    return computed


def blended(transform: TorchObject, alpha: float) -> TorchObject:
    """A transform of features, mixed with the features themselves."""
    if alpha == 1:
        return transform

    def share(factor: float) -> TorchObject:
        return build.torch_module("nn.MulConstant", constant_scalar=factor, inplace=False)

    both = build.concat_table(build.sequential(transform, share(alpha)), share(1 - alpha))
    return build.sequential(both, build.torch_module("nn.CAddTable", inplace=False))


# Encoders and their decoders ----------------------------------------------------------------------


def filters_of(root: TorchObject) -> list[TorchObject]:
    """The convolutions of a net that see more than one pixel, in the order of the file."""
    return [
        module
        for _, module in submodules(root)
        if "Convolution" in module.typename and (module.get("kW"), module.get("kH")) != (1, 1)
    ]


def mirrored(encoder: TorchObject, decoder: TorchObject) -> tuple[TorchObject, int]:
    """The part of an encoder that a decoder turns back, and the number of its last module.

    A decoder has a convolution for each of the encoder's (AdaIN-style train.lua builds it so): the
    part ends with the rectifier behind the last of these, relu4_1 for AdaIN's published decoder.
    """
    count, children = len(filters_of(decoder)), [child for _, child in parts(encoder)]
    if not encoder.typename.endswith(".Sequential"):
        return encoder, len(children)
    before = itertools.accumulate(len(filters_of(child)) for child in children)
    last = next((n for n, each in enumerate(before, start=1) if each >= count), len(children))
    last += last < len(children) and "LU" in children[last].typename
    return build.sequential(*children[:last]), last


def preset_of(path: Path, encoder: TorchObject) -> str:
    """How an encoder takes pictures. Raises UsageError where it does not tell."""
    if input_of_preprocessing(encoder) == BUILT_IN["plain"].input:
        return "plain"
    raise UsageError(
        f"{path.name} does not tell how pictures become its numbers",
        hint="AdaIN's and WCT's encoders (vgg_normalised.t7) begin with a 1×1 convolution that "
        "takes RGB in 0…1; say with `preset=` what this one takes, and what the decoder makes",
    )


def require_takes_pictures(path: Path, encoder: TorchObject) -> None:
    """Raise UsageError for a net that takes no picture: a decoder, say."""
    first = next((each for _, each in submodules(encoder) if each.get("nInputPlane")), None)
    planes = None if first is None else first.get("nInputPlane")
    if planes != 3:
        raise UsageError(
            f"{path.name} is no encoder of pictures",
            received="a net without convolutions"
            if planes is None
            else f"a net that takes {planes:g} planes",
            hint="`encoder=` names the VGG, the model is the decoder",
        )


def require_planes(
    path: Path, decoder: TorchObject, encoder_path: Path, encoder: TorchObject
) -> None:
    """Raise UsageError for a decoder of other features than the encoder makes."""
    read, written = filters_of(decoder), filters_of(encoder)
    if not read or not written:
        raise UsageError(f"{(encoder_path if read else path).name} has no convolutions")
    expected, received = read[0].get("nInputPlane"), written[-1].get("nOutputPlane")
    if expected != received or len(read) != len(written):
        raise UsageError(
            f"{path.name} is no decoder for {encoder_path.name}",
            received=f"a decoder of {len(read)} convolutions from {expected:g} planes; the encoder "
            f"makes {received:g} planes behind {len(written)}",
            hint="both come from one project: decoder.t7 goes with vgg_normalised.t7, "
            "feature_invertor_conv4_1.t7 with vgg_normalised_conv4_1.t7",
        )
