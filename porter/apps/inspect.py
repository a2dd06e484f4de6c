"""What a `.t7` file is and holds, without TensorFlow: format, module tree, shapes, parameters."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from porter.apps.zoo.systems import System, looks_like
from porter.conversion.free_axes import free_axes, free_text
from porter.conversion.time_axes import time_axes
from porter.errors import PorterError, SeveralModules, UsageError
from porter.frontend.dynamic import generalise
from porter.frontend.inputs import RequestedShape, Shapes, with_batches
from porter.frontend.model_file import AS_REFERENCE, ModelFile
from porter.frontend.module_tree import functions_in, histogram, parts, submodules
from porter.frontend.run_mode import decide
from porter.frontend.search import shapes_for
from porter.frontend.walker import Model
from porter.frontend.weights import entries
from porter.imaging.image_spec import geometry_of
from porter.ir.graph import Graph
from porter.ir.nested import leaves
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.torch7 import T7File, Table, Tensor, TorchObject, as_integer, describe
from porter.torch7.recorder import is_recording

GRADIENTS = ("gradWeight", "gradBias", "gradInput")
PARAMETERS = ("weight", "bias")


@dataclass(frozen=True)
class ModuleLine:
    """One module of the tree."""

    path: str
    typename: str
    depth: int
    shape: str = ""
    parameters: int = 0
    mapped: bool = True
    shared_with: str | None = None


@dataclass(frozen=True)
class Inspection:
    """Everything `porter inspect` tells."""

    name: str
    format: str
    size: int
    trailing: int
    selected: str
    chosen: bool
    """Whether the user named the module; else it is the only one."""
    wrapper: dict[str, str]
    modes: dict[str, int]
    tensor_types: dict[str, int]
    classes: dict[str, int]
    parameters: int
    lines: tuple[ModuleLine, ...]
    unmapped: dict[str, list[str]]
    functions: list[str]
    input_shape: str = ""
    input_note: str = ""
    notes: dict[str, str] = field(default_factory=dict)
    graph: Graph | None = None
    systems: tuple[System, ...] = ()
    """Published systems that the net looks like."""

    @property
    def commands(self) -> dict[str, str]:
        """The command that converts the file, for each system that it looks like."""
        select = self.selected if self.chosen else None
        return {each.title: each.command(self.name, select) for each in self.systems}

    def json(self) -> dict[str, object]:
        return {
            "file": self.name,
            "format": self.format,
            "bytes": self.size,
            "trailing_bytes": self.trailing,
            "selected": self.selected,
            "wrapper": self.wrapper,
            "modes": self.modes,
            "tensor_types": self.tensor_types,
            "classes": self.classes,
            "parameters": self.parameters,
            "unmapped": self.unmapped,
            "lua_functions": self.functions,
            "input": self.input_shape,
            "input_note": self.input_note,
            "notes": self.notes,
            "looks_like": [
                {"name": each.name, "title": each.title, "advice": each.advice, "command": command}
                for each, command in zip(self.systems, self.commands.values(), strict=True)
            ],
            "modules": [
                {
                    "path": line.path,
                    "type": line.typename,
                    "shape": line.shape,
                    "parameters": line.parameters,
                    "mapped": line.mapped,
                    "shared_with": line.shared_with,
                }
                for line in self.lines
            ],
        }


@dataclass(frozen=True)
class PlainInspection:
    """A file without a module, or with several of which none was selected.

    `root` says what it is, `contents` describes what stands at each path; `modules` has the class
    of each of several modules by its path. `advice` says what to do with such a file.
    """

    name: str
    format: str
    size: int
    trailing: int
    root: str
    contents: dict[str, str]
    modules: dict[str, str] = field(default_factory=dict)
    advice: str = ""

    def json(self) -> dict[str, object]:
        return {
            "file": self.name,
            "format": self.format,
            "bytes": self.size,
            "trailing_bytes": self.trailing,
            "root": self.root,
            "contents": self.contents,
            "modules": [{"path": path, "type": name} for path, name in self.modules.items()],
            "advice": self.advice,
        }

    def not_drawn(self) -> UsageError:
        """The error of a file of which a drawing is asked for: there is no module, or no choice."""
        if not self.modules:
            return UsageError(
                f"{self.name} holds no Torch module, of which there could be a drawing",
                hint=f"see what it holds with `porter inspect {shlex.quote(self.name)}`",
            )
        several = SeveralModules(f"{self.name} holds {self.root}", hint=self.advice)
        several.example = next(iter(self.modules))
        return several


def inspect_plain(file: T7File, several: SeveralModules | None = None) -> PlainInspection:
    """Look at a file without modules: tensors, tables of parameters, datasets, recordings.

    Or with several, as the error says that asks for a choice.
    """
    facts = (file.path, format_of(file), file.size, file.trailing)
    if several is not None:
        root = f"{len(several.modules)} modules"
        return PlainInspection(*facts, root, {}, several.modules, several.hint or "")
    if is_recording(file.root):
        contents = dict(recorded(file.root))
        return PlainInspection(*facts, "recorded activations", contents, advice=AS_REFERENCE)
    contents = {path: describe(value) for path, value in entries(file.root) if path}
    return PlainInspection(*facts, describe(file.root), contents)


def recorded(root: Table) -> Iterator[tuple[str, str]]:
    """What a recording holds, a call of a module a line: its path, its class and its output."""
    records = root.get("records")
    for key, value in root.items.items():
        if key != "records":
            yield str(key), describe(value)
    for record in records.items.values() if isinstance(records, Table) else ():
        if isinstance(record, Table):
            call, path = as_integer(record.get("call", 1.0)), record.get("path") or "(root)"
            again = f"#{call}" if call and call > 1 else ""
            what = describe(record["output"]) if "output" in record else "a summary"
            yield f"{path}{again}", f"{record.get('type', '?')}: {what}"


def format_of(file: T7File) -> str:
    """The format of a file with the size of its longs, if it has any."""
    longs = "" if file.long_size is None else f", {file.long_size}-byte longs"
    return f"{file.format}{longs}"


def inspect(
    opened: ModelFile,
    options: Options | None = None,
    input_shapes: tuple[RequestedShape, ...] = (),
) -> Inspection:
    """Look at a model file. Unknown classes and unsolved shapes are told, not raised."""
    unmapped: dict[str, list[str]] = {}
    for path, module in submodules(opened.root):
        if module.typename not in opened.registry:
            unmapped.setdefault(module.typename, []).append(path)
    registry = opened.registry
    model = Model(opened.root, registry, decide(opened.root, options or Options()).options)
    graph, shown, note = walked(model, unmapped, input_shapes)
    return Inspection(
        name=opened.file.path,
        format=format_of(opened.file),
        size=opened.file.size,
        trailing=opened.file.trailing,
        selected=opened.selected,
        chosen=opened.chosen,
        wrapper=opened.wrapper,
        modes=dict(Counter(mode_of(module) for _, module in submodules(opened.root))),
        tensor_types=dict(tensor_types(opened.root)),
        classes=dict(histogram(opened.root).most_common()),
        parameters=count_parameters(opened.root),
        lines=tuple(tree(opened.root, registry, shapes_of(graph))),
        unmapped=unmapped,
        functions=[path for path, _ in functions_in(opened.root)],
        input_shape=shown,
        input_note=note,
        notes=dict(graph.notes) if graph else {},
        graph=graph,
        systems=looks_like(opened),
    )


def shapes_of(graph: Graph | None) -> dict[str, str]:
    """Output shape of every module by path."""
    return {
        call.path: ", ".join(str(value.type) for value in leaves(call.output))
        for call in (graph.calls if graph else ())
    }


def walked(
    model: Model, unmapped: dict[str, list[str]], input_shapes: tuple[RequestedShape, ...]
) -> tuple[Graph | None, str, str]:
    """The model walked with an input, the input's shape, and how it was found or why not."""
    if unmapped:
        return None, "", "shapes are not known while classes are unmapped"
    try:
        found: Shapes = shapes_for(model, input_shapes, 1)
        graph = model.walk(found.types[0])
        types = with_batches(model, found.types[0], 2)
        free = free_axes(generalise(model, types), time_axes(model, types))
        has_height = any("height" in axes for axes in free.values())
        geometry = geometry_of(model, found) if has_height else None
    except PorterError as error:
        asked = " ".join(f"`input_shapes={shape}`" for shape in error.shapes)
        kind = "to fill in" if error.is_template else "for example"
        known = not asked or asked in str(error)
        return None, "", str(error) if known else f"{error}\n{kind}: {asked}"
    shown = ", ".join(str(type) for type in leaves(found.types[0]))
    origin = "as given" if input_shapes else found.solved or "an example"
    return graph, shown, f"{origin}; {free_text(free, geometry)}"


def mode_of(module: TorchObject) -> str:
    """Whether a module was saved in training or evaluation mode."""
    if "train" not in module:
        return "no mode"
    return "training" if module.get("train") is True else "evaluate"


def tensor_types(root: TorchObject) -> Counter[str]:
    """How many parameter tensors there are of each Torch type."""
    return Counter(
        value.typename
        for _, module in submodules(root)
        for name, value in module.fields.items()
        if isinstance(value, Tensor) and value.numel and name not in GRADIENTS
    )


def own_parameters(module: TorchObject) -> list[Tensor]:
    """Weight and bias of one module."""
    tensors = (module.get(name) for name in PARAMETERS)
    return [tensor for tensor in tensors if isinstance(tensor, Tensor)]


def count_parameters(root: TorchObject) -> int:
    """Numbers in weights and biases; shared memory counts once."""
    distinct = {
        tensor.key: tensor.numel
        for _, module in submodules(root)
        for tensor in own_parameters(module)
    }
    return sum(distinct.values())


def tree(root: TorchObject, registry: Registry, shapes: dict[str, str]) -> list[ModuleLine]:
    """The module tree, depth first."""
    lines: list[ModuleLine] = []
    first: dict[int, str] = {}
    pending: list[tuple[str, TorchObject, int]] = [("", root, 0)]
    while pending:
        path, module, depth = pending.pop()
        shared = first.get(module.index)
        first.setdefault(module.index, path)
        lines.append(
            ModuleLine(
                path,
                module.typename,
                depth,
                shapes.get(path, ""),
                0 if shared is not None else sum(t.numel for t in own_parameters(module)),
                module.typename in registry,
                shared,
            )
        )
        if shared is None:
            children = [
                (f"{path}.{n}" if path else str(n), child, depth + 1) for n, child in parts(module)
            ]
            pending.extend(reversed(children))
    return lines
