"""Everything that a layer map needs, from one import.

    from porter.maps import Accepts, LayerMap, OpContext, param, register

Each file of `layer_maps/` imports from here and from nothing else of porter, and so does a user's
own file (`porter scaffold` writes one, `--layer-maps` reads it). The names are documented where
they are defined; CONTRIBUTING.md shows how they are used.
"""

from __future__ import annotations

from porter.errors import (
    BadField,
    BadTable,
    MissingField,
    ShapeMismatch,
    TooLarge,
    UnmappedModules,
    WalkError,
)
from porter.frontend.loop import over_time
from porter.frontend.open_tables import MoveAxis
from porter.frontend.recurrence import (
    Start,
    forgetting,
    keep,
    loop,
    memory,
    previous,
    step_clone,
)
from porter.frontend.stepping import HasStates
from porter.frontend.walker import Walk
from porter.ir.capabilities import (
    AffinePerPlane,
    BySample,
    HasKerasLayer,
    HasReach,
    HasSlopes,
    HintsInput,
    HintsInputs,
    KeepsFirstInput,
    LinearInPlanes,
    MakesBatch,
    MakesTable,
    NormalizesPlanes,
    PlaneNormalization,
    ReadsTable,
    ShiftsIndices,
    Skippable,
    TakesIndices,
    TellsInput,
)
from porter.ir.fields import (
    Array,
    DerivedParam,
    DerivedTensor,
    Field,
    Param,
    as_param,
    flag,
    integer,
    integers,
    integers_of,
    number,
    optional_integer,
    optional_number,
    optional_param,
    param,
    raw,
    read_sizes,
    sizes,
    string,
)
from porter.ir.graph import FLOAT, INT, Shape, TensorType, Types, Value
from porter.ir.layer_map import Accepts, LayerMap
from porter.ir.layout import (
    Layout,
    Layouts,
    NotDynamic,
    OpContext,
    channels_last,
    flattened,
    size,
    torch_order,
)
from porter.ir.layout_reshape import complete, regrouped
from porter.ir.nested import Nested, leaves, map_leaves, same_structure
from porter.ir.options import Options
from porter.ir.reach import POINTWISE, Reach
from porter.ir.registry import DEFAULT_REGISTRY, Registry, is_layer_map, register, structure
from porter.ir.window import Window
from porter.torch7 import LuaFunction, Storage, Table, Tensor, TorchObject, describe

__all__ = [
    "DEFAULT_REGISTRY",
    "FLOAT",
    "INT",
    "POINTWISE",
    "Accepts",
    "AffinePerPlane",
    "Array",
    "BadField",
    "BadTable",
    "BySample",
    "DerivedParam",
    "DerivedTensor",
    "Field",
    "HasKerasLayer",
    "HasReach",
    "HasSlopes",
    "HasStates",
    "HintsInput",
    "HintsInputs",
    "KeepsFirstInput",
    "LayerMap",
    "Layout",
    "Layouts",
    "LinearInPlanes",
    "LuaFunction",
    "MakesBatch",
    "MakesTable",
    "MissingField",
    "MoveAxis",
    "Nested",
    "NormalizesPlanes",
    "NotDynamic",
    "OpContext",
    "Options",
    "Param",
    "PlaneNormalization",
    "Reach",
    "ReadsTable",
    "Registry",
    "Shape",
    "ShapeMismatch",
    "ShiftsIndices",
    "Skippable",
    "Start",
    "Storage",
    "Table",
    "TakesIndices",
    "TellsInput",
    "Tensor",
    "TensorType",
    "TooLarge",
    "TorchObject",
    "Types",
    "UnmappedModules",
    "Value",
    "Walk",
    "WalkError",
    "Window",
    "as_param",
    "channels_last",
    "complete",
    "describe",
    "flag",
    "flattened",
    "forgetting",
    "integer",
    "integers",
    "integers_of",
    "is_layer_map",
    "keep",
    "leaves",
    "loop",
    "map_leaves",
    "memory",
    "number",
    "optional_integer",
    "optional_number",
    "optional_param",
    "over_time",
    "param",
    "previous",
    "raw",
    "read_sizes",
    "register",
    "regrouped",
    "same_structure",
    "size",
    "sizes",
    "step_clone",
    "string",
    "structure",
    "torch_order",
]
