"""What a layer map may know beyond its meaning: small classes that it inherits to opt in.

    class ReLU(LayerMap, HasKerasLayer): ...

A client asks `isinstance(op, HasKerasLayer)`; a map that does not inherit a class needs no default
for it. Every method may still decline with None (or False) for an instance that it does not fit.

    HasKerasLayer      emit/keras: the layer as layers of Keras
    Skippable          passes: may hand on its input as it is
    LinearInPlanes     passes: each output plane is linear in its part of the weight
    AffinePerPlane     passes: scales and shifts each plane
    NormalizesPlanes   passes: normalises each plane
    BySample           passes: whether samples of a batch are computed one by one
    HintsInput         frontend: what the layer must be fed; HintsInputs: each of its inputs
    TakesIndices       frontend: the largest index that it can be fed
    MakesBatch         frontend: turns the caller's own tensor into a batch of one
    Mergeable          ir/merge.py: differs between two walks in more than sizes of values
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from porter.ir.fields import Array, Param
from porter.ir.graph import TensorType


class HasKerasLayer(abc.ABC):
    """Keras has the layer, or layers that it is made of."""

    @abc.abstractmethod
    def keras(self, k: Any, *inputs: Any, **at: Any) -> Any:
        """The outputs, by layers that `k(name, *tensors, weights=…, **config)` creates.

        None where this instance has no counterpart: then the layer is written from `apply`, in
        keras.ops.
        """


class Skippable(abc.ABC):
    """The layer may do nothing in evaluation."""

    @abc.abstractmethod
    def is_identity(self) -> bool:
        """Whether the output holds the numbers of the only input, whatever they are."""


class LinearInPlanes(abc.ABC):
    """Plane o of the output is `bias[o]` plus something linear in `weight` at o, its axis O."""

    @abc.abstractmethod
    def plane_axis(self, output: TensorType) -> int | None:
        """The axis of the output that counts its planes."""


class AffinePerPlane(abc.ABC):
    """Each plane on axis 1 is scaled and shifted by constants."""

    @abc.abstractmethod
    def per_plane_affine(self) -> tuple[Array, Array] | None:
        """Scale and shift of every plane, in float64."""


@dataclass(frozen=True)
class PlaneNormalization:
    """y = (x - mean) / sqrt(var + eps) · weight + bias for each plane on axis 1.

    `mean` and `variance` are kept from training, or None: then they are each plane's own, of every
    sample by itself, or `over_batch`.
    """

    weight: Param | None
    bias: Param | None
    eps: float
    mean: Param | None = None
    variance: Param | None = None
    over_batch: bool = False


class NormalizesPlanes(abc.ABC):
    """The layer normalises each plane."""

    @abc.abstractmethod
    def plane_normalization(self) -> PlaneNormalization | None:
        """By what it normalises batches."""


class BySample(abc.ABC):
    """The layouts that the map accepts do not tell whether it computes sample by sample."""

    @abc.abstractmethod
    def is_by_sample(self) -> bool:
        """Whether each sample of a batch of images depends on that sample of the inputs alone."""


class HintsInputs(abc.ABC):
    """The layer knows what its inputs must be, where they are a model's own."""

    @abc.abstractmethod
    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        """What input `position` must be, where the others are known as far as `inputs` says."""


class HintsInput(HintsInputs):
    """The layer knows what its first input must be."""

    @abc.abstractmethod
    def input_hint(self) -> TensorType | None:
        """Type of the input; None marks a free size."""

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        return self.input_hint() if position == 0 else None


class TakesIndices(abc.ABC):
    """The layer reads an input as indices."""

    @abc.abstractmethod
    def index_limit(self, position: int, inputs: Sequence[TensorType]) -> int | None:
        """The largest index that input `position` may hold; None if it holds no indices."""


class MakesBatch(abc.ABC):
    """Torch may resize the caller's own tensor to a batch of one (addSingletonDimension)."""

    @abc.abstractmethod
    def makes_batch(self, x: TensorType) -> bool:
        """Whether it does so with an input of this type."""


class Mergeable(abc.ABC):
    """Two instances may stand for one layer although their fields differ."""

    @abc.abstractmethod
    def merged(self, other: object) -> Any:
        """One layer map for both, of two walks with different sizes; None if that cannot be."""
