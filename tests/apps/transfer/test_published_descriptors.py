"""Descriptors as the articles and repositories of style transfer have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.apps.transfer import open_descriptor
from porter.cli.main import main
from porter.errors import UnsafeFile, UsageError, WeightError
from porter.imaging.presets import BGR_MEAN, RESNET
from porter.system.tensorflow import tf
from tests import build
from tests.apps.transfer import files
from tests.apps.transfer.test_sources import PICTURE, features_by_numpy
from tests.write_t7 import write_t7

keras = tf.keras


def close(features: Any, expected: Any) -> None:
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-3)


def torch_file(folder: Path, **options: Any) -> Path:
    """What PyTorch saves: a state dict inside a checkpoint of nn.DataParallel."""
    torch = pytest.importorskip("torch")
    tensors = {f"module.{k}": torch.from_numpy(v) for k, v in files.state_dict().items()}
    path = folder / "vgg.pth"
    torch.save({"epoch": 3, "state_dict": tensors}, path, **options)
    return path


def test_torchvisions_numbers_are_layers_of_vgg(tmp_path: Path) -> None:
    path = files.safetensors(tmp_path)
    descriptor = open_descriptor(path, ["conv2_1", "relu3_1"], preprocessing="imagenet-caffe")
    expected = features_by_numpy(PICTURE, ceil=False)
    for name, features in descriptor(tf.constant(PICTURE)).items():
        close(features, expected[name])
    assert open_descriptor(path, ["relu1_1"]).preprocessing == RESNET


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_pth(options: dict[str, Any], tmp_path: Path) -> None:
    path = torch_file(tmp_path, **options)
    features = open_descriptor(path, ["relu3_1"], preprocessing="imagenet-caffe")
    expected = features_by_numpy(PICTURE, ceil=False)["relu3_1"]
    close(features(tf.constant(PICTURE))["relu3_1"], expected)


def test_pth_runs_nothing_of_the_files(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "owned",)

    torch.save({"features.0.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightError, match="plain weights"):
        open_descriptor(tmp_path / "evil.pth", ["relu1_1"])
    assert not (tmp_path / "owned").exists()


def test_batch_normalised_vgg_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "vgg19_bn.safetensors"
    save_file(files.state_dict() | {"features.1.running_var": np.ones(8, np.float32)}, path)
    with pytest.raises(WeightError, match="batch normalisation"):
        open_descriptor(path, ["relu1_1"])


def test_a_mat_that_inflates_beyond_belief_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from scipy.io import savemat

    path = tmp_path / "bomb.mat"
    savemat(path, {"layers": np.zeros(20_000_000, np.uint8)}, do_compression=True)
    monkeypatch.setattr("porter.runtime.memory.SMALL", 1_000_000)
    with pytest.raises(UnsafeFile, match="unpacks to"):
        open_descriptor(path, ["relu1_1"])


def normalised(folder: Path, fed: str) -> Path:
    """vgg_normalised.t7: a convolution 1×1 makes BGR less its mean of RGB or BGR in 0…1."""
    first = build.conv(3, 3, kernel=1)
    weight = np.eye(3, dtype=np.float32) * 255
    weight = weight[::-1].copy() if fed == "RGB" else weight
    first.fields["weight"] = build.lua(weight.reshape(3, 3, 1, 1))
    first.fields["bias"] = build.lua(-np.array(BGR_MEAN, np.float32))
    (filters, bias), *_ = files.weights().values()
    second = build.conv(3, 8, pad=1)
    second.fields["weight"] = build.lua(np.ascontiguousarray(filters.transpose(3, 2, 0, 1)))
    second.fields["bias"] = build.lua(bias)
    second.fields["name"] = "conv1_1"
    relu = build.relu()
    relu.fields["name"] = "relu1_1"
    return write_t7(folder / f"{fed}.t7", build.sequential(first, second, relu))


@pytest.mark.parametrize("fed", ["RGB", "BGR"])
def test_a_net_that_preprocesses_itself_is_fed_colours(fed: str, tmp_path: Path) -> None:
    path = normalised(tmp_path, fed)
    features = open_descriptor(path, ["relu1_1"])(tf.constant(PICTURE))["relu1_1"]
    close(features, features_by_numpy(PICTURE, ceil=False)["relu1_1"])
    with pytest.raises(UsageError, match="preprocessing itself"):
        open_descriptor(path, ["relu1_1"], preprocessing="imagenet-caffe")


@pytest.fixture
def without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keras's folder for downloads, with nothing to download from."""

    def fail(url: str, *_: Any, **__: Any) -> None:
        from urllib.error import URLError

        raise URLError("no network")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", fail)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path), raising=False)
    return tmp_path


def test_keras_networks_are_what_keras_downloads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(3)
    network = keras.applications.VGG16(weights=None, include_top=False)
    network.save_weights(tmp_path / "vgg.weights.h5")
    calls: list[str] = []

    def download(name: str, *_: Any, **__: Any) -> str:
        calls.append(name)
        return str(tmp_path / "vgg.weights.h5")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", download)
    descriptor = open_descriptor("keras:VGG16", ["relu1_2", "block2_conv1"])
    features = descriptor(tf.constant(PICTURE))
    assert calls == ["vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"]
    x = PICTURE[..., ::-1] - np.array(BGR_MEAN, np.float32)
    for name in ("block1_conv1", "block1_conv2", "block1_pool", "block2_conv1"):
        x = network.get_layer(name)(x)
    close(features["block2_conv1"], x)
    assert descriptor.what == "the Keras model vgg16 of 19 layers"


def test_without_network_the_missing_file_is_named(without_network: Path) -> None:
    with pytest.raises(WeightError, match="cannot download the weights of VGG19") as raised:
        open_descriptor("keras:vgg19", ["relu1_1"])
    hint = raised.value.hint or ""
    assert "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5" in hint
    assert str(without_network / "models") in hint


def test_an_unknown_network_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="no network 'vgg17'") as raised:
        open_descriptor("keras:vgg17", ["relu1_1"])
    assert "vgg19" in (raised.value.hint or "")


def test_a_recipe_names_its_descriptor(
    without_network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, style = "fixtures/trained/oilpaint/coffee.png", "fixtures/styles/strokes.png"
    arguments = ["transfer", "--content", photo, "--style", style, "-o", str(tmp_path / "o.png")]
    assert main([*arguments, "--json", "--recipe", "keras"]) == 3
    assert "VGG19" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert main([*arguments, "--recipe", "gatys"]) == 2
    assert "--descriptor" in capsys.readouterr().err


def test_features_of_another_range_are_refused(tmp_path: Path) -> None:
    from porter.apps.transfer.checks import require_informative

    with pytest.raises(WeightError, match="up to 2"):
        require_informative({"relu1_1": tf.fill([1, 2, 2, 1], 2e8)}, ["relu1_1"], "style")
