"""texture_nets' generators: the modules that Torch has, with the weights that Torch draws."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from porter import torch7
from porter.apps.train.generators import generator
from porter.apps.train.options import Architecture
from porter.errors import UsageError
from porter.frontend.module_tree import histogram, submodules
from porter.ir.graph import TensorType
from porter.ir.nested import leaves
from porter.runtime import reference
from porter.torch7 import Tensor, TorchObject, writer
from tests.build import FIXTURES, model, randn

FIELDS = ("kW", "dW", "padW", "pad_l", "pad_b", "adjH", "eps", "momentum", "inplace", "strength")

# What Torch saved of pyramid.lua and skip_unpool.lua.
PYRAMID = {
    "nn.Concat": 5,
    "nn.InstanceNormalization": 43,
    "nn.ReLU": 33,
    "nn.Sequential": 33,
    "nn.SpatialAveragePooling": 6,
    "nn.SpatialConvolution": 34,
    "nn.SpatialReplicationPadding": 22,
    "nn.SpatialUpSamplingNearest": 5,
    "nn.TVLoss": 1,
}
SKIP_UNPOOL = {
    "nn.CAddTable": 1,
    "nn.Concat": 4,
    "nn.ConcatTable": 1,
    "nn.Identity": 1,
    "nn.InstanceNormalization": 35,
    "nn.LeakyReLU": 24,
    "nn.Sequential": 32,
    "nn.SpatialConvolution": 28,
    "nn.SpatialMaxPooling": 4,
    "nn.SpatialMaxUnpooling": 4,
    "nn.SpatialReplicationPadding": 19,
    "nn.TVLoss": 1,
}


def outline(root: TorchObject) -> list[Any]:
    """Every module with its path, class and sizes, but not its numbers."""
    return [
        (
            path,
            module.typename,
            [(name, module.get(name)) for name in FIELDS],
            [getattr(module.get(name), "shape", None) for name in ("weight", "bias")],
        )
        for path, module in submodules(root)
    ]


def test_a_slim_johnson_is_the_one_that_torch_saved() -> None:
    saved = torch7.read(FIXTURES / "nets/texture_nets_johnson_slim/model.t7").root
    root = generator(Architecture("johnson", slim=4), seed=1)
    assert outline(root) == outline(saved)


@pytest.mark.parametrize(
    ("name", "classes", "numbers"),
    [("pyramid", PYRAMID, 30_139), ("skip_unpool", SKIP_UNPOOL, 205_473)],
)
def test_generators_have_the_modules_that_torch_saved(
    name: str, classes: dict[str, int], numbers: int
) -> None:
    root = generator(Architecture(name, slim=2), seed=1)
    assert histogram(root) == Counter(classes)
    weights = [m.get(n) for _, m in submodules(root) for n in ("weight", "bias")]
    assert sum(w.numel for w in weights if w is not None) == numbers


def fresh_bounds(tensor: Tensor, fan_in: float) -> tuple[float, float]:
    """The largest number and the deviation, both times the square root of the fan-in."""
    array = tensor.array.astype(np.float64)
    return float(np.abs(array).max()) * math.sqrt(fan_in), float(array.std()) * math.sqrt(fan_in)


def fan_in(module: TorchObject) -> float:
    return module.number("kW") * module.number("kH") * module.number("nInputPlane")


@pytest.mark.parametrize("name", ["johnson", "pyramid", "skip_unpool"])
def test_initial_weights_are_spread_as_those_of_fresh_torch_layers(name: str) -> None:
    torch = torch7.read(FIXTURES / "nets/texture_nets_johnson_slim/model.t7").root
    spread: dict[str, list[tuple[float, float]]] = {"torch": [], "ours": []}
    for who, root in (("torch", torch), ("ours", generator(Architecture(name), seed=5))):
        for _, module in submodules(root):
            if "Convolution" in module.typename and module.tensor("weight").numel > 1000:
                spread[who].append(fresh_bounds(module.tensor("weight"), fan_in(module)))
                bias = fresh_bounds(module.tensor("bias"), fan_in(module))[0]
                assert bias <= 1 + 1e-6
    for bounds in spread.values():
        largest, deviation = np.array(bounds).T
        assert 0.99 < largest.min() <= largest.max() <= 1 + 1e-6
        # A uniform number in ±1 has a deviation of 1/√3.
        np.testing.assert_allclose(deviation, 1 / math.sqrt(3), rtol=0.05)


@pytest.mark.parametrize("kind", ["instance", "batch"])
def test_normalisation_starts_with_scales_uniform_in_0_to_1(kind: str) -> None:
    root = generator(Architecture("johnson", normalization=kind), seed=2)
    layers = [m for _, m in submodules(root) if m.typename.endswith("Normalization")]
    scales = np.concatenate([m.tensor("weight").array for m in layers])
    assert 0 <= scales.min() < 0.01 < 0.99 < scales.max() <= 1
    assert abs(scales.mean() - 0.5) < 0.02
    assert not any(m.tensor("bias").array.any() for m in layers)


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    one, same, other = (
        writer.to_bytes(generator(Architecture("johnson", slim=8), seed)) for seed in (1, 1, 2)
    )
    assert one == same != other


@pytest.mark.parametrize("name", ["johnson", "pyramid", "skip_unpool"])
@pytest.mark.parametrize("mode", ["style", "texture"])
def test_a_generator_keeps_the_size_of_its_input(name: str, mode: str) -> None:
    root = generator(Architecture(name, mode, slim=4), seed=1)
    (output,) = leaves(model(root).walk(TensorType((2, 3, 64, 96))).outputs)
    assert output.type.static == (2, 3, 64, 96)


def without_noise(module: TorchObject) -> TorchObject:
    """The same generator, which takes its noise from outside."""
    for _, each in submodules(module):
        if each.typename == "nn.NoiseFill":
            each.typename = "nn.Identity"
    return module


@pytest.mark.parametrize("name", ["johnson", "pyramid", "skip_unpool"])
def test_a_texture_is_a_torus(name: str) -> None:
    """Noise shifted around the edge gives the texture shifted around the edge: there is no seam."""
    net = model(without_noise(generator(Architecture(name, "texture", slim=8), seed=3)))
    graph = net.walk(TensorType((1, 3, 64, 64)))
    (fed,), (output,) = leaves(graph.inputs), leaves(graph.outputs)
    noise = randn(1, 3, 64, 64).astype(np.float64)

    def texture(x: Any) -> Any:
        return reference.run(graph, {fed.id: x})[output.id]

    shifted = texture(np.roll(noise, (32, 32), axis=(2, 3)))
    np.testing.assert_allclose(
        shifted, np.roll(texture(noise), (32, 32), axis=(2, 3)), rtol=1e-7, atol=1e-9
    )


def test_an_unknown_generator_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="no generator 'unet'"):
        generator(Architecture("unet"), seed=1)
