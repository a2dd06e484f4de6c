"""Passes that make the exported graph faster: plain functions Graph → Graph.

Parity is proven layer by layer on the plain graph. The exported graph is then optimised, and after
it was loaded again it is compared with the same oracle, in the same tolerances.

    none    the layers as they were verified
    exact   other operations for the same arithmetic: errors stay at float32 rounding
    fast    also other arithmetic where that pays off: Winograd convolutions

Both graphs read the same kernels, those of the checkpoint: nothing is folded into a weight.
"""

from __future__ import annotations

from porter.ir.graph import Graph, verify
from porter.passes.affine import fuse_fixed_normalizations
from porter.passes.borders import gather_borders
from porter.passes.fold import drop_identities
from porter.passes.matrix_deconvolution import multiply_deconvolutions
from porter.passes.normalization import fuse_normalizations
from porter.passes.prelu import simplify_slopes
from porter.passes.subpixel_conv import widen_few_planes
from porter.passes.subpixel_deconv import widen_few_deconvolved_planes
from porter.passes.winograd import convolve_by_winograd
from porter.passes.winograd_products import multiply_convolutions
from porter.passes.winograd_regions import stay_in_tiles

LEVELS = ("none", "exact", "fast")
STRAIGHT = (
    gather_borders,
    widen_few_planes,
    widen_few_deconvolved_planes,
    multiply_deconvolutions,
    simplify_slopes,
)
"""Those of EXACT that choose nothing when the graph runs, for graphs of constants."""
EXACT = (drop_identities, fuse_normalizations, fuse_fixed_normalizations, *STRAIGHT)
FAST = (convolve_by_winograd, stay_in_tiles)
STRAIGHT_FAST = (multiply_convolutions,)
"""What FAST is for those: filters are transformed beforehand, where images have one size."""


def optimize(graph: Graph, level: str = "exact") -> Graph:
    """`graph` optimised for speed; unchanged at level "none"."""
    if level == "none":
        return graph
    for rewrite in EXACT + FAST if level == "fast" else EXACT:
        graph = rewrite(graph)
    verify(graph)
    return graph


def optimize_constants(graph: Graph, level: str = "exact") -> Graph:
    """A fused graph (fold.py) optimised for weights that are constants: no branches, no loops."""
    if level == "none":
        return graph
    for rewrite in STRAIGHT + STRAIGHT_FAST if level == "fast" else STRAIGHT:
        graph = rewrite(graph)
    verify(graph)
    return graph
