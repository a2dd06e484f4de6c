"""LiteRT files, run as their users run them: every size, every kind, and clear refusals."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.conversion.pipeline import Conversion, convert
from porter.conversion.request import Request
from porter.emit import tflite
from porter.emit.litert import LITERT
from porter.emit.quality import judge
from porter.emit.settings import TFLiteSettings
from porter.errors import EmitError, ParityError, UsageError
from porter.parity.compare import Tolerance
from porter.parity.recording import Recording
from porter.torch7 import TorchObject
from tests.build import (
    Array,
    batch_norm,
    concat_table,
    conv,
    identity,
    linear,
    randn,
    relu,
    run,
    sequential,
    small_net,
    torch_module,
    view,
)
from tests.write_t7 import write_t7

interpreter = pytest.importorskip("ai_edge_litert.interpreter")

CLASSIFIER = sequential(
    conv(3, 4, pad=1, stride=2, seed=1),
    batch_norm(4),
    relu(),
    torch_module(
        "nn.SpatialMaxPooling",
        **dict.fromkeys(("kW", "kH"), 3),
        **dict.fromkeys(("dW", "dH", "padW", "padH"), 1),
    ),
    view(64, sample_rank=3),
    linear(64, 40, seed=2),
    torch_module("nn.LogSoftMax"),
)
KINDS = ("float32", "float16", "dynamic", "int8", "uint8")


def converted(net: TorchObject, folder: Path, *shape: int, **settings: Any) -> Conversion:
    model = write_t7(folder / "model.t7", net)
    return convert(
        Request(
            model,
            folder / "port",
            (shape,) if shape else (),
            formats=("tflite",),
            settings={"tflite": TFLiteSettings(**settings)},
        )
    )


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """A net with free sizes."""
    return converted(small_net(), tmp_path_factory.mktemp("free"))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """A classifier in every kind."""
    folder = tmp_path_factory.mktemp("kinds")
    samples = folder / "samples.npz"
    np.savez(samples, input=np.moveaxis(randn(24, 3, 8, 8), 1, -1))
    return converted(CLASSIFIER, folder, kinds=KINDS, representative=samples)


def litert(path: Path, x: Array) -> Array:
    """What the interpreter makes of N×C×H×W."""
    runner = interpreter.Interpreter(str(path)).get_signature_runner("serving_default")
    output: Array = runner(input=np.moveaxis(x, 1, -1))["output"]
    return output


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (3, 3, 9, 31), (2, 3, 64, 8)])
def test_free_sizes_stay_free(free: Conversion, shape: tuple[int, ...]) -> None:
    x = randn(*shape)
    output = np.moveaxis(litert(free.output / "model.tflite", x), -1, 1)
    np.testing.assert_allclose(output, run(small_net(), x), rtol=1e-4, atol=1e-4)


def test_float32_passes_the_gate(free: Conversion) -> None:
    (row,) = free.emitted
    assert row.exact
    assert row.measure is not None
    assert 0 < row.measure.max_rel <= 1e-6
    assert row.bytes == (free.output / "model.tflite").stat().st_size


def test_a_given_size_is_fixed(tmp_path: Path) -> None:
    done = converted(small_net(), tmp_path, 3, 10, 12)
    loaded = interpreter.Interpreter(str(done.output / "model.tflite"))
    (details,) = loaded.get_input_details()
    assert details["shape_signature"].tolist() == [1, 10, 12, 3]
    assert litert(done.output / "model.tflite", randn(1, 3, 10, 12)).shape == (1, 5, 6, 2)


def test_slices_up_to_the_end_of_a_given_size(tmp_path: Path) -> None:
    narrow = torch_module("nn.Narrow", dimension=3, index=2, length=-2)
    net = sequential(conv(3, 4, seed=1), narrow, relu())
    done = converted(net, tmp_path, 3, 12, 9)
    x = randn(1, 3, 12, 9)
    output = np.moveaxis(litert(done.output / "model.tflite", x), -1, 1)
    np.testing.assert_allclose(output, run(net, x), rtol=1e-4, atol=1e-4)


def test_every_kind_has_a_row_and_a_file(kinds: Conversion) -> None:
    rows = {row.variant: row for row in kinds.emitted}
    files = ["model.tflite", *(f"model.{kind}.tflite" for kind in KINDS[1:])]
    assert list(rows) == files
    assert all((kinds.output / name).is_file() for name in files)
    assert [row.exact for row in kinds.emitted] == [True, False, False, False, False]
    smaller = [rows[name].bytes for name in files[:3]]
    assert smaller == sorted(smaller, reverse=True)
    for row in kinds.emitted[1:]:
        assert re.fullmatch(r"PSNR [\d.]+ dB, cosine [\d.]+, top-1 [\d.]+%", row.note)


def test_quantised_files_are_close(kinds: Conversion) -> None:
    rows = json.loads((kinds.output / "manifest.json").read_text())["emitted"]
    found = {row["variant"].split(".")[1]: row["details"]["psnr"] for row in rows[1:]}
    assert found["float16"] > 60
    assert found["dynamic"] > 30
    assert found["int8"] > 25
    assert found["uint8"] > 25


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_integers_go_in_and_out(kinds: Conversion, kind: str) -> None:
    loaded = interpreter.Interpreter(str(kinds.output / f"model.{kind}.tflite"))
    for details in (*loaded.get_input_details(), *loaded.get_output_details()):
        assert details["dtype"] == np.dtype(kind)
        assert details["quantization"][0] > 0


def test_statistics_stay_in_float_where_eight_bits_are_too_few(tmp_path: Path) -> None:
    """The variances of dark and bright pictures do not fit into one scale of 8 bits."""
    normalise = torch_module("nn.InstanceNormalization", nOutput=8, eps=1e-5)
    layers = [conv(3, 8, pad=1, seed=1), normalise, relu()]
    layers += [*(conv(8, 8, pad=1, seed=3), normalise, relu()), conv(8, 3, pad=1)]
    samples = tmp_path / "samples.npz"
    brightness = np.array([0.3, 0.3, 1, 1, 3, 3])[:, None, None, None]
    np.savez(samples, input=np.moveaxis(randn(6, 3, 16, 20), 1, -1) * brightness)
    net = sequential(*layers)
    done = converted(net, tmp_path, kinds=("int8",), representative=samples, psnr=32.0)
    (row,) = done.emitted
    assert row.note.endswith("arithmetic between layers in float")
    assert row.details["psnr"] >= 32
    loaded = interpreter.Interpreter(str(done.output / "model.int8.tflite"))
    (details,) = loaded.get_input_details()
    assert details["dtype"] == np.int8
    kinds = {d["dtype"] for d in loaded.get_tensor_details() if d["name"].endswith("Conv2D")}
    assert kinds == {np.int8}


def test_a_quantised_file_is_judged_on_what_the_net_sees(tmp_path: Path) -> None:
    """Inputs that were made up are as large as any net may take; Torch's own are not."""
    net = sequential(conv(3, 64, pad=1, seed=1), torch_module("nn.Tanh"), conv(64, 3, seed=2))
    x = randn(1, 3, 12, 10) / 10
    model = write_t7(tmp_path / "model.t7", net)
    recorded = Recording("recorded", x, np.asarray(run(net, x), np.float32), {}, {}, {})
    samples = tmp_path / "samples.npz"
    np.savez(samples, input=np.moveaxis(x, 1, -1))

    def psnr(name: str, **more: Any) -> float:
        kinds = TFLiteSettings(("dynamic",), more.pop("representative", None), 0.0)
        request = Request(
            model, tmp_path / name, formats=("tflite",), settings={"tflite": kinds}, **more
        )
        return float(convert(request).emitted[0].details["psnr"])

    random = psnr("made_up")
    sampled = psnr("given", representative=samples)
    assert psnr("recorded", reference=recorded) == pytest.approx(sampled, rel=1e-3)
    assert random != pytest.approx(sampled, rel=1e-3)


def test_no_operation_of_tensorflow_is_needed(kinds: Conversion) -> None:
    """Padded maximum pooling is not LiteRT's own: it is written as padding and pooling."""
    loaded = interpreter.Interpreter(str(kinds.output / "model.tflite"))
    operations = {op["op_name"] for op in loaded._get_ops_details()}
    assert "MAX_POOL_2D" in operations
    assert not [name for name in operations if name.startswith("Flex")]


def test_too_much_loss_fails_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="too far from the float outputs") as caught:
        converted(small_net(), tmp_path, kinds=("float32", "float16"), psnr=200)
    assert "where 200 dB are asked for" in str(caught.value)
    assert not (tmp_path / "port").exists()


def test_a_wrong_file_fails_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(*args: Any) -> list[dict[str, Array]]:
        return [{name: array + 1 for name, array in outputs.items()} for outputs in true_run(*args)]

    true_run = tflite.run_tflite
    monkeypatch.setattr(tflite, "run_tflite", shifted)
    with pytest.raises(ParityError, match=r"tflite model\.tflite computes something else"):
        converted(small_net(), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": ("float8",)}, 'there is no `tflite="float8"`'),
        ({"kinds": ("int8",)}, "must be calibrated"),
        ({"kinds": ("int8",), "representative": Path("nowhere.npz")}, "no such file"),
    ],
)
def test_options_are_refused_before_any_work(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        converted(small_net(), tmp_path, **settings)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": np.zeros((2, 8, 8, 3))}, "one array for each input"),
        ({"input": np.zeros((2, 3, 8, 8))}, "do not fit the model's inputs"),
        ({"input": np.zeros((0, 8, 8, 3))}, "no sample to calibrate on"),
    ],
)
def test_unfit_samples_are_refused(tmp_path: Path, arrays: dict[str, Array], message: str) -> None:
    np.savez(tmp_path / "samples.npz", **arrays)
    with pytest.raises(UsageError, match=message):
        converted(CLASSIFIER, tmp_path, kinds=("int8",), representative=tmp_path / "samples.npz")


def test_a_layer_that_litert_lacks_is_named(tmp_path: Path) -> None:
    random = torch_module(
        "nn.VolumetricDilatedConvolution",
        nInputPlane=1,
        nOutputPlane=1,
        **dict.fromkeys(("kT", "kW", "kH", "dilationT", "dilationW", "dilationH"), 2),
        **dict.fromkeys(("dT", "dW", "dH"), 1),
        weight=randn(1, 1, 2, 2, 2),
        bias=randn(1),
    )
    with pytest.raises(EmitError) as caught:
        converted(sequential(torch_module("nn.Abs"), random), tmp_path, 1, 6, 6, 6)
    assert caught.value.where == "2 (nn.VolumetricDilatedConvolution)"
    assert "SpaceToBatchND" in str(caught.value)
    assert not (tmp_path / "port").exists()


def test_the_terminal_stays_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    samples = tmp_path / "samples.npz"
    np.savez(samples, input=np.moveaxis(randn(2, 3, 8, 8), 1, -1))
    converted(CLASSIFIER, tmp_path, kinds=("int8",), representative=samples, psnr=0.0)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_a_loop_over_time_runs_for_any_number_of_steps(tmp_path: Path) -> None:
    net = torch_module("nn.Sequencer", modules=[sequential(linear(3, 4), torch_module("nn.Tanh"))])
    done = converted(net, tmp_path, 5, 2, 3)
    assert done.emitted[0].measure is not None
    assert done.emitted[0].measure.within(Tolerance().isolated)


def test_a_dialect_replaces_what_it_names() -> None:
    from porter.system.tensorflow import tf

    assert LITERT.nn.relu is tf.nn.relu
    assert LITERT.nn.max_pool2d is not tf.nn.max_pool2d
    assert LITERT.float64 is tf.float32
    assert LITERT.add is tf.add


def test_max_pooling_with_places_agrees_with_tensorflow() -> None:
    from porter.system.tensorflow import tf

    x = tf.constant(np.random.default_rng(1).integers(0, 4, (2, 7, 6, 3)).astype(np.float32))
    arguments = (x, (2, 2), (2, 2), "VALID")
    named = {"output_dtype": tf.int64, "include_batch_in_index": True}
    for one, other in zip(
        LITERT.nn.max_pool_with_argmax(*arguments, **named),
        tf.nn.max_pool_with_argmax(*arguments, **named),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_quality_is_that_of_its_definition() -> None:
    expected = np.array([[0.0, 4.0], [3.0, 1.0]])
    quality = judge([[(expected, expected + np.array([[0.04, 0.0], [0.0, 0.0]]))]])
    assert quality.psnr == pytest.approx(20 * np.log10(4 / 0.02))
    assert quality.top1 == 1.0
    assert judge([[(expected, expected[:, ::-1])]]).top1 == 0.0
    assert judge([[(expected, np.full((2, 2), np.nan))]]).psnr == -np.inf


def pool(kind: str, extent: int) -> TorchObject:
    sizes = dict.fromkeys(("kW", "kH", "dW", "dH"), extent) | dict.fromkeys(("padW", "padH"), 0)
    return torch_module(f"nn.Spatial{kind}Pooling", ceil_mode=False, divide=True, **sizes)


def around(inner: TorchObject) -> TorchObject:
    return sequential(concat_table(identity(), inner), torch_module("nn.CAddTable"))


def enlarged(planes: int, factor: int) -> TorchObject:
    return torch_module(
        "nn.SpatialFullConvolution",
        nInputPlane=planes,
        nOutputPlane=planes,
        bias=randn(planes),
        weight=randn(planes, planes, factor, factor),
        **dict.fromkeys(("kW", "kH", "dW", "dH"), factor),
        **dict.fromkeys(("padW", "padH", "adjW", "adjH"), 0),
    )


REFLECTED = torch_module("nn.SpatialReflectionPadding", pad_l=6, pad_r=6, pad_t=6, pad_b=6)
UPSAMPLED = torch_module("nn.SpatialUpSamplingNearest", scale_factor=4)
LEAST = {
    "pooling": (4, sequential(conv(3, 4, pad=1), relu(), pool("Max", 4), conv(4, 2, kernel=1))),
    "mean": (7, sequential(conv(3, 4, kernel=5), pool("Average", 3), conv(4, 2, kernel=1))),
    "hourglass": (4, sequential(conv(3, 3, pad=1), around(sequential(pool("Max", 4), UPSAMPLED)))),
    "u-net": (4, around(sequential(conv(3, 3, kernel=4, stride=4), relu(), enlarged(3, 4)))),
    "reflection": (7, sequential(REFLECTED, conv(3, 2))),
    "instances": (6, sequential(conv(3, 4, kernel=6), batch_norm(4), relu(), enlarged(4, 2))),
}
"""The least height and width, and the net."""

TRY = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

path, *sizes = sys.argv[1:]
for size in sizes:
    shape = [1, *map(int, size.split("x")), 3]
    for by_hand in (False, True):
        model = Interpreter(path)
        (details,) = model.get_input_details()
        x = np.zeros(shape, details["dtype"])
        try:
            if by_hand:
                model.resize_tensor_input(details["index"], shape)
                model.allocate_tensors()
                model.set_tensor(details["index"], x)
                model.invoke()
            else:
                model.get_signature_runner("serving_default")(input=x)
        except RuntimeError as error:
            print(size, str(error).split(".")[0])
        else:
            print(size, "ran")
"""


def tried(path: Path, sizes: list[str]) -> list[str]:
    """What became of each size, both ways in which files are run, in one process that lives on."""
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(path), *sizes], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", LEAST)
def test_images_that_torch_refuses_are_an_error(tmp_path: Path, name: str) -> None:
    least, net = LEAST[name]
    done = converted(net, tmp_path)
    fits = [f"{least}x{least}", f"{3 * least}x{least}"]
    small = [f"{extent}x{extent}" for extent in range(1, least)]
    small += [f"{least}x{least - 1}", f"{least - 1}x{least}"]
    path = done.output / "model.tflite"
    assert tried(path, small) == [f"{size} Invalid begin" for size in small for _ in range(2)]
    assert tried(path, fits) == [f"{size} ran" for size in fits for _ in range(2)]


def test_images_that_torch_refuses_are_an_error_in_integers(tmp_path: Path) -> None:
    least, net = LEAST["mean"]
    samples = tmp_path / "samples.npz"
    np.savez(samples, input=np.moveaxis(randn(6, 3, 13, 16), 1, -1))
    kinds = ("dynamic", "int8")
    done = converted(net, tmp_path, kinds=kinds, representative=samples)
    for kind, row in zip(kinds, done.emitted, strict=True):
        assert not row.note.endswith("in float")
        path = done.output / f"model.{kind}.tflite"
        assert tried(path, ["3x9"]) == ["3x9 Invalid begin"] * 2
        assert tried(path, [f"{least}x9"]) == [f"{least}x9 ran"] * 2
