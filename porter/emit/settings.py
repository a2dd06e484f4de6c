"""What a user chooses of an export: of every format, and of single ones (`Request.settings`).

Here and not beside the formats, whose modules import TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from porter.passes.precision import FULL


@dataclass(frozen=True)
class ExportOptions:
    """How a graph becomes a TensorFlow function. The defaults are those of a conversion."""

    data_format: str = "channels_last"
    """Order of the axes of images at the inputs and outputs; or "channels_first"."""
    trainable: bool = False
    """Whether the port is also written in training mode."""
    optimized: str = "exact"
    """How far the served function is rewritten for speed, one of `porter.passes.LEVELS`."""
    precision: str = FULL
    """Of the products in the served function (`porter/passes/precision.py`)."""

    @property
    def level(self) -> str:
        """The level of optimisation that is applied.

        A trainable port serves its layers as they are, so that it follows its variables.
        """
        return "none" if self.trainable else self.optimized

    def plain(self) -> ExportOptions:
        """The same data format, and the layers as they are in float32."""
        return ExportOptions(self.data_format, optimized="none")


UNOPTIMIZED = ExportOptions(optimized="none")
"""The layers as they are."""


@dataclass(frozen=True)
class TFLiteSettings:
    """Kinds of files; pictures or arrays to calibrate integers on; the least PSNR, if not ours."""

    kinds: tuple[str, ...] = ("float32",)
    representative: Path | None = None
    psnr: float | None = None


@dataclass(frozen=True)
class WeightSettings:
    """Kinds of files; the order of axes, "torch" or "tensorflow"."""

    kinds: tuple[str, ...] = ("npz",)
    order: str = "tensorflow"
