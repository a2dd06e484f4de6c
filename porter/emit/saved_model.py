"""`saved_model/`: runs wherever TensorFlow runs, without porter; CPU or GPU unchanged.

Signatures: `serving_default` (named inputs and outputs), `activations` (every layer's output by
Torch path) and, where it is known what the numbers mean, `image` (8-bit pictures).
`tf.saved_model.load(DIR)(x)` also works. With `--trainable`, `(x, training=True)` computes what
Torch does in training, and `trainable_variables` lists what there is to learn.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from porter.emit.formats import Format, Job
from porter.emit.fresh import run_saved_model, train_saved_model
from porter.errors import EmitError
from porter.parity.measure import Measure
from porter.run.tensorflow import fingerprint_pb2, quiet_stderr, tf
from porter.run.training import Trainable


class SavedModel(Format):
    """TensorFlow's own format."""

    name = "saved_model"
    trains = True

    def write(self, job: Job, folder: Path) -> list[Path]:
        port, target = job.port, folder / self.name
        signatures = {
            "serving_default": port.serve,
            "activations": port.activations.get_concrete_function(),
        }
        if job.pictures is not None:
            from porter.images.signature import NAME, image_signature

            signatures[NAME] = image_signature(job.pictures, port, job.data_format)
        with quiet_stderr():
            tf.saved_model.save(port.module, str(target), signatures=signatures)
        name_by_content(target / "fingerprint.pb")
        return [target]

    def verify(self, job: Job, folder: Path) -> tuple[Measure | None, str]:
        samples = [check.inputs for check in job.checks]
        note = self.verify_training(job, folder) if isinstance(job.port.module, Trainable) else ""
        if job.pictures is None:
            return job.compare(run_saved_model(folder / self.name, samples)), note
        from porter.images.proof import judge, photographs
        from porter.images.signature import NAME

        photos = photographs(job)
        signatures = ["serving_default"] * len(samples) + [NAME]
        *made, pictures = run_saved_model(
            folder / self.name, [*samples, {NAME: photos}], *signatures
        )
        proof = judge(job, job.pictures, photos, pictures)
        return job.compare(made), f"{proof}; {note}" if note else proof

    def verify_training(self, job: Job, folder: Path) -> str:
        """Differentiate in training mode what was written; says how much there is to learn."""
        try:
            learned = train_saved_model(folder / self.name, job.checks[0].inputs)
        except EmitError as error:
            # TensorFlow's words for a gradient of its own that is called inside of a loop.
            if "out of scope" not in (error.received or ""):
                raise
            raise EmitError(
                "a SavedModel cannot keep a penalty on gradients inside of a loop over time",
                hint="nn.NormStabilizer and nn.L1Penalty are such penalties: train in Python "
                "with porter.run.training.Trainable, or convert without --trainable",
            ) from error
        return f"{int(learned.sum())} of {learned.size} trainable variables have gradients"


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
