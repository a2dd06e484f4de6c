"""The seal of converted folders: what is listed is there, and hostile manifests are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from porter import Conversion
from porter.cli import main as cli
from porter.errors import Corrupt
from porter.system.checksums import check, digests, read_manifest


def test_the_manifest_lists_every_file_that_was_emitted(converted: Conversion) -> None:
    manifest = read_manifest(converted.output)
    files = {path for path in converted.output.rglob("*") if path.is_file()}
    named = {converted.output / name for name in manifest["files"]}
    assert named == files - {converted.output / "manifest.json"}
    assert manifest["files"] == digests(converted.output)
    check(converted.output, manifest["files"])


def test_a_changed_or_missing_file_is_named(
    converted: Conversion, model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each file of the SavedModel in turn: one bit flipped, then none left."""
    port = tmp_path / "port"
    for name in read_manifest(converted.output)["files"]:
        if not name.startswith("saved_model/"):
            continue
        shutil.copytree(converted.output, port)
        content = bytearray((port / name).read_bytes())
        content[len(content) // 2] ^= 1
        (port / name).write_bytes(content)
        assert cli.main(["diff", str(model_path), str(port)]) == 3
        assert f"{name} is not what porter wrote" in capsys.readouterr().err
        (port / name).unlink()
        assert cli.main(["diff", str(model_path), str(port)]) == 3
        assert f"{name} is missing" in capsys.readouterr().err
        shutil.rmtree(port)


def set_shape(manifest: dict[str, Any], shape: list[Any]) -> None:
    manifest["signature"]["input"]["torch_shape"] = shape


@pytest.mark.parametrize(
    "harm",
    [
        lambda manifest: manifest.pop("files"),
        lambda manifest: manifest.update(files=[]),
        lambda manifest: manifest.pop("signature"),
        lambda manifest: manifest.update(data_format=7),
        lambda manifest: set_shape(manifest, [1, 3, 10**12, 10**12]),
        lambda manifest: set_shape(manifest, [1, 3, -1, 8]),
        lambda manifest: set_shape(manifest, ["1", 3, 8, 8]),
        lambda manifest: set_shape(manifest, [1]),
        lambda manifest: manifest["signature"]["input"].update(dtype="object"),
        lambda manifest: manifest["files"].update({"../../etc/passwd": "0"}),
        lambda manifest: manifest["files"].update({"/etc/passwd": "0"}),
    ],
)
def test_a_manifest_that_porter_did_not_write_is_refused(
    converted: Conversion, tmp_path: Path, harm: Callable[[dict[str, Any]], Any]
) -> None:
    port = tmp_path / "port"
    shutil.copytree(converted.output, port)
    manifest = json.loads((port / "manifest.json").read_text())
    harm(manifest)
    (port / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Corrupt) as caught:
        check(port, read_manifest(port)["files"])
    assert caught.value.exit_code == 3


def test_a_manifest_of_endless_brackets_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(Corrupt, match="manifest cannot be read"):
        read_manifest(tmp_path)
