"""Checks that protect the proof hold where assertions are switched off, too."""

from __future__ import annotations

import subprocess
import sys

import pytest

BROKEN_GRAPH = """
from dataclasses import replace
from tests.build import image, model, relu
from porter.ir.graph import verify

graph = model(relu()).walk(image(1, 3, 5, 5))
verify(replace(graph, nodes=graph.nodes * 2))
"""
BROKEN_SHAPE = """
import numpy as np
from porter.layer_maps.activation import ReLU
from porter.runtime import reference
from tests.build import image, model, relu

ReLU.reference = lambda self, x: x[:1]
graph = model(relu()).walk(image(2, 3, 5, 5))
reference.run(graph, {graph.inputs.id: np.zeros((2, 3, 5, 5))})
"""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (BROKEN_GRAPH, "InvariantError:  computes value 2 a second time"),
        (BROKEN_SHAPE, "the shape rule says 2×3×5×5"),
    ],
)
def test_invariants_hold_without_assertions(source: str, message: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-O", "-X", "utf8", "-c", source], capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert message in ran.stderr
