"""Walking module trees: what Torch would compute, in-place writes and all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from porter.emit.port import build
from porter.errors import (
    BadField,
    BadTable,
    MissingField,
    PorterError,
    ShapeMismatch,
    UnmappedModules,
    UsageError,
    WalkError,
)
from porter.frontend.module_tree import require_mapped
from porter.ir.graph import Graph
from porter.ir.nested import leaves
from porter.layer_maps import default_registry
from porter.runtime.runner import Variables
from porter.torch7 import TorchObject, read
from tests.build import (
    FIXTURES,
    Array,
    concat_table,
    container,
    conv,
    graph_module,
    graph_node,
    identity,
    image,
    linear,
    link,
    lua,
    model,
    parallel_table,
    randn,
    relu,
    run,
    sequential,
    storage,
    tensor,
    torch_module,
    view,
)


def times(factor: float, inplace: bool = False) -> TorchObject:
    return torch_module("nn.MulConstant", constant_scalar=factor, inplace=inplace)


def add(inplace: bool = False) -> TorchObject:
    return torch_module("nn.CAddTable", inplace=inplace)


def check(outputs: Any, *expected: Array) -> None:
    """Compare a tensor, or the tensors of a table, with what Torch would make."""
    arrays = list(leaves(outputs))
    assert len(arrays) == len(expected)
    for array, value in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(array, value, rtol=1e-6)


# In place, exactly as Torch -----------------------------------------------------------------------


def test_identity_beside_an_inplace_layer_sees_what_it_wrote() -> None:
    x = randn(2, 6)
    check(run(concat_table(identity(), relu(inplace=True)), x), x.clip(0), x.clip(0))


def test_identity_beside_a_layer_that_is_not_in_place_keeps_its_input() -> None:
    x = randn(2, 6)
    check(run(concat_table(identity(), relu()), x), x, x.clip(0))


def test_a_layer_that_ran_before_the_write_saw_the_input() -> None:
    x, layer = randn(2, 6), linear(6, 3)
    expected = x @ layer.tensor("weight").array.T + layer.tensor("bias").array
    check(run(concat_table(layer, relu(inplace=True)), x), expected, x.clip(0))
    expected = x.clip(0) @ layer.tensor("weight").array.T + layer.tensor("bias").array
    check(run(concat_table(relu(inplace=True), layer), x), x.clip(0), expected)


def test_a_write_through_a_view_is_seen_in_the_original_shape() -> None:
    x = randn(2, 6)
    branch = sequential(view(3, 4), relu(inplace=True))
    net = sequential(concat_table(identity(), branch), parallel_table(times(2), times(3)))
    check(run(net, x), 2 * x.clip(0), 3 * x.clip(0).reshape(3, 4))


def test_a_write_to_the_original_is_seen_through_a_view_made_before() -> None:
    x = randn(2, 6)
    check(
        run(concat_table(view(3, 4), relu(inplace=True)), x),
        x.clip(0).reshape(3, 4),
        x.clip(0),
    )


def test_add_in_place_overwrites_the_first_summand() -> None:
    x, y = randn(2, 6, seed=1), randn(2, 6, seed=2)
    first, second = (torch_module("nn.SelectTable", index=i) for i in (1, 2))
    check(run(concat_table(add(inplace=True), first, second), [x, y]), x + y, x + y, y)
    check(run(concat_table(add(), first, second), [x, y]), x + y, x, y)


def test_a_residual_sum_in_place_of_a_relu_in_place() -> None:
    x, layer = randn(2, 4), linear(4, 4)
    expected = x.clip(0) @ layer.tensor("weight").array.T + layer.tensor("bias").array
    net = sequential(
        relu(inplace=True), concat_table(identity(), layer), add(inplace=True), relu(inplace=True)
    )
    check(run(net, x), (x.clip(0) + expected).clip(0))


def test_two_writes_one_after_the_other() -> None:
    x = randn(2, 6)
    net = concat_table(identity(), relu(inplace=True), times(3, inplace=True), times(2))
    check(run(net, x), 3 * x.clip(0), 3 * x.clip(0), 3 * x.clip(0), 6 * x.clip(0))


def test_in_place_on_a_replicated_tensor_writes_once_for_each_copy() -> None:
    x = randn(2, 3)
    copies = torch_module("nn.Replicate", nfeatures=3, dim=1)
    check(run(sequential(copies, times(2, inplace=True)), x), np.stack([8 * x] * 3))
    check(run(sequential(copies, times(2)), x), np.stack([2 * x] * 3))


def test_a_write_to_one_slice_leaves_the_others_alone() -> None:
    x = randn(2, 6)
    split = torch_module("nn.SplitTable", dimension=1)
    check(
        run(sequential(split, parallel_table(relu(inplace=True), identity())), x),
        x[0].clip(0),
        x[1],
    )


def test_whoever_reads_the_whole_sees_a_write_to_a_part() -> None:
    x = randn(2, 6)
    split = torch_module("nn.SplitTable", dimension=1)
    write = parallel_table(relu(inplace=True), identity())
    net = concat_table(identity(), sequential(split, write))
    check(run(net, x), np.stack([x[0].clip(0), x[1]]), x[0].clip(0), x[1])


# Sharing ------------------------------------------------------------------------------------------


def variables_of(net: TorchObject, *shape: int) -> list[str]:
    """Names of the variables that a net's port has."""
    variables = Variables()
    build(model(net).walk(image(*shape)), variables)
    return sorted(variables.by_name)


def test_a_module_used_twice_has_one_set_of_variables() -> None:
    layer = linear(4, 4)
    net = sequential(layer, relu(), layer)
    assert variables_of(net, 2, 4) == ["1.bias", "1.weight"]
    calls = model(net).walk(image(2, 4)).calls
    assert [call.path for call in calls] == ["1", "2", "3", ""]


def test_modules_that_share_storage_share_the_variable() -> None:
    one, other = linear(4, 4), linear(4, 4, seed=1)
    shared = one.tensor("weight")
    other.fields["weight"] = tensor(shared.array, shared.storage)
    assert variables_of(sequential(one, other), 2, 4) == ["1.bias", "1.weight", "2.bias"]


def test_windows_at_other_places_of_one_storage_are_other_variables() -> None:
    one, other = linear(4, 4), linear(4, 4)
    flat = storage(randn(32))
    for position, layer in enumerate((one, other)):
        window = flat.array[16 * position : 16 * position + 16].reshape(4, 4)
        layer.fields["weight"] = tensor(window, flat, 16 * position)
    net = sequential(one, other)
    assert variables_of(net, 2, 4) == ["1.bias", "1.weight", "2.bias", "2.weight"]


def test_a_repeated_call_of_one_path_is_counted() -> None:
    inner = relu()
    net = torch_module("nn.MapTable", module=inner, modules=[inner])
    calls = model(net).walk([image(2, 3), image(2, 4)]).calls
    assert [(call.path, call.count) for call in calls] == [("1", 1), ("2", 1), ("", 1)]


# nngraph ------------------------------------------------------------------------------------------


def diamond() -> tuple[TorchObject, list[TorchObject]]:
    """input → ×2 → (×3, ×5) → add, in forward order."""
    nodes = [graph_node(each) for each in (None, times(2), times(3), times(5), add(), None)]
    start, two, three, five, total, end = nodes
    link(start, two)
    link(two, three, five)
    link(three, total)
    link(five, total)
    link(total, end)
    return graph_module(*nodes), nodes


def test_nngraph_runs_its_nodes_in_the_saved_order() -> None:
    net, _ = diamond()
    x = randn(2, 3)
    check(run(net, x), 16 * x)
    assert [call.path for call in model(net).walk(image(2, 3)).calls] == ["2", "3", "4", "5", ""]


def test_nngraph_order_decides_what_an_inplace_node_shows_to_its_sibling() -> None:
    x = randn(2, 3)
    for order, expected in (((2, 3), 3 * 2 + 5 * 6), ((3, 2), 3 * 2 + 5 * 2)):
        net, nodes = diamond()
        nodes[2].table("data").items["module"] = times(3, inplace=True)
        nodes[:] = [nodes[0], nodes[1], *(nodes[i] for i in order), *nodes[4:]]
        net.fields["forwardnodes"] = lua(nodes)
        check(run(net, x), expected * x)


def test_nngraph_inputs_are_in_the_order_of_mapindex_not_of_running() -> None:
    x = randn(2, 3)
    nodes = [
        graph_node(each) for each in (None, times(2), times(3), torch_module("nn.CSubTable"), None)
    ]
    start, two, three, minus, end = nodes
    link(start, two, three)
    link(three, minus)  # the first operand runs last
    link(two, minus)
    link(minus, end)
    check(run(graph_module(*nodes), x), x)


def test_nngraph_that_runs_a_node_too_early_is_refused() -> None:
    net, nodes = diamond()
    net.fields["forwardnodes"] = lua([nodes[0], nodes[4], *nodes[1:4], nodes[5]])
    with pytest.raises(WalkError, match="run before its inputs"):
        run(net, randn(2, 3))


# Hostile and broken trees -------------------------------------------------------------------------


def test_a_container_inside_itself_is_refused_by_path() -> None:
    outer = sequential(relu())
    outer.table("modules").items[2] = sequential(relu(), outer)
    with pytest.raises(WalkError, match=r"nn\.Sequential contains itself") as caught:
        run(outer, randn(2, 3))
    assert caught.value.where == "2"


@pytest.mark.parametrize("name", ["cyclic_sequential", "cyclic_two_containers"])
def test_cyclic_files_are_refused(name: str) -> None:
    root = read(FIXTURES / "hostile" / f"{name}.t7").root
    with pytest.raises(WalkError, match="contains itself"):
        run(root, randn(2, 3))


def bomb(depth: int) -> TorchObject:
    """2^depth calls of one module."""
    net = relu()
    for _ in range(depth):
        net = sequential(net, net)
    return net


@pytest.mark.usefixtures("ends")
def test_a_module_bomb_is_refused() -> None:
    with pytest.raises(WalkError, match="more than 10,000 times"):
        run(bomb(40), randn(1, 3))
    root = read(FIXTURES / "hostile" / "module_bomb_2pow40.t7").root
    require_mapped(root, default_registry())


def test_300_nested_containers_are_fine() -> None:
    net = relu()
    for _ in range(300):
        net = sequential(net)
    x = randn(1, 3)
    check(run(net, x), x.clip(0))


def test_500_nested_containers_are_refused() -> None:
    net = relu()
    for _ in range(500):
        net = sequential(net)
    with pytest.raises(WalkError, match="more than 400 modules inside each other"):
        run(net, randn(1, 3))


# Errors -------------------------------------------------------------------------------------------


def caught_walking(net: TorchObject, *shape: int) -> PorterError:
    with pytest.raises(PorterError) as caught:
        model(net).walk(image(*shape))
    return caught.value


def test_a_shape_mismatch_names_path_class_expected_and_received() -> None:
    error = caught_walking(sequential(relu(), sequential(linear(4, 3))), 2, 5)
    assert isinstance(error, ShapeMismatch)
    assert error.where == "2.1 (nn.Linear)"
    assert "takes 4 features" in error.message
    assert error.received == "2×5"


def test_a_missing_field_names_path_class_and_field() -> None:
    broken = conv(3, 4)
    del broken.fields["kW"]
    error = caught_walking(sequential(relu(), broken), 1, 3, 8, 8)
    assert isinstance(error, MissingField)
    assert error.where == "2 (nn.SpatialConvolution)"
    assert "'kW'" in error.message
    assert "weight" in str(error.received)


def test_a_table_given_to_a_layer_is_refused() -> None:
    net = sequential(concat_table(concat_table(relu()), relu()), add())
    error = caught_walking(net, 1, 3)
    assert isinstance(error, BadTable)
    assert error.where == "2 (nn.CAddTable)"
    assert error.received == "a table of tables"


def test_too_many_tensors_for_a_layer_are_refused() -> None:
    error = caught_walking(sequential(concat_table(relu(), relu()), relu()), 1, 3)
    assert error.where == "2 (nn.ReLU)"
    assert "one tensor" in error.message
    assert error.received == "a table of 2"


def test_a_child_that_is_no_module_is_refused() -> None:
    net = container("nn.Sequential", relu())
    net.table("modules").items[2] = 3.0
    error = caught_walking(net, 1, 3)
    assert "modules[2] of nn.Sequential should be a module" in error.message


def test_a_table_with_a_hole_is_refused() -> None:
    net = sequential(relu(), relu())
    net.table("modules").items[4] = relu()
    error = caught_walking(net, 1, 3)
    assert isinstance(error, BadField)
    assert error.where == "the root (nn.Sequential)"
    assert "no entry 3" in error.message


def test_all_unmapped_classes_are_told_at_once_with_paths_and_fields() -> None:
    net = sequential(
        torch_module("my.Net", size=3, weight=randn(2, 2)),
        sequential(torch_module("my.Net"), torch_module("your.Net", train=False)),
    )
    with pytest.raises(UnmappedModules) as caught:
        require_mapped(net, default_registry())
    text = str(caught.value)
    assert "2 classes of this model have no layer map" in text
    assert "my.Net ×2 at 1, 2.1" in text
    assert "size: the number 3" in text
    assert "a torch.FloatTensor of 2x2" in text
    assert "your.Net ×1 at 2.2" in text
    assert "fields: none" in text
    assert "`porter scaffold my.Net --from MODEL -o maps.py`" in text
    assert '`map="my.Net=KNOWN.CLASS"`' in text
    assert '`identity="your.Net"`' in text


def test_a_class_with_something_to_compute_is_not_offered_as_identity() -> None:
    with pytest.raises(UnmappedModules, match="a class of this model has no layer map") as caught:
        require_mapped(sequential(torch_module("my.Net", modules=[relu()])), default_registry())
    assert '`map="my.Net=nn.Sequential"`' in str(caught.value)
    assert "identity" not in str(caught.value)


def test_an_unmapped_class_registered_twice_is_refused() -> None:
    registry = default_registry().copy()
    with pytest.raises(UsageError, match=r"nn\.ReLU is already mapped in .*activation\.py:\d+"):
        registry.add("nn.ReLU", registry["nn.Sequential"], override=False)


def test_a_table_with_names_goes_through_a_container() -> None:
    graph: Graph = model(identity()).walk({"b": image(1, 2), "a": image(3, 4)})
    assert [value.shape for value in leaves(graph.outputs)] == [(3, 4), (1, 2)]
