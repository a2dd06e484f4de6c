"""Choices of the user that change what a module means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from porter.torch7 import TorchObject

BatchNormMode = Literal["as-saved", "train", "evaluate"]


@dataclass(frozen=True)
class Options:
    """`bn`: which statistics batch normalisation uses; `seed`: for modules that are random."""

    bn: BatchNormMode = "as-saved"
    seed: int = 1

    def uses_batch_statistics(self, module: TorchObject) -> bool:
        """Whether a batch normalisation normalises with the statistics of its batch.

        Torch (nn/BatchNormalization.lua) tests `self.train`, where nil is false. The constructor
        sets it to true, so a model saved during training carries true.
        """
        if self.bn == "as-saved":
            return module.boolean("train", False)
        return self.bn == "train"
