"""Whole conversions: what is measured of a process and of those that it starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import published, whole_conversion
from porter.frontend.model_file import open_model
from porter.ir.graph import TensorType
from porter.ir.nested import leaves
from porter.layer_maps import default_registry

BELOW = """\
import json, os, subprocess, sys, time
code = "import time; x = bytearray(64 * 2**20); sum(range(3 * 10**6)); time.sleep(0.5)"
subprocess.run([sys.executable, "-c", code], check=True)
print(json.dumps(os.times()[:4]))
"""


def test_a_process_below_counts_by_itself() -> None:
    cost = whole_conversion.measure(BELOW)
    assert cost.seconds_below > 0
    assert 0 < cost.peak < 64 < cost.peak_below


def test_a_conversion_that_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="exit code 3"):
        whole_conversion.measure("raise SystemExit(3)")


def test_a_row_for_each_net_that_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    whole_conversion.main(["oilpaint"], ["saved_model"])
    rows = capfd.readouterr().out.splitlines()
    assert rows[0].startswith("One `import tensorflow` takes ")
    (cells,) = ([cell.strip() for cell in row.split("|")[1:-1]] for row in rows[4:])
    assert cells[0] == "oilpaint"
    assert float(cells[2]) > float(cells[3]) > 0
    assert float(cells[4]) > 100


def test_a_name_that_no_net_has_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no net"):
        whole_conversion.main(["nobody's"], ["saved_model"])


@pytest.mark.parametrize(
    ("definition", "given", "output", "parameters"),
    [
        (published.edsr, (1, 3, 8, 6), (1, 3, 16, 12), 40_729_627),
        (published.wct_decoder, (1, 512, 4, 3), (1, 3, 64, 48), 12_944_451),
        (published.gan_3d, (1, 200, 1, 1, 1), (1, 1, 64, 64, 64), 17_570_625),
    ],
    ids=["EDSR", "WCT decoder", "3-D GAN generator"],
)
def test_definitions_have_the_published_shapes(
    definition: published.Definition,
    given: tuple[int, ...],
    output: tuple[int, ...],
    parameters: int,
    tmp_path: Path,
) -> None:
    published.write(definition, tmp_path / "model.t7")
    graph = open_model(tmp_path / "model.t7", default_registry()).model().walk(TensorType(given))
    assert [value.type.shape for value in leaves(graph.outputs)] == [output]
    learned = (
        param.array
        for node in graph.nodes
        for name, param in node.op.params().items()
        if not name.startswith("running")
    )
    assert sum(np.size(array) for array in learned) == parameters
