"""Regression over folders of fixtures: convert each model and compare with what Torch recorded.

`fixtures.py` finds them, `expectations.py` knows what is expected of each beyond parity,
`campaign.py` runs many, in several processes and with a cache.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from porter import torch7
from porter.apps.check.expectations import Expectation, Expectations
from porter.apps.check.fixtures import Fixture, Kind, find
from porter.errors import ParityError, PorterError, UnmappedModules, UsageError
from porter.frontend.inputs import types_of
from porter.frontend.model_file import choose
from porter.frontend.module_tree import require_mapped
from porter.frontend.nonfinite import with_nan
from porter.frontend.open_tables import as_emitted
from porter.frontend.run_mode import decide
from porter.frontend.selection import find_modules, module_at
from porter.frontend.walker import Model
from porter.ir.fields import Array
from porter.ir.nested import Nested, leaves
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.layer_maps import default_registry
from porter.parity import compare as parity
from porter.parity import recording
from porter.parity.compare import Report, Tolerance
from porter.parity.measure import Measure, compare
from porter.parity.recorded_model import another_model, recorded_here
from porter.parity.recording import Recording, as_arrays
from porter.report.as_json import badness
from porter.torch7 import Table, TorchObject

if TYPE_CHECKING:
    from porter.emit.port import Port

Status = Literal["pass", "fail", "unmapped", "error"]

__all__ = ["CheckResult", "Checker", "Fixture", "exit_code", "find", "run", "summary"]

DOUBLE = Tolerance(isolated=1e-10, accumulated=1e-10)
"""For cases that Torch computed in double precision."""


@dataclass(frozen=True)
class CheckResult:
    """How one fixture did; errors in units of each layer's scale."""

    path: str
    kind: Kind
    status: Status
    isolated: float | None = None
    accumulated: float | None = None
    worst_path: str | None = None
    message: str = ""
    seconds: float = 0.0
    transposes: int | None = None
    """Of the emitted graph; None for a single layer."""

    def json(self) -> dict[str, object]:
        return {
            "path": self.path,
            "kind": self.kind,
            "status": self.status,
            "isolated": finite(self.isolated),
            "accumulated": finite(self.accumulated),
            "worst_path": self.worst_path,
            "message": self.message,
            "seconds": round(self.seconds, 4),
        }


def finite(number: float | None) -> float | None:
    """None in place of what JSON has no word for."""
    return number if number is not None and np.isfinite(number) else None


class Checker:
    """Checks fixtures one after the other with the same registry and options."""

    def __init__(
        self,
        registry: Registry | None = None,
        options: Options | None = None,
        tolerance: Tolerance | None = None,
        expectations: Expectations | None = None,
    ) -> None:
        self.registry = registry or default_registry()
        self.options = options or Options()
        self.tolerance = tolerance or Tolerance()
        self.expectations = expectations or Expectations()

    def check(self, fixture: Fixture) -> CheckResult:
        """Check one fixture; whatever goes wrong becomes its status.

        Raises UsageError for a `porter.toml` that cannot be understood.
        """
        started = time.perf_counter()
        expected = self.expectations.of(fixture.path)
        try:
            result = self.adjusted(expected).compare(fixture)
            if result.status == "pass":
                result = self.judge(fixture, result, expected)
        except UnmappedModules as error:
            result = CheckResult(str(fixture.path), fixture.kind, "unmapped", message=str(error))
        except PorterError as error:
            result = CheckResult(str(fixture.path), fixture.kind, "error", message=str(error))
        if expected.status != "pass":
            result = against_expected_status(result, expected.status)
        return replace(result, seconds=time.perf_counter() - started)

    def adjusted(self, expected: Expectation) -> Checker:
        """A checker with one model's own tolerances and choices."""
        return Checker(
            self.registry,
            expected.options(self.options),
            expected.tolerance(self.tolerance),
            self.expectations,
        )

    def judge(self, fixture: Fixture, result: CheckResult, expected: Expectation) -> CheckResult:
        """A result that passed, held against what is expected of this model."""
        broken = expected.broken(
            fixture.path, result.isolated, result.accumulated, result.transposes
        )
        if not broken and expected.formats and fixture.kind in ("net", "triple"):
            broken = self.emit(fixture, expected)
        return replace(result, status="fail", message=broken) if broken else result

    def emit(self, fixture: Fixture, expected: Expectation) -> str:
        """Write and reload the expected formats in a folder that is thrown away; what failed."""
        from porter.conversion.pipeline import convert
        from porter.conversion.request import Request

        _, recorded = self.load(fixture)
        with tempfile.TemporaryDirectory(prefix="porter-check-") as folder:
            try:
                convert(
                    Request(
                        fixture.path,
                        Path(folder, "port"),
                        reference=recorded,
                        select=expected.select,
                        registry=self.registry,
                        options=expected.options(self.options),
                        tolerance=expected.tolerance(self.tolerance),
                        formats=expected.formats,
                    )
                )
            except ParityError as error:
                return str(error)
        return ""

    def compare(self, fixture: Fixture) -> CheckResult:
        """Run the comparison that a fixture asks for."""
        if fixture.kind == "gradient":
            return self.compare_step(fixture)
        candidates, expected = self.load(fixture)
        # A checkpoint may hold several networks: the recording tells which one it is of.
        results: list[CheckResult] = []
        problems: list[PorterError] = []
        for module in candidates:
            try:
                with recorded_here(expected, module, self.registry):
                    result = self.compare_module(fixture, module, expected)
            except PorterError as error:
                problems.append(error)
                continue
            if result.status == "pass":
                return result
            other = another_model(expected, module, self.registry)
            if other is None:
                results.append(result)
            else:
                problems.append(other)
        if not results:
            raise problems[0]
        return results[0]

    def compare_step(self, fixture: Fixture) -> CheckResult:
        """A step of training: outputs, gradients and what is kept beside the parameters."""
        from porter.apps.check import gradients

        quantities = gradients.check(fixture.path, self.registry, self.options)
        allowed = self.expectations.of(fixture.path).differs
        limit = self.tolerance.accumulated
        worst, message = gradients.verdict(quantities, limit, allowed)
        return CheckResult(
            str(fixture.path),
            fixture.kind,
            "fail" if message else "pass",
            accumulated=worst.measure.max_rel,
            worst_path=worst.name,
            message=message,
        )

    def load(self, fixture: Fixture) -> tuple[list[TorchObject], Recording]:
        """The fixture's modules and what Torch recorded."""
        path = fixture.path
        file = torch7.read(path)
        if fixture.kind == "layer":
            root = file.root
            if not isinstance(root, Table) or not isinstance(root.get("module"), TorchObject):
                raise UsageError(
                    f"{path} is no fixture", hint="a case is a table {module=, input=, output=}"
                )
            return [root["module"]], Recording(
                str(path), as_arrays(root["input"], "input"), as_arrays(root["output"], "output")
            )
        modules = [module for _, module in find_modules(file.root, self.registry)]
        if not modules:
            choose(file, str(path), self.registry)
        if fixture.kind == "triple":
            stem = path.name.removesuffix(".t7")
            recorded = path.with_name(f"{stem}.activations.t7")
            if not recorded.is_file():
                recorded = path.with_name(f"{stem}.out.t7")
            input_path = path.with_name(f"{stem}.in.t7")
        else:
            recorded = path.with_name("activations.t7")
            if not recorded.is_file():
                recorded = path.with_name("output.t7")
            input_path = path.with_name("input.t7")
        expected = with_input(recording.read(recorded), input_path)
        selected = expected.select and module_at(file.root, expected.select, self.registry)
        return [selected] if selected else modules, expected

    def model_of(self, fixture: Fixture, module: TorchObject, expected: Recording) -> Model:
        """One module in the mode in which it was recorded. Raises UnmappedModules, UsageError."""
        require_mapped(module, self.registry)
        options = self.options
        if fixture.kind != "layer":
            options = decide(module, options, expected.mode).options
        if expected.input is None:
            raise UsageError(
                f"{expected.source} holds no input",
                hint="record with the script that `porter record` prints, or put the input beside "
                "it",
            )
        return Model(module, self.registry, with_nan(module, self.registry, options))

    def compare_module(
        self, fixture: Fixture, module: TorchObject, expected: Recording
    ) -> CheckResult:
        """Every layer of one module against the recording, and the emitted graph at the end."""
        from porter.emit.port import build_widest
        from porter.runtime.runner import Variables

        model = self.model_of(fixture, module, expected)
        arrays = expected.input
        assert arrays is not None
        double = all(array.dtype == np.float64 for array in leaves(arrays)) and bool(
            list(leaves(arrays))
        )
        variables = {p: Variables(p) for p in ("float32", "float64")}
        single = parity.verify(
            model,
            arrays,
            variables,
            expected,
            label=str(fixture.path),
            tolerance=self.tolerance,
            deep=fixture.kind == "layer",
        )
        reports = [single]
        if double and fixture.kind == "layer":
            reports.append(
                parity.verify(
                    model,
                    arrays,
                    variables,
                    expected,
                    label=str(fixture.path),
                    tolerance=DOUBLE,
                    precision="float64",
                    deep=False,
                )
            )
        if fixture.kind == "layer":
            return summarise(fixture, reports, Measure(), self.tolerance)
        port = build_widest(model, types_of(arrays), variables["float32"])
        expected_outputs = as_emitted(port.graph, single.graph, single.expected)
        emitted = run_emitted(port, arrays, expected_outputs)
        result = summarise(fixture, reports, emitted, self.tolerance)
        return replace(result, transposes=port.plan.transposes)


def against_expected_status(result: CheckResult, status: str) -> CheckResult:
    """The result of a fixture that should be refused."""
    if result.status == status:
        first = result.message.partition("\n")[0]
        return replace(result, status="pass", message=f"{status}, as expected: {first}")
    message = f"it should be {status}, and is {result.status}"
    return replace(result, status="fail", message=f"{message}: {result.message}".rstrip(": "))


def with_input(expected: Recording, path: Path) -> Recording:
    """A recording with the input of a file beside it, where it has none of its own."""
    if expected.input is not None or not path.is_file():
        return expected
    arrays = as_arrays(torch7.read(path).root, "input")
    return replace(expected, input=arrays)


def run_emitted(port: Port, arrays: Nested[Array], expected: tuple[Array, ...]) -> Measure:
    """The error of the traced graph that would be saved, its free sizes left open."""
    computed = emitted_outputs(port, arrays)
    return Measure.worst([compare(*pair) for pair in zip(expected, computed, strict=True)])


def emitted_outputs(port: Port, arrays: Nested[Array]) -> list[Array]:
    """What the traced graph that would be saved makes of inputs, both in Torch's order."""
    from porter.runtime.runner import load, store

    inputs = parity.bind(port.graph.inputs, arrays)
    by_id = {value.id: value for value in leaves(port.graph.inputs)}
    computed = port.module.serve(
        *(
            store(inputs[i], by_id[i], layout, port.variables.precision)
            for i, layout in port.plan.inputs.items()
        )
    )
    return [
        load(tensor, port.plan.outputs[emitted.id])
        for emitted, tensor in zip(leaves(port.graph.outputs), computed.values(), strict=True)
    ]


def summarise(
    fixture: Fixture, reports: list[Report], emitted: Measure, tolerance: Tolerance
) -> CheckResult:
    """One line for one fixture."""
    rows = [row for report in reports for row in report.rows]
    worst = max(rows, key=badness, default=None)
    isolated = [row.isolated.max_rel for row in rows if row.isolated is not None]
    accumulated = [row.accumulated.max_rel for row in rows if row.accumulated is not None]
    failed = [row for row in rows if not row.passed]
    message = ""
    if failed:
        first = failed[0]
        message = f"{first.path or 'the root'} ({first.type}): {first.summary()}"
    elif not emitted.within(max([tolerance.accumulated, *(r.allowed for r in reports)])):
        message = f"the emitted graph differs: {emitted.problem or f'{emitted.max_rel:.2e}'}"
    return CheckResult(
        str(fixture.path),
        fixture.kind,
        "fail" if message else "pass",
        max(isolated, default=None),
        max([*accumulated, emitted.max_rel], default=None),
        worst.path if worst is not None else None,
        message,
    )


def run(
    fixtures: list[Fixture],
    checker: Checker,
    on_result: Callable[[CheckResult], None] = lambda _: None,
) -> list[CheckResult]:
    """Check all fixtures in order; `seen` is told of each result."""
    results = []
    for fixture in fixtures:
        results.append(checker.check(fixture))
        on_result(results[-1])
    return results


def summary(results: list[CheckResult]) -> dict[str, int]:
    """How many fixtures ended how."""
    counts = {"pass": 0, "fail": 0, "unmapped": 0, "error": 0}
    for result in results:
        counts[result.status] += 1
    return counts


def exit_code(results: list[CheckResult]) -> int:
    """0 if all passed, else the gravest: 1 parity, 3 unreadable or broken, 4 unmapped."""
    counts = summary(results)
    if counts["fail"]:
        return 1
    if counts["error"]:
        return 3
    return 4 if counts["unmapped"] else 0
