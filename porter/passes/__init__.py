"""The same function in faster operations, for what is served: plain functions Graph → Graph.

Parity is proven layer by layer on the plain graph. What is emitted then runs the rewritten one, and
is compared with the same oracle, in the same tolerances, after it was loaded again.

    none    the layers as they were compared
    exact   other operations for the same arithmetic: errors stay what float32 rounding makes them
    fast    also other arithmetic where that pays: Winograd's convolutions

Both graphs read the same variables, the checkpoint's: nothing is folded into a weight.
"""

from __future__ import annotations

from porter.ir.graph import Graph, verify
from porter.passes.affine import fuse_fixed_normalizations
from porter.passes.borders import gather_borders
from porter.passes.fold import drop_identities
from porter.passes.normalization import fuse_normalizations
from porter.passes.subpixel_conv import widen_few_planes
from porter.passes.winograd import convolve_by_winograd
from porter.passes.winograd_regions import stay_in_tiles

LEVELS = ("none", "exact", "fast")
EXACT = (
    drop_identities,
    fuse_normalizations,
    fuse_fixed_normalizations,
    gather_borders,
    widen_few_planes,
)
FAST = (convolve_by_winograd, stay_in_tiles)


def optimize(graph: Graph, level: str = "exact") -> Graph:
    """`graph` rewritten for speed; as it is at level "none"."""
    if level == "none":
        return graph
    for rewrite in EXACT + FAST if level == "fast" else EXACT:
        graph = rewrite(graph)
    verify(graph)
    return graph
