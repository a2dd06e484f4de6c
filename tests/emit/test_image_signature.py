"""The signature `image` of converted models, called as TensorFlow Serving calls it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from porter.conversion.pipeline import Conversion, convert
from porter.conversion.request import Request
from porter.emit.image_parity import compare_classes, compare_images
from porter.emit.settings import ExportOptions
from porter.errors import ParityError, UsageError
from porter.ir.fields import Array
from porter.torch7 import TorchObject
from tests.build import classifier, sequential, torch_module
from tests.imaging.nets import OILPAINT, skipping, waifu2x
from tests.write_t7 import write_t7


def ported(root: TorchObject, folder: Path, preset: str | None = None) -> Conversion:
    source = write_t7(folder / "net.t7", root)
    return convert(Request(source, folder / "port", formats=("saved_model",), preset=preset))


def test_the_manifest_tells_the_meaning(oilpaint: Conversion) -> None:
    described = oilpaint.manifest["pictures"]
    assert described["preset"]["name"] == "texture-nets"
    assert described["geometry"]["size"] is None
    assert "image: " in oilpaint.emitted[0].note
    assert "preset texture-nets" in oilpaint.summary()


def test_torch_s_own_picture_comes_out(oilpaint: Conversion) -> None:
    photo = np.asarray(Image.open(OILPAINT / "chelsea.png"))
    expected = np.asarray(Image.open(OILPAINT / "chelsea.torch.png")).astype(int)
    computed = called(oilpaint, photo[None])
    apart = np.abs(computed["image"][0] - expected)
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= 1e-4 * apart.size


def test_the_server_s_loader_finds_the_signature(oilpaint: Conversion) -> None:
    """TensorFlow Serving reads the tag `serve` and the signature definitions, nothing else."""
    from porter.system.tensorflow import tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        meta = v1.saved_model.loader.load(session, ["serve"], str(oilpaint.output / "saved_model"))
        definition = meta.signature_def["image"]
        assert definition.method_name == "tensorflow/serving/predict"
        photo = np.zeros((2, 20, 33, 3), np.uint8)
        computed = session.run(
            definition.outputs["image"].name, {definition.inputs["image"].name: photo}
        )
    assert computed.dtype == np.uint8
    assert computed.shape == (2, 20, 36, 3)


def called(done: Conversion, photo: Array) -> dict[str, Array]:
    """What the signature makes of a photo, in this process."""
    from porter.system.tensorflow import tf

    model = tf.saved_model.load(str(done.output / "saved_model"))
    computed = model.signatures["image"](image=tf.constant(photo))
    return {name: np.asarray(tensor) for name, tensor in computed.items()}


@pytest.mark.usefixtures("no_reload")
@pytest.mark.parametrize(
    ("root", "preset", "size"),
    [(waifu2x(), None, (40, 34)), (skipping(), "plain", (20, 17))],
    ids=["waifu2x", "skipping"],
)
def test_padded_nets_give_the_photo_s_size(
    tmp_path: Path, root: TorchObject, preset: str | None, size: tuple[int, int]
) -> None:
    computed = called(ported(root, tmp_path, preset), np.zeros((1, 20, 17, 3), np.uint8))
    assert computed["image"].shape == (1, *size, 3)


@pytest.mark.usefixtures("no_reload")
@pytest.mark.parametrize("last", [None, "nn.LogSoftMax", "nn.SoftMax"])
def test_a_classifier_tells_probabilities(tmp_path: Path, last: str | None) -> None:
    layers = [classifier()] + ([torch_module(last)] if last else [])
    done = ported(sequential(*layers), tmp_path, "imagenet-torch")
    photo = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    probabilities = called(done, photo)["probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-5)
    assert (np.diff(probabilities) <= 0).all()


def test_labels_come_back_from_a_fresh_process(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    preset = tmp_path / "mine.toml"
    preset.write_text('labels = "labels.txt"\n[input]\nstd = 50\n')
    computed = called(ported(classifier(), tmp_path, str(preset)), np.zeros((1, 8, 8, 3), np.uint8))
    names = np.array([b"a", b"b", b"c", b"d", b"e"])
    np.testing.assert_array_equal(computed["labels"], names[computed["classes"]])


@pytest.mark.usefixtures("no_reload")
def test_channels_first_models_take_ordinary_pictures(tmp_path: Path) -> None:
    source = write_t7(tmp_path / "net.t7", skipping())
    request = Request(
        source, tmp_path / "port", formats=("saved_model",), preset="plain",
        export=ExportOptions("channels_first"),
    )  # fmt: skip
    assert "image: " in convert(request).emitted[0].note


def test_a_preset_that_contradicts_the_net_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one picture"):
        ported(classifier(), tmp_path, "texture-nets")
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.t7"]


def test_pictures_that_differ_by_two_levels_fail() -> None:
    expected = np.full((1, 4, 4, 3), 9, np.uint8)
    computed = expected.copy()
    computed[0, 0, 0, 0] = 10
    assert "2.083% of 48 levels differ, by at most 1" in compare_images(computed, expected)
    computed[0, 0, 0, 0] = 7
    with pytest.raises(ParityError, match="other pictures"):
        compare_images(computed, expected)
    with pytest.raises(ParityError, match="another size"):
        compare_images(computed[:, 1:], expected)


def test_other_probabilities_fail_and_ties_do_not() -> None:
    expected = np.array([[0.1, 0.3, 0.3, 0.2, 0.1]], np.float32)
    tied = {"classes": np.array([[2, 1]]), "probabilities": np.array([[0.3, 0.3]])}
    assert "at most 1.2e-08" in compare_classes(tied, expected)
    other = {"classes": np.array([[2, 3]]), "probabilities": np.array([[0.3, 0.2]])}
    with pytest.raises(ParityError, match="other classes"):
        compare_classes(other, expected)
