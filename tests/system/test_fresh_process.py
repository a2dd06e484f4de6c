"""What is reloaded in a fresh process finds the packages of its parent, and not those around it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipapp
import zipfile
from pathlib import Path

import pytest

from porter.system.fresh_process import run_fresh
from tests.build import conv, sequential
from tests.write_t7 import write_t7

ROOT = Path(__file__).parents[2]
LOOK = """
import sys
from importlib.util import find_spec
print([find_spec(name) is not None for name in sys.argv[1:]])
"""
RUN = (
    "import sys; from pathlib import Path; from porter.system.fresh_process import run_fresh; "
    "done = run_fresh(Path(sys.argv[1]), *sys.argv[2:]); print(done.stdout, done.stderr)"
)


@pytest.fixture
def look(tmp_path: Path) -> Path:
    """A script that prints whether modules of these names are found."""
    script = tmp_path / "look.py"
    script.write_text(LOOK)
    return script


def package(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text("")
    return folder


def test_the_current_folder_is_left_out_however_it_is_written(
    look: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = package(tmp_path / "here", "of_here")
    (tmp_path / "link").symlink_to(here)
    package(tmp_path / "beside", "of_beside")
    monkeypatch.chdir(here)
    for entry in ("", ".", str(here), str(tmp_path / "link")):
        monkeypatch.setattr(sys, "path", [entry, "../beside", *sys.path])
        assert run_fresh(look, "of_here", "of_beside", "numpy").stdout == "[False, True, True]\n"


def test_places_come_in_the_parents_order(
    look: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that shadows another does so there too."""
    for name in ("first", "second"):
        package(tmp_path / name, "twin")
    look.write_text("import twin, json; print(twin.__file__)")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second"), *sys.path])
    assert run_fresh(look).stdout.strip() == str(tmp_path / "first" / "twin.py")


def test_pythonpath_the_user_site_and_archives_are_kept(look: Path, tmp_path: Path) -> None:
    package(tmp_path / "path", "of_path")
    base = tmp_path / "user"
    flags = {"PYTHONUSERBASE": str(base), "PYTHONNOUSERSITE": ""}
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("of_archive.py", "")
    where = [sys.executable, "-c", "import site; print(site.getusersitepackages())"]
    user_site = subprocess.check_output(where, env=os.environ | flags, text=True).strip()
    assert user_site.startswith(str(base))
    package(Path(user_site), "of_user")
    here = package(tmp_path / "here", "of_here")
    names = ["of_path", "of_archive", "of_user", "of_here"]
    # A virtual environment has no user site: it is on the path as it would be without one.
    paths = os.pathsep.join([str(tmp_path / "path"), str(archive), user_site, str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(look), *names],
        cwd=here,
        env=os.environ | flags | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[True, True, True, False]"


def test_a_zipapp_converts(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    build = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tree)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (tree / "__main__.py").write_text(
        "import sys\nfrom porter.cli.main import main\nif __name__ == '__main__': sys.exit(main())"
    )
    zipapp.create_archive(tree, tmp_path / "porter.pyz")
    model = write_t7(tmp_path / "model.t7", sequential(conv(3, 2)))
    words = ["convert", str(model), "-o", str(tmp_path / "port")]
    done = subprocess.run(
        [sys.executable, tmp_path / "porter.pyz", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "port" / "manifest.json").is_file()
