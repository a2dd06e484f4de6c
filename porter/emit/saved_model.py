"""`saved_model/`: runs wherever TensorFlow runs, without porter; CPU or GPU unchanged.

Signatures: `serving_default` (named inputs and outputs), `plain` (the same by the layers as they
are, which other converters understand), `activations` (every layer's output by Torch path) and,
where the encoding of the images is known, `image` (8-bit images). A language model that remembers
has `step`: tokens and states to scores and states.
`tf.saved_model.load(DIR)(x)` also works. With `trainable=True`, `(x, training=True)` computes what
Torch does in training, and `trainable_variables` lists what there is to learn.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from porter.emit import step_signature
from porter.emit.formats import ExportJob, ExportResult, Format, size_of
from porter.emit.port import as_saved, of_its_shape
from porter.emit.quality import Quality, judge
from porter.emit.subprocess_runner import run_saved_model, train_saved_model
from porter.emit.training import Trainable
from porter.errors import EmitError, ParityError
from porter.ir.fields import Array
from porter.parity.measure import Measure
from porter.passes.precision import FULL
from porter.system.quiet import quiet_stderr
from porter.system.tensorflow import fingerprint_pb2, tf

ACTIVATIONS = "activations"
PLAIN = "plain"
MIN_PSNR = {"bfloat16": 30.0, "float16": 40.0}
"""In dB, for a served function with 16-bit products."""


class SavedModel(Format):
    """TensorFlow's own format."""

    name = "saved_model"
    trains = True

    def write(self, job: ExportJob, folder: Path) -> list[Path]:
        port, target = job.port, folder / self.name
        signatures = {
            "serving_default": port.serve,
            PLAIN: port.plain.get_concrete_function(),
            ACTIVATIONS: port.activations.get_concrete_function(),
        }
        if job.image_spec is not None:
            from porter.emit.image_signature import NAME, image_signature

            signatures[NAME] = image_signature(job.image_spec, port, job.options.data_format)
        if step_signature.state_types(job):
            signatures[step_signature.NAME] = step_signature.step_signature(job)
        # Other converters know no EnsureShape. Layers in front of one that takes a single size are
        # read at any: transfer does.
        checked = {
            name: function if name == PLAIN else of_its_shape(function, name != ACTIVATIONS)
            for name, function in signatures.items()
        }
        with quiet_stderr():
            tf.saved_model.save(as_saved(port), str(target), signatures=checked)
        name_by_content(target / "fingerprint.pb")
        return [target]

    def emit(self, job: ExportJob, folder: Path) -> list[ExportResult]:
        if job.options.precision == FULL:
            return super().emit(job, folder)
        (target,) = self.write(job, folder)
        recorded = tuple(check for check in job.checks if check.recorded)
        judged = replace(job, checks=recorded or job.checks)
        served = ["serving_default"] * len(judged.checks)
        outputs, proof = self.run(judged, folder, served, exact=False)
        quality = judge([pair] for pair in judged.pairs(outputs))
        require_digits(quality, job.options.precision)
        note = ", ".join(filter(None, (str(quality), proof)))
        size, variant = size_of(target), job.options.precision
        return [
            ExportResult(self.name, quality.measure, size, note, variant, False, quality.json())
        ]

    def verify(self, job: ExportJob, folder: Path) -> tuple[Measure | None, str]:
        note = self.verify_training(job, folder) if isinstance(job.port.module, Trainable) else ""
        if job.larger is not None:
            note = f"also on {job.larger.label}"
            job = replace(job, checks=(*job.checks, job.larger))
        signatures = ["serving_default"] * len(job.checks)
        if job.port.rewritten:
            signatures += [PLAIN] * len(job.checks)
            job = replace(job, checks=job.checks * 2)
        outputs, proof = self.run(job, folder, signatures)
        measures = [job.compare(outputs)]
        if states := step_signature.state_types(job):
            measures.append(step_signature.verify_steps(job, folder / self.name, states))
            note = "; ".join(filter(None, (note, "also part by part, with its states")))
        return Measure.worst(measures), "; ".join(filter(None, (proof, note)))

    def run(
        self, job: ExportJob, folder: Path, signatures: list[str], exact: bool = True
    ) -> tuple[list[dict[str, Array]], str]:
        """The reloaded model's outputs for the job's samples, and the verdict on its images.

        There is a signature for each sample.
        """
        samples = [check.inputs for check in job.checks]
        if job.image_spec is None:
            return run_saved_model(folder / self.name, samples, *signatures), ""
        from porter.emit import image_parity
        from porter.emit.image_signature import NAME

        photos = image_parity.photographs(job)
        *outputs, pictures = run_saved_model(
            folder / self.name, [*samples, {NAME: photos}], *signatures, NAME
        )
        return outputs, image_parity.judge(job, job.image_spec, photos, pictures, exact)

    def verify_training(self, job: ExportJob, folder: Path) -> str:
        """Differentiate the reloaded model in training mode; says how many variables learn."""
        try:
            learned = train_saved_model(folder / self.name, job.checks[0].inputs)
        except EmitError as error:
            # TensorFlow's words for a gradient of its own that is called inside of a loop.
            if "out of scope" not in (error.received or ""):
                raise
            raise EmitError(
                "a SavedModel cannot keep a penalty on gradients inside of a loop over time",
                hint="nn.NormStabilizer and nn.L1Penalty are such penalties: train in Python "
                "with porter.emit.training.Trainable, or convert without `trainable=`",
            ) from error
        return f"{int(learned.sum())} of {learned.size} trainable variables have gradients"


def require_digits(quality: Quality, precision: str) -> None:
    """Raise ParityError for a net that 16-bit products are too coarse for."""
    if quality.psnr < MIN_PSNR[precision]:
        raise ParityError(
            f"products in {precision} are too coarse for this net: nothing was written",
            received=quality.measure.problem
            or f"{quality}, where {MIN_PSNR[precision]:g} dB are asked for",
            hint="convert in float32"
            + (", or try bfloat16, which has a larger range" if precision == "float16" else ""),
        )


def name_by_content(fingerprint: Path) -> None:
    """Give a SavedModel a unique id that follows from its checksums; TensorFlow draws a random one.

    Otherwise two conversions of one file would differ in nothing but this.
    """
    described = fingerprint_pb2.FingerprintDef.FromString(fingerprint.read_bytes())
    described.uuid = ""
    content = hashlib.sha256(described.SerializeToString(deterministic=True)).digest()
    described.uuid = str(int.from_bytes(content[:16], "big"))
    fingerprint.write_bytes(described.SerializeToString(deterministic=True))


FORMAT = SavedModel()
