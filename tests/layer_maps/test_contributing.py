"""CONTRIBUTING.md's example of a layer map works as it is printed."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np

from porter.frontend.walker import Model
from porter.ir.layout import plan
from porter.ir.nested import leaves
from porter.ir.registry import Registry, load_layer_maps
from porter.runtime import reference, runner
from tests.build import image, randn, torch_module

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
SHOWN, NEW = "nn.SoftSign", "my.SoftSign"


def example() -> str:
    """The first block of Python on the page."""
    found = re.search(r"^ *```python\n(.*?)^ *```", PAGE.read_text("utf-8"), re.S | re.M)
    assert found is not None
    return textwrap.dedent(found[1])


def test_the_example_maps_a_class_of_any_name(tmp_path: Path) -> None:
    source = example()
    assert source.count(SHOWN) == 1
    path = tmp_path / "my_layers.py"
    path.write_text(source.replace(SHOWN, NEW), "utf-8")
    registry = load_layer_maps(path, Registry())
    assert list(registry.handlers) == [NEW]

    graph = Model(torch_module(NEW), registry).walk(image(2, 3, 4, 5))
    (fed,), (output,) = leaves(graph.inputs), leaves(graph.outputs)
    x = randn(2, 3, 4, 5).astype(np.float64)
    expected = np.where(x < 0, x / (1 - x), x / (1 + x))
    np.testing.assert_allclose(reference.run(graph, {fed.id: x})[output.id], expected, rtol=1e-12)

    steps, variables = plan(graph), runner.Variables("float64")
    assert not steps.transposes, "the example works in every layout"
    stored = {fed.id: runner.store(x, fed, steps.inputs[fed.id], "float64")}
    computed = runner.run(steps, stored, variables)[output.id]
    loaded = runner.load(computed, steps.outputs[output.id])
    np.testing.assert_allclose(loaded, expected, rtol=1e-12)
