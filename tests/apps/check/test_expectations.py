"""porter.toml, recorded errors, several processes, the cache and the pytest plugin."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from porter.apps.check import page, parallel_runner
from porter.apps.check.checker import Checker, CheckResult, find
from porter.apps.check.expectations import FILE, RECORDED, Expectations
from porter.apps.check.parallel_runner import Cache, CheckSettings, accept, by_severity
from porter.cli import main as cli
from porter.emit import saved_model
from porter.errors import UsageError
from tests.apps.check.test_checker import output_of, write_layer, write_net
from tests.build import FIXTURES, linear, lua, randn, relu, sequential, table, torch_module
from tests.write_t7 import write_t7

NETS = ("lenet_mm_tanh", "temporal_convnet_text")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two small nets, one layer, copied from Torch's own."""
    for net in NETS:
        shutil.copytree(FIXTURES / "nets" / net, tmp_path / "nets" / net)
    shutil.copytree(FIXTURES / "layers" / "nn.Linear", tmp_path / "layers" / "nn.Linear")
    return tmp_path


def check(folder: Path, **more: Any) -> dict[str, CheckResult]:
    results = parallel_runner.run(find([folder]), CheckSettings(), **more)
    return {Path(each.path).relative_to(folder).as_posix(): each for each in results}


def failing(results: dict[str, CheckResult]) -> list[str]:
    return [name for name, result in results.items() if result.status != "pass"]


def expect(folder: Path, text: str) -> None:
    (folder / FILE).write_text(text, encoding="utf-8")


# Tampering ---------------------------------------------------------------------------------------


def test_one_tampered_activation_fails_exactly_its_fixture_and_names_the_layer(
    tmp_path: Path,
) -> None:
    x, net = randn(2, 4), sequential(linear(4, 3), relu(), linear(3, 2))
    first, second = (
        output_of(sequential(linear(4, 3)), x),
        output_of(sequential(linear(4, 3), relu()), x),
    )
    last = output_of(net, x)

    def recording(middle: Any) -> Any:
        records = [
            table(path=path, type=f"nn.{name}", output=output)
            for path, name, output in (
                *(("1", "Linear", first), ("2", "ReLU", middle)),
                *(("3", "Linear", last), ("", "Sequential", last)),
            )
        ]
        return table(format="torch7-activations", version=1, input=x, output=last, records=records)

    tampered = second.copy()
    tampered[1, 2] += 0.01
    for name, middle in (("a", second), ("b", tampered), ("c", second)):
        write_net(tmp_path / name, net, x, recording(middle))
    results = check(tmp_path)
    assert failing(results) == ["b/model.t7"]
    assert results["b/model.t7"].message.startswith("2 (nn.ReLU): isolated error")


# porter.toml -------------------------------------------------------------------------------------


def test_tolerances_of_one_model(folder: Path) -> None:
    expect(folder, '[models."nets/lenet*/model.t7"]\nisolated = 1e-12\n')
    assert failing(check(folder)) == ["nets/lenet_mm_tanh/model.t7"]


def test_the_sha256_of_a_model(folder: Path) -> None:
    path = "nets/lenet_mm_tanh/model.t7"
    right = hashlib.sha256((folder / path).read_bytes()).hexdigest()
    expect(folder, f'[models."{path}"]\nsha256 = "{right}"\n')
    assert failing(check(folder)) == []
    expect(folder, f'[models."{path}"]\nsha256 = "{"0" * 64}"\n')
    results = check(folder)
    assert failing(results) == [path]
    assert right in results[path].message


def test_expected_transposes(folder: Path) -> None:
    path = "nets/lenet_mm_tanh/model.t7"
    transposes = check(folder)[path].transposes
    assert transposes is not None
    expect(folder, f'[models."{path}"]\ntransposes = {transposes}\n')
    assert failing(check(folder)) == []
    expect(folder, f'[models."{path}"]\ntransposes = {transposes + 1}\n')
    assert f"{transposes} transposes" in check(folder)[path].message


def test_formats_are_written_and_loaded_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[Any] = []
    monkeypatch.setattr(
        "porter.conversion.pipeline.convert", lambda request: requests.append(request)
    )
    expect(folder, '[models."nets/lenet*/*"]\nformats = ["saved_model"]\n')
    assert failing(check(folder)) == []
    (request,) = requests
    assert request.formats == ("saved_model",)
    assert request.reference is not None


def test_formats_are_judged_after_reload(folder: Path) -> None:
    expect(folder, '[models."nets/lenet*/*"]\nformats = ["saved_model", "weights"]\n')
    assert failing(check(folder)) == []
    expect(folder, '[models."nets/lenet*/*"]\nformats = ["tflite", "floppy"]\n')
    results = check(folder)
    assert failing(results) == ["nets/lenet_mm_tanh/model.t7"]
    assert "there is no format 'floppy'" in results["nets/lenet_mm_tanh/model.t7"].message


def test_a_format_that_fails_fails_its_fixture(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(*args: Any) -> Any:
        return [{name: array * 1.01 for name, array in outputs.items()} for outputs in run(*args)]

    run = saved_model.run_saved_model
    monkeypatch.setattr(saved_model, "run_saved_model", spoilt)
    expect(folder, '[models."nets/lenet*/*"]\nformats = ["saved_model"]\n')
    results = check(folder)
    assert failing(results) == ["nets/lenet_mm_tanh/model.t7"]
    assert "loaded again" in results["nets/lenet_mm_tanh/model.t7"].message


def test_what_should_be_refused_has_to_be(folder: Path) -> None:
    x = randn(2, 4)
    write_layer(folder / "mine.t7", torch_module("my.Net"), x, x)
    assert failing(check(folder)) == ["mine.t7"]
    expect(folder, '[models."mine.t7"]\nstatus = "unmapped"\n')
    results = check(folder)
    assert failing(results) == []
    assert results["mine.t7"].message.startswith("unmapped, as expected")
    expect(
        folder,
        '[models."nets/lenet*/*"]\nstatus = "unmapped"\n[models."mine.t7"]\nstatus="error"\n',
    )
    results = check(folder)
    assert failing(results) == ["mine.t7", "nets/lenet_mm_tanh/model.t7"]
    assert results["nets/lenet_mm_tanh/model.t7"].message == "it should be unmapped, and is pass"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[models.x]\nisolatd = 1\n", "there is no key 'isolatd'"),
        ("[models.x]\ntransposes = '1'\n", "wrong kind"),
        ("[models.x]\nbn = 'other'\n", "'bn' is unknown"),
        ("[models.x]\nstatus = 'fine'\n", "'status' is unknown"),
        ("[model.x]\n", "should hold tables"),
        ("[models", "cannot be read"),
    ],
)
def test_a_file_that_says_it_wrong_is_a_usage_error(folder: Path, text: str, message: str) -> None:
    expect(folder, text)
    with pytest.raises(UsageError, match=message):
        check(folder)


# Recorded errors ---------------------------------------------------------------------------------


def test_updated_errors_hold_until_they_grow_tenfold(folder: Path) -> None:
    fixtures = find([folder])
    accept(parallel_runner.run(fixtures, CheckSettings()), folder)
    path = folder / RECORDED
    body = json.loads(path.read_text(encoding="utf-8"))
    name = "nets/lenet_mm_tanh/model.t7"
    assert set(body["errors"][name]) == {"isolated", "accumulated"}
    assert failing(check(folder)) == []

    def judged(isolated: float) -> str:
        return Expectations().of(folder / name).broken(folder / name, isolated, None, None)

    recorded = max(body["errors"][name]["isolated"], 1.2e-7)
    assert judged(9 * recorded) == ""
    assert "porter check --update" in judged(11 * recorded)


def test_recorded_errors_that_are_none_are_reported(folder: Path) -> None:
    (folder / RECORDED).write_text("[]", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be read"):
        check(folder)


# The cache ---------------------------------------------------------------------------------------


def test_what_has_not_changed_is_not_checked_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = folder.parent / f"{folder.name}-cache"
    before = check(folder, cache=cache)
    checked: list[str] = []
    original = Checker.check

    def counting(self: Checker, fixture: Any) -> CheckResult:
        checked.append(fixture.path.parent.name)
        return original(self, fixture)

    monkeypatch.setattr(Checker, "check", counting)
    after = check(folder, cache=cache)
    assert checked == []
    timeless = [{k: v for k, v in vars(r).items() if k != "seconds"} for r in after.values()]
    assert timeless == [
        {k: v for k, v in vars(r).items() if k != "seconds"} for r in before.values()
    ]
    activations = folder / "nets" / "lenet_mm_tanh" / "activations.t7"
    changed = bytearray(activations.read_bytes())
    changed[-3] ^= 1
    activations.write_bytes(changed)
    check(folder, cache=cache)
    assert checked == ["lenet_mm_tanh"]


def test_the_key_depends_on_options_and_expectations(folder: Path) -> None:
    (fixture,) = find([folder / "nets" / "lenet_mm_tanh"])

    def key(settings: CheckSettings) -> str:
        return Cache(folder, settings).key(fixture)

    plain = key(CheckSettings())
    assert plain == key(CheckSettings())
    assert plain != key(CheckSettings(identity=("nn.X",)))
    expect(folder, '[models."nets/*"]\nisolated = 1e-3\n')
    assert plain != key(CheckSettings())


def test_a_broken_entry_is_a_miss(folder: Path) -> None:
    fixtures = find([folder / "nets" / "lenet_mm_tanh"])
    cache = folder / "cache"
    parallel_runner.run(fixtures, CheckSettings(), cache=cache)
    for entry in cache.rglob("*.json"):
        entry.write_text("{")
    (result,) = parallel_runner.run(fixtures, CheckSettings(), cache=cache)
    assert result.status == "pass"


# Processes ---------------------------------------------------------------------------------------


def test_two_processes_give_the_same_results_in_the_same_order(folder: Path) -> None:
    one, two = check(folder), check(folder, jobs=2)
    assert list(one) == list(two)
    for name, result in one.items():
        assert (two[name].status, two[name].isolated) == (result.status, result.isolated)


def test_a_number_of_processes_below_one_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="`jobs=`"):
        check(folder, jobs=0)


# What people see ---------------------------------------------------------------------------------


def test_failures_come_first_and_the_worst_of_them_first(tmp_path: Path) -> None:
    results = [
        CheckResult("a", "net", "pass"),
        CheckResult("b", "net", "unmapped"),
        CheckResult("c", "net", "fail", isolated=1e-3),
        CheckResult("d", "net", "fail", isolated=1.0, message="<script>|"),
    ]
    assert [result.path for result in by_severity(results)] == ["d", "c", "b"]
    page.write(results, tmp_path / "check.md")
    text = (tmp_path / "check.md").read_text(encoding="utf-8")
    assert text.startswith("### ❌ porter check: 1 pass, 2 fail, 1 unmapped, 0 error")
    assert "<script>" not in text
    pytest.importorskip("jinja2")
    page.write(results, tmp_path / "check.html")
    assert "<script>|" not in (tmp_path / "check.html").read_text(encoding="utf-8")


def test_the_json_of_check_has_its_keys_and_no_more(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(folder / "layers"), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert set(body) == {"results", "summary"}
    assert set(body["summary"]) == {"pass", "fail", "unmapped", "error"}
    for result in body["results"]:
        assert list(result) == [
            *("path", "kind", "status", "isolated", "accumulated"),
            *("worst_path", "message", "seconds"),
        ]


# The pytest plugin -------------------------------------------------------------------------------

pytest_plugins = ["pytester"]


def test_every_fixture_is_a_test(tmp_path: Path, pytester: pytest.Pytester) -> None:
    x, net = randn(2, 4), sequential(linear(4, 3), relu())
    write_layer(pytester.path / "good.t7", net, x, output_of(net, x))
    write_layer(pytester.path / "bad.t7", net, x, output_of(net, x) + 1)
    write_layer(pytester.path / "new.t7", torch_module("my.Net"), x, x)
    write_t7(pytester.path / "tensor.t7", lua(x))
    # Where porter is installed its entry point has loaded the plugin already.
    installed = entry_points(group="pytest11", name="porter")
    plugin = () if installed else ("-p", "porter.apps.check.pytest_plugin")
    ran = pytester.runpytest_inprocess(*plugin, "--porter", "-q", str(pytester.path))
    ran.assert_outcomes(passed=1, failed=2)
    ran.stdout.fnmatch_lines(["*fail: 2 (nn.ReLU): accumulated error*", "*unmapped: *"])
    without = pytester.runpytest_inprocess(*plugin, "-q", str(pytester.path))
    without.assert_outcomes()


# Memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jobs", "most", "expected"),
    [
        (4, 9 * 2**30, (4, 5 * 2**28)),
        (4, 5 * 2**30, (2, 3 * 2**29)),
        (4, 2**30 + 5, (1, 5)),
        (1, None, (1, None)),
        (2, None, (2, 31 * 2**30)),
    ],
)
def test_memory_is_shared_out_among_processes(
    monkeypatch: pytest.MonkeyPatch, jobs: int, most: int | None, expected: tuple[int, int | None]
) -> None:
    monkeypatch.setattr(parallel_runner.memory, "available", lambda: 64 * 2**30)
    assert parallel_runner.shared_out(jobs, most) == expected


def test_a_model_beyond_the_given_memory_is_an_error_and_the_next_run_is_free(
    folder: Path,
) -> None:
    found = [fixture for fixture in find([folder]) if fixture.path.name == "model.t7"]
    for result in parallel_runner.run(found, CheckSettings(), most=parallel_runner.PROCESS + 1):
        assert result.status == "error"
        assert "takes at least" in result.message
    assert parallel_runner.memory._budget is None


def test_less_memory_than_one_process_needs_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="`memory=` must be more"):
        parallel_runner.run(find([folder]), CheckSettings(), most=10)
