"""Options of single formats, as the command line and callers give them in `Request.settings`.

Here and not beside the formats, whose modules import TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
