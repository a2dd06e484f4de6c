"""Steps of training that Torch recorded: every port takes the same, and what is wrong is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter import torch7
from porter.apps.check import gradients
from porter.apps.check.checker import Checker, find
from porter.errors import BadField, UsageError
from porter.ir.options import Options
from porter.ir.registry import Registry, register, registering_into
from porter.layer_maps import default_registry
from porter.layer_maps.squashing import Tanh
from porter.torch7 import Table, Tensor
from tests import build
from tests.build import FIXTURES
from tests.write_t7 import write_t7

CASES = FIXTURES / "gradients"
CLASSES = sorted(folder.name for folder in CASES.iterdir())
EXPECTED_DIFFERENCES = {
    "nn.CriterionTable/mse": "Torch recorded the forward pass alone",
    "nn.IndexLinear/batch": "Torch keeps the gradient in a sparse buffer beside gradWeight",
    "nn.MaskZero/linear": "Torch learns from the gradients of masked rows",
    "nn.PCAColorTransform/eval": "random",
    "nn.SimpleColorTransform/eval": "random",
    "nn.SpatialConvolutionMap/random_s2": "Torch writes gradients to wrong places",
}
"""All that fixtures/porter.toml allows to differ, and why (docs/training.md)."""


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker()


def test_there_is_a_case_for_most_classes() -> None:
    assert len(CLASSES) == 187
    assert len(find([CASES])) == 459


@pytest.mark.parametrize("typename", CLASSES)
def test_a_port_takes_the_step_that_torch_took(typename: str, checker: Checker) -> None:
    for fixture in find([CASES / typename]):
        assert fixture.kind == "gradient"
        result = checker.check(fixture)
        assert result.status == "pass", result.message


def test_allowed_differences_are_listed(checker: Checker) -> None:
    allowed = [
        f"{fixture.path.parent.name}/{fixture.path.stem}"
        for fixture in find([CASES])
        if (expected := checker.expectations.of(fixture.path)).differs or expected.status != "pass"
    ]
    assert allowed == sorted(EXPECTED_DIFFERENCES)


# What is wrong is named --------------------------------------------------------------------------

Change = Callable[[Table], None]


def tampered(case: str, folder: Path, change: Change) -> Path:
    """A copy of a case with something changed."""
    root = torch7.read(CASES / f"{case}.t7").root
    assert isinstance(root, Table)
    change(root)
    return write_t7(folder / "case.t7", root)


def tensor(array: Any) -> Tensor:
    """A tensor that is none of the file's: objects are told apart by their index."""
    copied = build.tensor(np.asarray(array))
    assert copied.storage is not None
    storage = replace(copied.storage, index=copied.storage.index + 10**6)
    return replace(copied, index=copied.index + 10**6, storage=storage)


def shifted(table: Table, key: str) -> None:
    """Change one number of a tensor by a thousandth of the largest."""
    array = np.array(table[key].array)
    array.reshape(-1)[-1] += 1e-3 * np.abs(array).max()
    table.items[key] = tensor(array)


def entry(position: int, key: str) -> Change:
    return lambda root: shifted(root["parameters"][position], key)


TAMPERED = {
    "output": ("nn.Sequential/conv_net", lambda root: shifted(root, "train_output")),
    "gradInput": ("nn.Sequential/conv_net", lambda root: shifted(root, "gradInput")),
    "gradWeight of 1": ("nn.Sequential/conv_net", entry(1, "grad")),
    "gradBias of 5": ("nn.Sequential/conv_net", entry(4, "grad")),
    "running_mean of the root": ("nn.SpatialBatchNormalization/affine", entry(3, "after")),
    "running_var of the root": ("nn.SpatialBatchNormalization/affine", entry(4, "after")),
    "gradWeight of 1.1.1.2.1": ("nn.FastLSTM/one_step", entry(1, "grad")),
    "gradWeight of the root": ("nn.WeightNorm/linear", entry(1, "grad")),
}


@pytest.mark.parametrize("quantity", TAMPERED)
def test_a_wrong_number_is_named(quantity: str, tmp_path: Path, checker: Checker) -> None:
    case, change = TAMPERED[quantity]
    (fixture,) = find([tampered(case, tmp_path, change)])
    result = checker.check(fixture)
    assert result.status == "fail"
    assert result.worst_path == quantity
    assert result.message.startswith(f"{quantity}: error ")


def test_a_layer_map_with_a_wrong_gradient_fails() -> None:
    registry = Registry(dict(default_registry().handlers))
    with registering_into(registry):

        @register("nn.Tanh", override=True)
        class Wrong(Tanh):
            """Its output is right."""

            def train(self, tf: Any, x: Any, **at: Any) -> Any:
                half = tf.multiply(self.apply(tf, x, **at), 0.5)
                return tf.add(half, tf.stop_gradient(half))

    (fixture,) = find([CASES / "nn.Tanh" / "d4.t7"])
    result = Checker(registry).check(fixture)
    assert (result.status, result.worst_path) == ("fail", "gradInput")


def test_what_is_said_to_differ_must() -> None:
    same = [gradients.Quantity("gradInput", gradients.Measure())]
    _, message = gradients.verdict(same, 1e-4, ["gradInput"])
    assert message == "gradInput: agrees, and is said to differ"


def test_a_gradient_that_is_zero_is_measured_beside_its_module(checker: Checker) -> None:
    # The biases in front of its batch normalisations: Torch's rounding is 1e-7 of gradWeight.
    case = CASES / "nn.Inception" / "pool.t7"
    found = {each.name: each.measure for each in gradients.check(case, checker.registry, Options())}
    assert found["gradBias of 1.1.1"].max_rel < 1e-6


# Files that are not as they should be ------------------------------------------------------------


@pytest.mark.parametrize("name", ["input", "gradOutput", "gradInput", "parameters"])
def test_what_is_missing_is_reported(name: str, tmp_path: Path) -> None:
    path = tampered("nn.Linear/2d", tmp_path, lambda root: root.items.pop(name))
    with pytest.raises(UsageError, match=f"lacks {name}") as raised:
        gradients.check(path, default_registry(), Options())
    assert "train_output=" in str(raised.value)


BROKEN: dict[str, tuple[Change, str]] = {
    "no module": (lambda root: root.items.update(module=1.0), "module of .* should be one"),
    "no list": (lambda root: root.items.update(parameters=1.0), "should be a list"),
    "no path": (lambda root: root["parameters"][1].items.pop("path"), "with path and name"),
    "no number": (lambda root: root["parameters"][1].items.pop("grad"), "tensor `grad` or `after`"),
    "nowhere": (lambda root: root["parameters"][1].items.update(path="3.1"), "is not there"),
    "no tensor": (lambda root: root["parameters"][1].items.update(grad=1.0), "`grad` or `after`"),
    "too short": (
        lambda root: root["parameters"][1].items.update(grad=tensor(np.zeros(2))),
        "as many elements",
    ),
    "a table": (
        lambda root: root.items.update(gradOutput=Table(10**6, {1: root["gradOutput"]})),
        "gradOutput should have tensors",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_case_is_refused(name: str, tmp_path: Path) -> None:
    change, message = BROKEN[name]
    path = tampered("nn.Linear/2d", tmp_path, change)
    with pytest.raises((BadField, UsageError), match=message):
        gradients.check(path, default_registry(), Options())
