"""The zoo: every row runs as it says, its nets are named, and no other net is."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from porter.api import open_model, read
from porter.apps.check.fixtures import find
from porter.apps.stylize.loading import torch_spec
from porter.apps.zoo.advice import candidates, systems_named
from porter.apps.zoo.listing import system_named
from porter.apps.zoo.sketch import Sketch, sketch
from porter.apps.zoo.systems import (
    System,
    fingerprint_of,
    looks_like,
    one_system,
    parse_fingerprint,
    parse_system,
    shapes,
    systems,
    tables,
    tomllib,
)
from porter.apps.zoo.widths import bindings, require_pattern
from porter.cli.main import main
from porter.errors import PorterError, UnmappedModules, UsageError
from porter.frontend.module_tree import histogram
from porter.frontend.search import solve
from porter.imaging.presets import BUILT_IN
from porter.layer_maps import default_registry
from tests.build import FIXTURES, concat_table, conv, linear, relu, sequential
from tools import zoo_page

ZOO = FIXTURES / "zoo"
SYSTEMS = pytest.mark.parametrize("system", systems(), ids=lambda system: system.name)


def test_every_system_has_its_folder_and_every_folder_its_system() -> None:
    folders = {path.parent.name for path in ZOO.glob("*/net.lua")}
    assert {system.name for system in systems()} == folders == tables().keys()


@SYSTEMS
def test_a_system_is_the_same_when_it_is_read_alone(system: System) -> None:
    assert one_system(system.name) == system
    _, recognised_by = tables()[system.name]
    assert fingerprint_of(tomllib.loads(recognised_by)) == system.fingerprint


@SYSTEMS
def test_the_command_of_a_row_converts_its_net(
    system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ZOO / system.name / "model.t7"
    (named,) = looks_like(open_model(path, select=selected(system)))
    _, _, *words = named.command(str(path)).split()
    port = tmp_path / "port"
    # In Torch's order of axes, as rows state their shapes; weights need no fresh process.
    flags = ["--data-format", "channels_first", "--format", "weights", "--quiet"]
    assert main(["convert", *words, "-o", str(port), *flags]) == 0, capsys.readouterr().err
    done = json.loads((port / "manifest.json").read_text(encoding="utf-8"))
    admitted = [each for name, each in done["signature"].items() if name.startswith("input")]
    computed = [each for name, each in done["signature"].items() if name.startswith("output")]
    assert len(admitted) == len(system.input)
    for shape, each in zip(system.input, admitted, strict=True):
        assert_admits(each["shape"], shape)
    assert len(computed) == len(system.output)
    for shape, each in zip(system.output, computed, strict=True):
        assert_is(each["shape"], shape)
    if done["pictures"] is not None:
        assert done["pictures"]["preset"]["name"] == system.preset


def assert_admits(shape: list[int | None], stated: str) -> None:
    """A port takes the stated shape: digits are its sizes, capitals are free, small letters not."""
    words = stated.split("x")
    assert len(words) == len(shape), (stated, shape)
    for word, size in zip(words, shape, strict=True):
        free = size is None
        agrees = (free or size == int(word)) if word.isdigit() else free == word.isupper()
        assert agrees, (stated, shape)


def assert_is(shape: list[int | None], stated: str) -> None:
    """A port gives the stated shape."""
    words = stated.split("x")
    assert len(words) == len(shape), (stated, shape)
    for word, size in zip(words, shape, strict=True):
        assert size is None or not word.isdigit() or size == int(word), (stated, shape)


@SYSTEMS
def test_the_net_of_a_row_is_named_and_holds_its_classes(system: System) -> None:
    (path,) = (ZOO / system.name).glob("model.t7")
    opened = open_model(path, select=selected(system))
    assert [each.name for each in looks_like(opened)] == [system.name]
    assert set(system.classes) <= set(histogram(opened.root))


@SYSTEMS
def test_what_a_row_states_of_planes_is_what_its_nets_are_recognised_by(system: System) -> None:
    """Else a net with other planes would be told to take these."""
    words = system.fingerprint.widths.split()
    for shape, term in ((system.input[0], words[:1]), (system.output[-1], words[-1:])):
        planes = shape.split("x")[1:2]
        if len(shape.split("x")) >= 4 and planes[0].isdigit():
            assert term
            assert planes[0] in term[0].split(">"), shape


@SYSTEMS
def test_a_net_with_something_before_or_behind_is_not_named(system: System) -> None:
    opened = open_model(ZOO / system.name / "model.t7", select=selected(system))
    drawn = sketch(opened.root)
    assert drawn is not None
    for text in (f"Other;{drawn.text}", f"{drawn.text}Other;"):
        other = replace(drawn, text=text)
        named = [
            each
            for each in systems()
            if each.fingerprint.bindings(other, {*opened.wrapper}) is not None
        ]
        assert named == []


def selected(system: System) -> str | None:
    """The module that a system's command selects."""
    words = system.options
    return words[words.index("--select") + 1] if "--select" in words else None


NAMED_ELSEWHERE = {
    "field/inputs/entnet.t7": {"entnet"},
    "field/inputs/zaremba_core.t7": {"zaremba-lstm"},
    "nets/texture_nets_johnson_slim": {"texture-nets-johnson"},
    "trained/oilpaint": {"texture-nets-johnson"},
}
"""Nets outside fixtures/zoo, by file or folder, that are of a system."""


def test_no_other_net_is_named() -> None:
    count = 0
    for fixture in find([FIXTURES / name for name in ("nets", "field", "trained", "formats")]):
        try:
            opened = open_model(fixture.path)
        except PorterError:
            continue
        count += 1
        path = fixture.path.relative_to(FIXTURES)
        known = [NAMED_ELSEWHERE.get(str(each), set()) for each in (path, path.parent)]
        assert {each.name for each in looks_like(opened)} <= set.union(*known), fixture.path
    assert count > 60


# Pictures -----------------------------------------------------------------------------------------

PICTURES = tuple(
    system
    for system in systems()
    if system.preset
    or system.family
    in ("style transfer", "image translation", "inpainting", "colourisation", "super-resolution")
)


@pytest.mark.parametrize("system", PICTURES, ids=lambda system: system.name)
def test_no_system_s_net_is_fed_wrong_pictures_in_silence(system: System) -> None:
    """Its preset is found, or a preset of another meaning or none is answered by what it is fed."""
    assert not system.preset or system.preset in BUILT_IN
    path = ZOO / system.name / "model.t7"
    opened = open_model(path, select=selected(system))
    model = opened.model()
    shapes = solve(model)
    for preset in (None, "plain"):
        try:
            spec = torch_spec(path, opened, model, shapes, preset)
            answer = spec.warning
        except UsageError as error:
            spec, answer = None, str(error.hint)
        if spec is None or spec.preset.name != system.preset:
            assert system.advice in answer or "the file tells" in answer
            assert preset is not None or spec is None


# Sketches and patterns ----------------------------------------------------------------------------


def test_a_sketch_has_kernels_strides_and_branches() -> None:
    branch = sequential(conv(8, 8, 1), relu())
    net = sequential(conv(3, 8, 3), concat_table(branch, conv(8, 4, 1)), linear(8, 2))
    drawn = sketch(net)
    assert drawn is not None
    assert drawn.text == (
        "SpatialConvolution3;ConcatTable<SpatialConvolution1;ReLU;,SpatialConvolution1;>Linear;"
    )
    assert drawn.widths == ((3, 8), (8, 8), (8, 4), (8, 2))


@pytest.mark.parametrize(
    ("pattern", "widths", "expected"),
    [
        ("3>a a>2a", [(3, 8), (8, 16)], True),
        ("3>a a>2a", [(3, 8), (8, 15)], False),
        ("3>a a>2a", [(3, 8)], False),
        ("3>a ... a>*", [(3, 8), (1, 1), (2, 2), (8, 7)], True),
        ("3>a ... a>*", [(3, 8)], False),
        ("2a>a", [(7, 3)], False),
        ("2a>a", [(8, 4)], True),
        ("3>!9", [(3, 8)], True),
        ("3>!9", [(3, 9)], False),
        ("", [(1, 2)], True),
    ],
)
def test_widths(pattern: str, widths: list[tuple[int, int]], expected: bool) -> None:
    assert (bindings(pattern, widths) is not None) is expected


def test_a_net_of_clips_is_named_whatever_their_length() -> None:
    """LTC's features are as many times its last planes as the clip is long and wide."""
    (ltc,) = (each for each in systems() if each.name == "ltc")
    for frames in (20, 60, 100):
        features = 256 * (frames // 16) * (58 // 32) ** 2
        convolutions = [(3, 64), (64, 128), (128, 256), (256, 256), (256, 256)]
        widths = [*convolutions, (features, 2048), (2048, 2048), (2048, 101)]
        assert bindings(ltc.fingerprint.widths, widths) is not None


def test_views_give_the_sizes_that_no_weight_has() -> None:
    """HieCoAtten's words and regions; a command with those of another net would not run."""
    (system,) = (each for each in systems() if each.name == "hiecoatten")
    drawn = sketch(open_model(ZOO / system.name / "model.t7").root)
    assert drawn is not None
    other = replace(
        drawn,
        widths=((512, 512),) * 3 + ((512, 1),) * 2,
        views=((196, 512), (196, 512), (26, 512), (1, -1), (1, -1)),
    )
    bound = system.fingerprint.bindings(other, set())
    assert bound == {"a": 512, "r": 196, "w": 26}
    assert system.fingerprint.bindings(replace(other, views=other.views[1:]), set()) is None


def test_widths_have_values() -> None:
    assert bindings("3>a ... b>a+2c", [(3, 8), (1, 1), (5, 18)]) == {"a": 8, "b": 5, "c": 5}
    assert bindings("3>a a>a+2c", [(3, 8), (8, 11)]) is None
    assert bindings("3>a a>a+c", [(3, 8), (8, 8)]) is None


@pytest.mark.parametrize("pattern", ["3", "3>a>b", "3>A", "... 3>a ...", ">3"])
def test_a_pattern_of_widths_that_cannot_be_read(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"should be like|more than once"):
        require_pattern(pattern)


def test_an_entry_is_checked() -> None:
    body: dict[str, Any] = {"title": "a net"}
    with pytest.raises(ValueError, match="no entry family"):
        parse_system("x", body)
    with pytest.raises(ValueError, match="not closed"):
        parse_fingerprint("x", {"sketch": "(Tanh;|ReLU;Linear;"})
    with pytest.raises(ValueError, match="no entry, or should not be"):
        parse_fingerprint("x", {"sketch": "Linear;", "width": "3>a"})


def test_shapes_are_shown() -> None:
    assert shapes(("Nx3x96x96",)) == "N×3×96×96"
    assert shapes(("N", "NxS", "NxS")) == "N and 2 of N×S"


# Commands -----------------------------------------------------------------------------------------


def test_zoo_lists_systems_and_shows_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo"]) == 0
    listed = capsys.readouterr().out
    assert all(system.name[:12] in listed for system in systems())
    assert main(["zoo", "DQN (Atari)"]) == 0
    assert "--select best_model" in capsys.readouterr().out
    assert main(["zoo", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["systems"]) == len(systems())


def test_an_unknown_system_names_similar_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "openfase"]) == 2
    assert "openface-nn4-small2" in capsys.readouterr().err


def test_inspect_names_a_system_and_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    path = ZOO / "openface-nn4-small2" / "model.t7"
    assert main(["inspect", str(path), "--json"]) == 0
    (named,) = json.loads(capsys.readouterr().out)["looks_like"]
    assert named["name"] == "openface-nn4-small2"
    assert named["command"] == f"porter convert {path}"
    assert named["advice"].startswith("feed N×3×96×96")
    path = ZOO / "dqn" / "model.t7"
    assert main(["inspect", str(path)]) == 0
    hint = f"best_model looks like DQN (Atari): `porter convert --select best_model {path}`"
    assert hint in capsys.readouterr().out
    assert main(["convert", str(path), "-o", "nowhere"]) == 2
    assert hint in capsys.readouterr().err
    assert main(["inspect", str(path), "--select", "model", "--json"]) == 0
    (named,) = json.loads(capsys.readouterr().out)["looks_like"]
    assert named["command"] == f"porter convert --select model {path}"


def test_an_error_about_a_single_net_names_its_system() -> None:
    path = ZOO / "openface-nn4-small2" / "model.t7"
    registry = default_registry()
    line = f"it looks like OpenFace nn4.small2: `porter convert {path}`"
    assert candidates(read(path), str(path), registry, None) == [line]
    with pytest.raises(UnmappedModules) as caught, systems_named(path, registry, None):
        raise UnmappedModules("a class", hint="what else")
    assert caught.value.hint == f"{line}\nwhat else"


def test_the_page_is_current() -> None:
    assert zoo_page.PAGE.read_text(encoding="utf-8") == zoo_page.page(), "run `make coverage`"


def test_systems_are_named_without_tensorflow() -> None:
    code = (
        "import sys; from porter.cli.main import main; assert main(['inspect', sys.argv[1]]) == 0; "
        "assert 'tensorflow' not in sys.modules"
    )
    path = ZOO / "fast-neural-style" / "model.t7"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)


def test_other_nets_of_the_same_layers_are_not_named() -> None:
    draw = np.random.default_rng(1)
    for _ in range(20):
        a, b, c = (int(width) for width in draw.integers(1, 9, 3))
        net = sequential(conv(4, a, 8), relu(), conv(a, b, 4), relu(), conv(b, c, 3))
        drawn = sketch(net)
        assert drawn is not None
        assert not any(each.fingerprint.bindings(drawn, set()) is not None for each in systems())


BODIES = (
    "SpatialConvolution3;ReLU;",
    "SpatialConvolution3;SpatialBatchNormalization;ReLU;",
    "SpatialConvolution3;ReLU;SpatialConvolution3;ReLU;SpatialMaxPooling2/2;",
    "SpatialConvolution5;Tanh;SpatialMaxPooling2/2;",
    "SpatialConvolution4/2;SpatialBatchNormalization;LeakyReLU;",
    "SpatialReflectionPadding;SpatialConvolution3;InstanceNormalization;ReLU;",
    "SpatialFullConvolution4/2;SpatialBatchNormalization;ReLU;",
    "SpatialUpSamplingNearest;SpatialConvolution3;ReLU;",
)
HEADS = (
    "SpatialConvolution3;",
    "SpatialConvolution3;Tanh;",
    "SpatialFullConvolution4/2;Tanh;",
    "View;Linear;",
    "View;Linear;ReLU;Linear;LogSoftMax;",
    "SpatialConvolution1;Sigmoid;",
)


def test_nets_of_usual_layers_in_any_order_are_not_named() -> None:
    draw = np.random.default_rng(2)
    for _ in range(1_000):
        bodies = [BODIES[n] for n in draw.integers(0, len(BODIES), draw.integers(1, 7))]
        text = "".join([*bodies, HEADS[draw.integers(0, len(HEADS))]])
        weighted = text.count("Convolution") + text.count("Linear")
        chain = [3, *(8 * 2 ** draw.integers(0, 3, weighted - 1)), int(draw.integers(1, 4))]
        drawn = Sketch(text, tuple(pairwise(map(int, chain))))
        assert [
            each.name for each in systems() if each.fingerprint.bindings(drawn, set()) is not None
        ] == [], text


@pytest.mark.parametrize(
    ("name", "system"),
    [
        ("resnet50", "fb-resnet-bottleneck"),
        ("ResNet-152", "fb-resnet-bottleneck"),
        ("resnet18", "fb-resnet"),
        ("openface", "openface-nn4-small2"),
        ("vgg16", "vgg-16"),
        ("OverFeat", "overfeat"),
    ],
)
def test_a_name_finds_its_system_however_it_is_punctuated(name: str, system: str) -> None:
    assert system_named(name).name == system


@pytest.mark.parametrize(
    ("name", "first"), [("vgg", "vgg-16"), ("resnet1001", "fb-resnet"), ("alexnt", "alexnet")]
)
def test_a_name_of_several_or_none_names_similar_ones(name: str, first: str) -> None:
    with pytest.raises(UsageError) as caught:
        system_named(name)
    assert f"  {first} (" in str(caught.value.hint)
    assert "fast-rcnn" not in str(caught.value.hint).split("\n")[1]
