"""What a format is: how it is written, reloaded and compared with the oracle.

    saved_model   SavedModel with signatures                        porter/emit/saved_model.py
    checkpoint    tf.train.Checkpoint, variables by Torch path      porter/emit/checkpoint.py
    frozen        SavedModel and GraphDef of constants, folded      porter/emit/frozen.py
    tflite        LiteRT files, float or quantised                  porter/emit/tflite.py
    weights       arrays by Torch path: npz, safetensors, h5        porter/emit/weights.py
    source        model.py and weights.npz, to be read              porter/emit/source/
    keras         Keras 3, for TensorFlow, JAX and PyTorch          porter/emit/keras/
    onnx          ONNX, by tf2onnx                                  porter/emit/onnx.py
    coreml        an ML program, by coremltools                     porter/emit/coreml.py
    web           a page that runs the port in a browser            porter/emit/web/

A format passes only if its files, reloaded by the runtime that its users have, compute what the
oracle says.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from porter.emit.settings import ExportOptions
from porter.errors import UsageError
from porter.frontend.walker import Model
from porter.ir.fields import Array
from porter.ir.graph import TensorType
from porter.ir.layout import image_layout, to_torch
from porter.ir.nested import Nested, named_leaves
from porter.parity.compare import Tolerance
from porter.parity.measure import Measure, compare
from porter.system.suggestions import did_you_mean

if TYPE_CHECKING:
    from porter.emit.port import Port
    from porter.imaging.image_spec import ImageSpec

HOMES = {
    "saved_model": "porter.emit.saved_model",
    "checkpoint": "porter.emit.checkpoint",
    "frozen": "porter.emit.frozen",
    "tflite": "porter.emit.tflite",
    "weights": "porter.emit.weights",
    "source": "porter.emit.source",
    "keras": "porter.emit.keras",
    "onnx": "porter.emit.onnx",
    "coreml": "porter.emit.coreml",
    "web": "porter.emit.web",
}
"""Which module holds the `FORMAT` of a name; imported only when asked for."""

DEFAULT = ("saved_model", "checkpoint")


@dataclass(frozen=True)
class VerificationSample:
    """One verification input as it is stored, and the oracle's outputs in Torch's order.

    `allowed` is how far an emitted port may be from them, in units of each output's scale;
    `recorded` distinguishes Torch's own input from generated numbers.
    """

    label: str
    inputs: dict[str, Array]
    expected: tuple[Array, ...]
    allowed: float = Tolerance.accumulated
    recorded: bool = False


@dataclass(frozen=True)
class ExportJob:
    """Everything that a format may need: the model, the traced port, and samples to verify it on.

    `settings` holds the options of single formats by the format's name.
    """

    model: Model
    types: Nested[TensorType]
    port: Port
    checks: tuple[VerificationSample, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    fixed: Nested[TensorType] | None = None
    """The input types that the user gave; None where the sizes were solved."""
    larger: VerificationSample | None = None
    """The layers' own outputs for a large image, for a format that serves something faster."""
    image_spec: ImageSpec | None = None
    """How the numbers encode images, where input and output are images."""
    free: dict[str, list[str]] = field(default_factory=dict)
    """What the free axes of each input are called, in Torch's order."""

    @property
    def options(self) -> ExportOptions:
        """How the port was traced."""
        return self.port.options

    def compare(self, outputs: list[dict[str, Array]]) -> Measure:
        """The worst error of named, stored outputs, one dict for each check."""
        return Measure.worst([compare(*pair) for pair in self.pairs(outputs)])

    def pairs(self, outputs: list[dict[str, Array]]) -> Iterator[tuple[Array, Array]]:
        """Each output of each check: the oracle's, and the one to compare with it."""
        for check, tensors in zip(self.checks, outputs, strict=True):
            names = named_leaves(self.port.graph.outputs, "output")
            for (name, value), expected in zip(names, check.expected, strict=True):
                layout = image_layout(value.type.rank, self.options.data_format)
                actual = to_torch(tensors[name], layout)
                # Torch's View drops a batch of one; the port keeps it, the values are the same.
                kept = actual.shape == (1, *expected.shape)
                yield expected, actual[0] if kept else actual


@dataclass(frozen=True)
class ExportResult:
    """A format's row of the report. `measure` is None where nothing is computed.

    A format that writes several files has a row for each `variant`. Where `exact` is false the
    file is quantised: its error is reported, and the format itself judges it by another bound.
    `details` go into the manifest, for users of the file.
    """

    name: str
    measure: Measure | None
    bytes: int
    note: str = ""
    variant: str = ""
    exact: bool = True
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The format, and the file where it has several."""
        return f"{self.name}: {self.variant}" if self.variant else self.name


class Emitter(abc.ABC):
    """A name that `formats=` takes, and how its files are written and verified."""

    name: ClassVar[str]
    trains: ClassVar[bool] = False
    """Whether its files can be trained, or hold only what is learned."""

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise UsageError for options that cannot be met; called before any work is done."""
        return

    @abc.abstractmethod
    def emit(self, job: ExportJob, folder: Path) -> list[ExportResult]:
        """Write below `folder`, load again and compare: a row for each variant.

        Raises EmitError, naming the layer, for a model that the format cannot express.
        """


class Format(Emitter):
    """A format of one variant. `write` makes `folder / name...`; `verify` loads it and compares.

    Both raise EmitError, naming the layer, for a model that the format cannot express.
    """

    def emit(self, job: ExportJob, folder: Path) -> list[ExportResult]:
        paths = self.write(job, folder)
        measure, note = self.verify(job, folder)
        return [ExportResult(self.name, measure, sum(map(size_of, paths)), note)]

    @abc.abstractmethod
    def write(self, job: ExportJob, folder: Path) -> list[Path]:
        """Write the artefact below `folder`; returns the files and folders made."""

    @abc.abstractmethod
    def verify(self, job: ExportJob, folder: Path) -> tuple[Measure | None, str]:
        """Load what was written, in a fresh process where it runs, and compare; adds a note."""


def find(name: str) -> Emitter:
    """The format of a name. Raises UsageError with the known names."""
    if name not in HOMES:
        near = did_you_mean([name], HOMES)
        raise UsageError(f"there is no format '{name}'{near}", hint="formats: " + ", ".join(HOMES))
    emitter: Emitter = importlib.import_module(HOMES[name]).FORMAT
    return emitter


def require_trainable(names: Sequence[str]) -> None:
    """Raise UsageError for a format that holds a net for running it only."""
    for name in names:
        if not find(name).trains:
            able = ", ".join(each for each in HOMES if find(each).trains)
            raise UsageError(
                f"the format '{name}' cannot be trained on: its weights are constants",
                hint=f"`trainable=` takes the formats {able}",
            )


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
