"""Inputs that are rearranged, cut or joined before a layer tells what it takes; what is asked."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from porter.cli.main import main
from porter.conversion.free_axes import free_axes, regrouped_warning
from porter.errors import PorterError, ShapeNeeded
from porter.frontend.dynamic import generalise
from porter.frontend.search import solve
from porter.ir.nested import leaves
from porter.torch7 import TorchObject
from tests.build import (
    container,
    conv,
    linear,
    model,
    parallel_table,
    randn,
    relu,
    sequential,
    storage,
    table,
    torch_module,
    view,
)
from tests.write_t7 import write_t7


def transpose(*pairs: tuple[int, int]) -> TorchObject:
    return torch_module("nn.Transpose", permutations=table(*[table(*pair) for pair in pairs]))


def parallel(into: int, out: int, *modules: TorchObject) -> TorchObject:
    return container("nn.Parallel", *modules, inputDimension=into, outputDimension=out)


def join(dimension: int, sample_rank: int = 0) -> TorchObject:
    return torch_module("nn.JoinTable", dimension=dimension, nInputDims=sample_rank)


SPLIT = torch_module("nn.SplitTable", dimension=2, nInputDims=0)
SIZE = storage(np.array([1, 3, 1, 1]))
WHOLE = storage(np.array([3, 8, 6]))
PLANE = storage(np.array([1, 8, 6]))


@pytest.mark.parametrize(
    ("net", "shapes", "free"),
    [
        ([transpose((1, 2)), linear(10, 4)], "10×5", "dimension 2"),
        ([transpose((2, 4)), conv(3, 4)], "2×5×7×3", "batch, height, width"),
        (
            [transpose((2, 3), (3, 4)), conv(3, 4), view(-1, sample_rank=3), linear(64, 5)],
            "2×6×3×6",
            "batch",
        ),
        (
            [torch_module("nn.Select", dimension=2, index=3), linear(6, 4)],
            "2×5×6",
            "batch, dimension 2",
        ),
        (
            [SPLIT, parallel_table(linear(6, 4), linear(6, 4)), join(2)],
            "2×2×6",
            "batch, dimension 2",
        ),
        ([parallel(2, 2, linear(6, 4), linear(6, 4), linear(6, 3))], "2×3×6", "batch"),
        ([parallel(1, 2, linear(6, 4), linear(6, 4))], "2×7×6", "dimension 2"),
        ([parallel(2, 2, conv(3, 4), conv(3, 4))], "2×2×3×37×53", "batch, height, width"),
        (
            [torch_module("nn.CMul", weight=randn(1, 3, 1, 1), size=SIZE), relu()],
            "1×3×37×53",
            "batch, height, width",
        ),
        (
            [torch_module("nn.CMul", weight=randn(3, 8, 6), size=WHOLE), conv(3, 4)],
            "1×3×8×6",
            "batch",
        ),
        (
            [torch_module("nn.CMul", weight=randn(3, 8, 6), size=WHOLE), linear(144, 4)],
            "1×144",
            "batch",
        ),
        (
            [torch_module("nn.CMul", weight=randn(1, 8, 6), size=PLANE), conv(1, 4)],
            "1×1×8×6",
            "batch",
        ),
        (
            [torch_module("nn.CAdd", bias=randn(1, 3, 1, 1), size=SIZE), relu()],
            "1×3×37×53",
            "batch, height, width",
        ),
    ],
)
def test_inputs_behind_layers_that_rearrange_them_are_found(
    net: list[TorchObject], shapes: str, free: str
) -> None:
    root = model(sequential(*net))
    (types, *_) = solve(root).types
    assert str(types) == shapes
    (axes,) = free_axes(generalise(root, types)).values()
    assert ", ".join(axes) == free


def bottle(*modules: TorchObject) -> TorchObject:
    return container("nn.Bottle", *modules, nInputDim=2, nOutputDim=2, dimDelta=0)


@pytest.mark.parametrize("behind", [relu(), torch_module("nn.Max", dimension=2)])
def test_rows_and_sequences_of_them_are_not_told_apart(behind: TorchObject) -> None:
    with pytest.raises(ShapeNeeded, match="two and of three dimensions") as caught:
        solve(model(sequential(bottle(linear(24, 4)), behind)))
    assert "`input_shapes=2x7x24` or `input_shapes=2x24`" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (view(784), "such as `input_shapes=1x1x28x28`"),
        (view(-1, 24), "such as `input_shapes=1x4x6`"),
        (view(-1, 75), "such as `input_shapes=1x3x5x5`"),
        (relu(), ""),
    ],
)
def test_a_first_reshape_is_said_to_take_samples_of_other_shapes(
    first: TorchObject, said: str
) -> None:
    width = abs(math.prod(first.get("size").array.tolist())) if said else 10
    net = model(sequential(relu(), first, linear(width, 4)))
    (types, *_) = solve(net).types
    warning = regrouped_warning(net, types, generalise(net, types))
    assert said in warning
    assert bool(said) == bool(warning)
    if said:
        assert warning.startswith(f"2 (nn.View) takes samples of any shape of {width} numbers")


def tower(planes: int, kernel: int, features: int) -> TorchObject:
    return sequential(conv(planes, 4, kernel), relu(), view(features), linear(features, 5))


@pytest.mark.parametrize(
    ("towers", "shapes"),
    [
        ([tower(1, 3, 4 * 103 * 103), tower(1, 3, 4 * 103 * 103)], "2×1×105×105 2×1×105×105"),
        ([tower(3, 3, 144), tower(1, 5, 400), linear(3, 4)], "2×3×8×8 2×1×14×14 2×3"),
        ([sequential(conv(1, 4), view(-1), linear(144, 5)), linear(3, 4)], "1×1×8×8 3"),
    ],
)
def test_images_of_fixed_sizes_are_found_for_each_of_several_inputs(
    towers: list[TorchObject], shapes: str
) -> None:
    solved = solve(model(sequential(parallel_table(*towers), join(1, sample_rank=1))))
    assert " ".join(map(str, leaves(solved.types[0]))) == shapes


@pytest.mark.parametrize(
    ("net", "command"),
    [
        ([conv(1, 4), conv(5, 2)], "to fill in: porter inspect {} --input-shape 1xHxW"),
        (
            [torch_module("nn.Max", dimension=2)],
            "for example: porter inspect {} --input-shape 1x3x256x256",
        ),
        (
            [join(2), conv(6, 4)],
            "for example: porter inspect {} --input-shape 1x3x256x256 --input-shape 1x3x256x256",
        ),
        (
            [join(2), conv(2, 4), view(144), linear(144, 2)],
            "for example: porter inspect {} --input-shape 1x1x8x8 --input-shape 1x1x8x8",
        ),
        (
            [parallel_table(tower(1, 3, 4 * 158 * 58), linear(10, 4)), join(2)],
            "to fill in: porter inspect {} --input-shape 1xHxW --input-shape SHAPE_2",
        ),
    ],
)
def test_a_command_is_printed_where_an_input_is_asked_for(
    net: list[TorchObject], command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PorterError) as caught:
        solve(model(sequential(*net)))
    path = write_t7(tmp_path / "model.t7", sequential(*net))
    assert main(["inspect", str(path)]) == 0
    options = [f"--input-shape {shape}" for shape in caught.value.shapes]
    assert " ".join(options) in " ".join(capsys.readouterr().out.split())
    assert main(["convert", str(path)]) == caught.value.exit_code
    printed = " ".join(capsys.readouterr().err.split())
    assert command.format(path).replace("inspect", "convert") in printed
    if not caught.value.is_template:
        assert main(command.format(path).partition(": porter ")[2].split()) == 0
