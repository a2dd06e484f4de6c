"""Two sides laid beside each other: models, ports, recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from porter import Conversion
from porter.apps.diff import DiffSide, common_input, diff, open_side
from porter.errors import T7Error, UsageError, WrongFile
from porter.ir.nested import Nested
from porter.ir.options import Options
from porter.layer_maps import default_registry
from porter.parity.recording import Recording
from porter.report.as_json import report_json
from tests.build import (
    FIXTURES,
    Array,
    concat_table,
    conv,
    linear,
    model,
    randn,
    relu,
    run,
    sequential,
    small_net,
)
from tests.write_t7 import write_t7

NETS = FIXTURES / "nets"


def side(path: Path) -> DiffSide:
    return open_side(path, default_registry(), Options())


def recording(x: Array, source: str = "first", **outputs: Nested[Array]) -> Recording:
    named = {(name[1:].replace("_", "."), 1): array for name, array in outputs.items()}
    return Recording(source, x, None, named, {}, {path: "nn.ReLU" for path, _ in named})


# Model and port -----------------------------------------------------------------------------------


def test_a_model_and_its_port_agree(model_path: Path, converted: Conversion) -> None:
    report = diff(side(model_path), side(converted.output))
    assert report.passed
    assert report.oracle == "model (numpy float64)"
    assert [row.path for row in report.rows] == ["1", "2", "3.1", "3.2", "3", "4", ""]
    assert all(row.accumulated is not None and row.isolated is None for row in report.rows)


def test_a_port_and_a_model_with_another_weight_disagree_from_there_on(
    converted: Conversion, tmp_path: Path, no_reload: None
) -> None:
    other = small_net()
    weight = other.list("modules")[2].list("modules")[0].fields
    weight["bias"] = conv(4, 4, seed=99).fields["bias"]
    report = diff(side(converted.output), side(write_t7(tmp_path / "other.t7", other)))
    assert not report.passed
    assert report.first_diverging is not None
    assert report.first_diverging.path == "3.1"


# Models and recordings ----------------------------------------------------------------------------


def test_a_model_against_itself() -> None:
    report = diff(model(small_net()), model(small_net()))
    assert report.passed
    assert all(row.isolated is not None for row in report.rows)


def test_models_that_differ_in_one_layer_differ_there_and_after() -> None:
    other = small_net()
    other.list("modules")[2].list("modules")[0].fields |= conv(4, 4, pad=1, stride=2).fields
    report = diff(model(small_net()), model(other))
    rows = {row.path: row for row in report.rows}
    assert report.first_diverging is rows["3.1"]
    assert [path for path, row in rows.items() if not row.passed] == ["3.1", "3.2", "4"]
    last = rows["4"].isolated
    assert last is not None
    assert last.within(1e-5)


def test_a_recording_of_another_net_diverges_at_its_first_layer() -> None:
    other = FIXTURES / "trained" / "digits_lenet" / "model.t7"
    report = diff(side(NETS / "lenet_mm_tanh" / "activations.t7"), side(other))
    assert report.first_diverging is not None
    assert report.first_diverging.path == "1"
    assert report.first_diverging.summary() == "shape 12×32×32 where Torch recorded 6×28×28"


def test_a_net_and_its_own_recording_agree() -> None:
    report = diff(
        side(NETS / "lenet_mm_tanh" / "activations.t7"), side(NETS / "lenet_mm_tanh" / "model.t7")
    )
    assert report.passed
    assert report.oracle.endswith("activations.t7")
    assert len(report.rows) == 11


def test_a_recording_of_another_net_against_a_port_names_the_first_layer(
    converted: Conversion, no_reload: None
) -> None:
    x = randn(1, 3, 8, 8)
    other = sequential(conv(3, 4, pad=1, seed=77), relu())
    first = np.asarray(run(sequential(conv(3, 4, pad=1, seed=77)), x))
    report = diff(
        recording(x, m1=first, m2=np.asarray(run(other, x)), m3=randn(1, 4, 4, 4)),
        side(converted.output),
    )
    assert [row.passed for row in report.rows] == [False] * 3
    assert report.first_diverging is report.rows[0]
    assert report.first_diverging.path == "1"


def test_a_layer_that_the_other_side_lacks_fails() -> None:
    x = randn(2, 3)
    report = diff(recording(x, m1=x, m2=x), recording(x, "second", m1=x))
    assert [row.passed for row in report.rows] == [True, False]
    assert report.rows[1].summary() == "the other side has no such layer"


def test_tables_are_compared_entry_by_entry() -> None:
    x, y = randn(2, 3), randn(2, 4)
    report = diff(recording(x, m1=[x, y]), recording(x, "second", m1=[x, y + 1]))
    assert [(row.path, row.shape, row.passed) for row in report.rows] == [
        ("1", "2×3", True),
        ("1", "2×4", False),
    ]


def test_a_batch_of_one_that_torch_dropped_is_no_difference() -> None:
    x = randn(4)
    assert diff(recording(x, m1=x), recording(x, "second", m1=x[None])).passed
    assert not diff(recording(x, m1=x), recording(x, "second", m1=x[:, None])).passed


def test_nothing_to_compare_is_reported() -> None:
    x = randn(4)
    with pytest.raises(UsageError, match="have no layer to compare"):
        diff(recording(x), recording(x, "second"))


def test_a_recording_without_input_is_reported() -> None:
    with pytest.raises(UsageError, match="has no `input`"):
        common_input(Recording("r.t7", None, randn(2)), model(small_net()), 1)


def test_a_net_with_a_table_as_output_has_a_row_for_it() -> None:
    net = sequential(concat_table(linear(4, 3), linear(4, 2)))
    assert diff(model(net), model(net)).passed


# JSON ---------------------------------------------------------------------------------------------


def test_the_json_report() -> None:
    x = randn(2, 3)
    report = diff(recording(x, m1=x, m2=x), recording(x, "second", m1=x, m2=x + 1))
    shown = json.loads(json.dumps(report_json([report]), allow_nan=False))
    assert {"verdict", "oracle", "first_diverging", "layers"} <= set(shown)
    assert shown["verdict"] == "fail"
    assert shown["oracle"] == "first"
    assert shown["first_diverging"] == "2"
    for row in shown["layers"]:
        assert {"path", "type", "shape", "isolated", "accumulated", "status"} <= set(row)
    assert [(r["path"], r["status"]) for r in shown["layers"]] == [("1", "pass"), ("2", "fail")]
    assert shown["layers"][0]["isolated"] is None


def test_a_shape_mismatch_stays_json() -> None:
    x = randn(2, 3)
    report = diff(recording(x, m1=x), recording(x, "second", m1=randn(3, 2)))
    shown = json.loads(json.dumps(report_json([report]), allow_nan=False))
    assert shown["layers"][0]["accumulated"]["max_rel"] is None
    assert shown["layers"][0]["accumulated"]["problem"] == "shape 3×2 where 2×3 is expected"


# What is no side ----------------------------------------------------------------------------------


def test_a_folder_that_porter_did_not_make_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder that porter made"):
        side(tmp_path)


@pytest.mark.parametrize("content", ["no json", "[]", "{}", '{"signature": 3}', "\x00"])
def test_a_broken_manifest_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(T7Error, match="manifest cannot be read"):
        side(tmp_path)


def test_a_file_without_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="holds no Torch module"):
        side(write_t7(tmp_path / "number.t7", 3))
