"""Samples of a batch do not see each other: a batch gives what its samples give one by one.

Where that is not so, a table says why, and its entries are held to it: whoever is listed must
really depend on the other samples.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from porter.errors import PorterError
from porter.frontend.inputs import types_of
from porter.ir.graph import TensorType
from porter.ir.nested import Nested, leaves, map_leaves
from porter.parity.measure import compare
from tests.build import Array, run
from tests.layer_maps.built import BUILT
from tests.layer_maps.cases import RECORDED, Case, cases, similar

TIME_FIRST = "the first axis is time, the second the batch"
BY_PLACE = "takes random numbers of the file by the place of a sample in the batch"
NO_BATCH = "the case is one sample: its first axis are features"

DEPENDENT = {
    "*SoftMax/d[13]": NO_BATCH,
    "detection.ROIPooling/*": "regions name the image that they lie in",
    "inn.ROIPooling/fast_rcnn": "regions name the image that they lie in",
    "nn.BatchBilinearSamplerBHWD/built": "samples one image, whose first axis are its rows",
    "nn.Index/dim1": "picks samples",
    "nn.LayerNormalization/*": "Torch lays the means out the wrong way round: F×N beside N×F",
    "nn.MaskZero/in_sequencer": TIME_FIRST,
    "nn.Normalize/p1_1d": NO_BATCH,
    "nn.SeqBRNN/plain": TIME_FIRST,
    "nn.SeqGRU/plain": TIME_FIRST,
    "nn.SeqLSTM/plain": TIME_FIRST,
    "nn.SeqLSTMP/plain": TIME_FIRST,
    "nn.SeqReverseSequence/d1": TIME_FIRST,
    "nn.Sequencer/*_tensor": TIME_FIRST,
    "nn.Sequencer/linear_stack": TIME_FIRST,
    "nn.SoftMin/d[13]": NO_BATCH,
    "nn.SpatialBatchNormalization/train_mode": "uses the statistics of the batch",
    "nn.SpatialCrossMapLRN/size3_3d": NO_BATCH,
    "nn.SpatialFractionalMaxPooling/out_fixed": BY_PLACE,
    "nn.TemporalConvolutionTBC/built": TIME_FIRST,
}
"""Cases (patterns) that accept a larger first axis, but whose samples see each other."""

BATCHLESS = {
    "ccn2.SpatialConvolution": "C×H×W×N",
    "nn.AbsCriterion": "one number for the whole batch",
    "nn.BCECriterion": "one number for the whole batch",
    "nn.BilinearRoiPooling": "pools boxes of one image",
    "nn.CRowAddTable": "adds one vector to every row",
    "nn.ClassNLLCriterion": "one number for the whole batch",
    "nn.CriterionTable": "one number for the whole batch",
    "nn.DeepMask": "holds nets of one fixed batch",
    "nn.DistKLDivCriterion": "one number for the whole batch",
    "nn.Foveal": "makes four boxes of each",
    "nn.IndexLinear": "takes lists of keys and values",
    "nn.MaskedSelect": "picks from the whole batch",
    "nn.Normalization": "is recorded inside a net with a fixed batch",
    "nn.Parallel": "has one module for each slice",
    "nn.SharpMask": "holds nets of one fixed batch",
    "nn.SmoothL1Criterion": "one number for the whole batch",
    "nn.SparseLinear": "takes lists of keys and values",
    "nn.SpatialConvolutionCUDA": "C×H×W×N",
    "nn.SpatialFullConvolutionMap": "takes single samples only",
    "nn.SpatialLinear": "takes single samples only",
    "nn.SpatialNormalization": "takes single samples only",
    "nn.SpatialReSamplingEx": "is recorded inside a net with a fixed batch",
    "nn.StereoJoin": "compares a left and a right image",
    "nn.TemporalSubSampling": "takes single samples only",
    "ntm.NTM": "takes single samples only",
    "treelstm.CRowAddTable": "adds one vector to every row",
}
"""Classes without a case that makes as many results as it is given samples."""


def reason(case: Case) -> str | None:
    """Why samples of a case see each other, if they do."""
    return next((why for name, why in DEPENDENT.items() if fnmatchcase(case.name, name)), None)


def resized(types: Nested[TensorType], axis: int, size: int) -> Nested[TensorType]:
    def one(type: TensorType) -> TensorType:
        return replace(type, shape=(*type.shape[:axis], size, *type.shape[axis + 1 :]))

    return map_leaves(one, types)


def is_batch(case: Case, axis: int) -> bool:
    """Whether the module makes as many results as it is given samples along an axis."""
    types = types_of(case.inputs)
    if not all(type.rank > axis for type in leaves(types)):
        return False
    shapes = []
    for size in (1, 2, 3):
        try:
            graph = case.model.walk(resized(types, axis, size))
        except PorterError:
            return False
        shapes.append([value.type.shape for value in leaves(graph.outputs)])
    return bool(shapes[0]) and all(
        len(two) > axis and (*two[:axis], 3, *two[axis + 1 :]) == three and two[axis] == 2
        for two, three in zip(shapes[1], shapes[2], strict=True)
    )


def batch(case: Case, axis: int, seed: int) -> Nested[Array]:
    """Three samples like those of the case."""
    sizes = iter(leaves(resized(types_of(case.inputs), axis, 3)))
    random = np.random.default_rng(seed)
    return map_leaves(lambda x: similar(x, next(sizes).static, random, "float64"), case.inputs)


def strangers(case: Case, axis: int, seed: int) -> bool:
    """Whether each of three samples gives the same alone as among the others.

    Raises IndexError where a sample cannot be computed without the others.
    """
    whole = batch(case, axis, seed)
    together = list(leaves(run(case.model.root, whole)))
    for i in range(3):
        alone = run(case.model.root, map_leaves(lambda x: x.take([i], axis), whole))  # noqa: B023
        for many, one in zip(together, leaves(alone), strict=True):
            expected = many.take([i], axis)
            # Torch's View drops a batch of one.
            if not compare(expected, one.reshape(expected.shape)).within(1e-10):
                return False
    return True


@pytest.mark.parametrize("typename", sorted({*RECORDED, *BUILT}))
@given(seed=st.integers(0, 999))
def test_samples_of_a_batch_do_not_see_each_other(typename: str, seed: int) -> None:
    for case in cases(typename):
        note(str(case))
        if reason(case) == TIME_FIRST:
            assert is_batch(case, 1)
            assert strangers(case, 1, seed)
        elif reason(case) is None and is_batch(case, 0):
            assert strangers(case, 0, seed)


@pytest.mark.parametrize("pattern", DEPENDENT)
def test_what_is_said_to_see_its_neighbours_does(pattern: str) -> None:
    every = (case for name in (*RECORDED, *BUILT) for case in cases(name))
    named = [case for case in every if fnmatchcase(case.name, pattern)]
    assert named
    for case in named:
        assert is_batch(case, 0)
        try:
            alike = strangers(case, 0, seed=0)
        except IndexError:
            alike = False
        assert not alike, str(case)


def test_classes_without_batch_are_those_listed() -> None:
    without = {
        typename
        for typename in (*RECORDED, *BUILT)
        if not any(is_batch(case, 0) for case in cases(typename))
    }
    assert without == BATCHLESS.keys()
