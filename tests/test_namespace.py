"""Everything that porter installs lies inside `porter`, and the layer maps have one name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import porter.layer_maps

ROOT = Path(__file__).parents[1]
COUNT = "from porter.layer_maps import default_registry as d; print(len(d().layer_maps()))"


def ran(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh Python that finds what lies in a folder first."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def maps() -> str:
    return f"{len(porter.layer_maps.default_registry().layer_maps())}\n"


def test_the_layer_maps_are_not_imported_under_a_second_name() -> None:
    done = ran(ROOT, "-c", "import porter.layer_maps, layer_maps")
    assert done.returncode == 1
    assert "import porter.layer_maps" in done.stderr


def test_a_checkout_without_symbolic_links_finds_the_layer_maps(tmp_path: Path) -> None:
    """Git on Windows writes a file with the target's name in place of the link."""
    for name in ("porter", "layer_maps"):
        shutil.copytree(
            ROOT / name,
            tmp_path / name,
            ignore=lambda folder, _: {"__pycache__", "layer_maps"} if "porter" in folder else set(),
        )
    (tmp_path / "porter" / "layer_maps").write_text("../layer_maps")
    shutil.copy(ROOT / "cli.py", tmp_path)
    done = ran(tmp_path, "-c", f"{COUNT}; import porter; print(porter.layer_maps.__file__)")
    count, file = done.stdout.splitlines()
    assert f"{count}\n" == maps()
    assert Path(file) == tmp_path / "layer_maps" / "__init__.py"
    assert ran(tmp_path, "cli.py", "layers").returncode == 0


def test_the_wheel_holds_one_package(tmp_path: Path) -> None:
    """Other packages may have a `cli` or `layer_maps` of their own."""
    done = ran(ROOT, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["porter"]
    built, source = tmp_path / "porter", ROOT / "porter"
    for pattern in ("*.py", "*.json", "*.lua", "*.toml", "*.html", "*.css", "*.js", "py.typed"):
        sources = [path.relative_to(source) for path in source.rglob(pattern)]
        sources += [Path("layer_maps") / path.name for path in (ROOT / "layer_maps").glob(pattern)]
        assert {path.relative_to(built) for path in built.rglob(pattern)} == set(sources)
    for name in ("cli", "layer_maps"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of another package')")
    assert ran(tmp_path, "-c", COUNT).stdout == maps()
    assert ran(tmp_path, "-m", "porter", "layers").returncode == 0
