"""The user's options that change what a module computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from porter.torch7 import TorchObject

BatchNormMode = Literal["auto", "as-saved", "train", "evaluate"]
BATCH_NORM_MODES: tuple[BatchNormMode, ...] = ("auto", "as-saved", "train", "evaluate")


@dataclass(frozen=True)
class Options:
    """`bn`: which statistics batch normalisation uses; `seed`: for modules that are random; `nan`:
    whether NaN may reach a layer (`porter/frontend/nonfinite.py`).

    `auto` is resolved for each net when its file is opened (`porter/frontend/run_mode.py`); a layer
    map that still finds it unresolved treats the module as saved.
    """

    bn: BatchNormMode = "auto"
    seed: int = 1
    nan: bool = False

    def in_training(self, module: TorchObject, default: bool = False) -> bool:
        """Whether a module runs in training mode; `default` is what a missing flag means.

        Torch (nn/BatchNormalization.lua) tests `self.train`, where nil is false. The constructor
        sets it to true, so a model saved during training carries true.
        """
        if self.bn in ("auto", "as-saved"):
            return module.boolean("train", default)
        return self.bn == "train"
