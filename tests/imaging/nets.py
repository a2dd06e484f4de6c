"""Nets of images that several tests look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from porter.frontend.model_file import ModelFile, open_model
from porter.frontend.search import solve
from porter.imaging.image_spec import ImageSpec, image_spec_of
from porter.layer_maps import default_registry
from porter.torch7 import TorchObject
from tests.build import FIXTURES, conv, relu, sequential, torch_module, view
from tests.write_t7 import write_t7

OILPAINT = FIXTURES / "trained" / "oilpaint"


def full_conv(planes: int, outputs: int, pad: int = 1) -> TorchObject:
    """nn.SpatialFullConvolution that doubles height and width: kernel 4, stride 2."""
    kernel = 4
    random = np.random.default_rng(9)
    return torch_module(
        "nn.SpatialFullConvolution",
        nInputPlane=planes,
        nOutputPlane=outputs,
        **dict.fromkeys(("kW", "kH"), kernel),
        **dict.fromkeys(("dW", "dH"), 2),
        **dict.fromkeys(("padW", "padH"), pad),
        weight=random.standard_normal((planes, outputs, kernel, kernel)).astype(np.float32) / 8,
        bias=np.zeros(outputs, np.float32),
    )


def waifu2x() -> TorchObject:
    """A net as waifu2x builds its upconv_7: twice as large, 4 rows eaten, flattened at the end."""
    net = sequential(conv(3, 4, 3, seed=1), relu(), full_conv(4, 3, pad=3), view(-1, sample_rank=3))
    net.fields["w2nn_channels"] = 3.0
    return net


def skipping() -> TorchObject:
    """A net with a skip connection around one halving: it takes even sizes only."""
    halved = sequential(conv(3, 4, 4, pad=1, stride=2, seed=2), relu(), full_conv(4, 3))
    both = torch_module("nn.ConcatTable", modules=[torch_module("nn.Identity"), halved])
    return sequential(both, torch_module("nn.CAddTable"))


def opened(root: TorchObject, folder: Path) -> ModelFile:
    """A net, written and read again."""
    return open_model(write_t7(folder / "net.t7", root), default_registry())


def meaning_for(file: ModelFile, choice: str | None = None) -> ImageSpec | None:
    """What the pictures of a file mean."""
    model = file.model()
    return image_spec_of(file, model, solve(model), choice)
