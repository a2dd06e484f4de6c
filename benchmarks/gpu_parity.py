"""Every net that real Torch7 recorded, as it is served, against its recording and float64.

Run by `gpu.py` in a process of its own for each setting of TF32, which TensorFlow and XLA read when
they choose a kernel, and keep. Prints lines of JSON: what is planned, then each net.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LEVELS = ("exact", "fast")


def main(settings: dict[str, Any]) -> None:
    """`settings`: paths of `fixtures`, `tf32`, `until` (in seconds of time.time), and which `part`
    of how many `parts` is done here."""
    # What libraries print must not be taken for a result.
    results, sys.stdout = sys.stdout, sys.stderr

    def report(**fields: Any) -> None:
        print(json.dumps(fields), file=results, flush=True)

    from porter.system.tensorflow import tf

    tf.config.experimental.enable_tensor_float_32_execution(settings["tf32"])
    nets = recorded_nets(settings["fixtures"])[settings["part"] :: settings["parts"]]
    report(planned=[name_of(net) for net in nets])
    for net in nets:
        if time.time() > settings["until"]:
            break
        report(name=name_of(net), levels=compared(net))


def recorded_nets(paths: Sequence[str]) -> list[Any]:
    """The nets that are not expected to be refused, the smallest first.

    Single files come last: most are the same few layers in many formats.
    """
    from porter.apps.check.expectations import Expectations
    from porter.apps.check.fixtures import find

    expectations = Expectations()
    nets = [
        fixture
        for fixture in find([Path(path) for path in paths])
        if fixture.kind in ("net", "triple") and expectations.of(fixture.path).status == "pass"
    ]

    def order(net: Any) -> tuple[bool, int]:
        return net.kind == "triple", sum(file.stat().st_size for file in net.files())

    return sorted(nets, key=order)


def name_of(fixture: Any) -> str:
    """The end of a net's path."""
    path = fixture.path
    return "/".join((path.parent if path.name == "model.t7" else path.with_suffix("")).parts[-2:])


def compared(fixture: Any) -> dict[str, dict[str, Any]]:
    """The errors of each level, or the `problem` that left nothing to compare."""
    try:
        net = RecordedNet.of(fixture)
    except Exception as error:  # Whatever fails is a row of the table.
        return dict.fromkeys(LEVELS, failure(error))
    rows = {}
    for level in LEVELS:
        try:
            rows[level] = net.errors(level)
        except Exception as error:
            rows[level] = failure(error)
    return rows


def failure(error: Exception) -> dict[str, Any]:
    text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return {"passed": False, "problem": text}


@dataclass(frozen=True)
class RecordedNet:
    """A model and its input, with the outputs by Torch7 and by NumPy in float64."""

    model: Any
    graph: Any
    input: Any
    recorded: tuple[Any, ...]
    reference: tuple[Any, ...]
    tolerance: float

    @staticmethod
    def of(fixture: Any) -> RecordedNet:
        """Of a file with several modules the one that NumPy says was recorded."""
        from porter.apps.check.checker import Checker
        from porter.apps.check.expectations import Expectations
        from porter.errors import PorterError

        expectations = Expectations()
        checker = Checker(expectations=expectations).adjusted(expectations.of(fixture.path))
        modules, recording = checker.load(fixture)
        found: list[RecordedNet] = []
        problems: list[PorterError] = []
        for module in modules:
            try:
                model = checker.model_of(fixture, module, recording)
                found.append(RecordedNet.run(model, recording, checker.tolerance.accumulated))
            except PorterError as error:
                problems.append(error)
        if not found:
            raise problems[0]
        return min(found, key=lambda net: worst(net.recorded, net.reference).max_rel)

    @staticmethod
    def run(model: Any, recording: Any, tolerance: float) -> RecordedNet:
        from porter.errors import UsageError
        from porter.frontend.inputs import types_of
        from porter.ir.nested import leaves
        from porter.parity.oracle import bind, recorded_values
        from porter.runtime import reference

        graph = model.walk(types_of(recording.input))
        outputs = list(leaves(graph.outputs))
        oracle = recorded_values(graph, recording.input, recording)
        missing = [value for value in outputs if value.id not in oracle.values]
        if missing:
            raise UsageError(f"{recording.source} holds no output that fits the model's")
        computed = reference.outputs(graph, bind(graph.inputs, recording.input))
        return RecordedNet(
            model,
            graph,
            recording.input,
            tuple(oracle.values[value.id] for value in outputs),
            tuple(computed[value.id] for value in outputs),
            tolerance,
        )

    def errors(self, level: str) -> dict[str, Any]:
        """Of the emitted graph: in deviations of the output, and whether porter tolerates them."""
        from porter.apps.check.checker import emitted_outputs
        from porter.emit.port import build_widest
        from porter.emit.settings import ExportOptions
        from porter.frontend.inputs import types_of
        from porter.frontend.open_tables import as_emitted
        from porter.runtime.runner import Variables

        options = ExportOptions(optimized=level)
        port = build_widest(self.model, types_of(self.input), Variables(), options)
        computed = tuple(emitted_outputs(port, self.input))
        expected = [
            as_emitted(port.graph, self.graph, arrays) for arrays in (self.recorded, self.reference)
        ]
        measures = [worst(arrays, computed) for arrays in expected]
        problems = [measure.problem for measure in measures if measure.problem]
        torch7, float64 = (None if problems else in_deviations(e, computed) for e in expected)
        return {
            "torch7": torch7,
            "float64": float64,
            "tolerance": self.tolerance,
            "of_tolerance": None if problems else max(m.max_rel for m in measures) / self.tolerance,
            "passed": all(measure.within(self.tolerance) for measure in measures),
            "problem": problems[0] if problems else "",
        }


def worst(expected: Sequence[Any], computed: Sequence[Any]) -> Any:
    from porter.parity.measure import Measure, compare

    return Measure.worst([compare(*pair) for pair in zip(expected, computed, strict=True)])


def in_deviations(expected: Sequence[Any], computed: Sequence[Any]) -> float:
    """The largest difference of outputs in standard deviations of what is expected.

    Outputs that do not vary are measured in units of their largest magnitude, as porter does.
    """
    from porter.parity.measure import compare

    errors = [0.0]
    for one, other in zip(expected, computed, strict=True):
        measure = compare(one, other)
        spread = float(np.std(one[np.isfinite(one)], dtype=np.float64)) if one.size else 0.0
        errors.append(measure.max_abs / spread if spread > 0 else measure.max_rel)
    return max(errors)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
