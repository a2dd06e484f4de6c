"""The public face: what `import porter` offers, what is documented, and what the commands offer."""

from __future__ import annotations

import argparse
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import porter
from porter import api
from porter.cli import main as cli
from porter.ir.registry import Registry

ROOT = Path(__file__).resolve().parents[1]
NET = ROOT / "fixtures" / "nets" / "lenet_mm_tanh"
CHECKPOINT = ROOT / "fixtures" / "formats" / "checkpoint.t7"
RELU = ROOT / "fixtures" / "layers" / "nn.ReLU"
FUNCTIONS = ("check", "convert", "diff", "inspect", "stylize")

OTHERWISE = {"json", "html", "svg", "junit", "report", "update", "factor", "shard", "ray"} | {
    "verbose",
    "quiet",
}
"""Options of a command that print, write or share out what the function's result holds."""


def ran(code: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


def option_parser(command: str) -> argparse.ArgumentParser:
    return next(p for p in cli.subcommands(cli.parser(command)) if p.prog.endswith(command))


# Names --------------------------------------------------------------------------------------------


def test_every_name_is_documented_and_can_be_imported() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)
    assert sorted(documented) == sorted(porter.__all__)
    assert all(getattr(porter, name).__doc__ for name in porter.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        porter.nothing  # noqa: B018


def test_importing_porter_imports_nothing_heavy() -> None:
    done = ran(
        "import sys, porter, porter.api\n"
        "heavy = {'tensorflow', 'numpy', 'keras', 'rich', 'porter.layer_maps'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    assert done.returncode == 0, done.stderr


def test_functions_are_functions_whatever_was_imported_before() -> None:
    done = ran(
        "import porter.conversion.pipeline, porter.apps.check.checker, porter.apps.inspect\n"
        "import porter.apps.diff\n"
        "from porter import check, convert, diff, inspect\n"
        "assert all(each.__module__ == 'porter.api' for each in (check, convert, diff, inspect))"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures_are_typed_and_hide_no_dictionaries(name: str) -> None:
    signature = inspect.signature(getattr(porter, name))
    annotations = [p.annotation for p in signature.parameters.values()]
    for annotation in (*annotations, signature.return_annotation):
        assert annotation is not inspect.Parameter.empty
        assert "Any" not in annotation


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_and_keyword_arguments_are_the_same(name: str) -> None:
    parameters = inspect.signature(getattr(porter, name)).parameters
    for action in option_parser(name)._actions:
        if not action.option_strings or action.dest in OTHERWISE | {"help"} - set(parameters):
            continue
        parameter = parameters[action.dest]
        if action.default is not None and parameter.default is not inspect.Parameter.empty:
            default = list(parameter.default) if action.default == [] else parameter.default
            assert action.default == default, action.dest


# Calls --------------------------------------------------------------------------------------------


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(import porter\n.*?)```", text, flags=re.DOTALL)
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    done = ran(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{example}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "parity: pass" in done.stdout


def test_convert_takes_keyword_arguments(tmp_path: Path) -> None:
    stages: list[str] = []
    port = porter.convert(
        str(NET / "model.t7"),
        output=tmp_path / "port",
        reference=NET / "activations.t7",
        formats=["weights"],
        weights="npz",
        report="markdown",
        on_progress=lambda stage, detail: stages.append(stage),
    )
    assert port.output == tmp_path / "port"
    assert port.manifest["oracle"] == "torch7"
    assert [row.name for row in port.emitted] == ["weights"]
    assert (tmp_path / "port" / "report.md").is_file()
    assert stages[0] == "read"
    assert stages[-1] == "emit"


def test_shapes_are_text_or_integers_of_one_input_or_of_several() -> None:
    one = ((3, 8, 9),)
    assert api.shapes_of("3x8x9") == one
    assert api.shapes_of((3, 8, 9)) == one
    assert api.shapes_of([(3, 8, 9)]) == one
    assert api.shapes_of(["3x8x9", (1, 4)]) == (*one, (1, 4))
    assert api.shapes_of(()) == ()
    with pytest.raises(porter.UsageError, match="positive integers"):
        api.shapes_of((3, -8, 9))


def test_inspect_and_open_model_look_at_a_checkpoint() -> None:
    inspection = porter.inspect(CHECKPOINT, input_shapes=(3, 20, 20))
    assert inspection.selected == porter.open_model(CHECKPOINT).selected == "model"
    assert inspection.input_shape.endswith("3×20×20")
    assert porter.read(CHECKPOINT).root["model"].typename == "nn.Sequential"


def test_errors_name_keyword_arguments() -> None:
    with pytest.raises(porter.PorterError, match=r"`reference=`"):
        porter.convert(NET / "activations.t7")
    with pytest.raises(porter.UsageError, match="a tolerance is a positive number"):
        porter.diff(NET / "model.t7", NET / "model.t7", isolated=0)
    with pytest.raises(porter.UsageError, match="`jobs=` takes a positive number"):
        porter.check(RELU, jobs=0)


def test_errors_show_values_as_python_takes_them() -> None:
    error = porter.PorterError("wrong", hint="give `map=nn.My=nn.Sequential` or `slim=4`, `seed=`")
    assert str(error).endswith('give `map="nn.My=nn.Sequential"` or `slim=4`, `seed=`')


WRONG_MAP = """
from porter.maps import LayerMap, number, register

@register("my.Scale")
class Scale(LayerMap):
    v = number("v")

    def reference(self, x):
        return x * self.v

    def apply(self, tf, x, at):
        return tf.add(x, self.v)
"""


def test_a_wrong_layer_map_of_the_users_is_no_bug_of_porter(tmp_path: Path) -> None:
    maps, output = tmp_path / "maps.py", tmp_path / "port"
    maps.write_text(WRONG_MAP)
    model = ROOT / "fixtures" / "formats" / "model_unknown_user_class.t7"
    with pytest.raises(
        porter.ParityError, match=r"`apply` of your layer map of my\.Scale"
    ) as caught:
        porter.convert(model, output=output, layer_maps=[maps])
    assert "bug of porter" not in str(caught.value)
    assert not output.exists()


def test_identity_and_layer_maps_extend_the_registry_of_one_call(tmp_path: Path) -> None:
    opened = porter.open_model(CHECKPOINT, identity=["nn.MyLayer"])
    assert isinstance(opened.registry, Registry)
    assert "nn.MyLayer" in opened.registry
    assert "nn.MyLayer" not in porter.open_model(CHECKPOINT).registry


def test_check_and_diff_return_results() -> None:
    counted: list[int] = []
    results = porter.check(RELU, on_start=counted.append)
    assert counted == [len(results)]
    assert {result.status for result in results} == {"pass"}
    report = porter.diff(NET / "activations.t7", NET / "model.t7")
    assert report.passed
    assert report.first_diverging is None


def test_diff_compares_on_the_requested_shape() -> None:
    report = porter.diff(CHECKPOINT, CHECKPOINT, input_shapes="3x20x28")
    assert report.passed
    assert report.rows[-1].shape == "1×3×20×28"
