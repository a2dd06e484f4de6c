"""What every weight file is to a descriptor, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from porter.imaging.presets import PixelEncoding
from porter.ir.options import Options
from porter.ir.registry import Registry

Features = Callable[[Any], dict[str, Any]]
"""Features N×h×w×C by layer name, of the network's own numbers N×H×W×C."""


class DescriptorSource(Protocol):
    """A weight file that was opened. `names` are all layers that can be asked for, in order."""

    @property
    def what(self) -> str:
        """What the file is, in a few words."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def preprocessing(self) -> PixelEncoding | None:
        """What the network's numbers mean; None where the file does not say."""

    @property
    def preprocesses(self) -> bool:
        """Whether the network's own first layer does what `preprocessing=` is for."""

    def build(self, layers: Sequence[str], pooling: str, padding: str, dtype: str) -> Features:
        """The features of `layers`, some of `names`; nothing behind them is computed.

        `pooling` and `padding` are `as-saved`, or what every layer of the kind is changed to.
        Raises WeightError for weights that cannot describe an image.
        """


@dataclass(frozen=True)
class Opening:
    """How a weight file is opened, where it does not say so itself.

    `prototxt` belongs to a `.caffemodel`; `select` chooses a module of a Torch checkpoint.
    """

    prototxt: Path | None = None
    select: str | None = None
    registry: Registry | None = None
    options: Options = field(default_factory=Options)
