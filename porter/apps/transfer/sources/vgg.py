"""VGG as weight files know it: convolutions by name, and nothing of what lies between them.

Simonyan and Zisserman 2014: blocks of 3×3 convolutions with a zero of padding around, each followed
by a rectifier; after every block a maximum over 2×2. `conv4_2` is the convolution's own output,
`relu4_2` what the rectifier makes of it. Files give the convolutions; the widths are theirs, so a
slim VGG is one too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

from porter.apps.transfer.sources.module_source import (
    Load,
    ModuleSource,
    chain,
    loaded_convolution,
)
from porter.imaging.presets import PixelEncoding
from porter.torch7 import TorchObject, build

CONVOLUTION = re.compile(r"(?:conv(\d+)_(\d+)|block(\d+)_conv(\d+))$")
BLOCKS: dict[tuple[int, ...], str] = {(2, 2, 3, 3, 3): "VGG-16", (2, 2, 4, 4, 4): "VGG-19"}
Place = tuple[int, int]
"""A convolution's block, and its number in it."""


def place(name: str) -> Place | None:
    """Block and number of a convolution called `conv4_2` or `block4_conv2`."""
    match = CONVOLUTION.match(name)
    if match is None:
        return None
    block, number = (int(group) for group in match.groups() if group is not None)
    return block, number


def places(numbers: list[int]) -> list[Place]:
    """Blocks and numbers of convolutions that have these numbers among all layers, in order.

    One other layer lies between two convolutions of a block, a pooling too between two blocks.
    """
    found: list[Place] = []
    for before, number in zip([None, *numbers], numbers, strict=False):
        block, index = found[-1] if found else (1, 0)
        same_block = before is None or number - before == 2
        found.append((block, index + 1) if same_block else (block + 1, 1))
    return found


def title(places: list[Place]) -> str:
    """`VGG-19's layers`, or those of another VGG."""
    counts = tuple(sum(block == b for block, _ in places) for b in range(1, max(places)[0] + 1))
    name = BLOCKS.get(counts)
    return f"{name}'s layers" if name else f"a VGG of {'+'.join(map(str, counts))} convolutions"


def complete(places: list[Place]) -> list[Place]:
    """The convolutions that can be run: those before the first one that is missing."""
    saved, runnable = set(places), []
    block, number = 1, 1
    while (block, number) in saved:
        runnable.append((block, number))
        block, number = (block, number + 1) if (block, number + 1) in saved else (block + 1, 1)
    return runnable


def vgg(loads: Mapping[Place, Load], what: str, preprocessing: PixelEncoding) -> ModuleSource:
    """The network of convolutions by block and number.

    Keras's layers hold their rectifier: `block1_conv1` is another name of `relu1_1`.
    """
    builders: dict[str, Callable[[], TorchObject]] = {}
    aliases: dict[str, str] = {}
    places = complete(list(loads))
    for (block, number), following in zip(places, [*places[1:], None], strict=True):
        convolution, rectifier = f"conv{block}_{number}", f"relu{block}_{number}"
        builders[convolution] = partial(
            loaded_convolution, convolution, loads[block, number], pad=1
        )
        builders[rectifier] = build.relu
        aliases[f"block{block}_conv{number}"] = rectifier
        if following is None or following[0] != block:
            builders[f"pool{block}"] = partial(build.max_pooling, (2, 2), (2, 2))
            aliases[f"block{block}_pool"] = f"pool{block}"
    return ModuleSource(what, preprocessing, (*builders, *aliases), chain(builders), aliases)
