"""Regression over folders of fixtures."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.apps.check import checker
from porter.apps.check.checker import Checker, CheckResult, exit_code, find, summary
from porter.apps.check.junit import write_junit
from porter.errors import UsageError
from porter.torch7 import TorchObject
from tests.build import (
    FIXTURES,
    Array,
    linear,
    lua,
    randn,
    relu,
    run,
    sequential,
    table,
    torch_module,
)
from tests.write_t7 import write_t7


def output_of(net: TorchObject, x: Array) -> Array:
    return np.asarray(run(net, x)).astype(np.float32)


def write_layer(path: Path, module: Any, x: Array, y: Array) -> Path:
    return write_t7(path, table(module=module, input=x, output=y))


def write_triple(folder: Path, name: str, root: Any, x: Array, y: Array) -> None:
    write_t7(folder / f"{name}.t7", root)
    write_t7(folder / f"{name}.in.t7", lua(x))
    write_t7(folder / f"{name}.out.t7", lua(y))


def write_net(folder: Path, net: TorchObject, x: Array, activations: Any) -> None:
    folder.mkdir()
    write_t7(folder / "model.t7", net)
    write_t7(folder / "input.t7", lua(x))
    write_t7(folder / "activations.t7", activations)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fixtures of every kind and with every status, and files that are none."""
    top = tmp_path_factory.mktemp("fixtures")
    x, net = randn(2, 4), sequential(linear(4, 3), relu())
    y = output_of(net, x)
    first = output_of(sequential(linear(4, 3)), x)

    cases = top / "layers"
    cases.mkdir()
    write_layer(cases / "fails.t7", net, x, y + 1)
    write_layer(cases / "passes.t7", net, x, y)
    write_layer(cases / "unmapped.t7", torch_module("my.Net"), x, y)
    write_layer(cases / "error.t7", linear(5, 3), x, y)
    (cases / "notes.txt").write_text("no fixture")
    (cases / "broken.t7").write_bytes(b"\x03\0\0\0")
    write_t7(cases / "tensor.t7", lua(x))

    def recording(output: Array) -> Any:
        records = [table(path="1", type="nn.Linear", output=first), table(path="2", output=y)]
        return table(
            format="torch7-activations", version=1, input=x, output=output, records=records
        )

    write_net(top / "net_fails", net, x, recording(y * 2))
    write_net(top / "net_passes", net, x, recording(y))
    write_triple(top, "triple", table(model=net, epoch=3), x, y)
    return top


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, CheckResult]:
    """Every fixture of the folder, checked."""
    found = checker.run(find([folder]), Checker())
    return {str(Path(result.path).relative_to(folder)): result for result in found}


def test_every_kind_of_fixture_is_found_and_nothing_else(folder: Path) -> None:
    found = [(str(fixture.path.relative_to(folder)), fixture.kind) for fixture in find([folder])]
    assert found == [
        ("triple.t7", "triple"),
        ("layers/error.t7", "layer"),
        ("layers/fails.t7", "layer"),
        ("layers/passes.t7", "layer"),
        ("layers/unmapped.t7", "layer"),
        ("net_fails/model.t7", "net"),
        ("net_passes/model.t7", "net"),
    ]


def test_a_path_given_twice_is_checked_once(folder: Path) -> None:
    case = folder / "layers" / "passes.t7"
    assert [fixture.path for fixture in find([case, folder / "layers", case])].count(case) == 1


def test_a_broken_file_is_reported_if_the_user_named_it(folder: Path) -> None:
    (fixture,) = find([folder / "layers" / "broken.t7"])
    assert Checker().check(fixture).status == "error"


def test_a_path_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        find([tmp_path / "none"])


def test_an_empty_folder_has_no_fixtures_and_passes(tmp_path: Path) -> None:
    assert find([tmp_path]) == []
    assert exit_code([]) == 0


def test_statuses(results: dict[str, CheckResult]) -> None:
    assert {name: result.status for name, result in results.items()} == {
        "triple.t7": "pass",
        "layers/error.t7": "error",
        "layers/fails.t7": "fail",
        "layers/passes.t7": "pass",
        "layers/unmapped.t7": "unmapped",
        "net_fails/model.t7": "fail",
        "net_passes/model.t7": "pass",
    }


def test_a_failure_names_the_first_layer_and_its_error(results: dict[str, CheckResult]) -> None:
    failed = results["layers/fails.t7"]
    # What went into the layer was not recorded: the chain is what is judged.
    assert failed.message.startswith("2 (nn.ReLU): accumulated error")
    assert failed.worst_path == "2"
    assert "my.Net" in results["layers/unmapped.t7"].message
    assert "takes 5 features" in results["layers/error.t7"].message


def test_passes_come_with_their_errors(results: dict[str, CheckResult]) -> None:
    for result in results.values():
        if result.status == "pass":
            assert result.isolated is not None
            assert result.isolated < 1e-6
            assert result.accumulated is not None
            assert result.message == ""
            assert result.seconds > 0


def test_the_json_of_a_result(results: dict[str, CheckResult]) -> None:
    for result in results.values():
        shown = json.loads(json.dumps(result.json(), allow_nan=False))
        assert list(shown) == [
            *("path", "kind", "status", "isolated", "accumulated"),
            *("worst_path", "message", "seconds"),
        ]
    infinite = CheckResult("x", "net", "fail", isolated=math.inf, accumulated=math.nan)
    assert infinite.json()["isolated"] is None
    assert infinite.json()["accumulated"] is None


def test_a_case_in_double_precision_is_held_to_it(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4))
    net = linear(4, 3)
    y = np.asarray(run(net, x))
    exact = write_layer(tmp_path / "exact.t7", net, x, y)
    rounded = write_layer(tmp_path / "rounded.t7", net, x, y * (1 + 1e-8))
    statuses = [Checker().check(fixture).status for fixture in find([exact, rounded])]
    assert statuses == ["pass", "fail"]


def test_the_recording_tells_which_network_of_a_checkpoint_it_is_of(tmp_path: Path) -> None:
    x = randn(2, 4)
    nets = {"generator": sequential(linear(4, 3, seed=1)), "critic": sequential(linear(4, 3))}
    write_triple(tmp_path, "both", table(**nets), x, output_of(nets["critic"], x))
    (result,) = checker.run(find([tmp_path]), Checker())
    assert result.status == "pass"


def test_an_unmapped_network_beside_the_right_one_does_not_matter(tmp_path: Path) -> None:
    x = randn(2, 4)
    nets = {"aaa": sequential(torch_module("my.Net", modules=[])), "net": sequential(linear(4, 3))}
    write_triple(tmp_path, "both", table(**nets), x, output_of(nets["net"], x))
    (result,) = checker.run(find([tmp_path]), Checker())
    assert result.status == "pass"


def test_a_module_of_real_torch_is_checked(tmp_path: Path) -> None:
    paths = sorted((FIXTURES / "layers" / "nn.Linear").glob("*.t7"))[:2]
    for result in checker.run(find(paths), Checker()):
        assert result.status == "pass", result.message


def result_with(status: Any) -> CheckResult:
    return CheckResult("some/path.t7", "layer", status, message="why")


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["pass"], 0),
        (["pass", "fail", "unmapped", "error"], 1),
        (["unmapped", "error"], 3),
        (["pass", "unmapped"], 4),
    ],
)
def test_exit_codes(statuses: list[str], code: int) -> None:
    assert exit_code([result_with(status) for status in statuses]) == code


# JUnit --------------------------------------------------------------------------------------------


def test_junit_counts_agree_with_the_summary(
    results: dict[str, CheckResult], tmp_path: Path
) -> None:
    write_junit(list(results.values()), tmp_path / "report.xml")
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()
    counts = summary(list(results.values()))
    assert counts == {"pass": 3, "fail": 2, "unmapped": 1, "error": 1}
    assert suite.tag == "testsuite"
    assert suite.get("tests") == "7"
    assert suite.get("failures") == "2"
    assert suite.get("errors") == "2"
    assert len(suite.findall("testcase")) == 7
    assert len(suite.findall("testcase/failure")) == 2
    assert {error.get("type") for error in suite.findall("testcase/error")} == {"unmapped", "error"}
    (unmapped,) = suite.findall("testcase/error[@type='unmapped']")
    assert "my.Net" in str(unmapped.text)


def test_junit_bears_any_path_and_message(tmp_path: Path) -> None:
    hostile = 'a<b>&"\x00\x1b[31m\x85\ufffe\ud800]]>'
    write_junit([CheckResult(hostile, "layer", "fail", message=hostile)], tmp_path / "report.xml")
    (case,) = ElementTree.parse(tmp_path / "report.xml").getroot().findall("testcase")
    assert str(case.get("name")).startswith('a<b>&"')


def recorded(net: TorchObject, x: Array, **fields: Any) -> Any:
    """A recording of a net's output alone."""
    named = {"format": "torch7-activations", "version": 1, "records": []}
    return table(**named, input=x, output=output_of(net, x), **fields)


def test_activations_hold_the_input_of_a_net(tmp_path: Path) -> None:
    x, net = randn(2, 4), sequential(linear(4, 3), relu())
    write_t7(tmp_path / "model.t7", net)
    write_t7(tmp_path / "activations.t7", recorded(net, x))
    write_t7(tmp_path / "other.t7", net)
    write_t7(tmp_path / "other.activations.t7", recorded(net, x))
    fixtures = find([tmp_path])
    assert [(each.path.name, each.kind) for each in fixtures] == [
        ("model.t7", "net"),
        ("other.t7", "triple"),
    ]
    assert fixtures[1].files() == [tmp_path / "other.t7", tmp_path / "other.activations.t7"]
    assert find([tmp_path / "other.t7"]) == fixtures[1:]
    assert [Checker().check(each).status for each in fixtures] == ["pass", "pass"]


def test_activations_without_an_input_are_an_error(tmp_path: Path) -> None:
    x, net = randn(2, 4), sequential(linear(4, 3), relu())
    write_t7(tmp_path / "model.t7", net)
    body = recorded(net, x)
    del body.items["input"]
    write_t7(tmp_path / "activations.t7", body)
    result = Checker().check(find([tmp_path])[0])
    assert result.status == "error"
    assert "holds no input" in result.message
