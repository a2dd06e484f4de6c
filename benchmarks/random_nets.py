"""Nets with random weights, where no recording of Torch7 is large enough to be timed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from porter.torch7.build import Modules, concat_table
from porter.torch7.writer import write_t7

PLANES = 64
BLOCKS = 6
HIDDEN = 256


def super_resolution(path: Path) -> None:
    """Residual blocks without normalisation, then twice as large: in the manner of EDSR."""
    make = Modules(2)

    def conv(planes: int, outputs: int) -> Any:
        layer = make.convolution(planes, outputs, 3)
        layer.fields |= {"padW": 1.0, "padH": 1.0}
        return layer

    def block() -> Any:
        inside = make.sequential(conv(PLANES, PLANES), make.relu(True), conv(PLANES, PLANES))
        both = make.complete(concat_table(inside, make.module("nn.Identity")))
        return make.sequential(both, make.module("nn.CAddTable", inplace=False))

    blocks = [block() for _ in range(BLOCKS)]
    ends = [conv(PLANES, PLANES), make.relu(True), conv(PLANES, 3)]
    write_t7(path, make.sequential(conv(3, PLANES), *blocks, make.upsampling(), *ends))


def lstm(path: Path) -> None:
    """Two layers over sequences, as steps × samples × numbers."""
    make = Modules(3)
    layers = (make.lstm(inputs, HIDDEN, batch_first=False) for inputs in (128, HIDDEN))
    write_t7(path, make.sequential(*layers))
