"""Modules that matter to gradients, rewards or augmentation, and hand their input on in evaluation.

Source: torch/nn L1Penalty.lua, GradientReversal.lua; rnn CopyGrad.lua, ZeroGrad.lua,
NormStabilizer.lua; dpnn CategoricalEntropy.lua, Reinforce*.lua, SimpleColorTransform.lua,
PCAColorTransform.lua; texture_nets src/utils.lua.
"""

from __future__ import annotations

from typing import Any

from porter.fields import Array
from porter.graph import Shape, Value
from porter.layer import Accepts, LayerMap
from porter.layout import Site
from porter.nested import Nested
from porter.options import Options
from porter.reader import TorchObject
from porter.registry import register, structure
from porter.walk.walker import Walk


@structure(
    "nn.L1Penalty",
    "nn.GradientReversal",
    "nn.CategoricalEntropy",
    "nn.CopyGrad",
    "nn.ZeroGrad",
    "nn.NormStabilizer",
    "nn.DummyGradOutput",
    "nn.GradNormalization",
    note="identity; changes gradients only",
)
def gradient_only(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The very same tensor: only the backward pass differs, and a port has its own."""
    walk.note("identity: changes gradients only")
    return x


@register(
    "nn.SimpleColorTransform",
    "nn.PCAColorTransform",
    note="identity; disturbs colours in training only",
)
class ColorTransform(LayerMap):
    """A copy of x: random offsets are added to the colours in training only."""

    accepts = Accepts.ELEMENTWISE

    def adapt(self, module: TorchObject, options: Options) -> None:
        if module.boolean("train"):
            self.notes += ("saved in training mode; ported as in evaluation",)

    def reference(self, x: Array) -> Array:
        return x.copy()

    def apply(self, tf: Any, x: Any, at: Site) -> Any:
        return x


@register(
    "nn.ReinforceBernoulli",
    "nn.ReinforceCategorical",
    "nn.ReinforceNormal",
    note="hands probabilities or means on; samples in training only",
)
class Reinforce(LayerMap):
    """A copy of the parameters of a distribution, which only training samples from.

    Probabilities for Bernoulli and Categorical; the mean for Normal, which may be given
    {mean, stdev}. With `stochastic` Torch samples in evaluation too; the port never does.
    """

    accepts = Accepts.ELEMENTWISE

    def adapt(self, module: TorchObject, options: Options) -> None:
        if module.boolean("stochastic") or module.boolean("train", True):
            self.notes += ("Torch would draw a sample; the port hands on the expected value",)

    def output_shape(self, x: Shape, stdev: Shape | None = None) -> Shape:
        self.require(
            stdev is None or self.typename == "nn.ReinforceNormal", "takes one tensor", x, stdev
        )
        return x

    def reference(self, x: Array, stdev: Array | None = None) -> Array:
        return x.copy()

    def apply(self, tf: Any, x: Any, stdev: Any = None, *, at: Site) -> Any:
        return x
