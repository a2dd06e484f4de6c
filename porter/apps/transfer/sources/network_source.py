"""A source that is a `Network`: what most weight files become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from porter.apps.transfer.network import Network, Padding, Pooling
from porter.imaging.presets import PixelEncoding


@dataclass(frozen=True)
class NetworkSource:
    """A network with what its numbers mean; weights are loaded when it is built."""

    network: Network
    what: str
    preprocessing: PixelEncoding | None

    @property
    def names(self) -> tuple[str, ...]:
        """All layers, and the second names of some."""
        return (*self.network.names, *self.network.aliases)

    def build(self, wanted: Sequence[str], pooling: str, padding: str, dtype: str) -> Any:
        """Features of the net's numbers by name."""
        return self.network.build(wanted, cast(Pooling, pooling), cast(Padding, padding), dtype)
