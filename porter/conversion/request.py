"""What a user asks of a conversion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from porter.emit.formats import DEFAULT
from porter.emit.settings import ExportOptions
from porter.frontend.inputs import RequestedShape
from porter.frontend.model_file import ModelFile
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.parity.compare import Tolerance
from porter.parity.recording import Recording


@dataclass(frozen=True)
class Request:
    """What the user asks of a conversion."""

    source: Path
    output: Path | None = None
    input_shapes: tuple[RequestedShape, ...] = ()
    reference: Recording | None = None
    select: str | None = None
    registry: Registry | None = None
    options: Options = field(default_factory=Options)
    tolerance: Tolerance = field(default_factory=Tolerance)
    export: ExportOptions = field(default_factory=ExportOptions)
    formats: tuple[str, ...] = DEFAULT
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    """What the pictures mean: a preset, a TOML file, "none", or None to see if the file tells."""
    force: bool = False
    tensorboard: Path | None = None
    """Where to write event files for TensorBoard."""
    pages: tuple[str, ...] = ()
    """Reports to write for people: `html`, `markdown`."""
    likenesses: Callable[[ModelFile], list[str]] = lambda opened: []
    """Lines on the published systems that a net looks like, for the manifest."""
