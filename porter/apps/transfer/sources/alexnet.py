"""AlexNet as the `.npy` file knows it that Caffe's reference model was turned into.

Krizhevsky et al. 2012; the sizes are those of bvlc_alexnet's prototxt, whose normalisation follows
the rectifier and precedes the pooling.
"""

from __future__ import annotations

from collections.abc import Mapping

from porter.apps.transfer.network import (
    Convolution,
    Layer,
    Load,
    Network,
    Operation,
    Pool,
    Rectifier,
    ResponseNorm,
)

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")
KERNELS = {"conv1": 11, "conv2": 5, "conv3": 3, "conv4": 3, "conv5": 3}
PLACES = {  # stride, padding, groups
    "conv1": (4, 0, 1),
    "conv2": (1, 2, 2),
    "conv3": (1, 1, 1),
    "conv4": (1, 1, 2),
    "conv5": (1, 1, 2),
}
NORMALISED = ("conv1", "conv2")
POOLED = ("conv1", "conv2", "conv5")


def alexnet(convolutions: Mapping[str, Load]) -> Network:
    """The network of convolutions by name, up to the first that is missing."""
    layers: list[Layer] = []

    def add(name: str, operation: Operation) -> None:
        before = layers[-1].name if layers else "input"
        layers.append(Layer(name, operation, (before,)))

    for name in CONVOLUTIONS:
        if name not in convolutions:
            break
        stride, pad, groups = PLACES[name]
        number = name[-1]
        add(name, Convolution(convolutions[name], (stride, stride), (pad, pad), groups))
        add(f"relu{number}", Rectifier())
        if name in NORMALISED:
            add(f"norm{number}", ResponseNorm())
        if name in POOLED:
            add(f"pool{number}", Pool("max", (3, 3), (2, 2), ceil=True))
    return Network(tuple(layers))
