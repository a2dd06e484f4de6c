"""VGG as weight files know it: convolutions by name, and nothing of what lies between them.

Simonyan and Zisserman 2014: blocks of 3×3 convolutions with a zero of padding around, each followed
by a rectifier; after every block a maximum over 2×2. `conv4_2` is the convolution's own output,
`relu4_2` what the rectifier makes of it. Files give the convolutions; the widths are theirs, so a
slim VGG is one too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from porter.apps.transfer.network import Convolution, Layer, Load, Network, Pool, Rectifier

CONVOLUTION = re.compile(r"(?:conv(\d+)_(\d+)|block(\d+)_conv(\d+))$")
BLOCKS: dict[tuple[int, ...], str] = {(2, 2, 3, 3, 3): "VGG-16", (2, 2, 4, 4, 4): "VGG-19"}
INPUT = "input"


def place(name: str) -> tuple[int, int] | None:
    """Block and number of a convolution called `conv4_2` or `block4_conv2`."""
    found = CONVOLUTION.match(name)
    if found is None:
        return None
    block, number = (int(each) for each in found.groups() if each is not None)
    return block, number


def title(places: list[tuple[int, int]]) -> str:
    """`VGG-19`, or what there is of a VGG."""
    counts = tuple(sum(block == b for block, _ in places) for b in range(1, max(places)[0] + 1))
    known = BLOCKS.get(counts)
    return f"{known}'s layers" if known else f"a VGG of {'+'.join(map(str, counts))} convolutions"


def complete(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The convolutions that can be run: those before the first one that is missing."""
    there, run = set(places), []
    block, number = 1, 1
    while (block, number) in there:
        run.append((block, number))
        block, number = (block, number + 1) if (block, number + 1) in there else (block + 1, 1)
    return run


def vgg(convolutions: Mapping[tuple[int, int], Load]) -> Network:
    """The network of convolutions by block and number."""
    layers: list[Layer] = []
    aliases: dict[str, str] = {}
    last, before = INPUT, 1
    for block, number in complete(list(convolutions)):
        if block != before:
            layers.append(Layer(f"pool{before}", Pool(), (last,)))
            aliases[f"block{before}_pool"] = last = f"pool{before}"
            before = block
        made = f"conv{block}_{number}"
        layers.append(Layer(made, Convolution(convolutions[block, number], pad=(1, 1)), (last,)))
        last = f"relu{block}_{number}"
        layers.append(Layer(last, Rectifier(), (made,)))
        # Keras's layers hold their rectifier.
        aliases[f"block{block}_conv{number}"] = last
    if layers:
        layers.append(Layer(f"pool{before}", Pool(), (last,)))
        aliases[f"block{before}_pool"] = f"pool{before}"
    return Network(tuple(layers), aliases)
