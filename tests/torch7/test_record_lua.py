"""Run the Lua recorder under a plain Lua, against the stub of torch and nn in tests/lua."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "porter" / "torch7" / "recorder" / "record.lua"
STUBS = Path(__file__).parent / "lua"
LUA = next(filter(None, map(shutil.which, ("luajit", "lua5.1"))), None)
LUAC = next(filter(None, map(shutil.which, ("luac5.1", "luac"))), None)

INPUT = "return torch.FloatTensor{{1, 2}, {3, 4}}"
Run = Callable[..., "subprocess.CompletedProcess[str]"]

needs_lua = pytest.mark.skipif(LUA is None, reason="neither luajit nor lua5.1 on PATH")


@pytest.mark.skipif(LUA is not None, reason="the other tests run the script")
@pytest.mark.skipif(LUAC is None, reason="no Lua on PATH")
def test_syntax() -> None:
    subprocess.run([str(LUAC), "-p", str(SCRIPT)], check=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Write the named Lua chunks as files, then run the recorder with arguments."""

    def run(*args: str, nn: str = "old", **files: str) -> subprocess.CompletedProcess[str]:
        for name, chunk in files.items():
            (tmp_path / f"{name}.t7").write_text(chunk)
        env = {"LUA_PATH": f"{STUBS}/?.lua;;", "NN_BATCH1": nn, "PATH": os.environ["PATH"]}
        return subprocess.run(
            [str(LUA), str(SCRIPT), *args],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def record(run: Run, tmp_path: Path) -> Callable[..., Any]:
    """Record a model that is a Lua expression; returns the recording."""

    def record(model: str, *options: str, input: str = INPUT, nn: str = "old") -> Any:
        files = (
            ["model.t7", "acts.t7"] if "-size" in options else ["model.t7", "input.t7", "acts.t7"]
        )
        done = run(*files, *options, nn=nn, model=f"return {model}", input=input)
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "acts.t7.part").exists()
        return json.loads((tmp_path / "acts.t7").read_text())

    return record


def paths(recording: Any) -> list[tuple[str, int]]:
    return [(r["path"], r["call"]) for r in recording["records"]]


def values(recording: Any, path: str, call: int = 1) -> Any:
    (output,) = (
        r["output"] for r in recording["records"] if (r["path"], r["call"]) == (path, call)
    )
    return output["data"]


@needs_lua
class TestRecords:
    def test_leaves_come_before_containers_and_the_root_last(
        self, record: Callable[..., Any]
    ) -> None:
        got = record(
            "nn.Sequential():add(nn.AddConstant(1))"
            ":add(nn.ConcatTable():add(nn.Identity()):add(nn.Sequential():add(nn.AddConstant(2))))"
        )
        assert paths(got) == [("1", 1), ("2.1", 1), ("2.2.1", 1), ("2.2", 1), ("2", 1), ("", 1)]
        assert (got["format"], got["version"], got["mode"]) == ("torch7-activations", 1, "evaluate")
        first, table = got["records"][0], got["records"][4]
        assert first["type"] == "nn.AddConstant"
        assert first["shape"] == [2, 2]
        assert table["shape"] == [[2, 2], [2, 2]]
        assert [t["data"] for t in got["output"]] == [[2, 3, 4, 5], [4, 5, 6, 7]]

    def test_in_place_layers_do_not_change_records_or_input(
        self, record: Callable[..., Any]
    ) -> None:
        got = record("nn.Sequential():add(nn.Identity()):add(nn.AddConstant(1, true))")
        assert values(got, "1") == [1, 2, 3, 4]
        assert values(got, "2") == [2, 3, 4, 5]
        assert got["input"]["data"] == [1, 2, 3, 4]

    def test_equal_consecutive_outputs_are_one_tensor(self, record: Callable[..., Any]) -> None:
        got = record(
            "nn.Sequential():add(nn.AddConstant(1)):add(nn.Identity()):add(nn.AddConstant(1))"
        )
        ids = [r["output"]["id"] for r in got["records"]]
        assert ids[0] == ids[1]
        assert ids[1] != ids[2]
        assert ids[2] == ids[3] == got["output"]["id"]

    def test_gmodule_paths_are_positions_in_forwardnodes(self, record: Callable[..., Any]) -> None:
        got = record("nn.gModule{nn.AddConstant(1), nn.Sequential():add(nn.Identity())}")
        assert [(r["path"], r.get("gnode")) for r in got["records"]] == [
            ("2", 2),
            ("3.1", None),
            ("3", 3),
            ("", None),
        ]

    def test_shared_module_is_recorded_at_each_of_its_paths(
        self, record: Callable[..., Any]
    ) -> None:
        got = record(
            "(function() local shared = nn.AddConstant(1) return nn.Sequential():add(shared)"
            ":add(nn.AddConstant(5)):add(shared):add(nn.Sequential():add(shared)) end)()"
        )
        assert paths(got) == [("1", 1), ("2", 1), ("3", 1), ("4.1", 1), ("4", 1), ("", 1)]
        assert values(got, "3") == [8, 9, 10, 11]

    def test_sequencer_counts_calls(self, record: Callable[..., Any]) -> None:
        got = record(
            "nn.Sequencer(nn.Recursor(nn.Sequential():add(nn.AddConstant(1))))",
            input="return {torch.FloatTensor{1}, torch.FloatTensor{2}, torch.FloatTensor{3}}",
        )
        steps = [[("1.1.1", i), ("1.1", i), ("1", i)] for i in (1, 2, 3)]
        assert paths(got) == [*steps[0], *steps[1], *steps[2], ("", 1)]
        assert values(got, "1.1.1", call=3) == [4]

    def test_clones_made_during_forward_have_their_own_path(
        self, record: Callable[..., Any]
    ) -> None:
        got = record(
            "(function() local m = nn.MapTable() m:add(nn.AddConstant(1)) return m end)()",
            input="return {torch.FloatTensor{1}, torch.FloatTensor{2}}",
        )
        assert paths(got) == [("1", 1), ("2", 1), ("", 1)]

    def test_update_output_may_be_a_field_of_the_instance(self, record: Callable[..., Any]) -> None:
        got = record("nn.Sequential():add(nn.Copy()):add(nn.AddConstant(1))")
        assert paths(got) == [("1", 1), ("2", 1), ("", 1)]
        assert values(got, "") == [2, 3, 4, 5]

    def test_instances_are_restored(self, run: Run, tmp_path: Path) -> None:
        # torch.save is the last thing that runs with the model still alive: look at it there.
        model = """
            local copy, leaf = nn.Copy(), nn.Identity()
            local own, save = copy.updateOutput, torch.save
            function torch.save(...)
               assert(rawget(copy, 'updateOutput') == own and rawget(leaf, 'updateOutput') == nil)
               assert(leaf.porter_path == nil)
               print('restored') save(...)
            end
            return nn.Sequential():add(copy):add(leaf)"""
        done = run("model.t7", "input.t7", "acts.t7", model=model, input=INPUT)
        assert "restored" in done.stdout, done.stderr

    def test_summary_keeps_only_the_final_output(self, record: Callable[..., Any]) -> None:
        got = record("nn.Sequential():add(nn.AddConstant(-5))", "-summary")
        leaf, root = got["records"]
        assert "output" not in leaf
        assert leaf["summary"] == {
            "shape": [2, 2],
            "sum": -10,
            "absmax": 4,
            "mean": -2.5,
            "abssum": 10,
        }
        assert got["summary"] is True
        assert root["output"]["data"] == got["output"]["data"] == [-4, -3, -2, -1]

    def test_random_input_is_seeded_and_saved(self, record: Callable[..., Any]) -> None:
        one, same, other = (
            record("nn.Identity()", "-size", "1x3", "-seed", s)["input"]["data"] for s in "112"
        )
        assert one == same != other
        two = record("nn.Identity()", "-size", "1x3,2")
        assert [t["sizes"] for t in two["input"]] == [[1, 3], [2]]

    @pytest.mark.parametrize(("nn", "used"), [("old", "native"), ("new", "patched")])
    def test_one_training_sample_uses_batch_statistics(
        self, record: Callable[..., Any], nn: str, used: str
    ) -> None:
        got = record(
            "nn.SpatialBatchNormalization()",
            "-training",
            input="return torch.FloatTensor{{{{1, 3}}}}",
            nn=nn,
        )
        assert (got["nn_batch1"], got["mode"]) == (used, "training")
        assert got["output"]["data"] == [-1, 1]
        assert got["output"]["sizes"] == [1, 1, 1, 2]

    def test_evaluate_mode_is_left_alone(self, record: Callable[..., Any]) -> None:
        got = record(
            "nn.SpatialBatchNormalization()", input="return torch.FloatTensor{{{{1, 3}}}}", nn="new"
        )
        assert got["output"]["data"] == [1, 3]

    def test_checkpoint_and_input_table(self, record: Callable[..., Any]) -> None:
        checkpoint = "{model = nn.Identity(), opt = {1}, criterion = nn.MSECriterion()}"
        got = record(checkpoint, input="return {input = torch.DoubleTensor{7}}")
        assert values(got, "") == [7]

    def test_select(self, record: Callable[..., Any]) -> None:
        got = record(
            "{protos = {cnn = nn.Identity(), rnn = nn.AddConstant(1)}}", "-select", "protos.rnn"
        )
        assert values(got, "") == [2, 3, 4, 5]

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("model.net", [7, 8, 9, 10]),
            ("model.net.2", [3, 4, 5, 6]),
            ("model.net.1-2", [4, 5, 6, 7]),
            ("model.net.2-99", [6, 7, 8, 9]),
            ("model.net.modules.3", [4, 5, 6, 7]),
        ],
    )
    def test_select_reaches_into_objects_and_modules(
        self, record: Callable[..., Any], path: str, expected: list[float]
    ) -> None:
        net = "nn.Sequential():add(nn.AddConstant(1)):add(nn.AddConstant(2)):add(nn.AddConstant(3))"
        got = record(f"{{model = my.Wrapper{{net = {net}}}}}", "-select", path)
        assert values(got, "") == expected

    @pytest.mark.parametrize(
        "model",
        [
            "my.Wrapper{net = nn.AddConstant(1)}",
            "{agent = my.Wrapper{nets = {nn.AddConstant(1)}}}",
            "(function() local part = nn.AddConstant(1); "
            "return my.Wrapper{parts = {part}, whole = nn.Sequential():add(part)} end)()",
        ],
    )
    def test_the_only_module_is_found_in_objects(
        self, record: Callable[..., Any], model: str
    ) -> None:
        assert values(record(model), "") == [2, 3, 4, 5]

    def test_empty_buffers_take_the_type_of_the_model(self, record: Callable[..., Any]) -> None:
        got = record("nn.Sequential():add(nn.Buffered())")
        assert values(got, "1") == [1, 2, 3, 4]


@needs_lua
@pytest.mark.parametrize(
    ("model", "input", "options", "message"),
    [
        ("return nn.Identity()", INPUT, ["-nonsense"], "usage: th record.lua"),
        ("return nn.Identity()", INPUT, ["-size"], "usage: th record.lua"),
        (
            "return nn.Identity()",
            INPUT,
            ["-require", "gone.lua"],
            "-require gone.lua: cannot open gone.lua",
        ),
        ("return {a = 1}", INPUT, [], "model.t7 holds no nn module"),
        (
            "return {g = nn.Identity(), d = nn.Copy()}",
            INPUT,
            [],
            "-select PATH:\n  d  (nn.Copy)\n  g  (nn.Identity)",
        ),
        ("return {g = nn.Identity()}", INPUT, ["-select", "d"], "nothing at d"),
        ("error('unknown Torch class <nn.Mine>')", INPUT, [], "model.t7 holds the class nn.Mine"),
        ("error('unknown Torch class <torch.CudaTensor>')", INPUT, [], "Without a working cutorch"),
        ("error('read error: read 3 blocks instead of 4')", INPUT, [], "cannot read model.t7"),
        ("", INPUT, [], "cannot read model.t7: no such file, or an empty one"),
        ("return nn.Identity()", "return {1, 'two'}", [], "not a tensor or a table of tensors"),
        (
            "return nn.Sequential():add(nn.Broken())",
            INPUT,
            [],
            "forward failed: module '1' (nn.Broken)",
        ),
    ],
)
def test_mistakes_are_explained(
    run: Run, tmp_path: Path, model: str, input: str, options: list[str], message: str
) -> None:
    done = run("model.t7", "input.t7", "acts.t7", *options, model=model, input=input)
    assert done.returncode == 1
    assert message in done.stderr
    assert "traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["input.t7", "model.t7"]


@needs_lua
def test_an_unwritable_result_is_explained(run: Run, tmp_path: Path) -> None:
    (tmp_path / "acts.t7").mkdir()
    done = run("model.t7", "input.t7", "acts.t7", model="return nn.Identity()", input=INPUT)
    assert done.returncode == 1
    assert "cannot write acts.t7" in done.stderr
    assert not (tmp_path / "acts.t7.part").exists()


@needs_lua
def test_required_file_defines_a_class(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.lua").write_text("torch.class('nn.Mine', 'nn.Identity')")
    files = ["model.t7", "input.t7", "acts.t7"]
    done = run(*files, "-require", "mine.lua", model="return nn.Mine()", input=INPUT)
    assert done.returncode == 0, done.stderr


@needs_lua
def test_bad_size(run: Run) -> None:
    done = run("model.t7", "acts.t7", "-size", "1x0x4", model="return nn.Identity()")
    assert "expected 1x3x64x48" in done.stderr


@needs_lua
def test_double_precision_is_that_of_model_and_input(run: Run, tmp_path: Path) -> None:
    (tmp_path / "typed.lua").write_text(
        "local Typed = torch.class('nn.Typed', 'nn.Identity')\n"
        "function Typed:updateOutput(input)\n"
        "   assert(self._type == 'torch.DoubleTensor', self._type)\n"
        "   return nn.Identity.updateOutput(self, input)\n"
        "end\n"
    )
    files = ("model.t7", "input.t7", "acts.t7", "-require", "typed.lua")
    assert run(*files, model="return nn.Typed()", input=INPUT).returncode == 1
    done = run(*files, "-double", model="return nn.Typed()", input=INPUT)
    assert done.returncode == 0, done.stderr
