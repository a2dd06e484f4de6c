"""A recording of another model is called that, and not a wrong shape or a wrong layer."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from porter.cli import main as cli
from porter.frontend.model_file import open_model
from porter.layer_maps import default_registry
from porter.parity import recording
from porter.parity.recorded_model import another_model, same_class
from porter.parity.recording import Recording
from tests.build import FIXTURES

NETS = FIXTURES / "nets"
JOHNSON = NETS / "texture_nets_johnson_slim"
OTHERS = ["lenet_mm_tanh", "alexnet_lrn_groups", "unet_nested_concat", "conv3d_net"]
REGISTRY = default_registry()


@pytest.mark.parametrize("name", OTHERS)
def test_convert_says_what_was_recorded(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = JOHNSON / "activations.t7"
    words = ["convert", str(NETS / name / "model.t7"), "--reference", str(recorded)]
    assert cli.main([*words, "-o", str(tmp_path / "port")]) == 2
    error = capsys.readouterr().err
    assert f"error: {recorded} was recorded from another model\n" in error
    assert ", in the model nn." in error or "are not in the model" in error
    assert "`porter record` prints" in error
    assert "--select PATH" in error
    assert list(tmp_path.iterdir()) == []


def test_check_says_what_was_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source in (NETS / OTHERS[0] / "model.t7", JOHNSON / "activations.t7"):
        shutil.copy(source, tmp_path)
    assert cli.main(["check", str(tmp_path)]) == 3
    assert "was recorded from another model" in capsys.readouterr().out


@pytest.mark.parametrize("net", sorted(NETS.iterdir()), ids=lambda net: net.name)
def test_a_recording_of_the_model_is_known(net: Path) -> None:
    root = open_model(net / "model.t7", REGISTRY).root
    assert another_model(recording.read(net / "activations.t7"), root, REGISTRY) is None


def test_paths_alone_tell_another_model() -> None:
    """An .npz names no classes."""
    root = open_model(JOHNSON / "model.t7", REGISTRY).root
    array = np.zeros((1, 3, 8, 8), np.float32)
    outputs = {("trunk.1", 1): array, ("trunk.2", 1): array}
    other = another_model(Recording("other.npz", array, None, outputs), root, REGISTRY)
    assert other is not None
    assert other.received == "2 of its 2 modules are not in the model"


def test_classes_that_do_the_same_are_one() -> None:
    assert same_class("cudnn.SpatialConvolution", "nn.SpatialConvolution", REGISTRY)
    assert same_class("nn.SpatialConvolutionMM", "nn.SpatialConvolution", REGISTRY)
    assert not same_class("nn.ReLU", "nn.Tanh", REGISTRY)


def test_a_wider_model_of_the_same_classes_is_hinted_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = FIXTURES / "zoo" / "texture-nets-johnson" / "model.t7"
    words = ["convert", str(model), "--reference", str(JOHNSON / "activations.t7")]
    assert cli.main([*words, "-o", str(tmp_path / "port")]) == 1
    assert "a recording of another model of the same classes" in capsys.readouterr().err
