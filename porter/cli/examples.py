"""Two commands that people type, for the help of each command; file names are placeholders."""

from __future__ import annotations

import argparse

EXAMPLES: dict[str, tuple[str, str]] = {
    "inspect": (
        "porter inspect model.t7",
        "porter inspect checkpoint.t7 --select netG --html model.html",
    ),
    "view": (
        "porter view model.t7",
        "porter view checkpoint.t7 --select netG --input-shape 3x256x256",
    ),
    "convert": (
        "porter convert model.t7",
        "porter convert model.t7 --reference activations.t7 --format saved_model,keras -o port",
    ),
    "weights": (
        "porter weights model.t7 -o weights.npz",
        "porter weights model.t7 -o weights.safetensors --order tensorflow",
    ),
    "stylize": (
        "porter stylize model.t7 photo.png -o result.png",
        "porter stylize model_tensorflow photos/ -o results/ --image-size 1024 --compare",
    ),
    "transfer": (
        "porter transfer --content photo.png --style art.png --descriptor vgg19.npz -o out.png",
        "porter transfer --recipe nst-series --content a.png --style b.png --descriptor vgg.t7 "
        "-o out.png --image-size 512",
    ),
    "train": (
        "porter train --style-image painting.png --data photos/ --descriptor vgg16.npz -o run",
        "porter train --style-image bark.png --mode texture --descriptor vgg16.npz -o run",
    ),
    "synthesize": (
        "porter synthesize run -o tile.png --size 512x512",
        "porter synthesize --style-image bark.png --descriptor vgg16.npz -o tile.png",
    ),
    "diff": (
        "porter diff old.t7 new.t7",
        "porter diff activations.t7 model_tensorflow --report diff.html",
    ),
    "check": (
        "porter check fixtures/",
        "porter check models/ --jobs 4 --cache .cache --junit result.xml",
    ),
    "record": ("porter record", "porter record -o record.lua"),
    "layers": ("porter layers", "porter layers nn.SpatialConvolution"),
    "zoo": ("porter zoo", "porter zoo openface-nn4-small2"),
    "scaffold": (
        "porter scaffold nn.MyLayer --from model.t7",
        "porter scaffold nn.MyLayer --from model.t7 -o my_layers.py",
    ),
    "help": ("porter help oracle", "porter help convert"),
    "completion": ("porter completion bash", "porter completion zsh"),
}


class Formatter(argparse.HelpFormatter):
    """Descriptions are filled to the width of the terminal; examples keep their lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:"):
            return text
        return super()._fill_text(text, width, indent)


def add_examples(command: argparse.ArgumentParser, name: str) -> None:
    """Put a command's examples below its options."""
    command.epilog = "\n".join(["examples:", *(f"  {line}" for line in EXAMPLES[name])])
    command.formatter_class = Formatter
