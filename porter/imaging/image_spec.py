"""Preset and geometry of one model: all that is needed to run it on images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from porter.errors import UsageError, WalkError
from porter.frontend.inputs import Shapes, with_batch
from porter.frontend.model_file import ModelFile
from porter.frontend.walker import Model
from porter.imaging.detect import detect
from porter.imaging.geometry import Geometry, measure, output_image
from porter.imaging.presets import BUILT_IN, Preset, find, parse_preset
from porter.ir.graph import FLOAT, Graph, TensorType
from porter.ir.nested import leaves

NONE = "none"
"""The option value that switches detection off."""
ASKED_FOR = "asked for"
"""Why a preset was chosen of which the file tells nothing."""


@dataclass(frozen=True)
class ImageSpec:
    """`why` says how the preset was chosen; `softmax`: the net's scores still need a softmax.

    `warning` says what speaks against a preset that was asked for.
    """

    preset: Preset
    geometry: Geometry
    why: str
    softmax: bool = False
    warning: str = ""

    def for_size(self, sizes: tuple[int | None, ...]) -> ImageSpec:
        """The same for a net that was exported with this height and width."""
        height, width = sizes
        if height is None or width is None:
            return self
        return replace(self, geometry=replace(self.geometry, size=(height, width)))

    @property
    def classifies(self) -> bool:
        return self.preset.output is None

    def json(self) -> dict[str, Any]:
        """As stored in the manifest."""
        return {
            "preset": self.preset.json(),
            "geometry": asdict(self.geometry),
            "why": self.why,
            "softmax": self.softmax,
        }


def geometry_from(body: Mapping[str, Any]) -> Geometry:
    """The geometry stored in a manifest. Raises ValueError for numbers that are none."""
    size = tuple(body["size"]) if body["size"] else None
    geometry = Geometry(**{**body, "size": size})
    numbers = (geometry.multiple, geometry.scale, geometry.margin, *(size or (1, 1)))
    if not all(isinstance(n, int) for n in numbers) or geometry.multiple < 1:
        raise ValueError(f"geometry {dict(body)}")
    return geometry


def from_json(body: Mapping[str, Any]) -> ImageSpec:
    """The spec stored in a manifest."""
    return ImageSpec(
        parse_preset(body["preset"], "manifest.json"),
        geometry_from(body["geometry"]),
        str(body["why"]),
        bool(body["softmax"]),
    )


def image_spec_of(
    opened: ModelFile, model: Model, shapes: Shapes, choice: str | None = None
) -> ImageSpec | None:
    """How a model reads and writes images: by the user's choice or detection; None if unknown.

    Raises UsageError for a chosen preset that contradicts the net.
    """
    if choice == NONE:
        return None
    chosen = find(choice) if choice else None
    type = image_type(shapes)
    if type is None:
        if chosen is None:
            return None
        shown = ", ".join(str(each) for each in leaves(shapes.types[0]))
        raise UsageError(
            f"the preset {chosen.name} is for nets that take images N×C×H×W",
            received=f"a net that takes {shown}",
        )
    graph = walked(model, type)
    detected = detect(opened, graph)
    agreed = chosen is None or (detected is not None and agrees(chosen, detected[0]))
    found = detected if agreed else (chosen, ASKED_FOR) if chosen else None
    if found is None:
        return None
    preset, why = found
    try:
        require_fits(preset, graph)
        geometry = measure(model, type)
        require_colours(preset, geometry)
    except UsageError:
        if chosen:
            raise
        return None  # a guess that the net contradicts
    warning = contradiction(chosen, *detected) if chosen and detected else ""
    return ImageSpec(preset, geometry, why, not ends_with_probabilities(graph), warning)


def agrees(chosen: Preset, detected: Preset) -> bool:
    """Whether a preset is the one that a file tells; that may have the file's own numbers."""
    return BUILT_IN.get(detected.name) is chosen or chosen == replace(detected, name=chosen.name)


def contradiction(chosen: Preset, detected: Preset, why: str) -> str:
    """A warning of a built-in preset that a file contradicts; empty where it does not.

    Whoever writes a preset of their own knows what the net was trained with.
    """
    if BUILT_IN.get(chosen.name) is not chosen or agrees(chosen, detected):
        return ""
    return (
        f"colours may be wrong: the preset {chosen.name} was asked for, but the file tells "
        f"{detected.name} ({why})"
    )


def require_colours(preset: Preset, geometry: Geometry) -> None:
    """Raise UsageError if a preset takes a photo's colours that the net would have to enlarge."""
    if preset.output is not None and preset.output.channels == "Y" and geometry.scale != 1:
        raise UsageError(
            f"the preset {preset.name} takes the photo's colours, which this net does not enlarge",
            received=f"a net that enlarges {geometry.scale} times",
        )


def image_type(shapes: Shapes) -> TensorType | None:
    """The type of a model's only input, if that is an image; else None."""
    inputs = list(leaves(shapes.types[0]))
    if len(inputs) != 1 or inputs[0].rank != 4 or inputs[0].dtype != FLOAT:
        return None
    return inputs[0]


def geometry_of(model: Model, shapes: Shapes) -> Geometry | None:
    """The sizes that a net of pictures takes and makes, also where no preset is known for it."""
    type = image_type(shapes)
    try:
        if type is None or output_image(walked(model, type)) is None:
            return None
        return measure(model, type)
    except (WalkError, ValueError):
        return None


def walked(model: Model, type: TensorType) -> Graph:
    """The graph for a batch of two where the model takes one, so that no module drops the batch."""
    try:
        return model.walk(with_batch(type, 2))
    except WalkError:
        return model.walk(type)


def require_fits(preset: Preset, graph: Graph) -> None:
    """Raise UsageError if a preset contradicts the net."""
    (input,) = leaves(graph.inputs)
    if input.shape[1] != preset.input.planes:
        raise misfit(preset, "takes", preset.input.planes, input.shape[1])
    picture = output_image(graph)
    outputs = ", ".join(str(value.type) for value in leaves(graph.outputs))
    if preset.output is None:
        (scores, *others) = leaves(graph.outputs)
        if others or scores.type.rank > 2:
            raise UsageError(
                f"the preset {preset.name} is for classifiers, which make scores N×classes",
                received=f"a net that makes {outputs}",
                hint=others_hint(),
            )
        if preset.labels and len(preset.labels) != scores.shape[-1]:
            raise UsageError(
                f"the preset {preset.name} names {len(preset.labels)} classes",
                received=f"a net that tells {scores.shape[-1]}",
            )
    elif picture is None:
        raise UsageError(
            f"the preset {preset.name} is for nets that make one picture",
            received=f"a net that makes {outputs}",
            hint=others_hint(),
        )
    elif picture.shape[1] != preset.output.planes:
        raise misfit(preset, "makes", preset.output.planes, picture.shape[1])


def misfit(preset: Preset, verb: str, expected: int, received: int) -> UsageError:
    """The error for a preset with another number of planes."""
    return UsageError(
        f"the preset {preset.name} is for nets whose picture has {expected} plane(s)",
        received=f"a net that {verb} {received}",
        hint=others_hint(),
    )


def others_hint() -> str:
    return f"presets: {', '.join(BUILT_IN)}; or a FILE.toml of your own"


def ends_with_probabilities(graph: Graph) -> bool:
    """Whether the last layer is a softmax (a softmax of a LogSoftMax gives its probabilities)."""
    outputs = {value.id for value in leaves(graph.outputs)}
    last = [node.typename for node in graph.nodes if any(v.id in outputs for v in node.outputs)]
    return any(name.endswith("SoftMax") and "Log" not in name for name in last)
