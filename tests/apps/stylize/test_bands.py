"""Large pictures in bands: the same numbers in less memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from porter.apps.stylize.bands import Bands, moments
from porter.apps.stylize.loading import LoadOptions, open_net
from porter.apps.stylize.memory import require_room
from porter.apps.stylize.runners import Net
from porter.apps.train.generators import generator
from porter.apps.train.options import Architecture
from porter.errors import OutOfMemory
from porter.frontend.model_file import open_model
from porter.ir.fields import Array
from porter.ir.graph import Graph
from porter.ir.layout import plan
from porter.layer_maps import default_registry
from porter.runtime.runner import Variables, run
from porter.system.tensorflow import tf
from porter.torch7 import TorchObject
from tests.build import (
    FIXTURES,
    batch_norm,
    concat_table,
    conv,
    identity,
    image,
    model,
    relu,
    sequential,
    torch_module,
)
from tests.imaging.nets import OILPAINT, full_conv, skipping

JOHNSON = FIXTURES / "nets" / "texture_nets_johnson_slim" / "model.t7"


def pool(size: int, **fields: object) -> TorchObject:
    sides = dict.fromkeys(("kW", "kH", "dW", "dH"), size)
    return torch_module("nn.SpatialMaxPooling", **sides, padW=0, padH=0, **fields)


def unet() -> TorchObject:
    """Two levels of skip connections, joined along the planes, and borders of every kind."""
    reflect = torch_module(
        "nn.SpatialReflectionPadding", pad_l=2, pad_r=2, pad_t=2, pad_b=2, train=False
    )
    inner = sequential(conv(4, 6, 4, pad=1, stride=2, seed=3), batch_norm(6), full_conv(6, 4))
    middle = sequential(
        concat_table(identity(), inner), torch_module("nn.JoinTable", dimension=2, nInputDims=4)
    )
    outer = sequential(conv(3, 4, 4, pad=1, stride=2, seed=4), relu(), middle, full_conv(8, 3))
    return sequential(
        concat_table(identity(), outer),
        torch_module("nn.CAddTable"),
        reflect,
        conv(3, 5, 5, seed=5),
        torch_module("nn.SpatialUpSamplingNearest", scale_factor=2),
        pool(3, ceil_mode=True),
        torch_module("nn.MulConstant", constant_scalar=2.0),
    )


def enlarging() -> TorchObject:
    """Planes become pixels; bilinear interpolation, which depends on the whole size, in between."""
    bilinear = torch_module("nn.SpatialUpSamplingBilinear", scale_factor=2)
    shuffle = torch_module("nn.PixelShuffle", upscaleFactor=2)
    return sequential(conv(3, 8, 3, pad=1, seed=6), bilinear, shuffle, conv(2, 3, 3, seed=7))


def trained() -> TorchObject:
    """Normalised by the statistics of its batch, as pix2pix is."""
    normalization = batch_norm(5, train=True)
    return sequential(conv(3, 5, 3, pad=1, seed=8), normalization, relu(), conv(5, 3, 3, seed=9))


NETS = {
    "johnson": lambda: generator(Architecture("johnson", slim=8), 1),
    "pyramid": lambda: generator(Architecture("pyramid", slim=8), 1),
    "oilpaint": lambda: open_model(OILPAINT / "model.t7", default_registry()).root,
    "unet": unet,
    "skipping": skipping,
    "enlarging": enlarging,
    "trained": trained,
}


def whole(graph: Graph, variables: Variables, x: Array) -> Array:
    """The output of an undivided run."""
    steps = plan(graph)
    (source,), (target,) = steps.inputs, steps.outputs
    return np.asarray(run(steps, {source: tf.constant(x)}, variables)[target])


@pytest.mark.parametrize("name", NETS)
def test_bands_compute_what_the_whole_computes(name: str) -> None:
    """In float64: where bands meet, no rounding hides a row that is missing."""
    size = (96, 64) if name < "p" else (64, 96)
    graph = model(NETS[name]()).walk(image(1, 3, *size))
    variables = Variables("float64")
    x = np.random.default_rng(0).random((1, *size, 3))
    expected = whole(graph, variables, x)
    bands = Bands(graph, variables)
    scale = np.abs(expected).max()
    for rows in (5, 16):
        np.testing.assert_allclose(bands.run(x, rows), expected, rtol=0, atol=1e-10 * scale)


def test_a_net_without_statistics_keeps_nothing_but_its_output() -> None:
    bands = Bands(model(unet()).walk(image(1, 3, 64, 64)), Variables())
    assert bands.stored == [bands.target]


def test_a_normalised_net_keeps_what_later_layers_read() -> None:
    """Of its largest value, the first convolution's output, only the statistics."""
    size = 256
    graph = model(NETS["johnson"]()).walk(image(1, 3, size, size))
    bands = Bands(graph, Variables())
    kept = [bands.size(key) for key in bands.stored]
    widest = max(value.type.static[1] for value in graph.values() if value.shape[2] == size)
    assert max(kept) < widest * size * size * 4
    assert bands.memory(8) < bands.memory(64) < bands.memory(size)
    rows = bands.rows_within(bands.memory(16))
    assert rows is not None
    assert bands.memory(rows) <= bands.memory(16)
    assert bands.rows_within(bands.memory(1) - 1) is None


@pytest.fixture(scope="module")
def net() -> Net:
    return open_net(JOHNSON, LoadOptions())[0]


def test_a_picture_that_does_not_fit_runs_in_bands(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(1).random((1, 160, 128, 3), dtype=np.float32)
    expected = net(x)
    monkeypatch.setattr("porter.apps.stylize.memory.SMALL", 0)
    needed = net.activations(160, 128, 1) * 2
    monkeypatch.setattr("porter.runtime.memory.available", lambda: needed)
    call = require_room(net, 160, 128)
    monkeypatch.setattr(net, "run", lambda x: pytest.fail("the net ran"))
    np.testing.assert_allclose(call(x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_what_fits_in_no_bands_is_refused_with_the_size_that_does(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("porter.runtime.memory.available", lambda: 2**29)
    with pytest.raises(OutOfMemory, match="6000×9000") as caught:
        require_room(net, 6000, 9000)
    longest = int(str(caught.value.hint).split("image_size=")[1].split("`")[0])
    assert require_room(net, longest * 2 // 3, longest) is not None


def test_moments_are_those_of_the_whole() -> None:
    x = np.random.default_rng(2).standard_normal((1, 50, 20, 4)).astype(np.float32) + 1000
    mean, variance = moments(np.array_split(x, 7, axis=1), 3)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-13)
    np.testing.assert_allclose(variance, exact.var((0, 1, 2)), rtol=1e-10)


def test_the_shell_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from porter.runtime import memory

    resource = pytest.importorskip("resource")
    (tmp_path / "statm").write_text("100 0")
    monkeypatch.setattr(memory, "STATM", tmp_path / "statm")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2**22, 2**22))
    assert memory.address_space_left() == 2**22 - 100 * resource.getpagesize()
    assert memory.available() == memory.address_space_left()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert memory.address_space_left() is None
