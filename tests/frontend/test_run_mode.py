"""In which mode a net is converted whose file was saved in the other one."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from porter import torch7
from porter.conversion.pipeline import convert
from porter.conversion.request import Request
from porter.errors import ParityError
from porter.frontend.model_file import open_model
from porter.frontend.run_mode import RunMode, decide, recorded_otherwise
from porter.ir.nested import leaves
from porter.ir.options import Options
from porter.layer_maps import default_registry
from porter.parity import compare as parity
from porter.parity import recording
from porter.runtime import reference
from porter.torch7 import TorchObject
from porter.torch7.build import Modules
from tests.build import (
    FIXTURES,
    batch_norm,
    conv,
    dropout,
    graph_module,
    graph_node,
    image,
    linear,
    link,
    model,
    sequential,
    torch_module,
)

CASES = FIXTURES / "field" / "run_mode"


def classifier(train: bool = True) -> TorchObject:
    normalization = batch_norm(4, kind="")
    normalization.fields["train"] = train
    return sequential(linear(3, 4), normalization, linear(4, 2), torch_module("nn.LogSoftMax"))


def generator(
    last: str = "nn.Tanh", enlarging: str = "cudnn.SpatialFullConvolution"
) -> TorchObject:
    """As pix2pix builds it: an nn.gModule that ends with Tanh."""
    modules = (
        conv(3, 4, 3),
        batch_norm(4, train=True),
        torch_module(enlarging),
        torch_module(last),
    )
    nodes = [graph_node(module) for module in (None, *modules)]
    for source, reader in itertools.pairwise(nodes):
        link(source, reader)
    return graph_module(*nodes)


def test_a_classifier_saved_in_training_is_evaluated() -> None:
    mode = decide(classifier(), Options())
    assert mode.options.bn == "evaluate"
    assert mode.warning == (
        "nn.BatchNormalization at 2 was saved in training mode; converted in evaluate mode, as "
        "classifiers are run (the last layer is nn.LogSoftMax); `bn=as-saved` takes the statistics "
        "of each batch"
    )


def test_a_net_saved_in_evaluate_mode_needs_no_word() -> None:
    for net in (classifier(train=False), sequential(linear(3, 4), dropout())):
        assert decide(net, Options()).warning == ""
        assert decide(net, Options()).options.bn == "as-saved"


def test_a_pix2pix_generator_keeps_the_statistics_of_its_batch() -> None:
    mode = decide(generator(), Options())
    assert mode.options.bn == "as-saved"
    assert "as pix2pix's generators do" in mode.warning
    assert "`bn=evaluate`" in mode.warning


def test_a_generator_that_draws_noise_keeps_the_statistics_of_its_batch() -> None:
    net = sequential(torch_module("nn.NoiseFill"), conv(6, 3, 3), batch_norm(3, train=True))
    mode = decide(net, Options())
    assert mode.options.bn == "as-saved"
    assert "as generators of texture_nets' first version do (nn.NoiseFill" in mode.warning


@pytest.mark.parametrize(
    "net",
    [
        generator(last="nn.Linear"),
        generator(enlarging="nn.Linear"),
        sequential(conv(3, 4, 3), batch_norm(4, train=True), torch_module("nn.Tanh")),
        sequential(conv(3, 4, 3), batch_norm(4, train=True)),
    ],
)
def test_other_nets_are_evaluated(net: TorchObject) -> None:
    assert decide(net, Options()).options.bn == "evaluate"


@pytest.mark.parametrize(
    ("preset", "bn"),
    [("pix2pix", "as-saved"), ("cyclegan", "as-saved"), ("fast-neural-style-vgg", "evaluate")],
)
def test_a_preset_decides(preset: str, bn: str) -> None:
    for net in (classifier(), generator()):
        mode = decide(net, Options(), preset=preset)
        assert mode.options.bn == bn
        assert preset in mode.warning


@pytest.mark.parametrize("bn", ["as-saved", "train", "evaluate"])
def test_the_user_overrides_without_a_warning(bn: str) -> None:
    mode = decide(classifier(), Options(bn=bn), recorded="evaluate", preset="pix2pix")  # type: ignore[arg-type]
    assert (mode.options.bn, mode.warning) == (bn, "")


@pytest.mark.parametrize(
    ("train", "recorded", "bn", "said"),
    [
        (True, "evaluate", "evaluate", "converted in evaluate mode, as it was recorded"),
        (False, "training", "train", "statistics of each batch, as it was recorded"),
        (True, "training", "train", ""),
        (False, "evaluate", "evaluate", ""),
    ],
)
def test_a_recording_decides(train: bool, recorded: str, bn: str, said: str) -> None:
    mode = decide(classifier(train), Options(), recorded=recorded)
    assert mode.options.bn == bn
    assert said in mode.warning if said else not mode.warning


def test_a_recording_in_the_other_mode_names_the_option() -> None:
    net = classifier()
    said = recorded_otherwise(net, Options(bn="as-saved"), "evaluate")
    assert said.endswith("(`bn=as-saved`): convert with `bn=evaluate`")
    assert recorded_otherwise(net, Options(bn="evaluate"), "training").endswith("`bn=train`")
    assert recorded_otherwise(net, Options(bn="evaluate"), "evaluate") == ""
    assert recorded_otherwise(net, Options(bn="evaluate"), None) == ""


def test_dropout_follows_the_decision() -> None:
    net = sequential(dropout())
    net.table("modules")[1].fields["train"] = True
    for bn, noted in (("as-saved", True), ("train", True), ("evaluate", False)):
        options = Options(bn=bn)  # type: ignore[arg-type]
        notes = dict(model(net, options=options).walk(image(2, 4)).notes)
        assert ("training mode" in notes.get("1", "")) is noted


def test_a_batch_of_one_is_no_bias_but_what_torch_evaluates() -> None:
    opened = open_model(CASES / "saved_in_training.t7", default_registry())
    ported = opened.model()
    assert ported.options.bn == "evaluate"
    inputs, outputs = (
        torch7.read(CASES / f"saved_in_training.{end}.t7").root.array for end in ("in", "out")
    )
    for x, y in zip(inputs, outputs, strict=True):
        graph = ported.walk(image(1, *x.shape))
        values = reference.run(graph, parity.bind(graph.inputs, x[None]))
        (output,) = leaves(graph.outputs)
        np.testing.assert_allclose(values[output.id].reshape(y.shape), y, atol=1e-5)


def test_convert_warns_in_one_line_and_the_recording_decides(tmp_path: Path) -> None:
    case = CASES / "bn_recorded_evaluated"
    recorded = recording.read(case / "activations.t7")
    assert recorded.mode == "evaluate"
    done = convert(Request(case / "model.t7", tmp_path / "port", reference=recorded))
    (warning,) = done.manifest["warnings"]
    assert "as it was recorded; `bn=as-saved`" in warning
    assert json.loads((tmp_path / "port" / "manifest.json").read_text())["options"]["bn"] == (
        "evaluate"
    )


def test_a_mismatch_names_the_option_and_no_internal_field(tmp_path: Path) -> None:
    case = CASES / "bn_recorded_evaluated"
    request = Request(
        case / "model.t7",
        tmp_path / "port",
        reference=recording.read(case / "activations.t7"),
        options=Options(bn="train"),
    )
    with pytest.raises(ParityError) as caught:
        convert(request)
    assert 'convert with `bn="evaluate"`' in str(caught.value)
    assert "uses_batch" not in str(caught.value)
    assert not (tmp_path / "port").exists()


def test_instance_normalisations_run_alike_in_both_modes() -> None:
    instance = Modules(0).normalization("instance", 4)
    instance.fields["train"] = True
    net = sequential(conv(3, 4), instance)
    assert decide(net, Options()) == RunMode(Options(bn="as-saved"))
