"""No silent gaps: a class is recorded, covered by another's cases, or unrecorded for a reason."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import porter.layer_maps
from porter.apps import coverage
from porter.frontend.inputs import types_of
from porter.ir import capabilities
from porter.ir.capabilities import HasKerasLayer
from porter.ir.layer_map import LayerMap
from porter.layer_maps import default_registry
from tests.layer_maps.built import BUILT
from tests.layer_maps.cases import CASES, RECORDED, cases
from tests.layer_maps.published import PUBLISHED

REGISTERED = default_registry().handlers
LONGEST_FILE = 310

ALIASES = {
    "GloVeEmbedding": "nn.LookupTable",
    "GloVeEmbeddingFixed": "nn.LookupTable",
    "cudnn.Dropout": "nn.Dropout",
    "cudnn.SpatialDilatedConvolution": "nn.SpatialDilatedConvolution",
    "cudnn.VolumetricDilatedConvolution": "nn.VolumetricDilatedConvolution",
    "inn.SpatialCrossResponseNormalization": "nn.SpatialCrossMapLRN",
    "nn.BeamableMM": "nn.MM",
    "nn.ConvBlockTrainTestLayer": "nn.TrainTestLayer",
    "nn.Decorator": "nn.FireModule",
    "nn.ElementTable": "nn.SelectTable",
    "nn.FasterLookup": "nn.LookupTable",
    "nn.GradMultiply": "nn.FireModule",
    "nn.GradNormalization": "nn.CopyGrad",
    "nn.LinearNB": "nn.LinearNoBias",
    "nn.ModelParallel": "nn.Concat",
    "nn.ModuleFromCriterion": "nn.CriterionTable",
    "nn.Rectifier": "nn.ReLU",
    "nn.Serial": "nn.NaN",
    "nn.TrimZero": "nn.MaskZero",
    "nn.VolumetricConvolutionMM": "nn.VolumetricConvolution",
}
"""Classes that compute what another does, with the same map: name → name whose cases cover it."""

INSIDE = {
    "nn.BilinearSamplerBHWD": "nn.AffineGridGeneratorBHWD",
    "nn.CircularConvolution": "ntm.NTM",
    "nn.OuterProd": "ntm.NTM",
    "nn.PowTable": "ntm.NTM",
    "nn.ReshapeBoxFeatures": "nn.MakeBoxes",
    "nn.ScalarMulTable": "ntm.NTM",
    "nn.SmoothCosineSimilarity": "ntm.NTM",
    "nn.SpatialClassifier": "nn.SpatialNormalization",
    "nn.SpatialPadding": "nn.SpatialNormalization",
}
"""Classes that were recorded as a part of another's case: name → name of the folder."""

GPU_ONLY = "computes on a GPU only; recordings are made on a CPU"
SOURCE_ONLY = "was mapped from its public source; nobody recorded it"
IN_CRITERION_TABLE = "runs inside nn.CriterionTable only, which is recorded with one criterion"

UNRECORDED = {
    "ccn2.SpatialConvolution": GPU_ONLY,
    "cudnn.SpatialConvolutionUpsample": GPU_ONLY,
    "cudnn.VolumetricLogSoftMax": GPU_ONLY,
    "cudnn.VolumetricSoftMax": GPU_ONLY,
    "inn.ConstAffine": GPU_ONLY,
    "inn.LocalResponseNormalization": GPU_ONLY,
    "inn.SpatialAveragePooling": GPU_ONLY,
    "inn.SpatialMaxPooling": GPU_ONLY,
    "inn.SpatialPyramidPooling": GPU_ONLY,
    "inn.SpatialSameResponseNormalization": GPU_ONLY,
    "nn.AbsCriterion": IN_CRITERION_TABLE,
    "nn.BCECriterion": IN_CRITERION_TABLE,
    "nn.ClassNLLCriterion": IN_CRITERION_TABLE,
    "nn.DataParallel": GPU_ONLY,
    "nn.DataParallelTable": "splits its batch over GPUs; two files of fixtures/formats hold it",
    "nn.DistKLDivCriterion": IN_CRITERION_TABLE,
    "nn.LookupTableGPU": GPU_ONLY,
    "nn.MSECriterion": "is the criterion that nn.CriterionTable is recorded with",
    "nn.SmoothL1Criterion": IN_CRITERION_TABLE,
    "nn.SpatialConvolutionCUDA": GPU_ONLY,
    "nn.SpatialConvolutionCuFFT": GPU_ONLY,
    "nn.SpatialConvolutionFBFFT": GPU_ONLY,
    "nn.SpatialConvolutionFFT": GPU_ONLY,
    "nn.SpatialConvolutionUpsample": "is defined in two projects, neither of which is recorded",
    **dict.fromkeys(PUBLISHED, SOURCE_ONLY),
}
"""Classes that no Torch recorded, and why; the laws hold them to what `built.py` builds."""


def test_every_class_is_recorded_or_accounted_for() -> None:
    groups = [set(RECORDED), set(ALIASES), set(INSIDE), set(UNRECORDED)]
    assert set.union(*groups) == REGISTERED.keys()
    assert sum(map(len, groups)) == len(REGISTERED), "some class is listed twice"


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias_has_the_map_of_what_covers_it(name: str) -> None:
    covered_by = ALIASES[name]
    assert covered_by in RECORDED
    assert REGISTERED[name] is REGISTERED[covered_by]


@pytest.mark.parametrize("name", INSIDE)
def test_what_is_recorded_inside_another_occurs_there(name: str) -> None:
    graphs = [case.model.walk(types_of(case.inputs)) for case in cases(INSIDE[name])]
    assert any(call.typename == name for graph in graphs for call in graph.calls)


def test_what_is_unrecorded_is_built_for_the_laws() -> None:
    assert BUILT.keys() == UNRECORDED.keys() - {"nn.MSECriterion"}


@pytest.mark.parametrize("typename", RECORDED)
def test_a_folder_of_cases_holds_cases(typename: str) -> None:
    assert list((CASES / typename).glob("*.t7"))


def test_layer_map_files_stay_short() -> None:
    files = Path(porter.layer_maps.__path__[0]).glob("*.py")
    lengths = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {name: n for name, n in lengths.items() if n > LONGEST_FILE} == {}


def test_the_coverage_table_counts_the_cases_that_there_are() -> None:
    counted = {row.typename: row.cases for row in coverage.table()}
    there = {name: len(list((CASES / name).glob("*.t7"))) for name in RECORDED}
    assert {name: n for name, n in counted.items() if n} == there


def test_every_measured_error_is_within_the_tolerance() -> None:
    worst = {row.typename: row.worst for row in coverage.table() if row.cases}
    assert {name: error for name, error in worst.items() if error is None or error > 1e-5} == {}


def test_every_class_of_torch_nn_is_handled() -> None:
    standard = json.loads((CASES / "TORCH_NN.json").read_text(encoding="utf-8"))
    assert set(standard) - REGISTERED.keys() == set()


# Abstract or final --------------------------------------------------------------------------------


def subclasses(cls: type) -> Iterator[type]:
    """All classes below a class that are defined in porter or in its layer maps."""
    for each in cls.__subclasses__():
        if each.__module__.startswith("porter."):
            yield each
        yield from subclasses(each)


importlib.import_module("porter.passes")
CLASSES = sorted(set(subclasses(LayerMap)), key=lambda cls: (cls.__module__, cls.__name__))
BASES = {base for cls in CLASSES for base in cls.__mro__[1:]}


def test_a_registered_class_is_final() -> None:
    """Shared code stands in bases that no Torch class is mapped to."""
    registered = set(default_registry().layer_maps().values())
    assert sorted(cls.__name__ for cls in registered & BASES) == []


def test_a_class_that_is_instantiated_is_final() -> None:
    """No base is ever called: what has subclasses is abstract, whether or not Python knows it."""
    by_name = {cls.__name__: cls for cls in CLASSES}
    called = {
        node.func.id
        for module in {sys.modules[cls.__module__] for cls in CLASSES}
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    instantiated = {by_name[name] for name in called & by_name.keys()}
    assert len(instantiated) > 20
    assert sorted(cls.__name__ for cls in instantiated & BASES) == []


def test_no_two_layer_maps_have_one_name() -> None:
    names = Counter(cls.__name__ for cls in CLASSES)
    assert [name for name, count in names.items() if count > 1] == []


CAPABILITIES = [
    each
    for each in vars(capabilities).values()
    if getattr(each, "__module__", "") == capabilities.__name__ and inspect.isabstract(each)
]


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda each: each.__name__)
def test_what_has_a_capabilitys_methods_inherits_it(capability: type) -> None:
    """Clients ask with isinstance: a method without its class would never be called."""
    methods: frozenset[str] = capability.__abstractmethods__  # type: ignore[attr-defined]
    having = {cls for cls in CLASSES if any(hasattr(cls, name) for name in methods)}
    assert having
    assert sorted(cls.__name__ for cls in having if not issubclass(cls, capability)) == []


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_what_keras_computes_is_what_the_map_computes(cls: type[LayerMap]) -> None:
    """No class says what it computes below the class that says how Keras does."""
    if issubclass(cls, HasKerasLayer):
        owner = next(each for each in cls.__mro__ if {"keras", "apply"} & vars(each).keys())
        assert "keras" in vars(owner)
