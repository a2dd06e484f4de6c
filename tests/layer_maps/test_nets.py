"""Whole nets that a real Torch7 recorded: every module agrees, and images are never transposed.

Each net is compared module by module, then as the graph that would be saved, its free sizes open.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.apps.check.checker import Checker, Fixture, find
from porter.emit.port import build_widest
from porter.frontend.inputs import types_of
from porter.frontend.walker import Model
from porter.layer_maps import default_registry
from porter.runtime.runner import Variables
from tests.build import FIXTURES

NETS = {fixture.path: fixture for fixture in find([FIXTURES / "nets", FIXTURES / "trained"])}
FORMATS = {fixture.path: fixture for fixture in find([FIXTURES / "formats"])}

TRANSPOSES = {
    "alexnet_lrn_groups": 0,
    "conv3d_net": 0,
    "gvnn_warp_se3": 0,
    "hourglass_nngraph": 0,
    "inception_nn4_like": 0,
    "lenet_mm_tanh": 0,
    "nngraph_multi_io": 3,  # spreads features over an image, joins flattened ones, swaps axes
    "temporal_convnet_text": 0,
    "texture_nets_johnson_slim": 0,
    "unet_nested_concat": 0,
    "digits_lenet": 0,
}
"""How many transposes the emitted graph of each net has, signatures channels-last."""

UNMAPPED = {"model_unknown_user_class": "no layer map"}
"""Fixtures that porter refuses on purpose, with what it says of them."""


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker()


def transposes(fixture: Fixture, checker: Checker) -> list[int]:
    """For each network of a file, the transposes of the graph that `porter convert` would emit."""
    modules, recorded = checker.load(fixture)
    assert recorded.input is not None
    types = types_of(recorded.input)
    ports = [
        build_widest(Model(module, default_registry()), types, Variables()) for module in modules
    ]
    return [port.plan.transposes for port in ports]


def test_every_net_has_an_expected_number_of_transposes() -> None:
    assert {path.parent.name for path in NETS} == TRANSPOSES.keys()


@pytest.mark.parametrize("path", NETS, ids=lambda path: path.parent.name)
def test_a_net_agrees_with_torch(path: Path, checker: Checker) -> None:
    result = checker.check(NETS[path])
    assert (result.status, result.message) == ("pass", "")


@pytest.mark.parametrize("path", NETS, ids=lambda path: path.parent.name)
def test_a_net_is_transposed_no_more_than_it_must_be(path: Path, checker: Checker) -> None:
    assert transposes(NETS[path], checker) == [TRANSPOSES[path.parent.name]]


@pytest.mark.parametrize("path", FORMATS, ids=lambda path: path.stem)
def test_a_model_in_any_format_agrees_with_torch(path: Path, checker: Checker) -> None:
    result = checker.check(FORMATS[path])
    if path.stem in UNMAPPED:
        assert (result.status, result.message[:22]) == ("pass", "unmapped, as expected:")
        assert UNMAPPED[path.stem] in result.message
        return
    assert (result.status, result.message) == ("pass", "")
    assert set(transposes(FORMATS[path], checker)) == {0}


def test_every_refused_fixture_is_still_there() -> None:
    assert UNMAPPED.keys() <= {path.stem for path in FORMATS}
