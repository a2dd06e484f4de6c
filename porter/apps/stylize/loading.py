"""Open whatever `porter stylize` is given: the net, and what its numbers mean."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.apps.stylize.arbitrary_style import ArbitraryStyle, assembled
from porter.apps.zoo.systems import likeness, looks_like
from porter.conversion.verification_inputs import emitted_types
from porter.errors import UsageError
from porter.frontend.inputs import RequestedShape, Shapes
from porter.frontend.model_file import ModelFile, open_model
from porter.frontend.run_mode import decide
from porter.frontend.search import shapes_for
from porter.frontend.walker import Model
from porter.imaging.geometry import Geometry, output_image
from porter.imaging.image_spec import (
    ASKED_FOR,
    ImageSpec,
    contradiction,
    from_json,
    geometry_from,
    image_spec_of,
    image_type,
    others_hint,
    walked,
)
from porter.imaging.presets import BUILT_IN, PLANES, find
from porter.ir.nested import leaves
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.layer_maps import default_registry
from porter.system import checksums
from porter.system.input_files import torch_file_in

if TYPE_CHECKING:
    from porter.apps.stylize.runners import Net

PARTS = (
    *("saved_model", "model.keras", "model.tflite"),
    *(f"model.{kind}.tflite" for kind in ("float16", "dynamic", "uint8", "int8")),
)
"""What is taken of a converted folder, best first."""
MANIFEST = "manifest.json"
COLOURISATION = "colourisation-iizuka"
"""The system of the zoo that is fed two pictures, and makes colours."""


@dataclass(frozen=True)
class LoadOptions:
    """How a model is opened; all but `preset` matter for `.t7` only."""

    preset: str | None = None
    select: str | None = None
    input_shapes: tuple[RequestedShape, ...] = ()
    registry: Registry | None = None
    options: Options = field(default_factory=Options)
    trust_code: bool = False
    """Whether a `layers.py` is executed that no manifest lists; for `.keras` only."""
    style: ArbitraryStyle | None = None
    """What makes a whole net of a decoder."""


def open_net(path: Path, choices: LoadOptions) -> tuple[Net, ImageSpec]:
    """A net and what its pictures mean. Raises UsageError where it has nothing to do with them."""
    if choices.style is not None:
        net, spec = open_decoder(path, choices, choices.style)
    elif path.is_dir() or path.suffix in (".keras", ".tflite"):
        net, spec = open_converted(path, choices)
    else:
        net, spec = open_torch(path, choices)
    if spec.classifies:
        raise UsageError(
            f"the preset {spec.preset.name} is for classifiers: there is no picture to write",
            hint="call the signature `image` of what `porter convert` writes (docs/serving.md)",
        )
    return net, spec.for_size(net.sizes)


def open_torch(path: Path, choices: LoadOptions) -> tuple[Net, ImageSpec]:
    """A `.t7`, traced in this process; `porter convert` is what proves it."""
    opened = open_model(path, choices.registry or default_registry(), choices.select)
    mode = decide(opened.root, choices.options, preset=choices.preset)
    if choices.preset is None and COLOURISATION in {system.name for system in looks_like(opened)}:
        from porter.apps.stylize.colourisation import PRESET, ColourNet

        why = "the net and the file's mean are those of colorize.lua"
        return ColourNet(opened, mode.options), ImageSpec(PRESET, Geometry(), why)
    model = opened.model(mode.options)
    shapes = shapes_for(model, choices.input_shapes)
    spec = torch_spec(path, opened, model, shapes, choices.preset)
    return traced(model, shapes), spec


def open_decoder(path: Path, choices: LoadOptions, style: ArbitraryStyle) -> tuple[Net, ImageSpec]:
    """A decoder's `.t7` as part of the net that gives photos the style of a painting."""
    opened = open_model(path, choices.registry or default_registry(), choices.select)
    whole, preset, why = assembled(opened, style, choices.options, choices.preset)
    model = whole.model(decide(whole.root, choices.options, preset=preset).options)
    shapes = shapes_for(model, choices.input_shapes)
    spec = image_spec_of(whole, model, shapes, preset)
    if spec is None:
        raise not_of_images(path, model, shapes) or unknown_encoding(path)
    return traced(model, shapes), replace(spec, why=why, warning="")


def traced(model: Model, shapes: Shapes) -> Net:
    """A port of a model, in this process."""
    from porter.apps.stylize.runners import TracedNet
    from porter.emit.port import build_widest
    from porter.emit.settings import ExportOptions
    from porter.runtime.runner import Variables

    port = build_widest(model, emitted_types(model, shapes), Variables(), ExportOptions())
    return TracedNet(port, model)


def torch_spec(
    path: Path, opened: ModelFile, model: Model, shapes: Shapes, preset: str | None
) -> ImageSpec:
    """What pictures mean to a `.t7`, with a warning where that may not be what was asked for.

    Raises UsageError, which says of a published system what it is fed.
    """
    named = looks_like(opened)
    try:
        spec = image_spec_of(opened, model, shapes, preset)
        if spec is None:
            raise not_of_images(path, model, shapes) or unknown_encoding(path)
    except UsageError as error:
        error.hint = "\n".join(filter(None, [*map(likeness, named), error.hint]))
        raise
    if spec.why == ASKED_FOR and not spec.warning and preset in BUILT_IN:
        advice = next((likeness(each) for each in named if each.preset != preset), "")
        spec = replace(spec, warning=advice and f"colours may be wrong: {advice}")
    return spec


def not_of_images(path: Path, model: Model, shapes: Shapes) -> UsageError | None:
    """The error of a net that no preset could help, or None."""
    type = image_type(shapes)
    if type is None:
        shown = ", ".join(str(each) for each in leaves(shapes.types[0]))
        return UsageError(f"{path.name} takes {shown}, and no pictures")
    graph = walked(model, type)
    picture = output_image(graph)
    planes = (type.shape[1], picture.shape[1]) if picture else ()
    if picture is not None and {*planes} <= {*PLANES.values()}:
        return None
    values = list(leaves(graph.outputs))
    shown = ", ".join(str(value.type) for value in values)
    what = "not one picture" if len(values) > 1 else "no pictures"
    hint = (
        f"run it from Python: `porter convert {shlex.quote(str(path))}` ends with the lines that "
        "call it"
    )
    if picture is not None:
        hint += "; or, where it is half of AdaIN or WCT, with the other half: name the decoder, "
        hint += "and add `encoder=FILE` and `style=PAINTING`"
    return UsageError(f"{path.name} makes {shown} of pictures {type}, and {what}", hint=hint)


def open_converted(path: Path, choices: LoadOptions) -> tuple[Net, ImageSpec]:
    """A SavedModel, `.keras` or `.tflite`, with the manifest that stands beside it."""
    artefact = part_of(path)
    body = manifest_beside(artefact)
    recorded = described(artefact, body)
    if choices.preset is None and recorded is None:
        raise converted_without_preset(path, body)
    net = loader(artefact, choices.trust_code)(artefact)
    if choices.preset is None:
        assert recorded is not None
        return net, recorded
    preset = find(choices.preset)
    geometry = recorded.geometry if recorded else recorded_geometry(body)
    if geometry is None and preset.border == "replicate":
        raise UsageError(
            f"how much border the net needs for {preset.name} is not written beside {path}",
            hint="convert the .t7 again with `preset=`",
        )
    planes = net.shape[-1 if net.channels_last else 1] if len(net.shape) == 4 else None
    if planes != preset.input.planes:
        raise UsageError(
            f"the preset {preset.name} is for nets that take N×H×W×{preset.input.planes}",
            received="a net that takes "
            + "×".join("?" if n is None else str(n) for n in net.shape),
            hint=others_hint(),
        )
    warning = contradiction(preset, recorded.preset, recorded.why) if recorded else ""
    return net, ImageSpec(preset, geometry or Geometry(), "asked for", warning=warning)


def part_of(path: Path) -> Path:
    """The artefact itself. Raises UsageError for a folder without one."""
    if path.is_file() or (path / "saved_model.pb").is_file():
        return path
    for name in PARTS:
        if (path / name).exists():
            return path / name
    if not path.exists():
        raise UsageError(f"there is no file or folder '{path}'")
    inside = torch_file_in(path)
    raise UsageError(
        f"{path} holds no converted model",
        hint=f"it should hold {', '.join(PARTS[:3])}: convert with `formats=saved_model`"
        if inside is None
        else f"it holds a Torch7 model: name {inside} in its place",
    )


def manifest_beside(artefact: Path) -> dict[str, Any]:
    """What the manifest beside an artefact holds, checked against its checksums; {} without one."""
    file = artefact.resolve().parent / MANIFEST
    try:
        body = dict(json.loads(file.read_text(encoding="utf-8")))
        checksums.check(file.parent, body.get("files", {}), below=artefact.name)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(file, error) from error
    return body


def described(artefact: Path, body: dict[str, Any] | None = None) -> ImageSpec | None:
    """What the manifest beside an artefact, or `body` of it, says of its pictures."""
    body = manifest_beside(artefact) if body is None else body
    try:
        kept = body.get("pictures")
        return from_json(kept) if kept else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(artefact.resolve().parent / MANIFEST, error) from error


def recorded_geometry(body: dict[str, Any]) -> Geometry | None:
    """What a manifest says of the sizes that a net takes for which no preset was known."""
    kept = body.get("geometry")
    try:
        return geometry_from(kept) if isinstance(kept, dict) else None
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(Path(MANIFEST), error) from error


def unreadable(file: Path, error: Exception) -> UsageError:
    return UsageError(f"{file} cannot be read", received=repr(error))


def converted_without_preset(path: Path, body: dict[str, Any]) -> UsageError:
    """The error of a converted net of which nobody knew how it takes pictures; or it makes none."""
    outputs = [each for name, each in named(body, "signature") if name.startswith("output")]
    shapes = [each.get("shape", ()) for each in outputs if isinstance(each, dict)]
    if shapes and not any(len(shape) == 4 for shape in shapes if isinstance(shape, list)):
        shown = ", ".join("×".join("?" if n is None else str(n) for n in each) for each in shapes)
        error = UsageError(
            f"{path} makes {shown}, and no pictures", hint="call it from Python (docs/serving.md)"
        )
    else:
        error = unknown_encoding(path)
    lines = body.get("looks_like")
    likenesses = map(str, lines) if isinstance(lines, list) else ()
    error.hint = "\n".join(filter(None, [*likenesses, error.hint]))
    return error


def named(body: dict[str, Any], key: str) -> list[tuple[str, Any]]:
    """The entries of a table in a manifest."""
    table = body.get(key)
    return list(table.items()) if isinstance(table, dict) else []


def loader(artefact: Path, trust_code: bool = False) -> Callable[[Path], Net]:
    """Who loads it."""
    from porter.apps.stylize import runners

    if artefact.suffix == ".keras":
        return partial(runners.KerasNet, trust_code=trust_code)
    return runners.TFLiteNet if artefact.suffix == ".tflite" else runners.SavedModelNet


def unknown_encoding(path: Path) -> UsageError:
    """Nothing says what the numbers mean, and a guess would make wrong colours."""
    return UsageError(
        f"{path} does not tell how pictures become its numbers",
        hint=f"say it with `preset=`; {others_hint()}",
    )
