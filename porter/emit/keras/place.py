"""What a layer map's `keras` method is given: makes layers of Keras at one place of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from porter.emit.keras.network import Network

Pads = Sequence[Sequence[int]]
"""Elements before and behind each spatial axis."""


@dataclass(frozen=True)
class Place:
    """Makes layers named by one Torch path.

    `k("Dense", x, weights=[kernel, bias], units=10)` makes `keras.layers.Dense(units=10)` with
    these weights, which are `at.variable(…)` or None, in the order in which Keras lists them, and
    calls it. `part` names one of several layers that make up one of Torch. A method that finds no
    layer of Keras for what it holds returns None before it has made any.
    """

    network: Network
    path: str

    def __call__(
        self, kind: str, *inputs: Any, weights: Sequence[Any] = (), part: str = "", **config: Any
    ) -> Any:
        given = [weight for weight in weights if weight is not None]
        x = inputs[0] if len(inputs) == 1 else list(inputs)
        return self.network.call(self.path, kind, (x,), given, config, part)

    def padded(self, x: Any, pads: Pads) -> Any:
        """Zeros around the spatial axes of a channels-last batch; nothing where none are asked."""
        if not any(map(any, pads)):
            return x
        return self.around("ZeroPadding", x, pads, "pad")

    def cropped(self, x: Any, crops: Pads) -> Any:
        """Less elements along the spatial axes of a channels-last batch."""
        return self.around("Cropping", x, crops, "crop") if any(map(any, crops)) else x

    def around(self, kind: str, x: Any, pairs: Pads, part: str) -> Any:
        """ZeroPadding1D, Cropping2D and their like."""
        rank = len(pairs)
        amounts: Any = tuple((int(first), int(last)) for first, last in pairs)
        config: dict[str, Any] = {"cropping" if kind == "Cropping" else "padding": amounts}
        if rank == 1:
            (amounts,) = amounts
            config = dict.fromkeys(config, amounts)
        if rank > 1 or kind == "ZeroPadding":
            config["data_format"] = "channels_last"
        return self(f"{kind}{rank}D", x, part=part, **config)
