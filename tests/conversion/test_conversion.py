"""From a model file to a folder with a proven port, or to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.conversion import pipeline
from porter.conversion.pipeline import Conversion, convert
from porter.conversion.request import Request
from porter.emit.port import build_widest
from porter.emit.saved_model import SavedModel
from porter.emit.settings import ExportOptions
from porter.errors import EmitError, ParityError, UnmappedModules, UsageError
from porter.frontend.inputs import samples
from porter.frontend.model_file import default_output, open_model
from porter.frontend.search import solve
from porter.ir.layer_map import LayerMap
from porter.ir.registry import Registry, register, registering_into
from porter.layer_maps import default_registry
from porter.parity.measure import error_shown
from porter.parity.recording import read as read_recording
from porter.report.as_json import worst_rows
from porter.report.console import failing_table
from porter.system.tensorflow import tf
from tests.build import (
    FIXTURES,
    Array,
    classifier,
    conv,
    model,
    randn,
    run,
    sequential,
    small_net,
    torch_module,
)
from tests.write_t7 import write_t7

LENET = FIXTURES / "nets" / "lenet_mm_tanh"


@pytest.fixture(scope="session")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """A net of real Torch7, converted beside what Torch recorded."""
    target = tmp_path_factory.mktemp("lenet") / "port"
    recording = read_recording(LENET / "activations.t7")
    return convert(Request(LENET / "model.t7", target, reference=recording))


def loaded(folder: Path) -> Any:
    return tf.saved_model.load(str(folder / "saved_model"))


def as_tensorflow(x: Array) -> Any:
    """N×C×H×W as N×H×W×C."""
    return tf.constant(np.moveaxis(x, 1, -1))


# What a conversion writes -------------------------------------------------------------------------


def test_the_folder_holds_both_formats_and_the_proof(converted: Conversion) -> None:
    assert {path.name for path in converted.output.iterdir()} == {
        "checkpoint",
        "manifest.json",
        "parity.json",
        "saved_model",
    }
    assert [path.name for path in converted.output.parent.iterdir()] == [converted.output.name]


@pytest.mark.parametrize("shape", [(32, 32, 1), (1, 32, 32), (1, 32, 32, 1, 1), (1, 30, 32, 1)])
def test_signatures_refuse_other_ranks_and_sizes(lenet: Conversion, shape: tuple[int, ...]) -> None:
    signatures = loaded(lenet.output).signatures
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected shape \[\?,32,32,1\]"):
        signatures["serving_default"](input=tf.ones(shape))
    # Whoever reads inner layers may do so at another size.
    message = r"expected shape \[\?,\?,\?,\?\]" if len(shape) != 4 else ""
    if message or shape[1:3] != (30, 32):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            signatures["activations"](input=tf.ones(shape))


def test_a_summary_says_where_activations_were_too_large_for_float64(
    model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    converted: Conversion,
    no_reload: None,
) -> None:
    assert "compared in float64" not in converted.summary()
    assert len(converted.json()["float64_inputs"]) == 3  # type: ignore[arg-type]
    largest = sorted(
        max(int(np.prod(value.shape)) for value in report.graph.values())
        for report in converted.reports
        if report.graph is not None
    )
    monkeypatch.setattr(pipeline, "DEEP_ELEMENTS", largest[0])
    done = convert(Request(model_path, tmp_path / "port", formats=("saved_model",)))
    smallest = [each.input for each in done.reports if each.in_float64]
    assert done.json()["float64_inputs"] == smallest
    assert 0 < len(smallest) < 3
    shown = f"compared in float64, too: on {len(smallest)} of 3 inputs, for activations"
    assert shown in done.summary()
    monkeypatch.setattr(pipeline, "DEEP_ELEMENTS", 1)
    done = convert(Request(model_path, tmp_path / "other", formats=("saved_model",)))
    assert "compared in float64, too: on no input" in done.summary()


def test_the_manifest_tells_source_signature_and_proof(
    converted: Conversion, model_path: Path
) -> None:
    manifest = json.loads((converted.output / "manifest.json").read_text(encoding="utf-8"))
    assert manifest == converted.manifest
    assert {
        *("manifest", "source", "classes", "lua_functions", "formats", "signature"),
        *("data_format", "transposes", "input_size", "oracle", "inputs", "options"),
        *("tolerance", "emitted", "layers", "notes", "versions"),
    } <= set(manifest)
    assert manifest["source"]["name"] == "small.t7"
    assert manifest["source"]["bytes"] == model_path.stat().st_size
    assert len(manifest["source"]["sha256"]) == 64
    assert manifest["classes"] == {"nn.ReLU": 2, "nn.Sequential": 2, "nn.SpatialConvolution": 3}
    assert manifest["formats"] == ["saved_model", "checkpoint"]
    assert manifest["transposes"] == 0
    assert manifest["oracle"] == "numpy float64"
    assert len(manifest["inputs"]) == 3
    assert manifest["signature"] == {
        "input": {
            "shape": [None, None, None, 3],
            "torch_shape": [None, 3, None, None],
            "torch_axes": [0, 2, 3, 1],
            "dtype": "float32",
        },
        "output": {
            "shape": [None, None, None, 2],
            "torch_shape": [None, 2, None, None],
            "torch_axes": [0, 2, 3, 1],
            "dtype": "float32",
        },
    }
    assert manifest["layers"] == {
        "1": "nn.SpatialConvolution",
        "2": "nn.ReLU",
        "3.1": "nn.SpatialConvolution",
        "3.2": "nn.ReLU",
        "4": "nn.SpatialConvolution",
    }
    saved, weights = manifest["emitted"]
    assert (saved["format"], weights["format"]) == ("saved_model", "checkpoint")
    assert saved["error"]["max_rel"] < 1e-4
    assert weights["note"] == "6 variables read back"


def test_parity_json_has_a_row_for_every_layer(converted: Conversion) -> None:
    proof = json.loads((converted.output / "parity.json").read_text(encoding="utf-8"))
    assert proof["verdict"] == "pass"
    assert proof["first_diverging"] is None
    assert [(row["path"], row["type"]) for row in proof["layers"]] == [
        ("1", "nn.SpatialConvolution"),
        ("2", "nn.ReLU"),
        ("3.1", "nn.SpatialConvolution"),
        ("3.2", "nn.ReLU"),
        ("4", "nn.SpatialConvolution"),
    ]
    for row in proof["layers"]:
        assert row["status"] == "pass"
        assert row["isolated"]["max_rel"] <= 1e-5
        assert row["accumulated"]["max_rel"] <= 1e-4


def test_the_summary_names_verdict_signature_and_folder(converted: Conversion) -> None:
    text = converted.summary()
    assert "parity: pass on 3 inputs" in text
    assert "input ?×?×?×3; output ?×?×?×2; 0 transposes" in text
    assert str(converted.output) in text
    assert converted.json()["output"] == str(converted.output)


def test_the_saved_model_takes_any_size_and_computes_what_torch_would(
    converted: Conversion,
) -> None:
    module = loaded(converted.output)
    for shape in ((1, 3, 6, 9), (4, 3, 31, 17)):
        x = randn(*shape)
        expected = np.asarray(run(small_net(), x))
        np.testing.assert_allclose(
            np.moveaxis(module(as_tensorflow(x)).numpy(), -1, 1), expected, rtol=1e-4, atol=1e-4
        )
        named = module.signatures["serving_default"](input=as_tensorflow(x))
        assert list(named) == ["output"]


def test_the_activations_signature_gives_every_layer(converted: Conversion) -> None:
    module = loaded(converted.output)
    activations = module.signatures["activations"](input=as_tensorflow(randn(1, 3, 6, 8)))
    assert set(activations) == {"root", "1", "2", "3", "3.1", "3.2", "4"}
    assert activations["3.1"].shape == (1, 3, 4, 4)


def test_checkpoint_variables_are_named_by_path(converted: Conversion) -> None:
    reader = tf.train.load_checkpoint(str(converted.output / "checkpoint"))
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    weight = reader.get_tensor(f"3/1/weight{suffix}")
    torch_weight = small_net().list("modules")[2].list("modules")[0].tensor("weight").array
    np.testing.assert_array_equal(weight, np.transpose(torch_weight, (2, 3, 1, 0)))
    names = {name.removesuffix(suffix) for name in reader.get_variable_to_shape_map()}
    expected = {f"{path}/{kind}" for path in ("1", "3/1", "4") for kind in ("weight", "bias")}
    assert expected <= names


IN_A_FRESH_PROCESS = """
import sys
import numpy as np
import tensorflow as tf
assert not any(name.partition(".")[0] == "porter" for name in sys.modules)
given, made, folder = sys.argv[1:]
output = tf.saved_model.load(folder)(tf.constant(np.load(given)))
np.save(made, output.numpy())
"""


def test_a_moved_port_runs_without_porter(converted: Conversion, tmp_path: Path) -> None:
    """Load and call it in a process that cannot even find porter."""
    import shutil

    folder = tmp_path / "elsewhere"
    shutil.copytree(converted.output, folder)
    x = randn(2, 3, 10, 12)
    np.save(tmp_path / "in.npy", np.moveaxis(x, 1, -1))
    command = [sys.executable, "-I", "-c", IN_A_FRESH_PROCESS]
    arguments = [tmp_path / "in.npy", tmp_path / "out.npy", folder / "saved_model"]
    subprocess.run(
        [*command, *arguments], cwd=tmp_path, check=True, env={"TF_CPP_MIN_LOG_LEVEL": "3"}
    )
    output = np.moveaxis(np.load(tmp_path / "out.npy"), -1, 1)
    np.testing.assert_allclose(output, np.asarray(run(small_net(), x)), rtol=1e-4, atol=1e-4)


def test_a_net_recorded_by_torch(lenet: Conversion) -> None:
    recording = read_recording(LENET / "activations.t7")
    assert lenet.manifest["oracle"] == "torch7"
    proof = json.loads((lenet.output / "parity.json").read_text(encoding="utf-8"))
    assert {row["oracle"] for row in proof["layers"]} <= {"torch7", "numpy float64"}
    x = np.asarray(recording.input)
    output = loaded(lenet.output)(as_tensorflow(x[None])).numpy()
    np.testing.assert_allclose(
        output.reshape(-1), np.asarray(recording.output), rtol=1e-4, atol=1e-5
    )


# Choices ------------------------------------------------------------------------------------------


def test_recorded_indices_are_integers(tmp_path: Path, no_reload: None) -> None:
    """Torch's recording holds words as floats; the seeded inputs must be words as well."""
    folder = FIXTURES / "nets" / "temporal_convnet_text"
    recording = read_recording(folder / "activations.t7")
    done = convert(Request(folder / "model.t7", tmp_path / "port", reference=recording))
    assert done.manifest["signature"]["input"]["dtype"] == "int64"


@pytest.mark.parametrize(
    ("typename", "least", "largest"),
    [("nn.LookupTable", 1, 3), ("nn.LookupTableMaskZero", 0, 2)],
)
def test_seeded_indices_are_in_the_table(typename: str, least: int, largest: int) -> None:
    """A table that counts from 0 has one row for it: its largest index is one less."""
    net = model(torch_module(typename, weight=randn(3, 4)))
    fed = [np.asarray(sample.arrays) for sample in samples(net, solve(net), seed=1)]
    assert max(array.max() for array in fed) == largest
    assert min(array.min() for array in fed) == least


def test_channels_first_signatures(model_path: Path, tmp_path: Path, no_reload: None) -> None:
    done = convert(Request(model_path, tmp_path / "port", export=ExportOptions("channels_first")))
    assert done.manifest["signature"]["input"]["shape"] == [None, 3, None, None]
    assert done.manifest["transposes"] == 2
    x = randn(1, 3, 6, 8)
    output = loaded(done.output)(tf.constant(x)).numpy()
    np.testing.assert_allclose(output, np.asarray(run(small_net(), x)), rtol=1e-4, atol=1e-4)


def test_a_fixed_size_is_solved_and_reported(tmp_path: Path, no_reload: None) -> None:
    path = write_t7(tmp_path / "net.t7", classifier())
    done = convert(Request(path, tmp_path / "port"))
    assert done.manifest["signature"]["input"]["shape"] == [None, 8, 8, 3]
    assert done.manifest["input_size"] == "solved from the model's layers: 3×8×8"


@pytest.mark.parametrize("drawn", [None, randn(1, 3, 2, seed=4)])
def test_pooling_regions_drawn_at_random_are_warned_of_in_one_line(
    tmp_path: Path, no_reload: None, drawn: Array | None
) -> None:
    sizes = {"poolSizeH": 2, "poolSizeW": 2, "ratioH": 0.7, "ratioW": 0.7}
    samples = {} if drawn is None else {"randomSamples": np.abs(np.tanh(drawn))}
    pooling = torch_module("nn.SpatialFractionalMaxPooling", **sizes, **samples)
    source = write_t7(tmp_path / "model.t7", sequential(conv(3, 3, pad=1), pooling))
    done = convert(Request(source, tmp_path / "port"))
    (warning,) = done.manifest["warnings"]
    assert "no two runs of Torch agree" in warning
    assert f"warning: {warning}\n" in done.summary()


def test_the_users_shape_decides(tmp_path: Path, no_reload: None) -> None:
    path = write_t7(tmp_path / "net.t7", classifier())
    done = convert(Request(path, tmp_path / "port", input_shapes=((3, 8, 8),)))
    assert done.manifest["signature"]["input"]["shape"] == [None, 8, 8, 3]


def test_the_default_output_is_named_after_the_model(
    model_path: Path, tmp_path: Path, no_reload: None
) -> None:
    source = tmp_path / "my.net.t7"
    source.write_bytes(model_path.read_bytes())
    assert convert(Request(source)).output == tmp_path / "my.net_tensorflow"


def test_each_of_several_modules_has_a_default_output_of_its_own() -> None:
    names = {select: default_output("a/dqn.t7", select).name for select in ("best", "x/.y", None)}
    assert names == {
        "best": "dqn_best_tensorflow",
        "x/.y": "dqn_x_.y_tensorflow",
        None: "dqn_tensorflow",
    }


def test_two_conversions_of_one_file_write_the_same_bytes(model_path: Path, tmp_path: Path) -> None:
    """In processes of their own: TensorFlow numbers what one process has traced."""
    written: list[dict[str, bytes]] = []
    for name in ("one", "two"):
        command = [sys.executable, "-m", "cli", "convert", model_path, "-o", tmp_path / name]
        subprocess.run(command, cwd=FIXTURES.parent, check=True, capture_output=True)
        files = [path for path in sorted((tmp_path / name).rglob("*")) if path.is_file()]
        written.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files})
    assert "saved_model/saved_model.pb" in written[0]
    assert written[0] == written[1]


# Failing ------------------------------------------------------------------------------------------


def with_broken_relu() -> Registry:
    """porter's maps, with a ReLU whose TensorFlow side lets a hundredth through."""
    right = default_registry()["nn.ReLU"]
    assert isinstance(right, type)
    assert issubclass(right, LayerMap)

    class Broken(right):  # type: ignore[misc, valid-type]
        def apply(self, tf: Any, x: Any, at: Any) -> Any:
            return tf.nn.leaky_relu(x, 0.01)

    with registering_into(default_registry().copy()) as registry:
        register("nn.ReLU", override=True)(Broken)
    return registry


def test_a_port_that_differs_is_not_written(model_path: Path, tmp_path: Path) -> None:
    request = Request(model_path, tmp_path / "port", registry=with_broken_relu())
    with pytest.raises(ParityError, match="differs from numpy float64: nothing was written") as c:
        convert(request)
    assert str(c.value.where).startswith("2 (nn.ReLU), on input ")
    assert "isolated error" in str(c.value.received)
    assert len(c.value.reports) == 3
    assert c.value.reports[0].first_diverging.path == "2"
    assert list(tmp_path.iterdir()) == []


def test_error_table_and_page_have_one_number_for_a_layer(model_path: Path, tmp_path: Path) -> None:
    """A layer fails on several inputs; the worst of them is the one that everything shows."""
    request = Request(model_path, tmp_path / "p", registry=with_broken_relu(), pages=("markdown",))
    with pytest.raises(ParityError) as caught:
        convert(request)
    (row, *_) = [each for each in worst_rows(caught.value.reports) if not each.passed]
    assert row.isolated is not None
    shown = f"isolated error {error_shown(row.isolated.max_rel)} of the scale"
    assert str(caught.value.received).startswith(shown)
    assert f"{row.path} \\(nn.ReLU\\): {shown}" in (tmp_path / "p.failed.md").read_text()
    table = failing_table(worst_rows(caught.value.reports))
    assert error_shown(row.isolated.max_rel) in list(table.columns[3].cells)


def test_a_port_that_differs_does_not_replace_an_earlier_one(
    model_path: Path, tmp_path: Path
) -> None:
    target = tmp_path / "port"
    target.mkdir()
    earlier = '{"manifest": 1, "source": {}}'
    (target / "manifest.json").write_text(earlier)
    request = Request(model_path, target, registry=with_broken_relu(), force=True)
    with pytest.raises(ParityError):
        convert(request)
    assert (target / "manifest.json").read_text() == earlier
    assert list(tmp_path.iterdir()) == [target]


def test_a_recording_of_another_net_is_not_matched(model_path: Path, tmp_path: Path) -> None:
    from porter.parity.recording import Recording

    x = randn(1, 3, 8, 8)
    recording = Recording("other.t7", x, None, {("1", 1): randn(1, 4, 8, 8)})
    with pytest.raises(ParityError, match="differs from torch7") as caught:
        convert(Request(model_path, tmp_path / "port", reference=recording))
    assert str(caught.value.where).startswith("1 (nn.SpatialConvolution), on input recorded")
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_rounding_may_explain_is_to_be_made_in_double(
    model_path: Path, tmp_path: Path
) -> None:
    from porter.parity.recording import Recording

    x = randn(1, 3, 8, 8)
    net = open_model(model_path, default_registry()).root
    exact = run(net, x)
    assert isinstance(exact, np.ndarray)
    for error, told in ((3e-4, True), (3e-2, False)):
        output = exact.copy()
        output.flat[0] += error * np.abs(exact).max()
        recording = Recording("rounded.t7", x, output)
        with pytest.raises(ParityError, match="differs from torch7") as caught:
            convert(Request(model_path, tmp_path / "port", reference=recording))
        assert ("-double" in str(caught.value.hint)) is told


def test_a_saved_model_that_computes_something_else_is_not_written(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_reload: None
) -> None:
    write = SavedModel.write

    def write_spoilt(self: SavedModel, job: Any, folder: Path) -> list[Path]:
        bias = job.port.variables.by_name["4.bias"]
        right = bias.numpy()
        bias.assign(right + 0.1)
        port = build_widest(job.model, job.types, job.port.variables, job.options)
        bias.assign(right)
        return write(self, replace(job, port=port), folder)

    monkeypatch.setattr(SavedModel, "write", write_spoilt)
    with pytest.raises(ParityError, match="saved_model computes something else"):
        convert(Request(model_path, tmp_path / "port"))
    assert list(tmp_path.iterdir()) == []


def test_a_saved_model_that_cannot_be_loaded_is_not_written(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SavedModel, "write", lambda self, job, folder: [])
    with pytest.raises(EmitError, match="cannot be run after it was reloaded") as caught:
        convert(Request(model_path, tmp_path / "port"))
    assert caught.value.received
    assert list(tmp_path.iterdir()) == []


def test_unmapped_classes_leave_nothing(tmp_path: Path) -> None:
    path = write_t7(tmp_path / "net.t7", sequential(torch_module("my.Net")))
    with pytest.raises(UnmappedModules):
        convert(Request(path, tmp_path / "port"))
    assert [each.name for each in tmp_path.iterdir()] == ["net.t7"]


def test_an_existing_folder_is_refused_before_any_work(
    model_path: Path, converted: Conversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "verify_all", lambda *_: pytest.fail("work was done"))
    with pytest.raises(UsageError, match="already exists"):
        convert(Request(model_path, converted.output))
