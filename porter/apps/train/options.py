"""What a training run is asked: the options of texture_nets' train.lua, and a few of our own."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from porter.errors import UsageError

GENERATORS = ("johnson", "pyramid", "skip_unpool")
"""What `model` may name; anything else is a file."""
CHOICES = {
    "mode": ("style", "texture"),
    "normalization": ("instance", "batch"),
    "mixed_precision": ("none", "bfloat16", "float16"),
}
LEAST = {
    "learning_rate": 0.0,
    "num_iterations": 1,
    "save_every": 1,
    "batch_size": 1,
    "image_size": 8,
    "content_weight": 0.0,
    "style_weight": 0.0,
    "tv_weight": 0.0,
    "style_size": 0,
    "pyramid_loss": 1,
    "pyramid_decay": 0.0,
    "manualSeed": 0,
    "nThreads": 1,
    "slim": 1,
    "sample_every": 0,
    "keep": 1,
}
WITHIN_A_RUN = ("num_iterations", "save_every", "sample_every", "keep", "nThreads")
"""What may change when a run is continued; anything else would be another run."""


@dataclass(frozen=True)
class Architecture:
    """What a generator is built from; `slim` divides its numbers of feature planes."""

    name: str = "pyramid"
    mode: str = "style"
    normalization: str = "instance"
    tv_weight: float = 0.0
    slim: int = 1


@dataclass(frozen=True)
class TrainOptions:
    """Names and defaults of train.lua up to `manualSeed`; sizes in pixels.

    `batch_size` is that of all machines together. `mode` "texture" has no content and no photos.
    """

    style_image: Path
    descriptor: Path
    output: Path
    data: Path | None = None
    content_layers: str = "relu4_2"
    style_layers: str = "relu1_1,relu2_1,relu3_1,relu4_1"
    learning_rate: float = 1e-3
    num_iterations: int = 50_000
    save_every: int = 1_000
    batch_size: int = 1
    image_size: int = 256
    content_weight: float = 1.0
    style_weight: float = 1.0
    tv_weight: float = 0.0
    style_size: int = 256
    mode: str = "style"
    model: str = "pyramid"
    vgg_no_pad: bool = False
    normalization: str = "instance"
    pyramid_loss: int = 1
    pyramid_decay: float = 0.9
    nThreads: int = 4  # noqa: N815
    manualSeed: int = 0  # noqa: N815
    proto_file: Path | None = None
    preprocessing: str | None = None
    """What the descriptor's numbers mean, where its file does not tell."""
    init: Path | None = None
    """A `.t7` or folder to start from."""
    preset: str | None = None
    """What the numbers of `init` mean, where it does not tell."""
    slim: int = 1
    sample_every: int = 500
    keep: int = 3
    """How many checkpoints are kept."""
    mixed_precision: str = "none"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"`{name}=` is one of {', '.join(choices)}", received=str(getattr(self, name))
                )
        for name, least in LEAST.items():
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise UsageError(f"`{name}=` is a number from {least:g} on", received=str(value))
        if self.mode == "style" and self.data is None:
            raise UsageError("`mode=style` learns from photos", hint="name a folder: `data=`")
        if not self.style_names and not self.content_names:
            raise UsageError(
                "without layers there is nothing to learn", hint="give `style_layers=`"
            )

    @property
    def content_names(self) -> tuple[str, ...]:
        """Layers of the content loss; a texture has no content."""
        return () if self.mode == "texture" else split(self.content_layers)

    @property
    def style_names(self) -> tuple[str, ...]:
        """Layers of the style loss."""
        return split(self.style_layers)

    @property
    def architecture(self) -> Architecture:
        """The generator to be built, where `model` is not a file."""
        return Architecture(self.model, self.mode, self.normalization, self.tv_weight, self.slim)

    @property
    def start(self) -> Path | None:
        """The file or folder whose network is trained on; None for a new generator."""
        if self.init is not None:
            return self.init
        return None if self.model in GENERATORS else Path(self.model)

    def json(self) -> dict[str, Any]:
        """As `training.json` keeps them."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self).items()
        }

    def differences(self, kept: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Options that make this another run than the one whose options were kept."""
        mine = self.json()
        names = [f.name for f in fields(self) if f.name not in (*WITHIN_A_RUN, "output")]
        return {n: (kept.get(n), mine[n]) for n in names if kept.get(n) != mine[n]}


def split(names: str) -> tuple[str, ...]:
    """Names joined by commas."""
    return tuple(name.strip() for name in names.split(",") if name.strip())
