"""waifu2x's `.json` weights are the nets of its `.t7`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.cli import main as cli
from porter.errors import Corrupt, T7Error, Unsupported, WrongFile
from porter.torch7 import TorchObject, read, read_bytes
from tests.build import FIXTURES, run

FOLDER = FIXTURES / "waifu2x"
NAMES = ("vgg_7", "vgg_7_old", "upconv_7")


def layers(name: str = "vgg_7") -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


def kinds(root: TorchObject) -> list[str]:
    return [module.typename.removesuffix("MM") for module in root.list("modules")]


@pytest.mark.parametrize("name", NAMES)
def test_the_net_is_that_of_the_t7(name: str) -> None:
    torch, root = read(FOLDER / f"{name}.t7").root, read(FOLDER / f"{name}.json").root
    assert kinds(root) == kinds(torch["module"])
    expected = torch["output"].array
    np.testing.assert_allclose(run(root, torch["input"].array), expected, atol=1e-5)
    assert root.get("w2nn_channels") == torch["module"].get("w2nn_channels")
    if name != "vgg_7_old":
        for key in ("w2nn_arch_name", "w2nn_offset", "w2nn_scale_factor"):
            assert root.get(key) == torch["module"].get(key)


def test_the_commands_take_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(FOLDER / "upconv_7.json")
    assert cli.main(["inspect", model]) == 0
    shown = capsys.readouterr().out
    assert "Torch7 json" in shown
    assert "waifu2x (upconv_7)" in shown
    words = ["convert", model, "-o", str(tmp_path / "port"), "--format", "weights"]
    assert cli.main(words) == 0
    assert "preset waifu2x-rgb" in " ".join(capsys.readouterr().out.split())
    photo = str(FIXTURES / "pipelines" / "photo.png")
    assert cli.main(["stylize", model, photo, "-o", str(tmp_path / "out.png")]) == 0
    assert "84×68 → 168×136" in capsys.readouterr().out


# What is no chain of convolutions -----------------------------------------------------------------


def changed(number: int, **entries: Any) -> bytes:
    body = layers()
    body[number].update(entries)
    return encoded(body)


@pytest.mark.parametrize(
    "content",
    [
        changed(0, model_config={"arch_name": "cunet"}),
        changed(2, class_name="nn.Linear"),
        changed(2, class_name="nn.SpatialDilatedConvolution"),
        changed(2, dilationW=2),
        changed(2, kW=1),
        changed(2, nInputPlane=7),
    ],
)
def test_nets_with_branches_are_refused(content: bytes) -> None:
    with pytest.raises(Unsupported, match=r"does not tell how its layers are connected") as error:
        read_bytes(content)
    assert "take the .t7" in str(error.value).lower()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(6, kW=0), "'kW' should be an integer from 1 on"),
        (changed(6, nInputPlane=8.5, nOutputPlane="3"), "how its layers are connected"),
        (changed(1, dW=0), "'dW' should be an integer from 1 on"),
        (changed(1, padW=-1), "'padW' should be an integer from 0 on"),
        (changed(1, weight=[[[1, 2], [3]]]), "'weight' should be nested lists of numbers"),
        (changed(1, weight="text"), "'weight' should be nested lists of numbers"),
        (changed(1, bias=[1.0]), "'bias' should be 2 finite numbers"),
        (changed(1, bias=[1e999, 0.0]), "'bias' should be 2 finite numbers"),
        (changed(1, bias=[10**400, 0]), "'bias' should be nested lists of numbers"),
        (changed(1, bias=None), "'bias' should be"),
        (encoded([layers()[0], 5]), "a layer should be an object"),
        (encoded(layers())[:-9], "damaged"),
        (b'[{"weight": ' + b"[" * 100_000, "damaged"),
        (b'[{"weight": "\xff"}]', "damaged"),
    ],
)
def test_damaged_files_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(T7Error, match=message) as error:
        read_bytes(content)
    assert isinstance(error.value, Corrupt | Unsupported)
    assert error.value.hint


@pytest.mark.parametrize("content", [b'{"weight": [1]}', b"[1, 2]", b'[{"layers": 3}]'])
def test_other_json_is_refused_with_what_is_read(content: bytes) -> None:
    with pytest.raises(WrongFile, match="a JSON file") as error:
        read_bytes(content)
    assert "waifu2x" in str(error.value)
