"""What is minimised and how: a recipe's defaults, from a TOML file, changed by the user's options.

    content_layers = { relu4_2 = 1.0 }     # weight by layer
    style_layers = { relu1_1 = 0.2 }
    style_weight = 1000.0
    style_loss = "gatys"                   # docs/transfer.md lists the choices

Keys that a file leaves out have the defaults of `Recipe`.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from porter.errors import UsageError
from porter.system.input_files import require_file
from porter.system.suggestions import did_you_mean

Weights = dict[str, float]

CHOICES = {
    "content_loss": ("half-sum", "sum", "mean", "course"),
    "style_loss": ("gatys", "neural-art-tf", "keras", "texture-nets", "mean"),
    "tv_loss": ("squared", "absolute", "keras"),
    "pooling": ("as-saved", "max", "average"),
    "padding": ("as-saved", "same", "valid"),
    "optimizer": ("lbfgs", "adam"),
    "colour": ("style", "luminance", "match"),
}
NAMES = ("gatys", "neural-art-tf", "nst-series", "keras", "texture-nets")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, except the images and the descriptor.

    `descriptor` is a weight file, or `keras:NAME`; empty where the user has to give one. `init` is
    `content`, `noise` or an image's file; `noise` the standard deviation of Gaussian
    noise around mid-grey, of 255. `evaluations` counts losses and gradients, of all scales
    together; `scales` are sizes relative to the last. `bounded` keeps L-BFGS within 0…255.
    `learning_rate` (of 255), `decay` and `decay_steps` are Adam's, `memory` L-BFGS's.
    """

    name: str = ""
    source: str = ""
    descriptor: str = ""
    content_layers: Weights = field(default_factory=dict)
    content_weight: float = 1.0
    content_loss: str = "half-sum"
    style_layers: Weights = field(default_factory=dict)
    style_weight: float = 1.0
    style_loss: str = "gatys"
    tv_weight: float = 0.0
    tv_loss: str = "squared"
    pooling: str = "as-saved"
    padding: str = "as-saved"
    colour: str = "style"
    init: str = "content"
    noise: float = 20.0
    scales: tuple[float, ...] = (1.0,)
    optimizer: str = "lbfgs"
    evaluations: int = 300
    bounded: bool = False
    memory: int = 10
    learning_rate: float = 2.0
    decay: float = 1.0
    decay_steps: int = 100
    seed: int = 1

    @property
    def layers(self) -> list[str]:
        """Layers whose features are compared, each once."""
        used = [
            *(self.content_layers if self.content_weight else ()),
            *(self.style_layers if self.style_weight else ()),
        ]
        return list(dict.fromkeys(used))

    def descriptor_or(self, chosen: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
        """The weight file that was chosen, or else the recipe's own. Raises UsageError."""
        if chosen is None and not self.descriptor:
            raise UsageError(
                f"the recipe {self.name} names no descriptor",
                hint="give a weight file, or keras:vgg19, which Keras downloads, by `descriptor=`",
            )
        return self.descriptor if chosen is None else chosen

    def json(self) -> dict[str, object]:
        return asdict(self)


def read_recipe(name: str, **changes: Any) -> Recipe:
    """The recipe of a name or of a TOML file, with some values replaced. Raises UsageError."""
    if name in NAMES:
        from importlib import resources

        text = (
            resources.files("porter.apps.transfer")
            .joinpath(f"recipes/{name}.toml")
            .read_text("utf-8")
        )
        title = name
    elif name.endswith(".toml"):
        title = Path(name).stem
        try:
            text = require_file(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the recipe {name} cannot be read: {error}") from error
    else:
        raise UsageError(
            f"there is no recipe '{name}'{did_you_mean([name], NAMES)}",
            hint=f"recipes: {', '.join(NAMES)}; or a FILE.toml of your own (docs/transfer.md)",
        )
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        body = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} is no TOML: {error}") from error
    return parsed({"name": title} | body | changes, name)


def parsed(body: Mapping[str, Any], where: str) -> Recipe:
    """A recipe out of a table; every entry is checked. Raises UsageError."""
    defaults = Recipe()
    names = {each.name for each in fields(Recipe)}
    unknown = [key for key in body if key not in names]
    if unknown:
        raise UsageError(
            f"{where} has unknown entries: {', '.join(unknown)}",
            hint="entries: " + ", ".join(sorted(names)),
        )
    values = {key: entry(key, value, getattr(defaults, key), where) for key, value in body.items()}
    recipe = replace(defaults, **values)
    if not recipe.layers:
        raise UsageError(
            f"{where} compares nothing: add content_layers or style_layers",
            hint="for example `style_layers=relu1_1,relu2_1`",
        )
    return recipe


def entry(key: str, value: Any, default: Any, where: str) -> Any:
    """One value, of the kind that its default has."""
    if key in CHOICES and value not in CHOICES[key]:
        raise wrong(key, value, "one of " + ", ".join(CHOICES[key]), where)
    if isinstance(default, dict):
        if not isinstance(value, Mapping) or not all(positive(each) for each in value.values()):
            raise wrong(key, value, "a table of layers and their weights", where)
        return {str(layer): float(weight) for layer, weight in value.items()}
    if isinstance(default, tuple):
        sizes = list(value) if isinstance(value, list | tuple) else []
        if not sizes or not all(map(positive, sizes)) or sizes != sorted(set(sizes)):
            raise wrong(key, value, "rising sizes, for example [0.5, 1.0]", where)
        return tuple(float(size) for size in sizes)
    if isinstance(default, bool) or isinstance(value, bool):
        if not (isinstance(default, bool) and isinstance(value, bool)):
            raise wrong(
                key, value, "true or false" if isinstance(default, bool) else "a number", where
            )
        return value
    if isinstance(default, int):
        least = 0 if key == "seed" else 1
        if not isinstance(value, int) or value < least:
            raise wrong(key, value, f"an integer from {least} on", where)
        return value
    if isinstance(default, float):
        if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise wrong(key, value, "a number from 0 on", where)
        return float(value)
    if not isinstance(value, str):
        raise wrong(key, value, "text", where)
    return value


def positive(value: Any) -> bool:
    """Whether a value is a number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def wrong(key: str, value: Any, expected: str, where: str) -> UsageError:
    """An entry that is not what it should be."""
    return UsageError(f"{where}: {key} should be {expected}", received=repr(value))


def layer_weights(text: str) -> Weights:
    """`relu1_1=2,relu2_1` as weights by layer; 1 where there is none. Raises UsageError."""
    weights: Weights = {}
    for part in text.split(","):
        name, _, weight = part.strip().partition("=")
        try:
            weights[name] = float(weight or 1)
        except ValueError as error:
            raise UsageError(
                "layers are names joined by commas, each with an optional weight",
                received=text,
                hint="try relu1_1=0.5,relu2_1",
            ) from error
    if "" in weights:
        raise UsageError("a layer without a name", received=text)
    return weights
