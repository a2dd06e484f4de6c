"""Folders and files that appear whole or not at all."""

# What happens inside of the block is what is tested here.
# ruff: noqa: PT012

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.errors import EmitError, UsageError
from porter.system import atomic, disk
from porter.system.atomic import atomic_directory, no_empty_folders, require_file_target, write_text
from tests.windows import behave_as_windows


@pytest.fixture(params=["posix", "windows"], autouse=True)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test of this file holds on both."""
    if request.param == "windows":
        behave_as_windows(monkeypatch)


def fill(folder: Path, content: str = "new") -> None:
    """Make a folder look like a port."""
    described = json.dumps({"manifest": 1, "source": content})
    (folder / "manifest.json").write_text(described, encoding="utf-8")
    (folder / "saved_model").mkdir()


def content(folder: Path) -> str:
    """What `fill` was given."""
    return str(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["source"])


def names(folder: Path) -> list[str]:
    """What a folder holds, hidden entries included."""
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more reaches the disk."""

    def fsync(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


# Appearing ----------------------------------------------------------------------------------------


def test_a_folder_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "port"
    with atomic_directory(target) as folder:
        fill(folder)
        assert not target.exists()
        assert folder.parent.parent == target.parent
    assert names(target) == ["manifest.json", "saved_model"]
    assert names(target.parent) == ["port"]


def test_a_relative_target_is_taken_from_where_the_user_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_directory(Path("port")) as folder:
        fill(folder)
    assert names(tmp_path) == ["port"]


def test_nothing_is_left_of_a_run_that_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_directory(tmp_path / "port") as folder:
        fill(folder)
        raise KeyError("anything")
    assert names(tmp_path) == []


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_directory(tmp_path / "port") as folder:
        fill(folder)
        raise KeyboardInterrupt
    assert names(tmp_path) == []


# What is there already ----------------------------------------------------------------------------


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A port of an earlier run."""
    target = tmp_path / "port"
    with atomic_directory(target) as folder:
        fill(folder, "old")
    return target


def test_an_interrupt_before_the_work_begins_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.lock_staging(tmp_path / "port")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_target_is_refused(earlier: Path) -> None:
    with pytest.raises(UsageError, match="already exists") as caught, atomic_directory(earlier):
        pytest.fail("the block must not run")
    assert "`force=True`" in str(caught.value.hint)
    assert content(earlier) == "old"


def test_force_replaces_an_earlier_port_as_a_whole(earlier: Path) -> None:
    (earlier / "left.txt").write_text("of the earlier run")
    with atomic_directory(earlier, force=True) as folder:
        fill(folder)
        assert content(earlier) == "old"
    assert names(earlier) == ["manifest.json", "saved_model"]
    assert content(earlier) == "new"
    assert names(earlier.parent) == ["port"]


def test_a_failing_run_with_force_keeps_the_earlier_port(earlier: Path) -> None:
    with pytest.raises(KeyError), atomic_directory(earlier, force=True) as folder:
        fill(folder)
        raise KeyError("anything")
    assert content(earlier) == "old"
    assert names(earlier.parent) == ["port"]


def test_force_replaces_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "port").mkdir()
    with atomic_directory(tmp_path / "port", force=True) as folder:
        fill(folder)
    assert names(tmp_path / "port") == ["manifest.json", "saved_model"]


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_force_never_replaces_what_porter_did_not_write(tmp_path: Path, kind: str) -> None:
    target, precious = tmp_path / "port", tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    if kind == "folder":
        precious.rename(target)
    elif kind == "file":
        target.write_text("a file")
    else:
        target.symlink_to(precious)
    before = names(tmp_path)
    with (
        pytest.raises(UsageError, match="not written by porter"),
        atomic_directory(target, force=True),
    ):
        pytest.fail("the block must not run")
    assert names(tmp_path) == before


def test_a_folder_of_the_user_that_appears_meanwhile_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "port"
    with (
        pytest.raises(UsageError, match="not written by porter"),
        atomic_directory(target, True) as folder,
    ):
        fill(folder)
        target.mkdir()
        (target / "thesis.tex").write_text("years of work")
    assert names(target) == ["thesis.tex"]
    assert names(tmp_path) == ["port"]


def test_a_target_that_appears_meanwhile_is_not_replaced_without_force(tmp_path: Path) -> None:
    target = tmp_path / "port"
    with pytest.raises(UsageError, match="already exists"), atomic_directory(target) as folder:
        fill(folder, "mine")
        target.mkdir()
        fill(target, "the other's")
    assert content(target) == "the other's"
    assert names(tmp_path) == ["port"]


# Leftovers of killed runs -------------------------------------------------------------------------


def leftover(target: Path, part: str, words: str) -> Path:
    """What a killed run leaves: a folder that nobody holds locked."""
    left = target.with_name(f".porter-{target.name}-0123abcdef")
    (left / part).mkdir(parents=True)
    fill(left / part, words)
    return left


def test_work_folders_of_dead_processes_are_removed(tmp_path: Path) -> None:
    stale = leftover(tmp_path / "port", "new", "half")
    with atomic_directory(tmp_path / "port") as folder:
        assert not stale.exists()
        fill(folder)
    assert names(tmp_path) == ["port"]


def test_work_folders_of_running_processes_and_other_targets_stay(tmp_path: Path) -> None:
    other = leftover(tmp_path / "another", "new", "half")
    longer = leftover(tmp_path / "port-2", "new", "half")
    strange = tmp_path / ".porter-port-notes"
    strange.mkdir()
    with atomic_directory(tmp_path / "port") as running:
        fill(running)
        atomic.remove_stale(tmp_path / "port")
        assert running.exists()
    assert names(tmp_path) == sorted(["port", longer.name, other.name, strange.name])


@pytest.mark.parametrize("name", ["model[1]", "a*", "größe 2"])
def test_leftovers_of_targets_with_odd_names_are_found(tmp_path: Path, name: str) -> None:
    if disk.WINDOWS and "*" in name:
        pytest.skip("Windows has no such name")
    leftover(tmp_path / name, "new", "half")
    with atomic_directory(tmp_path / name) as folder:
        fill(folder)
    assert names(tmp_path) == [name]


def test_a_port_that_a_killed_run_had_moved_away_comes_back(tmp_path: Path) -> None:
    # Killed between the two renames of --force.
    leftover(tmp_path / "port", "old", "old")
    atomic.remove_stale(tmp_path / "port")
    assert names(tmp_path) == ["port"]
    assert content(tmp_path / "port") == "old"


def test_a_foreign_manifest_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "app"
    target.mkdir()
    (target / "manifest.json").write_text('{"short_name": "a web app"}')
    with (
        pytest.raises(UsageError, match="not written by porter"),
        atomic_directory(target, force=True),
    ):
        pytest.fail("the block must not run")
    assert names(target) == ["manifest.json"]


def test_a_killed_process_leaves_no_target(tmp_path: Path) -> None:
    script = (
        "import os, signal\nfrom pathlib import Path\n"
        "from porter.system.atomic import atomic_directory\n"
        f"with atomic_directory(Path({str(tmp_path / 'port')!r})) as folder:\n"
        "    (folder / 'manifest.json').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=False)
    folder, lock = names(tmp_path)
    assert lock == f"{folder}.lock"
    assert not (tmp_path / "port").exists()
    with atomic_directory(tmp_path / "port") as folder:
        fill(folder)
    assert names(tmp_path) == ["port"]


# Two writers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
def test_two_writers_of_one_target_do_not_mix(tmp_path: Path, force: bool) -> None:
    """The slower one replaces what the faster one wrote only if it was given --force."""
    target = tmp_path / "port"
    slower = atomic_directory(target, force)
    first = slower.__enter__()
    fill(first, "slower")
    with atomic_directory(target) as second:
        assert second != first
        fill(second, "faster")
    if force:
        slower.__exit__(None, None, None)
    else:
        with pytest.raises(UsageError, match="already exists"):
            slower.__exit__(None, None, None)
    assert content(target) == ("slower" if force else "faster")
    assert names(tmp_path) == ["port"]


# Disks that refuse --------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, full_disk: None) -> None:
    with (
        pytest.raises(EmitError, match="No space left") as caught,
        atomic_directory(tmp_path / "port") as f,
    ):
        fill(f)
    assert "the disk is full" in str(caught.value.hint)
    assert names(tmp_path) == []


def test_a_full_disk_with_force_keeps_the_earlier_port(
    earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(EmitError), atomic_directory(earlier, force=True) as folder:
        fill(folder)
    assert content(earlier) == "old"
    assert names(earlier.parent) == ["port"]


def test_a_rename_that_fails_puts_the_earlier_port_back(
    earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def only_away(source: Path, target: Path) -> None:
        if Path(target) == earlier and Path(source).name == "new":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(os, "rename", only_away)
    with pytest.raises(EmitError), atomic_directory(earlier, force=True) as folder:
        fill(folder)
    assert content(earlier) == "old"
    assert names(earlier.parent) == ["port"]


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing can be made; skips where the user may write anyway (root)."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user writes everywhere")
    yield folder
    folder.chmod(0o700)


def test_parents_stay_only_if_something_was_written(tmp_path: Path) -> None:
    failed, written = tmp_path / "a" / "b" / "port", tmp_path / "c" / "d" / "port"
    with pytest.raises(RuntimeError), atomic_directory(failed):
        raise RuntimeError
    with atomic_directory(written) as folder:
        (folder / "model").write_text("new")
    assert names(tmp_path) == ["c"]
    assert names(written) == ["model"]


def test_a_read_only_parent_is_reported(read_only: Path) -> None:
    with pytest.raises(EmitError, match="Permission denied"), atomic_directory(read_only / "port"):
        pytest.fail("the block must not run")


def test_a_parent_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(EmitError, match="cannot be written"),
        atomic_directory(tmp_path / "file" / "port"),
    ):
        pytest.fail("the block must not run")
    assert names(tmp_path) == ["file"]


# Files --------------------------------------------------------------------------------------------


def test_a_text_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "x.txt", "one")
    write_text(tmp_path / "x.txt", "zwei\n")
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == "zwei\n"
    assert names(tmp_path) == ["x.txt"]


def test_a_text_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, full_disk: None
) -> None:
    (tmp_path / "x.txt").write_text("old")
    with pytest.raises(EmitError, match="No space left"):
        write_text(tmp_path / "x.txt", "new")
    assert (tmp_path / "x.txt").read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_a_text_file_in_no_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EmitError, match="No such file"):
        write_text(tmp_path / "none" / "x.txt", "new")


@pytest.mark.parametrize("force", [False, True])
def test_what_no_file_can_replace_is_known_before_work_begins(force: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name, message in {
        "folder": "is a folder",
        "link": "is a symbolic link to file",
        "dangling": "is a symbolic link to nowhere",
        "pipe": "is no regular file",
        "missing/file": "there is no folder",
        "file/file": "there is no folder",
    }.items():
        with pytest.raises((UsageError, EmitError), match=message) as caught:
            require_file_target(tmp_path / name, force)
        assert caught.value.exit_code == 2
    require_file_target(tmp_path / "new", force)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["link", "dangling"])
def test_a_folder_never_replaces_a_link(name: str, force: bool, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "dangling").symlink_to("nowhere")
    with (
        pytest.raises(UsageError, match=r"is a symbolic link|already exists"),
        atomic_directory(tmp_path / name, force),
    ):
        pytest.fail("work began")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "folder", "link"]


def test_a_block_that_fails_leaves_no_empty_folders(tmp_path: Path) -> None:
    target = tmp_path / "new" / "pictures"
    with pytest.raises(ValueError, match="late"), no_empty_folders(target):
        (target / "inner").mkdir(parents=True)
        raise ValueError("late")
    assert not (tmp_path / "new").exists()


def test_a_block_that_fails_leaves_what_it_wrote_and_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for target in (tmp_path / "old", tmp_path / "new"):
        with pytest.raises(ValueError, match="late"), no_empty_folders(target):
            (target / "empty").mkdir(parents=True)
            (target / "full").mkdir()
            (target / "full" / "a.png").touch()
            raise ValueError("late")
    assert sorted(each.name for each in (tmp_path / "new").iterdir()) == ["full"]
    assert (tmp_path / "old" / "empty").is_dir()
