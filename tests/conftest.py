"""Models and conversions that several tests look at; each is made once in a session."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from porter.conversion.pipeline import Conversion, convert
from porter.conversion.request import Request
from porter.ir.registry import Registry
from porter.layer_maps import default_registry
from tests.build import FIXTURES, small_net
from tests.fuzz.harness import STOP_SECONDS, stopped_after
from tests.write_t7 import write_t7

# A bug of porter fails a test by its own traceback, also in processes that tests start.
os.environ["PORTER_DEBUG"] = "1"
# A slow or shared machine is no finding.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture
def registry() -> Registry:
    """A copy of porter's maps, for a test to change."""
    return default_registry().copy()


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_net` on disk."""
    return write_t7(tmp_path_factory.mktemp("models") / "small.t7", small_net())


@pytest.fixture(scope="session")
def converted(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """`small_net`, converted. Do not write into its folder."""
    return convert(Request(model_path, tmp_path_factory.mktemp("ports") / "small"))


@pytest.fixture(scope="session")
def oilpaint(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """The oil-paint generator, converted. Do not write into its folder."""
    target = tmp_path_factory.mktemp("images") / "oilpaint"
    return convert(
        Request(FIXTURES / "trained" / "oilpaint" / "model.t7", target, formats=("saved_model",))
    )


@pytest.fixture
def ends() -> Iterator[None]:
    """Stop what would never end. It is no limit on speed: the machine may be slow or shared."""
    with stopped_after(STOP_SECONDS):
        yield


Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a file system in memory with some options, such as `size=20k`, and returns its folder.

    Skips the test where this user may not.
    """
    folder = tmp_path / "disk"

    def mounted(options: str) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount")
        if done.returncode:
            pytest.skip("this user may not mount a file system")
        return folder

    yield mounted
    # Lazily: TensorFlow keeps an event file open that it could not write.
    subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


@pytest.fixture
def no_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run saved models in this process: a fresh one takes seconds to start."""
    from porter.system.tensorflow import tf

    def run_here(folder: Path, samples: list[Any], *signatures: str) -> Any:
        model = tf.saved_model.load(str(folder))
        outcomes = []
        for sample, name in zip(samples, cycle(signatures or ("serving_default",)), strict=False):
            tensors = {name: tf.constant(array) for name, array in sample.items()}
            outputs = model.signatures[name](**tensors)
            outcomes.append({name: tensor.numpy() for name, tensor in outputs.items()})
        return outcomes

    for home in ("porter.emit.subprocess_runner", "porter.emit.saved_model"):
        monkeypatch.setattr(f"{home}.run_saved_model", run_here)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """`mutation score: 46/46`; with -v a table of which comparison caught what."""
    stats = terminalreporter.stats
    reports = [report for outcome in ("passed", "failed") for report in stats.get(outcome, [])]
    properties = [dict(report.user_properties) for report in reports if report.when == "call"]
    mutations = [each for each in properties if "mutation" in each]
    if not mutations:
        return
    caught = [each for each in mutations if "caught by" in each]
    shown = mutations if terminalreporter.config.get_verbosity() > 0 else []
    terminalreporter.section("mutations")
    for each in shown:
        verdict = each.get("caught by", "NOT CAUGHT")
        terminalreporter.write_line(f"{each['mutation']:<64} {verdict}")
    terminalreporter.write_line(f"mutation score: {len(caught)}/{len(mutations)}")
