"""Which module of a file is taken: inside tables, objects of unknown classes, and modules."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.errors import UsageError, WrongFile
from porter.frontend.model_file import open_model
from porter.frontend.module_tree import submodules
from porter.frontend.selection import find_modules, module_at
from porter.layer_maps import default_registry
from porter.torch7 import TorchObject, read
from tests.build import FIXTURES, linear, lua, randn, relu, run, sequential, table, torch_module
from tests.write_t7 import unknown_object, write_t7

CASES = FIXTURES / "field" / "objects"
REGISTRY = default_registry()


def net(*sizes: int) -> TorchObject:
    """Linear, ReLU, Linear, ReLU …"""
    pairs = itertools.pairwise(sizes)
    return sequential(*(m for a, b in pairs for m in (linear(a, b, seed=a), relu())))


def found(root: Any) -> list[str]:
    return [path for path, _ in find_modules(lua(root), REGISTRY)]


@pytest.mark.parametrize(
    ("root", "paths"),
    [
        (net(3, 4), [""]),
        (torch_module("my.Model", net=net(3, 4), output=randn(2)), ["net"]),
        (torch_module("my.Model", modules=[], net=net(3, 4)), ["net"]),
        (torch_module("my.Model", modules=table(net=net(3, 4))), ["modules.net"]),
        (table(agent=torch_module("my.Agent", network=net(3, 4)), step=1), ["agent.network"]),
        (table(a=torch_module("my.A", b=[torch_module("my.B", c=net(3, 4))])), ["a.b.1.c"]),
        (torch_module("my.Layer", output=randn(2)), [""]),
        (torch_module("my.Container", modules=[net(3, 4)], net=net(3, 4)), [""]),
        (table(criterion=torch_module("my.Criterion", vgg=net(3, 4)), model=net(3, 4)), ["model"]),
        (torch_module("my.Agent", steps=3), []),
    ],
)
def test_modules_are_found(root: Any, paths: list[str]) -> None:
    assert found(root) == paths


def test_objects_that_hold_themselves_are_looked_at_once() -> None:
    agent = torch_module("my.Agent", network=net(3, 4))
    agent.fields["self"] = agent
    assert found(table(a=agent, b=agent)) == ["a.network"]


def test_a_model_beside_its_own_parts_is_the_one(tmp_path: Path) -> None:
    parts = [net(3, 4), net(4, 5)]
    root = torch_module("my.Model", parts=parts, whole=sequential(*parts), output=randn(2))
    opened = open_model(write_t7(tmp_path / "model.t7", root), REGISTRY)
    assert opened.selected == "whole"
    assert "class my.Model, which porter does not know" in opened.warning


def test_several_modules_are_listed(tmp_path: Path) -> None:
    root = table(agent=torch_module("my.Agent", policy=net(3, 4), value=net(3, 1)))
    with pytest.raises(UsageError) as caught:
        open_model(write_t7(tmp_path / "model.t7", root), REGISTRY)
    assert "  agent.policy: nn.Sequential\n  agent.value: nn.Sequential" in str(caught.value)
    assert '`select="PATH"`' in str(caught.value)


@pytest.mark.parametrize(
    ("path", "typename"),
    [
        ("model", "nn.Sequential"),
        ("model.3", "nn.Linear"),
        ("model.modules.3", "nn.Linear"),
        ("model.1-2", "nn.Sequential"),
        ("wrapper.inner", "nn.Sequential"),
        ("wrapper.inner.2", "nn.ReLU"),
        ("dotted.key.1", "nn.Linear"),
        ("list.2", "nn.ReLU"),
    ],
)
def test_a_path_reaches_any_module(path: str, typename: str) -> None:
    root = lua(
        {
            "model": net(3, 4, 5),
            "wrapper": torch_module("my.Wrapper", inner=net(3, 4)),
            "dotted.key": net(3, 4),
            "list": [net(3, 4), relu()],
        }
    )
    module = module_at(root, path, REGISTRY)
    assert module is not None
    assert module.typename == typename


def test_a_range_computes_what_the_first_modules_do() -> None:
    whole = net(3, 4, 5)
    x = randn(2, 3)
    section = module_at(whole, "1-2", REGISTRY)
    assert section is not None
    np.testing.assert_array_equal(run(section, x), run(net(3, 4), x))
    behind = module_at(whole, "3-4", REGISTRY)
    assert behind is not None
    np.testing.assert_allclose(run(behind, run(section, x)), run(whole, x), rtol=1e-6)


NOWHERE = ("model.9", "model.weight", "nowhere", "model.", "list.1", "number")


@pytest.mark.parametrize("path", NOWHERE)
def test_a_path_that_reaches_no_module(path: str) -> None:
    assert module_at(lua({"model": net(3, 4), "list": [1, 2], "number": 3}), path, REGISTRY) is None


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("0-1", "is no range of this nn.Sequential"),
        ("2-1", "is no range"),
        ("1-3", "modules 1 to 2"),
        ("1.1-2", "only an nn.Sequential has"),
    ],
)
def test_a_wrong_range_is_refused(path: str, said: str) -> None:
    with pytest.raises(UsageError, match=r".") as caught:
        module_at(net(3, 4), path, REGISTRY)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("wrapper_module", "model.net"),
        ("agent_table", "agent.network"),
        ("named_field_module", "model.net"),
    ],
)
def test_the_net_in_an_object_that_real_torch_saved(name: str, path: str) -> None:
    assert open_model(CASES / f"{name}.t7", REGISTRY).selected == path


def test_nets_in_named_fields_are_reached_one_by_one(tmp_path: Path) -> None:
    file = unknown_object(tmp_path / "model.t7")
    with pytest.raises(UsageError, match="holds 3 modules"):
        open_model(file, REGISTRY)
    assert open_model(file, REGISTRY, "model.trunk").root.typename == "nn.Sequential"
    assert open_model(file, REGISTRY, "model.trunk.4").root.typename == "nn.Linear"


def test_an_object_whose_class_is_known_is_a_module_with_its_parts_in_fields() -> None:
    opened = open_model(CASES / "named_field_nets.t7", REGISTRY)
    assert opened.selected == "model"
    paths = [path for path, _ in submodules(opened.root)]
    assert {"trunk", "trunk.4", "maskBranch.1", "scoreBranch.1"} <= set(paths)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("params_only", "a torch.FloatTensor of 15"),
        ("tensor_list", '3: the string "hi"'),
        ("crnn_like", "bnVars: a table with 1 entry; parameters: a table with 2 entries"),
    ],
)
def test_a_file_without_a_module_lists_its_keys(name: str, said: str) -> None:
    with pytest.raises(WrongFile) as caught:
        open_model(CASES / f"{name}.t7", REGISTRY)
    assert "holds no Torch module" in str(caught.value)
    assert said in str(caught.value)
    assert "`porter weights`" in str(caught.value)


def test_many_keys_are_cut(tmp_path: Path) -> None:
    path = write_t7(tmp_path / "many.t7", table(*range(1, 40)))
    with pytest.raises(WrongFile, match="and 27 more"):
        open_model(path, REGISTRY)
    assert read(path).root is not None
