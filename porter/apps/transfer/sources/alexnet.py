"""AlexNet as the `.npy` file knows it that Caffe's reference model was turned into.

Krizhevsky et al. 2012; the sizes are those of bvlc_alexnet's prototxt, whose normalisation follows
the rectifier and precedes the pooling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from porter.apps.transfer.sources.module_source import Builders, Load, loaded_convolution
from porter.torch7 import TorchObject, build

CONVOLUTIONS = {  # stride, padding, groups
    "conv1": (4, 0, 1),
    "conv2": (1, 2, 2),
    "conv3": (1, 1, 1),
    "conv4": (1, 1, 2),
    "conv5": (1, 1, 2),
}
FIRST_KERNEL = 11
"""Width of AlexNet's `conv1`; other networks have another."""
NORMALISED = ("conv1", "conv2")
POOLED = ("conv1", "conv2", "conv5")


def alexnet(loads: Mapping[str, Load]) -> Builders:
    """The chain of convolutions by name, up to the first that is missing."""
    builders: dict[str, Callable[[], TorchObject]] = {}
    for name, geometry in CONVOLUTIONS.items():
        if name not in loads:
            break
        number = name[-1]
        builders |= {
            name: partial(loaded_convolution, name, loads[name], *geometry),
            f"relu{number}": build.relu,
        }
        if name in NORMALISED:
            builders[f"norm{number}"] = partial(build.cross_map_lrn, 5, 1e-4, 0.75, 1.0)
        if name in POOLED:
            builders[f"pool{number}"] = partial(build.max_pooling, (3, 3), (2, 2), ceil_mode=True)
    return builders
