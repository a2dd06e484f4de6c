"""Optional capabilities of layer maps: small classes that a map inherits to opt in.

    class ReLU(LayerMap, HasKerasLayer): ...

Clients test `isinstance(op, HasKerasLayer)`, so that a map without a capability needs no default
for it. Every method may still return None (or False) for an instance that it does not apply to.

    HasKerasLayer      emit/keras: the layer as Keras layers
    Skippable          passes: may pass its input on unchanged
    LinearInPlanes     passes: each output plane is linear in its slice of the weight
    AffinePerPlane     passes: scales and shifts each plane
    NormalizesPlanes   passes: normalises each plane
    HasSlopes          passes: multiplies negative numbers by a slope of their plane
    BySample           passes: whether samples of a batch are computed one by one
    HasReach           apps: which rows of an image a row of the output is computed from
    HintsInput         frontend: the type of the layer's input (HintsInputs: of each input)
    TellsInput         frontend: what its input is follows from its output
    TakesIndices       frontend: the largest index that it accepts
    ShiftsIndices      frontend: adds an integer to indices
    MakesBatch         frontend: turns the caller's own tensor into a batch of one
    KeepsFirstInput    frontend: computes by what the module met at its first call
    MakesTable         frontend: gives the slices of its input as a table
    ReadsTable         frontend: reads a table that may be of any length
    Mergeable          ir/merge.py: differs between two walks in more than sizes of values
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from porter.ir.fields import Array, Param
from porter.ir.graph import Node, TensorType
from porter.ir.reach import POINTWISE, Reach


class HasKerasLayer(abc.ABC):
    """Keras has the layer, or layers that it can be composed of."""

    @abc.abstractmethod
    def keras(self, k: Any, *inputs: Any, **at: Any) -> Any:
        """The outputs, by layers that `k(name, *tensors, weights=…, **config)` creates.

        None where this instance has no counterpart: the layer is then generated from `apply`, in
        keras.ops.
        """


class Skippable(abc.ABC):
    """The layer may do nothing in evaluation."""

    @abc.abstractmethod
    def is_identity(self) -> bool:
        """Whether the output always equals the only input."""


class LinearInPlanes(abc.ABC):
    """Plane o of the output is `bias[o]` plus a linear function of `weight`[…, o, …] on axis O."""

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

    `mean` and `variance` are running statistics, or None: then they are computed from each plane,
    per sample or `over_batch`.
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
        """The statistics and parameters that it normalises batches by."""


class HasSlopes(abc.ABC):
    """x where it is positive, else slope · x."""

    @abc.abstractmethod
    def slopes(self) -> Param | None:
        """One slope, or one for each plane on axis 1."""


class BySample(abc.ABC):
    """For maps whose accepted layouts do not imply whether samples are independent."""

    @abc.abstractmethod
    def is_by_sample(self) -> bool:
        """Whether each sample of a batch of images depends on that sample of the inputs alone."""


class HasReach(abc.ABC):
    """For maps that compute rows of images from some rows of their inputs, wherever these lie.

    Maps that compute each element by itself (`Accepts.ELEMENTWISE`) need not tell.
    """

    @abc.abstractmethod
    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach | None:
        """The reach along axis 2 or 3 of N×C×H×W; None where a row needs all of an input."""


def reach_of(node: Node, axis: int) -> Reach | None:
    """The reach of a node along axis 2 or 3 (Torch's) of images N×C×H×W, the same for all inputs.

    None where rows need all of an input, or are drawn at random.
    """
    op, types = node.op, [value.type for value in (*node.inputs, *node.outputs)]
    are_images = bool(node.inputs) and all(type.rank == 4 for type in types)
    if not are_images or op.draws or len({value.shape[axis] for value in node.inputs}) > 1:
        return None
    if isinstance(op, HasReach):
        return op.reach(axis, [value.type for value in node.inputs])
    by_element = op.accepts.value == "elementwise" and len({type.static for type in types}) == 1
    return POINTWISE if by_element or (isinstance(op, Skippable) and op.is_identity()) else None


class HintsInputs(abc.ABC):
    """The layer knows the types that its inputs must have, where they are inputs of the model."""

    @abc.abstractmethod
    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        """The type of input `position`; `inputs` are the types of all, None where unknown."""


class HintsInput(HintsInputs):
    """The layer knows the type that its first input must have."""

    @abc.abstractmethod
    def input_hint(self) -> TensorType | None:
        """Type of the input; None marks a free size."""

    def input_hint_at(
        self, position: int, inputs: Sequence[TensorType | None]
    ) -> TensorType | None:
        return self.input_hint() if position == 0 else None


class TellsInput(abc.ABC):
    """The layer adds, drops or moves axes, and leaves the others as they are."""

    @abc.abstractmethod
    def input_of(self, output: TensorType) -> TensorType | None:
        """The type of the input behind an output, None for sizes that do not follow from it."""


class TakesIndices(abc.ABC):
    """The layer reads an input as indices."""

    @abc.abstractmethod
    def index_limit(self, position: int, inputs: Sequence[TensorType]) -> int | None:
        """The largest index that input `position` may hold; None if it holds no indices."""

    def least_index(self) -> int | None:
        """The smallest index; Lua counts from 1. None where Torch takes smaller ones, too."""
        return 1


class ShiftsIndices(abc.ABC):
    """The layer adds a number to its input, which may make indices that count from 1 of others."""

    @abc.abstractmethod
    def shift(self) -> int | None:
        """The integer that is added to each number; None if it adds something else."""


class MakesBatch(abc.ABC):
    """Torch may resize the caller's own tensor to a batch of one (addSingletonDimension)."""

    @abc.abstractmethod
    def makes_batch(self, x: TensorType) -> bool:
        """Whether it does so with an input of this type."""


class MakesTable(abc.ABC):
    """The outputs are all slices of the only input across one axis."""

    @abc.abstractmethod
    def table_axis(self) -> int:
        """The axis of the input that is as long as the table."""


class ReadsTable(abc.ABC):
    """The layer may read a table of any length."""

    @abc.abstractmethod
    def on_stacked(self) -> Any:
        """The layer map that computes the same of the tensors stacked in front; None for none."""


class KeepsFirstInput(abc.ABC):
    """Torch's module sets a field at its first call, by which it computes ever after."""

    @abc.abstractmethod
    def met(self, first: TensorType) -> Any:
        """The layer once the module was called with an input of this type; itself where equal."""


class Mergeable(abc.ABC):
    """Two instances may represent one layer although their fields differ."""

    @abc.abstractmethod
    def merged(self, other: object) -> Any:
        """One layer map for both, of two walks with different sizes; None if that is impossible."""
