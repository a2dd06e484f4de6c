"""Which function of TensorFlow is written how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

TRANSLATIONS: dict[str, Callable[..., Any]] = {}


def translate_all(table: Mapping[str, Callable[..., Any]]) -> None:
    """Register translations by the names of TensorFlow's functions."""
    for name, function in table.items():
        translates(name)(function)


def translates(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the translation of `tf.<name>`."""

    def keep(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            assert name not in TRANSLATIONS, f"tf.{name} is translated twice"
            TRANSLATIONS[name] = function
        return function

    return keep
